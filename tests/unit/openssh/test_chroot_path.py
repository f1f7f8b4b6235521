"""The commands that make a chroot's path one that sshd accepts: no less than is needed, and no more."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.errors.escapes import Advice
from sftpjail.model import Account
from sftpjail.openssh.chroot_path import make_home, new_home, path_fix


@pytest.mark.parametrize("uid", [0, 1, 1001])
@pytest.mark.parametrize("bit", [0, *(1 << number for number in range(12))], ids=oct)
def test_a_flaw_is_fixed_by_what_it_needs(tree: Tree, bit: int, uid: int) -> None:
    tree.directory("/srv/a b", 0o700 | bit, owner=(uid, 0))
    commands = ["chown root '/srv/a b'"] * bool(uid)
    commands += ["chmod go-w '/srv/a b'"] * (bit in (0o020, 0o002))
    fix = path_fix("/srv/a b", tree.host())
    assert fix == " && ".join(commands) or (isinstance(fix, Advice) and not commands)


def test_a_flaw_below_what_others_own_has_no_command(tree: Tree) -> None:
    tree.directory("/srv/sftp/ann", 0o777)
    tree.owners["/srv/sftp"] = (1001, 1001)
    fix = path_fix("/srv/sftp/ann", tree.host())
    assert isinstance(fix, Advice) and "because of /srv/sftp;" in fix


def test_what_is_no_directory_is_moved_aside(tree: Tree) -> None:
    tree.write("/srv/sftp", "x\n")
    command = path_fix("/srv/sftp", tree.host())
    assert command.startswith("mv ") and command.endswith(" && sftpjail apply")


def test_a_new_home_takes_no_place_that_is_taken(tree: Tree) -> None:
    command = (
        "usermod -d /home/new new && mkhomedir_helper new 0022 /etc/skel 0700 && sftpjail apply"
    )
    assert new_home(Account("new", 1009, 1009, "/"), tree.host()) == command
    tree.directory("/home/new", owner=(1009, 1009))
    own = new_home(Account("new", 1009, 1009, "/"), tree.host())
    assert own == "usermod -d /home/new new && sftpjail apply"
    tree.owners["/home/new"] = (1002, 1002)
    taken = new_home(Account("new", 1009, 1009, "/"), tree.host())
    assert isinstance(taken, Advice) and "usermod -d" in taken


def test_a_home_gets_the_mode_of_login_defs(tree: Tree) -> None:
    tree.write("/etc/login.defs", "HOME_MODE 0711\n")
    assert make_home(Account("new", 1009, 1009, "/"), tree.host()).endswith(" /etc/skel 0711")
    tree.write("/etc/login.defs", "HOME_MODE nonsense\n")
    assert make_home(Account("new", 1009, 1009, "/"), tree.host()).endswith(" /etc/skel 0700")
