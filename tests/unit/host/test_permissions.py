"""What an account may do on the host, and what else check and explain ask: modes, ACLs, shadow, sockets, daemons."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from pathlib import Path

import pytest
from fakes import FakeHost, Programs, Tree

from sftpjail.errors import SftpJailError
from sftpjail.host import Host
from sftpjail.host import files as files_module
from sftpjail.model import Account, Shadow

ANN = Account("ann", 1001, 1001, "/home/ann")
# What getxattr("system.posix_acl_access") gives after `setfacl -m u:33:r-x,g:27:rwx,m::r-x
# DIRECTORY` in both releases.
ENTRIES = [
    (1, 7, 2**32 - 1),
    (2, 5, 33),
    (4, 5, 2**32 - 1),
    (8, 7, 27),
    (16, 5, 2**32 - 1),
    (32, 5, 2**32 - 1),
]
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)


@pytest.mark.parametrize(
    ("owner", "mode", "able"),
    [
        ((1001, 1001), 0o700, "rwx"),
        ((1001, 1001), 0o500, "rx"),
        ((1001, 1001), 0o077, ""),  # the owner's bits alone count, whatever others may
        ((0, 1001), 0o750, "rx"),
        ((0, 1001), 0o707, ""),  # and so do the group's
        ((0, 500), 0o770, "rwx"),  # a supplementary group
        ((0, 500), 0o701, ""),
        ((0, 0), 0o775, "rx"),
        ((0, 0), 0o770, ""),
        ((1002, 1002), 0o711, "x"),
        ((1002, 1002), 0o772, "w"),
    ],
)
def test_may_goes_by_owner_group_and_others(
    tree: Tree, owner: tuple[int, int], mode: int, able: str
) -> None:
    tree.group("sftponly", 500, "ann")
    tree.directory("/srv/place", 0o700, owner)
    host = tree.host()
    found = os.stat_result((mode, 1, 1, 1, *owner, 0, 0, 0, 0))
    host.files.stat = lambda path: found  # type: ignore[method-assign]
    assert "".join(what for what in "rwx" if host.may(ANN, "/srv/place", what)) == able


def test_nobody_may_do_anything_with_what_is_not_there(tree: Tree) -> None:
    assert not any(tree.host().may(ANN, "/srv/none", what) for what in "rwx")


def test_may_write_is_not_for_a_read_only_mount(tree: Tree) -> None:
    tree.directory("/srv/place", 0o755, (1001, 1001))
    host = tree.host()
    assert host.may(ANN, "/srv/place", "w")
    host.files.unwritable = {"/srv/place"}
    assert not host.may(ANN, "/srv/place", "w") and host.may(ANN, "/srv/place", "r")


def test_where_the_mode_says_no_the_account_itself_is_asked(
    tmp_path: Path, programs: Programs
) -> None:
    # An ACL may say yes; test(1) run as the account knows.
    (tmp_path / "place").mkdir(mode=0o700)
    host = FakeHost("", {str(tmp_path / "place"): (0, 0)})
    programs.answer("test", "-r", code=1)
    programs.answer("test", "-x")
    path = str(tmp_path / "place")
    assert host.may(ANN, path, "x") and not host.may(ANN, path, "r")
    start = ("setpriv", "--reuid=1001", "--regid=1001", "--init-groups", "--", "test")
    assert programs.asked == [(*start, "-x", path), (*start, "-r", path)]
    host.may(ANN, path, "x")
    assert len(programs.asked) == 2, "asked twice, run once"
    (tmp_path / "place").chmod(0o705)
    assert host.may(ANN, path, "r") and len(programs.asked) == 2, (
        "where the mode says yes, nobody is asked"
    )


def test_the_kernel_is_asked_inside_of_the_directory(tmp_path: Path, programs: Programs) -> None:
    # Whatever lies above a source does not count, since a jail reaches it by a mount.
    programs.answer("env", f"--chdir={tmp_path}", out="rx")
    assert FakeHost("", {}).able(ANN, str(tmp_path)) == "rx"
    assert programs.asked[0][1:6] == (
        f"--chdir={tmp_path}",
        *("setpriv", "--reuid=1001", "--regid=1001", "--init-groups"),
    )


def test_the_acl_names_users_and_groups_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Host().acl(str(tmp_path)) == "" and Host().acl("/nonexistent") == ""
    monkeypatch.setattr(files_module.os, "getxattr", lambda path, name: ACL)
    assert Host().acl(str(tmp_path)) == "user:33:r-x,group:27:rwx"
    monkeypatch.setattr(files_module.os, "getxattr", lambda path, name: ACL[:4])
    assert Host().acl(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("kind", "mode", "owner", "flaw"),
    [
        ("directory", 0o755, (0, 0), ""),
        ("directory", 0o750, (0, 33), ""),
        ("directory", 0o775, (0, 33), "can be written by others than root (mode 0775)"),
        ("directory", 0o757, (0, 0), "can be written by others than root (mode 0757)"),
        ("directory", 0o755, (1001, 0), "belongs to uid 1001 and not to root"),
        ("file", 0o644, (0, 0), "is not a directory"),
        ("nothing", 0, (0, 0), ""),
    ],
)
def test_flaws_are_those_of_safely_chroot(
    tree: Tree, kind: str, mode: int, owner: tuple[int, int], flaw: str
) -> None:
    if kind == "directory":
        tree.directory("/srv/x", mode, owner)
    elif kind == "file":
        tree.write("/srv/x", "")
    assert tree.host().flaw("/srv/x") == flaw
    tree.link("/srv/link", "/srv/x")
    assert tree.host().flaw("/srv/link") == flaw, "sshd uses stat(2)"


def test_shadow_is_read_once(tree: Tree) -> None:
    tree.write(
        "/etc/shadow", "ann:!$6$x:19000:0:90:7:14:20000:\nbob:*:0:0:99999:7:::\nshort:x:1\n\n"
    )
    host = tree.host()
    assert (
        host.shadow("ann") == Shadow("!$6$x", "19000", "90", "14", "20000")
        and host.expiry("ann") == "20000"
    )
    assert host.shadow("bob") == Shadow("*", "0", "99999", "", "")
    nobody = Shadow("*", "", "", "", "")
    assert host.shadow("short") == nobody == host.shadow("none")
    assert host.files.reads.count("/etc/shadow") == 1


def test_a_host_without_a_shadow_file(tree: Tree) -> None:
    assert tree.host().shadow("ann") == Shadow("*", "", "", "", "")


def test_a_socket_is_read_if_somebody_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 characters at most
    host = Host()
    assert not host.listens("log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind("log")
        assert host.listens("log")
        (tmp_path / "link").symlink_to("log")
        assert host.listens("link")
    assert (tmp_path / "log").exists() and not host.listens("log"), (
        "its reader is gone, the name is not"
    )
    (tmp_path / "file").write_text("")
    assert not host.listens("file")
    assert not host.listens("/" + "x" * 200)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind("stream")
        other.listen()
        assert not host.listens("stream")


def test_a_full_file_system_has_no_block_or_no_inode_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def has(blocks: int, free: int, files: int, inodes: int, flag: int = 0) -> None:
        found = (4096, 4096, blocks, free, free, files, inodes, inodes, flag, 255)
        monkeypatch.setattr(files_module.os, "statvfs", lambda path: os.statvfs_result(found))

    has(100, 50, 100, 50)
    assert not Host().files.full("/x") and not Host().files.read_only("/x")
    has(100, 0, 100, 50)
    assert Host().files.full("/x")
    has(100, 50, 100, 0)
    assert Host().files.full("/x")
    has(100, 50, 0, 0)  # btrfs counts no inodes
    assert not Host().files.full("/x")
    has(0, 0, 0, 0)  # nor proc blocks
    assert not Host().files.full("/x")
    has(100, 50, 100, 50, os.ST_RDONLY | os.ST_NOSUID)
    assert Host().files.read_only("/x")


@pytest.mark.parametrize("tree_of_cgroups", ["", "/systemd", "/unified"])
def test_a_manager_is_known_by_its_cgroup(tree: Tree, tree_of_cgroups: str) -> None:
    service = "user.slice/user-1001.slice/user@1001.service"
    tree.directory(f"/sys/fs/cgroup{tree_of_cgroups}/{service}/.control")
    host = tree.host()
    assert not host.jobs.has_manager(1001), "it is only being started, and may be refused"
    tree.directory(f"/sys/fs/cgroup{tree_of_cgroups}/{service}/init.scope")
    assert host.jobs.has_manager(1001) and not host.jobs.has_manager(1002)


def test_who_lingers_has_a_file_of_logind(tree: Tree) -> None:
    tree.write("/var/lib/systemd/linger/ann", "")
    assert tree.host().jobs.lingers("ann") and not tree.host().jobs.lingers("bob")


def test_members_and_programs_are_looked_up_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.account("ann", 1001, gid=500)
    tree.group("sftponly", 500, "bob")
    tree.program("sshd")
    host = tree.host()
    calls: list[str] = []
    real = shutil.which
    monkeypatch.setattr(
        shutil,
        "which",
        lambda name, path: calls.append(name) or real(name, path=path),
    )
    for _ in range(3):
        assert host.which("sshd") == "/usr/sbin/sshd" and host.which("none") == ""
        assert (
            host.group_members("sftponly") == ("bob", "ann") and host.group_members("none") is None
        )
        assert host.in_group("ann", "sftponly") and not host.in_group("ann", "none")
    assert calls == ["sshd", "none"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025", (9, 2)),
        ("OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.9 29 Sep 2026", (10, 0)),
        ("unknown option -- V\nOpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1w\nusage: sshd", (8, 4)),
    ],
)
def test_openssh_tells_its_version(
    tree: Tree, programs: Programs, said: str, version: tuple[int, int]
) -> None:
    tree.program("sshd")
    programs.answer("-V", err=said)
    assert tree.host().openssh == version


def test_an_sshd_that_tells_no_version(tree: Tree, programs: Programs) -> None:
    programs.answer("sshd", "-V", err="segfault", code=1)
    with pytest.raises(SftpJailError, match="does not report OpenSSH's version: segfault"):
        tree.host().openssh  # noqa: B018
