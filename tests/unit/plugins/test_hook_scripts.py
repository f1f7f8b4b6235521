"""scripts: drop-in hook scripts, as Run actions."""

from __future__ import annotations

import json
from shlex import quote

import pytest
from answers import judge
from fakes import Tree
from golden import Fire, ann

from sftpjail import Bind, Key, Run
from sftpjail.engine.merge import merged
from sftpjail.engine.plan import Step
from sftpjail.paths import LIB

OURS, THEIRS = f"{LIB}/hooks", "/etc/sftpjail/hooks"
KEY = Key("ssh-ed25519 AAAA ann", "ssh-ed25519", 256, "SHA256:x", "ann")
WEB = Bind("/srv/web", "/srv/sftp/ann/web", read_only=True)
ABOUT_ANN = {
    "account": {"name": "ann", "uid": 1001, "gid": 1001, "home": "/home/ann"},
    "jail": "/srv/sftp/ann",
    "profile": "sftponly",
}
ABOUT_KEY = {"type": "ssh-ed25519", "bits": 256, "fingerprint": "SHA256:x", "comment": "ann"}
ABOUT_WEB = {
    "source": "/srv/web",
    "target": "/srv/sftp/ann/web",
    "read_only": True,
    "role": "mount",
    "owner": None,
    "group": None,
}

EVENTS = [
    ("on_setup", "setup", {}, {}),
    ("on_teardown", "teardown", {}, {}),
    (
        "on_user_create",
        "user-create",
        {"account": ann(), "new": True},
        ABOUT_ANN | {"new": True},
    ),
    (
        "on_user_remove",
        "user-remove",
        {"account": ann(), "deleted": True},
        ABOUT_ANN | {"deleted": True},
    ),
    ("on_key_add", "key-add", {"account": ann(), "key": KEY}, ABOUT_ANN | {"key": ABOUT_KEY}),
    ("on_key_remove", "key-remove", {"account": ann(), "key": KEY}, ABOUT_ANN | {"key": ABOUT_KEY}),
    ("on_mount", "mount", {"account": ann(), "bind": WEB}, ABOUT_ANN | {"bind": ABOUT_WEB}),
    (
        "on_unmount",
        "unmount",
        {"account": ann(), "bind": WEB, "live_only": False},
        ABOUT_ANN | {"bind": ABOUT_WEB},
    ),
]


@pytest.mark.parametrize(("hook", "event", "arguments", "facts"), EVENTS)
def test_each_event_has_its_directory_and_its_facts(
    tree: Tree,
    fire: Fire,
    hook: str,
    event: str,
    arguments: dict[str, object],
    facts: dict[str, object],
) -> None:
    assert fire("scripts", hook, tree.host(), **arguments) == []
    path = f"{THEIRS}/{event}.d/10-mine"
    tree.write(path, "#!/bin/sh\n", 0o755)
    (run,) = fire("scripts", hook, tree.host(), **arguments)
    assert isinstance(run, Run) and run.argv == (path,) and run.undo == () and 0 < run.timeout <= 60
    told = json.loads(run.stdin)
    judge("event", told)
    assert facts.items() <= told.items() and told["event"] == event and run.stdin.endswith("}\n")
    expected = {"SFTPJAIL_EVENT": event}
    if "account" in arguments:
        expected |= {
            "SFTPJAIL_USER": "ann",
            "SFTPJAIL_JAIL": "/srv/sftp/ann",
            "SFTPJAIL_HOME": "/home/ann",
        }
    assert dict(run.env) == expected


def test_one_script_runs_for_every_bind_of_a_jail(tree: Tree, fire: Fire) -> None:
    tree.write(f"{THEIRS}/mount.d/10-mine", "#!/bin/sh\n", 0o755)
    home = Bind("/home/ann", "/srv/sftp/ann/home/ann", role="home")
    runs = [
        run
        for bind in (WEB, home)
        for run in fire("scripts", "on_mount", tree.host(), account=ann(), bind=bind)
    ]
    assert [step.action for step in merged(Step(run, "scripts", "ann") for run in runs)] == runs


def ran(tree: Tree, fire: Fire) -> list[str]:
    return [run.argv[0] for run in fire("scripts", "on_setup", tree.host())]


def test_order_and_precedence(tree: Tree, fire: Fire) -> None:
    for path in (
        f"{OURS}/setup.d/20-b",
        f"{OURS}/setup.d/10-z",
        f"{THEIRS}/setup.d/15-a",
        f"{THEIRS}/setup.d/20-b",
    ):
        tree.write(path, "#!/bin/sh\n", 0o755)
    assert ran(tree, fire) == [
        f"{OURS}/setup.d/10-z",
        f"{THEIRS}/setup.d/15-a",
        f"{THEIRS}/setup.d/20-b",
    ]


@pytest.mark.parametrize("name", ["x.dpkg-old", "x~", ".x", "x.sh", "x y", "#x#", "é"])
def test_names_that_never_run(tree: Tree, fire: Fire, name: str) -> None:
    tree.write(f"{THEIRS}/setup.d/{name}", "#!/bin/sh\n", 0o755)
    assert ran(tree, fire) == []


def test_a_link_to_dev_null_masks(tree: Tree, fire: Fire) -> None:
    tree.write("/dev/null", "")
    tree.write(f"{OURS}/setup.d/10-x", "#!/bin/sh\n", 0o755)
    tree.link(f"{THEIRS}/setup.d/10-x", "/dev/null")
    assert ran(tree, fire) == []
    tree.write(f"{OURS}/setup.d/20-y", "#!/bin/sh\n", 0o755)
    assert ran(tree, fire) == [f"{OURS}/setup.d/20-y"], "and no other"
    assert fire("scripts", "on_check", tree.host(), account=None) == []


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (0o755, (1001, 0), "changed by others"),
        (0o775, (0, 0), "changed by others"),
        (0o757, (0, 0), "changed by others"),
        (0o644, (1001, 0), "changed by others"),
    ],
)
def test_on_check_tells_of_a_script_that_does_not_run(
    tree: Tree, fire: Fire, mode: int, owner: tuple[int, int], why: str
) -> None:
    path = f"{THEIRS}/user-create.d/10-x"
    tree.write(path, "#!/bin/sh\n", mode)
    tree.owners[path] = owner
    assert fire("scripts", "on_user_create", tree.host(), account=ann(), new=False) == []
    (problem,) = fire("scripts", "on_check", tree.host(), account=None)
    assert (
        path in problem.what
        and why in problem.what
        and problem.fix == f"chown root {path} && chmod 755 {path}"
    )
    assert fire("scripts", "on_check", tree.host(), account=ann()) == []


def found(tree: Tree, fire: Fire) -> list[tuple[str, str]]:
    return [
        (f.what, f.fix or f.advice) for f in fire("scripts", "on_check", tree.host(), account=None)
    ]


def test_on_check_tells_of_a_script_that_cannot_be_executed(tree: Tree, fire: Fire) -> None:
    path = f"{THEIRS}/user-create.d/10-x"
    tree.write(path, "#!/bin/sh\n", 0o644)
    assert found(tree, fire) == [
        (f"the hook script {path} is not run: it is not executable", f"chmod 755 {path}")
    ]


@pytest.mark.parametrize(
    ("name", "better"),
    [("quota.sh", "quota"), ("taken.sh", "taken-sh"), ("my quota", "my-quota"), ("a.b.py", "a-b")],
)
def test_on_check_tells_of_a_name_that_never_runs(
    tree: Tree, fire: Fire, name: str, better: str
) -> None:
    directory = f"{THEIRS}/user-create.d"
    tree.write(f"{directory}/taken", "#!/bin/sh\n", 0o755)
    tree.write(f"{directory}/{name}", "#!/bin/sh\n", 0o755)
    ((what, fix),) = found(tree, fire)
    assert what == (
        f"the hook script {directory}/{name} is not run: it has a name with other characters than letters, digits, _ and -"
    )
    assert fix == f"mv -nT {quote(f'{directory}/{name}')} {directory}/{better}"
    (tree.root / f"{directory}/{name}".lstrip("/")).rename(
        tree.root / f"{directory}/{better}".lstrip("/")
    )
    assert found(tree, fire) == []


@pytest.mark.parametrize(
    "name", ["x.dpkg-old", "x.ucf-dist", "x.pacnew", "x~", ".x.swp", "#x#", "x.disabled", "x.md"]
)
def test_what_editors_and_packages_leave_is_no_problem(tree: Tree, fire: Fire, name: str) -> None:
    tree.write(f"{THEIRS}/setup.d/{name}", "#!/bin/sh\n", 0o644 if name.endswith(".md") else 0o755)
    assert found(tree, fire) == []


def test_on_check_tells_of_a_directory_of_no_event(tree: Tree, fire: Fire) -> None:
    tree.directory(f"{THEIRS}/what-is-this.d")
    assert found(tree, fire) == [], "there is nothing in it"
    tree.write(f"{THEIRS}/usercreate.d/x", "#!/bin/sh\n", 0o755)
    what = f"{THEIRS}/usercreate.d is the directory of no event, so that nothing in it is run"
    assert found(tree, fire) == [(what, f"mv -nT {THEIRS}/usercreate.d {THEIRS}/user-create.d")]
    tree.directory(f"{THEIRS}/user-create.d")
    assert found(tree, fire) == [(what, f"mv -n {THEIRS}/usercreate.d/* {THEIRS}/user-create.d/")]
    tree.write(f"{THEIRS}/what-is-this.d/x", "")
    assert found(tree, fire)[1][1] == "see sftpjail-plugins(7)"


def test_on_check_tells_of_a_script_beside_the_directories(tree: Tree, fire: Fire) -> None:
    tree.write(f"{THEIRS}/README", "")
    assert found(tree, fire) == []
    tree.write(f"{THEIRS}/quota", "#!/bin/sh\n", 0o755)
    ((what, fix),) = found(tree, fire)
    assert what == f"the hook script {THEIRS}/quota is not run: it lies in no event's directory"
    assert fix == "see sftpjail-plugins(7)"


def test_a_directory_is_no_script(tree: Tree, fire: Fire) -> None:
    tree.directory(f"{THEIRS}/setup.d/10-x")
    assert ran(tree, fire) == []
    (problem,) = fire("scripts", "on_check", tree.host(), account=None)
    assert "is not a file" in problem.what


def test_a_script_that_somebody_could_exchange_does_not_run(tree: Tree, fire: Fire) -> None:
    tree.write("/srv/team/script", "#!/bin/sh\n", 0o755)
    tree.directory("/srv/team", 0o777)
    tree.link(f"{THEIRS}/setup.d/10-x", "/srv/team/script")
    assert ran(tree, fire) == []
    ((what, fix),) = found(tree, fire)
    assert "lies in /srv/team, which can be written by others than root" in what
    assert fix == "chmod go-w /srv/team"


@pytest.mark.parametrize("bit", [1 << number for number in range(9)], ids=oct)
@pytest.mark.parametrize("uid", [0, 1])
def test_only_a_script_of_roots_alone_runs(tree: Tree, fire: Fire, bit: int, uid: int) -> None:
    path = f"{THEIRS}/setup.d/x"
    tree.write(path, "#!/bin/sh\n", 0o600 | bit)
    tree.owners[path] = (uid, 0)
    runs = uid == 0 and bool(bit & 0o111)
    actions = fire("scripts", "on_setup", tree.host())
    assert [action.argv for action in actions] == [(path,)] * runs
    found = fire("scripts", "on_check", tree.host(), account=None)
    assert len(found) == (0 if runs else 1)
    if uid or bit & 0o022:
        assert "can be changed by others than root" in found[0].what
    elif not runs:
        assert "is not executable" in found[0].what
