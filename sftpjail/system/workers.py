"""Run functions in child processes, a few at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from typing import BinaryIO

from .programs import decode
from .signals import heard_in_child, postponed


def in_processes(jobs: Sequence[Callable[[], str]], width: int) -> Generator[str, None, None]:
    """Run functions in child processes, a few at a time, and yield their results in order.

    If the generator is ended early, by a signal or otherwise, it sends SIGTERM to the children and
    waits until they have ended.

    Args:
        jobs: each returns a text; if it raises, "" is yielded.
        width: how many run at a time.
    """
    running = dict[int, tuple[int, BinaryIO]]()
    results = dict[int, str]()
    waiting = list(enumerate(jobs))[::-1]
    try:
        for number in range(len(jobs)):
            while number not in results:
                while waiting and len(running) < width:
                    index, job = waiting.pop()
                    out: BinaryIO = open(os.memfd_create("answer"), "w+b")  # noqa: SIM115
                    with postponed():
                        running[_child(job, out)] = (index, out)
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
                with postponed():
                    assert ended is not None
                    os.waitpid(ended.si_pid, 0)
                    index, out = running.pop(ended.si_pid)
                    with out:
                        out.seek(0)
                        results[index] = decode(out.read())
            yield results.pop(number)
    finally:
        with postponed():
            for pid in running:
                os.kill(pid, signal.SIGTERM)
            for pid, (_, out) in running.items():
                os.waitpid(pid, 0)
                out.close()


def _child(job: Callable[[], str], out: BinaryIO) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        heard_in_child()
        out.write(job().encode("utf-8", "surrogateescape"))
        out.flush()
    finally:
        os._exit(0)
