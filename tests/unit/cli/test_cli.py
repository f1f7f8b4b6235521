"""The command line itself: what is said of a wrong one, and how a stopped run ends."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
from collections.abc import Sequence

import pytest
from fakesshd import sshd
from played import Run, run, stage

from sftpjail.cli import check
from sftpjail.cli.main import COMMANDS, build_parser, main, parse

__all__ = ["run", "sshd", "stage"]


@pytest.mark.parametrize(
    ("words", "command", "error", "remedy"),
    [
        (("nosuchcmd",), "nosuchcmd", "invalid choice: 'nosuchcmd'", "advice: see sftpjail --help"),
        (("lst",), "lst", "; did you mean list?", "advice: see sftpjail --help"),
        (
            ("mount", "--readonly", "ann", "/a", "/b"),
            "mount",
            "mount does not know --readonly; did you mean --read-only?",
            "advice: see sftpjail mount --help",
        ),
        (
            ("key", "migrte", "ann"),
            "key",
            "; did you mean migrate?",
            "advice: see sftpjail key --help",
        ),
        ((), "", "arguments are required: COMMAND", "advice: see sftpjail --help"),
        (("add",), "add", "arguments are required: USER", "advice: see sftpjail add --help"),
        (
            ("add", "eve", "--uid", "7"),
            "add",
            "add does not know --uid 7",
            "advice: options for useradd go after --",
        ),
        (
            ("key", "add", "ann"),
            "key",
            "arguments are required: FILE",
            "advice: see sftpjail key add --help",
        ),
        (
            ("key", "add", "ann", "f", "--all"),
            "key",
            "key does not know --all",
            "advice: see sftpjail key --help",
        ),
        (("list", "ann"), "list", "list does not know ann", "advice: see sftpjail list --help"),
        (
            ("list", "--", "--ann"),
            "list",
            "list does not know --ann",
            "advice: see sftpjail list --help",
        ),
        (
            ("show", "ann", "--", "--json"),
            "show",
            "show does not know --json",
            "advice: options go before --",
        ),
        (
            ("test",),
            "test",
            "give the users to test, or --all",
            "choice: to test every jail: sftpjail test --all",
        ),
    ],
)
def test_a_wrong_command_line(
    run: Run, words: Sequence[str], command: str, error: str, remedy: str
) -> None:
    assert run(*words) == (2, "")
    said = run.err
    assert said.startswith("sftpjail: ") and said.endswith(f"\n  {remedy}\n"), said
    assert error in said
    code, out = run("--json", *words)
    told = json.loads(out)
    assert code == 2 and run.err == said and error in told["error"].pop("what")
    kind, _, words = remedy.partition(": ")
    label, _, line = words.partition(": ")
    assert told == {
        "command": command,
        "error": {
            "about": "",
            "concerns": [],
            "severity": "broken",
            "why": "",
            "fix": "",
            "choices": [{"label": label, "command": line}] if kind == "choice" else [],
            "advice": words if kind == "advice" else "",
        },
    }


def test_what_stands_behind_two_dashes_is_no_option_of_ours(run: Run) -> None:
    assert run("list", "--", "--json") == (2, "")


@pytest.mark.parametrize(
    "words",
    [
        ("show", "--", "ann"),
        ("remove", "--delete-account", "--", "ann"),
        ("--config", "add", "key", "list", "--", "ann"),
        ("key", "list", "--json", "--", "ann"),
    ],
)
def test_arguments_may_stand_behind_two_dashes(words: Sequence[str]) -> None:
    given = parse(words)
    assert given.user == "ann" and given.options == []


@pytest.mark.parametrize("module", COMMANDS)
def test_each_module_has_the_commands_that_are_looked_for_in_it(module: str) -> None:
    for command in COMMANDS[module]:
        (commands,) = [
            action.choices
            for action in build_parser(command)._actions
            if isinstance(action, argparse._SubParsersAction)
        ]
        assert tuple(commands) == COMMANDS[module]


def test_a_configuration_that_is_called_like_a_command() -> None:
    for option in ("--config", "--conf"):
        arguments = parse([option, "check", "list"])
        assert (arguments.command, arguments.config) == ("list", "check")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run(run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    monkeypatch.setattr(check, "judge", lambda *_: signal.raise_signal(number))
    said = f"stopped by {number.name}; nothing was changed"
    assert run("check") == (130, "") and run.err == f"sftpjail: {said}\n"
    code, out = run("check", "--json")
    assert code == 130 and json.loads(out)["error"]["what"] == said


def test_a_bug_in_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "judge", lambda *_: 1 / 0)
    code, out = run("--json", "check")
    error = json.loads(out)["error"]
    assert code == 1 and error["what"] == "a bug: ZeroDivisionError: division by zero"
    assert error["advice"] == "run it again with --debug, and report it"
    with pytest.raises(ZeroDivisionError):
        run("--debug", "check")


def test_what_is_not_installed_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so, which the package's scripts hand on."""

    def judge(*_: object) -> None:
        importlib.import_module("sftpjail.no_such_module")

    monkeypatch.setattr(check, "judge", judge)
    said = "sftpjail: No module named 'sftpjail.no_such_module'\n"
    assert run("check") == (1, "") and run.err == said


def test_nobody_reads_any_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    silenced: list[bool] = []
    monkeypatch.setattr(check, "judge", gone)
    monkeypatch.setattr("sftpjail.system.streams.silence", lambda _: silenced.append(True))
    assert run("check") == (1, "") and run.err == "" and silenced == [True]


def test_nobody_hears_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)  # as Python has it where the caller has closed that
    assert main(["--version"]) == 0
