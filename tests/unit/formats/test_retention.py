"""Lines of tmpfiles.d(5) that delete old files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.formats.retention import ages_of, is_writable, line, setting


def test_a_line_judges_files_by_their_modification_time() -> None:
    assert line("/srv/in", 30) == "e /srv/in - - - m:30d"
    assert line("/srv/100% in", 7) == 'e "/srv/100%% in" - - - m:7d'


@pytest.mark.parametrize(
    "path", ["/a*", "/a[b", "/a?", "/{a,b}", '/a"b', "/a\\x20", "/a'", "/a\nb"]
)
def test_what_would_be_a_pattern_is_not_written(path: str) -> None:
    assert not is_writable(path)


def test_settings_are_read_back_and_others_comments_are_not() -> None:
    lines = (setting("/in: 2d", 30), line("/srv/in", 30), "# a remark: 3d", "# /x: ever", "")
    assert ages_of(lines) == {"/in: 2d": 30}


@given(st.text().map(lambda text: text.replace("\n", "")), st.integers(1, 36500))
def test_any_directory_is_read_back(name: str, days: int) -> None:
    assert ages_of([setting(f"/{name}", days)]) == {f"/{name}": days}
