"""Access lists as the kernel has them, and what sharing a directory with a group makes of them."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.formats.acl import Access, read, shared, stages, written

USER, GROUP = 2, 8
BITS = st.integers(0, 7)
NAMED = st.dictionaries(st.tuples(st.sampled_from([USER, GROUP]), st.integers(0, 9)), BITS)


def packed(
    user: int, group: int, other: int, named: dict[tuple[int, int], int], mask: int
) -> bytes:
    entries = [(1, user, -1), (4, group, -1), (0x20, other, -1)]
    entries += [(tag, bits, name) for (tag, name), bits in named.items()]
    entries += [(0x10, mask, -1)] * bool(named)
    data = (
        struct.pack("<HHI", tag, bits, name & 0xFFFFFFFF) for tag, bits, name in sorted(entries)
    )
    return struct.pack("<I", 2) + b"".join(data)


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    """What a directory may have: with a list, the group bits of its mode are the list's mask."""
    user, group, other, mask = (draw(BITS) for _ in range(4))
    named = draw(NAMED)
    special = draw(st.sampled_from([0, 0o2000]))
    access = packed(user, group, other, named, mask) if named else b""
    mode = special | user << 6 | (mask if named else group) << 3 | other
    default = b""
    if draw(st.booleans()):
        default = packed(*(draw(BITS) for _ in range(3)), draw(NAMED), draw(BITS))
    return Access(draw(st.integers(0, 9)), mode, access, default)


def rights(data: bytes, mode: int) -> dict[tuple[int, int], int]:
    """What each entry of a list allows, by tag and id; of a mode where there is no list."""
    if not data:
        return {(1, -1): mode >> 6 & 7, (4, -1): mode >> 3 & 7, (0x20, -1): mode & 7}
    found = {
        (tag, -1 if name == 0xFFFFFFFF else name): bits
        for tag, bits, name in struct.iter_unpack("<HHI", data[4:])
    }
    mask = found.pop((0x10, -1), 7)
    return {one: bits & mask if one[0] in (USER, 4, GROUP) else bits for one, bits in found.items()}


@given(accesses(), st.integers(0, 9))
def test_a_shared_directory_lets_in_whom_it_let_in(now: Access, gid: int) -> None:
    after = shared(now, gid)
    before_rights, rights_now = rights(now.access, now.mode), rights(after.access, after.mode)
    assert after.gid == gid and after.mode & 0o2070 == 0o2070
    assert rights_now[4, -1] == 7 and rights(after.default, 0)[4, -1] == 7
    for (tag, name), bits in before_rights.items():
        if tag in (1, 0x20):
            assert rights_now[tag, name] == bits, "its owner and others: neither more nor less"
        if tag == USER:
            assert rights_now[tag, name] == bits
        if tag == GROUP and name not in (gid, now.gid):
            assert rights_now[tag, name] == bits
    was = before_rights[4, -1]
    if now.gid != gid and was != before_rights[0x20, -1]:
        assert rights_now[GROUP, now.gid] == was | before_rights.get((GROUP, now.gid), 0)
    added = {one for one in rights_now if one not in before_rights}
    assert added <= {(GROUP, now.gid)}, "nobody else is let in"
    if not now.default:
        heirs = rights(after.default, 0)
        assert heirs[0x20, -1] == before_rights[0x20, -1]
        assert {k: v for k, v in heirs.items() if k[0] in (USER, GROUP)} == {
            k: v for k, v in rights_now.items() if k[0] in (USER, GROUP)
        }


@given(accesses(), st.integers(0, 9))
def test_sharing_twice_changes_nothing(now: Access, gid: int) -> None:
    once = shared(now, gid)
    assert shared(once, gid) == once


@given(accesses(), accesses())
def test_each_stage_changes_one_thing(one: Access, other: Access) -> None:
    found = list(stages(one, other))
    assert found[0] == one and found[-1] == other
    for before, after in pairwise(found):
        changed = [n for n in range(4) if before[n] != after[n]]
        assert len(changed) <= 1 or changed == [1, 2], "a list sets the group bits of the mode"


@given(accesses())
def test_what_was_there_is_read_as_it_was_written(access: Access) -> None:
    text = written(access)
    assert read(text) == access
    assert not set(text) & set(", \t\\#")


@pytest.mark.parametrize(
    "text", ["", "33", "33:755", "33:999::", "33:755:a,b:", "x:755::", "33:755:a:"]
)
def test_a_broken_word_says_nothing(text: str) -> None:
    assert read(text) is None
