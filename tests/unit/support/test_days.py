"""A test whose machine writes a date may run across midnight."""

from __future__ import annotations

from days import DAY, as_of_the_first_day

NOON = 20_787 * DAY + DAY / 2  # 2026-11-30


def test_midnight_changes_no_content() -> None:
    line = b"#sftpjail-import: %s: replaced\neve:!:%d:0:99999:7:::\n"
    first, second, third = (
        (b"2026-11-30", 20_787),
        (b"2026-12-01", 20_788),
        (b"2026-12-02", 20_789),
    )
    for there in (first, second, third):
        assert as_of_the_first_day(line % there, NOON, NOON + 2 * DAY) == line % first
    assert as_of_the_first_day(line % second, NOON, NOON) == line % second


def test_other_days_and_numbers_stay() -> None:
    line = b"eve:!:20786:0:20790:7::208788: 2026-11-29 2026-12-03"
    assert as_of_the_first_day(line, NOON, NOON + DAY) == line
