"""Printed commands: root pastes them when a user may have exchanged whatever a user can."""

from __future__ import annotations

import os
import subprocess

import pytest
from fakes import Tree

from sftpjail.formats import fixes

ANN = (1001, 1001)


@pytest.fixture
def with_ann(tree: Tree) -> Tree:
    tree.account("ann", *ANN)
    tree.account("bob", 1002)
    tree.directory("/home/ann/files", 0o755, ANN)
    tree.directory("/srv/data/inner")
    return tree


def test_a_place_that_only_root_can_change(with_ann: Tree) -> None:
    host = with_ann.host()
    assert host.trusted_path("/srv/data/inner") == "/srv/data/inner"
    assert host.trusted_path("/srv/data/none/at/all") == "/srv/data/none/at/all"
    assert host.trusted_path("/srv/./data/../data/inner/") == "/srv/data/inner"
    assert host.trusted_path("/") == "/"
    assert host.trusted_path("/home/ann") == "/home/ann", "nobody but root renames in /home"
    assert host.trusted_path("/home/ann/files") == "" and host.trusted_path("/home/ann/.") == ""
    assert host.trusted_path("/home/ann/files", 1001) == "/home/ann/files"
    assert host.trusted_path("/home/ann/files", 1002) == ""
    assert host.trusted_path("/home/ann/../../etc") == "", (
        "ann can put a link in the place of what it goes back from"
    )


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_can_write(with_ann: Tree, mode: int) -> None:
    with_ann.directory("/srv/data", mode)
    assert with_ann.host().trusted_path("/srv/data/inner") == ""
    assert with_ann.host().trusted_path("/srv/data/inner", 1001) == ""
    assert with_ann.host().trusted_path("/srv/data") == "/srv/data"


def test_links_on_the_way(with_ann: Tree) -> None:
    with_ann.link("/data", "/srv/data")
    with_ann.link("/srv/up", "../srv/data/inner")
    with_ann.link("/home/ann/out", "/srv/data")
    with_ann.link("/through", "/home/ann/out")
    with_ann.link("/loop", "/loop")
    with_ann.link("/bobs", "/srv/data")
    with_ann.owners["/bobs"] = (1002, 1002)
    host = with_ann.host()
    assert host.trusted_path("/data/inner") == "/srv/data/inner" == host.trusted_path("/srv/up"), (
        "root made them"
    )
    assert (
        host.trusted_path("/data", follow=False) == "/data"
        and host.trusted_path("/data") == "/srv/data"
    )
    assert host.trusted_path("/through/inner") == "", (
        "it ends in a place of root's, by a link of ann's"
    )
    assert host.trusted_path("/loop/x") == "" and host.trusted_path("/bobs/inner") == ""


def test_what_is_in_the_way(with_ann: Tree) -> None:
    host = with_ann.host()
    assert fixes.aside("/srv/data/inner", host) == "mv -nT /srv/data/inner /srv/data/inner.old"
    assert fixes.aside("/home/ann/files", host) == (
        "setsid -w runuser -u ann -- mv -nT /home/ann/files /home/ann/files.old"
    )
    with_ann.link("/srv/data/inner.old", "/etc")
    assert fixes.aside("/srv/data/inner", with_ann.host()).endswith(" /srv/data/inner.old1"), (
        "one that nothing has"
    )
    with_ann.directory("/home/ann", 0o775, ANN)
    assert fixes.aside("/home/ann/files", with_ann.host()) == "", "the group could lead ann astray"
    with_ann.directory("/srv/data", 0o777)
    assert fixes.aside("/srv/data/inner", with_ann.host()) == "", "it is nobody's own"
    assert "because of /srv/data;" in fixes.advice("/srv/data/inner", with_ann.host())


def test_commands_on_a_path(with_ann: Tree) -> None:
    with_ann.directory("/srv/two words")
    host = with_ann.host()
    edit = "sed -i '1s/{}/x/' {}"
    assert fixes.on("/srv/two words", host, edit) == "sed -i '1s/{}/x/' '/srv/two words'"
    assert (
        fixes.on("/srv", host, "chmod go-w {}", "sftpjail apply")
        == "chmod go-w /srv && sftpjail apply"
    )
    assert fixes.on("/home/ann/files", host, "chmod go-w {}") == ""
    assert fixes.as_owner("/home/ann/files", host, "chmod", "go-w", "/home/ann/files") == (
        "setsid -w runuser -u ann -- chmod go-w /home/ann/files"
    )
    assert fixes.as_owner("/srv/data", host, "true") == "" == fixes.as_owner("/none", host, "true")
    assert fixes.move("/srv/data", "/srv/x", host) == "mv -nT /srv/data /srv/x"
    assert (
        fixes.move("/srv/data", "/home/ann/x", host)
        == ""
        == fixes.move("/home/ann/files", "/srv/x", host)
    )
    assert (
        fixes.remove_trees(["/srv/data", "/home/ann"], host)
        == "rm -rI --one-file-system /srv/data /home/ann"
    )
    assert (
        fixes.remove_trees(["/srv/data", "/home/ann/files"], host)
        == ""
        == fixes.remove_trees([], host)
    )


def test_processes_are_ended_as_their_owners() -> None:
    assert fixes.ending({}) == "" == fixes.ending({1: 0, 77: 0})
    both = fixes.ending({5: 1001, 6: 1002, 7: 1001, 8: 0})
    assert both.count("setpriv --reuid=1001 ") == both.count("setpriv --reuid=1002 ") == 1
    assert (
        both.split("; ")[0].endswith(" kill 5 7")
        and both.split("; ")[1].endswith(" kill 6")
        and " 8" not in both
    )


@pytest.mark.real_program
def test_the_words_of_ending_reach_kill() -> None:
    """Without the part that needs root: `sh -c 'kill "$@"' kill PID`."""
    with subprocess.Popen(["sleep", "60"]) as process:
        command = fixes.ending({process.pid: 5}).partition("--clear-groups ")[2]
        assert command and subprocess.run(command, shell=True, check=False).returncode == 0
        assert process.wait(10) == -15
    assert os.getpid() != process.pid


def test_a_place_of_a_mount_below(with_ann: Tree) -> None:
    with_ann.directory("/srv/web/shared")
    with_ann.fstab(
        "/srv/web /srv/sftp/ann/web none bind,x-sftpjail.user=ann 0 0",
        "/srv/data /srv/sftp/ann/web/shared/data none bind,x-sftpjail.user=ann 0 0",
        "/srv/data /srv/sftp/bob/data none bind,x-sftpjail.user=bob 0 0",
    )
    host = with_ann.host()
    assert (
        host.mount_tables.mount_place_below("/srv/web/shared")
        == "/srv/web/shared/data"
        == host.mount_tables.mount_place_below("/srv/web")
    )
    assert host.mount_tables.mount_place_below("/srv/sftp/bob") == "/srv/sftp/bob/data"
    assert (
        host.mount_tables.mount_place_below("/srv/data")
        == ""
        == host.mount_tables.mount_place_below("/srv/web/shared/data")
    )
