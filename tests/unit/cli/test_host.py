"""setup, teardown, apply and hook: whom they touch, what they refuse, and what they say."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Programs
from fakesshd import Sshd, sshd
from played import Run, Stage, rogue, root, run, stage

from sftpjail import Profile, SftpJailError
from sftpjail.cli import hook
from sftpjail.cli import host as cli_host
from sftpjail.config import Config
from sftpjail.engine import engine, manager
from sftpjail.engine.engine import Engine
from sftpjail.engine.plan import OnMount, OnUnmount, Plan
from sftpjail.host.accounts import People
from sftpjail.jails import activity
from sftpjail.jails.membership import jailed
from sftpjail.model import Account
from sftpjail.operations import apply, last_used
from sftpjail.operations.events import create_events
from sftpjail.system import arrivals
from sftpjail.system.programs import Answer

__all__ = ["root", "run", "sshd", "stage"]

Refuse = Callable[..., None]
DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
KEYS = "/etc/ssh/authorized_keys/ann"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What syslog was told."""
    words: list[str] = []
    monkeypatch.setattr(hook, "tell", lambda priority, text: words.append(text))
    return words


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Makes a plugin refuse one hook for some accounts."""

    def make(name: str, *names: str) -> None:
        def veto(account: Any) -> None:
            if account.name in names:
                raise SftpJailError("no quota is left", "quota")

        real = manager.Manager.__init__

        def with_quota(self: manager.Manager, *arguments: Any) -> None:
            real(self, *arguments)
            self.plugins.register(rogue(**{name: veto}), "quota")

        monkeypatch.setattr(manager.Manager, "__init__", with_quota)

    return make


def join(stage: Stage, name: str, uid: int, **more: Any) -> None:
    stage.tree.account(name, uid, **more)
    stage.join("sftponly", name)
    with (stage.tree.root / "etc/shadow").open("a") as shadow:
        shadow.write(f"{name}:*:19000:0:99999:7:::\n")


def has_jail(stage: Stage, name: str) -> bool:
    return (stage.tree.root / f"srv/sftp/{name}/home/{name}").is_dir()


# -- setup ---------------------------------------------------------------------------------------


def test_setup_makes_the_jails_of_whoever_is_there(run: Run, stage: Stage) -> None:
    join(stage, "cat", 1100)
    assert run("--dry-run", "setup")[0] == 0 and not has_jail(stage, "cat")
    assert run("setup") == (0, "this host is ready for jails\n"), run.err
    assert has_jail(stage, "cat")
    assert run("setup") == (0, "nothing to do: this host is ready for jails\n")


@pytest.mark.parametrize("words", [["setup"], ["setup", "--force"]])
def test_setup_does_not_lock_out_an_administrator(run: Run, stage: Stage, words: list[str]) -> None:
    join(stage, "admin", 1100)
    code, _ = run(*words)
    if "--force" in words:
        assert code == 0, run.err
        return
    assert code == 1 and not has_jail(stage, "admin")
    assert run.err.startswith("sftpjail: will not jail admin: it is in the group sudo; ")


def test_setup_reports_a_jail_that_cannot_be_made(run: Run, stage: Stage, refuse: Refuse) -> None:
    join(stage, "cat", 1100)
    join(stage, "dan", 1101)
    refuse("on_user_create", "cat")
    assert run("setup") == (1, "this host is ready for jails\n")
    assert run.err == "sftpjail: cat: plugin quota: no quota is left\n  fix: quota\n"
    assert has_jail(stage, "dan") and not has_jail(stage, "cat")


# -- teardown ------------------------------------------------------------------------------------


def test_teardown_refuses_while_somebody_is_jailed(run: Run, stage: Stage) -> None:
    for number in range(8):
        join(stage, f"user{number}", 1100 + number)
    assert run("setup")[0] == 0
    code, out = run("teardown")
    assert (code, out) == (1, "") and (stage.tree.root / DROPIN[1:]).exists()
    names = "ann, " + ", ".join(f"user{number}" for number in range(7))
    assert run.err.startswith(f"sftpjail: still jailed: {names} and 1 more; without their ")
    assert "teardown --close-accounts" in run.err
    assert "sftpjail remove" not in run.err, "a command for so many would be no help"
    stage.tree.group_lines = [line.replace(",user7", "") for line in stage.tree.group_lines]
    assert run("teardown")[0] == 1
    assert "user6 && sftpjail teardown" in run.err and "more" not in run.err.split(";")[0]


def test_teardown_takes_back_what_setup_did(run: Run, stage: Stage) -> None:
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    assert run("--dry-run", "teardown")[0] == 0 and (stage.tree.root / DROPIN[1:]).exists()
    assert run("teardown") == (0, "this host is as it was before setup\n"), run.err
    assert not (stage.tree.root / DROPIN[1:]).exists()
    assert not (stage.tree.root / "srv/sftp/ann").exists(), "what was left of a jail goes too"
    assert not (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").exists()


def test_teardown_shuts_out_whom_it_may(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(stage, "cat", 1100)
    join(stage, "admin", 1101)
    assert run("setup", "--force")[0] == 0
    shadow = stage.tree.root / "etc/shadow"
    shadow.write_text(
        shadow.read_text().replace("cat:*:19000:0:99999:7:::", "cat:*:1:0:9:7::30000:")
    )
    code, out = run("--json", "teardown", "--close-accounts")
    actions = [
        action for action in json.loads(out)["actions"] if action["action"] == "CloseAccount"
    ]
    assert code == 0 and [action["about"] for action in actions] == [["ann"], ["cat"]]
    assert "admin is NOT shut out: it is in the group sudo" in run.err
    assert "cat had an expiry: usermod -e 30000 cat opens it" in run.err and "ann" not in run.err


def test_teardown_says_how_many_are_shut_out(run: Run, stage: Stage) -> None:
    join(stage, "admin", 1101)
    assert run("setup", "--force")[0] == 0
    code, out = run("teardown", "--close-accounts")
    assert code == 0 and out.startswith(
        "the jails are gone; 1 account expired; to reopen one: usermod "
    )


def test_a_removed_package_keeps_the_jails(run: Run, stage: Stage) -> None:
    code, out = run("teardown", "--keep-jails")
    assert code == 0 and out.endswith("every jail is as it was\n")
    assert has_jail(stage, "ann") and (stage.tree.root / DROPIN[1:]).exists()
    assert not (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").exists()


# -- apply ---------------------------------------------------------------------------------------


def test_apply_makes_each_jail_and_the_host(run: Run, stage: Stage) -> None:
    join(stage, "cat", 1100)
    (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").unlink()
    assert run("apply") == (0, "applied: cat\n"), run.err
    assert has_jail(stage, "cat")
    assert (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").exists()
    assert run("apply") == (0, "nothing to do: 2 jails checked, all is as it should be\n")


@pytest.fixture
def unit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """systemd's unit runs this; a list of what it did: took the lock, and kept the last uses."""
    done: list[str] = []

    def lock(path: str, timeout: float) -> contextlib.AbstractContextManager[None]:
        done.append("lock")
        return contextlib.nullcontext()

    stage.tree.write("/proc/self/cgroup", "0::/system.slice/sftpjail.service\n")
    monkeypatch.setattr(cli_host, "Host", stage.host)
    monkeypatch.setattr(engine.locks, "lock", lock)
    monkeypatch.setattr(last_used, "keep_hourly", lambda config, host: done.append("last uses"))
    return done


def test_the_unit_does_not_keep_useradd_waiting(run: Run, stage: Stage, unit: list[str]) -> None:
    """It looks at everything without the lock, which it takes for those with something to do."""
    assert run("apply") == (0, "nothing to do: all is as it should be\n"), run.err
    assert unit == ["last uses"]
    join(stage, "cat", 1100)
    assert run("apply") == (0, "applied: cat\n"), run.err
    assert has_jail(stage, "cat") and unit[1:] == ["lock", "last uses"]


def test_the_unit_looks_with_the_lock_at_few(
    run: Run, stage: Stage, unit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[list[str]] = []
    real = apply.plan_with_setup

    def spy(engine: Engine, first: Any, accounts: list[Account], *rest: Any) -> Any:
        looked.append([account.name for account in accounts])
        return real(engine, first, accounts, *rest)

    for module in (apply, cli_host):
        monkeypatch.setattr(module, "plan_with_setup", spy)
    join(stage, "cat", 1100)
    assert run("apply") == (0, "applied: cat\n")
    assert looked == [["ann", "cat"], ["cat"]]


def test_the_unit_looks_with_the_lock_at_all(run: Run, stage: Stage, unit: list[str]) -> None:
    """The host is not as it should be, so who knows which jails are."""
    (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").unlink()
    assert run("apply")[0] == 0, run.err
    assert (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").exists()
    assert unit == ["lock", "last uses"]


def test_the_unit_writes_records_anew(run: Run, stage: Stage, unit: list[str]) -> None:
    """By the gid in them whoever is jailed by a group that gets another name is shut out."""
    record = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    known = json.loads(record.read_text())
    record.write_text(json.dumps(known | {"gid": 4242}))
    assert run("apply")[0] == 0, run.err
    assert json.loads(record.read_text())["gid"] == known["gid"] != 4242
    assert unit == ["lock", "last uses"]


@pytest.mark.parametrize("name", ["admin", "a+b"])
def test_the_unit_reports_whom_it_skips(run: Run, stage: Stage, unit: list[str], name: str) -> None:
    join(stage, name, 1100)
    without = run("apply")
    said = run.err
    stage.tree.write("/proc/self/cgroup", "0::/user.slice/x.scope\n")
    assert run("apply")[0] == without[0] and run.err == said and name in said


def test_a_broken_sshd_is_not_asked_about_each_account(
    run: Run, stage: Stage, sshd: Sshd, programs: Programs
) -> None:
    """Ten thousand new members would keep useradd waiting for as many sshds."""
    os.utime(stage.tree.root / DROPIN[1:], (1, 1))  # others changed theirs since
    stage.tree.write("/etc/ssh/sshd_config.d/99-late.conf", "Bogus yes\n")
    counts = []
    for names in (("cat",), ("dog", "eve", "fay")):
        for uid, name in enumerate(names, 1100 + 10 * len(names)):
            join(stage, name, uid)
        sshd.broken = "/etc/ssh/sshd_config.d/99-late.conf line 1: Bad configuration option: Bogus"
        programs.asked.clear()
        assert run("apply")[0] == 1 and "Bogus" in run.err
        assert not any(has_jail(stage, name) for name in names)
        counts.append(sum("-T" in argv for argv in programs.asked))
    assert counts[0] == counts[1] > 0


def test_apply_skips_an_administrator_and_says_so(run: Run, stage: Stage) -> None:
    join(stage, "admin", 1100)
    join(stage, "cat", 1101)
    assert run("apply") == (0, "applied: cat\n")
    assert "sftpjail: admin is skipped: it is in the group sudo" in run.err
    assert has_jail(stage, "cat") and not has_jail(stage, "admin")


def test_apply_goes_on_without_whom_it_cannot_jail(run: Run, stage: Stage, refuse: Refuse) -> None:
    join(stage, "cat", 1100)
    join(stage, "dan", 1101)
    refuse("on_user_create", "cat")
    code, out = run("--json", "apply")
    answer = json.loads(out)
    (problem,) = answer["problems"]
    assert code == 1 and problem == {
        "about": "cat",
        "concerns": ["cat"],
        "severity": "broken",
        "what": "plugin quota: no quota is left",
        "why": "",
        "fix": "quota",
        "choices": [],
        "advice": "",
    }
    assert has_jail(stage, "dan") and not has_jail(stage, "cat")


def test_apply_is_done_again_without_whose_step_failed(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(stage, "cat", 1100)
    join(stage, "dan", 1101)
    real, tried = Engine.apply, list[str]()

    def fail(self: Engine, plan: Plan) -> list[str]:
        if any(step.owner == "cat" for step in plan.steps):
            tried.append("cat")
            error = SftpJailError("no inode is left")
            error.owner = "cat"
            raise error
        return real(self, plan)

    monkeypatch.setattr(Engine, "apply", fail)
    assert run("apply") == (1, "applied: dan\n") and tried == ["cat"]
    assert run.err.startswith("sftpjail: cat: ") and "no inode is left" in run.err
    assert has_jail(stage, "dan") and not has_jail(stage, "cat")


def test_apply_gives_up_where_the_host_is_at_fault(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        join(stage, f"user{number}", 1100 + number)
    tried: list[str] = []

    def fail(self: Engine, plan: Plan) -> list[str]:
        owner = next(step.owner for step in plan.steps if step.owner.startswith("user"))
        tried.append(owner)
        error = SftpJailError("no inode is left")
        error.owner = owner
        raise error

    monkeypatch.setattr(Engine, "apply", fail)
    assert run("apply")[0] == 1 and run.err == "sftpjail: no inode is left\n"
    assert len(tried) == len(set(tried)) == 21


@pytest.mark.usefixtures("root")
def test_apply_of_a_file_touches_nobody_else(run: Run, stage: Stage, tmp_path: Path) -> None:
    listed = tmp_path / "names"
    for number, name in enumerate(("cat", "dan"), 1100):
        join(stage, name, number)
    (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").unlink()
    listed.write_text("\ufeff# who\n\n cat \n")
    assert run("apply", str(listed)) == (0, "applied: cat\n"), run.err
    assert has_jail(stage, "cat") and not has_jail(stage, "dan")
    assert not (stage.tree.root / "etc/shadow-maint/useradd-post.d/sftpjail").exists()
    listed.write_text("cat\nbob\n")
    assert run("apply", str(listed)) == (1, "")
    assert run.err == "sftpjail: not jailed: bob\n  fix: sftpjail adopt bob\n"
    listed.write_text("../x\n")
    assert run("apply", str(listed))[0] == 2 and "valid account name" in run.err
    listed.write_bytes(b"\xff\n")
    assert run("apply", str(listed))[0] == 2 and f"cannot read {listed}" in run.err
    assert run("apply", str(tmp_path / "none"))[0] == 2
    listed.write_text("ann,1001,$6$salt$0123456789\n")
    assert run("apply", str(listed))[0] == 2 and "0123" not in run.err and "(hash)" in run.err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ()),
        ("\ufeff\n \n", ()),
        ("# nobody\n", ()),
        ("", ("--format", "configobj")),
        ("\n", ("--format", "csv")),
    ],
)
def test_apply_of_an_empty_file_is_a_mistake(
    run: Run, tmp_path: Path, text: str, options: Sequence[str]
) -> None:
    listed = tmp_path / "names"
    listed.write_text(text)
    assert run("apply", str(listed), *options)[0] == 2 and str(listed) in run.err
    assert run("apply", "", *options)[0] == 2 and "the name of FILE is empty" in run.err
    assert run("export", "--output", "")[0] == 2 and "the name of --output is empty" in run.err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("mode", "who"), [(0o646, "everybody"), (0o664, "the group")])
@pytest.mark.parametrize("text", ["ann\n", "[ann]\n", "name,uid\nann,\n"])
def test_apply_takes_no_file_that_others_can_write(
    run: Run, tmp_path: Path, mode: int, who: str, text: str
) -> None:
    listed = tmp_path / "accounts"
    listed.write_text(text)
    listed.chmod(mode)
    assert run("apply", str(listed))[0] == 1 and f"and {who}" in run.err
    # Its name is not root's alone.
    assert "can write it" in run.err and "chmod" not in run.err and "namei" in run.err


@pytest.mark.usefixtures("root")
def test_no_command_is_printed_on_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "accounts"
    listed.write_text("name,password\nann,$6$salt$0123456789\n")
    listed.chmod(0o644)
    with listed.open() as handle:
        monkeypatch.setattr(sys, "stdin", handle)
        assert run("apply", "-")[0] == 1
    assert "everybody can read it" in run.err and "fix:" not in run.err, run.err


def test_apply_says_when_it_writes_records_alone(run: Run, stage: Stage) -> None:
    """As after an upgrade, from a version that did not write the gid."""
    path = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    words = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("gid", "group")}
    path.write_text(json.dumps(words, indent=1) + "\n")
    assert run("apply") == (
        0,
        "applied: 1 record in /var/lib/sftpjail/accounts, and no jail\n",
    )
    assert "gid" in path.read_text()


def test_apply_removes_only_when_asked(run: Run, stage: Stage) -> None:
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    assert run("apply") == (0, "nothing to do: 0 jails checked, all is as it should be\n")
    assert has_jail(stage, "ann")
    nothing = "nothing to do: 0 jails checked, all is as it should be\n"
    assert run("apply", "--prune") == (1, nothing), "it would be an ordinary account"
    assert has_jail(stage, "ann") and "ann: is not pruned" in run.err
    assert "to jail it again: sftpjail adopt ann\n" in run.err
    assert "the shell /bin/bash: sftpjail remove ann\n" in run.err
    assert "ordinary ones: sftpjail apply --prune --yes\n" in run.err
    assert run("apply", "--prune", "--yes") == (0, "applied: ann\n"), run.err
    assert not (stage.tree.root / "srv/sftp/ann").exists()
    assert stage.tree.shown == {}


def test_prune_asks_for_nobody_who_is_gone(run: Run, stage: Stage) -> None:
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
    assert run("apply", "--prune") == (0, "applied: ann\n"), run.err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_prune_asks_on_a_terminal(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    done, said = run("apply", "--prune")
    assert "No longer jailed: ann with the shell /bin/bash. Ordinary accounts? [y/N] " in said
    assert done == code and has_jail(stage, "ann") == bool(code)


@pytest.mark.parametrize("renamed", [True, False])
def test_prune_keeps_whom_a_group_has_jailed_that_is_another(
    run: Run, stage: Stage, renamed: bool
) -> None:
    """It was renamed or removed, and made anew: nobody has taken the account out of it."""
    run("apply")
    lines = [x.replace("sftponly:x:500:ann", "sftponly:x:501:") for x in stage.tree.group_lines]
    stage.tree.group_lines = [*lines, *(["sftp2:x:500:ann"] if renamed else [])]
    assert run("apply", "--prune")[0] == 1
    assert "ann is not pruned: it left no group" in run.err and has_jail(stage, "ann")


# -- hook ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["useradd-post", "adduser-post", "adduser-local", "pam-session"])
def test_whoever_comes_gets_a_jail(run: Run, stage: Stage, told: list[str], event: str) -> None:
    join(stage, "cat", 1100)
    assert run("hook", event, "cat") == (0, f"{event}: cat\n"), run.err
    assert has_jail(stage, "cat") and told == []
    assert run("hook", event, "cat") == (0, "nothing to do\n")


@pytest.mark.parametrize(
    ("event", "name", "code"),
    [
        ("useradd-post", "bob", 0),
        ("adduser-post", "bob", 0),
        ("pam-session", "bob", 1),
        ("useradd-post", "nobody2", 0),
        ("pam-session", "nobody2", 1),
        ("userdel-pre", "bob", 0),
        ("userdel-post", "bob", 0),
        ("userdel-post", "ann", 0),
    ],
)
def test_nobody_else_is_touched(
    run: Run, stage: Stage, told: list[str], event: str, name: str, code: int
) -> None:
    before = dict(stage.tree.shown)
    assert run("hook", event, name)[0] == code
    assert stage.tree.shown == before
    assert [who for who in ("ann", "bob", name) if has_jail(stage, who)] == (
        ["ann"] * (1 + (name == "ann"))
    )
    assert len(told) == code


@pytest.mark.parametrize("event", ["useradd-post", "adduser-post", "adduser-local", "pam-session"])
def test_no_hook_jails_an_administrator(
    run: Run, stage: Stage, told: list[str], event: str
) -> None:
    join(stage, "admin", 1100)
    assert run("hook", event, "admin")[0] == 1 and not has_jail(stage, "admin")
    assert told[0].startswith(f"{event} admin: will not jail admin: it is in the group sudo")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """For whom, and for which process, a waiter was left: a negative pid where useradd's hook
    runs again; adduser is pid 7."""
    found: list[tuple[str, int]] = []

    def leave(name: str, pid: int, new: bool = False) -> None:
        found.append((name, -pid if new else pid))

    monkeypatch.setattr(arrivals, "leave_waiter", leave)
    monkeypatch.setattr(arrivals, "adduser", lambda: 7)
    return found


def test_under_adduser_a_waiter_makes_the_jail(
    run: Run, stage: Stage, told: list[str], left: list[tuple[str, int]]
) -> None:
    join(stage, "cat", 1100)
    home = stage.tree.root / "home/cat"
    home.rmdir()
    assert run("hook", "useradd-post", "cat") == (0, ""), run.err
    assert left == [("cat", 7)] and not (stage.tree.root / "srv/sftp/cat").exists()
    home.mkdir()
    assert run("hook", "adduser-post", "cat") == (0, "adduser-post: cat\n"), run.err
    assert has_jail(stage, "cat") and len(left) == 1 and told == []


def test_under_adduser_a_home_that_is_there_gets_its_jail(
    run: Run, stage: Stage, left: list[tuple[str, int]]
) -> None:
    join(stage, "cat", 1100)
    assert run("hook", "useradd-post", "cat")[0] == 0
    assert has_jail(stage, "cat") and left == []


def test_a_useradd_below_the_lock_holder_is_waited_for(
    run: Run, stage: Stage, left: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    join(stage, "cat", 1100)
    monkeypatch.setattr(arrivals, "lock_holder", lambda *paths: 8)
    assert run("hook", "useradd-post", "cat") == (0, "")
    assert left == [("cat", -8)] and not has_jail(stage, "cat")


def test_an_account_that_is_being_created_is_left_alone(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(stage, "cat", 1100)
    arrival = arrivals.Arrival("cat", 7, 9)
    monkeypatch.setattr(arrivals, "wait_for", lambda name: arrival if name == "cat" else None)
    monkeypatch.setattr(People, "maker", lambda self, name: 7 if name == "cat" else None)
    for command in (["show", "cat"], ["check", "ann", "cat"], ["key", "list", "cat"]):
        assert run(*command)[0] == 1, command
        assert "cat is still being created, by pid " in run.err
    assert run("show", "ann")[0] == 0
    assert run("apply") == (0, "nothing to do: 1 jail checked, all is as it should be\n")
    assert "cat is skipped: pid 7 is still creating it" in run.err and not has_jail(stage, "cat")
    assert "cat" not in run("check")[1]


def test_a_login_does_not_make_its_user_the_administrator(
    run: Run, stage: Stage, told: list[str]
) -> None:
    join(stage, "cat", 1100)
    stage.tree.write("/proc/self/loginuid", "1100")
    assert run("hook", "useradd-post", "cat")[0] == 1 and "it is you" in told[0]
    assert run("hook", "pam-session", "cat")[0] == 0 and has_jail(stage, "cat")


def test_a_new_account_has_nothing_of_its_namesake(run: Run, stage: Stage) -> None:
    record = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    assert record.exists()
    shadow = stage.tree.root / "etc/shadow"
    for day, kept in ((19000, True), (int(time.time() // 86400), False)):
        shadow.write_text(f"ann:*:{day}:0:99999:7:::\n")
        inode = record.stat().st_ino
        (stage.tree.root / KEYS[1:]).write_text("ssh-ed25519 AAAAgood ann\n")
        stage.tree.write("/var/lib/sftpjail/accounts/ann", f'{{"uid": 1001, "made": ["{KEYS}"]}}')
        assert run("hook", "useradd-post", "ann")[0] == 0, run.err
        assert (stage.tree.root / KEYS[1:]).exists() == kept, day
        assert inode


def test_a_leaving_account_keeps_its_lines_until_it_is_gone(run: Run, stage: Stage) -> None:
    assert run("hook", "userdel-pre", "ann") == (0, "userdel-pre: ann\n"), run.err
    assert stage.tree.shown == {} and "x-sftpjail.user=ann" in stage.host().text("/etc/fstab")
    assert (stage.tree.root / KEYS[1:]).exists()
    stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
    assert run("hook", "userdel-post", "ann") == (0, "userdel-post: ann\n"), run.err
    assert "x-sftpjail.user=ann" not in stage.host().text("/etc/fstab")
    assert not has_jail(stage, "ann")


def test_a_leaving_account_that_stays_has_its_jail_again(run: Run, stage: Stage) -> None:
    before, leaving = dict(stage.tree.shown), stage.tree.root / "leaving/ann"
    assert run("hook", "userdel-pre", "ann")[0] == 0 and stage.tree.shown == {}
    assert leaving.exists()
    run("list"), run("apply", "--dry-run"), run("hook", "userdel-pre", "ann")
    assert stage.tree.shown == {} and leaving.exists(), "these change nothing, or are userdel's"
    assert run("key", "remove", "ann", "none")[0] == 1
    assert "sftpjail: userdel stopped, and the jail of ann is whole again\n" in run.err
    assert stage.tree.shown == before != {} and not leaving.exists()


def test_keys_that_somebody_else_made_stay(run: Run, stage: Stage, told: list[str]) -> None:
    stage.tree.write("/etc/ssh/authorized_keys/zoe", "ssh-ed25519 AAAAgood zoe\n")
    assert run("hook", "userdel-post", "zoe") == (0, "nothing to do\n")
    assert told == ["zoe is gone; /etc/ssh/authorized_keys/zoe, which sftpjail did not make, stays"]
    told.clear()
    assert run("hook", "userdel-post", "zoe2")[0] == 0 and told == []


def test_a_hook_shuts_out_whom_it_cannot_jail(
    run: Run,
    stage: Stage,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join(stage, "cat", 1100)
    events: list[str] = []
    real = Engine.apply

    def apply(self: Engine, plan: Plan) -> list[str]:
        events.extend(event.hook for event in plan.events)
        if "on_user_create" in events[-1:]:
            raise SftpJailError("no room")
        return [] if "on_user_close" in events[-1:] else real(self, plan)

    monkeypatch.setattr(Engine, "apply", apply)
    monkeypatch.setattr("sftpjail.operations.events.lets_in", lambda account, host: True)
    monkeypatch.setattr(Engine, "plan", _without_binds(Engine.plan))
    assert run("hook", "useradd-post", "cat")[0] == 1
    assert events == ["on_user_create", "on_user_close"]
    assert told == ["useradd-post cat: cat is shut out until this is fixed: no room"]


def _without_binds(real: Callable[..., Plan]) -> Callable[..., Plan]:
    def plan(self: Engine, events: Any, tolerant: bool = False, also: Any = ()) -> Plan:
        kept = [event for event in events if event.hook in ("on_user_create", "on_user_close")]
        return real(self, kept, tolerant, also)

    return plan


# -- add -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "uid", "why"),
    [
        ("sudo", 1100, "is in the group sudo"),
        ("", 0, "has uid 0"),
        ("", 999, "is a system account (uid 999)"),
    ],
)
def test_add_judges_what_useradd_really_made(
    run: Run, stage: Stage, programs: Programs, group: str, uid: int, why: str
) -> None:
    """Its defaults, and a hook of somebody's, may have made it an administrator."""

    def useradd(argv: Any, _: object) -> Answer:
        join(stage, "eve", uid, gid=4000)
        if group:
            stage.join(group, "eve")
        return Answer(0, "", "")

    programs.answer_by("useradd", useradd)
    assert run("add", "eve")[0] == 1 and not has_jail(stage, "eve")
    assert run.err.startswith(f"sftpjail: will not jail eve: it {why}")
    assert [argv[0] for argv in programs.asked if "user" in argv[0]] == ["useradd"]


# -- a directory service beside local files ------------------------------------------------------


@pytest.fixture
def silent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A host that asks SSSD, and the names of whom that says nothing now."""
    names: set[str] = set()
    stage.config = replace(stage.config, plugins_disable=("pam",))
    stage.tree.write("/etc/nsswitch.conf", "passwd: files sss # [NOTFOUND=return]\n")
    for name in ("is_silent", "is_silent_group"):
        monkeypatch.setattr(People, name, lambda self, asked: asked in names)
    for name in ("zoe", "zac"):
        stage.tree.write(f"/var/lib/sftpjail/accounts/{name}", '{"uid": 7000}')
    return names


def test_who_is_gone_is_not_known_by_a_directory_alone(
    run: Run, stage: Stage, silent: set[str]
) -> None:
    words = "is it gone, or is the directory service down? If it is gone: sftpjail remove"
    assert run("apply", "--prune")[0] == 1
    assert run.err == "".join(f"sftpjail: {n}: {words} {n}\n" for n in ("zac", "zoe"))
    records = stage.tree.root / "var/lib/sftpjail/accounts"
    assert {record.name for record in records.iterdir()} == {"ann", "zac", "zoe"}
    stage.tree.write("/etc/nsswitch.conf", "passwd: files systemd\n")
    assert run("apply", "--prune")[0] == 0, run.err
    assert {record.name for record in records.iterdir()} == {"ann"}


def test_whom_a_silent_directory_may_know_is_skipped(
    run: Run, stage: Stage, silent: set[str]
) -> None:
    silent |= {"zoe", "bob"}
    said = "sftpjail: the directory service (sss) does not answer; skipped: zoe\n"
    assert run("apply") == (1, "nothing to do: 1 jail checked, all is as it should be\n")
    assert run.err == said
    assert run("show", "bob")[0] == 1 and "does not answer whether there is" in run.err
    stage.tree.group_lines = [line.replace(":500:ann", ":500:") for line in stage.tree.group_lines]
    assert run("teardown")[0] == 1 and "it is not known who is still jailed: " in run.err
    assert (stage.tree.root / DROPIN[1:]).exists()


def test_a_group_that_is_gone_stops_setup_and_no_jail(run: Run, stage: Stage) -> None:
    stage.config = Config(profiles=(*stage.config.profiles, Profile("web", "web")))
    stage.set_up()
    join(stage, "cat", 1100)
    stage.tree.group_lines = [line for line in stage.tree.group_lines if "web" not in line]
    assert run("apply") == (1, "applied: cat\n")
    assert run.err.startswith("sftpjail: setup is not done: the group web is gone, ")
    assert stage.host().group("web") is None


@pytest.mark.parametrize(
    "error", [SftpJailError("cannot run env"), OSError(errno.EMFILE, "Too many open files")]
)
def test_a_report_that_fails_is_no_failure_of_the_change(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def unusable(*_: object) -> None:
        raise error

    stage.tree.directory("/srv/web")
    monkeypatch.setattr("sftpjail.cli.mounts.unusable", unusable)
    code, out = run("mount", "ann", "/srv/web", "/web")
    assert code == 0 and out == "ann sees /srv/web as /web\n"
    assert f"advice: cannot check whether all can be used: {error.args[-1]}" in run.err


# -- the events of one jail ----------------------------------------------------------------------


def events_of(stage: Stage, name: str) -> list[tuple[str, str]]:
    engine = stage.engine()
    account = jailed(stage.config, engine.host)[name]
    found = create_events(account, engine.host, engine.manager)
    shown = [e.bind.target if isinstance(e, OnMount | OnUnmount) else "" for e in found]
    return [(event.hook, target) for event, target in zip(found, shown, strict=True)]


def test_a_mount_moves_along_with_its_jail(run: Run, stage: Stage) -> None:
    stage.tree.directory("/srv/web")
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0
    (old,) = stage.config.profiles
    stage.config = Config(profiles=(replace(old, chroot="/jails/%u"),))
    assert events_of(stage, "ann") == [
        ("on_unmount", "/srv/sftp/ann/dev"),
        ("on_unmount", "/srv/sftp/ann/web"),
        ("on_unmount", "/srv/sftp/ann/home/ann"),
        ("on_user_create", ""),
        ("on_mount", "/jails/ann/dev"),
        ("on_mount", "/jails/ann/web"),
        ("on_mount", "/jails/ann/home/ann"),
    ]


def test_a_mount_outside_of_the_jail_is_nobodys(stage: Stage) -> None:
    stage.tree.fstab("/srv/web /elsewhere/ann/web none bind,x-sftpjail.user=ann 0 0")
    with pytest.raises(SftpJailError, match="/elsewhere/ann/web lies outside of") as caught:
        events_of(stage, "ann")
    assert caught.value.fix == r"sed -i '\|[[:space:]]/elsewhere/ann/web[[:space:]]|d' /etc/fstab"


# -- what runs outside of a jail -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["at", "processes", "cron"])
@pytest.mark.parametrize("uid", [0, 1001, 1500])
def test_nothing_is_ended_that_may_be_anothers(stage: Stage, kind: str, uid: int) -> None:
    stage.tree.account("eve", uid, gid=4000)
    host = stage.host()
    works = [activity.Work(kind, "7 things")]
    if uid == 1500 or kind == "cron":
        activity.refuse_shared(host.accounts["eve"], works, host)
        return
    whose = "root" if uid == 0 else "ann"
    with pytest.raises(SftpJailError, match=f"eve has the uid {uid} of {whose}: .*7 things") as no:
        activity.refuse_shared(host.accounts["eve"], works, host)
    assert no.value.fix == f"sftpjail adopt --close --keep {kind} eve"


@pytest.mark.parametrize(
    ("home", "target"),
    [("/files", "/home/ann"), ("/home/new", "/home/new"), ("/home/ann", "/home/ann")],
)
def test_a_home_inside_the_jail_was_elsewhere_before(stage: Stage, home: str, target: str) -> None:
    """Where the profile wants it on the host again; one that somebody has changed since counts."""
    stage.tree.directory("/home/new", owner=(1001, 1001))
    stage.tree.people = [line.replace(":/home/ann:", f":{home}:") for line in stage.tree.people]
    stage.tree.write(
        "/var/lib/sftpjail/accounts/ann", '{"uid": 1001, "was": {"home": "/home/ann"}}'
    )
    mounts = [place for hook, place in events_of(stage, "ann") if hook == "on_mount"]
    assert mounts == ["/srv/sftp/ann/dev", f"/srv/sftp/ann{target}"]
