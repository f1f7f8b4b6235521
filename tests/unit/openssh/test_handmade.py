"""Match blocks by hand: where they begin and end, and that a comment is taken back byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sftpjail.openssh.handmade import (
    Option,
    blocks,
    comment_out,
    option_of,
    uncomment,
    uncomment_blocks,
)

TEXT = """\
Port 22
# Match Group no
Match Group sftponly
\tChrootDirectory=/srv/sftp/%u   # here
    ForceCommand "internal-sftp -d /x"

# about bob
match user bob,"eve"
 PermitTTY no
# BEGIN sftpjail sftpjail
Match Group ours
    ChrootDirectory %h
# END sftpjail sftpjail
"""
LINES = st.sampled_from(
    [
        "Match Group a\n",
        "Match User b\n",
        "  ChrootDirectory %h\n",
        "# x\n",
        "\n",
        "X11Forwarding no\r\n",
    ]
)
TEXTS = st.builds(
    lambda lines, last: "".join(lines) + last, st.lists(LINES), st.sampled_from(["", "Match all"])
)


def test_a_block_ends_with_its_last_setting() -> None:
    above, group, user = blocks(TEXT, "/f")
    assert above.criteria is None and above.options == (Option(1, "Port", "22"),)
    assert (group.number, len(group.lines), group.criteria) == (3, 3, (("group", "sftponly"),))
    assert group.option("chrootdirectory") == Option(4, "ChrootDirectory", "/srv/sftp/%u")
    assert group.option("forcecommand") == Option(5, "ForceCommand", '"internal-sftp -d /x"')
    assert (str(user), user.heading) == ("/f:8", 'match user bob,"eve"')
    assert user.criteria == (("user", "bob,eve"),)


def test_a_block_of_ours_is_none_by_hand() -> None:
    assert all("ours" not in line for block in blocks(TEXT, "/f") for line in block.lines)


def test_only_the_lines_of_a_block_become_comments() -> None:
    group = blocks(TEXT, "/f")[1]
    changed = comment_out(TEXT, group.lines, "today")
    assert "#sftpjail-import: today\n#sftpjail-import# Match Group sftponly\n" in changed
    assert "\n# about bob\nmatch user" in changed and option_of("#sftpjail-import# X y") is None
    assert [str(block) for block in blocks(changed, "/f")] == ["/f:1", "/f:9"]
    assert comment_out(changed, group.lines, "again") == changed


def test_one_block_of_two_comes_back() -> None:
    _, group, user = blocks(TEXT, "/f")
    one = comment_out(TEXT, group.lines, "first")
    both = comment_out(one, user.lines, "second")
    assert uncomment(both, user.lines, "second") == one
    assert uncomment(both, user.lines, "third") == both


def test_a_last_line_that_was_completed_since_comes_back() -> None:
    text = "Match User bob\n    X11Forwarding no"
    block = blocks(text, "/f")[-1]
    changed = comment_out(text, block.lines, "n")
    assert uncomment(changed, block.lines, "n") == text
    assert uncomment(f"{changed}\n# more\n", block.lines, "n") == f"{text}\n# more\n"


def test_a_block_is_not_the_beginning_of_a_longer_one() -> None:
    text = "Port 22\nMatch User bob\n  PermitTTY no\nMatch User bob\n"
    _, longer, short = blocks(text, "/f")
    alone = comment_out(text, short.lines, "n")
    assert alone.startswith(text.removesuffix("Match User bob\n"))
    assert uncomment(alone, short.lines, "n") == text
    both = comment_out(comment_out(text, longer.lines, "n"), short.lines, "n")
    assert uncomment(uncomment(both, short.lines, "n"), longer.lines, "n") == text


def test_a_comment_in_a_block_does_not_end_it() -> None:
    text = "Match User bob\n\nMatch User bob\n# why\n  PermitTTY no\n"
    _, short, longer = blocks(text, "/f")
    alone = comment_out(text, short.lines, "n")
    assert alone.endswith("\n" + "".join(longer.lines))
    assert uncomment(alone, short.lines, "n") == text


@given(TEXTS, st.data())
def test_what_was_commented_out_comes_back(text: str, data: st.DataObject) -> None:
    found = data.draw(st.lists(st.sampled_from(blocks(text, "/f")[1:] or blocks(text, "/f"))))
    changed = text
    for block in found:
        changed = comment_out(changed, block.lines, "note")
    assert uncomment_blocks(changed) == text == uncomment_blocks(text)
    for block in found:
        changed = uncomment(changed, block.lines, "note")
    assert changed == text
