"""Origin records: what sftpjail cannot have written is damage, and is said to be."""

from __future__ import annotations

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.formats.origin_record import parse_origin, render_origin

RECORD = "/var/lib/sftpjail/accounts/ann"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"was": {"a": "\\ud800\udcff"}}']
)
def test_no_text_is_too_strange_to_be_called_damaged(text: str) -> None:
    with pytest.raises(SftpJailError, match=f"{RECORD} is damaged") as caught:
        parse_origin(RECORD, text)
    assert caught.value.fix == f"mv -nT {RECORD} /var/lib/sftpjail/accounts/.ann.damaged"


def test_a_name_that_is_not_utf_8_comes_back() -> None:
    found = parse_origin(RECORD, '{"made": ["/srv/a\\udcff\\udcfe"]}')
    assert found.made == ("/srv/a\udcff\udcfe",)
    assert parse_origin(RECORD, render_origin(found)) == found
