"""Root's hands: names of users' folders lead it nowhere. Real files; the user who runs the tests plays root."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from fakes import ME, listing

from sftpjail.errors import SftpJailError
from sftpjail.system import files, locks, mounts, safe_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "safe").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("theirs\n")
    return tmp_path


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
def test_no_link_in_a_folder_of_others_is_followed(folder: Path, number: int) -> None:
    (folder / "open/link").symlink_to(folder / "target")
    before = listing(folder)
    with pytest.raises(SftpJailError) as caught:
        attempts(str(folder / "open/link/file"))[number]()  # type: ignore[operator]
    assert "link" in caught.value.message
    assert listing(folder) == before


def test_a_link_of_roots_is_followed_on_the_way(folder: Path) -> None:
    (folder / "safe/link").symlink_to("../target")
    files.make_dir(str(folder / "safe/link/new"), 0o750, *ME)
    assert (folder / "target/new").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("act", ["unlink", "move", "keep", "remove_dir"])
def test_the_last_name_is_never_followed(folder: Path, act: str) -> None:
    link = folder / "safe/link"
    link.symlink_to("../target/file" if act != "remove_dir" else "../target")
    if act == "unlink":
        files.unlink(str(link))
        assert not link.is_symlink()
    elif act == "move":
        files.move(str(link), str(folder / "safe/moved"))
        assert (folder / "safe/moved").is_symlink() and not link.is_symlink()
    elif act == "keep":
        files.keep(str(link))
        assert Path(files.backup_name(str(link))).is_symlink()
    else:
        (folder / "target/file").unlink()
        files.remove_dir(str(link))
        assert (folder / "target").is_dir()
        return
    assert (folder / "target/file").read_text() == "theirs\n"


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "safe/a").symlink_to("b")
    (folder / "safe/b").symlink_to("a")
    with pytest.raises(SftpJailError):
        files.make_dir(str(folder / "safe/a/x"), 0o755, *ME)


def test_unlink_of_what_is_gone_is_done(folder: Path) -> None:
    before = listing(folder)
    files.unlink(str(folder / "safe/nothing"))
    files.unlink(str(folder / "nothing/at/all"))
    assert listing(folder) == before


def test_remove_dir(folder: Path) -> None:
    assert files.remove_dir(str(folder / "safe"))
    assert files.remove_dir(str(folder / "safe"))
    assert not files.remove_dir(str(folder / "target"))
    assert not files.remove_dir(str(folder / "target/file"))
    assert (folder / "target/file").exists()


def test_make_dir_does_not_touch_one_that_is_there(folder: Path) -> None:
    files.make_dir(str(folder / "open"), 0o700, *ME)
    assert (folder / "open").stat().st_mode & 0o7777 == 0o777


def test_write_staged_never_writes_into_a_link(folder: Path) -> None:
    path = folder / "safe/file"
    Path(files.stage_name(str(path))).symlink_to("../target/file")
    files.write_staged(str(path), b"ours\n", False, 0o640, *ME)
    assert (folder / "target/file").read_text() == "theirs\n"
    assert Path(files.stage_name(str(path))).read_bytes() == b"ours\n"


def test_a_staged_file_below_shadow_maint_is_not_where_useradd_runs_it() -> None:
    path = "/etc/shadow-maint/useradd-post.d/sftpjail"
    for name in (files.stage_name(path), files.backup_name(path)):
        assert os.path.dirname(name) == "/etc/shadow-maint"
    assert files.stage_name(path) != files.stage_name(
        path.replace("useradd-post.d", "userdel-pre.d")
    )


@pytest.mark.parametrize("pattern", ["*.conf", "*", "[!.]*", "10-*"])
def test_no_include_pattern_matches_a_staged_or_old_file(folder: Path, pattern: str) -> None:
    path = str(folder / "target/10-sftpjail.conf")
    for name in (files.stage_name(path), files.backup_name(path)):
        Path(name).write_text("half\n")
    assert [
        p
        for p in folder.glob(f"target/{pattern}")
        if p.name != "file" and not p.name.startswith(".")
    ] == []


def test_a_lock_that_is_held(folder: Path) -> None:
    path = str(folder / "run/lock")
    with (
        locks.lock(path, 1.0),
        pytest.raises(SftpJailError, match="another sftpjail has held"),
        locks.lock(path, 0.05),
    ):
        pass
    with locks.lock(path, 0.0):
        pass


def test_a_busy_mount_says_who_holds_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def busy(target: str, lazy: bool = False) -> bool:
        asked.append(lazy)
        if lazy:
            return asked.count(True) == 1
        raise OSError(errno.EBUSY, "umount2: Device or resource busy")

    monkeypatch.setattr(safe_path, "unmount", busy)
    monkeypatch.setattr(mounts, "_PAUSE_S", 0.0)
    with pytest.raises(SftpJailError, match="cannot unmount .* in use"):
        mounts.unmount(str(folder / "safe"))
    monkeypatch.chdir(folder / "target")
    with pytest.raises(SftpJailError, match=f"is in use by .*pid {os.getpid()}") as caught:
        mounts.unmount(str(folder / "target"))
    # As the one whose process it is: its number may be another's by then. Root's own are not for us to end.
    begin = f"setsid -w setpriv --reuid={os.getuid()} " if os.getuid() else ""
    assert caught.value.hint.startswith(begin) and (str(os.getpid()) in caught.value.hint) == bool(
        begin
    )
    # A rollback does not wait for a user.
    assert mounts.unmount_busy(str(folder / "safe")) == "" and asked[-2:] == [True, True]
    asked.clear()
    said = mounts.unmount_busy(str(folder / "target"))
    assert re.fullmatch(rf".* is unmounted, and still in use by .*pid {os.getpid()}.*", said)
    assert asked == [False, True, True]


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
    for option in ("X-mount.idmap=u:1:2:1", "loop", "uid=0", ""):
        with pytest.raises(safe_path.PathRefused, match=f"does not mount with the option {option}"):
            safe_path.attributes(("bind", option))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_strict_walk_stops_at_a_directory_that_others_can_write(folder: Path, mode: int) -> None:
    os.close(safe_path.open_path("/usr/bin/env", follow=True, strict=True))
    loose = folder / "safe/loose"
    (loose / "below").mkdir(parents=True)
    loose.chmod(mode)
    os.close(safe_path.open_path(str(loose / "below")))
    with pytest.raises(
        safe_path.PathRefused, match=rf"(/tmp|{loose}) can be written by others than root \(mode"
    ):
        safe_path.open_path(str(loose / "below"), strict=True)


def test_what_is_opened_is_no_link(folder: Path) -> None:
    (folder / "safe/link").symlink_to(folder / "target")
    for strict in (False, True):
        with pytest.raises(safe_path.PathRefused):
            safe_path.open_path(str(folder / "safe/link"), strict=strict)


def test_a_directory_of_ours_becomes_roots_alone(folder: Path) -> None:
    place = folder / "safe/state"
    files.keep_private(str(place))
    assert not place.exists()
    place.mkdir()
    for mode in (0o755, 0o710, 0o701, 0o700):
        place.chmod(mode)
        files.keep_private(str(place))
        assert place.stat().st_mode & 0o777 == 0o700
    with locks.lock(str(folder / "safe/run/lock"), 1.0):
        assert (folder / "safe/run").stat().st_mode & 0o777 == 0o700
