"""Mounts below what a jail shows: which are named, and with what."""

from __future__ import annotations

import pytest
from fakes import Tree
from golden import HOME, WEB, ann

from sftpjail.config import Config
from sftpjail.jails.submounts import hidden
from sftpjail.model import Bind, Problem


def found(tree: Tree, bind: Bind = WEB, config: Config | None = None) -> list[Problem]:
    return hidden(ann(), bind, tree.host(), config or Config())


@pytest.fixture(autouse=True)
def below(tree: Tree) -> None:
    """Two mounts, one in the other, below what /web shows, and one beside it."""
    tree.directory(f"{WEB.source}/a b/deep")
    tree.mounted(f"{WEB.source}/a\\040b", f"{WEB.source}/a\\040b/deep", f"{WEB.source}x/beside")


def test_each_mount_below_is_shown_by_a_command(tree: Tree) -> None:
    assert [problem.fix for problem in found(tree)] == [
        f"sftpjail mount ann '{WEB.source}/a b' '/web/a b'",
        f"sftpjail mount ann '{WEB.source}/a b/deep' '/web/a b/deep'",
    ]
    (first, _) = found(tree, Bind(WEB.source, WEB.target, read_only=True))
    assert "--read-only" in first.fix and first.severity == "advice"


def test_what_the_jail_shows_already_is_not_named(tree: Tree) -> None:
    tree.fstab(
        *(
            f"{WEB.source}/{name} {WEB.target}/{name} none bind,x-sftpjail.user=ann 0 0"
            for name in ("a\\040b", "a\\040b/deep")
        )
    )
    assert found(tree) == []
    assert found(tree, Bind(WEB.source, WEB.target, role="log")) == []


def test_what_mount_would_refuse_is_advice(tree: Tree) -> None:
    tree.write(f"{WEB.target}/a b/lost", "")
    (problem,) = found(tree)
    assert not problem.fix and "there are files below the mount point" in problem.advice
    tree.owners[WEB.source] = (1001, 1001)
    (problem,) = found(tree)
    assert not problem.fix and f"others than root can write in {WEB.source}" in problem.advice


def test_a_file_that_is_mounted_is_no_directory(tree: Tree) -> None:
    tree.write(f"{WEB.source}/file", "")
    tree.mounted(f"{WEB.source}/file")
    assert found(tree) == []


def test_below_a_home_that_is_a_jail_it_is_asked_for(tree: Tree) -> None:
    (first, *_) = hidden(ann(HOME), WEB, tree.host(), Config())
    assert "--under-home" in first.fix
