"""Which accounts are deleted by one edit, and for which userdel(8) does more than that."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.operations.deletions import by_one_edit

NAMES = ("ann", "bob", "eve")


@pytest.fixture
def people(tree: Tree) -> Tree:
    for uid, name in enumerate(NAMES, 1001):
        tree.account(name, uid)
    return tree


def test_accounts_with_a_group_of_their_own(people: Tree) -> None:
    assert by_one_edit(NAMES, people.host()) == NAMES
    assert by_one_edit(("ann", "zoe"), people.host()) == () == by_one_edit(("ann",), people.host())
    people.join("bob", "ann")
    assert by_one_edit(NAMES, people.host()) == ("ann", "eve")
    people.account("max", 2000, gid=1003)
    assert by_one_edit(NAMES, people.host()) == ()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/login.defs", "USERDEL_CMD /usr/sbin/userdel_local\n"),
        ("/etc/login.defs", "USERGROUPS_ENAB no\n"),
        ("/etc/shadow-maint/userdel-pre.d/theirs", ""),
        ("/etc/shadow-maint/userdel-post.d/theirs", ""),
    ],
)
def test_what_userdel_does_besides(people: Tree, path: str, text: str) -> None:
    people.write("/etc/shadow-maint/userdel-pre.d/sftpjail", "")
    assert by_one_edit(NAMES, people.host()) == NAMES
    people.write(path, text)
    assert by_one_edit(NAMES, people.host()) == ()
