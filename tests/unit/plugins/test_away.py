"""What is away, and what is printed about it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, HOME, INSIDE, JAIL, Fire, ann

from sftpjail import Key, Remove, SftpJailError, WriteFile
from sftpjail.jails.away import home_away, is_bare_of_homes, unmounted
from sftpjail.paths import DISKS

RECORD = "/var/lib/sftpjail/accounts/ann"


def without_home(tree: Tree) -> None:
    """The jail of ann shows her home, which is not there."""
    tree.fstab(f"/home/ann {JAIL}/home/ann none bind,x-sftpjail.user=ann,x-sftpjail.role=home 0 0")
    for place in (tree.root / "home/ann").rglob("*"):
        place.unlink()
    (tree.root / "home/ann").rmdir()


def test_a_home_that_was_never_there_is_not_away(tree: Tree) -> None:
    assert home_away(ann(BIND), tree.host()) is None
    assert home_away(ann(BIND, home="/home/none"), tree.host()) is None


def test_a_new_home_is_offered_only_beside_others(tree: Tree, fire: Fire) -> None:
    without_home(tree)
    away = home_away(ann(BIND), tree.host())
    assert away and "mkhomedir_helper ann" in away.choices[0].command and not away.fix
    assert fire("chroot", "on_jail_binds", tree.host(), account=ann(BIND)), "its line stays"
    (tree.root / "home/bob").rmdir()
    away = home_away(ann(BIND), tree.host())
    assert away and away.message.startswith("/home is empty") and not away.choices
    assert is_bare_of_homes(ann(BIND, name="eve", home="/home/eve"), tree.host())
    tree.fstab("/dev/sdb1 /home ext4 noauto 0 0")
    away = home_away(ann(BIND), tree.host())
    assert away and away.fix == "mount /home && sftpjail apply"


def test_a_link_to_a_disk_that_is_away_is_not_made_a_home(tree: Tree) -> None:
    without_home(tree)
    tree.write("/mnt/other", "")
    tree.link("/home/ann", "/mnt/disk/ann")
    away = home_away(ann(BIND), tree.host())
    assert away and not away.choices and not away.fix


def test_a_home_that_is_a_jail_is_away_when_it_is_empty(tree: Tree) -> None:
    """Its disk is: what setup made in it is not there, and the place belongs to nobody."""
    account = ann(HOME)
    tree.write(RECORD, json.dumps({"made": [account.files]}))
    away = home_away(account, tree.host())
    assert away and away.message.startswith("/home/ann is empty")
    (tree.root / account.files[1:]).mkdir()
    assert home_away(account, tree.host()) is None


def test_no_home_of_a_service_is_made_below_a_mount_point(tree: Tree, fire: Fire) -> None:
    account = replace(ann(BIND, name="zoe", home="/home/zoe"), local=False)
    assert fire("chroot", "on_user_create", tree.host(), account=account)
    tree.fstab("server:/home /home nfs noauto 0 0")
    with pytest.raises(SftpJailError, match="/home is in fstab and not mounted"):
        fire("chroot", "on_user_create", tree.host(), account=account)


def test_no_home_is_given_back_while_it_is_away(tree: Tree, fire: Fire) -> None:
    tree.write(RECORD, json.dumps({"owners": {"/home/ann": [1001, 1001, 493]}, "made": []}))
    assert fire("chroot", "on_user_remove", tree.host(), account=ann(HOME), deleted=False)
    (tree.root / "home/ann").rmdir()
    with pytest.raises(SftpJailError, match="/home/ann of ann is not there"):
        fire("chroot", "on_user_remove", tree.host(), account=ann(HOME), deleted=False)


def test_files_are_made_anew_only_where_they_are_lost(tree: Tree, fire: Fire) -> None:
    made = [JAIL, f"{JAIL}/files"]
    tree.write(RECORD, json.dumps({"made": made}))
    tree.directory("/srv/sftp/bob")
    assert fire("chroot", "on_user_create", tree.host(), account=ann(INSIDE))
    tree.directory(JAIL)
    with pytest.raises(SftpJailError, match=f"{JAIL} is empty") as caught:
        fire("chroot", "on_user_create", tree.host(), account=ann(INSIDE))
    (choice,) = caught.value.choices
    assert choice.command.startswith("install -d -m 700 -o 1001 -g 1001 /srv/sftp/ann/files &&")
    for name in ("ann", "bob"):
        (tree.root / f"srv/sftp/{name}").rmdir()
    for account in (ann(INSIDE), ann(INSIDE, name="bob")):
        with pytest.raises(SftpJailError, match=r"/srv/sftp is empty, where the files of jails"):
            fire("chroot", "on_user_create", tree.host(), account=account)


def test_no_key_is_added_below_a_mount_point(tree: Tree, fire: Fire) -> None:
    key = Key("ssh-ed25519 AAAA x", "ssh-ed25519", 256, "SHA256:x")
    assert fire("keys", "on_key_add", tree.host(), account=ann(), key=key)
    tree.fstab("/dev/sdb1 /etc/ssh/authorized_keys ext4 defaults 0 2")
    with pytest.raises(SftpJailError, match="is in fstab and not mounted") as caught:
        fire("keys", "on_key_add", tree.host(), account=ann(), key=key)
    assert caught.value.fix == "mount /etc/ssh/authorized_keys && sftpjail apply"


ROOT = "21 1 0:1 / / rw - ext4 /dev/sda1 rw\n"
DISK = "22 21 0:2 / /srv rw - ext4 /dev/sdb1 rw\n"


@pytest.mark.parametrize(
    ("mounts", "fstab", "recorded"),
    [
        (ROOT, "", False),
        (ROOT + DISK, "", True),
        (ROOT + DISK, "/dev/sdb1 /srv/ ext4 defaults 0 2", False),
        (ROOT + DISK.replace("- ext4", "- autofs"), "", False),
    ],
)
def test_setup_notes_a_disk_that_fstab_does_not_name(
    tree: Tree, fire: Fire, mounts: str, fstab: str, recorded: bool
) -> None:
    tree.directory("/srv/sftp")
    tree.write("/proc/self/mountinfo", mounts)
    tree.fstab(fstab)
    note = WriteFile(DISKS, '{\n "/srv/sftp": "/srv"\n}\n', mode=0o600)
    assert fire("chroot", "on_setup", tree.host()) == ([note] if recorded else [])
    tree.write(DISKS, note.content)
    gone = Remove(DISKS, ours=True)
    assert fire("chroot", "on_setup", tree.host()) == [note if recorded else gone]
    assert gone in fire("chroot", "on_teardown", tree.host())


def test_a_disk_is_away_unless_jails_are_there_without_it(tree: Tree, fire: Fire) -> None:
    tree.write("/proc/self/mountinfo", ROOT)
    tree.write(DISKS, '{"/srv/sftp": "/srv"}')
    away = unmounted(JAIL, tree.host())
    assert away and away.choices[0].command.startswith("install -d /srv/sftp && sftpjail setup")
    assert unmounted("/srv/other", tree.host()) is None
    for hook in ("on_setup", "on_user_create"):
        with pytest.raises(SftpJailError, match="/srv is not mounted, where the jails in"):
            fire("chroot", hook, tree.host(), account=ann(BIND))
    tree.directory("/srv/sftp")
    tree.write(RECORD, json.dumps({"made": [JAIL]}))
    assert unmounted(JAIL, tree.host()) is None, "it was made without the disk"


def test_a_disk_that_is_the_directory_of_jails_is_away(tree: Tree) -> None:
    tree.write("/proc/self/mountinfo", ROOT)
    tree.directory("/srv/sftp")
    tree.write(DISKS, '{"/srv/sftp": "/srv/sftp"}')
    away = unmounted(JAIL, tree.host())
    assert away and away.message.startswith("/srv/sftp is not mounted")
    assert not away.fix
    # As long as the record is there, so bare a directory is none to make jails in.
    anew = f"rm {DISKS} && sftpjail setup && sftpjail apply"
    assert [choice.command for choice in away.choices] == [anew]
    (tree.root / "srv/sftp").rmdir()
    gone = unmounted(JAIL, tree.host())
    assert gone and [choice.command for choice in gone.choices] == [anew]
    tree.write(DISKS, '{"/srv/sftp": "/srv/sftp", "/srv/other": "/srv/other"}')
    both = unmounted(JAIL, tree.host())
    assert both and not both.choices, "the record of the other disk must not go"
    tree.write(DISKS, '{"/srv/sftp": "/srv/sftp"}')
    tree.directory("/srv/sftp/ben")
    assert unmounted(JAIL, tree.host()) is None, "jails are there"
    (tree.root / "srv/sftp/ben").rmdir()
    for damaged in ("{", "[]", '{"a": 1}'):
        tree.write(DISKS, damaged)
        assert unmounted(JAIL, tree.host()) is None
