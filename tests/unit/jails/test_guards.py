"""Which homes may become jails: the account's own alone, and nothing of the system's."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.jails.guards import SYSTEM, TOPS, home_flaw
from sftpjail.model import Account

ANN = Account("ann", 1001, 1001, "/home/ann")


@pytest.mark.parametrize("home", [*SYSTEM, *TOPS, *(f"{place}/x/ann" for place in SYSTEM)])
def test_a_directory_of_the_system_is_no_home(tree: Tree, home: str) -> None:
    assert home_flaw(ANN, home, tree.host()) == "is a directory of the system"


@pytest.mark.parametrize(
    "home", [*(f"{place}2/ann" for place in SYSTEM), *(f"{place}/ann" for place in TOPS[1:])]
)
def test_a_home_beside_or_below_may_be_one(tree: Tree, home: str) -> None:
    tree.directory(home, owner=(1001, 1001))
    assert home_flaw(ANN, home, tree.host()) == ""


@pytest.mark.parametrize(("uid", "flaw"), [(0, ""), (1001, ""), (1, "1"), (1002, "1002")])
def test_a_home_is_ones_own_or_roots(tree: Tree, uid: int, flaw: str) -> None:
    tree.directory("/home/ann", owner=(uid, 1001))
    words = f"belongs to uid {flaw}" if flaw else ""
    assert home_flaw(ANN, "/home/ann", tree.host()) == words


@pytest.mark.parametrize(
    ("other", "uid", "flawed"),
    [
        ("/home/ann", 1002, True),
        ("/home/ann", 1001, False),
        ("/home/ann/eve", 1002, True),
        ("/home/ann-eve", 1002, False),
        ("/home/anna", 1002, False),
        ("/home", 1002, False),
    ],
)
def test_a_home_is_and_holds_nobody_elses(tree: Tree, other: str, uid: int, flawed: bool) -> None:
    tree.directory("/home/ann", owner=(1001, 1001))
    tree.people = ["ann:x:1001:1001::/home/ann:", f"eve:x:{uid}:{uid}::{other}:"]
    words = "is or holds the home of eve too" if flawed else ""
    assert home_flaw(ANN, "/home/ann", tree.host()) == words
