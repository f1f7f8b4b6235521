"""The bind that an administrator asks for: what it is, and where none may be."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.errors import SftpJailError, UsageError
from sftpjail.model import Account, Bind, Profile
from sftpjail.operations.mounts import make_bind, target_in, unusable

ANN = Account("ann", 1001, 1001, "/home/ann", profile=Profile("p"))
AT_HOME = Account("ann", 1001, 1001, "/home/ann", profile=Profile("p", chroot="%h"))


@pytest.mark.parametrize("under_home", [False, True])
def test_a_mount_below_a_home_is_asked_for_by_name(under_home: bool) -> None:
    """`deluser --remove-home` deletes through it; a jail of its own is never deleted."""
    bind = make_bind(ANN, "/srv/web", "/web", True, under_home)
    assert bind == Bind("/srv/web", "/srv/sftp/ann/web", read_only=True)
    if under_home:
        assert make_bind(AT_HOME, "/srv/web", "/web", False, True).target == "/home/ann/web"
    else:
        with pytest.raises(SftpJailError, match="/web lies below the home of ann") as caught:
            make_bind(AT_HOME, "/srv/web", "/web", False, False)
        assert "--under-home" in caught.value.advice


@pytest.mark.parametrize("target", ["web", "../x", "/..", "/a/../b", "/", "//", "/.", "/a\nb"])
def test_a_target_that_is_no_place_inside_the_jail(target: str) -> None:
    with pytest.raises(UsageError):
        target_in(ANN, target)


@pytest.mark.parametrize(
    ("target", "path"), [("/web", "web"), ("//a/./b/", "a/b"), ("/..a", "..a"), ("/a..", "a..")]
)
def test_a_target_is_a_path_of_the_jail(target: str, path: str) -> None:
    assert target_in(ANN, target) == f"/srv/sftp/ann/{path}"


def test_a_source_is_a_path_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(place)
    assert make_bind(ANN, "a/../b", "/web", False, False).source == f"{place}/b"
    with pytest.raises(UsageError, match="SRC is empty"):
        make_bind(ANN, "", "/web", False, False)
    place.rmdir()
    with pytest.raises(UsageError, match="the working directory is gone"):
        make_bind(ANN, "b", "/web", False, False)


@pytest.mark.parametrize(
    ("mode", "profile", "says"),
    [
        (0o755, Profile("p"), "write in"),
        (0o755, Profile("p", read_only=True), ""),
        (0o753, Profile("p", deny=("opendir",)), ""),
        (0o753, Profile("p", deny=("readdir", "read")), ""),
        (0o753, Profile("p", deny=("read",)), "read"),
        (0o750, Profile("p", deny=("opendir",)), "read"),
        (0o751, Profile("p", deny=("opendir",)), "write in"),
    ],
)
def test_what_a_profile_forbids_is_not_missed(
    tree: Tree, mode: int, profile: Profile, says: str
) -> None:
    tree.account("ann", 1001)
    tree.directory("/srv/drop", mode, (994, 994))
    ann = Account("ann", 1001, 1001, "/home/ann", profile=profile)
    found = unusable(ann, [Bind("/srv/drop", f"{ann.jail}/drop")], tree.host(), Config())
    assert [problem.what.partition(":")[0] for problem in found] == (
        [f"ann cannot {says} /drop"] if says else []
    )
