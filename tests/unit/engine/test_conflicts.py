"""Shared directories of one plan: a mount below one, and one for two groups, are refused."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.actions import Action, SetLines, Share
from sftpjail.engine.conflicts import around_shared
from sftpjail.engine.plan import Step
from sftpjail.errors import Unsafe
from sftpjail.formats.tagged_lines import Style


def mount(name: str, source: str) -> Step:
    line = f"{source} /srv/sftp/{name}/web none bind,x-sftpjail.user={name} 0 0"
    return step(name, SetLines("/etc/fstab", f"{name} /web", (line,), Style.FSTAB))


def share(name: str, path: str, gid: int = 4000) -> Step:
    return step(name, Share(path, gid))


def step(name: str, action: Action) -> Step:
    return Step(action, "mounts", name)


def prepared(tree: Tree) -> Tree:
    for path in ("/srv/web/site", "/srv/website"):
        tree.directory(path)
    tree.group("editors", 4000)
    tree.group("others", 4001)
    tree.link("/srv/link", "/srv/web/site")
    return tree


@pytest.mark.parametrize("below", ["/srv/web/site", "/srv/link"])
def test_a_mount_below_one_that_is_shared_is_refused(tree: Tree, below: str) -> None:
    host = prepared(tree).host()
    steps = [mount("ann", "/srv/web"), share("ann", "/srv/web"), mount("bob", below)]
    for order in (steps, steps[::-1]):
        ((name, error),) = around_shared(order, host).items()
        assert name == "bob" and isinstance(error, Unsafe)
        assert f"show {below} in a jail: the group editors is to write in /srv/web," in str(error)


def test_a_directory_has_one_group_in_a_plan(tree: Tree) -> None:
    host = prepared(tree).host()
    steps = [share("ann", "/srv/web"), share("bob", "/srv/web", 4001), share("carl", "/srv/web")]
    ((name, error),) = around_shared(steps, host).items()
    assert name == "bob" and "to the groups editors and others at once" in str(error)


def test_mounts_beside_one_that_is_shared_are_not_concerned(tree: Tree) -> None:
    gone = SetLines("/etc/fstab", "eve /web", (), Style.FSTAB)
    steps = [share("ann", "/srv/web"), share("dora", "/srv/web"), step("eve", gone)]
    for source in ("/srv/website", "/srv", "/srv/web"):
        steps.append(mount("bob", source))
    assert around_shared(steps, prepared(tree).host()) == {}
    assert around_shared([mount("bob", "/srv/web/site")], tree.host()) == {}
