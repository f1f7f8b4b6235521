"""Whose files a jail may see as the account's own."""

from __future__ import annotations

import pytest
from fakes import Tree
from golden import ann

from sftpjail.config import Config
from sftpjail.errors import SftpJailError
from sftpjail.jails.owners import named, others, permission, refusal, resolve, seen_by
from sftpjail.model import Bind, Ids, id_map

WEB = Ids(33, 33)
SITE = Bind("/srv/site", "/srv/sftp/ann/web", options=("bind", id_map(WEB, 1001, 1001)))


@pytest.fixture(autouse=True)
def accounts(tree: Tree) -> None:
    tree.account("ann", 1001)
    tree.account("games", 5, shell="/usr/sbin/nologin", make_home=False)
    tree.account("bob", 1002)
    tree.group("shadow", 42)
    tree.group("editors", 900)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("www-data", (33, 33)),
        ("33", (33, 33)),
        ("www-data:editors", (33, 900)),
        ("33:900", (33, 900)),
    ],
)
def test_an_owner_is_named_or_numbered(text: str, ids: Ids, tree: Tree) -> None:
    assert resolve(text, tree.host()) == ids


@pytest.mark.parametrize("text", ["", "nosuch", "-1", "4711", "www-data:", "www-data:4711"])
def test_who_does_not_exist_owns_nothing(text: str, tree: Tree) -> None:
    with pytest.raises(SftpJailError, match=r"there is no (account|group) "):
        resolve(text, tree.host())


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ((33, 33), "www-data"),
        ((33, 900), "www-data:editors"),
        ((33, 4711), "www-data:4711"),
        ((4711, 33), "4711:www-data"),
    ],
)
def test_an_owner_is_named_as_it_is_read(ids: tuple[int, int], words: str, tree: Tree) -> None:
    assert named(Ids(*ids), tree.host()) == words


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ((0, 33), "root's files are never given to anybody else"),
        ((33, 0), "root's files are never given to anybody else"),
        ((33, 42), "the group shadow has the host"),
        ((33, 27), "the group sudo has the host"),
        ((65534, 33), "is nobody"),
        ((1002, 1002), "bob can log in itself: its shell is /bin/bash"),
        ((33, 33), ""),
        ((33, 900), ""),
    ],
)
def test_who_is_never_lent(ids: tuple[int, int], reason: str, tree: Tree) -> None:
    found = refusal(Ids(*ids), tree.host(), Config())
    assert reason in found and bool(found) == bool(reason)


def test_a_second_name_of_a_uid_is_judged_too(tree: Tree) -> None:
    tree.account("toor", 33, gid=33, make_home=False)
    assert refusal(WEB, tree.host(), Config()).startswith("toor can log in itself")


@pytest.mark.parametrize(
    ("owners", "ids", "line"),
    [
        ((), (33, 33), "as = www-data,"),
        (("games",), (33, 900), "as = games, www-data:editors"),
        (("www-data",), (33, 33), ""),
        (("www-data:www-data",), (33, 33), ""),
        (("www-data",), (33, 900), "as = www-data, www-data:editors"),
    ],
)
def test_the_configuration_names_an_owner(
    owners: tuple[str, ...], ids: tuple[int, int], line: str, tree: Tree
) -> None:
    assert permission(Ids(*ids), tree.host(), Config(owners=owners)) == line


def test_files_of_others_are_counted(tree: Tree) -> None:
    tree.directory("/srv/site/a/b", owner=(0, 0))
    tree.link("/srv/site/link", "/etc")
    host = tree.host()
    found = host.lstat("/srv/site")
    assert found
    mine = Ids(*(getattr(tree.root.stat(), name) for name in ("st_uid", "st_gid")))
    assert host.files.count_others("/srv/site", mine, 100) == (0, True)
    assert host.files.count_others("/srv/site", (33, 33), 100) == (4, True), "no link is followed"
    assert host.files.count_others("/srv/site", (33, 33), 2) == (3, False)
    assert host.files.count_others("/srv/none", (33, 33), 2) == (0, False)
    assert others(SITE, host) == "4 files in /srv/site are other owners' or groups'"
    assert others(Bind("/srv/site", "/x"), host) == ""


def test_depth_does_not_end_a_count(tree: Tree) -> None:
    tree.directory("/srv/site" + "/d" * 80)
    count, whole = tree.host().files.count_others("/srv/site", (33, 33), 1000)
    assert 60 < count < 80 and not whole


def test_a_map_makes_an_account_the_owner() -> None:
    assert (seen_by(ann(), SITE).uid, seen_by(ann(), SITE).gid) == WEB
    assert seen_by(ann(), Bind("/srv/site", "/x")) == ann()


@pytest.mark.parametrize(
    "option",
    ["X-mount.idmap=", "X-mount.idmap=b:33:1001:1", "X-mount.idmap=u:33:1001:9\\040g:33:1001:1"],
)
def test_a_map_of_another_form_names_nobody(option: str) -> None:
    assert Bind("/srv/site", "/x", options=("bind", option)).owner is None


def test_the_map_of_an_account_that_is_still_to_be_made_is_ours() -> None:
    bind = Bind("/srv/site", "/srv/sftp/new/web", options=("bind", id_map(WEB, -1, -1)))
    assert bind.owner == WEB
