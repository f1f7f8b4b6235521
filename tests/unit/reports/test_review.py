"""Who counts as inactive, and why somebody is skipped: unknown is not inactive."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fakes import FakeHost
from fakesshd import sshd
from played import Run, Stage, run, stage

from sftpjail.errors import SftpJailError
from sftpjail.jails.membership import members
from sftpjail.openssh import daemons, stale
from sftpjail.operations import last_used
from sftpjail.operations.last_used import Records
from sftpjail.paths import KEEP
from sftpjail.reports import review as module
from sftpjail.reports.grants import Grant, Grants
from sftpjail.reports.review import Review, refuse_young, review, to_disable
from sftpjail.system.listeners import Listener
from sftpjail.system.logged_in import Session

__all__ = ["run", "sshd", "stage"]

DAY = 86400
NOW = int(time.time())
KEY = "SHA256:AAAAgood"


def ago(days: int) -> int:
    return NOW - days * DAY - 60


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Grants]]:
    """What the history says; logins are known for 200 days, and nobody has a session."""
    granted: dict[str, Grants] = {}

    def read(config: object, host: object) -> Records:
        return Records(host, since=ago(200))  # type: ignore[arg-type]

    monkeypatch.setattr(last_used, "read", read)
    monkeypatch.setattr(module, "grants", lambda _: granted)
    monkeypatch.setattr(module, "sessions", list)
    yield granted


def looked(stage: Stage) -> Review:
    engine = stage.engine()
    return review(engine, list(members(engine.config, engine.host).values()))


def used(stage: Stage, days: int) -> None:
    stage.tree.write("/var/lib/sftpjail/seen/1001", f"{KEY} {ago(days)} ::1 5\n")


def test_the_latest_of_what_is_known_counts(stage: Stage, known: dict[str, Grants]) -> None:
    def activity() -> tuple[str, int | None]:
        (ann,) = looked(stage).accounts
        return ann.by, ann.idle

    assert activity() == ("records", 200)
    known["ann"] = Grants(Grant(ago(150), "root"), Grant(ago(150), "root"))
    assert activity() == ("creation", 150)
    used(stage, 120)
    assert activity() == ("login", 120)
    known["ann"].opened = Grant(ago(110), "root")
    assert activity() == ("enable", 110)
    used(stage, -3)
    assert activity() == ("login", 0), "a login in the future"
    known["ann"].after = NOW + 10 * DAY
    assert activity() == ("enable", 110), "the login was of somebody else who had the name"


def test_a_session_is_use(
    stage: Stage, known: dict[str, Grants], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Session(1001, "ann", 5, 4, 1.0, "::1", 5, ())
    monkeypatch.setattr(module, "sessions", lambda: [one, one])
    (ann,) = looked(stage).accounts
    assert (ann.by, ann.idle, ann.sessions) == ("session", 0, 2)


def test_what_is_not_known_is_not_inactive(
    stage: Stage, known: dict[str, Grants], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_used, "read", lambda _, host: Records(host, why="no log"))
    found = looked(stage)
    assert found.accounts[0].idle is None and not found.accounts[0].is_inactive(1)
    assert to_disable(found, 1, stage.host()) == ([], [])
    with pytest.raises(SftpJailError, match="is not known: no log"):
        refuse_young(found, 1)


@pytest.mark.parametrize(
    ("setting", "value"), [("loglevel", "ERROR"), ("loglevel", "QUIET"), ("syslogfacility", "USER")]
)
def test_where_sshd_logs_no_login_nobody_is_inactive(
    stage: Stage, known: dict[str, Grants], setting: str, value: str
) -> None:
    stage.tree.write("/etc/ssh/sshd_config.d/05-test.conf", f"{setting} {value}\n")
    found = looked(stage)
    assert found.unlogged == ["ann"] and found.accounts[0].idle is None
    assert to_disable(found, 1, stage.host()) == ([], [])
    found.records.by_pam = True
    assert found.unlogged == []


@pytest.mark.parametrize(
    ("options", "systemd", "unit", "logged"),
    [
        ((), False, "", True),
        ((("D", ""), ("p", "2222")), False, "", True),
        ((("E", "/var/log/sshd.log"),), False, "", False),
        ((("E", "/var/log/sshd.log"),), True, "ssh.service", False),
        ((("q", ""),), True, "ssh.service", False),
        ((("e", ""),), False, "", False),
        ((("e", ""),), True, "session-1.scope", False),
        ((("D", ""), ("e", "")), True, "ssh.service", True),
        ((("o", "LogLevel=QUIET"),), True, "ssh.service", False),
        ((("o", "LogLevel=VERBOSE"),), True, "ssh.service", True),
        ((("o", "SyslogFacility=LOCAL3"),), False, "", False),
        ((("o", "SyslogFacility=LOCAL3"),), True, "ssh.service", True),
        (None, True, "ssh.service", False),
    ],
)
def test_a_daemon_that_logs_elsewhere_tells_nothing(
    stage: Stage,
    known: dict[str, Grants],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[tuple[str, str], ...] | None,
    systemd: bool,
    unit: str,
    logged: bool,
) -> None:
    monkeypatch.setattr(FakeHost, "systemd", systemd)
    monkeypatch.setattr(daemons, "_is_roots", lambda *_: True)
    monkeypatch.setattr(daemons, "started_by_sockets", lambda _: ())
    monkeypatch.setattr(stale, "changed_state", lambda *_: 0.0)
    usual = Listener(7, "/usr/sbin/sshd", (), (("", 22),), "ssh.service")
    stage.tree.listening = [usual, Listener(8, "/usr/sbin/sshd", options, (("", 2222),), unit)]
    found = looked(stage)
    assert found.unlogged == ([] if logged else ["ann"])
    assert (found.accounts[0].idle is None) is not logged
    assert bool(to_disable(found, 90, stage.host())[0]) is logged


def test_an_old_record_hides_no_newer_login(
    stage: Stage, known: dict[str, Grants], monkeypatch: pytest.MonkeyPatch
) -> None:
    used(stage, 150)
    logged = {1001: {KEY: (ago(1), "::2", 6)}}
    records = Records(stage.host(), since=ago(200), logged=logged, verified=False)
    monkeypatch.setattr(last_used, "read", lambda *_: records)
    (ann,) = looked(stage).accounts
    assert (ann.by, ann.idle) == ("login", 1)
    assert ann.last == (KEY, ago(150), "::1"), "a forged line takes no address away"


def test_young_records_disable_nobody(stage: Stage, known: dict[str, Grants]) -> None:
    found = looked(stage)
    refuse_young(found, 200)
    with pytest.raises(SftpJailError, match=r"not for 201 days \(now: 200\)") as refusal:
        refuse_young(found, 201)
    assert time.strftime("%Y", time.localtime(ago(200))) in refusal.value.message
    found.records.since = NOW + 5 * DAY
    with pytest.raises(SftpJailError, match=r"not for 1 day \(now: 0\)"):
        refuse_young(found, 1)


def test_who_is_skipped_and_who_is_shut_out_already(stage: Stage, known: dict[str, Grants]) -> None:
    def judged() -> tuple[list[str], list[tuple[str, str]]]:
        chosen, skipped = to_disable(looked(stage), 90, stage.host())
        return [one.account.name for one in chosen], skipped

    assert judged() == (["ann"], [])
    stage.tree.write(KEEP, "user ann keep\n")
    assert judged() == ([], [("ann", "it is marked by set --keep-active")])
    stage.tree.write(KEEP, "")
    record = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    text = record.read_text()
    record.write_text("rubbish")
    assert judged()[0] == [] and "is damaged" in judged()[1][0][1]
    record.write_text(text)
    stage.tree.write("/etc/shadow", "ann:*:19000:0:99999:7::11000:\n")
    assert judged() == ([], []), "expired"


@pytest.mark.parametrize("text", ["0", "0d", "x", "-1", "1y", "99999w", "", "1.5"])
def test_what_is_no_number_of_days(run: Run, text: str) -> None:
    assert run("review", f"--inactive={text}")[0] == 2


@pytest.mark.parametrize(
    "words", ["--disable", "--yes", "--inactive 9d --disable --format csv", "--format xml"]
)
def test_options_that_make_no_sense(run: Run, words: str) -> None:
    assert run("review", *words.split())[0] == 2


def test_csv_has_no_formula_and_a_cell_for_several_things(
    run: Run, stage: Stage, known: dict[str, Grants]
) -> None:
    lines = "ssh-ed25519 AAAAgood =1+1\nssh-ed25519 AAAAgood2 b,c\n"
    stage.tree.write("/etc/ssh/authorized_keys/ann", lines)
    used(stage, 3)
    head, row = run("review", "--format", "csv")[1].splitlines()
    assert head.startswith("user,uid,profile,state,why,keys,password,")
    assert '"SHA256:AAAAgood =1+1; SHA256:AAAAgood2 b,c"' in row
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ago(3))) in row
