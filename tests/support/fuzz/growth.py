"""How the work for an input grows with it: steps of ours are counted, those within `re` by the processor's time.

No test asserts seconds: of an input and one that is four times as long, only the ratio counts.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from generator import LONGEST
from target import Target

TIMES = 4
ALLOWED = 9  # a linear parser makes 4 of it, a quadratic one 16
LITTLE = 0.03  # seconds of the processor below which nobody waits


def blown_up(target: Target, chance: random.Random, count: int) -> Iterator[bytes]:
    """Yield inputs of the greatest length: each a seed, or a part of one, in which something comes again and again."""
    fillers = [
        *target.words,
        " ",
        "\n",
        "\t",
        "a",
        "0",
        "\\",
        '"',
        ",",
        "(",
        "[",
        "# ",
        "\n ",
        "=\n",
        "{",
        ":",
    ]
    for _ in range(count):
        seed, filler = chance.choice(target.seeds), chance.choice([*fillers, *target.seeds]) or " "
        at = chance.choice((0, len(seed), chance.randint(0, len(seed))))
        yield _filled(seed, filler, at, LONGEST)


def _filled(seed: str, filler: str, at: int, length: int) -> bytes:
    text = seed[:at] + filler * (length // len(filler)) + seed[at:]
    return text.encode("utf-8", "surrogateescape")[:length]


def steps(run: Callable[[bytes], None], data: bytes) -> int:
    """Return how many lines of ours run for an input."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if "/sftpjail/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        run(data)
    finally:
        sys.settrace(before)
    return count


def _time(run: Callable[[bytes], None], data: bytes, rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        began = time.thread_time()
        run(data)
        spent.append(time.thread_time() - began)
    return min(spent)


def out_of_proportion(run: Callable[[bytes], None], data: bytes) -> str:
    """Return what grows more than an input does, or "". DATA is a long one; a quarter of it is the short one."""
    short = data[: len(data) // TIMES]
    ours = steps(run, data) / max(1000, steps(run, short))
    if ours > ALLOWED:
        return f"{ours:.1f} times the steps for {TIMES} times {data[:60]!r}…"
    if _time(run, data, 1) < LITTLE:
        return ""
    ratio = _time(run, data, 3) / max(_time(run, short, 3), 1e-9)
    return f"{ratio:.1f} times the time for {TIMES} times {data[:60]!r}…" if ratio > ALLOWED else ""
