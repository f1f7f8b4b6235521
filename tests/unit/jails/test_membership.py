"""membership: a profile's group that has another name now, and who is still jailed by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Tree

from sftpjail import Profile, SftpJailError
from sftpjail.config import Config
from sftpjail.jails.closing import lets_in
from sftpjail.jails.membership import (
    find,
    jailed,
    lost,
    name_now,
    refuse_missing,
    refuse_other_name,
    was_renamed,
)
from sftpjail.openssh import profile_edit

PROFILE = Profile("sftponly")
CONFIG = Config(profiles=(PROFILE,))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The group sftponly is called sftp2 now: ann was jailed by it, and bob came later."""
    tree = Tree(tmp_path)
    for uid, name in enumerate(("ann", "bob", "cat"), 1001):
        tree.account(name, uid)
    tree.group("sftp2", 500, "ann", "bob")
    tree.write("/var/lib/sftpjail/host", "{}\n")
    record(tree, "ann", 1001)
    record(tree, "cat", 1003)
    return tree


def record(tree: Tree, name: str, uid: int, group: str = "sftponly", gid: int = 500) -> None:
    words = {"made": [f"/srv/sftp/{name}"], "uid": uid, "group": group, "gid": gid}
    tree.write(f"/var/lib/sftpjail/accounts/{name}", json.dumps(words))


def test_whom_it_has_jailed_stays_a_member(tree: Tree) -> None:
    host = tree.host()
    found = jailed(CONFIG, host)
    assert list(found) == ["ann"], "neither who came later nor who had left it"
    assert found["ann"].profile == PROFILE == find("ann", CONFIG, host).profile
    assert [find(name, CONFIG, host).profile for name in ("bob", "cat")] == [None, None]
    assert name_now(found["ann"], host) == "sftp2"
    assert lets_in(found["ann"], host)


def test_the_error_has_both_commands(tree: Tree) -> None:
    for refuse in (refuse_other_name, refuse_missing):
        with pytest.raises(SftpJailError, match="group sftponly is called sftp2 now") as caught:
            refuse(PROFILE, tree.host())
        assert caught.value.severity == "open"
        back, onward, anew = (choice.command for choice in caught.value.choices)
        assert anew.startswith("groupadd sftponly && "), "bob, who was never jailed, is in it"
        assert back == "groupmod -n sftponly sftp2 && sftpjail apply"
        assert "group = sftp2" in onward and onward.endswith("sftpjail setup")


def test_the_configuration_is_edited_once_for_all(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = tree.host(), list[str]()
    monkeypatch.setattr(profile_edit, "set_group", lambda *given: asked.append(given[1]) or "x")
    with host.files.one_look():
        for _ in range(2):
            assert was_renamed(PROFILE, "sftp2", host).choices[1].command == "x"
    assert asked == ["sftp2"]


@pytest.mark.parametrize(
    ("uid", "group", "gid"),
    [(1009, "sftponly", 500), (1001, "others", 500), (1001, "sftponly", 501), (1001, "", -1)],
    ids=["another person", "another profile", "a gid of no group", "an earlier record"],
)
def test_nothing_is_guessed(tree: Tree, uid: int, group: str, gid: int) -> None:
    record(tree, "ann", uid, group, gid)
    assert jailed(CONFIG, tree.host()) == {}
    refuse_other_name(PROFILE, tree.host())
    with pytest.raises(SftpJailError, match="there is no group sftponly"):
        refuse_missing(PROFILE, tree.host())


def test_a_group_known_by_its_gid_alone_has_no_other_name(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory service that is down for a moment knows it by the gid, from a cache of its own."""
    asked: list[str] = []
    host = tree.host()
    monkeypatch.setattr(host.people, "group_of", lambda gid: "sftponly")
    monkeypatch.setattr(host.people, "in_group", lambda name, group: True)
    monkeypatch.setattr(host, "group", lambda name: asked.append(name))
    assert jailed(CONFIG, host) == {}
    with host.files.one_look():
        assert [find(name, CONFIG, host).profile for name in ("ann", "cat")] == [None, None]
    assert asked == ["sftponly", "sftponly"], "once for all accounts"
    refuse_other_name(PROFILE, host)


def test_a_damaged_record_is_not_one(tree: Tree) -> None:
    tree.write("/var/lib/sftpjail/accounts/ann", "{")
    assert jailed(CONFIG, tree.host()) == {}


def test_a_group_of_that_name_decides(tree: Tree) -> None:
    tree.group("sftponly", 501, "bob")
    assert list(jailed(CONFIG, tree.host())) == ["bob"]


def test_a_group_whose_gid_an_earlier_one_has_jails_nobody(tree: Tree) -> None:
    """getgrgid(3), and so sshd, has the name of the first."""
    tree.group("sftponly", 501, "cat")
    (cat,) = jailed(CONFIG, tree.host()).values()
    assert lost(cat, tree.host()) is None
    tree.group("later", 501)
    assert lost(cat, tree.host()) is None
    tree.group_lines.insert(0, "old:x:501:")
    host = tree.host()
    error = lost(cat, host)
    assert error and error.severity == "open" and lets_in(cat, host)
    assert error.message == "the group old has the gid of sftponly (501), and comes before it"
    (choice,) = error.choices
    assert choice.command == "groupmod -g 1000 sftponly && sftpjail apply"
    tree.group("later", 501, "bob")
    assert list(jailed(CONFIG, tree.host())) == ["cat"], "sshd does not jail bob"
    by_name = replace(cat, profile=Profile("sftponly", match_user=("cat",)))
    assert lost(by_name, host) is None
    tree.account("dan", 1004, gid=501)
    error = lost(cat, tree.host())
    assert error and not error.choices
    assert error.advice == "give one of them another gid: groupmod -g GID sftponly"


def test_whom_a_gid_has_jailed_stays_when_the_lines_change(tree: Tree) -> None:
    """It is listed in the group that comes first now, and was jailed while that came later."""
    for name, uid in (("ann", 1001), ("bob", 1002)):
        record(tree, name, uid, "sftponly", 501)
    tree.account("dan", 1004)
    tree.group_lines = ["second:x:501:ann,dan", *tree.group_lines, "sftponly:x:501:cat"]
    host = tree.host()
    assert list(jailed(CONFIG, host)) == ["cat", "ann"], "nor bob, who has left, nor dan"
    assert [find(name, CONFIG, host).profile for name in ("bob", "dan")] == [None, None]
    error = lost(find("ann", CONFIG, host), host)
    assert error and error.message.startswith("the group second has the gid of sftponly (501)")


def test_whoever_has_the_gid_by_a_later_group_is_a_member(tree: Tree) -> None:
    """sshd knows them by the name of the first, and jails them."""
    tree.group("sftponly", 501, "cat")
    tree.group("later", 501, "bob")
    host = tree.host()
    assert list(jailed(CONFIG, host)) == ["cat", "bob"]
    assert host.in_group("bob", "sftponly") and not host.in_group("ann", "sftponly")


def test_a_gid_that_a_group_of_others_has_now(tree: Tree) -> None:
    """It may be no other name of the group, and giving it that name would jail its members."""
    tree.group("strangers", 500, "ann,bob")
    tree.group_lines = [one for one in tree.group_lines if not one.startswith("sftponly:")]
    record(tree, "ann", 1001)
    error = was_renamed(PROFILE, "strangers", tree.host())
    back, *_, anew = error.choices
    assert anew.label == "if strangers is another group, to make sftponly anew"
    assert anew.command == "groupadd sftponly && sftpjail setup && sftpjail adopt ann"
    assert back.label == "to give it its former name, which jails bob too"
