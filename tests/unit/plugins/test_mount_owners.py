"""mounts, `mount --as`: the map of owners in the line and in the mount, and where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Programs, Tree
from golden import BIND, JAIL, Fire, ann

from sftpjail import Bind, Mount, Problem, SetLines, SftpJailError
from sftpjail.actions import MOUNT_OPTIONS
from sftpjail.config import Config
from sftpjail.model import SETID, Ids, id_map
from sftpjail.openssh.pam_session import SCRIPT

WEB = Ids(33, 33)
MAP = "X-mount.idmap=u:33:1001:1\\040g:33:1001:1"
SITE = Bind("/srv/site", f"{JAIL}/web", options=(*MOUNT_OPTIONS, id_map(WEB, 1001, 1001)))
AS = Config(owners=("www-data",))
SESSION = replace(BIND, mounts="session")


def srv(tree: Tree, options: str, device: str = "0:2", root: str = "/") -> None:
    """A mount of its own, on which the source is."""
    tree.write(
        "/proc/self/mountinfo",
        "21 1 0:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"22 21 {device} {root} /srv rw{options} - ext4 /dev/sdb1 rw\n",
    )


@pytest.fixture(autouse=True)
def host(tree: Tree, programs: Programs) -> None:
    tree.directory(JAIL)
    tree.directory(SITE.source, owner=(33, 33))
    srv(tree, ",nosuid")
    programs.answer("mount", "--version", out="mount from util-linux 2.41 (libmount 2.41: selinux)")


def lines(actions: list[object]) -> list[str]:
    return [line for a in actions if isinstance(a, SetLines) for line in a.lines]


def test_on_mount_maps_owners(tree: Tree, fire: Fire) -> None:
    actions = fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=SITE)
    assert lines(actions) == [
        f"/srv/site {JAIL}/web none bind,nosuid,nodev,private,{MAP},nofail,x-sftpjail.user=ann 0 0"
    ]
    assert Mount(SITE.source, SITE.target, (*MOUNT_OPTIONS, MAP)) in actions


def test_the_map_follows_the_account(tree: Tree, fire: Fire) -> None:
    old = MAP.replace("1001", "1000")
    tree.fstab(f"/srv/site {JAIL}/web none bind,{old},nofail,x-sftpjail.user=ann 0 0")
    (bind,) = tree.host().binds("ann")
    assert bind.owner == WEB
    actions = fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=bind)
    assert Mount(SITE.source, SITE.target, ("bind", MAP), old) in actions
    assert MAP in lines(actions)[0]


def test_a_session_needs_no_mount_program(
    tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sftpjail.host.programs.Programs.util_linux", (2, 38))
    with pytest.raises(SftpJailError, match=r"mount\(8\) is 2\.38 here"):
        fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=SITE)
    actions = fire("mounts", "on_mount", tree.host(), AS, account=ann(SESSION), bind=SITE)
    assert MAP in lines(actions)[0]
    tree.write(SCRIPT, "of an earlier version")
    with pytest.raises(SftpJailError, match="is of an earlier version") as caught:
        fire("mounts", "on_mount", tree.host(), AS, account=ann(SESSION), bind=SITE)
    assert caught.value.fix == "sftpjail setup"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("owner", "nobody could write in /srv/site: it is owned by 0:33"),
        ("group", "nobody could write in /srv/site: it is owned by 33:0"),
        ("setid", "/srv/site is on /srv, which is mounted without nosuid"),
        ("member", "bob, who is not jailed, is in its primary group ann too"),
        ("config", "does not allow it"),
        ("map", "has a map of owners that sftpjail has not made"),
        ("outer", "nothing can be mounted in a mount with --as"),
    ],
)
def test_a_mount_that_must_not_be(change: str, words: str, tree: Tree, fire: Fire) -> None:
    bind, config = SITE, AS
    if change in ("owner", "group"):
        tree.owners[SITE.source] = (0, 33) if change == "owner" else (33, 0)
    elif change == "setid":
        srv(tree, "")
    elif change == "member":
        tree.group_lines = [line + "bob" * line.startswith("ann:") for line in tree.group_lines]
    elif change == "config":
        config = Config()
    elif change == "map":
        bind = replace(SITE, options=("bind", "X-mount.idmap=b:33:1001:1"))
    else:
        tree.fstab(f"/srv/o {JAIL}/web none bind,{MAP},x-sftpjail.user=ann 0 0")
        bind = replace(SITE, target=f"{JAIL}/web/x")
    with pytest.raises(SftpJailError, match=words):
        fire("mounts", "on_mount", tree.host(), config, account=ann(), bind=bind)


def test_a_home_loses_its_map_and_not_its_mount(tree: Tree, fire: Fire) -> None:
    home, place = "/home/ann", f"{JAIL}/home/ann"
    tree.directory(home, owner=(33, 33))
    tree.fstab(f"{home} {place} none bind,{MAP},x-sftpjail.user=ann,x-sftpjail.role=home 0 0")
    (bind,) = tree.host().binds("ann")
    actions = fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=bind)
    assert MAP in lines(actions)[0] and "x-sftpjail.role=home" in lines(actions)[0]
    with pytest.raises(SftpJailError, match="any longer") as caught:
        fire("mounts", "on_mount", tree.host(), Config(), account=ann(), bind=bind)
    ((_, command),) = caught.value.choices
    assert command == "sftpjail mount ann /home/ann /home/ann"
    plain = replace(bind, options=())
    assert MAP not in lines(fire("mounts", "on_mount", tree.host(), account=ann(), bind=plain))[0]


def test_a_source_without_nosuid_can_be_accepted(tree: Tree, fire: Fire) -> None:
    srv(tree, "")
    for options in ((*SITE.options, SETID), ("ro", *SITE.options)):
        bind = replace(SITE, options=options, read_only="ro" in options)
        actions = fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=bind)
        assert (SETID in lines(actions)[0]) == (SETID in options)


def test_read_only_does_not_stay_accepted(tree: Tree, fire: Fire) -> None:
    tree.fstab(f"/srv/site {JAIL}/web none ro,bind,{MAP},x-sftpjail.user=ann 0 0")
    srv(tree, "")
    with pytest.raises(SftpJailError, match="without nosuid"):
        fire("mounts", "on_mount", tree.host(), AS, account=ann(), bind=SITE)


@pytest.mark.parametrize(
    ("line", "live", "what"),
    [
        (f",{MAP}", "nosuid,nodev,idmapped", ""),
        (f",{MAP}", "nosuid,nodev", f"{JAIL}/web is mounted without its map of owners"),
        ("", "nosuid,nodev,idmapped", f"{JAIL}/web is mounted with a map of owners"),
    ],
)
def test_check_looks_for_the_map(line: str, live: str, what: str, tree: Tree, fire: Fire) -> None:
    tree.fstab(f"/srv/site {JAIL}/web none bind,nosuid,nodev{line},x-sftpjail.user=ann 0 0")
    tree.directory(SITE.target)
    tree.bind(SITE.source, SITE.target, live)
    found: list[Problem] = fire("mounts", "on_check", tree.host(), AS, account=ann())
    said = [problem.what for problem in found if "map" in problem.what]
    assert [words.partition(", and")[0] for words in said] == [what] * bool(what)
    assert all(problem.fix == "sftpjail apply" for problem in found if "map" in problem.what)


def test_a_map_is_known_by_what_it_shows(tree: Tree) -> None:
    tree.directory(SITE.target)
    tree.bind(SITE.source, SITE.target, "nosuid,nodev,idmapped")
    mount = Mount(SITE.source, SITE.target, SITE.options)
    assert mount.pending(tree.host(), "ann"), "the source is shown as 33's still"
    assert replace(mount, former=MAP.replace("1001", "7")).pending(tree.host(), "ann")
    tree.owners[SITE.source] = (0, 0)
    assert not mount.pending(tree.host(), "ann"), "nothing contradicts it"
    assert replace(mount, options=MOUNT_OPTIONS).pending(tree.host(), "ann"), "it wants no map"


@pytest.mark.parametrize(
    ("owner", "wrong"), [((0, 0), False), ((33, 0), True), ((0, 33), True), ((33, 33), True)]
)
def test_one_wrong_owner_or_group_shows_another_map(
    tree: Tree, owner: tuple[int, int], wrong: bool
) -> None:
    """What is mapped shows with its number from the disk; the other one contradicts nothing."""
    tree.directory(SITE.target)
    tree.bind(SITE.source, SITE.target, "nosuid,nodev,idmapped")
    tree.owners[SITE.source] = owner
    mount = Mount(SITE.source, SITE.target, SITE.options)
    assert mount.pending(tree.host(), "ann") == wrong


@pytest.mark.parametrize(
    ("options", "device", "root", "place"),
    [
        (",nosuid", "0:2", "/", ""),
        ("", "0:2", "/", "/srv"),
        (",nosuid", "0:1", "/srv", ""),
        (",nosuid", "0:1", "/data", "/"),
    ],
)
def test_where_set_user_id_programs_work(
    options: str, device: str, root: str, place: str, tree: Tree
) -> None:
    """Over itself a mount hides what is below; elsewhere its files are reached without it."""
    srv(tree, options, device, root)
    assert tree.host().mount_tables.runs_setid("/srv/site") == place
