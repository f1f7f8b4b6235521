"""What is away, and what is printed about it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import Tree
from golden import BIND, HOME, INSIDE, JAIL, Fire, ann

from sftpjail import Key, SftpJailError
from sftpjail.jails.away import home_away, is_bare_of_homes

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
