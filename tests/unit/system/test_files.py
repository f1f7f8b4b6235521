"""Root's hands: names of users' directories lead it nowhere. Real files; the user who runs the tests plays root."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import ME, listing

from sftpjail.errors import LinkRefused, SftpJailError
from sftpjail.formats.fstab import MountPoint
from sftpjail.system import events, files, locks, mounts, safe_path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "safe").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("theirs\n")
    return tmp_path


@pytest.fixture
def alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory, and nobody but root can write in what is above it, /tmp for one."""
    above = {(place.stat().st_dev, place.stat().st_ino) for place in directory.parents}
    real = safe_path.flaw

    def flaw(found: os.stat_result) -> str:
        return "" if (found.st_dev, found.st_ino) in above else real(found)

    monkeypatch.setattr(safe_path, "flaw", flaw)
    return directory


def attempts(path: str) -> list[object]:
    """Return everything that system/files.py can do to a path."""
    return [
        lambda: files.make_dir(path, 0o755, *ME),
        lambda: files.remove_dir(path),
        lambda: files.unlink(path),
        lambda: files.keep(path),
        lambda: files.move(path, f"{path}.moved"),
        lambda: files.write_staged(path, b"x", False, 0o644, *ME),
        lambda: files.look(path),
        lambda: files.read_file(path),
        lambda: files.resolve(path),
        lambda: files.sync_dirs({path}),
        lambda: files.set_owner(path, *ME, 0o600),
    ]


@pytest.mark.parametrize("number", range(len(attempts(""))))
def test_no_link_in_a_directory_of_others_is_followed(directory: Path, number: int) -> None:
    (directory / "open/link").symlink_to(directory / "target")
    before = listing(directory)
    with pytest.raises(SftpJailError) as caught:
        attempts(str(directory / "open/link/file"))[number]()  # type: ignore[operator]
    assert "link" in caught.value.message
    assert listing(directory) == before


def test_a_link_of_roots_is_followed_on_the_way(directory: Path) -> None:
    (directory / "safe/link").symlink_to("../target")
    files.make_dir(str(directory / "safe/link/new"), 0o750, *ME)
    assert (directory / "target/new").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("act", ["unlink", "move", "keep", "remove_dir"])
def test_the_last_name_is_never_followed(directory: Path, act: str) -> None:
    link = directory / "safe/link"
    link.symlink_to("../target/file" if act != "remove_dir" else "../target")
    if act == "unlink":
        files.unlink(str(link))
        assert not link.is_symlink()
    elif act == "move":
        files.move(str(link), str(directory / "safe/moved"))
        assert (directory / "safe/moved").is_symlink() and not link.is_symlink()
    elif act == "keep":
        files.keep(str(link))
        assert Path(files.backup_name(str(link))).is_symlink()
    else:
        (directory / "target/file").unlink()
        files.remove_dir(str(link))
        assert (directory / "target").is_dir()
        return
    assert (directory / "target/file").read_text() == "theirs\n"


def test_links_in_a_circle_end(directory: Path) -> None:
    (directory / "safe/a").symlink_to("b")
    (directory / "safe/b").symlink_to("a")
    with pytest.raises(SftpJailError):
        files.make_dir(str(directory / "safe/a/x"), 0o755, *ME)


def test_unlink_of_what_is_gone_is_done(directory: Path) -> None:
    before = listing(directory)
    files.unlink(str(directory / "safe/nothing"))
    files.unlink(str(directory / "nothing/at/all"))
    assert listing(directory) == before


def test_a_directory_goes_with_what_is_above_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in /run/user, where a session ends between the look and the removal."""
    inner = directory / "runtime" / "mark"
    inner.mkdir(parents=True)

    def vanish(path: str) -> tuple[int, str]:
        shutil.rmtree(directory / "runtime")
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(files, "open_parent", vanish)
    assert files.remove_dir(str(inner))


def test_remove_dir(directory: Path) -> None:
    assert files.remove_dir(str(directory / "safe"))
    assert files.remove_dir(str(directory / "safe"))
    assert not files.remove_dir(str(directory / "target"))
    assert not files.remove_dir(str(directory / "target/file"))
    assert (directory / "target/file").exists()


def test_make_dir_does_not_touch_one_that_is_there(directory: Path) -> None:
    files.make_dir(str(directory / "open"), 0o700, *ME)
    assert (directory / "open").stat().st_mode & 0o7777 == 0o777


def test_write_staged_never_writes_into_a_link(directory: Path) -> None:
    path = directory / "safe/file"
    Path(files.stage_name(str(path))).symlink_to("../target/file")
    files.write_staged(str(path), b"ours\n", False, 0o640, *ME)
    assert (directory / "target/file").read_text() == "theirs\n"
    assert Path(files.stage_name(str(path))).read_bytes() == b"ours\n"


def test_a_staged_hook_of_shadow_is_not_where_useradd_runs_it() -> None:
    path = "/etc/shadow-maint/useradd-post.d/sftpjail"
    for name in (files.stage_name(path), files.backup_name(path)):
        assert os.path.dirname(name) == "/etc/shadow-maint"
    assert files.stage_name(path) != files.stage_name(
        path.replace("useradd-post.d", "userdel-pre.d")
    )


@pytest.mark.parametrize("pattern", ["*.conf", "*", "[!.]*", "10-*"])
def test_no_include_pattern_matches_a_staged_or_old_file(directory: Path, pattern: str) -> None:
    path = str(directory / "target/10-sftpjail.conf")
    for name in (files.stage_name(path), files.backup_name(path)):
        Path(name).write_text("half\n")
    assert [
        p
        for p in directory.glob(f"target/{pattern}")
        if p.name != "file" and not p.name.startswith(".")
    ] == []


def test_a_lock_that_is_held(directory: Path) -> None:
    path = str(directory / "run/lock")
    with (
        locks.lock(path, 1.0),
        pytest.raises(SftpJailError, match="another sftpjail has held"),
        locks.lock(path, 0.05),
    ):
        pass
    with locks.lock(path, 0.0):
        pass


def test_a_busy_mount_says_who_holds_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def busy(target: str, lazy: bool = False) -> bool:
        asked.append(lazy)
        if lazy:
            return asked.count(True) == 1
        raise OSError(errno.EBUSY, "umount2: Device or resource busy")

    monkeypatch.setattr(safe_path, "unmount", busy)
    monkeypatch.setattr(mounts, "_PAUSE_S", 0.0)
    with pytest.raises(SftpJailError, match="cannot unmount .* in use"):
        mounts.unmount(str(directory / "safe"))
    monkeypatch.chdir(directory / "target")
    with pytest.raises(SftpJailError, match=f"is in use by .*pid {os.getpid()}") as caught:
        mounts.unmount(str(directory / "target"))
    # As the one whose process it is: its number may be another's by then. Root's own are not for us
    # to end.
    begin = f"setsid -w setpriv --reuid={os.getuid()} " if os.getuid() else ""
    assert caught.value.fix.startswith(begin) and (str(os.getpid()) in caught.value.fix) == bool(
        begin
    )
    # A rollback does not wait for a user.
    assert mounts.unmount_busy(str(directory / "safe")) == "" and asked[-2:] == [True, True]
    asked.clear()
    said = mounts.unmount_busy(str(directory / "target"))
    assert re.fullmatch(rf".* is unmounted, and still in use by .*pid {os.getpid()}.*", said)
    assert asked == [False, True, True]
    # What somebody else has mounted below it would go along.
    asked.clear()
    inner = str((directory / "target").resolve() / "inner")
    monkeypatch.setattr(mounts, "mount_points", lambda: {inner: None})
    with pytest.raises(SftpJailError, match=f"{inner} is mounted below it"):
        mounts.unmount_busy(str(directory / "target"))
    assert asked == [False]


def test_only_what_is_mounted_below_a_busy_mount_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another jail's name may begin alike."""
    layers = iter([OSError(errno.EBUSY, "busy"), True, False])

    def unmount(target: str, lazy: bool = False) -> bool:
        answer = next(layers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    points = ("/", "/none", "/none/jail", "/none/jail2", "/none/jail-two/x", "/none/jai/l")
    monkeypatch.setattr(mounts, "mount_points", lambda: dict.fromkeys(points))
    monkeypatch.setattr(mounts, "holders", lambda target: [(7, 1001, "sh")])
    monkeypatch.setattr(safe_path, "unmount", unmount)
    assert mounts.unmount_busy("/none/jail").startswith("/none/jail is unmounted, and still in use")
    assert next(layers, None) is None


def test_a_mount_that_is_busy_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OSError(errno.EBUSY, "busy"), OSError(errno.EBUSY, "busy"), True, False])

    def unmount(target: str) -> bool:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(safe_path, "unmount", unmount)
    monkeypatch.setattr(mounts, "_PAUSE_S", 0.0)
    mounts.unmount("/nobody/is/there")
    assert next(answers, None) is None


def test_every_layer_of_a_mount_goes_and_no_loop_is_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    layers = iter([True, True, False])
    monkeypatch.setattr(safe_path, "unmount", lambda target: asked.append(target) or next(layers))
    mounts.unmount("/x")
    assert asked == ["/x"] * 3
    monkeypatch.setattr(safe_path, "unmount", lambda target: True)
    with pytest.raises(SftpJailError, match="/x is mounted again and again"):
        mounts.unmount("/x")


def test_the_flags_of_a_mount() -> None:
    ro, nosuid, nodev, noexec, private = 0x1, 0x2, 0x4, 0x8, 1 << 18
    assert safe_path.attributes(("bind", "ro", "nosuid", "private")) == (ro | nosuid, 0, private)
    assert safe_path.attributes(("bind", "nodev", "nofail", "x-sftpjail.user=a")) == (nodev, ro, 0)
    assert safe_path.attributes(("noexec", "noatime", "rslave")) == (
        noexec | 0x10,
        ro | 0x70,
        1 << 19,
    )
    for option in ("X-mount.subdir=a", "loop", "uid=0", ""):
        with pytest.raises(safe_path.PathRefused, match=f"does not mount with the option {option}"):
            safe_path.attributes(("bind", option))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_strict_walk_stops_where_others_can_write(alone: Path, mode: int) -> None:
    os.close(safe_path.open_path("/usr/bin/env", follow=True, strict=True))
    loose = alone / "safe/loose"
    (loose / "below").mkdir(parents=True)
    os.close(safe_path.open_path(str(loose / "below"), strict=True))
    loose.chmod(mode)
    os.close(safe_path.open_path(str(loose / "below")))
    with pytest.raises(
        safe_path.PathRefused, match=rf"^{loose} can be written by others than root \(mode"
    ):
        safe_path.open_path(str(loose / "below"), strict=True)


def test_what_is_opened_is_no_link(directory: Path) -> None:
    (directory / "safe/link").symlink_to(directory / "target")
    for strict in (False, True):
        with pytest.raises(safe_path.PathRefused):
            safe_path.open_path(str(directory / "safe/link"), strict=strict)


@pytest.mark.parametrize("flags", [files.DIRECTORY, files.PLAIN, files.NEW, files.PLACE])
@pytest.mark.parametrize("to", ["target", "target/file", "none"])
def test_no_set_of_flags_follows_a_link(directory: Path, flags: int, to: str) -> None:
    (directory / "link").symlink_to(directory / to)
    with pytest.raises(OSError, match="link"):
        os.open(directory / "link", flags, 0o600)
    assert not (directory / "none").exists()


def test_no_file_of_ours_is_appended_to_or_cut_through_a_link(directory: Path) -> None:
    link = directory / "link"
    link.symlink_to(directory / "target/file")
    with pytest.raises(OSError, match="link"):
        files.append(str(link), ["x"])
    with pytest.raises(SftpJailError, match="link"):
        files.cut(str(link), 0)
    with pytest.raises(SftpJailError, match="link"):
        events.Appended(str(link))
    assert (directory / "target/file").read_text() == "theirs\n"


SYNCED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "set_access": (lambda at: files.set_access(f"{at}/safe", lambda now: now), ["safe"]),
    "append": (lambda at: files.append(f"{at}/new", ["x"]), ["new", "."]),
    "cut": (lambda at: files.cut(f"{at}/target/file", 2), ["target/file"]),
    "put": (lambda at: events.put(f"{at}/new", b"x"), [".new.sftpjail-new~", "."]),
    "put_behind": (
        lambda at: events.put_behind(f"{at}/target/file", 1, b"x"),
        ["target/.file.sftpjail-new~", "target"],
    ),
}


@pytest.mark.parametrize("name", SYNCED)
def test_what_is_said_to_be_on_disk_is_synced(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, expected = SYNCED[name]
    synced = list[str]()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    change(directory)
    assert [os.path.relpath(path, directory) for path in synced] == expected


@pytest.mark.parametrize(
    ("mounted", "holds"),
    [("/srv/ann", True), ("/srv/ann/web", True), ("/srv/anna", False), ("/srv", False)],
)
def test_a_mount_beside_a_directory_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch, mounted: str, holds: bool
) -> None:
    monkeypatch.setattr(mounts, "mount_points", lambda: [mounted])
    assert mounts.holds_mount("/srv/ann") == holds


def test_a_link_that_leads_nowhere_is_there(directory: Path) -> None:
    (directory / "link").symlink_to("none")
    assert files.is_there(f"{directory}/link") and files.is_there(f"{directory}/safe")
    assert not files.is_there(f"{directory}/none")


def test_a_directory_of_ours_becomes_roots_alone(directory: Path) -> None:
    place = directory / "safe/state"
    files.keep_private(str(place))
    assert not place.exists()
    place.mkdir()
    for mode in (0o755, 0o710, 0o701, 0o700):
        place.chmod(mode)
        files.keep_private(str(place))
        assert place.stat().st_mode & 0o777 == 0o700
    with locks.lock(str(directory / "safe/run/lock"), 1.0):
        assert (directory / "safe/run").stat().st_mode & 0o777 == 0o700


# -- modes and owners, each alone ----------------------------------------------------------------

BITS = [1 << number for number in range(12)]


@pytest.mark.parametrize("bit", BITS, ids=oct)
def test_only_rights_to_write_are_a_flaw(directory: Path, bit: int) -> None:
    place = directory / "safe"
    place.chmod(0o700 | bit)
    loose = bit in (0o020, 0o002)
    assert (f"(mode {0o700 | bit:04o})" in safe_path.flaw(place.stat())) == loose
    (place / "link").symlink_to("../target")
    if loose:
        with pytest.raises(safe_path.PathRefused, match="others than root made or can change"):
            safe_path.walk(f"{place}/link/file")
    else:
        os.close(safe_path.walk(f"{place}/link/file")[0])


@pytest.mark.parametrize("uid", [0, ME[0], 1, 1000, 65534, 2**32 - 2])
def test_root_alone_may_own_what_is_on_the_way(directory: Path, uid: int) -> None:
    found = directory.stat()
    theirs = os.stat_result((*found[:4], uid, *found[5:10]))
    words = "" if uid in (0, ME[0]) else f"belongs to uid {uid} and not to root"
    assert safe_path.flaw(theirs) == words


def test_a_link_that_another_owns_is_not_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "safe/link").symlink_to("../target")
    real = safe_path._link

    def foreign(directory: int, name: str) -> os.stat_result | None:
        found = real(directory, name)
        return found and os.stat_result((*found[:4], 4242, *found[5:10]))

    monkeypatch.setattr(safe_path, "_link", foreign)
    with pytest.raises(safe_path.PathRefused, match="link is a symbolic link"):
        safe_path.walk(str(directory / "safe/link/file"))


@pytest.mark.parametrize(("above", "good"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_link_below_a_directory_of_others(directory: Path, above: int, good: bool) -> None:
    """Who can rename a directory of root's can put another one with other links there."""
    (directory / "open/below").mkdir()
    (directory / "open/below/link").symlink_to("../../target")
    (directory / "open").chmod(above)
    path = str(directory / "open/below/link/file")
    if good:
        assert files.resolve(path) == str(directory / "target/file")
    else:
        with pytest.raises(LinkRefused):
            files.resolve(path)


@pytest.mark.parametrize("kind", ["link", "directory link", "fifo", "socket", "directory", "none"])
def test_nothing_but_a_file_is_read_or_given_away(directory: Path, kind: str) -> None:
    place = directory / "safe/thing"
    if kind == "link":
        place.symlink_to("../target/file")
    elif kind == "directory link":
        place.symlink_to("../target")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(place))
    elif kind == "directory":
        place.mkdir()
    before = listing(directory)
    assert files.read_file(str(place)) is None
    if kind != "directory":
        with pytest.raises(SftpJailError):
            files.set_owner(str(place), *ME, 0o640)
    assert listing(directory) == before


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o640, 0o2711, 0o604])
def test_modes_are_those_that_were_asked_for(directory: Path, mode: int) -> None:
    made, file = directory / "safe/made", directory / "safe/file"
    files.make_dir(str(made), mode, *ME)
    files.write_staged(str(file), b"x", False, mode & 0o777, *ME)
    files.move(files.stage_name(str(file)), str(file))
    modes = [path.stat().st_mode & 0o7777 for path in (made, file)]
    assert modes == [mode, mode & 0o777], "a write takes setgid from a file of nobody's"
    for path in (made, file):
        path.chmod(0o751)
        files.set_owner(str(path), *ME, mode)
        assert path.stat().st_mode & 0o7777 == mode
    file.chmod(mode & 0o777)
    files.write_staged(str(file), b"x", True, 0o777, *ME)
    assert Path(files.stage_name(str(file))).stat().st_mode & 0o7777 == mode & 0o777


def test_a_file_in_the_place_of_a_directory_is_in_the_way(directory: Path) -> None:
    with pytest.raises(SftpJailError, match="target/file is in the way: it belongs to uid"):
        files.make_dir(str(directory / "target/file"), 0o755, *ME)


@pytest.mark.parametrize("uid", [1, 4242])
def test_a_directory_of_another_that_came_meanwhile(
    directory: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    monkeypatch.setattr(files.os, "geteuid", lambda: ME[0] + 1)
    files.make_dir(str(directory / "target"), 0o755, ME[0], 0)
    with pytest.raises(SftpJailError, match="is in the way: it belongs to uid"):
        files.make_dir(str(directory / "target"), 0o755, ME[0] + 1 + uid, 0)


@pytest.mark.parametrize("kind", ["lock", "journal"])
def test_files_of_ours_are_roots_alone_and_no_links(directory: Path, kind: str) -> None:
    def use(path: Path) -> None:
        if kind == "lock":
            with locks.lock(str(path), 0.0):
                pass
        else:
            files.append(str(path), ["x\n"])

    old = os.umask(0)
    try:
        use(directory / "target/ours")
    finally:
        os.umask(old)
    assert (directory / "target/ours").stat().st_mode & 0o777 == 0o600
    (directory / "safe/link").symlink_to("../target/file")
    with pytest.raises((SftpJailError, OSError), match=r"cannot lock|symbolic links"):
        use(directory / "safe/link")
    assert (directory / "target/file").read_text() == "theirs\n"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.EPERM, "lsattr -d {}"),
        (errno.ENOSPC, "df {}"),
        (
            errno.EDQUOT,
            "a quota is used up there, and `df {0}` may show space that is left: see `repquota -a`",
        ),
        (errno.EROFS, "df {}"),
        (errno.EIO, ""),
    ],
)
def test_an_error_says_where_and_what_to_look_at(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, "broken")

    path = str(directory / "target/file")
    for name in ("unlink", "rmdir", "rename"):
        monkeypatch.setattr(files.os, name, fail)
    place = path if code == errno.EPERM else str(directory / "target")
    for act in (files.unlink, files.remove_dir):
        with pytest.raises(SftpJailError, match=f"^cannot change {path}: broken$") as caught:
            act(path)
        assert caught.value.fix == ""
        assert hint.format(place) in caught.value.advice and bool(hint) == bool(caught.value.advice)


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR])
def test_a_directory_in_use_stays(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, "in use")

    monkeypatch.setattr(files.os, "rmdir", fail)
    assert not files.remove_dir(str(directory / "safe"))


def test_another_directory_of_the_same_name_stays(directory: Path) -> None:
    there = (directory / "safe").stat().st_ino
    assert (
        not files.remove_dir(str(directory / "safe"), there + 1) and (directory / "safe").is_dir()
    )
    assert files.remove_dir(str(directory / "safe"), there) and not (directory / "safe").exists()


def test_who_watches_a_directory_by_its_time_sees_a_move(directory: Path) -> None:
    before = time.time_ns()
    files.move_or_copy(str(directory / "target/file"), str(directory / "safe/file"))
    times = [(directory / name).stat().st_mtime_ns for name in ("target", "safe")]
    assert all(moment >= before + 10**9 for moment in times)
    files.move_or_copy(str(directory / "safe/file"), str(directory / "safe/other"))
    assert (directory / "safe").stat().st_mtime_ns < before + 3600 * 10**9
    os.utime(directory / "safe", ns=(5, 5))
    files.move_or_copy(str(directory / "safe/other"), str(directory / "safe/file"))
    assert (directory / "safe").stat().st_mtime_ns < time.time_ns() + 10**8, (
        "its name alone changed"
    )


def test_a_link_in_the_place_of_the_lock_is_no_lock(directory: Path) -> None:
    link = directory / "safe/lock"
    link.symlink_to("../target/lock")
    with locks.lock(str(directory / "target/lock"), 0.0), locks.unlocked(str(link)) as free:
        assert free, "or whoever made the link would say when somebody is at work"


def test_nobody_else_gets_the_lock(directory: Path) -> None:
    path = str(directory / "run/lock")
    with locks.unlocked(path) as free:
        assert free, "there is none yet"
    with locks.lock(path, 0.0), locks.unlocked(path) as free:
        assert not free
    with locks.unlocked(path) as free:
        assert free
        with pytest.raises(SftpJailError, match="has held"), locks.lock(path, 0.0):
            pass


# -- mounts through descriptors ------------------------------------------------------------------


class Kernel:
    """The system calls for mounts, as safe_path asks for them; `said` has each with the path of its descriptor."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[object, ...]] = []
        self.fails = {"": 0}
        patch.setattr(safe_path, "_call", self.call)
        patch.setattr(safe_path, "_set_attributes", self.set)

    def call(self, name: str, *words: object) -> int:
        paths = [
            os.readlink(f"/proc/self/fd/{word}")
            for word, after in pairwise(words)
            if after == b"" and isinstance(word, int)
        ]
        self.said.append((name, *(paths or words[:1]), words[-1]))
        if self.fails.get(name):
            raise OSError(self.fails[name], name)
        return os.open("/dev/null", os.O_RDONLY) if name == "open_tree" else 0

    def set(self, tree: int, on: int, off: int, propagation: int, size: int = 32) -> None:
        self.said.append(("set", os.readlink(f"/proc/self/fd/{tree}"), on, off, propagation))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


RO, NOSUID, NODEV, NOEXEC, PRIVATE = 0x1, 0x2, 0x4, 0x8, 1 << 18


def test_a_mount_has_its_flags_before_anybody_sees_it(alone: Path, kernel: Kernel) -> None:
    source, target = str(alone / "target"), str(alone / "safe")
    held = len(os.listdir("/proc/self/fd"))
    safe_path.mount(source, target, ("bind", "nosuid", "ro"))
    flags = 0x1 | os.O_CLOEXEC | 0x1000  # a clone, and of what the descriptor is
    assert kernel.said == [
        ("open_tree", source, flags),
        ("set", "/dev/null", RO | NOSUID, 0, PRIVATE),
        ("move_mount", "/dev/null", target, 0x44),
        ("set", "/dev/null", 0, 0, PRIVATE),
    ]
    kernel.said.clear()
    safe_path.mount(source, target, ("rbind", "rslave"))
    assert kernel.said[0][2] == flags | 0x8000
    assert [said[4] for said in kernel.said if said[0] == "set"] == [1 << 19] * 2
    kernel.fails["move_mount"] = errno.EPERM
    with pytest.raises(OSError, match="move_mount"):
        safe_path.mount(source, target, ("bind",))
    assert len(os.listdir("/proc/self/fd")) == held, "no descriptor is left open"


@pytest.mark.parametrize("loose", [False, True])
def test_no_end_of_a_mount_is_where_others_write(alone: Path, kernel: Kernel, loose: bool) -> None:
    (alone / "open/inner").mkdir()
    inner, safe = str(alone / "open/inner"), str(alone / "safe")
    with pytest.raises(safe_path.PathRefused, match="can be written by others"):
        safe_path.mount(safe, inner, ("bind",), loose)
    assert [said[0] for said in kernel.said if said[0] == "move_mount"] == []
    if loose:
        safe_path.mount(inner, safe, ("bind",), loose)
    else:
        kernel.said.clear()
        with pytest.raises(safe_path.PathRefused, match="can be written by others"):
            safe_path.mount(inner, safe, ("bind",), loose)
        assert kernel.said == []
    (alone / "open/link").symlink_to(alone / "target")
    with pytest.raises(safe_path.PathRefused):
        safe_path.mount(str(alone / "open/link"), safe, ("bind",), loose)


def test_a_remount_leaves_no_other_flags(directory: Path, kernel: Kernel) -> None:
    safe_path.remount(str(directory / "safe"), ("bind", "nosuid"))
    safe_path.remount(str(directory / "safe"), ("bind", "ro", "nosuid", "nodev", "noexec"))
    place = str(directory / "safe")
    assert kernel.said == [
        ("set", place, NOSUID, RO | NODEV | NOEXEC, 0),
        ("set", place, RO | NOSUID | NODEV | NOEXEC, 0, 0),
    ]


@pytest.mark.parametrize(
    ("code", "there"), [(0, True), (errno.EINVAL, False), (errno.ENOENT, False)]
)
@pytest.mark.parametrize(("lazy", "flags"), [(False, 8), (True, 8 | 2)])
def test_an_unmount_follows_no_link(
    directory: Path, kernel: Kernel, code: int, there: bool, lazy: bool, flags: int
) -> None:
    kernel.fails["umount2"] = code
    assert safe_path.unmount(str(directory / "safe"), lazy) == there
    ((name, path, given),) = kernel.said
    assert (name, given) == ("umount2", flags)
    assert re.fullmatch(rb"/proc/self/fd/\d+/safe", path if isinstance(path, bytes) else b"")
    kernel.fails["umount2"] = errno.EBUSY
    with pytest.raises(OSError, match="umount2"):
        safe_path.unmount(str(directory / "safe"), lazy)


@pytest.mark.parametrize("kind", ["file", "second name", "fifo", "link"])
def test_nothing_is_written_into_what_came_meanwhile(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where the stage was cleared a moment ago."""
    path = str(directory / "safe/file")
    stage = Path(files.stage_name(path))
    if kind == "fifo":
        os.mkfifo(stage)
    elif kind == "link":
        stage.symlink_to("../target/new")
    elif kind == "file":
        stage.write_text("theirs\n")
    else:
        (directory / "target/other").write_text("theirs too\n")
        os.link(directory / "target/other", stage)
    before = listing(directory)
    monkeypatch.setattr(files, "_take_away", lambda name, directory: None)
    with pytest.raises(SftpJailError, match="File exists"):
        files.write_staged(path, b"ours\n", False, 0o640, *ME)
    with pytest.raises(SftpJailError, match="File exists"):
        files._copy(str(directory / "target/file"), path)
    assert listing(directory) == before


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("act", ["unmount", "unmount_busy"])
def test_only_a_busy_mount_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, code: int, act: str
) -> None:
    asked = []

    def fail(target: str, lazy: bool = False) -> bool:
        asked.append(lazy)
        raise OSError(code, "the kernel's words")

    monkeypatch.setattr(safe_path, "unmount", fail)
    monkeypatch.setattr(mounts, "holders", lambda target: [])
    with pytest.raises(SftpJailError, match="cannot unmount /x: the kernel's words"):
        getattr(mounts, act)("/x")
    assert asked == ([False] if act == "unmount" else [False, True])


def test_a_mount_is_found_behind_links_on_its_way_alone(directory: Path) -> None:
    (directory / "safe/way").symlink_to("../target")
    (directory / "target/end").symlink_to("../open")
    points = {
        str(directory / name): MountPoint((), "/") for name in ("target/in", "open", "safe/direct")
    }
    found = {
        name: mounts.point_at(points, str(directory / name)) is not None
        for name in ("safe/way/in", "target/in", "safe/direct", "target/end", "safe/way/end", "no")
    }
    assert [name for name, there in found.items() if there] == [
        "safe/way/in",
        "target/in",
        "safe/direct",
    ]


@pytest.mark.parametrize("uid", [0, ME[0], 4242])
@pytest.mark.parametrize("bit", BITS, ids=oct)
def test_in_roots_sticky_directories_names_stay(directory: Path, uid: int, bit: int) -> None:
    found = directory.stat()
    seen = os.stat_result((0o040700 | bit, *found[1:4], uid, *found[5:10]))
    assert safe_path.is_sticky(seen) == (bit == 0o1000 and uid in (0, ME[0]))


# -- what changes between the look and the deed --------------------------------------------------


def test_a_link_that_came_after_the_look_is_not_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "safe/link").symlink_to("../target")
    monkeypatch.setattr(safe_path, "_link", lambda directory, name: None)
    with pytest.raises(NotADirectoryError):
        safe_path.walk(str(directory / "safe/link/file"))
    assert files.look(str(directory / "safe/link")).st_size == len("../target")


@pytest.mark.parametrize("kind", ["link", "full", "theirs"])
def test_what_replaced_a_new_directory_is_not_given_away(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Who can write above it may exchange it before it is opened."""
    place, target = directory / "safe/new", directory / "empty"
    target.mkdir(mode=0o710)
    real = os.mkdir

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rename(name, "away", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        if kind == "link":
            place.symlink_to(target)
        else:
            target.rename(place)
        if kind == "full":
            (place / "file").write_text("theirs\n")
        elif kind == "theirs":
            monkeypatch.setattr(files.os, "geteuid", lambda: ME[0] + 1)

    monkeypatch.setattr(files.os, "mkdir", mkdir)
    with pytest.raises(SftpJailError, match=f"{place}"):
        files.make_dir(str(place), 0o755, *ME)
    assert place.stat().st_mode & 0o7777 == 0o710


@pytest.mark.parametrize("kind", ["second name", "fifo", "directory", "link"])
def test_only_a_file_with_one_name_is_copied(directory: Path, kind: str) -> None:
    """To another file system: what else has the file would keep the old one."""
    place = directory / "safe/thing"
    if kind == "second name":
        os.link(directory / "target/file", place)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("../target/file")
    before = listing(directory)
    with pytest.raises(SftpJailError, match=f"{place}"):
        files._copy(str(place), str(directory / "target/copy"))
    assert listing(directory) == before


def test_a_copy_has_the_owner_and_the_group_that_it_had(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = directory / "target/file", directory / "safe/copy"
    source.chmod(0o640)
    os.utime(source, (1, 2))
    fstat, owners = os.fstat, list[tuple[int, int]]()

    def seen(fd: int) -> object:
        found = fstat(fd)
        if not os.path.samestat(found, source.stat()):
            return found
        names = ("st_mode", "st_nlink", "st_atime_ns", "st_mtime_ns")
        same = {name: getattr(found, name) for name in names}
        return SimpleNamespace(st_uid=7, st_gid=8, **same)

    monkeypatch.setattr(files.os, "fstat", seen)
    monkeypatch.setattr(files.os, "fchown", lambda fd, uid, gid: owners.append((uid, gid)))
    files._copy(str(source), str(copy))
    found = copy.stat()
    assert owners == [(7, 8)] and copy.read_text() == "theirs\n"
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o640, 2)


@pytest.mark.parametrize(
    ("other", "same"), [((1, 7), True), ((2, 7), False), ((1, 8), False), ((2, 8), False)]
)
def test_a_file_is_known_by_its_disk_and_its_number(
    monkeypatch: pytest.MonkeyPatch, other: tuple[int, int], same: bool
) -> None:
    """Every ext4 has its root directory under the same number."""
    numbers = {"/one": (1, 7), "/other": other}

    def seen(path: str) -> SimpleNamespace:
        device, inode = numbers[path]
        return SimpleNamespace(st_dev=device, st_ino=inode)

    with monkeypatch.context() as patched:
        patched.setattr(mounts.os, "stat", seen)
        known = [mounts.identity(path) for path in numbers]
    assert (known[0] == known[1]) == same


def interrupting(nth: int) -> Callable[[int], None]:
    """Return a close(2) behind whose nth call a signal is heard, as Python raises its exception."""
    calls, close = count(1), os.close

    def closes(fd: int) -> None:
        close(fd)
        if next(calls) == nth:
            raise KeyboardInterrupt

    return closes


@pytest.mark.parametrize("path", ["a/b/c/d", "link/c/d"])
def test_a_signal_behind_any_close_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    monkeypatch.setattr(safe_path, "flaw", lambda found: "")
    before, heard = sorted(os.listdir("/proc/self/fd")), 0
    for nth in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(safe_path.os, "close", interrupting(nth))
            try:
                fd, _, _ = safe_path.walk(str(tmp_path / path))
            except KeyboardInterrupt:
                heard += 1
                assert sorted(os.listdir("/proc/self/fd")) == before
                continue
        os.close(fd)
        break
    assert heard > 3


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_what_others_can_take_away_is_gone_and_no_failure(tmp_path: Path, mode: int) -> None:
    """A rollback leaves that; what only root can have taken away, it reports."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(mode)
    (tmp_path / "home/file").write_text("")
    for name in ("file/keys", "none/keys", "none"):
        with pytest.raises(SftpJailError) as caught:
            files.look(str(tmp_path / "home" / name))
        assert isinstance(caught.value, LinkRefused) == (mode == 0o777), name
