"""Since when logins are known, and what becomes of that where the log has a gap."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes import FakeHost
from fakesshd import sshd
from played import Stage, stage

from sftpjail.operations import last_used
from sftpjail.reports.grants import Grant, grants
from sftpjail.system import locks

__all__ = ["sshd", "stage"]

AUTH = "/var/log/auth.log"
BEGIN = 1_790_000_000  # 2026-09-21T14:13:20Z
DAY = 86400
NOTE = "/var/lib/sftpjail/seen/records"
LINES = """\
2026-09-21T14:13:20+00:00 host cron[1]: hello
2026-09-21T15:00:00+00:00 host sshd[2]: Accepted publickey for ann from ::1 port 5 ssh2: RSA SHA256:x
2026-09-21T15:00:00+00:00 host sshd-session[3]: Accepted password for ann from ::2 port 6 ssh2
2026-09-21T15:00:01+00:00 host sshd[4]: Accepted password for bob from ::3 port 6 ssh2
2026-09-21T15:00:02+00:00 host cron[5]: Accepted password for ann from ::4 port 6 ssh2
2026-09-21T15:00:03+00:00 host sshd[6]: Connection closed by authenticating user ann ::5 port 1 [preauth]
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The present is two hours after the log's first line."""
    monkeypatch.setattr(time, "time", lambda: float(BEGIN + 7200))


def read(stage: Stage) -> last_used.Records:
    return last_used.read(stage.config, stage.host())


def test_what_sshd_has_logged_of_jailed_accounts(stage: Stage) -> None:
    assert read(stage).since is None and "no daemon writes" in read(stage).why
    stage.tree.write(AUTH, LINES)
    records = read(stage)
    assert records.since == BEGIN and not records.why
    at = BEGIN + 2800
    assert records.of(1001) == {"SHA256:x": (at, "::1", 5), "password": (at, "::2", 6)}
    assert records.of(1002) == {}


def test_a_line_of_any_user_takes_no_note_away(stage: Stage) -> None:
    stage.tree.write(AUTH, LINES)
    kept = f"SHA256:x {BEGIN} ::9 9\n"
    stage.tree.write("/var/lib/sftpjail/seen/1001", kept)
    records = read(stage)
    assert records.of(1001)["SHA256:x"] == (BEGIN, "::9", 9) and "password" in records.of(1001)
    records.verified = True
    assert records.of(1001)["SHA256:x"][1] == "::1", "the newer one"


@pytest.mark.parametrize(
    ("note", "since"),
    [
        (f"{BEGIN - 500} {BEGIN + 5} log", BEGIN - 500),  # it goes on
        (f"{BEGIN - 500} {BEGIN - 5} log", BEGIN),  # what was between is lost
        (f"{BEGIN + 500} {BEGIN + 600} log", BEGIN + 500),  # before that nobody read it
        ("rubbish", BEGIN),
        (f"{BEGIN} x log", BEGIN),
    ],
)
def test_the_records_go_on_unless_there_is_a_gap(stage: Stage, note: str, since: int) -> None:
    stage.tree.write(AUTH, LINES)
    stage.tree.write(NOTE, note)
    assert read(stage).since == since


def test_a_log_that_nobody_writes_says_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.tree.write(AUTH, LINES)
    monkeypatch.setattr(time, "time", lambda: float(BEGIN + 8 * DAY))
    records = read(stage)
    assert records.since is None and records.of(1001), "what it does say is used"
    assert records.why == f"nothing has been written to {AUTH} since 2026-09-21"
    stage.tree.write(AUTH, "")  # as logrotate(8) does
    stage.tree.write(f"{AUTH}.1", LINES)
    assert read(stage).why == records.why
    # An early line of a clock ahead, in a file that is as old.
    stage.tree.write(AUTH, LINES + "2026-09-28T14:00:00+00:00 host sshd[7]: x\n")
    os.utime(f"{stage.tree.root}{AUTH}", (BEGIN, BEGIN))
    assert read(stage).since is None


def test_a_log_is_complete_since_its_last_gap(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: float(BEGIN + 30 * DAY))
    days = [0, 7, 14, 22, 29]
    stamps = [time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(BEGIN + n * DAY)) for n in days]
    stage.tree.write(f"{AUTH}.1", "".join(f"{stamp} host cron[1]: x\n" for stamp in stamps[:3]))
    stage.tree.write(AUTH, "".join(f"{stamp} host cron[1]: x\n" for stamp in stamps[3:]))
    assert read(stage).since == BEGIN + 22 * DAY
    stage.tree.write(AUTH, f"{stamps[2]} host cron[1]: x\n{stamps[4]} host cron[1]: x\n")
    assert read(stage).since == BEGIN + 29 * DAY


def test_what_the_log_was_read_for_is_not_read_again(stage: Stage) -> None:
    stage.tree.write(AUTH, LINES)
    stage.tree.write(NOTE, f"{BEGIN} {BEGIN + 3600} log\n")
    assert read(stage).logged == {}


def test_a_note_from_a_clock_ahead_hides_no_login(stage: Stage) -> None:
    stage.tree.write(AUTH, LINES)
    later = int(time.time()) + 999
    stage.tree.write(NOTE, f"{BEGIN} {later} log\n")
    assert read(stage).of(1001).keys() == {"SHA256:x", "password"}


def test_after_a_week_without_the_timer_records_begin_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.tree.write(AUTH, LINES)
    monkeypatch.setattr(last_used.sshd_lines, "begin", lambda _: BEGIN)
    monkeypatch.setattr(last_used.sshd_lines, "logins", lambda *_: iter(()))
    now = int(time.time())
    for days, systemd, known in ((6, True, True), (8, True, False), (8, False, True)):
        monkeypatch.setattr(FakeHost, "systemd", systemd)
        stage.tree.write(NOTE, f"{BEGIN} {now - days * 86400} log\n")
        since = read(stage).since
        assert since is not None and (since == BEGIN) is known, (days, systemd, since)
        assert known or abs(since - now) < 60


def entry(at: int, who: str, *what: tuple[str, str]) -> dict[str, object]:
    items = [{"account": name, "what": words} for name, words in what]
    return {"time": at, "who": {"name": who, "uid": None, "how": "useradd"}, "what": items}


def test_what_the_history_says_of_who_was_let_in() -> None:
    found = grants(
        [
            entry(1, "", ("ann", "is jailed in /srv/sftp/ann")),
            entry(2, "root", ("ann", "can log in with SHA256:x laptop")),
            entry(3, "eve", ("ann", "is disabled"), ("bob", "is jailed in /srv/sftp/bob")),
            entry(4, "eve", ("ann", "is enabled again")),
            entry(5, "eve", ("ann", "has its jail repaired: /srv/sftp/ann")),
        ]
    )
    ann = found["ann"]
    assert (ann.made, ann.opened) == (Grant(1, "useradd"), Grant(4, "eve"))
    assert ann.keys == {"SHA256:x": Grant(2, "root")}
    renamed = grants(
        [
            entry(1, "root", ("ann", "is jailed in /srv/sftp/ann")),
            entry(9, "root", ("zoe", "was ann: what is its own has its new name")),
        ]
    )
    assert renamed["zoe"].made == Grant(1, "root") and renamed["zoe"].opened == Grant(9, "root")
    assert "ann" not in renamed


def test_who_comes_back_by_a_date_is_let_in() -> None:
    again = entry(7, "", ("ann", "has its jail repaired: /srv/sftp/ann"))
    again["actions"] = [{"account": "ann", "action": "OpenAccount", "about": []}]
    found = grants([entry(1, "root", ("ann", "is jailed in /srv/sftp/ann")), again])
    assert found["ann"].made == Grant(1, "root") and found["ann"].opened == Grant(7, "useradd")
    for words in ("expires on 2099-12-31", "does not expire", "is an account again"):
        found = grants([entry(1, "root", ("ann", words)), entry(2, "root", ("ann", "is disabled"))])
        assert found["ann"].opened == Grant(1, "root"), words


def test_what_an_account_of_the_same_name_did_is_not_counted() -> None:
    began = entry(1, "root", ("ann", "is jailed in /srv/sftp/ann"))
    for words in ("is no longer jailed", "is deleted", "is a new account"):
        found = grants([began, entry(5, "root", ("ann", words))])["ann"]
        assert found.after == 5 and found.made in (None, Grant(5, "root"))
    later = entry(9, "root", ("ann", "is jailed in /srv/sftp/ann"))
    found = grants([began, entry(5, "root", ("ann", "is deleted")), later])["ann"]
    assert (found.made, found.after) == (Grant(9, "root"), 5)


def test_nothing_is_stored_while_another_run_holds_the_lock(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teardown removes the records: they must not come back before it has ended."""
    path, stored = str(tmp_path / "run/lock"), []
    monkeypatch.setattr(last_used, "LOCK", path)
    monkeypatch.setattr(last_used, "PATIENCE", 0.0)
    monkeypatch.setattr(last_used, "record_uses", lambda uid, uses: None)
    monkeypatch.setattr(last_used, "keep_note", lambda path, text: stored.append(path))
    stage.tree.write(AUTH, LINES)
    with locks.lock(path, 1.0):
        last_used.keep_hourly(stage.config, stage.host())
    assert stored == []
    last_used.keep_hourly(stage.config, stage.host())
    assert stored == [NOTE]
