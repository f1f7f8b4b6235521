"""The patterns of sshd: which names one matches, and which a list of them."""

from __future__ import annotations

import pytest

from sftpjail.openssh.patterns import any_matches, listed, matches


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("bob", ["bob"], ["", "bo", "bobb", "Bob"]),
        ("bob?", ["bobs", "bob?"], ["bob", "bobss"]),
        ("?bob", ["xbob"], ["bob"]),
        ("b?b", ["bob", "bib"], ["bb", "boob"]),
        ("bob??", ["bob12"], ["bob", "bob1"]),
        ("bob*", ["bob", "bobs", "bob*"], ["bo"]),
        ("bob**", ["bob", "bobs"], ["bo"]),
        ("bob*?", ["bobs", "bobss"], ["bob"]),
        ("bob?*", ["bobs", "bobss"], ["bob"]),
        ("*bob", ["bob", "bobbob", "bobob"], ["bobo"]),
        ("a*b*c", ["abc", "a-b-bc"], ["abcd", "acb"]),
        ("*", ["", "bob"], []),
        ("?", ["b"], ["", "bo"]),
        ("", [""], ["b"]),
        ("[b]*", ["[b]", "[b]ob"], ["bob"]),
    ],
)
def test_a_pattern_matches_the_whole_of_a_name(
    pattern: str, matched: list[str], others: list[str]
) -> None:
    assert [name for name in [*matched, *others] if matches(name, pattern)] == matched


def test_one_pattern_that_matches_one_name_is_enough() -> None:
    assert any_matches(["ann", "bob"], ["x", "b?b"])
    assert not any_matches(["ann", "bob"], ["x", "b?b?"])
    assert not any_matches([], ["*"]) and not any_matches(["ann"], [])


@pytest.mark.parametrize(
    ("patterns", "is_listed"),
    [
        ("staff", True),
        ("s*,x", True),
        ("staff?", False),
        ("*,!staff", False),
        ("!staff,*", False),
        ("*,!staff?", True),
        ("*,!sta??,x", False),
        ("!other", False),
        ("!other,users", True),
        ("", False),
    ],
)
def test_a_negated_match_of_a_list_says_no(patterns: str, is_listed: bool) -> None:
    assert listed(iter(["staff", "users"]), patterns) is is_listed
