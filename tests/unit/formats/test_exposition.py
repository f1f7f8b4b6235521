"""The text that Prometheus reads: what is written is read back by a strict reader, whatever a label holds."""

from __future__ import annotations

import pytest
from exposition import read
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.formats.exposition import Family, Sample, render

TEXT = st.text(
    st.characters(blacklist_categories=["Cs"]) | st.sampled_from('"\\\n{},= '), max_size=20
)


def test_a_family_in_full() -> None:
    labels = ("user", 'q"x\\y\nz'), ("direction", "upload")
    family = Family("sftpjail_bytes_total", "counter", 'up\\or\ndown, "so"', [Sample(7, labels)])
    assert render([family]).decode() == (
        '# HELP sftpjail_bytes_total up\\\\or\\ndown, "so"\n'
        "# TYPE sftpjail_bytes_total counter\n"
        'sftpjail_bytes_total{user="q\\"x\\\\y\\nz",direction="upload"} 7\n'
    )


@given(TEXT, st.lists(TEXT, unique=True, max_size=5))
def test_whatever_a_label_holds_is_read_back(told: str, values: list[str]) -> None:
    samples = [Sample(number, (("user", value),)) for number, value in enumerate(values)]
    found = read(render([Family("sftpjail_x", "gauge", told, samples)]))
    if not values:
        assert found == {}, "a metric without a sample is none"
        return
    kind, help_, said = found["sftpjail_x"]
    assert (kind, help_) == ("gauge", told)
    assert said == {(("user", value),): number for number, value in enumerate(values)}


def test_what_is_no_utf8_does_not_cost_the_whole_file() -> None:
    text = render([Family("a", "gauge", "h", [Sample(1, (("user", "\udcff"),))])])
    assert text.decode() == '# HELP a h\n# TYPE a gauge\na{user="\ufffd"} 1\n'


@pytest.mark.parametrize(
    "families",
    [
        [Family("a b", "gauge", "h", [Sample(1)])],
        [Family("a", "gauge", "h", [Sample(1)])] * 2,
        [Family("a", "gauge", "h", [Sample(1, (("__x", ""),))])],
        [Family("a", "gauge", "h", [Sample(1, (("x", ""), ("x", "")))])],
    ],
)
def test_a_wrong_name_is_a_bug_and_no_output(families: list[Family]) -> None:
    with pytest.raises(ValueError, match="not valid|not a valid"):
        render(families)


@pytest.mark.parametrize(
    "text",
    [
        b"a 1\n",
        b"# HELP a h\n# TYPE a gauge\na 1",
        b"# HELP a h\n# TYPE a gauge\na{x=1} 1\n",
        b'# HELP a h\n# TYPE a gauge\na{x="\\q"} 1\n',
        b"# HELP a h\n# TYPE a gauge\na 1\na 2\n",
        b"# HELP a h\n# TYPE a counter\na 1\n",
        b"# HELP a h\n# TYPE a_total gauge\na 1\n",
    ],
)
def test_the_reader_is_strict(text: bytes) -> None:
    with pytest.raises(AssertionError):
        read(text)
