"""retention: which directories lose their old files, and which must not."""

from __future__ import annotations

import os
import time

import pytest
from fakes import Programs, Tree
from golden import JAIL, WEB, Fire, ann

from sftpjail import Bind, Remove, SetLines, SftpJailError, Style
from sftpjail.paths import RETENTION

LINE = "e /srv/in - - - m:30d"
SET = ("# /in: 30d", LINE)
AGES = (("/in", 30),)
FSTAB = f"/srv/in {JAIL}/in none bind,nosuid,nodev,nofail,x-sftpjail.user=ann 0 0"


def stored(*lines: str, name: str = "ann") -> SetLines:
    return SetLines(RETENTION, name, lines, Style.BLOCK)


def block(tree: Tree, *lines: str) -> None:
    tree.write(RETENTION, "\n".join(("# BEGIN sftpjail ann", *lines, "# END sftpjail ann", "")))


@pytest.fixture(autouse=True)
def host(tree: Tree, programs: Programs) -> None:
    tree.directory(JAIL)
    tree.directory("/srv/in", owner=(1001, 1001))
    tree.fstab(FSTAB)
    tree.write("/usr/bin/systemd-tmpfiles", "", mode=0o755)
    tree.directory("/etc/tmpfiles.d")
    programs.answer("/usr/bin/systemd-tmpfiles", "--version", out="systemd 252 (252.39-1)\n")


def test_on_user_retention_is_a_block_of_the_file(tree: Tree, fire: Fire) -> None:
    given = {"account": ann(), "ages": AGES}
    assert fire("storage", "on_user_retention", tree.host(), **given) == [stored(*SET)]
    block(tree, *SET)
    assert fire("storage", "on_user_retention", tree.host(), **given) == []
    none = fire("storage", "on_user_retention", tree.host(), account=ann(), ages=())
    assert none == [stored()]
    assert fire("storage", "on_user_create", tree.host(), account=ann(), new=False) == []


def test_the_line_is_suspended_while_another_owns_it(tree: Tree, fire: Fire) -> None:
    block(tree, *SET)
    tree.directory("/srv/in", owner=(0, 0))
    suspended = stored("# /in: 30d")
    assert fire("storage", "on_user_create", tree.host(), account=ann(), new=False) == [suspended]
    (problem,) = fire("storage", "on_check", tree.host(), account=ann())
    assert problem.severity == "broken" and "/srv/in belongs to root" in problem.what
    (fact,) = fire("storage", "on_explain", tree.host(), account=ann())
    assert fact.bad and "nothing is deleted" in fact.note
    block(tree, "# /in: 30d")
    tree.directory("/srv/in", owner=(1001, 1001))
    assert fire("storage", "on_user_create", tree.host(), account=ann(), new=False) == [
        stored(*SET)
    ]


def test_others_directories_are_refused(tree: Tree, fire: Fire) -> None:
    def says(words: str, directory: str = "/in") -> None:
        with pytest.raises(SftpJailError, match=words):
            ages = ((directory, 30),)
            fire("storage", "on_user_retention", tree.host(), account=ann(), ages=ages)

    says("is not there", "/gone")
    says("belongs to root", "/")
    tree.fstab(f"{FSTAB}\n/srv {'/srv/sftp/bob'}/all none bind,x-sftpjail.user=bob 0 0")
    says("is shared: it is mounted in the jail of bob too")
    tree.fstab(FSTAB)
    tree.directory("/srv", owner=(1002, 1002))
    says("others than root can write in /srv")


def test_an_old_systemd_is_refused(tree: Tree, fire: Fire, programs: Programs) -> None:
    programs.plans.clear()
    programs.answer("/usr/bin/systemd-tmpfiles", "--version", out="systemd 245 (245.4)\n")
    with pytest.raises(SftpJailError, match="is of systemd 245 here"):
        fire("storage", "on_user_retention", tree.host(), account=ann(), ages=AGES)


def test_on_check_counts_what_would_be_deleted(tree: Tree, fire: Fire) -> None:
    block(tree, *SET)
    assert fire("storage", "on_check", tree.host(), account=ann()) == []
    for name, days in (("old", 31), ("new", 29), ("sub/older", 400)):
        tree.write(f"/srv/in/{name}", "")
        written = time.time() - days * 86400
        os.utime(f"{tree.root}/srv/in/{name}", (time.time(), written))
    os.symlink("/etc/passwd", f"{tree.root}/srv/in/link")
    (problem,) = fire("storage", "on_check", tree.host(), account=ann())
    assert problem.severity == "advice"
    assert problem.what.startswith("2 files of ann in /in are older than 30 days")


def test_a_mount_for_another_is_refused(tree: Tree, fire: Fire) -> None:
    block(tree, *SET)
    bob = ann(name="bob", uid=1002)
    for source in ("/srv/in", "/srv/in/sub", "/srv"):
        with pytest.raises(SftpJailError, match="old files there are deleted"):
            bind = Bind(source, "/srv/sftp/bob/in")
            fire("storage", "on_mount", tree.host(), account=bob, bind=bind)
    assert fire("storage", "on_mount", tree.host(), account=bob, bind=WEB) == []
    own = Bind("/srv/in", f"{JAIL}/other")
    assert fire("storage", "on_mount", tree.host(), account=ann(), bind=own) == []


def test_the_lines_go_with_the_jail_and_follow_the_name(tree: Tree, fire: Fire) -> None:
    block(tree, *SET)
    given = {"account": ann(), "deleted": False}
    assert fire("storage", "on_user_remove", tree.host(), **given) == [stored()]
    assert fire("storage", "on_user_remove", tree.host(), account=ann(), deleted=True) == []
    assert fire("storage", "on_detach", tree.host()) == [stored("# /in: 30d")]
    assert stored() in fire("storage", "on_teardown", tree.host())
    renamed = fire("storage", "on_user_rename", tree.host(), account=ann(name="eve"), old="bob")
    assert renamed == []
    renamed = fire("storage", "on_user_rename", tree.host(), account=ann(name="eve"), old="ann")
    assert renamed == [stored("# /in: 30d", name="eve")]
    tree.write(RETENTION, "")
    assert Remove(RETENTION) in fire("storage", "on_teardown", tree.host())
