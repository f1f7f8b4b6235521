"""Root's hands: names of users' folders lead it nowhere. Real files; the user who runs the tests plays root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import ME, Programs, listing

from sftpjail import system
from sftpjail.errors import SftpJailError
from sftpjail.programs import Answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "safe").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("theirs\n")
    return tmp_path


def attempts(path: str) -> list[object]:
    """Return everything that system.py can do to a path."""
    return [
        lambda: system.make_dir(path, 0o755, *ME),
        lambda: system.remove_dir(path),
        lambda: system.unlink(path),
        lambda: system.keep(path),
        lambda: system.move(path, f"{path}.moved"),
        lambda: system.write_staged(path, b"x", False, 0o644, *ME),
        lambda: system.look(path),
        lambda: system.read_file(path),
        lambda: system.resolve(path),
        lambda: system.sync_dirs({path}),
        lambda: system.set_owner(path, *ME, 0o600),
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
    system.make_dir(str(folder / "safe/link/new"), 0o750, *ME)
    assert (folder / "target/new").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("act", ["unlink", "move", "keep", "remove_dir"])
def test_the_last_name_is_never_followed(folder: Path, act: str) -> None:
    link = folder / "safe/link"
    link.symlink_to("../target/file" if act != "remove_dir" else "../target")
    if act == "unlink":
        system.unlink(str(link))
        assert not link.is_symlink()
    elif act == "move":
        system.move(str(link), str(folder / "safe/moved"))
        assert (folder / "safe/moved").is_symlink() and not link.is_symlink()
    elif act == "keep":
        system.keep(str(link))
        assert Path(system.backup_name(str(link))).is_symlink()
    else:
        (folder / "target/file").unlink()
        system.remove_dir(str(link))
        assert (folder / "target").is_dir()
        return
    assert (folder / "target/file").read_text() == "theirs\n"


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "safe/a").symlink_to("b")
    (folder / "safe/b").symlink_to("a")
    with pytest.raises(SftpJailError):
        system.make_dir(str(folder / "safe/a/x"), 0o755, *ME)


def test_unlink_of_what_is_gone_is_done(folder: Path) -> None:
    system.unlink(str(folder / "safe/nothing"))
    system.unlink(str(folder / "nothing/at/all"))


def test_remove_dir(folder: Path) -> None:
    assert system.remove_dir(str(folder / "safe"))
    assert system.remove_dir(str(folder / "safe"))
    assert not system.remove_dir(str(folder / "target"))
    assert not system.remove_dir(str(folder / "target/file"))
    assert (folder / "target/file").exists()


def test_make_dir_does_not_touch_one_that_is_there(folder: Path) -> None:
    system.make_dir(str(folder / "open"), 0o700, *ME)
    assert (folder / "open").stat().st_mode & 0o7777 == 0o777


def test_write_staged_never_writes_into_a_link(folder: Path) -> None:
    path = folder / "safe/file"
    Path(system.stage_name(str(path))).symlink_to("../target/file")
    system.write_staged(str(path), b"ours\n", False, 0o640, *ME)
    assert (folder / "target/file").read_text() == "theirs\n"
    assert Path(system.stage_name(str(path))).read_bytes() == b"ours\n"


def test_a_staged_file_below_shadow_maint_is_not_where_useradd_runs_it() -> None:
    path = "/etc/shadow-maint/useradd-post.d/sftpjail"
    for name in (system.stage_name(path), system.backup_name(path)):
        assert os.path.dirname(name) == "/etc/shadow-maint"
    assert system.stage_name(path) != system.stage_name(path.replace("useradd-post.d", "userdel-pre.d"))


@pytest.mark.parametrize("pattern", ["*.conf", "*", "[!.]*", "10-*"])
def test_no_include_pattern_matches_a_staged_or_old_file(folder: Path, pattern: str) -> None:
    path = str(folder / "target/10-sftpjail.conf")
    for name in (system.stage_name(path), system.backup_name(path)):
        Path(name).write_text("half\n")
    assert [p for p in folder.glob(f"target/{pattern}") if p.name != "file" and not p.name.startswith(".")] == []


def test_a_lock_that_is_held(folder: Path) -> None:
    path = str(folder / "run/lock")
    with (
        system.lock(path, 1.0),
        pytest.raises(SftpJailError, match="another sftpjail has held"),
        system.lock(path, 0.05),
    ):
        pass
    with system.lock(path, 0.0):
        pass


def test_a_busy_mount_says_who_holds_it(folder: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.answer("umount", err="umount: target is busy.", code=32)
    with pytest.raises(SftpJailError, match="cannot unmount .*busy"):
        system.unmount(str(folder / "safe"))
    monkeypatch.chdir(folder / "target")
    with pytest.raises(SftpJailError, match=f"is in use by .*pid {os.getpid()}") as caught:
        system.unmount(str(folder / "target"))
    assert caught.value.hint.startswith("kill ") and str(os.getpid()) in caught.value.hint


def test_unmounting_what_is_not_mounted_is_done(programs: Programs) -> None:
    programs.answer("umount", err="umount: /x: not mounted.", code=32)
    system.unmount("/x")


def test_every_layer_of_a_mount_goes_and_no_loop_is_without_end(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.answer("umount")
    layers = iter([True, True, False])
    monkeypatch.setattr(system, "_mounted", lambda target: next(layers))
    system.unmount("/x")
    assert len(programs.asked) == 3
    monkeypatch.setattr(system, "_mounted", lambda target: True)
    with pytest.raises(SftpJailError, match="/x is mounted again and again"):
        system.unmount("/x")
    assert len(programs.asked) < 300


def test_mount_all_hands_over_the_lines_in_order(programs: Programs) -> None:
    seen = []

    def mount(argv: object, _: object) -> Answer:
        seen.append(Path(argv[3]).read_bytes())  # type: ignore[index]
        return Answer(0, "", "")

    programs.answer_by("mount", mount)
    system.mount_all(["/a /b none bind 0 0", "/\udcff /d none bind 0 0"])
    assert seen == [b"/a /b none bind 0 0\n/\xff /d none bind 0 0\n"]


@pytest.mark.parametrize(
    ("options", "flags"),
    [(("bind", "ro", "nosuid", "private"), "remount,bind,ro,nosuid"), (("bind", "nodev"), "remount,bind,nodev,rw")],
)
def test_remount(programs: Programs, options: tuple[str, ...], flags: str) -> None:
    programs.answer("mount")
    system.remount("/x", options)
    assert programs.asked == [("mount", "-o", flags, "/x")]
