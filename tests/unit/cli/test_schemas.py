"""The schemas of what --json prints: one for each command, and every answer that a test sees is judged by them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import pytest
from answers import SCHEMAS, asks_for_json, judge, judge_output, schema, wrong
from fakesshd import sshd
from played import Run, Stage, run, stage

from sftpjail.cli.main import build_parser
from sftpjail.model import Problem

__all__ = ["run", "sshd", "stage"]

# Beside those of the commands: what these refer to, and what is no command's answer.
SHARED = {"problem", "action", "jail", "error", "event", "transaction"}
NAMES = sorted(path.stem for path in SCHEMAS.iterdir())


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """Every command that can be run, as key-add; --json goes with each."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield name
    for action in below:
        for word, child in action.choices.items():
            yield from commands(child, f"{name}-{word}".lstrip("-"))


def parts(rule: Any) -> Iterator[dict[str, Any]]:
    """Every schema within a schema."""
    if isinstance(rule, dict) and not {"type", "$ref", "oneOf", "enum", "const"}.isdisjoint(rule):
        yield rule
    for value in (
        rule.values() if isinstance(rule, dict) else rule if isinstance(rule, list) else ()
    ):
        yield from parts(value)


def test_each_command_has_a_schema_and_each_schema_a_command() -> None:
    assert set(commands(build_parser())) == set(NAMES) - SHARED
    assert set(NAMES) >= SHARED


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_closed_and_says_what_each_part_is(name: str) -> None:
    rule = schema(f"{name}.json")
    assert rule["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert rule["title"] and rule["description"].endswith(".")
    for part in parts(rule):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False and set(part["required"]) <= set(
                part["properties"]
            )
            for word, value in part["properties"].items():
                assert value.get("description", "$ref" in value), f"{word} is not described"
        if "$ref" in part:
            assert part["$ref"].removesuffix(".json") in SHARED


def test_every_shared_schema_is_used_or_stands_alone() -> None:
    used = {
        part["$ref"] for name in NAMES for part in parts(schema(f"{name}.json")) if "$ref" in part
    }
    assert used == {"problem.json", "action.json", "jail.json", "transaction.json"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"command": "list"}, "jails is missing"),
        ({"command": "list", "jails": [], "more": 1}, "more is not in the schema"),
        ({"command": "show", "jails": []}, "'show' is not 'list'"),
        ({"command": "list", "jails": {}}, "is not of type array"),
        ({"command": "list", "jails": [{"uid": -1}]}, "answer.jails[0]: user is missing"),
        ({"command": "list", "jails": [{"uid": -1}]}, "-1 is less than 0"),
        ({"command": "list", "jails": [{"uid": True}]}, "True is not of type integer"),
        ({"command": "list", "jails": [{"state": "good"}]}, "'good' is none of"),
        ({"command": "list", "jails": [{"closed": 1}]}, "1 is not of type string or null"),
    ],
)
def test_an_answer_that_is_not_as_the_schema_says(value: object, says: str) -> None:
    found = list(wrong(value, schema("list.json")))
    assert any(says in line for line in found), found


def test_one_of_several_kinds_and_no_keyword_that_is_not_known() -> None:
    judge("event", {"event": "setup"})
    with pytest.raises(AssertionError, match="0 of 6 kinds"):
        judge("event", {"event": "nonsense"})
    with pytest.raises(AssertionError, match="'pattern'} is not known"):
        list(wrong("x", {"type": "string", "pattern": "y"}))


def test_what_is_judged() -> None:
    assert asks_for_json(["env", "/usr/bin/sftpjail", "list", "--json"])
    assert not asks_for_json(["sftpjail", "list"])
    assert not asks_for_json(["sftpjail", "--json", "enter", "ann", "--", "ls"])
    assert not asks_for_json(["sftpjail", "enter", "ann", "--", "x", "--json"])
    assert not asks_for_json(["findmnt", "--json"])
    for bad in ("", '{"command": "list"}', '{"command": "show", "jails": []}'):
        with pytest.raises(AssertionError):
            judge_output(["sftpjail", "list", "--json"], 0, bad)
    judge_output(["sftpjail", "list", "--json"], 0, '{"command": "list", "jails": []}\n')
    error = {"command": "list", "error": Problem("x", "").describe()}
    judge_output(["sftpjail", "list", "--json"], 1, json.dumps(error, indent=1))


@pytest.mark.parametrize(
    "words",
    [
        "setup",
        "apply",
        "apply --prune",
        "--dry-run setup",
        "--dry-run apply",
        "--dry-run teardown --close-accounts",
        "teardown",
        "--dry-run teardown --keep-jails",
        "plugins",
        "check",
        "check --fix",
        "--dry-run check --fix",
        "check nobody-there",
        "explain ann",
        "explain bob",
        "export",
        "export ann --format csv",
        "--dry-run add eve",
        "--dry-run adopt bob",
        "--dry-run remove ann",
        "--dry-run remove --delete-account ann",
        "list",
        "show ann",
        "show bob",
        "key list ann",
        "--dry-run key remove ann ann",
        "--dry-run key migrate ann",
        "--dry-run umount ann /web",
        "--dry-run enter ann",
        "mount ann /srv/none /web",
        "hook userdel-pre bob",
        "hook useradd-post bob",
    ],
)
def test_a_command_answers_as_its_schema_says(run: Run, stage: Stage, words: str) -> None:
    """`run` itself judges it."""
    stage.tree.directory("/srv/sftp/ann")
    code, out = run("--json", *words.split())
    answer = json.loads(out)
    given = [word for word in words.split() if not word.startswith("--")]
    assert answer["command"] in (given[0], " ".join(given[:2]))
    assert ("error" in answer) == (code in (1, 2) and "problems" not in answer), answer
