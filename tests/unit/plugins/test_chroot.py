"""chroot: the jail's directories, judged as sshd's safely_chroot() does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, HOME, INSIDE, Fire, ann

from sftpjail import Bind, MakeDir, Profile, Remove, SetOwner, SftpJailError
from sftpjail.actions import MOUNT_OPTIONS, Move
from sftpjail.config import Config
from sftpjail.model import SETID, Ids, id_map

RECORD = "/var/lib/sftpjail/accounts/ann"


def test_on_setup_makes_the_base_of_each_profile(tree: Tree, fire: Fire) -> None:
    config = Config(
        profiles=(
            Profile("a", "a"),
            Profile("b", "b", chroot="/srv/deep/er/%u"),
            Profile("c", "c", chroot="%h"),
        )
    )
    assert fire("chroot", "on_setup", tree.host(), config) == [
        MakeDir("/srv/sftp"),
        MakeDir("/srv/deep"),
        MakeDir("/srv/deep/er"),
    ]
    tree.directory("/srv/sftp")
    assert fire("chroot", "on_setup", tree.host()) == []


@pytest.mark.parametrize(
    ("mode", "owner", "wrong", "fix"),
    [
        (0o755, (1002, 1002), "/srv belongs to uid 1002 and not to root", "chown root /srv"),
        (0o775, (0, 0), "/srv can be written by others than root (mode 0775)", "chmod go-w /srv"),
        (0o777, (7, 7), "/srv belongs to uid 7", "chown root /srv && chmod go-w /srv"),
    ],
)
def test_on_setup_refuses_a_component_that_is_not_ours(
    tree: Tree, fire: Fire, mode: int, owner: tuple[int, int], wrong: str, fix: str
) -> None:
    tree.directory("/srv", mode, owner)
    with pytest.raises(SftpJailError) as caught:
        fire("chroot", "on_setup", tree.host())
    assert wrong in caught.value.message and caught.value.fix == fix


@pytest.mark.parametrize("home", ["/srv/sftp", "/srv"])
def test_on_setup_refuses_a_base_in_somebodys_home(tree: Tree, fire: Fire, home: str) -> None:
    """deluser --remove-home would delete what all jails show."""
    tree.directory("/srv/sftp")
    tree.account("webteam", 1077, home=home, make_home=False)
    with pytest.raises(SftpJailError, match="/srv/sftp is or lies in the home of webteam"):
        fire("chroot", "on_setup", tree.host())


def test_on_setup_fixes_what_is_ours(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/sftp", 0o777)
    tree.write("/var/lib/sftpjail/host", '{"made": ["/srv/sftp"]}')
    assert fire("chroot", "on_setup", tree.host()) == [
        SetOwner("/srv/sftp", 0, 0, 0o755, remember=False)
    ]


def test_a_file_in_the_way_is_told(tree: Tree, fire: Fire) -> None:
    tree.write("/srv/sftp", "")
    with pytest.raises(SftpJailError, match="/srv/sftp is not a directory") as caught:
        fire("chroot", "on_setup", tree.host())
    assert caught.value.fix == "mv -nT /srv/sftp /srv/sftp.old && sftpjail apply"


def test_a_link_counts_as_what_it_leads_to(tree: Tree, fire: Fire) -> None:
    tree.directory("/data/sftp")
    tree.link("/srv/sftp", "/data/sftp")
    assert fire("chroot", "on_setup", tree.host()) == []
    tree.directory("/data/sftp", 0o755, (1002, 1002))
    tree.owners["/data/sftp"] = (1002, 1002)
    with pytest.raises(SftpJailError, match="/srv/sftp belongs to uid 1002"):
        fire("chroot", "on_setup", tree.host())


def test_on_teardown_removes_the_bases_of_any_configuration(tree: Tree, fire: Fire) -> None:
    made = ["/srv/sftp", "/srv/old", "/etc/ssh/keys", "/srv/gone", "/srv/file", "group:sftponly"]
    for path in ("/srv/sftp", "/srv/old", "/etc/ssh/keys"):
        tree.directory(path)
    tree.write("/srv/file", "")
    tree.write("/var/lib/sftpjail/host", json.dumps({"made": made}))
    for profile in (BIND, HOME):
        config = Config(profiles=(profile,))
        wanted = [Remove("/srv/sftp"), Remove("/srv/old")]
        assert fire("chroot", "on_teardown", tree.host(), config) == wanted


def test_on_user_create_with_the_home_bound(tree: Tree, fire: Fire) -> None:
    assert fire("chroot", "on_user_create", tree.host(), account=ann(BIND)) == [
        MakeDir("/srv/sftp"),
        MakeDir("/srv/sftp/ann"),
    ]


def test_on_user_create_with_the_home_inside(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/sftp")
    assert fire("chroot", "on_user_create", tree.host(), account=ann(INSIDE)) == [
        MakeDir("/srv/sftp/ann"),
        MakeDir("/srv/sftp/ann/files", 0o700, 1001, 1001),
    ]
    tree.directory("/srv/sftp/ann/files", 0o700, (1001, 1001))
    assert fire("chroot", "on_user_create", tree.host(), account=ann(INSIDE)) == []


@pytest.mark.parametrize("chroot", ["%h", "/srv/sftp/%u"])
def test_on_user_create_makes_nothing_in_an_administrators_jail(
    tree: Tree, fire: Fire, chroot: str
) -> None:
    tree.directory("/srv/sftp/ann")
    tree.directory("/home/ann", 0o755, (0, 0))
    profile = Profile("sftponly", chroot=chroot, home="none")
    for hook in ("on_user_create", "on_jail_binds"):
        assert fire("chroot", hook, tree.host(), account=ann(profile)) == []


def test_on_user_create_gives_away_no_files_of_a_namesake(tree: Tree, fire: Fire) -> None:
    tree.directory("/srv/sftp/ann/files", 0o700, (4711, 4711))
    with pytest.raises(
        SftpJailError, match="belongs to uid 4711, perhaps to an earlier account"
    ) as caught:
        fire("chroot", "on_user_create", tree.host(), account=ann(INSIDE))
    assert caught.value.fix.startswith("mv -nT /srv/sftp/ann/files /srv/sftp/ann/files.old && ")


def test_on_user_create_in_the_home(tree: Tree, fire: Fire) -> None:
    assert fire("chroot", "on_user_create", tree.host(), account=ann(HOME)) == [
        SetOwner("/home/ann", 0, 0, 0o755),
        MakeDir("/home/ann/files", 0o700, 1001, 1001),
    ]


def test_on_user_create_before_adduser_has_made_the_home(tree: Tree, fire: Fire) -> None:
    assert (
        fire("chroot", "on_user_create", tree.host(), account=ann(HOME, home="/home/later")) == []
    )


def test_on_user_create_follows_roots_link_to_the_home(tree: Tree, fire: Fire) -> None:
    tree.directory("/data/ann", 0o750, (1001, 1001))
    tree.link("/home/link", "/data/ann")
    assert SetOwner("/data/ann", 0, 0, 0o755) in fire(
        "chroot", "on_user_create", tree.host(), account=ann(HOME, home="/home/link")
    )


@pytest.mark.parametrize(
    ("home", "wrong"),
    [
        ("/", "directory of the system"),
        ("/home", "directory of the system"),
        ("/tmp", "directory of the system"),
        ("/etc/ann", "directory of the system"),
        ("/usr/games", "directory of the system"),
        ("/home/bob", "belongs to uid 1002"),
        ("/home/team", "holds the home of eve"),
    ],
)
def test_on_user_create_takes_nobody_elses_directory_for_a_jail(
    tree: Tree, fire: Fire, home: str, wrong: str
) -> None:
    tree.account("eve", 1005, home="/home/team/eve")
    tree.directory("/home/team", 0o755, (1001, 1001))
    tree.directory(home)
    with pytest.raises(SftpJailError, match=wrong):
        fire("chroot", "on_user_create", tree.host(), account=ann(HOME, home=home))


def test_on_user_create_refuses_a_home_in_a_foreign_directory(tree: Tree, fire: Fire) -> None:
    tree.directory("/home", 0o775)
    with pytest.raises(SftpJailError, match="/home can be written") as caught:
        fire("chroot", "on_user_create", tree.host(), account=ann(HOME))
    assert caught.value.fix == "chmod go-w /home"


def test_on_user_remove_removes_the_jail_and_never_files(tree: Tree, fire: Fire) -> None:
    actions = fire("chroot", "on_user_remove", tree.host(), account=ann(BIND), deleted=False)
    assert Remove("/srv/sftp/ann", directory=True) in actions
    assert all(
        isinstance(action, Remove) and action.directory and not action.ours for action in actions
    )


def test_on_user_remove_gives_the_home_back(tree: Tree, fire: Fire) -> None:
    tree.write(RECORD, '{"owners": {"/home/ann": [1001, 1001, 488]}}')
    actions = fire("chroot", "on_user_remove", tree.host(), account=ann(HOME), deleted=False)
    assert SetOwner("/home/ann", 1001, 1001, 0o750) in actions
    gone = fire(
        "chroot", "on_user_remove", tree.host(), account=ann(HOME, uid=-1, gid=-1), deleted=True
    )
    assert not any(isinstance(action, SetOwner) for action in gone)


def test_on_user_remove_gives_the_home_to_the_present_uid(tree: Tree, fire: Fire) -> None:
    tree.write(RECORD, '{"owners": {"/home/ann": [1001, 50, 488]}, "uid": 1001}')
    actions = fire(
        "chroot", "on_user_remove", tree.host(), account=ann(HOME, uid=1500), deleted=False
    )
    assert SetOwner("/home/ann", 1500, 50, 0o750) in actions
    tree.write(RECORD, '{"owners": {"/home/ann": [7, 50, 488]}, "uid": 1001}')  # it was never hers
    actions = fire(
        "chroot", "on_user_remove", tree.host(), account=ann(HOME, uid=1500), deleted=False
    )
    assert SetOwner("/home/ann", 7, 50, 0o750) in actions


def test_a_jail_that_was_shut_by_its_mode_opens(tree: Tree, fire: Fire) -> None:
    """As sftpjail once did with a jail of another uid."""
    tree.directory("/srv/sftp/ann", 0o700)
    tree.write(RECORD, '{"owners": {"/srv/sftp/ann": [0, 0, 457]}}')
    for profile in (BIND, INSIDE):
        opened = fire("chroot", "on_user_create", tree.host(), account=ann(profile))
        assert SetOwner("/srv/sftp/ann", 0, 0, 0o711) in opened
    back = fire("chroot", "on_user_remove", tree.host(), account=ann(BIND), deleted=False)
    assert SetOwner("/srv/sftp/ann", 0, 0, 0o711) in back


def test_on_user_remove_keeps_a_home_that_is_inside(tree: Tree, fire: Fire) -> None:
    stays = fire("chroot", "on_user_remove", tree.host(), account=ann(INSIDE), deleted=False)
    assert Remove("/srv/sftp/ann/files", directory=True) not in stays
    tree.write(RECORD, '{"was": {"home": "/home/ann"}}')
    back = fire("chroot", "on_user_remove", tree.host(), account=ann(INSIDE), deleted=False)
    assert Remove("/srv/sftp/ann/files", directory=True) in back


def test_on_jail_binds_show_the_home_where_the_session_starts(tree: Tree, fire: Fire) -> None:
    host = tree.host()
    assert fire("chroot", "on_jail_binds", host, account=ann(BIND)) == [
        Bind("/home/ann", "/srv/sftp/ann/home/ann", role="home")
    ]
    assert (
        fire("chroot", "on_jail_binds", host, account=ann(BIND, home="//home/ann/"))[0].target
        == "/srv/sftp/ann/home/ann"
    )
    for account in (ann(HOME), ann(INSIDE), ann(BIND, home="/"), ann(BIND, home="/home/not-yet")):
        assert fire("chroot", "on_jail_binds", host, account=account) == []
    assert (
        fire("chroot", "on_jail_binds", host, account=ann(BIND, uid=-1, home="/home/not-yet")) != []
    )


def test_on_jail_binds_keep_whose_files_a_home_shows(tree: Tree, fire: Fire) -> None:
    options = (*MOUNT_OPTIONS, id_map(Ids(33, 33), 1001, 1001))
    line = f"/srv/sftp/ann/home/ann none bind,{','.join(options[1:])}"
    tags = "x-sftpjail.user=ann,x-sftpjail.role=home,x-sftpjail.setid"
    tree.write("/etc/fstab", f"/home/ann {line},{tags} 0 0\n")
    (bind,) = fire("chroot", "on_jail_binds", tree.host(), account=ann(BIND))
    assert bind.role == "home" and bind.owner == Ids(33, 33) and SETID in bind.options
    tree.directory("/home/other")
    (bind,) = fire("chroot", "on_jail_binds", tree.host(), account=ann(BIND, home="/home/other"))
    assert bind == Bind("/home/other", "/srv/sftp/ann/home/other", role="home"), "usermod -d"
    tree.write("/etc/fstab", f"/home/ann {line.replace('u:33', 'b:33')},{tags} 0 0\n")
    (bind,) = fire("chroot", "on_jail_binds", tree.host(), account=ann(BIND))
    assert not bind.options, "no map of ours"


@pytest.mark.parametrize(
    ("uid", "made", "name", "kept"),
    [
        (-1, True, "data", True),
        (1001, True, "data", False),
        (-1, False, "data", False),
        (-1, True, "", False),
    ],
)
def test_what_a_deleted_account_left_is_roots(
    tree: Tree, fire: Fire, uid: int, made: bool, name: str, kept: bool
) -> None:
    account = replace(ann(INSIDE), uid=uid, home="/files")
    tree.directory(account.files, 0o755, (1001, 1001))
    if name:
        tree.write(f"{account.files}/{name}", "x")
    tree.write(RECORD, json.dumps({"made": [account.files] * made}))
    actions = fire("chroot", "on_user_remove", tree.host(), account=account, deleted=True)
    owners = [action for action in actions if isinstance(action, SetOwner)]
    assert owners == [SetOwner(account.files, 0, 0, 0o700, remember=False)] * kept


def test_on_user_rename_moves_the_jail(tree: Tree, fire: Fire) -> None:
    assert fire("chroot", "on_user_rename", tree.host(), account=ann(), old="joe") == []
    tree.directory("/srv/sftp/joe")
    move = [Move("/srv/sftp/joe", "/srv/sftp/ann")]
    assert fire("chroot", "on_user_rename", tree.host(), account=ann(), old="joe") == move
    tree.directory("/srv/sftp/ann")
    with pytest.raises(SftpJailError, match="/srv/sftp/ann is there already") as caught:
        fire("chroot", "on_user_rename", tree.host(), account=ann(), old="joe")
    assert caught.value.fix == "mv -nT /srv/sftp/ann /srv/sftp/ann.old && sftpjail apply"


def test_on_user_rename_gives_files_to_another_uid(tree: Tree, fire: Fire) -> None:
    inside = ann(INSIDE)
    tree.directory(inside.files, 0o700, (900, 900))
    tree.write(RECORD, json.dumps({"uid": 900, "made": [inside.files]}))
    given = [SetOwner(inside.files, inside.uid, inside.gid, 0o700, remember=False)]
    assert fire("chroot", "on_user_rename", tree.host(), account=inside, old="ann") == given
    tree.write(RECORD, json.dumps({"uid": 901, "made": [inside.files]}))
    assert fire("chroot", "on_user_rename", tree.host(), account=inside, old="ann") == []
