"""fstab(5) and mountinfo: what we write is what we and findmnt(8) read."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.errors import UsageError
from sftpjail.formats.fstab import FstabEntry, escape, parse_line, parse_mountinfo, unescape

# Names as a Linux file system can hold them, spaces of other scripts and bytes that are not UTF-8
# among them.
hard = "ab/ \\#,'\"$`\u00a0\u0085\u2028\u3000\udcff\udc80é"
paths = st.text(
    st.sampled_from(hard) | st.characters(whitelist_categories=("L", "N", "P", "S", "Zs")),
    min_size=1,
).map(lambda text: "/" + text)
options = st.lists(
    st.sampled_from(["bind", "ro", "nosuid", "nofail", "x-sftpjail.user=ann"]),
    min_size=1,
    unique=True,
)
entries = st.builds(FstabEntry, paths, paths, st.just("none"), options.map(tuple))


@given(path=paths)
@example(path="/srv/web/a b\\040c#d")
def test_escape_and_back(path: str) -> None:
    assert unescape(escape(path)) == path


@given(path=paths)
def test_an_escaped_path_is_one_field_and_no_comment(path: str) -> None:
    assert not set(escape(path)) & set(" \t\n#")


@given(entry=entries)
@example(entry=FstabEntry("/srv/web/a\u00a0b", "/srv/sftp/ann/web", "none", ("bind",)))
@example(entry=FstabEntry("/srv/\u2028", "/srv/sftp/ann/\u0085", "none", ("bind",)))
def test_a_line_and_back(entry: FstabEntry) -> None:
    assert "\n" not in entry.line()
    assert parse_line(entry.line()) == entry


@given(text=st.text())
def test_any_line_is_an_entry_or_none(text: str) -> None:
    entry = parse_line(text)
    fields = [field for field in text.split("\0")[0].replace("\t", " ").split(" ") if field]
    assert (entry is not None) == (len(fields) >= 4 and not fields[0].startswith("#"))


@given(
    path=st.text(st.characters(blacklist_categories=("Cs",)), min_size=1),
    bad=st.sampled_from([*map(chr, range(32)), "\x7f"]),
)
def test_control_characters_are_refused(path: str, bad: str) -> None:
    for text in (bad + path, path + bad):
        with pytest.raises(UsageError, match="control character"):
            escape(text)


@pytest.mark.parametrize(
    "line", ["", "   ", "# /a /b none bind", "#/a /b none bind", "/a /b", "/a /b none"]
)
def test_comments_and_broken_lines_are_no_entries(line: str) -> None:
    assert parse_line(line) is None


def test_tabs_and_missing_last_fields() -> None:
    assert parse_line("\t/a\\040b\t/c  none\tbind,ro") == FstabEntry(
        "/a b", "/c", "none", ("bind", "ro")
    )


def test_octal_escapes_of_bytes_are_the_characters_of_their_name() -> None:
    # getmntent(3) decodes bytes, so \303\251 is the é of a UTF-8 name.
    entry = parse_line("/srv/caf\\303\\251 /c none bind")
    assert entry is not None
    assert entry.source == "/srv/café"


def test_option() -> None:
    entry = FstabEntry("/a", "/b", "none", ("bind", "x-sftpjail.user=ann", "x-sftpjail.role=home"))
    assert (entry.option("x-sftpjail.user"), entry.option("x-sftpjail.role")) == ("ann", "home")
    assert entry.option("x-sftpjail") == entry.option("user") == ""


def mountinfo(*targets: tuple[str, str]) -> str:
    return "".join(
        f"{n} 1 0:1 /x {t} {o} shared:1 - ext4 /dev/sda1 rw\n"
        for n, (t, o) in enumerate(targets, 20)
    )


def test_mountinfo_escapes_and_the_topmost_of_several() -> None:
    points = parse_mountinfo(
        mountinfo(("/", "rw"), ("/a\\040b", "rw,nosuid"), ("/a\\040b", "ro,nodev"))
    )
    assert set(points) == {"/", "/a b"}
    assert points["/a b"].options == ("ro", "nodev")


def test_mountinfo_what_a_mount_shows() -> None:
    line = "36 35 98:0 /mnt\\0401 /mnt2 rw,noatime shared:2 master:1 - ext3 /dev/root rw"
    point = parse_mountinfo(line)["/mnt2"]
    assert (point.device, point.root, point.kind) == ("98:0", "/mnt 1", "ext3")


def test_mountinfo_what_lies_over_a_mount() -> None:
    lines = (
        "20 1 0:1 / / rw - ext4 x rw",
        "21 20 0:2 / /srv/a/home rw - ext4 x rw",  # hidden by the one over /srv/a
        "22 20 0:3 / /srv/b/web rw - ext4 x rw",
        "23 20 0:4 / /srv/a rw - tmpfs x rw",
        "24 23 0:5 / /srv/a/web rw - ext4 x rw",  # in the one over /srv/a
        "25 21 0:6 / /srv/a/home/in rw - ext4 x rw",  # in a hidden one
        "26 22 0:7 / /srv/b/web rw - ext4 x rw",  # over one at the same path
        "27 20 0:8 / / rw - tmpfs x rw",  # in nobody's way
        "28 29 0:8 / /loop rw - tmpfs x rw",
        "29 28 0:8 / /loop/in rw - tmpfs x rw",
    )
    points = parse_mountinfo("\n".join(lines))
    hidden = {path: point.hidden_by for path, point in points.items() if point.hidden_by}
    assert hidden == {"/srv/a/home": "/srv/a", "/srv/a/home/in": "/srv/a"}
    assert points["/srv/b/web"].under == 1
    moved = ("30 25 0:1 / /a/b rw - ext4 x rw", "30 26 0:1 / /c rw - ext4 x rw")
    assert not any(point.hidden_by for point in parse_mountinfo("\n".join(moved)).values())


@given(
    name=st.text(
        st.characters(blacklist_categories=("Cs",), blacklist_characters=" \t\n\\#/\x00"),
        min_size=1,
    )
)
@example(name="\x0b")
@example(name="a\x85b")
@example(name="a\u2028b")
def test_any_mount_point_that_somebody_else_made_can_be_read(name: str) -> None:
    # The kernel escapes space, tab, newline, backslash and # in mountinfo, and nothing else.
    assert set(parse_mountinfo(mountinfo(("/media/" + name, "rw"), ("/x", "ro")))) == {
        f"/media/{name}",
        "/x",
    }


NAMES = [
    "plain",
    "with space",
    "back\\slash",
    "ha#sh",
    "com,ma",
    "quo'te\"s",
    "nb\u00a0sp",
    "line\u2028sep",
    "é",
    "\\040",
]


@pytest.mark.real_program
def test_findmnt_reads_what_we_wrote(tmp_path: Path) -> None:
    """findmnt(8) itself, which only reads: the one real program here."""
    tab = tmp_path / "fstab"
    wanted = [(f"/srv/{name}", f"/srv/sftp/ann/{name}") for name in NAMES]
    tab.write_text(
        "".join(
            FstabEntry(s, t, "none", ("bind", "x-sftpjail.user=ann")).line() + "\n"
            for s, t in wanted
        )
    )
    for source, target in wanted:
        for column, value in (("SOURCE", source), ("TARGET", target)):
            command = [
                "findmnt",
                "--tab-file",
                tab,
                "--json",
                "--output",
                column,
                "--target",
                target,
            ]
            said = subprocess.run(
                command, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
            ).stdout
            assert json.loads(said)["filesystems"] == [{column.lower(): value}]
