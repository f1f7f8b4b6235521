"""check and explain: what they say of a host on which all plugins are at work."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest
from fakes import FakeHost, Programs
from fakesshd import sshd
from hypothesis import example, given
from hypothesis import strategies as st
from played import RSYSLOG, SOCKET, Stage, rogue, stage

from sftpjail import SftpJailError, WriteFile
from sftpjail.cli.drawing import wrap_command
from sftpjail.config import Config
from sftpjail.engine import engine, manager
from sftpjail.engine.plan import OnSetup, OnUserLimit
from sftpjail.errors.escapes import Choice
from sftpjail.formats.user_managers import DROPIN as MANAGERS
from sftpjail.jails.membership import jailed
from sftpjail.model import Problem, Profile
from sftpjail.operations.apply import plan_all
from sftpjail.operations.diagnosis import causes, judge
from sftpjail.operations.limits import limited
from sftpjail.paths import ADDRESSES
from sftpjail.system import locks

__all__ = ["sshd", "stage"]

DROPIN, ADMIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf", "/etc/ssh/sshd_config.d/00-admin.conf"
JAIL, KEYS = "/srv/sftp/ann", "/etc/ssh/authorized_keys/ann"


def told(problems: Sequence[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.about, problem.what, problem.fix) for problem in problems]


# -- judge ---------------------------------------------------------------------------------------


def test_a_healthy_host_has_no_problems(stage: Stage) -> None:
    assert judge(stage.engine(), []) == [] == judge(stage.engine(), ["ann"])


def test_only_jailed_accounts_can_be_judged(stage: Stage) -> None:
    with pytest.raises(SftpJailError, match="bob is not jailed") as caught:
        judge(stage.engine(), ["ann", "bob"])
    assert caught.value.fix == "sftpjail adopt bob"


def test_what_setup_would_change_is_a_problem_of_the_host(stage: Stage) -> None:
    stage.tree.write("/etc/shadow-maint/userdel-pre.d/sftpjail", "#!/bin/sh\nexit 0\n", 0o644)
    stage.tree.write(RSYSLOG, "# changed\n")
    (problem,) = judge(stage.engine(), [])
    assert (problem.about, problem.why, problem.fix) == (
        "host",
        "setup would change it",
        "sftpjail setup",
    )
    assert problem.what == (
        "not as configured: ~ /etc/rsyslog.d/10-sftpjail.conf: -# changed; "
        "~ file /etc/shadow-maint/userdel-pre.d/sftpjail (owner 0:0, mode 0755)"
    )


def test_what_a_problem_says_is_said_once_and_hides_nothing(stage: Stage) -> None:
    stage.tree.program("systemctl")  # so that setup would write the drop-ins, and units of ours
    lost, changed = judge(stage.engine(), [])
    assert (lost.what, lost.fix) == (f"{MANAGERS} is missing", "sftpjail setup")
    assert changed.what.startswith("not as configured: ") and "user@.service.d" not in changed.what
    assert "multi-user.target.d" in changed.what


def test_what_apply_would_change_is_a_problem_of_the_jail(stage: Stage) -> None:
    stage.tree.people = [
        line.replace("/usr/sbin/nologin", "/bin/bash") for line in stage.tree.people
    ]
    assert told(judge(stage.engine(), [])) == [
        (
            "ann",
            "not as configured: ~ account ann: shell /bin/bash -> /usr/sbin/nologin",
            "sftpjail apply",
        )
    ]


def test_a_summary_names_three_things_and_counts_the_rest(stage: Stage) -> None:
    stubs = sorted(stage.tree.root.glob("etc/shadow-maint/*/sftpjail"))
    for stub in stubs:
        stub.chmod(0o644)
    stage.tree.write("/etc/rsyslog.d/10-sftpjail.conf", "# changed\n")
    (said,) = (f.what for f in judge(stage.engine(), []))
    head, *words, last = said.split("; ")
    assert head == "not as configured: ~ /etc/rsyslog.d/10-sftpjail.conf: -# changed"
    assert (
        len(stubs) == 3 and len(words) == 1 and last.endswith(" (owner 0:0, mode 0755) and 1 more")
    )
    assert all(word.startswith("~ file /etc/shadow-maint/") for word in (*words, last))


def test_what_is_missing_of_two_jails_is_said_of_each(stage: Stage) -> None:
    for name in ("cat", "dan"):
        stage.tree.account(name, 1100 + len(stage.tree.people))
        stage.join("sftponly", name)
    what = {f.about: f.what for f in judge(stage.engine(), []) if f.fix == "sftpjail apply"}
    assert what == {name: f"the jail /srv/sftp/{name} is missing" for name in ("cat", "dan")}


def test_a_mount_that_is_missing_is_told_once(stage: Stage) -> None:
    # The problem has said what `apply` would do.
    stage.umount(f"{JAIL}/home/ann")
    problems = judge(stage.engine(), [])
    assert [f for f in told(problems) if "fstab" in f[1]] == [
        ("ann", f"{JAIL}/home/ann is in fstab and not mounted", "sftpjail apply")
    ]
    assert not [problem for problem in problems if "not as configured" in problem.what]


def test_a_veto_is_told_with_its_fix_unless_a_problem_was(stage: Stage) -> None:
    stage.tree.owners["/srv"] = (1002, 1002)
    problems = judge(stage.engine(), [])
    assert [(f.about, f.fix) for f in problems if "/srv belongs to uid 1002" in f.what] == [
        ("host", "chown root /srv"),
        ("ann", "chown root /srv"),
    ]


def test_no_second_command_takes_back_what_the_first_did(stage: Stage) -> None:
    """`umount` and apply, and then once more `umount`: what apply has mounted would be gone."""

    def refuses(account: object) -> None:
        raise SftpJailError("something is in the way", "umount /x")

    made = stage.engine()
    mends = Problem("/x shows something else", "it was covered", "umount /x && sftpjail apply")
    plugin = rogue(on_check=lambda account: [mends] if account else [], on_user_create=refuses)
    made.manager.plugins.register(plugin, "rogue")
    assert told(judge(made, ["ann"])) == [("ann", mends.what, mends.fix)]


def test_users_named_are_judged_without_the_host(stage: Stage) -> None:
    stage.tree.pids = {"sshd": 7}
    assert [problem.about for problem in judge(stage.engine(), [])] == ["host"]
    assert judge(stage.engine(), ["ann"]) == []


def test_problems_are_told_once(stage: Stage) -> None:
    made = stage.engine()
    same = Problem("the disk is old", "it may die", "buy one")
    plugin = rogue(on_check=lambda account: [same, same] if account else [same])
    made.manager.plugins.register(plugin, "rogue")
    made.manager.plugins.register(rogue(on_check=lambda: [same]), "rogue2")
    assert judge(made, []) == [replace(same, about="host", concerns=("ann",))]
    assert judge(made, ["ann"]) == [replace(same, about="ann", concerns=("ann",))]


def test_a_plugin_that_breaks_is_a_problem_and_the_others_go_on(stage: Stage) -> None:
    stage.tree.pids = {"sshd": 7}

    def broken(account: object) -> list[Problem]:
        raise KeyError("x")

    made = stage.engine()
    made.manager.plugins.register(rogue(on_check=broken), "rogue")
    problems = judge(made, [])
    confession = Problem(
        "plugin rogue: on_check broke: KeyError: 'x'", "what plugin rogue judges is not known"
    )
    assert replace(confession, about="host", concerns=("ann",)) in problems
    assert "rsyslog does not run" in [problem.what for problem in problems]
    assert judge(made, ["ann"]) == [replace(confession, about="ann", concerns=("ann",))]


@pytest.mark.parametrize("wanted", [["no problem"], 7, [Problem("a", "b"), None]])
def test_a_plugin_that_returns_nonsense_is_a_problem(stage: Stage, wanted: object) -> None:
    made = stage.engine()
    made.manager.plugins.register(rogue(on_check=lambda: wanted), "rogue")
    (problem,) = judge(made, [])
    assert problem.what.startswith("plugin rogue: on_check returned ")
    assert problem.what.endswith(("which is no list of Problem", "which is no Problem"))


def test_a_plugin_that_does_not_load_is_a_problem_and_no_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "strangers", dict)
    stage.config = Config(plugins_allow=("quota",))
    with pytest.raises(SftpJailError):
        stage.engine()
    (problem,) = judge(stage.engine(tolerant=True), [])
    assert (problem.about, problem.why) == ("host", "its hooks do not run")
    assert problem.what == "plugin quota is allowed by the configuration and not installed"
    assert problem.fix.startswith("sed -Ei ") and "quota" in problem.fix


def test_a_plugin_that_is_not_there_is_not_disabled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "strangers", lambda: {"welcome": None})
    stage.config = Config(plugins_disable=("scripts", "welcome", "mial"))
    (problem,) = judge(stage.engine(tolerant=True), [])
    assert (problem.about, problem.severity) == ("host", "advice")
    assert problem.what == "there is no plugin mial to disable; did you mean mail?"


def test_an_administrator_in_a_jail_group(stage: Stage) -> None:
    stage.tree.account("admin", 1010)
    stage.join("sftponly", "admin")
    problems = [problem for problem in judge(stage.engine(), []) if problem.about == "admin"]
    (problem,) = [problem for problem in problems if problem.why == "sshd jails it all the same"]
    assert problem.what.startswith("is in a jail group, and ") and "sudo" in problem.what
    assert problem.fix == "gpasswd -d admin sftponly"
    assert not [problem for problem in problems if "not as configured" in problem.what], (
        "apply leaves it alone"
    )


def test_an_administrator_whose_primary_group_is_the_jails(stage: Stage) -> None:
    stage.tree.account("admin", 1010, gid=500)
    (problem,) = [
        problem
        for problem in judge(stage.engine(), [])
        if problem.why == "sshd jails it all the same"
    ]
    assert problem.advice == "give it another primary group: usermod -g GROUP admin"
    stage.tree.group("admin", 1010)
    (problem,) = [
        problem
        for problem in judge(stage.engine(), [])
        if problem.why == "sshd jails it all the same"
    ]
    assert problem.fix == "usermod -g 1010 admin"


def test_a_group_with_a_space_is_quoted_in_its_command(stage: Stage) -> None:
    profile = Profile("staff", "domain users", chroot="/srv/sftp/%u")
    stage.config = Config(profiles=(profile,))
    stage.tree.account("admin", 1010)
    stage.tree.group("domain users", 700, "admin")
    problems = [problem for problem in judge(stage.engine(), []) if problem.about == "admin"]
    (problem,) = [problem for problem in problems if "jail group" in problem.what]
    assert problem.fix == "gpasswd -d admin 'domain users'"


def test_no_problem_without_a_command_hides_a_veto(stage: Stage) -> None:
    def veto() -> list[Problem]:
        raise SftpJailError("no room for anybody")

    made = stage.engine()
    made.manager.plugins.register(
        rogue(on_check=lambda: [Problem("something", "who knows")], on_user_create=veto), "rogue"
    )
    assert told(judge(made, ["ann"])) == [
        ("ann", "something", ""),
        ("ann", "plugin rogue: no room for anybody", ""),
    ]


def test_an_interrupted_run_is_told_and_not_one_that_goes_on(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = str(tmp_path / "run/lock")
    monkeypatch.setattr(engine, "LOCK", lock)
    stage.tree.write("/var/lib/sftpjail/journal", "{}\n")
    interrupted = [("host", "an interrupted run has not been rolled back yet", "sftpjail apply")]
    assert told(judge(stage.engine(), [])) == interrupted
    with locks.lock(lock, 1.0):
        assert judge(stage.engine(), []) == []
    assert told(judge(stage.engine(), [])) == interrupted


# -- what is left behind -------------------------------------------------------------------------


def leave(stage: Stage) -> None:
    """Take ann out of the group."""
    stage.tree.group_lines = [
        line.replace("sftponly:x:500:ann", "sftponly:x:500:") for line in stage.tree.group_lines
    ]


def test_who_left_the_group_leaves_a_jail(stage: Stage) -> None:
    leave(stage)
    (found,) = judge(stage.engine(), [])
    assert found.describe() | {"severity": "", "concerns": []} == {
        "about": "ann",
        "concerns": [],
        "severity": "",
        "what": "left something of a jail behind",
        "why": "nobody whom sftponly has jailed is in it, as when it was removed and made anew",
        "fix": "",
        "choices": [
            {"label": "to jail it again", "command": "sftpjail adopt ann"},
            {
                "label": "to make it an ordinary account with the shell /bin/bash",
                "command": "sftpjail remove ann",
            },
        ],
        "advice": "",
    }


def test_a_group_of_the_same_gid_made_anew_is_suspected(stage: Stage) -> None:
    """Nothing tells groupdel and groupadd -g from gpasswd -d, but that nobody is left of all."""
    for name, uid in (("ann", 1001), ("bob", 1002)):
        record = stage.tree.root / f"var/lib/sftpjail/accounts/{name}"
        words = json.loads(record.read_text()) if record.exists() else {"uid": uid}
        record.write_text(json.dumps(words | {"group": "sftponly", "gid": 500}))
    leave(stage)
    why = {one.about: one.why for one in judge(stage.engine(), [])}
    assert "nobody whom sftponly has jailed is in it" in why["ann"]
    stage.join("sftponly", "bob")
    why = {one.about: one.why for one in judge(stage.engine(), []) if "behind" in one.what}
    assert why == {"ann": "it left its profile's group"}


def hidden(path: str) -> str:
    """The name by which a file is kept that nothing reads any more."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.old"


def test_who_is_gone_leaves_a_jail_and_a_key_file(stage: Stage) -> None:
    leave(stage)
    stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
    problems = {problem.what: problem for problem in judge(stage.engine(), [])}
    assert problems["left something of a jail behind"].why == "there is no such account any more"
    assert problems[f"{KEYS} belongs to no account"].fix == f"mv -nT {KEYS} {hidden(KEYS)}"
    assert len(problems) == 2, "what fstab still names is told by the first"


def test_a_damaged_record_hides_no_other_departure(stage: Stage) -> None:
    leave(stage)
    stage.tree.write("/var/lib/sftpjail/accounts/abe", "{")
    problems = {problem.about: problem for problem in judge(stage.engine(), [])}
    assert problems["abe"].why == "what it was before its jail is not known"
    assert problems["ann"].what == "left something of a jail behind"


def test_a_mount_that_nothing_names_any_more(stage: Stage) -> None:
    leave(stage)
    stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
    stage.tree.write("/etc/fstab", "")
    problems = {problem.what: problem for problem in judge(stage.engine(), [])}
    assert (
        problems[f"{JAIL}/dev is still mounted, and there is no account ann"].fix
        == f"umount {JAIL}/dev"
    )


def test_a_group_that_is_gone_is_no_departure(stage: Stage) -> None:
    # groupdel, and every member is an ordinary account; --prune would take their jails away.
    stage.tree.group_lines = [
        line for line in stage.tree.group_lines if not line.startswith("sftponly:")
    ]
    problems = {problem.about: problem for problem in judge(stage.engine(), [])}
    assert problems["ann"].what == "is no longer jailed: the group of its profile is gone"
    assert problems["ann"].fix == "sftpjail setup && sftpjail adopt ann"


def test_a_group_that_was_renamed_and_made_anew_is_no_departure(stage: Stage) -> None:
    record = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"group": "sftponly", "gid": 500})
    )
    leave(stage)
    assert [one.what for one in judge(stage.engine(), [])] == ["left something of a jail behind"]
    lines = [one.replace("sftponly:x:500:", "sftponly:x:501:") for one in stage.tree.group_lines]
    stage.tree.group_lines = [*lines, "sftp2:x:500:ann"]
    (problem,) = judge(stage.engine(), [])
    assert (problem.about, problem.severity, problem.fix) == ("ann", "open", "")
    assert "the group that has jailed it is called sftp2 now" in problem.what
    assert [one.command for one in problem.choices] == ["sftpjail adopt ann", "sftpjail remove ann"]
    stage.tree.group_lines = lines
    (problem,) = judge(stage.engine(), [])
    assert "the group that has jailed it is gone, and sftponly is another one" in problem.what
    assert [one.command for one in problem.choices] == ["sftpjail adopt ann", "sftpjail remove ann"]


def test_files_in_a_jail_of_nobody_are_a_persons(stage: Stage) -> None:
    leave(stage)
    stage.tree.people = [line for line in stage.tree.people if not line.startswith("ann:")]
    (stage.tree.root / KEYS.lstrip("/")).unlink()
    for target in [f"{JAIL}/home/ann", f"{JAIL}/dev"]:
        stage.umount(target)
    stage.tree.write("/etc/fstab", "")
    stage.tree.write("/var/lib/sftpjail/accounts/ann", json.dumps({"made": [JAIL]}))
    stage.tree.write(f"{JAIL}/left over.txt", "data")
    (problem,) = judge(stage.engine(), [])
    assert problem == Problem(
        f"left files in {JAIL}",
        "there is no such account any more, and they are data, which sftpjail never deletes",
        choices=(
            Choice(
                "to keep them out of the way",
                f"mv -nT {JAIL} {hidden(JAIL)} && sftpjail apply --prune",
            ),
            Choice("to delete them", f"rm -rI --one-file-system {JAIL} && sftpjail apply --prune"),
        ),
        severity="advice",
        about="ann",
        concerns=("ann",),
    )


def test_addresses_bring_no_other_change_of_setup_along(stage: Stage) -> None:
    account = stage.engine().host.accounts["ann"]
    events = [OnUserLimit(account, ("192.0.2.7",))]
    changed = {step.action.key[1] for step in limited(stage.engine(), events).steps}
    assert ADDRESSES in changed
    stage.tree.write(RSYSLOG, "# changed\n")
    with pytest.raises(SftpJailError, match="other changes as well") as caught:
        limited(stage.engine(), events)
    assert caught.value.fix == "sftpjail setup"


def test_nothing_is_nobodys_while_its_uid_lives(stage: Stage) -> None:
    stage.tree.people = [line.replace("ann:", "anna:", 1) for line in stage.tree.people]
    path = stage.tree.root / "var/lib/sftpjail/accounts/ann"
    record = json.loads(path.read_text()) if path.exists() else {}
    uid = stage.engine().host.accounts["anna"].uid
    stage.tree.write("/var/lib/sftpjail/accounts/ann", json.dumps(record | {"uid": uid}))
    problems = judge(stage.engine(), [])
    assert [(one.about, one.fix) for one in problems] == [("ann", "")]
    assert "anna is not jailed" in problems[0].why
    assert [one.command for one in problems[0].choices] == [
        "sftpjail apply && sftpjail adopt anna",
        "sftpjail apply && sftpjail remove anna",
    ]
    stage.join("sftponly", "anna")
    (problem,) = judge(stage.engine(), [])
    assert problem.about == "anna" and problem.fix == "sftpjail apply"
    assert problem.severity == "broken"
    stage.tree.write(ADDRESSES, "-:ann:ALL EXCEPT 192.0.2.7\n")
    (problem,) = (one for one in judge(stage.engine(), []) if one.about == "anna")
    assert problem.severity == "open" and "it may come from anywhere" in problem.why
    (stage.tree.root / ADDRESSES.lstrip("/")).unlink()
    stage.tree.write("/var/lib/sftpjail/accounts/anna", json.dumps({"uid": uid, "forced": True}))
    found = [one for one in judge(stage.engine(), []) if one.about == "ann"]
    assert "is anna's now" in found[0].what and not found[0].fix
    assert [choice.command for choice in found[0].choices] == ["sftpjail remove ann"]


def test_one_cause_is_one_problem_with_all_whom_it_concerns(stage: Stage) -> None:
    names = [f"c{number}" for number in range(20)]
    for number, name in enumerate(names):
        stage.tree.account(name, 1200 + number)
        stage.join("sftponly", name)
        stage.tree.directory(f"/srv/sftp/{name}")
    (stage.tree.root / "srv/sftp").chmod(0o775)
    problems = [one for one in judge(stage.engine(), []) if "/srv/sftp can be written" in one.what]
    assert [one.fix for one in problems].count("chmod go-w /srv/sftp") == len(problems) == 1
    assert problems[0].about == "host" and problems[0].concerns == ("ann", *names)


def test_whoever_is_closed_on_purpose_is_no_problem(stage: Stage) -> None:
    stage.tree.write("/etc/shadow", "ann:*:19000:0:99999:7::1:\n")
    stage.umount(f"{JAIL}/home/ann")
    (problem,) = judge(stage.engine(), [])
    assert problem.severity == "advice" and problem.what.startswith("ann is closed: it expired")
    assert [choice.command for choice in problem.choices] == ["usermod -e '' ann"]


def test_nothing_that_is_mounted_is_ever_to_be_deleted(stage: Stage) -> None:
    leave(stage)
    stage.tree.write("/etc/fstab", "")
    stage.tree.write("/var/lib/sftpjail/accounts/ann", json.dumps({"made": [JAIL]}))
    stage.tree.write(f"{JAIL}/x", "data")
    problems = judge(stage.engine(), [])
    assert not [problem for problem in problems if "rm " in problem.fix]


# -- ten thousand --------------------------------------------------------------------------------


def crowd(stage: Stage, first: int, end: int) -> None:
    """Add many healthy jails, and for each account the group that useradd makes."""
    tree, names, lines = stage.tree, [f"user{n}" for n in range(first, end)], []
    homes, jails, keys = (
        tree.root / part for part in ("home", "srv/sftp", "etc/ssh/authorized_keys")
    )
    for n, name in enumerate(names, 2000 + first):
        (homes / name).mkdir()
        (jails / name / "home" / name).mkdir(parents=True)
        (jails / name / "dev").mkdir()
        (keys / name).write_text(f"ssh-ed25519 AAAAgood{n} {name}\n")
        tree.owners[f"/home/{name}"] = (n, n)
        tree.people.append(f"{name}:x:{n}:{n}::/home/{name}:/usr/sbin/nologin")
        tree.group_lines.append(f"{name}:x:{n}:")
        jail = f"/srv/sftp/{name}"
        end = f"none bind,nosuid,nodev,private,nofail,x-sftpjail.user={name},x-sftpjail.role="
        lines += [
            f"/home/{name} {jail}/home/{name} {end}home 0 0",
            f"/var/lib/sftpjail/log {jail}/dev {end}log 0 0",
        ]
        for source, target in (
            (f"/home/{name}", f"{jail}/home/{name}"),
            ("/var/lib/sftpjail/log", f"{jail}/dev"),
        ):
            tree.shown[target] = source
            stage.points.append((target, "rw,nosuid,nodev"))
    tree.mounted(*stage.points)
    tree.fstab(*lines)
    shadow = (tree.root / "etc/shadow").read_text()
    tree.write("/etc/shadow", shadow + "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names))
    at = next(n for n, line in enumerate(tree.group_lines) if line.startswith("sftponly:"))
    tree.group_lines[at] += "," + ",".join(names)


def test_many_jails_cost_a_few_questions(stage: Stage, programs: Programs) -> None:
    calls = []
    for first, end in ((0, 100), (100, 500)):
        crowd(stage, first, end)
        made = stage.engine()
        programs.asked.clear()
        calls.append(calls_of(lambda made=made: judge(made, [])))
        asked = [argv[0].rpartition("/")[2] for argv in programs.asked]
        assert len(asked) <= 12 and asked.count("ssh-keygen") == 1, programs.asked
        assert isinstance(made.host, FakeHost)
        for path in ("/etc/passwd", "/etc/group", "/etc/shadow"):
            assert made.host.files.reads.count(path) <= 3, path
    # tests/bench measures ten thousand on the real host; here it is that nothing grows faster.
    assert calls[1] < 6 * calls[0], calls


def test_a_plan_asks_for_each_path_of_a_jail_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = os.stat, Counter[str]()

    def stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        asked[path] += 1
        return real(path, follow_symlinks=follow_symlinks)

    crowd(stage, 0, 100)
    made = stage.engine()
    monkeypatch.setattr("sftpjail.host.look.os.stat", stat)
    assert not plan_all(made, [], jailed(made.config, made.host).values(), [])
    # Once before the events are known, once for them, and not for each question of each plugin.
    assert asked.total() < 100 * 24, asked.total()
    most = {path: times for path, times in asked.items() if "user" in path and times > 4}
    assert not most, most


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions work, which finds nothing, calls: its cost, whatever else runs."""
    count = 0

    def called(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        found = work()
    finally:
        sys.setprofile(None)
    assert found == []
    return count


def test_one_of_many_is_found(stage: Stage) -> None:
    crowd(stage, 0, 500)
    tree = stage.tree
    tree.write(KEYS.replace("ann", "user77"), "ssh-ed25519 AAAAbroken x\n")
    tree.directory("/srv/sftp/user47", 0o775)
    tree.pids = {"sshd": 7, "rsyslog": 8}
    tree.write(
        "/etc/shadow",
        (tree.root / "etc/shadow")
        .read_text()
        .replace("user9:*:19000:0:99999:7:::", "user9:*:0:0:99999:7:::"),
    )
    problems = {
        problem.about: problem
        for problem in judge(stage.engine(), [])
        if problem.why != "the jail cannot be made"
    }
    assert {name: problem.fix for name, problem in problems.items()} == {
        "user77": "sed -i '1s/^/#/' /etc/ssh/authorized_keys/user77",
        "user47": "chmod go-w /srv/sftp/user47",
        "user9": "chage -d $(date +%F) user9",
    }


# -- commands that can be pasted -----------------------------------------------------------------

word = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).map(shlex.quote),
    st.sampled_from(
        [
            "&&",
            ";",
            "sed",
            "-i",
            "/srv/sftp/ann",
            "'4s/^/#/'",
            ">>/etc/shells",
            "$(date +%F)",
            "\\'",
            "a\\ b",
        ]
    ),
    st.text(st.sampled_from("ab -/.$()'&|"), min_size=1).map(lambda t: f'"{t}"'),
)


@given(words=st.lists(word, min_size=1, max_size=20), width=st.integers(10, 100))
@example(words=["x" * 200, "y"], width=77)
@example(
    words=["mount", "-o", "remount,rw", '"$(findmnt -n -o TARGET -T /srv/sftp/ann/home/ann)"'],
    width=40,
)
def test_a_broken_command_is_the_same_command(words: list[str], width: int) -> None:
    command = " ".join(words)
    lines = wrap_command(command, width)
    # Each line is whole words, and a shell takes a backslash and the newline behind it away.
    assert all(line.endswith(" \\") for line in lines[:-1])
    parts = [
        shlex.split(line.removesuffix("\\") if line is not lines[-1] else line) for line in lines
    ]
    assert [word for part in parts for word in part] == shlex.split(command)
    assert all(
        len(line) <= width or len(part) == 1 for line, part in zip(lines, parts, strict=True)
    )


@given(command=st.text(st.sampled_from("ab '\"\\$()\n&-")), width=st.integers(5, 30))
def test_whatever_cannot_be_broken_safely_stays_whole(command: str, width: int) -> None:
    lines = wrap_command(command, width)
    if lines != [command]:
        assert shlex.split(" ".join(line.removesuffix(" \\") for line in lines)) == shlex.split(
            command
        )


def test_no_command_has_no_lines() -> None:
    assert wrap_command("") == [] and wrap_command("sftpjail setup") == ["sftpjail setup"]


def test_the_stage_is_what_it_says(stage: Stage) -> None:
    """What plans are played on agrees with them, or the tests above would prove nothing."""
    host = stage.host()
    assert host.listens(f"{JAIL}/dev/log") and host.same_file("/home/ann", f"{JAIL}/home/ann")
    assert {bind.role for bind in host.binds("ann")} == {"home", "log"}
    assert not stage.engine().plan([OnSetup()])
    made = stage.engine()
    made.manager.plugins.register(rogue(on_setup=lambda: [WriteFile("/etc/x", "x")]), "rogue")
    assert made.plan([OnSetup()])
    assert (stage.tree.root / SOCKET.lstrip("/")).exists() and (
        stage.tree.root / DROPIN.lstrip("/")
    ).exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Problem("/srv/sftp/ann has mode 0775", "", about="ann"), False),
        (Problem("/srv is writable by its group", "", about="host"), False),
        (Problem("not as configured: ~ /srv/sftp/ann/home (0:0)", "", about="ann"), False),
        (Problem("/srv/sftp/ben has mode 0775", "", about="ann"), True),
        (Problem("/srv/sftp/ann/homes is missing", "", about="ann"), True),
        (Problem("/srv/sftp/ann has mode 0775", "", about="ben"), True),
        (Problem("/srv/sftp/ann is new", "", severity="advice", about="ann"), True),
        (Problem("the account has expired", "", about="ann"), True),
        (Problem("sshd refuses it: line 3: bad / line 4: bad", "", about="host"), True),
    ],
)
def test_what_follows_is_said_without_a_cause(other: Problem, said: bool) -> None:
    what = "PAM closes the sessions of ann: will not show /home/ann as /srv/sftp/ann/home/ann: no"
    follows = Problem(what, "", about="ann", follows=True)
    assert causes([follows, other]) == ([follows, other] if said else [other])
    assert causes([other]) == [other]
