"""chroot: what check finds wrong with a jail's directories and the one where sessions start, and what explain shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, Programs, Tree
from golden import BIND, HOME, INSIDE, Fire, ann

from sftpjail import Fact, Problem, Profile
from sftpjail.errors.escapes import Choice
from sftpjail.model import Ids, id_map

JAIL, HOME_INSIDE = "/srv/sftp/ann", "/srv/sftp/ann/home/ann"
REFUSES = "sshd refuses the chroot and closes the login"


@pytest.fixture(autouse=True)
def good(tree: Tree) -> None:
    """A jail in which the home is bound."""
    tree.directory(HOME_INSIDE)
    tree.shown[HOME_INSIDE] = "/home/ann"


def check(
    tree: Tree, fire: Fire, profile: Profile = BIND, host: FakeHost | None = None
) -> list[Problem]:
    found: list[Problem] = fire("chroot", "on_check", host or tree.host(), account=ann(profile))
    return found


def test_on_check_of_a_good_jail(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire) == [] == fire("chroot", "on_check", tree.host(), account=None)
    assert fire("chroot", "on_check", tree.host(), account=ann(None)) == []
    tree.directory(f"{JAIL}/files", 0o700, (1001, 1001))
    assert check(tree, fire, INSIDE) == []
    tree.owners["/home/ann"] = (0, 0)
    tree.directory("/home/ann/files", 0o700, (1001, 1001))
    assert check(tree, fire, HOME) == []


def test_on_check_of_a_home_with_the_files_of_another_owner(tree: Tree, fire: Fire) -> None:
    profile = replace(BIND, mounts="session")
    mapped = id_map(Ids(33, 33), 1001, 1001)
    tree.write(
        "/etc/sftpjail/mounts/ann",
        f"/home/ann {HOME_INSIDE} none bind,{mapped},x-sftpjail.user=ann,x-sftpjail.role=home 0 0",
    )
    tree.account("www-data", 33)
    tree.directory("/home/ann", 0o700, (33, 33))
    assert check(tree, fire, profile) == []
    tree.directory("/home/ann", 0o700, (1001, 1001))
    (problem,) = check(tree, fire, profile)
    assert problem.what == "ann cannot write in /home/ann (owner 1001:1001, mode 0700)"
    assert problem.fix == "chown 33:33 /home/ann"


# -- components ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/srv", "/srv/sftp", JAIL])
@pytest.mark.parametrize(
    ("mode", "owner", "flaw", "fix"),
    [
        (0o755, (1001, 1001), "belongs to uid 1001 and not to root", "chown root {}"),
        (0o775, (0, 33), "can be written by others than root (mode 0775)", "chmod go-w {}"),
        (0o777, (33, 33), "belongs to uid 33 and not to root", "chown root {} && chmod go-w {}"),
    ],
)
def test_on_check_of_each_component(
    tree: Tree, fire: Fire, path: str, mode: int, owner: tuple[int, int], flaw: str, fix: str
) -> None:
    (tree.root / path.lstrip("/")).chmod(mode)
    tree.owners[path] = owner
    assert check(tree, fire) == [Problem(f"{path} {flaw}", REFUSES, fix.replace("{}", path))]


def test_on_check_tells_of_all_components_at_once(tree: Tree, fire: Fire) -> None:
    tree.owners |= {"/srv": (33, 33), JAIL: (1001, 1001)}
    first, second = check(tree, fire)
    assert (first.fix, first.advice) == ("chown root /srv", "")
    assert second.fix == "" and "because of /srv;" in second.advice, (
        "uid 33 could exchange it until then"
    )


def test_on_check_of_a_file_in_the_way(tree: Tree, fire: Fire) -> None:
    profile = Profile("p", chroot="/srv/other/%u")
    tree.write("/srv/other/ann", "")
    (problem,) = check(tree, fire, profile)
    assert problem.what == "/srv/other/ann is not a directory"
    assert problem.fix == "mv -nT /srv/other/ann /srv/other/ann.old && sftpjail apply"


def test_on_check_of_a_jail_that_is_not_there(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire, Profile("p", chroot="/srv/other/%u")) == [
        Problem("the jail /srv/other/ann is missing", "sshd refuses every login", "sftpjail apply")
    ]


@pytest.mark.parametrize("owner", [(0, 0), (0, 33), (0, 1001)])
def test_on_check_is_silent_about_directories_that_sshd_takes(
    tree: Tree, fire: Fire, owner: tuple[int, int]
) -> None:
    (tree.root / JAIL.lstrip("/")).chmod(0o755)
    tree.owners[JAIL] = owner
    assert check(tree, fire) == []
    tree.directory("/data/jails/ann/home/ann")
    tree.shown["/srv/other/ann/home/ann"] = "/home/ann"
    tree.link("/srv/other", "/data/jails")
    assert check(tree, fire, Profile("p", chroot="/srv/other/%u")) == [], (
        "a link counts as what it leads to"
    )


# -- where the session starts --------------------------------------------------------------------


def test_on_check_misses_the_home(tree: Tree, fire: Fire) -> None:
    assert fire("chroot", "on_check", tree.host(), account=ann(home="/home/none")) == [
        Problem(
            "the home /home/none does not exist",
            "the session has no directory to start and write in",
            "mkhomedir_helper ann 0022 /etc/skel 0700 && sftpjail apply",
        )
    ]


def test_on_check_of_a_home_that_the_jail_lacks(tree: Tree, fire: Fire) -> None:
    tree.shown.clear()
    (tree.root / HOME_INSIDE.lstrip("/")).rmdir()
    assert check(tree, fire) == [
        Problem(
            "the session of ann starts in /, where only root writes",
            "/home/ann is not in the jail",
            "sftpjail apply",
        )
    ]


def test_on_check_of_a_start_directory_that_is_not_there(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire, replace(BIND, start="/in/%u")) == [
        Problem(
            "/in/ann, where the sessions of ann are to start, is not in its jail",
            "sshd closes the session",
            f"install -d -o 1001 -g 1001 {JAIL}/in/ann",
        )
    ]


def test_on_check_of_an_administrators_own_start(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire, replace(BIND, start="/")) == []
    tree.directory(f"{JAIL}/web", 0o755, (1001, 33))
    assert check(tree, fire, replace(BIND, start="/web")) == []


def test_on_check_of_a_directory_that_the_user_may_not_enter(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/box", 0o755)
    tree.directory(f"{JAIL}/a/b", 0o755, (1001, 1001))
    tree.directory(f"{JAIL}/a", 0o700, (0, 0))
    assert check(tree, fire, replace(BIND, start="/a/b")) == [
        Problem(
            f"ann may not enter {JAIL}/a",
            "the session cannot start in /a/b",
            f"chmod o+rx {JAIL}/a",
        )
    ]


@pytest.mark.parametrize(
    ("mode", "owner", "fix"),
    [
        (0o500, (1001, 1001), "chmod u+wx {}"),
        (0o600, (1001, 1001), "chmod u+wx {}"),
        (0o755, (0, 0), "chown 1001:1001 {}"),
        (0o555, (5, 5), "chown 1001:1001 {} && chmod u+wx {}"),
    ],
)
def test_on_check_of_a_home_that_its_user_cannot_write(
    tree: Tree, fire: Fire, mode: int, owner: tuple[int, int], fix: str
) -> None:
    (tree.root / "home/ann").chmod(mode)
    tree.owners["/home/ann"] = owner
    assert check(tree, fire) == [
        Problem(
            f"ann cannot write in /home/ann (owner {owner[0]}:{owner[1]}, mode {mode:04o})",
            "uploads fail",
            fix.replace("{}", HOME_INSIDE),
        )
    ]
    for profile in (
        replace(BIND, read_only=True),
        replace(BIND, deny=("write",)),
        replace(BIND, deny=("open",)),
    ):
        assert check(tree, fire, profile) == [], "nobody is to write there"


def test_on_check_is_silent_about_a_home_its_group_may_write(tree: Tree, fire: Fire) -> None:
    (tree.root / "home/ann").chmod(0o770)
    tree.owners["/home/ann"] = (0, 500)
    assert check(tree, fire) == []


def test_on_check_gives_nobodys_home_away(tree: Tree, fire: Fire) -> None:
    """Two users of one home would get each other's chown for ever."""
    tree.owners["/home/ann"] = (1002, 1002)
    (problem,) = check(tree, fire)
    assert problem.what == "ann cannot write in /home/ann: it is bob's"
    assert (problem.fix, problem.choices) == ("", ()) and "usermod -d" in problem.advice


def test_on_check_judges_nothing_under_a_missing_mount(tree: Tree, fire: Fire) -> None:
    tree.owners["/home/ann"] = (0, 0)
    tree.fstab("/dev/sdb1 /home ext4 defaults,noauto 0 2")
    assert "cannot write" in check(tree, fire)[0].what, "nobody misses that one"
    tree.fstab("/dev/sdb1 /home ext4 defaults 0 2")
    assert check(tree, fire) == []


def test_on_check_of_a_file_system_that_takes_nothing(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    host = tree.host()
    host.files.unwritable = {"/home/ann"}
    assert check(tree, fire, host=host) == [
        Problem(
            "/home/ann of ann lies on a file system that is mounted read-only",
            "uploads fail",
            choices=(
                Choice(
                    "if its disk is sound, which dmesg says",
                    f'mount -o remount,rw "$(findmnt -n -o TARGET -T {HOME_INSIDE})"',
                ),
            ),
        )
    ]
    host = tree.host()
    host.files.filled = {"/home/ann"}
    assert check(tree, fire, host=host) == [
        Problem(
            "the file system of /home/ann is full",
            "uploads fail",
            advice=f"delete what is not needed, or make it larger; `df -h {HOME_INSIDE}` shows it",
        )
    ]


@pytest.mark.parametrize(
    ("said", "immutable"),
    [
        ("----i---------e------- /srv/sftp/ann/home/ann", True),
        ("--------------e------- /srv/sftp/i", False),
        ("", False),
    ],
)
def test_on_check_of_an_immutable_home(
    tree: Tree, fire: Fire, programs: Programs, said: str, immutable: bool
) -> None:
    tree.program("lsattr")
    programs.answer("lsattr", "-d", HOME_INSIDE, out=said)
    found = check(tree, fire)
    wanted = [Problem("/home/ann of ann is immutable", "uploads fail", f"chattr -i {HOME_INSIDE}")]
    assert found == (wanted if immutable else [])
    host = tree.host().for_many_accounts()
    programs.asked.clear()
    assert check(tree, fire, host=host) == [] and programs.asked == [], "not with many jails"


# -- explain -------------------------------------------------------------------------------------


def test_on_explain_judges_every_component(tree: Tree, fire: Fire) -> None:
    tree.owners |= {"/srv/sftp": (4242, 4243)}
    tree.directory("/srv/sftp", 0o775)
    host = tree.host()
    host.files.acls = {"/srv": "user:33:rwx"}
    assert fire("chroot", "on_explain", host, account=ann()) == [
        Fact("chroot", "/", "root:root 0755", "good"),
        Fact("chroot", "srv", "root:root 0755, ACL user:33:rwx", "good", depth=1),
        Fact("chroot", "sftp", "4242:4243 0775", "belongs to uid 4242 and not to root", True, 2),
        Fact("chroot", "ann", "root:root 0755", "good", depth=3),
        Fact("session", "starts in", "/home/ann", "it can write there"),
    ]


def test_on_explain_of_what_is_missing_and_of_links(tree: Tree, fire: Fire) -> None:
    tree.directory("/data/jails")
    tree.link("/srv/other", "/data/jails")
    facts = fire(
        "chroot", "on_explain", tree.host(), account=ann(Profile("p", chroot="/srv/other/%u"))
    )
    assert facts[2:] == [
        Fact("chroot", "other", "root:root 0755 (a link)", "good", depth=2),
        Fact("chroot", "ann", "is missing", "sshd will refuse it", True, 3),
        Fact("session", "starts in", "/", "it cannot write there"),
    ]


def test_on_explain_of_an_account_that_is_not_jailed(tree: Tree, fire: Fire) -> None:
    assert fire("chroot", "on_explain", tree.host(), account=ann(None)) == []


def test_on_check_of_a_home_that_was_changed(tree: Tree, fire: Fire) -> None:
    line = "/home/old /srv/sftp/ann/home/old none bind,nofail,x-sftpjail.user=ann,x-sftpjail.role=home 0 0\n"
    tree.write("/etc/fstab", line)
    (problem,) = check(tree, fire)
    assert problem.what == "the home of ann is /home/ann now, and its jail shows /home/old"
    assert problem.fix == "sftpjail apply"


def test_no_command_follows_a_link_of_the_user(tree: Tree, fire: Fire) -> None:
    profile = replace(BIND, start="/home/%u/upload")
    tree.directory("/etc/victim", 0o755)
    (tree.root / HOME_INSIDE.lstrip("/") / "upload").symlink_to("/etc/victim")
    tree.owners[HOME_INSIDE] = (1001, 1001)
    (problem,) = check(tree, fire, profile)
    assert problem.what.startswith("/home/ann/upload, where the sessions of ann are to start")
    assert problem.fix == "" and "is safe for root" in problem.advice
