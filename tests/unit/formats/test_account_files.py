"""The entries of passwd(5), group(5) and shadow(5)."""

from __future__ import annotations

import pytest

from sftpjail.formats import account_files
from sftpjail.model import Account, Group

ANN = "ann:x:1001:1001:Ann:/home/ann:/bin/sh"
BOB = "bob:x:1002:1002::/home/bob:"


def test_entries_are_by_name_in_their_order() -> None:
    found = account_files.accounts(f"{BOB}\n# no entry\n{ANN}\n")
    assert list(found) == ["bob", "ann"] and len(found) == 2
    assert found["bob"] == Account("bob", 1002, 1002, "/home/bob", "")


def test_the_first_line_that_is_an_entry_counts() -> None:
    text = f"ann:x:no:1:::\n{ANN}\n{ANN.replace('1001', '1009')}\n"
    assert account_files.accounts(text)["ann"].uid == 1001
    assert account_files.groups("a:x:1:\na:x:2:b\n")["a"] == Group("a", 1, ())


def test_blanks_before_a_member_are_skipped_and_others_not() -> None:
    found = account_files.groups("a:x:1: ann,\tbob,,carl ,ann\n")
    assert found["a"].members == ("ann", "bob", "carl ", "ann")


def test_a_name_without_an_entry_is_missing() -> None:
    found = account_files.accounts(f"carl:x:1:\n{ANN}\n")
    assert "carl" not in found and "dora" not in found and found.get("carl") is None
    assert "carl" in found.names
    with pytest.raises(KeyError):
        found["carl"]


def test_a_line_ends_at_a_nul() -> None:
    assert list(account_files.groups("one:x:1:ann\0,bob\ntwo\0:x:2:\n")) == ["one"]


def test_entries_that_hold_a_text_are_found() -> None:
    found = account_files.accounts(f"{ANN}\n{BOB}\n")
    assert [one.name for one in found.holding("1002:")] == ["bob"]


@pytest.mark.parametrize("text", ["ann:x:1:1", f" {ANN}", f"{ANN}\n{ANN}"])
def test_the_c_library_may_know_more_of_a_line(text: str) -> None:
    assert not account_files.accounts(text).is_plain("ann")
    assert account_files.accounts(f"{text}\n{BOB}").is_plain("bob")


def test_the_same_text_is_read_once() -> None:
    text = f"{ANN}\n"
    assert account_files.accounts(text) is account_files.accounts(f"{ANN}" + "\n")
    assert account_files.accounts(text) is not account_files.accounts(f"{BOB}\n")
