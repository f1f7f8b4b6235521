"""Whom the files of name services beside passwd(5) name."""

from __future__ import annotations

from fakes import Tree

from sftpjail.host.userdb import names


def test_names_of_userdb_and_extrausers(tree: Tree) -> None:
    for entry in (
        "zoe.user",
        "70001.user",
        "zoe.user-privileged",
        "zoe.group",
        "ann:sftponly.membership",
    ):
        tree.write(f"/etc/userdb/{entry}", "{}")
    tree.write("/run/userdb/x.y.user", "{}")
    tree.write("/var/lib/extrausers/passwd", "eve:x:5000:100::/home/eve:/bin/sh\n\nnonsense\n")
    files = tree.host().files
    assert sorted(names(("files", "systemd"), files)) == ["ann", "x.y", "zoe"]
    assert [*names(("files", "extrausers"), files)] == ["eve"]
    assert [*names(("files",), files)] == []
