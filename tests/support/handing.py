"""Hand events out on a machine, without a watcher: what became of each."""

from __future__ import annotations

import json

from machine import Machine

DRIVER = """
import json, sys
from sftpjail.config import load
from sftpjail.watch.event import TransferEvent
from sftpjail.watch.handout import Worker, deliver
config = load()
worker = Worker(1, config.events.user, config.events.timeout)
try:
    for line in sys.stdin:
        outcome = deliver(TransferEvent(**json.loads(line)), config, worker)
        print(json.dumps([outcome.result.value, outcome.why]), flush=True)
finally:
    worker.end()
"""


def deliver(machine: Machine, *events: dict[str, object]) -> list[tuple[str, str]]:
    """Hand events out; what became of each, and why."""
    whole = ({"id": f"1-{n}", "at": 5, "user": "amy", **event} for n, event in enumerate(events))
    lines = "".join(json.dumps(event) + "\n" for event in whole)
    done = machine.run("python3", "-c", DRIVER, input=lines, env={"PYTHONPATH": "/src"})
    assert done.err == "", done
    return [tuple(json.loads(line)) for line in done.out.splitlines()]
