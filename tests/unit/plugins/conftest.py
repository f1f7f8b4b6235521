"""Plugin tests are golden plans: a host made of files goes in, actions come out. See golden.py and fakes.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Tree, no_programs, programs
from golden import fire, sshd

__all__ = ["fire", "no_programs", "programs", "sshd"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A host with the account ann in the group sftponly, and bob, who is nobody's prisoner."""
    tree = Tree(tmp_path)
    tree.account("ann", 1001)
    tree.account("bob", 1002)
    tree.group("sftponly", 500, "ann")
    return tree
