"""The bind that an administrator asks for: what it is, and where none may be."""

from __future__ import annotations

import pytest
from fakes import Tree

from sftpjail.accounts_file.entry import MountWanted
from sftpjail.config import Config
from sftpjail.engine.plan import Event, OnMount
from sftpjail.errors import SftpJailError, UsageError
from sftpjail.model import Account, Bind, Ids, Profile
from sftpjail.operations.apply_file.mounts import MountChanges
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


def test_the_home_at_its_own_place_is_the_profiles_mount() -> None:
    bind = make_bind(ANN, "/home//ann/", "/home/ann", False, False, Ids(33, 33))
    assert (bind.role, bind.owner) == ("home", Ids(33, 33)) and bind.is_asked_for
    plain = make_bind(ANN, "/home/ann", "/home/ann", False, False)
    assert plain == Bind("/home/ann", "/srv/sftp/ann/home/ann", role="home")
    assert not plain.is_asked_for
    for source, target in (("/home/ann", "/web"), ("/srv", "/home/ann"), ("/home", "/home")):
        assert make_bind(ANN, source, target, False, False).role == "mount"
    for more in ({"read_only": True}, {"read_only": False, "group": 33}):
        with pytest.raises(UsageError, match="it takes only --as"):
            make_bind(ANN, "/home/ann", "/home/ann", under_home=False, **more)


def test_a_file_of_accounts_gives_a_home_its_map_and_takes_it(tree: Tree) -> None:
    """Never the mount itself: the profile has that."""
    tree.account("www-data", 33)
    plain = Bind("/home/ann", "/srv/sftp/ann/home/ann", role="home")
    repair = OnMount(ANN, plain)
    lent = MountWanted("/home/ann", "/home/ann", owner="www-data")

    def events(*mounts: MountWanted) -> list[Event]:
        draft = MountChanges(ANN, mounts, tree.host()).draft([repair])
        assert not draft.room and not draft.inner
        return draft.events

    assert events() == [repair]
    (event,) = events(lent)
    assert isinstance(event, OnMount) and event.bind.owner == Ids(33, 33)
    mapped = ",".join(event.bind.options)
    tags = "x-sftpjail.user=ann,x-sftpjail.role=home"
    tree.fstab(f"/home/ann {plain.target} none {mapped},{tags} 0 0")
    assert events(lent) == [repair], "as it is"
    assert events() == [OnMount(ANN, plain)]


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
