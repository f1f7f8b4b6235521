"""metrics: figures of the host and its jails, for Prometheus."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from .. import __version__
from ..config import PATH, is_for_node_exporter
from ..errors import UsageError, unreadable
from ..formats.exposition import Family, Sample, render
from ..reports.metrics import Collector, counted, keep
from ..system.metrics import one_at_a_time, publish
from .context import Command, Context

_VERSION = Family(
    "sftpjail_build_info", "gauge", "The version.", [Sample(1, (("version", __version__),))]
)


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("metrics", "print figures of the host and its jails for Prometheus")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--output", metavar="FILE", help="write this file, for node_exporter; it must end in .prom"
    )
    where.add_argument(
        "--write", action="store_true", help="write the file that the configuration names"
    )
    parser.add_argument(
        "--no-accounts", action="store_true", help="sums alone, and no series of each account"
    )
    parser.add_argument("--no-check", action="store_true", help="do not look for problems")
    parser.set_defaults(run=metrics)


def metrics(context: Context) -> int:
    """Tell the metrics, and count what has come to the logs."""
    given = context.arguments
    path = _output(given.output)
    with context.engine(reading=True, tolerant=True) as engine, one_at_a_time():
        wanted = engine.config.metrics
        if given.write and not wanted.file:
            raise UsageError("the configuration has no file in [metrics]", advice="give --output")
        if given.write:
            path = wanted.file
        wanted = replace(
            wanted,
            accounts=wanted.accounts and not given.no_accounts,
            check=wanted.check and not given.no_check,
        )
        found = Collector(engine, wanted, counted(engine)).collect()
        families = [_VERSION, *found.families]
        text = render(families)
        problems = found.problems
        if not context.dry_run:
            # With another configuration there are other jails, and maybe another log.
            if given.config == PATH:
                problems = [*problems, *keep(found, wanted.file if given.write else "")]
            if path:
                publish(path, text)
    if not path and not context.json:
        sys.stdout.write(text.decode("utf-8"))
        sys.stdout.flush()
    context.answers |= {"file": path or None, "metrics": list(map(_facts, families))}
    context.answer_problems(problems)
    return context.close(0)


def _output(path: str | None) -> str:
    """Return the absolute path of --output, or "". Raises UsageError."""
    if path is None:
        return ""
    if not is_for_node_exporter(path):
        raise UsageError(
            f"--output {path!r} does not end in .prom: node_exporter reads no other file",
            advice="for another file, redirect standard output",
        )
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise unreadable("the working directory", error) from error


def _facts(family: Family) -> dict[str, Any]:
    return {
        "name": family.name,
        "type": family.kind,
        "help": family.help,
        "samples": [
            {
                "labels": [{"name": name, "value": value} for name, value in sample.labels],
                "value": sample.value,
            }
            for sample in family.samples
        ],
    }
