"""Whose profile what is left of a jail speaks of."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.jails.former_names import former_name
from sftpjail.jails.leftovers import leftover
from sftpjail.model import Profile
from sftpjail.paths import ACCOUNTS

PROFILES = (
    Profile("one", "one", chroot="/srv/%u"),
    Profile("two", "two", chroot="/srv/ann-old/%u"),
    Profile("three", "three", chroot="/srv/deep/%u"),
)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/srv/ann/x", "one"),
        ("/srv/ann-old/ann/x", "two"),
        ("/srv/annex/x", "one"),
        ("/srv/deep/ann", "three"),
        ("/srv/deep/anna/x", "one"),
    ],
)
def test_a_mount_is_of_the_profile_whose_jail_it_is_in(tree: Tree, target: str, name: str) -> None:
    tree.fstab(f"/srv/web {target} none bind,x-sftpjail.user=ann 0 0")
    account = leftover("ann", Config(profiles=PROFILES), tree.host())
    assert account.profile is not None and account.profile.name == name


@pytest.mark.parametrize("kind", ["made", "owners"])
@pytest.mark.parametrize(
    ("path", "name"), [("/srv/ann-old/ann", "two"), ("/srv/deep/ann", "three"), ("/x", "one")]
)
def test_a_record_is_of_the_profile_whose_jail_it_names(
    tree: Tree, kind: str, path: str, name: str
) -> None:
    record = {"made": [path]} if kind == "made" else {"owners": {path: [0, 0, 0o755]}}
    tree.write("/var/lib/sftpjail/accounts/ann", json.dumps(record))
    account = leftover("ann", Config(profiles=PROFILES), tree.host())
    assert account.profile is not None and account.profile.name == name


def test_many_new_accounts_list_and_read_the_records_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new account is looked for under a former name: N of them must not cost N² records."""
    for number in range(5):
        tree.account(f"new{number}", 2001 + number)
    tree.write(f"{ACCOUNTS}/gone", json.dumps({"uid": 2003}))
    host, looked = tree.host(), Counter[str]()
    for name in ("listdir", "text"):
        was = getattr(host.files, name)
        monkeypatch.setattr(host.files, name, lambda path, f=was: looked.update([path]) or f(path))
    found = [former_name(host.accounts[f"new{n}"], host, thorough=False) for n in range(5)]
    assert found == ["", "", "gone", "", ""]
    assert looked[ACCOUNTS] == looked[f"{ACCOUNTS}/gone"] == 1
