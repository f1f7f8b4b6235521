"""Which events make a jail: where the mounts of an administrator go when the jail has moved."""

from __future__ import annotations

import json

import pytest
from fakes import Tree

from sftpjail.errors import SftpJailError
from sftpjail.model import Account, Bind, Profile
from sftpjail.operations.events import _is_new, _old_jail

ANN = Account("ann", 1001, 1001, "/home/ann", profile=Profile("p", chroot="/new/%u"))


@pytest.mark.parametrize("kind", ["made", "owners"])
@pytest.mark.parametrize(
    ("paths", "target", "jail"),
    [
        (["/old/ann"], "/old/ann/web", "/old/ann"),
        (["/old/ann", "/old/ann/home/ann"], "/old/ann/home/ann/web", "/old/ann"),
        (["/old/ann/home/ann"], "/old/ann/home/ann", ""),
        (["/old/ann"], "/old/ann-b/web", ""),
        (["/old/ann"], "/old/ann", ""),
        (["/old", "/old/bob"], "/old/bob/web", ""),
        ([], "/old/ann/web", ""),
    ],
)
def test_a_mount_was_in_a_jail_that_the_record_names(
    tree: Tree, kind: str, paths: list[str], target: str, jail: str
) -> None:
    record = {"made": paths} if kind == "made" else {"owners": {p: [0, 0, 0o755] for p in paths}}
    tree.write("/var/lib/sftpjail/accounts/ann", json.dumps(record))
    bind = Bind("/srv/web", target)
    if jail:
        assert _old_jail(ANN, bind, tree.host()) == jail
        return
    with pytest.raises(SftpJailError, match="lies outside of /new/ann, the jail of ann") as caught:
        _old_jail(ANN, bind, tree.host())
    assert caught.value.fix.startswith("sed -i ") and caught.value.fix.endswith(" /etc/fstab")


@pytest.mark.parametrize(
    ("record", "new"),
    [
        ({}, True),
        ({"closed": {"why": "no jail", "by": "apply", "until": "jail"}}, True),
        ({"closed": {"why": "left", "by": "disable"}}, False),
        ({"made": ["/new/ann"]}, False),
    ],
)
def test_who_is_disabled_has_a_jail(tree: Tree, record: dict[str, object], new: bool) -> None:
    """Though nothing of it may be ours: undoing `enable` must not take it out of its jail."""
    tree.write("/var/lib/sftpjail/accounts/ann", json.dumps(record))
    assert _is_new(ANN, tree.host()) is new
