"""The table of probes, and what a trial makes of sshd's settings; the probes themselves need a real sshd."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.errors import SftpJailError
from sftpjail.model import REQUESTS, Account, Profile
from sftpjail.openssh.match_blocks import DOORS
from sftpjail.openssh.settings import Settings
from sftpjail.selftest import probes, ssh_client
from sftpjail.selftest.login import Trial
from sftpjail.selftest.probes import PROBES, Failed, prove
from sftpjail.selftest.sftp_client import PERMISSION_DENIED, SftpError
from sftpjail.selftest.ssh_client import DoorError

MANUAL = Path(__file__).resolve().parents[3] / "man/sftpjail.8.scd"
SHUT = {
    "chrootdirectory": ("/srv/sftp/%u",),
    "forcecommand": ("internal-sftp -fAUTH",),
    "permituserenvironment": ("no",),
    **{line.split()[0].lower(): (line.split()[1],) for line in DOORS},
}


def made(tree: Tree, profile: Profile | None = None, **settings: str) -> Trial:
    """A trial that has not begun."""
    account = Account("alice", 1000, 1000, "/home/alice", profile=profile or Profile("sftponly"))
    values = SHUT | {name: (value,) for name, value in settings.items()}
    places = dict.fromkeys(settings, (("/etc/x", 7),))
    return Trial(account, Config(), tree.host(), Settings(values, places, ()), "/run/none", "nonce")


def test_every_door_of_the_block_is_guarded() -> None:
    guards = [guard for _, _, needed in PROBES for guard in needed]
    assert {line.lower() for line in DOORS} <= set(guards)
    assert all(
        len([guard for guard in guards if guard.split()[0] == g.split()[0]]) == 1 for g in guards
    )


def test_the_settings_of_the_block_satisfy_the_guards(tree: Tree) -> None:
    trial = made(tree)
    assert [
        guard for _, _, needed in PROBES for guard in needed if not probes._in_force(trial, guard)
    ] == []


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("chrootdirectory", "none"),
        ("chrootdirectory", ""),
        ("forcecommand", "none"),
        ("forcecommand", "internal-sftp-evil"),
        ("forcecommand", "/bin/sh -c internal-sftp"),
        ("permittunnel", "point-to-point"),
        ("allowtcpforwarding", "local"),
        ("permituserenvironment", "LANG"),
    ],
)
def test_a_setting_that_is_not_in_force(tree: Tree, keyword: str, value: str) -> None:
    trial = made(tree, **{keyword: value})
    wrong = [g for _, _, needed in PROBES for g in needed if not probes._in_force(trial, g)]
    assert [guard.split()[0] for guard in wrong] == [keyword]
    assert f"{keyword} {value or '(not set)'} in sshd -T (/etc/x:7)" in probes._open(
        trial, wrong[0], True
    )


def test_what_a_guard_says_of_what_still_holds(tree: Tree) -> None:
    trial = made(tree, allowtcpforwarding="yes")
    assert probes._open(trial, "allowtcpforwarding no", True).endswith(
        "; only DisableForwarding still shuts this door"
    )
    assert probes._open(trial, "allowtcpforwarding no", False).endswith("(/etc/x:7)")
    trial = made(tree, permittty="yes", disableforwarding="no")
    assert probes._open(trial, "permittty no", True).endswith("; sshd refused all the same")


def test_options_of_force_command_wherever_they_stand(tree: Tree) -> None:
    command = "internal-sftp -f AUTH -l VERBOSE -u 0027 -d /home/%u/%d%% -P remove,rmdir -R"
    trial = made(tree, Profile("p", deny=("mkdir",)), forcecommand=command)
    assert trial.denied == {"remove", "rmdir", "mkdir"} and trial.read_only
    assert trial.start == "/home/alice/home/alice%"
    trial = made(tree, forcecommand="internal-sftp -pread,stat")
    assert trial.denied == REQUESTS.keys() - {"read", "stat"} and not trial.read_only
    for odd in ("none", "internal-sftp -X", "internal-sftp 'x"):
        trial = made(tree, forcecommand=odd)
        assert trial.denied == set() and not trial.read_only
    assert made(tree, Profile("p", read_only=True)).read_only


def test_where_the_jail_is(tree: Tree) -> None:
    assert made(tree).jail == "/srv/sftp/alice"
    assert made(tree, chrootdirectory="%h").jail == "/home/alice"
    assert made(tree, chrootdirectory="none").jail == "/"


class Server:
    """What stands in for an SFTP session: code by request, everything else is denied."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.asked: list[str] = []

    def ask(self, name: str, *_: object) -> Any:
        self.asked.append(name)
        return SimpleNamespace(code=self.codes.get(name.replace("-", "_"), PERMISSION_DENIED))


def test_a_deny_list_that_does_not_hold(tree: Tree) -> None:
    trial = made(tree, Profile("p", deny=("remove", "rmdir", "limits")))
    trial._sftp = server = Server(limits=8)  # type: ignore[assignment]
    assert probes.denies(trial) == "limits, remove, rmdir denied"
    assert server.asked == ["limits", "remove", "rmdir"]
    trial._sftp = Server(rmdir=2)  # type: ignore[assignment]
    with pytest.raises(Failed, match="does not refuse rmdir$"):
        probes.denies(trial)


def test_a_read_only_session_that_writes(tree: Tree) -> None:
    trial = made(tree, Profile("p", read_only=True, start="/"))
    trial._sftp = Server(realpath=4)  # type: ignore[assignment]
    trial.start = trial.directory = "/"
    assert probes.transfers(trial).startswith("read-only: 14 requests")
    trial._sftp = Server(copy_data=4)  # type: ignore[assignment]
    with pytest.raises(Failed, match="does not refuse copy-data$"):
        probes.transfers(trial)


class Doors:
    """What stands in for the other login: every request is granted, or none."""

    def __init__(self, granted: bool, reason: int = 1) -> None:
        self.granted, self.reason = granted, reason
        self.heard = ["key options: pty"]

    def requests(self, kind: str, *_: object) -> bool:
        return self.granted

    def opens(self, kind: str, *_: object) -> int:
        return 0 if self.granted else self.reason

    def globally(self, kind: str, *_: object) -> bool:
        return self.granted

    def runs(self, kind: str, *_: object, given: bytes) -> bytes | None:
        return b"-bash: nonce\n" if self.granted else None


PAIRS = [
    (probes.runs_nothing, "a command ran"),
    (probes.no_terminal, "gave a terminal"),
    (probes.no_environment, "takes LD_PRELOAD, PATH, SFTPJAIL_TEST"),
    (probes.no_subsystem, "answers b'-bash"),
    (probes.no_tcp, "-L, -D, -W"),
    (probes.no_sockets, "connects to unix sockets"),
    (probes.no_agent, "forwards the agent"),
    (probes.no_x11, "forwards X11"),
    (probes.no_tunnel, "tunnel of mode 1"),
]


@pytest.mark.parametrize(("probe", "words"), PAIRS)
def test_a_door_that_is_open(tree: Tree, probe: Any, words: str) -> None:
    trial = made(tree)
    trial._doors = Doors(granted=True)  # type: ignore[assignment]
    with pytest.raises(Failed, match=words):
        probe(trial)
    trial._doors = None
    with pytest.raises(DoorError, match="no session"):
        probe(trial)


def test_a_request_that_fails_is_not_one_that_is_forbidden(tree: Tree) -> None:
    """sshd has tried it, so it would have done it."""
    trial = made(tree)
    trial._doors = Doors(granted=False, reason=2)  # type: ignore[assignment]
    for probe in (probes.no_tcp, probes.no_sockets, probes.no_tunnel):
        with pytest.raises(Failed):
            probe(trial)
    trial._doors = Doors(granted=False)  # type: ignore[assignment]
    with pytest.raises(Failed, match="-R"):
        probes.no_tcp(trial)


def test_without_a_login_nothing_is_ok(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = made(tree)

    def fails(self: Trial) -> None:
        raise SftpError("the server hung up")

    monkeypatch.setattr(Trial, "log_in", fails)
    outcomes = list(prove(trial))
    assert [outcome.name for outcome in outcomes] == [name for name, _, _ in PROBES]
    assert not any(outcome.ok for outcome in outcomes)
    assert outcomes[0].words == "the server hung up"
    assert {outcome.words for outcome in outcomes[1:]} == {"not run: there is no session"}


def test_without_the_library_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paramiko", None)
    with pytest.raises(SftpJailError, match="paramiko") as caught:
        ssh_client.library()
    assert caught.value.fix == "apt install python3-paramiko"


def test_manual_describes_every_probe() -> None:
    text = " ".join(
        MANUAL.read_text(encoding="utf-8").partition("\n*test* ")[2].partition("\n*")[0].split()
    )
    assert [name for name, _, _ in PROBES if f"_{name}_" not in text] == []
