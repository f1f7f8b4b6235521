"""What sftpjail prints with --json, judged by the schemas that are installed with it.

A validator of our own, of the keywords that our schemas use: a schema with another one is refused,
not passed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

SCHEMAS = Path(__file__).parents[2] / "sftpjail/schemas"
WORDS = {"$schema", "title", "description"}  # for readers
KEYWORDS = {"$ref", "type", "properties", "required", "additionalProperties", "items"}
KEYWORDS |= {"enum", "const", "minimum", "oneOf"}
NEXT = re.compile(r"\S")
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


@cache
def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return found


def wrong(value: Any, rule: dict[str, Any], at: str = "answer") -> Iterator[str]:
    """Yield what is wrong with a value, by JSON Schema, draft 2020-12."""
    assert rule.keys() <= WORDS | KEYWORDS, f"{at}: {rule.keys() - WORDS - KEYWORDS} is not known"
    if "$ref" in rule:
        yield from wrong(value, schema(rule["$ref"]), at)
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{at}: {value!r} is not of type {' or '.join(kinds)}"
        return
    if "enum" in rule and value not in rule["enum"]:
        yield f"{at}: {value!r} is none of {rule['enum']}"
    if "const" in rule and value != rule["const"]:
        yield f"{at}: {value!r} is not {rule['const']!r}"
    if "minimum" in rule and value < rule["minimum"]:
        yield f"{at}: {value!r} is less than {rule['minimum']}"
    if "oneOf" in rule:
        each = [list(wrong(value, one, at)) for one in rule["oneOf"]]
        if each.count([]) != 1:
            yield f"{at}: {value!r} is {each.count([])} of {len(each)} kinds: {min(each, key=len)}"
    if isinstance(value, dict):
        yield from _wrong_object(value, rule, at)
    if isinstance(value, list) and "items" in rule:
        for number, item in enumerate(value):
            yield from wrong(item, rule["items"], f"{at}[{number}]")


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _wrong_object(value: dict[str, Any], rule: dict[str, Any], at: str) -> Iterator[str]:
    known = rule.get("properties", {})
    for name in rule.get("required", ()):
        if name not in value:
            yield f"{at}: {name} is missing"
    for name, item in value.items():
        if name in known:
            yield from wrong(item, known[name], f"{at}.{name}")
        elif not rule.get("additionalProperties", True):
            yield f"{at}: {name} is not in the schema"


def judge(name: str, value: Any) -> None:
    """Fail where a value is not as the schema of that name says."""
    found = list(wrong(value, schema(f"{name}.json")))
    assert not found, (name, found)


def asks_for_json(argv: Sequence[str]) -> bool:
    """Return whether a command line has sftpjail print its own JSON."""
    names = [PurePath(word).name for word in argv]
    if "sftpjail" not in names:
        return False
    words = names[names.index("sftpjail") + 1 :]
    words = words[: words.index("--")] if "--" in words else words
    other = {"--help", "-h", "--version"} & set(words)
    runs = "enter" in words and "--dry-run" not in words
    return "--json" in words and not other and not runs


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text: one, or those of `log`, and what ended it."""
    decoder, at = json.JSONDecoder(), 0
    while begin := NEXT.search(text, at):
        answer, at = decoder.raw_decode(text, begin.start())
        yield answer


def judge_output(argv: Sequence[str], code: int, out: str) -> None:
    """Fail where a command was asked for JSON, and its output is not what the schemas say."""
    if not asks_for_json(argv) or code < 0:
        return
    answers = list(_objects(out))
    assert answers, f"no JSON: {argv}"
    for answer in answers:
        kind = "log" if "kind" in answer else answer["command"].replace(" ", "-")
        judge("error" if "error" in answer else kind, answer)
