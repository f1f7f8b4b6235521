#!/usr/bin/python3
"""What a play with the collection costs for each of many hosts, beside one host alone.

usage: python3 tests/bench/fleet.py [HOSTS [ACCOUNTS [FORKS]]], as root, in the root that has Ansible:

    tests/sandbox --root trixie-ansible --with trixie -- python3 /src/tests/bench/fleet.py 100

Each host is an overlay of a root with an sshd of its own, on one bridge. A play makes the host ready and
20 accounts with a key each; then the same play finds nothing to do. It is run on one host alone and
on all of the others at once, 50 at a time. Hosts and control node share the processors here, so
what the control node itself uses (Ansible, its workers and ssh clients) is told apart: its time of
the processor for each host says what 1,000 hosts cost that have processors of their own.

On 2026-11-30, with 50 hosts, on 2 processors with a load of 10 by others when it began, so that
times on the clock are several times those of an idle machine: one host alone 24.0 s, 50 at once
134.8 s, which is 2.7 s a host; with nothing to do 10.9 s, and 55.4 s or 1.1 s a host. The control
node used 0.13 and 0.10 s of a processor a host, and all of it about 57 MB a host. So 1,000 hosts
cost the control node about 130 s of one processor, and with 50 at a time the play lasts at most 20
times what one host alone takes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "tests/support"))

from fleet import Fleet, fleet  # noqa: E402

ROOT = "/roots/trixie"
MODULES = "sftpjail.sftpjail"


def available() -> int:
    """Return the machine's free memory, in MB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise AssertionError


class Least(threading.Thread):
    """Watches the free memory while something runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.before = self.least = available()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            self.least = min(self.least, available())


def spent() -> float:
    """Return the seconds of a processor that ended children and theirs have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(title: str, made: Fleet, accounts: int, forks: int, limit: str, number: int) -> None:
    """Run the play on some hosts, and print what each of them cost."""
    entries = [{"name": f"user{n:02}", "keys": [made.public_key]} for n in range(accounts)]
    tasks = [
        {f"{MODULES}.host": {"config": {"logs": {"backend": "none"}}}},
        {f"{MODULES}.accounts": {"accounts": entries}},
    ]
    memory = Least()
    memory.start()
    began, before = time.monotonic(), spent()
    done = made.play(tasks, "--forks", str(forks), "--limit", limit)
    wall, control = time.monotonic() - began, spent() - before
    memory.ended.set()
    if done.code:
        raise SystemExit(done.out)
    print(
        f"{title}: {wall:.1f} s, {wall / number:.2f} s a host; control node {control:.1f} s of a"
        f" processor, {control / number:.2f} a host; {memory.before - memory.least} MB at most",
        flush=True,
    )


def main() -> None:
    """Measure one host, then the others at once, and the same again with nothing to do."""
    given = [int(word) for word in sys.argv[1:]]
    hosts, accounts, forks = (*given, *(100, 20, 50)[len(given) :])
    with tempfile.TemporaryDirectory() as directory:
        layer = Path(directory, "layer")
        options = [f"DESTDIR={layer}", "prefix=/usr", "bytecode=yes"]
        subprocess.run(
            ["make", "-C", PROJECT, "install", *options], check=True, stdout=subprocess.DEVNULL
        )
        free = available()
        with fleet(Path(directory), layer, [ROOT] * (hosts + 1)) as made:
            used = (free - available()) / (hosts + 1)
            print(
                f"{os.cpu_count()} processors, {free} MB free; {hosts + 1} hosts of {used:.1f} MB"
            )
            for title in ("new", "nothing to do"):
                measure(f"1 host, {title}", made, accounts, forks, "host1", 1)
                measure(f"{hosts} hosts, {title}", made, accounts, forks, "all:!host1", hosts)


if __name__ == "__main__":
    main()
