"""The text format in which Prometheus reads metrics, version 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*").fullmatch
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*").fullmatch


class Sample(NamedTuple):
    """A value, and the labels that tell it from others of its family; each label stands once."""

    value: int
    labels: tuple[tuple[str, str], ...] = ()


class Family(NamedTuple):
    """All samples of one name.

    Args:
        name: as sftpjail_jails; that of a counter ends in _total.
        kind: gauge or counter.
        help: one sentence or more.
        samples: no two with the same labels.
    """

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def render(families: Iterable[Family]) -> bytes:
    """Return the text of some families; one without samples is left out.

    A label may have any value: the format has escapes for its own signs, and what is no UTF-8
    becomes U+FFFD, since Prometheus would refuse the whole file for it.

    Raises:
        ValueError: a name is none, or stands twice.
    """
    lines = list[str]()
    seen = set[str]()
    for family in families:
        if not family.samples:
            continue
        if family.name in seen or not _NAME(family.name):
            raise ValueError(f"{family.name} is not a valid metric name, or occurs twice")
        seen.add(family.name)
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{_labels(one.labels)} {one.value}" for one in family.samples]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    if not labels:
        return ""
    names = [name for name, _ in labels]
    if len(set(names)) < len(names) or not all(map(_LABEL, names)):
        raise ValueError(f"{names} are not valid label names, or one occurs twice")
    pairs = (f'{name}="{_escaped(value, True)}"' for name, value in labels)
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, quoted: bool = False) -> str:
    """Return a text with the escapes of the format; a quote has one only within quotes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    if quoted:
        return text.replace('"', '\\"')
    return text
