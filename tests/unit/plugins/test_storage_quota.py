"""quota: the exact commands for each file system, and where there is none."""

from __future__ import annotations

import os

import pytest
from fakes import Programs, Tree
from golden import Fire, ann

from sftpjail import Remove, Run, SetLines, SftpJailError, Style
from sftpjail.jails import quota_systems
from sftpjail.model import Profile
from sftpjail.paths import QUOTAS

HOME = "/home/ann"
LIMITED = Profile("sftponly", quota=10 << 20)
BTRFS = """\
WARNING: rescan is running, qgroup data may be incorrect
Qgroupid    Referenced    Exclusive  Max referenced  Max exclusive   Path
--------    ----------    ---------  --------------  -------------   ----
0/5              16384        16384            none           none   <toplevel>
0/256          1048576      1048576        {}           none   ann
"""
REPQUOTA = (
    "Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,FileUsed\n"
    "#0,ok,ok,20,0,0,,2\n#1001,ok,ok,1024,0,{},,3\n"
)
XFS = "#0  0  0  0  00 [--------]\n#1001  1024  0  {}  00 [--------]\n"


def stored(*lines: str, name: str = "ann") -> SetLines:
    return SetLines(QUOTAS, name, lines, Style.USER)


def on(tree: Tree, kind: str) -> None:
    """A home on a file system of that type, where all programs are installed."""
    tree.directory(HOME, owner=(1001, 1001))
    tree.write(
        "/proc/self/mountinfo",
        "21 1 0:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"22 21 0:2 / /home rw - {kind} /dev/sdb1 rw\n",
    )
    for name in ("btrfs", "setquota", "repquota", "chattr", "lsattr", "xfs_quota"):
        tree.write(f"/usr/bin/{name}", "", mode=0o755)


@pytest.fixture
def btrfs(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    on(tree, "btrfs")
    inode = os.stat(f"{tree.root}{HOME}").st_ino
    monkeypatch.setattr(quota_systems, "ROOT_INODE", inode)


def qgroup(size: str) -> tuple[str, ...]:
    return ("/usr/bin/btrfs", "qgroup", "limit", size, "0/256", "/home")


def runs(actions: list[object]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(action.argv, action.undo) for action in actions if isinstance(action, Run)]


@pytest.mark.usefixtures("btrfs")
def test_on_user_quota_limits_a_subvolume(tree: Tree, fire: Fire, programs: Programs) -> None:
    programs.answer("qgroup", "show", "--raw", "-re", "/home", out=BTRFS.format("5242880"))
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert stored("user ann 10485760") in actions
    assert runs(actions) == [(qgroup("10485760"), qgroup("5242880"))]
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(LIMITED), size=None)
    assert stored("user ann 10485760 profile") in actions
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(LIMITED), size=0)
    assert stored("user ann 0") in actions and runs(actions)[0][0] == qgroup("none")


@pytest.mark.usefixtures("btrfs")
def test_a_profile_has_a_quota(tree: Tree, fire: Fire, programs: Programs) -> None:
    programs.answer("qgroup", "show", "--raw", "-re", "/home", out=BTRFS.format("none"))
    given = {"account": ann(LIMITED), "new": True}
    actions = fire("storage", "on_user_create", tree.host(), **given)
    assert actions[0] == stored("user ann 10485760 profile")
    assert runs(actions) == [(qgroup("10485760"), qgroup("none"))]
    assert fire("storage", "on_user_create", tree.host(), account=ann(), new=True) == []
    (fact,) = fire("storage", "on_explain", tree.host(), account=ann(LIMITED))
    assert (fact.value, fact.bad) == ("10M", True)


@pytest.mark.usefixtures("btrfs")
def test_what_holds_is_not_set_again(tree: Tree, fire: Fire, programs: Programs) -> None:
    programs.answer("qgroup", "show", "--raw", "-re", "/home", out=BTRFS.format("10485760"))
    tree.write(QUOTAS, "user ann 10485760 profile\n")
    given = {"account": ann(LIMITED), "new": False}
    assert fire("storage", "on_user_create", tree.host(), **given) == []
    (fact,) = fire("storage", "on_explain", tree.host(), account=ann(LIMITED))
    assert "1M used in /home/ann" in fact.note and not fact.bad
    # The profile has none any more: what was set for it goes.
    gone = fire("storage", "on_user_create", tree.host(), account=ann(), new=False)
    assert gone[0] == stored() and runs(gone) == [(qgroup("none"), qgroup("10485760"))]
    gone = fire("storage", "on_user_remove", tree.host(), account=ann(), deleted=False)
    assert gone[0] == stored() and runs(gone) == [(qgroup("none"), qgroup("10485760"))]
    assert fire("storage", "on_user_remove", tree.host(), account=ann(), deleted=True) == []
    assert stored() in fire("storage", "on_teardown", tree.host())
    renamed = fire("storage", "on_user_rename", tree.host(), account=ann(name="eve"), old="ann")
    assert renamed[0] == stored("user eve 10485760 profile", name="eve")
    tree.write(QUOTAS, "")
    assert Remove(QUOTAS) in fire("storage", "on_teardown", tree.host())


def test_a_plain_directory_of_btrfs_is_refused(tree: Tree, fire: Fire, programs: Programs) -> None:
    on(tree, "btrfs")
    programs.answer("qgroup", "show", "--raw", "-re", "/home", out=BTRFS.format("none"))
    with pytest.raises(SftpJailError, match="/home/ann is no subvolume of btrfs") as caught:
        fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert "btrfs subvolume create /home/ann" in caught.value.choices[0].command
    given = {"account": ann(LIMITED), "new": False}
    assert fire("storage", "on_user_create", tree.host(), **given) == []
    (problem,) = fire("storage", "on_check", tree.host(), account=ann(LIMITED))
    assert problem.severity == "broken" and problem.choices


def test_btrfs_without_quotas_has_the_command(tree: Tree, fire: Fire, programs: Programs) -> None:
    on(tree, "btrfs")
    programs.answer("qgroup", err="ERROR: can't list qgroups: quotas not enabled\n", code=1)
    with pytest.raises(SftpJailError, match="quotas are not enabled in /home") as caught:
        fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert caught.value.choices[0].command == "btrfs quota enable /home"


def project(programs: Programs, kind: str, number: int, limit: int = 0) -> None:
    programs.answer("findmnt", "-nro", "OPTIONS", "/home", out="rw,relatime,prjquota\n")
    flag = "-----------------P----" if number else "----------------------"
    programs.answer("/usr/bin/lsattr", "-dp", HOME, out=f"{number:5} {flag} {HOME}\n")
    csv = ("/usr/bin/repquota", "-P", "-n", "-O", "csv", "/home")
    report = ("/usr/bin/xfs_quota", "-x", "-c", "report -p -n -N -b", "/home")
    words, text = (csv, REPQUOTA) if kind == "ext4" else (report, XFS)
    programs.answer(*words, out=text.format(limit))


def limit(kind: str, size: int) -> tuple[str, ...]:
    if kind == "xfs":
        return ("/usr/bin/xfs_quota", "-x", "-c", f"limit -p bhard={size} 1001", "/home")
    return ("/usr/bin/setquota", "-P", "1001", "0", str(size // 1024), "0", "0", "/home")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_project_is_limited(tree: Tree, fire: Fire, programs: Programs, kind: str) -> None:
    on(tree, kind)
    project(programs, kind, 0)
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert runs(actions) == [
        (
            ("/usr/bin/chattr", "+P", "-p", "1001", HOME),
            ("/usr/bin/chattr", "-P", "-p", "0", HOME),
        ),
        (limit(kind, 10 << 20), limit(kind, 0)),
    ]
    programs.plans.clear()
    project(programs, kind, 1001, limit=5 << 10)
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert runs(actions) == [(limit(kind, 10 << 20), limit(kind, 5 << 20))]
    actions = fire("storage", "on_user_quota", tree.host(), account=ann(), size=5 << 20)
    assert runs(actions) == []
    programs.plans.clear()
    tree.write(f"{HOME}/file", "")
    project(programs, kind, 0)
    with pytest.raises(SftpJailError, match="has files that are of no project") as caught:
        fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)
    assert "chattr +P -p 1001 /home/ann" in caught.value.choices[0].command
    programs.plans.clear()
    project(programs, kind, 77)
    with pytest.raises(SftpJailError, match="is of the project 77"):
        fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)


def test_where_nothing_enforces_it_is_refused(tree: Tree, fire: Fire, programs: Programs) -> None:
    def says(words: str) -> None:
        with pytest.raises(SftpJailError, match=words):
            fire("storage", "on_user_quota", tree.host(), account=ann(), size=10 << 20)

    on(tree, "tmpfs")
    says("is on a file system of type tmpfs, which limits no directory")
    on(tree, "ext4")
    programs.answer("findmnt", out="rw,relatime\n")
    says("/home is mounted without the option prjquota")
    os.unlink(f"{tree.root}/usr/bin/setquota")
    says(r"setquota\(8\) is not installed")
    with pytest.raises(SftpJailError, match="has no directory of its own"):
        bare = ann(Profile("sftponly", home="none"))
        fire("storage", "on_user_quota", tree.host(), account=bare, size=10 << 20)
    assert fire("storage", "on_user_quota", tree.host(), account=ann(), size=None) == []
