"""Previews: a program sees trial files in a mount namespace of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.system import previews
from sftpjail.system.programs import Answer


def test_a_preview_of_nothing_new_is_a_plain_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        previews, "run", lambda argv, **_: asked.append(list(argv)) or Answer(0, "", "")
    )
    monkeypatch.setattr(previews.os.path, "isdir", lambda path: path == "/run/sshd")
    previews.preview(["sshd", "-t"], {})
    assert asked == [["sshd", "-t"]]


def test_a_preview_shows_files_in_a_mount_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "RUN_DIR", str(tmp_path / "run"))
    (tmp_path / "there").write_text("old")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/goes").write_text("x")
    seen: dict[str, object] = {}

    def look(argv: list[str], **_: object) -> Answer:
        assert argv[:4] == ["unshare", "--mount", "--propagation", "private"]
        stage, *pairs = argv[argv.index("sh", 5) + 1 : argv.index("--")]
        assert all(staged.startswith(f"{stage}/") for staged in pairs[::2])
        for staged, path in zip(pairs[::2], pairs[1::2], strict=True):
            place = Path(staged)
            seen[path] = (
                place.read_text() if place.is_file() else sorted(p.name for p in place.iterdir())
            )
        assert argv[argv.index("--") + 1 :] == ["sshd", "-t"]
        return Answer(0, "", "")

    monkeypatch.setattr(previews, "run", look)
    directory = f"{tmp_path}/directory"
    previews.preview(
        ["sshd", "-t"],
        {
            f"{tmp_path}/there": b"new",
            f"{directory}/comes": b"1",
            f"{directory}/goes": None,
            "/none/x": b"",
        },
    )
    assert seen == {f"{tmp_path}/there": "new", directory: ["comes"]}
    assert (tmp_path / "there").read_text() == "old" and list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(("name", "hides"), [("/etc/group", True), ("/etc/hostname", False)])
def test_a_preview_of_groups_asks_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hides: bool
) -> None:
    monkeypatch.setattr(previews, "RUN_DIR", str(tmp_path / "run"))
    scripts: list[str] = []
    monkeypatch.setattr(
        previews, "run", lambda argv, **_: scripts.append(argv[6]) or Answer(0, "", "")
    )
    previews.preview(["sshd", "-T"], {name: b""})
    assert [" /run/nscd " in script for script in scripts] == [hides]


def test_a_preview_of_files_that_were_replaced_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "RUN_DIR", str(tmp_path / "run"))
    (tmp_path / "x").write_text("")
    answers = iter([Answer(124, "stale", ""), Answer(124, "stale", ""), Answer(0, "good", "")])
    monkeypatch.setattr(previews, "run", lambda *_, **__: next(answers))
    assert previews.preview(["sshd", "-T"], {f"{tmp_path}/x": b""}).out == "good"
    monkeypatch.setattr(previews, "run", lambda *_, **__: Answer(124, "", ""))
    with pytest.raises(SftpJailError, match="these are replaced again and again"):
        previews.preview(["sshd", "-T"], {f"{tmp_path}/x": b""})


@pytest.mark.parametrize(
    "answer", [Answer(125, "", "mount: no"), Answer(1, "", "unshare: unshare failed: no")]
)
def test_a_preview_that_cannot_be_had_is_an_error_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(previews, "RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(previews, "run", lambda *_, **__: answer)
    with pytest.raises(SftpJailError, match="cannot try sshd in a mount namespace of its own"):
        previews.preview(["sshd", "-t"], {"/etc/passwd": b""})


def test_a_script_that_comes_is_one_in_the_preview_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "RUN_DIR", str(tmp_path / "run"))
    modes: dict[str, int] = {}

    def look(argv: list[str], **_: object) -> Answer:
        for staged in Path(argv[argv.index("--") - 2]).iterdir():
            modes[staged.name] = staged.stat().st_mode & 0o777
        return Answer(0, "", "")

    monkeypatch.setattr(previews, "run", look)
    (tmp_path / "etc").mkdir()
    previews.preview(
        ["x"], {f"{tmp_path}/etc/script": b"#!/bin/sh\n", f"{tmp_path}/etc/text": b"text"}
    )
    assert modes["script"] == 0o755 and not modes["text"] & 0o111
