"""How an sshd that listens was called, as its title tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.system import listeners
from sftpjail.system.listeners import told


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("-D", [("D", "")]),
        ("-De -p 2222 -oPort=22", [("D", ""), ("e", ""), ("p", "2222"), ("o", "Port=22")]),
        ("-f /etc/ssh/other -4", [("f", "/etc/ssh/other"), ("4", "")]),
        ("-o AllowUsers root  bob -D", [("o", "AllowUsers root  bob"), ("D", "")]),
        ("-Df/etc/ssh/with blank -p 1", [("D", ""), ("f", "/etc/ssh/with blank"), ("p", "1")]),
        ("-o -p", [("o", "-p")]),
        ("", []),
    ],
)
def test_a_title_tells_the_options(words: str, options: list[tuple[str, str]]) -> None:
    assert told(words.split(" ") if words else []) == tuple(options)


@pytest.mark.parametrize("words", ["stray", "-D stray", "-f", "-D -o", "-Dx -4"])
def test_what_sshd_would_refuse_is_not_told(words: str) -> None:
    assert told(words.split(" ")) is None


TITLE = "/opt/{0} -D [listener] 0 of 10-100 startups"


@pytest.mark.parametrize(
    ("name", "line", "is_one"),
    [
        ("sshd", "/opt/sshd\0-D\0", True),
        ("sshd", f"sshd: {TITLE.format('sshd')}\0", True),
        ("sshd-files", f"sshd-files: {TITLE.format('sshd-files')}\0", True),
        ("sshd-session", "sshd-session: ann@notty\0", False),
        ("sshd_exporter", "/opt/sshd_exporter\0-D\0", False),
    ],
)
def test_what_listens_by_another_name_has_the_title(
    monkeypatch: pytest.MonkeyPatch, name: str, line: str, is_one: bool
) -> None:
    """Else `-t` would run a stranger's program, and SIGHUP end it."""
    monkeypatch.setattr(listeners, "_text", lambda *_: line)
    monkeypatch.setattr(listeners, "_places", lambda _: [("::", 22)])
    for what, said in (("unit_of", ""), ("began", 0.0), ("_apart", ())):
        monkeypatch.setattr(listeners, what, lambda *_, said=said: said)
    found = listeners._listener(7, f"/opt/{name}")
    assert (found is not None) == is_one
    assert found is None or found.options == (("D", ""),)


VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0 "), min_size=1)
# A word that looks like an option would be taken for one, within a value.
PLAIN = VALUES.filter(lambda word: not word.startswith("-"))


@given(st.lists(st.tuples(st.sampled_from("fopC"), st.lists(PLAIN, min_size=1, max_size=3))))
def test_values_with_blanks_are_put_together(given: list[tuple[str, list[str]]]) -> None:
    words = [word for name, value in given for word in (f"-{name}", *value)]
    assert told(words) == tuple((name, " ".join(value)) for name, value in given)
