"""A strict reader of Prometheus' text format, 0.0.4: what `promtool check metrics` refuses, it refuses too."""

from __future__ import annotations

import re

Labels = tuple[tuple[str, str], ...]
Found = dict[str, tuple[str, str, dict[Labels, int]]]

_HELP = re.compile(r"# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) ((?:[^\\\n]|\\\\|\\n)*)").fullmatch
_TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (gauge|counter)").fullmatch
_PAIR = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_SAMPLE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({_PAIR}(?:,{_PAIR})*)\}})? (\d+)"
).fullmatch
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def _plain(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda match: _ESCAPES[match[0]], text)


def read(text: bytes) -> Found:
    """Return type, help and samples of each family; an AssertionError names the line that is wrong."""
    found: Found = {}
    name = told = ""
    lines = text.decode("utf-8").split("\n")
    assert lines.pop() == "", "the last line has no end"
    for line in lines:
        head, kind, sample = _HELP(line), _TYPE(line), _SAMPLE(line)
        if head:
            assert head[1] not in found, f"twice: {line}"
            name, told = head[1], _plain(head[2])
        elif kind:
            assert kind[1] == name and name not in found, f"not behind its help: {line}"
            assert (kind[2] == "counter") == name.endswith("_total"), line
            found[name] = kind[2], told, {}
        else:
            assert sample and sample[1] == name and name in found, f"not understood: {line}"
            pairs = re.findall(_PAIR, sample[2] or "")
            labels = tuple((p.partition("=")[0], _plain(p.partition("=")[2][1:-1])) for p in pairs)
            assert labels not in found[name][2], f"twice: {line}"
            found[name][2][labels] = int(sample[3])
    assert all(samples for _, _, samples in found.values()), "a metric without a sample"
    return found
