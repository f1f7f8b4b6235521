"""activity: what goes on outside of a jail, what ends it, and what gives it back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, Tree
from golden import INSIDE, Fire, ann

from sftpjail import EndProcesses, EndProcessesFirst, MakeDir, Remove, Rename, Run, SftpJailError
from sftpjail.jails.activity import found, reports
from sftpjail.system.processes import OutsideProcess

CRON = "/var/spool/cron/crontabs/ann"
JOB = "/var/spool/cron/atjobs/a0000301c5f3a1"
ASIDE = "/var/lib/sftpjail/aside."
MARK = "/var/lib/systemd/linger/ann"
SLEEP, OWN = OutsideProcess(7, "sleep"), OutsideProcess(8, "systemd", managed=True)
SERVICE, CONTAINER = (
    OutsideProcess(9, "pull", service="pull.service"),
    OutsideProcess(10, "x", container=True),
)


def at_work(tree: Tree, *processes: OutsideProcess) -> FakeHost:
    """ann has a crontab, an at job and a mark for lingering; others have what is not hers."""
    tree.write(CRON, "@daily x\n", 0o600)
    for name in ("bob", ".ann.swp"):
        tree.write(f"/var/spool/cron/crontabs/{name}", "@daily y\n")
    tree.write(JOB, "#!/bin/sh\n")
    tree.write("/var/spool/cron/atjobs/.SEQ", "1\n")
    tree.write("/var/spool/cron/atjobs/a0000401c5f3a1", "#!/bin/sh\n")
    tree.owners |= {JOB: (1001, 1001), "/var/spool/cron/atjobs/a0000401c5f3a1": (1002, 1002)}
    tree.write(MARK, "")
    host = tree.host()
    host.jobs.outside = lambda uid: list(processes) if uid == 1001 else []  # type: ignore[method-assign]
    return host


def test_jobs_of_root_are_nobody_elses(tree: Tree) -> None:
    host = at_work(tree)
    tree.owners[JOB] = (0, 0)
    for uid in (0, -1, 1001):
        works = found(replace(ann(), uid=uid), tree.host(), jailed=True, new=True)
        assert [work.kind for work in works] == ["cron", "linger"]
    assert "at" in [work.kind for work in found(ann(), host, jailed=True)]


def test_what_goes_on_by_kind(tree: Tree) -> None:
    host = at_work(tree, SLEEP, SERVICE)
    works = found(ann(), host, jailed=True)
    assert [(work.kind, work.paths) for work in works] == [
        ("cron", (CRON,)),
        ("at", (JOB,)),
        ("linger", (MARK,)),
        ("processes", ()),
    ]
    assert works[-1].words == "1 process (7 sleep)"
    assert found(ann(name="carl", uid=1009), host, jailed=True) == []


def test_units_count_before_a_jail_and_links_lead_nowhere(tree: Tree) -> None:
    tree.write("/home/ann/.config/systemd/user/own.service", "")
    tree.directory("/home/ann/.local/share/systemd")
    tree.link("/home/ann/.local/share/systemd/user", "/etc")
    assert [work.words for work in found(ann(), tree.host(), jailed=False)] == [
        "user units (/home/ann/.config/systemd/user)"
    ]
    assert found(ann(), tree.host(), jailed=True) == []


def test_on_user_confine_puts_aside_and_ends(tree: Tree, fire: Fire) -> None:
    tree.write(f"{ASIDE}ann/cron-ann", "an earlier one\n")
    host = at_work(tree, SLEEP)
    assert fire("activity", "on_user_confine", host, account=ann(kept=())) == [
        MakeDir(f"{ASIDE}ann", 0o700),
        Rename(CRON, f"{ASIDE}ann/cron-ann.1"),
        Rename(JOB, f"{ASIDE}ann/at-a0000301c5f3a1"),
        Rename(MARK, f"{ASIDE}ann/linger-ann"),
        EndProcesses("ann", 1001, ("7 sleep",), (CRON, JOB, MARK)),
    ]
    kept = ann(kept=("cron", "linger", "processes"))
    assert [type(a) for a in fire("activity", "on_user_confine", host, account=kept)] == [
        MakeDir,
        Rename,
    ]
    inside = fire("activity", "on_user_confine", host, account=ann(INSIDE, kept=()))
    assert EndProcessesFirst("ann", 1001, ("7 sleep",)) in inside
    assert (
        fire("activity", "on_user_confine", tree.host(), account=ann(name="carl", uid=1009)) == []
    )


def test_a_login_that_has_begun_counts_before_the_jail(tree: Tree, fire: Fire) -> None:
    host = tree.host()
    login = OutsideProcess(11, "unfinished login")
    host.jobs.unfinished_logins = lambda name, uid, among=None: (
        [login] if (name, uid) == ("ann", 1001) else []
    )  # type: ignore[method-assign]
    (work,) = found(ann(), host, jailed=False)
    assert (work.kind, work.words) == ("processes", "1 process (11 unfinished login)")
    assert found(ann(), host, jailed=True) == [] == reports([ann()], host)
    assert fire("activity", "on_user_confine", host, account=ann(kept=())) == [
        EndProcesses("ann", 1001, ("11 unfinished login",))
    ]
    (report,) = reports([ann()], host, newcomers={"ann"})
    assert "ann is jailed, but outside of its jail it still has 1 process (11 un" in str(report)
    assert reports([ann(kept=("processes",))], host, newcomers={"ann"}) == []


def test_on_user_confine_ends_nothing_of_a_uid_that_others_have(tree: Tree, fire: Fire) -> None:
    tree.account("eve", 1001)
    host = at_work(tree, SLEEP)
    with pytest.raises(
        SftpJailError, match="uid 1001 of eve: it is not known whose these are"
    ) as caught:
        fire("activity", "on_user_confine", host, account=ann())
    assert caught.value.fix == "sftpjail adopt --close --keep at,processes ann"


def test_on_user_remove_gives_back_and_never_to_another(tree: Tree, fire: Fire) -> None:
    tree.write(f"{ASIDE}ann/cron-ann", "@daily x\n", 0o600)
    tree.write(f"{ASIDE}ann/linger-ann", "")
    record = f'{{"renamed": {{"{ASIDE}ann/cron-ann": "{CRON}", "{ASIDE}ann/linger-ann": "{MARK}"}}, "uid": 1001}}'
    tree.write("/var/lib/sftpjail/accounts/ann", record)
    gone = [Remove(f"{ASIDE}ann")]
    back = [Rename(f"{ASIDE}ann/cron-ann", CRON), Rename(f"{ASIDE}ann/linger-ann", MARK)]
    assert fire("activity", "on_user_remove", tree.host(), account=ann(), deleted=False) == [
        *back,
        *gone,
    ]
    assert fire("activity", "on_user_remove", tree.host(), account=ann(), deleted=True) == gone
    other = replace(ann(), uid=1500)
    assert fire("activity", "on_user_remove", tree.host(), account=other, deleted=False) == gone
    assert fire("keys", "on_user_remove", tree.host(), account=ann(), deleted=False) == [
        Remove("/etc/ssh/authorized_keys/ann")
    ]
    tree.directory("/run/systemd/system")
    runs = fire("activity", "on_user_remove", tree.host(), account=ann(), deleted=False)
    assert [a.argv[1:] for a in runs if isinstance(a, Run)] == [
        ("enable-linger", "ann"),
        ("start", "user@1001.service"),
    ]
    tree.write(CRON, "a new one\n")
    with pytest.raises(SftpJailError, match=f"{CRON} is in the way") as caught:
        fire("activity", "on_user_remove", tree.host(), account=ann(), deleted=False)
    assert caught.value.fix == f"mv -nT {CRON} {ASIDE}ann/cron-ann.later && sftpjail remove ann"


def test_on_check_reports_what_nobody_keeps_and_advises_else(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/crontab", "SHELL=/bin/sh\n17 * * * * root x\n*/5 1-3 * jan mon ann pull\n")
    host = at_work(tree, SLEEP, OWN, SERVICE, CONTAINER)
    bad, lines, others = fire("activity", "on_check", host, account=ann())
    assert (
        bad.what
        == f"outside of its jail ann has a crontab ({CRON}), 1 at job ({JOB}), 1 process (7 sleep)"
    )
    assert (bad.fix, bad.severity) == ("sftpjail adopt --close ann", "open")
    assert (
        lines.what == "/etc/crontab:3 runs as ann, outside of its jail"
        and lines.severity == "advice"
    )
    assert (
        others.what == "pull.service, a container (pid 10) runs as ann, outside of its jail"
        and others.severity == "advice"
    )
    tree.write("/var/lib/sftpjail/accounts/ann", '{"kept": ["cron", "at", "linger", "processes"]}')
    advice = fire("activity", "on_check", at_work(tree, OWN), account=ann())
    assert [problem.severity for problem in advice] == ["advice"] * 2
    assert "a crontab" in advice[0].what and "lingering" in advice[0].what and not advice[0].fix


def test_on_check_reports_what_departed_accounts_left(tree: Tree, fire: Fire) -> None:
    tree.write(f"{ASIDE}carl/cron-carl", "")
    tree.write(f"{ASIDE}ann/cron-ann", "")
    tree.write("/var/lib/sftpjail/accounts/ann", "{}")
    (problem,) = fire("activity", "on_check", tree.host(), account=None)
    assert problem.what == f"{ASIDE}carl is left" and problem.severity == "advice"


def test_reports_name_the_fix(tree: Tree) -> None:
    (report,) = reports([ann(), ann(name="carl", uid=1009)], at_work(tree))
    words = f"outside of its jail it still has a crontab ({CRON}), 1 at job ({JOB}), lingering user services (loginctl)"
    assert (
        report.message == f"ann is jailed, but {words}"
        and report.fix == "sftpjail adopt --close ann"
    )
    assert str(reports([ann()], at_work(tree, SLEEP), new=True)[0]) == str(report)
    assert "7 sleep" in str(reports([ann()], at_work(tree, SLEEP))[0])
