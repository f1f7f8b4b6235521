"""The step at a login and at boot: what it reads, whom it lets in, and that it is one file that needs nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.formats.fstab import FstabEntry, parse_line, unescape
from sftpjail.openssh.pam_session import program
from sftpjail.system import login_step

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).map(lambda s: "/" + s)


@given(TEXT, TEXT)
def test_a_table_is_read_as_fstab_is(source: str, target: str) -> None:
    line = FstabEntry(source, target, "none", ("bind", "ro", "x-sftpjail.user=ann")).line()
    assert login_step.entries(f"# a comment\n\n{line}\n") == [
        (source, target, ("bind", "ro", "x-sftpjail.user=ann"))
    ]


@given(st.text(st.sampled_from("\\01457a ")))
@example("/a\\000b")
def test_octal_escapes_are_those_of_getmntent(field: str) -> None:
    assert login_step.unescaped(field) == unescape(field)


@pytest.mark.parametrize(
    "line",
    ["", "# x y z bind", "/a /b none", "  \t ", "/a\t/b\tnone\tbind", " /a  /b none bind 0 0"],
)
def test_the_same_lines_count_as_in_fstab(line: str) -> None:
    entry = parse_line(line)
    assert login_step.entries(line) == (
        [(entry.source, entry.target, entry.options)] if entry else []
    )


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a\nb", "a b", "ä", "../etc"])
def test_no_name_that_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAM_TYPE", "open_session")
    monkeypatch.setenv("PAM_USER", name)
    with pytest.raises(login_step.Refused, match="not the name of an account"):
        login_step.login("session")


def test_only_the_opening_of_a_session_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAM_TYPE", "close_session")
    monkeypatch.setenv("PAM_USER", "../etc")
    login_step.login("session")


def test_a_session_without_a_namespace_of_its_own_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tables", "mark"):
        (tmp_path / name).mkdir()
    (tmp_path / "tables/ann").write_text("/src /jail/web none bind 0 0\n")
    monkeypatch.setattr(login_step, "TABLES", str(tmp_path / "tables"))
    monkeypatch.setattr(login_step, "MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("PAM_TYPE", "open_session")
    monkeypatch.setenv("PAM_USER", "ann")
    with pytest.raises(login_step.Refused, match="no mount namespace of its own"):
        login_step.login("session")


def test_the_reason_is_one_line_and_the_command_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    login_step.refuse("/srv/a\nsftpjail: all is well\x1b[2J")
    assert capsys.readouterr().err == "sftpjail: /srv/a sftpjail: all is well [2J\n"
    assert (
        login_step.main([]) == 2
        and login_step.main(["boot", "x"]) == 2
        and login_step.main(["enter", "t", "d"]) == 2
    )


def test_the_program_is_one_file_of_the_standard_library() -> None:
    tree = ast.parse(program())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert imported == {
        "__future__",
        "collections",
        "ctypes",
        "errno",
        "os",
        "stat",
        "subprocess",
        "sys",
        "syslog",
    }
    assert program().startswith("#!/usr/bin/python3 -IS\n")


def test_a_login_imports_little() -> None:
    """Each module costs every login: what only some need is imported where it is needed."""
    top = {
        alias.name
        for node in ast.parse(program()).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert top == {"errno", "os", "stat", "sys"}


def test_one_mount_that_stays_keeps_no_other_from_being_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        FstabEntry("/src", f"/jail/{name}", "none", ("bind", "x-sftpjail.user=ann")).line()
        for name in "ab"
    ]
    monkeypatch.setattr(login_step, "read", lambda path: "\n".join(lines))
    monkeypatch.setattr(login_step, "mount_points", lambda: {"/jail/a", "/jail/b"})
    monkeypatch.setattr(login_step, "unlike", lambda source, target: "it is another's")
    asked = []

    def unmount(point: str, lazy: bool) -> bool:
        asked.append(point)
        raise login_step.PathRefused("no way there")

    monkeypatch.setattr(login_step, "unmount", unmount)
    assert not login_step.boot()
    assert (
        asked == ["/jail/a", "/jail/b"]
        and "/jail/b stays mounted: no way there" in capsys.readouterr().err
    )
