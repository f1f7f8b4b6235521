"""Editing our lines in other people's files: what is theirs survives, byte for byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.formats.fstab import FstabEntry
from sftpjail.formats.tagged_lines import Read, Style, edit, fstab_head, split, tagged

OURS = "x-sftpjail.user="
# What somebody else wrote: any characters that a file can hold, line breaks of other systems among
# them.
foreign = st.text(
    st.characters(blacklist_categories=("Cs",))
    | st.sampled_from("\n\r\t #\x0b\x0c\x1c\x85\u2028\udcff"),
    max_size=200,
).filter(lambda text: "sftpjail" not in text and "ours" not in text)
blocks = st.sampled_from([Style.BLOCK, Style.TOP])


def entry(user: str, target: str, source: str = "/src") -> str:
    return FstabEntry(source, target, "none", ("bind", f"{OURS}{user}")).line()


def changes(style: Style) -> dict[str, tuple[str, ...]]:
    if style is Style.FSTAB:
        return {"ann /srv/sftp/ann/w": (entry("ann", "/srv/sftp/ann/w"),)}
    if style is Style.LINE:
        return {"ours one": ("ours one",)}
    if style is Style.USER:
        return {"ours": ("-:ours:ALL EXCEPT ::1",)}
    return {"tag": ("ours one", "ours two")}


def gone(wanted: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(wanted, ())


@pytest.mark.parametrize("style", list(Style))
@given(text=foreign)
@example(text="")
@example(text="#!/bin/sh\necho theirs\n")
@example(text="one line\n")
def test_adding_and_removing_leaves_every_foreign_byte(style: Style, text: str) -> None:
    if text and not text.endswith("\n"):
        text += "\n"
    wanted = changes(style)
    added = edit(text, wanted, style)
    assert added != text
    assert edit(added, gone(wanted), style) == text


@pytest.mark.parametrize("style", list(Style))
@given(text=foreign)
@example(text="no newline at the end")
@example(text="#!/bin/sh")
def test_also_where_the_last_line_has_no_newline(style: Style, text: str) -> None:
    wanted = changes(style)
    assert edit(edit(text, wanted, style), gone(wanted), style) == text


@pytest.mark.parametrize("style", list(Style))
@given(text=foreign)
def test_applying_twice_changes_nothing(style: Style, text: str) -> None:
    once = edit(text, changes(style), style)
    assert edit(once, changes(style), style) == once


@pytest.mark.parametrize("style", list(Style))
@given(text=foreign)
def test_our_lines_are_lines_of_their_own(style: Style, text: str) -> None:
    wanted = changes(style)
    added = edit(text, wanted, style).split("\n")
    assert all(line in added for lines in wanted.values() for line in lines)
    theirs = [line for line in text.split("\n") if line]
    assert [line for line in added if line in theirs] == theirs


@pytest.mark.parametrize("style", list(Style))
@given(text=foreign)
def test_removing_what_is_not_there_changes_nothing(style: Style, text: str) -> None:
    assert edit(text, gone(changes(style)), style) == text


@given(before=foreign, after=foreign, style=st.just(Style.BLOCK))
@example(before="theirs without newline", after="added later\n", style=Style.BLOCK)
def test_what_follows_our_block_is_not_glued_to_what_precedes_it(
    before: str, after: str, style: Style
) -> None:
    added = edit(before, {"tag": ("ours",)}, style) + after
    left = edit(added, {"tag": ()}, style)
    lines = [line for line in (before + "\n" + after).split("\n") if line]
    assert [line for line in left.split("\n") if line] == lines


@given(text=foreign, style=blocks, first=st.booleans())
@example(text="theirs without newline", style=Style.BLOCK, first=True)
def test_two_tags_leave_in_any_order(text: str, style: Style, first: bool) -> None:
    both = edit(edit(text, {"one": ("ours a",)}, style), {"two": ("ours b",)}, style)
    order = ("one", "two") if first else ("two", "one")
    left = edit(edit(both, {order[0]: ()}, style), {order[1]: ()}, style)
    assert left.rstrip("\n") == text.rstrip("\n")


@given(text=foreign, style=blocks)
def test_a_block_is_replaced_in_its_place(text: str, style: Style) -> None:
    one = edit(text, {"tag": ("ours 1",)}, style)
    two = edit(one + "# theirs\n", {"tag": ("ours 2", "ours 3")}, style)
    assert two == one.replace("ours 1", "ours 2\nours 3") + "# theirs\n"


def test_a_tag_is_not_another_tag_that_begins_alike() -> None:
    both = edit(edit("", {"sftp": ("ours 1",)}, Style.BLOCK), {"sftp2": ("ours 2",)}, Style.BLOCK)
    assert edit(both, {"sftp": ()}, Style.BLOCK) == edit("", {"sftp2": ("ours 2",)}, Style.BLOCK)


def test_top_stands_below_the_first_line() -> None:
    text = edit("#!/bin/sh\necho theirs\nexit 0\n", {"tag": ("ours",)}, Style.TOP)
    assert (
        text == "#!/bin/sh\n# BEGIN sftpjail tag\nours\n# END sftpjail tag\necho theirs\nexit 0\n"
    )


def test_only_the_line_feed_ends_a_line() -> None:
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\rg\n"
    assert split(text) == [text]
    assert edit(text, {"ours": ("ours",)}, Style.LINE) == text + "ours\n"


def test_a_line_of_ours_is_found_without_its_newline() -> None:
    assert edit("theirs\nours", {"ours": ()}, Style.LINE) == "theirs"


# -- fstab ---------------------------------------------------------------------------------------


def test_fstab_lines_of_others_and_comments_stay() -> None:
    text = f"UUID=1 / ext4 defaults 0 1\n# {OURS}ann is a comment\n\n   \n/dev/sr0\t/media iso9660 ro 0 0\n"
    added = edit(text, changes(Style.FSTAB), Style.FSTAB)
    assert added == text + entry("ann", "/srv/sftp/ann/w") + "\n"
    assert edit(added, gone(changes(Style.FSTAB)), Style.FSTAB) == text


def test_fstab_lines_of_one_user_stand_in_order_of_depth() -> None:
    text = "theirs / ext4 defaults 0 1\n"
    for target in ("/j/ann/a/b/c", "/j/ann/a", "/j/ann/a/b"):
        text = edit(text, {f"ann {target}": (entry("ann", target),)}, Style.FSTAB)
    text = edit(text, {"bob /j/bob/x": (entry("bob", "/j/bob/x"),)}, Style.FSTAB)
    targets = [line.split()[1] for line in text.splitlines()]
    assert targets == ["/", "/j/ann/a", "/j/ann/a/b", "/j/ann/a/b/c", "/j/bob/x"]


targets = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda p: "/j/u/" + "/".join(p)),
    unique=True,
)


@given(
    targets=targets,
    theirs=st.lists(st.sampled_from(["x /x ext4 ro 0 0", "# comment", ""])),
    data=st.data(),
)
def test_nested_binds_are_always_below_their_outer_ones(
    targets: list[str], theirs: list[str], data: st.DataObject
) -> None:
    text = "".join(line + "\n" for line in theirs)
    for target in targets:
        text = edit(text, {f"u {target}": (entry("u", target),)}, Style.FSTAB)
    for target in data.draw(st.lists(st.sampled_from(targets), unique=True)) if targets else ():
        text = edit(text, {f"u {target}": ()}, Style.FSTAB)
        targets = [t for t in targets if t != target]
    found = re.findall(r"^/src (\S+) ", text, re.MULTILINE)
    assert sorted(found) == sorted(targets)
    for index, target in enumerate(found):
        assert not any(target.startswith(later + "/") for later in found[index + 1 :])
    assert [line for line in text.split("\n")[:-1] if not line.startswith("/src")] == theirs


def test_a_hand_edited_line_of_ours_is_still_ours() -> None:
    hand = f"/src\t/srv/sftp/ann/w   none\tnoauto,{OURS}ann,bind\n"
    assert edit(hand, gone(changes(Style.FSTAB)), Style.FSTAB) == ""
    assert edit(hand, changes(Style.FSTAB), Style.FSTAB) == entry("ann", "/srv/sftp/ann/w") + "\n"


def test_the_same_target_of_another_user_is_another_line() -> None:
    text = edit("", {"ann /j/w": (entry("ann", "/j/w"),)}, Style.FSTAB)
    text = edit(text, {"an /j/w": (entry("an", "/j/w"),)}, Style.FSTAB)
    assert edit(text, {"an /j/w": ()}, Style.FSTAB) == entry("ann", "/j/w") + "\n"


MARKED = (
    "/a /j/a none bind,nosuid,nodev,private,nofail,x-sftpjail.user=ann,x-sftpjail.role=home 0 0"
)


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("/a /j/a none bind,nosuid,nodev,private,nofail 0 0", True),
        ("/a /j/a none bind,nosuid,nodev,private 0 0", True),
        ("/a /j/a none bind,ro,nosuid,nodev,private 0 0", False),
        ("/a /j/b none bind,nosuid,nodev,private 0 0", False),
    ],
)
def test_only_our_fstab_line_without_its_mark_is_taken_over(line: str, taken: bool) -> None:
    changed = edit(f"{line}\n", {"ann /j/a": (MARKED,)}, Style.FSTAB)
    assert changed == (f"{MARKED}\n" if taken else f"{line}\n{MARKED}\n")


def test_a_line_beside_a_marked_one_is_never_taken_out() -> None:
    other = "/a /j/a none bind,nosuid,nodev,private 0 0"
    assert (
        edit(f"{other}\n{MARKED}\n", {"ann /j/a": (MARKED,)}, Style.FSTAB) == f"{other}\n{MARKED}\n"
    )


HALF = "a\n# BEGIN sftpjail tag\nold\ntheirs\n"


@pytest.mark.parametrize("style", [Style.BLOCK, Style.TOP])
def test_a_mark_without_its_other_half_takes_no_line_of_others(style: Style) -> None:
    text = f"#!/bin/sh\n{HALF}b\n"
    put = edit(text, {"tag": ("new",)}, style)
    assert edit(put, {"tag": ("new",)}, style) == put
    assert tagged(put, style) == {"tag": ("new",)}
    assert edit(edit(put, {"tag": ("newer",)}, style), {"tag": ()}, style) == text


@pytest.mark.parametrize("torn", ["# END sftpjail tag of others", "# END sftpjail ta", ""])
def test_a_spoiled_end_is_no_end(torn: str) -> None:
    text = f"{HALF}{torn}\ntheirs too\n"
    put = edit(text, {"tag": ("new",)}, Style.BLOCK)
    assert edit(put, {"tag": ()}, Style.BLOCK) == text


def test_a_block_that_somebody_has_copied_is_there_once_again() -> None:
    block = "# BEGIN sftpjail tag\nold\n# END sftpjail tag\n"
    text = f"a\n{block}b\n{block}c\n"
    assert tagged(text, Style.BLOCK) == {"tag": ("old", "old")}
    once = "a\n# BEGIN sftpjail tag\nold\n# END sftpjail tag\nb\nc\n"
    assert edit(text, {"tag": ("old",)}, Style.BLOCK) == once
    assert edit(text, {"tag": ()}, Style.BLOCK) == "a\nb\nc\n"


def test_two_halves_do_not_become_a_block_when_a_copy_goes() -> None:
    block = "# BEGIN sftpjail tag\nold\n# END sftpjail tag\n"
    text = f"{block}# BEGIN sftpjail tag\na\n{block}b\n# END sftpjail tag\nc\n"
    put = edit(text, {"tag": ("new",)}, Style.BLOCK)
    assert put == "# BEGIN sftpjail tag\nnew\n# END sftpjail tag\na\nb\nc\n"
    assert edit(put, {"tag": ("new",)}, Style.BLOCK) == put


def test_a_table_without_mounts_is_a_comment_and_comes_first() -> None:
    head = fstab_head("ann")
    mount = entry("ann", "/j/w")
    text = edit(f"{mount}\n", {"ann": (head,)}, Style.FSTAB)
    assert text == f"{head}\n{mount}\n"
    assert tagged(text, Style.FSTAB) == {"ann": (head,), "ann /j/w": (mount,)}
    assert edit(text, {"ann": ()}, Style.FSTAB) == f"{mount}\n"
    for comment in ("# x-sftpjail.user=", "# x-sftpjail.user=ann and more", f"# {mount}"):
        assert tagged(comment, Style.FSTAB) == {}


def test_only_the_lines_that_are_asked_for_are_read() -> None:
    asked: list[str] = []

    def meaning(lines: tuple[str, ...]) -> int:
        asked.extend(lines)
        return len(lines)

    found = Read({f"user{n}": (f"line {n}",) for n in range(1000)}, meaning)
    assert "user7" in found and "bob" not in found and found.get("bob", 3) == 3
    assert found.get("user7") == 1 and asked == ["line 7"]
    assert len(found) == 1000 and found == {f"user{n}": 1 for n in range(1000)}
