"""The journal's export format: every value comes back, however it is cut, and none can be a field or an entry."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.transferlog.journal_export import LONGEST, Entries

names = st.sampled_from([b"__REALTIME_TIMESTAMP", b"MESSAGE", b"_PID", b"SYSLOG_PID", b"_HOSTNAME"])
values = st.binary(max_size=50) | st.sampled_from(
    [b"a\n\nMESSAGE=b\n\n", b"MESSAGE\n", b"a=b", b"\n", b"=", b"x" * 3000]
)
entries = st.lists(st.dictionaries(names, values, min_size=1, max_size=5), max_size=5)


def export(fields: dict[bytes, bytes], binary: bool = False) -> bytes:
    """An entry as journalctl writes it (systemd, JOURNAL_EXPORT_FORMATS)."""
    out = b""
    for name, value in fields.items():
        if b"\n" in value or binary:
            out += name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
        else:
            out += name + b"=" + value + b"\n"
    return out + b"\n"


@given(entries, st.integers(1, 200), st.booleans())
def test_entries_come_back(wanted: list[dict[bytes, bytes]], size: int, binary: bool) -> None:
    data = b"".join(export(fields, binary) for fields in wanted)
    reader = Entries()
    found = [
        entry
        for start in range(0, len(data), size)
        for entry in reader.split(data[start : start + size])
    ]
    assert found == wanted and reader.whole


@given(st.binary(max_size=500) | st.text("A=\n\0", max_size=50).map(str.encode), st.integers(1, 50))
@example(b"A=x\nB\n\2\0\0\0\0\0\0\0yz\n\n=\n\n", 3)
def test_rubbish_does_no_harm(data: bytes, size: int) -> None:
    reader = Entries()
    found = [
        entry
        for start in range(0, len(data), size)
        for entry in reader.split(data[start : start + size])
    ]
    for entry in found:
        assert all(name in data and value in data for name, value in entry.items())
    assert len(found) <= data.count(b"\n\n")


def test_an_endless_value_is_not_kept() -> None:
    for begin in (b"MESSAGE=", b"MESSAGE\n" + (100 << 16).to_bytes(8, "little")):
        reader = Entries()
        assert reader.split(begin) == []
        for _ in range(100):
            assert reader.split(b"x" * (1 << 16)) == []
            assert len(reader._rest) <= LONGEST + 512
        ((fields),) = reader.split(b"\n_PID=7\n\n" + export({b"MESSAGE": b"next"}))[:1]
        assert fields[b"_PID"] == b"7" and len(fields[b"MESSAGE"]) > LONGEST - 100
        assert reader.whole


def test_half_an_entry_is_not_whole() -> None:
    reader = Entries()
    reader.split(b"MESSAGE=x\n")
    assert not reader.whole


@given(st.integers(1, 60), st.booleans())
def test_of_two_fields_of_one_name_the_last_counts(size: int, binary: bool) -> None:
    data = export({b"MESSAGE": b"one"}, binary)[:-1] + export({b"MESSAGE": b"two"})
    cut = Entries()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [entry for piece in pieces for entry in cut.split(piece)] == [{b"MESSAGE": b"two"}]
