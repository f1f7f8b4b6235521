"""From a path that a session saw to one of the host: through the mounts of each form of jail."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.model import Account, Profile
from sftpjail.paths import TABLES
from sftpjail.watch.places import place_of, uploader_at

AMY = Account("amy", 1001, 1001, "/home/amy", "", Profile("sftponly"))
LINES = (
    "/home/amy /srv/sftp/amy/home/amy none bind,x-sftpjail.user=amy,x-sftpjail.role=home 0 0",
    "/srv/web /srv/sftp/amy/web none bind,x-sftpjail.user=amy 0 0",
    "/srv/our\\040files /srv/sftp/amy/web/deep none rbind,x-sftpjail.user=amy 0 0",
    "/srv/as /srv/sftp/amy/as none"
    " bind,x-sftpjail.user=amy,X-mount.idmap=u:33:1001:1\\040g:34:1001:1 0 0",
)


@pytest.mark.parametrize("kept", ["fstab", "session"])
@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/home/amy/a", "/home/amy/a"),
        ("/web/a/b", "/srv/web/a/b"),
        ("/web/deep/x", "/srv/our files/x"),
        ("/web/deeper/x", "/srv/web/deeper/x"),
        ("/own", "/srv/sftp/amy/own"),
        ("//web/./a", "/srv/web/a"),
        ("/home/amy/../../web/a", "/srv/web/a"),
        ("/../../../etc/shadow", "/srv/sftp/amy/etc/shadow"),
        ("/web/../../etc/shadow", "/srv/sftp/amy/etc/shadow"),
        ("/web/a\n'b;", "/srv/web/a\n'b;"),
        ("/web", "/srv/web"),
    ],
)
def test_a_path_in_a_mount_is_one_of_its_source(
    tree: Tree, kept: str, path: str, host: str
) -> None:
    tree.write(f"{TABLES}/amy" if kept == "session" else "/etc/fstab", "\n".join(LINES) + "\n")
    assert place_of(path, AMY, tree.host()).path == host


def test_a_jail_in_the_home_has_its_own_files(tree: Tree) -> None:
    account = Account("amy", 1001, 1001, "/home/amy", "", Profile("sftponly", chroot="%h"))
    place = place_of("/files/x", account, tree.host())
    assert (place.source, place.below, place.deep) == ("/home/amy", ("files", "x"), False)


def test_a_map_says_whose_the_files_are(tree: Tree) -> None:
    tree.write("/etc/fstab", "\n".join(LINES) + "\n")
    uploader = uploader_at("/as/x", AMY, tree.host())
    assert (uploader.uid, tuple(uploader.gids)) == (33, (34,))
    assert uploader_at("/web/x", AMY, tree.host()).uid == 1001
    assert place_of("/web/deep/x", AMY, tree.host()).deep
