"""Which homes may become jails: the account's own alone, and nothing of the system's."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.jails.homes import SYSTEM, TOPS, home_problem, refusal
from sftpjail.model import Account, Profile

ANN = Account("ann", 1001, 1001, "/home/ann")


@pytest.mark.parametrize("home", [*SYSTEM, *TOPS, *(f"{place}/x/ann" for place in SYSTEM)])
def test_a_directory_of_the_system_is_no_home(tree: Tree, home: str) -> None:
    assert home_problem(ANN, home, tree.host()) == "is a directory of the system"


@pytest.mark.parametrize(
    "home", [*(f"{place}2/ann" for place in SYSTEM), *(f"{place}/ann" for place in TOPS[1:])]
)
def test_a_home_beside_or_below_may_be_one(tree: Tree, home: str) -> None:
    tree.directory(home, owner=(1001, 1001))
    assert home_problem(ANN, home, tree.host()) == ""


@pytest.mark.parametrize(("uid", "flaw"), [(0, ""), (1001, ""), (1, "1"), (1002, "1002")])
def test_a_home_is_ones_own_or_roots(tree: Tree, uid: int, flaw: str) -> None:
    tree.directory("/home/ann", owner=(uid, 1001))
    words = f"belongs to uid {flaw}" if flaw else ""
    assert home_problem(ANN, "/home/ann", tree.host()) == words


@pytest.mark.parametrize(
    ("entry", "owner", "mode", "flawed"),
    [
        ("", (0, 0), 0o755, False),  # empty: made for her
        ("secret", (0, 0), 0o644, True),
        ("files", (1001, 1001), 0o700, False),
        ("upload", (0, 1001), 0o770, False),
        ("upload", (0, 1001), 0o750, True),
        ("pub", (0, 1001), 0o777, True),  # anybody's
        ("files", (1002, 1002), 0o700, True),
    ],
)
def test_roots_directory_is_a_jail_if_meant_for_her(
    tree: Tree, entry: str, owner: tuple[int, int], mode: int, flawed: bool
) -> None:
    tree.directory("/data/x", owner=(0, 0))
    if entry:
        tree.directory(f"/data/x/{entry}", mode, owner=owner)
    words = "belongs to root, and nothing in it to ann" if flawed else ""
    assert home_problem(ANN, "/data/x", tree.host()) == words


@pytest.mark.parametrize(
    ("home", "owner", "words"),
    [
        ("/home/ann", 1001, ""),
        ("/", 0, "/ holds /proc"),
        ("/home", 0, "/home is or holds the home of bob"),
        ("/home/bob", 1002, "/home/bob is or holds the home of bob"),
        ("/home/bob", 1001, ""),  # it is hers, whatever passwd(5) says of bob
        ("/home/bob/x", 0, ""),  # mount: what her home has is hers
        ("/etc/x", 1001, "/etc/x lies in /etc"),
        ("/srv/sftp", 0, "/srv/sftp is /srv/sftp"),
        ("/gone", 0, ""),
    ],
)
def test_a_jail_shows_no_other_home_as_hers(tree: Tree, home: str, owner: int, words: str) -> None:
    tree.people = [f"ann:x:1001:1001::{home}:", "bob:x:1002:1002::/home/bob:"]
    if home != "/gone":
        tree.directory(home, owner=(owner, owner))
    account = Account("ann", 1001, 1001, home, profile=Profile("sftponly"))
    said = refusal(account, tree.host(), Config())
    begin = f"will not show the home {home} of ann in its jail: "
    assert said == (begin + words if words else "")
    assert refusal(account, tree.host(), Config(allow_sources=(home,))) == ""


@pytest.mark.parametrize(
    "profile",
    [{"start": "/web"}, {"read_only": True}, {"deny": ("open",)}, {"home": "none"}],
    ids=lambda profile: next(iter(profile)),
)
def test_who_writes_elsewhere_may_be_at_home_in_root(tree: Tree, profile: dict[str, Any]) -> None:
    account = Account("ann", 1001, 1001, "/", profile=Profile("sftponly", **profile))
    assert refusal(account, tree.host(), Config()) == ""


@pytest.mark.parametrize(
    ("other", "uid", "flawed"),
    [
        ("/home/ann", 1002, True),
        ("/home/ann", 1001, False),
        ("/home/ann/eve", 1002, True),
        ("/home/ann-eve", 1002, False),
        ("/home/anna", 1002, False),
        ("/home", 1002, False),
    ],
)
def test_a_home_is_and_holds_nobody_elses(tree: Tree, other: str, uid: int, flawed: bool) -> None:
    tree.directory("/home/ann", owner=(1001, 1001))
    tree.people = ["ann:x:1001:1001::/home/ann:", f"eve:x:{uid}:{uid}::{other}:"]
    words = "is or holds the home of eve too" if flawed else ""
    assert home_problem(ANN, "/home/ann", tree.host()) == words
