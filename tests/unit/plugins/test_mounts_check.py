"""mounts: what check finds wrong with binds and fstab, and what explain shows of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, JAIL, WEB, Fire, ann, known

from sftpjail import Fact, Problem, Profile, SftpJailError
from sftpjail.config import Config
from sftpjail.errors.escapes import Choice

FLAGS = "rw,nosuid,nodev,relatime"


@pytest.fixture(autouse=True)
def good(tree: Tree) -> None:
    """A jail with one bind, /web."""
    tree.directory(WEB.target)
    tree.directory(WEB.source)
    known(tree, (WEB.source, WEB.target))
    mounted(tree)


def mounted(tree: Tree, options: str = FLAGS, source: str = WEB.source) -> None:
    tree.shown = {WEB.target: source}
    tree.mounted((WEB.target, options))


def check(tree: Tree, fire: Fire) -> list[Problem]:
    found: list[Problem] = fire("mounts", "on_check", tree.host(), account=ann())
    return found


def test_on_check_of_good_mounts(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire) == []
    assert fire("mounts", "on_check", tree.host(), account=None) == []
    assert fire("mounts", "on_check", tree.host(), account=ann(name="bob")) == []


def test_on_check_of_a_bind_that_is_not_mounted(tree: Tree, fire: Fire) -> None:
    tree.mounted()
    tree.shown = {}
    assert check(tree, fire) == [
        Problem(
            f"{WEB.target} is in fstab and not mounted",
            f"the jail lacks {WEB.source}",
            "sftpjail apply",
        )
    ]


def test_on_check_of_a_source_that_is_gone(tree: Tree, fire: Fire) -> None:
    (tree.root / WEB.source.lstrip("/")).rmdir()
    assert check(tree, fire) == [
        Problem(
            f"{WEB.source}, which {WEB.target} is to show, is missing",
            "ann sees an empty directory",
            choices=(Choice("if it is gone for good", "sftpjail umount ann /web"),),
            advice="bring it back, from its disk or a backup, then run sftpjail apply",
        )
    ]


def test_on_check_of_something_else_on_top(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/other")
    mounted(tree, source="/srv/other")
    assert check(tree, fire) == [
        Problem(
            f"{WEB.target} shows something other than {WEB.source}",
            "something was mounted over it, or the directory was made anew",
            f"umount {WEB.target} && sftpjail apply",
        )
    ]


def test_no_fix_unmounts_what_is_not_ours(tree: Tree, fire: Fire) -> None:
    """It may be lost by that: a tmpfs below a wrong bind, or in its place."""
    tree.directory("/srv/other")
    tree.directory(f"{WEB.target}/t")
    mounted(tree, source="/srv/other")
    tree.mounted(WEB.target, f"{WEB.target}/t")
    (problem,) = check(tree, fire)
    assert not problem.fix and f"mounted {WEB.target}/t," in str(problem.advice)
    line = f"31 21 0:7 / {WEB.target} rw - tmpfs t rw\n"
    tree.write("/proc/self/mountinfo", "21 1 0:1 / / rw - ext4 /dev/sda1 rw\n" + line)
    (problem,) = check(tree, fire)
    assert not problem.fix and f"mounted {WEB.target}," in str(problem.advice)
    (tree.root / f"{WEB.target}/t".lstrip("/")).rmdir()
    (problem,) = check(tree, fire)
    assert problem.fix == f"umount {WEB.target} && sftpjail apply"  # it is empty


@pytest.mark.parametrize(
    ("wanted", "live", "what", "why"),
    [
        ("ro,bind,nosuid,nodev", FLAGS, "without ro", "ann could write"),
        (
            "bind,nosuid,nodev",
            "rw,nodev",
            "without nosuid",
            "the kernel does not enforce what fstab says",
        ),
        (
            "bind,nosuid,nodev,noexec",
            "rw,relatime",
            "without nosuid,nodev,noexec",
            "the kernel does not",
        ),
        (
            "bind,nosuid,nodev",
            "ro,nosuid,nodev",
            "read-only, and fstab does not say so",
            "uploads to it fail",
        ),
    ],
)
def test_on_check_compares_the_flags_of_the_kernel(
    tree: Tree, fire: Fire, wanted: str, live: str, what: str, why: str
) -> None:
    tree.write(
        "/etc/fstab", f"{WEB.source} {WEB.target} none {wanted},nofail,x-sftpjail.user=ann 0 0\n"
    )
    mounted(tree, live)
    (problem,) = check(tree, fire)
    assert problem.what == f"{WEB.target} is mounted {what}" and problem.why.startswith(why)
    assert problem.fix == "sftpjail apply"


def test_on_check_of_a_read_only_bind_that_is_one(tree: Tree, fire: Fire) -> None:
    tree.write(
        "/etc/fstab", f"{WEB.source} {WEB.target} none ro,bind,nofail,x-sftpjail.user=ann 0 0\n"
    )
    mounted(tree, "ro,relatime")
    assert check(tree, fire) == []


def test_on_check_behind_a_link(tree: Tree, fire: Fire) -> None:
    # The mount table has the real path, fstab the one that somebody wrote.
    tree.directory("/data/sftp/ann/web")
    tree.link("/srv/other", "/data/sftp")
    tree.write(
        "/etc/fstab", f"{WEB.source} /srv/other/ann/web none bind,nofail,x-sftpjail.user=ann 0 0\n"
    )
    tree.mounted(("/data/sftp/ann/web", FLAGS))
    tree.shown = {"/srv/other/ann/web": WEB.source}
    account = ann(Profile("p", chroot="/srv/other/%u"))
    assert fire("mounts", "on_check", tree.host(), account=account) == []


def test_on_check_of_a_mount_on_the_jail_itself(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/empty")
    tree.mounted((WEB.target, FLAGS), (JAIL, FLAGS))
    tree.shown = {JAIL: "/srv/empty"}
    (problem,) = check(tree, fire)
    assert (
        problem.what == f"something is mounted on the jail {JAIL} itself"
        and problem.fix == f"umount {JAIL}"
    )


def test_no_fix_unmounts_what_lies_over_all_jails(tree: Tree, fire: Fire) -> None:
    """A disk that came after the mounts on it has more than these jails."""

    def under(over: str) -> Problem:
        mounts = f"22 21 0:1 /web {WEB.target} rw - ext4 a rw\n23 21 0:2 / {over} rw - ext4 x rw\n"
        tree.write("/proc/self/mountinfo", f"21 1 0:1 / / rw - ext4 a rw\n{mounts}")
        (problem,) = check(tree, fire)
        assert problem.what == f"{WEB.target} is hidden: something is mounted over {over}"
        return problem

    assert under("/srv").fix == "" and "mounted /srv," in str(under("/srv").advice)
    with pytest.raises(SftpJailError, match="is hidden: something is mounted over /srv$") as caught:
        fire("mounts", "on_mount", tree.host(), account=ann(), bind=WEB)
    assert not caught.value.fix and not caught.value.choices
    deep = replace(WEB, target=f"{JAIL}/data/web")
    tree.directory(deep.target)
    known(tree, (deep.source, deep.target))
    tree.write(
        "/proc/self/mountinfo",
        f"21 1 0:1 / / rw - ext4 a rw\n22 21 0:1 /web {deep.target} rw - ext4 a rw\n"
        f"23 21 0:2 / {JAIL}/data rw - ext4 x rw\n",
    )
    (problem,) = (one for one in check(tree, fire) if deep.target in one.what)
    assert problem.fix == f"umount {JAIL}/data"


@pytest.mark.parametrize(("made", "there"), [(True, False), (False, False), (True, True)])
def test_a_mount_on_a_jail_that_is_mounted_by_session(
    tree: Tree, fire: Fire, made: bool, there: bool
) -> None:
    """Nothing of the jail is in the host's mount table; that a target was made is known."""
    target = f"{JAIL}/new"
    tree.write("/etc/fstab", "")
    line = f"{WEB.source} {target} none bind,x-sftpjail.user=ann 0 0\n"
    tree.write("/etc/sftpjail/mounts/ann", line)
    tree.write("/var/lib/sftpjail/accounts/ann", json.dumps({"made": [target] * made}))
    tree.mounted((JAIL, FLAGS))
    if there:
        tree.directory(target)
    found = [problem.what for problem in check(tree, fire)]
    covered = [f"something is mounted on the jail {JAIL} itself"]
    assert found == (covered if made and not there else []), found


def test_on_check_where_the_jail_is_missing_that_is_the_problem(tree: Tree, fire: Fire) -> None:
    profile = Profile("p", chroot="/srv/none/%u")
    assert fire("mounts", "on_check", tree.host(), account=ann(profile)) == []


# -- fstab ---------------------------------------------------------------------------------------


def test_on_check_of_a_line_that_mount_does_not_understand(tree: Tree, fire: Fire) -> None:
    tree.write(
        "/etc/fstab", "# comment\n\n/dev/sda1 / ext4 defaults 0 1\n/srv/a /srv/b none\n   # x\n"
    )
    assert fire("mounts", "on_check", tree.host(), account=None) == [
        Problem(
            "line 4 of /etc/fstab is broken: it has fewer than four fields",
            "mount(8) skips it",
            r"sed -i 's/^\/srv\/a \/srv\/b none$/#&/' /etc/fstab && sftpjail apply",
        )
    ]


def test_on_check_of_a_disk_that_is_not_there(tree: Tree, fire: Fire) -> None:
    """The cause alone: what the jail shows meanwhile is not what it should be."""
    tree.fstab("/dev/sdb1 /srv/web ext4 defaults,nofail 0 2")
    (problem,) = check(tree, fire)
    assert problem.what == "/srv/web is in fstab and not mounted" and problem.hides
    assert problem.fix == "mount /srv/web && sftpjail apply"


def test_on_check_of_a_line_that_mounts_a_second_time(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"/srv/other {WEB.target} none bind 0 0", "/srv/other /srv/elsewhere none bind 0 0")
    (problem,) = fire("mounts", "on_check", tree.host(), account=None)
    assert problem.what == f"line 4 of /etc/fstab mounts {WEB.target} a second time"
    assert problem.fix.startswith(r"sed -i 's/^\/srv\/other \/srv\/sftp"), "it goes by its words"
    assert problem.fix.endswith("$/#&/' /etc/fstab")


def test_on_check_of_mounts_in_a_jail_of_nobody(tree: Tree, fire: Fire) -> None:
    points = [
        "/srv/sftp/ghost/home/ghost",
        "/srv/sftp/ghost/my\\040files",
        "/srv/sftp/ann/extra",
        "/srv/sftpx/ghost",
        "/srv",
    ]
    tree.mounted(*points)
    why = "who deletes the directory deletes what is mounted"
    assert fire("mounts", "on_check", tree.host(), account=None) == [
        Problem(
            "/srv/sftp/ghost/home/ghost is still mounted, and there is no account ghost",
            why,
            "umount /srv/sftp/ghost/home/ghost",
        ),
        Problem(
            "/srv/sftp/ghost/my files is still mounted, and there is no account ghost",
            why,
            "umount '/srv/sftp/ghost/my files'",
        ),
    ]


def windows(tree: Tree, fire: Fire, *lines: str, profile: str = "/srv/sftp/%u") -> list[str]:
    """What is said of these lines of mountinfo: file system, directory in it, mount point, type."""
    text = ["21 1 8:1 / / rw - ext4 /dev/sda1 rw", "22 21 0:5 / /proc rw - proc proc rw"]
    for number, line in enumerate(lines, 30):
        device, root, target, kind = line.split(" ")
        text.append(f"{number} 21 {device} {root} {target} rw,nosuid shared:7 - {kind} x rw")
        tree.directory(target)
    tree.write("/proc/self/mountinfo", "\n".join(text) + "\n")
    config = Config(profiles=(Profile("sftponly", chroot=profile),))
    return [
        problem.what for problem in fire("mounts", "on_check", tree.host(), config, account=None)
    ]


def test_on_check_of_the_host_in_a_jail(tree: Tree, fire: Fire) -> None:
    place, said = f"{JAIL}/host", f"{JAIL}/host is mounted in the jail of ann, and it"
    assert windows(tree, fire, f"8:1 / {place} ext4") == [f"{said} shows /, which holds /proc"]
    assert windows(tree, fire, f"8:1 /etc {place} ext4") == [f"{said} shows /etc"]
    assert windows(tree, fire, f"8:1 /var/lib {place} ext4") == [
        f"{said} shows /var/lib, which holds /var/lib/sftpjail"
    ]
    assert windows(tree, fire, f"8:1 /srv/sftp {place} ext4") == [f"{said} shows /srv/sftp"]
    assert windows(tree, fire, f"0:9 / {place} proc") == [f"{said} is a file system of type proc"]
    # A file system of its own, an administrator's directory, our own bind, and places in no jail.
    assert windows(tree, fire, f"0:9 / {place} tmpfs", f"8:1 /srv/music {JAIL}/music ext4") == []
    assert (
        windows(
            tree,
            fire,
            f"8:1 / {WEB.target} ext4",
            "8:1 / /srv/host ext4",
            "8:1 / /srv/sftp/bob/host ext4",
        )
        == []
    )


def test_on_check_of_the_host_in_a_jail_that_is_a_home(tree: Tree, fire: Fire) -> None:
    said = windows(
        tree, fire, "8:1 / /home/ann/host ext4", "8:1 / /home/bob/host ext4", profile="%h"
    )
    assert said == [
        "/home/ann/host is mounted in the jail of ann, and it shows /, which holds /proc"
    ]


def test_on_check_of_mounts_that_fstab_names(tree: Tree, fire: Fire) -> None:
    # They are told as what a departed account has left.
    tree.mounted("/srv/sftp/ghost/web", "/srv/sftp/lost+found")
    tree.fstab(
        "/srv/web /srv/sftp/ghost/web none bind,x-sftpjail.user=ghost 0 0",
        "/dev/b /srv/sftp/lost+found ext4 ro 0 0",
    )
    assert fire("mounts", "on_check", tree.host(), account=None) == []


def test_on_check_of_jails_in_homes(tree: Tree, fire: Fire) -> None:
    tree.mounted("/home/ghost/web")
    config = Config(profiles=(Profile("sftponly", chroot="%h"),))
    assert fire("mounts", "on_check", tree.host(), config, account=None) == [], (
        "a home may be anybody's"
    )


# -- explain -------------------------------------------------------------------------------------


def test_on_explain_lists_each_bind_with_its_flags(tree: Tree, fire: Fire) -> None:
    known(tree, ("/srv/x", f"{JAIL}/a"))
    tree.directory("/srv/x")
    assert fire("mounts", "on_explain", tree.host(), account=ann()) == [
        Fact("mounts", "/a", "/srv/x", f"{JAIL}/a is in fstab and not mounted", True),
        Fact("mounts", "/web", WEB.source, "rw,nosuid,nodev; ann can read"),
    ]


def test_on_explain_without_binds(tree: Tree, fire: Fire) -> None:
    assert fire("mounts", "on_explain", tree.host(), account=ann(BIND, name="bob")) == [
        Fact("mounts", "none", "")
    ]
