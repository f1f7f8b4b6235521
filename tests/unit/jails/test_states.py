"""What of sshd's answer and of shadow(5) decides about a state; the states are made in tests/system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sftpjail
from sftpjail.jails.states import WORDS, State, holds, why_locked
from sftpjail.model import Shadow
from sftpjail.openssh.admission import denials
from sftpjail.openssh.settings import Settings


def found(**values: str) -> Settings:
    return Settings({keyword: (value,) for keyword, value in values.items()}, {}, ())


@pytest.mark.parametrize(
    ("criteria", "yes"),
    [
        ("all", True),
        ("User ann", True),
        ("user a*,b*", True),
        ("User *,!ann", False),
        ("User bob", False),
        ("Group sftponly", True),
        ("Group *,!sftponly", False),
        ("Group wheel,adm", False),
        ("Address 10.0.0.0/8", True),  # of the connection
        ("Address 10.0.0.0/8 User bob", False),
        ("Group sftponly User ann", True),
        ("final User bob", False),  # of which the first takes no value
        ("canonical Group sftponly", True),
        ('User "bob,ann"', True),
        ("User [a]nn", False),  # no brackets of the shell's
    ],
)
def test_whom_a_match_line_is_about(criteria: str, yes: bool) -> None:
    assert holds(criteria, "ann", ("ann", "sftponly")) is yes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, []),
        ({"denyusers": "bob a*"}, ["DenyUsers a*"]),
        ({"denyusers": "[a]nn"}, []),
        ({"denyusers": "ann@10.0.0.1"}, []),
        ({"denygroups": "sftponly"}, ["DenyGroups sftponly"]),
        ({"allowusers": "bob"}, ["AllowUsers without it"]),
        ({"allowusers": "ann@10.0.0.1"}, []),
        ({"allowgroups": "wheel"}, ["AllowGroups without it"]),
        ({"allowgroups": "wheel sftp*"}, []),
    ],
)
def test_what_keeps_an_account_out(values: dict[str, str], says: list[str]) -> None:
    assert [*denials(found(**values), "ann", ("ann", "sftponly"))] == says


@pytest.mark.parametrize(
    ("shadow", "pam", "locked"),
    [
        (Shadow("!*", "20000", "99999", "", ""), "yes", False),
        (Shadow("!*", "20000", "99999", "", ""), "no", True),
        (Shadow("*", "0", "99999", "", ""), "yes", True),
        (Shadow("*", "0", "99999", "", ""), "no", False),
        (Shadow("*", "9000", "30", "", ""), "yes", True),
        (Shadow("*", "", "", "", ""), "yes", False),
    ],
)
def test_when_shadow_closes_keys_too(shadow: Shadow, pam: str, locked: bool) -> None:
    assert bool(why_locked(shadow, found(usepam=pam))) is locked


def test_why_is_one_line_whatever_a_path_holds() -> None:
    assert State("incomplete", "/x\n  fix: rm -rf / is not mounted").why.isprintable()


def test_the_schema_and_the_manual_have_every_state() -> None:
    top = Path(sftpjail.__file__).parent
    schema = json.loads((top / "schemas/jail.json").read_text("utf-8"))
    assert tuple(schema["properties"]["state"]["enum"]) == WORDS
    manual = (top.parent / "man/sftpjail.8.scd").read_text("utf-8")
    manual = manual.partition("\n*list*\n")[2].partition("\n*show*")[0]
    said = [
        line.split("*")[1]
        for line in manual.split("\n")
        if line.startswith("\t- *") and "*:" in line
    ]
    assert said == [*WORDS]
