#!/usr/bin/python3
"""Whether `sftpjail watch` keeps up: lines a second read, matched and queued, and its memory. Run it in a sandbox.

tests/sandbox --root trixie -- python3 /src/tests/bench/events.py [LINES]...

Twenty accounts upload, in sessions of fifty files each. The log is written beforehand, so that the
watcher has it all to read; by default 100,000 lines and then 1,000,000. No script wants the events
of these; then 2,000 uploads go to one that takes 5 milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SRC))

CONF = Path("/etc/sftpjail/sftpjail.conf")
LOG = Path("/var/log/sftp.log")
SETTINGS = "[events]\nuser = hooks\nworkers = 4\nqueue = 10000000\n[logs]\nbackend = rsyslog\n"
SLEEPS = "#!/bin/sh\nexec sleep 0.005\n"
FILES = 50


def session(user: str, uid: int, pid: int) -> Iterator[str]:
    """Yield the lines of one session."""
    head = f" host uid={uid} internal-sftp[{pid}]: "
    yield head + f"session opened for local user {user} from [192.0.2.7]"
    for number in range(FILES):
        path = f"/home/{user}/incoming/scan {number:04}.pdf"
        yield head + f'open "{path}" flags WRITE,CREATE,TRUNCATE mode 0644'
        yield head + "sent status Success"
        yield head + f'close "{path}" bytes read 0 written 123456'
    yield head + f"session closed for local user {user} from [192.0.2.7]"


def write(count: int) -> None:
    """Append that many lines to the log: of twenty sessions at a time, a line of each in turn."""
    now, written, pid = time.time(), 0, 1000
    uids = {f"u{n}": int(_run("id", "-u", f"u{n}")) for n in range(20)}
    with open(LOG, "a", encoding="ascii") as log:
        while written < count:
            running = []
            for user, uid in uids.items():
                pid += 1
                running.append(session(user, uid, pid % 4_000_000))
            for together in zip(*running, strict=True):
                for line in together:
                    at = now - 86400 + written * 0.0005
                    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
                    log.write(f"{stamp}.{int(at % 1 * 1e6):06}+00:00{line}\n")
                    written += 1


def watch() -> None:
    """Read all of the log in this process, until all is done, and print what it took as JSON."""
    from sftpjail import config as configuration
    from sftpjail.watch.handout import Worker, deliver
    from sftpjail.watch.watcher import Watcher

    config = configuration.load(str(CONF))
    workers = [
        Worker(n, config.events.user, config.events.timeout) for n in range(config.events.workers)
    ]
    size, read_at = LOG.stat().st_size, 0.0
    began, used = time.monotonic(), sum(os.times()[:2])

    def over() -> bool:
        nonlocal read_at
        place = watcher._following.place
        read = place is not None and place.offset >= size
        read_at = read_at or read * time.monotonic()
        return read and not watcher.dispatcher.waiting

    watcher = Watcher(
        config, lambda event, worker: deliver(event, config, worker), workers, print, over
    )
    try:
        watcher.run()
    finally:
        watcher.end()
    answer = {
        "read": read_at - began,
        "done": time.monotonic() - began,
        "processor": sum(os.times()[:2]) - used,
        "memory": _memory("VmRSS"),
        "most": _memory("VmHWM"),
        "lines": watcher._reader.lines,
    }
    print(json.dumps(answer))


def _memory(field: str) -> int:
    """Return what the kernel says of this process, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(count: int, what: str) -> None:
    """Have that many lines read by a process of its own, and print a line of the table."""
    write(count)
    said = _run(sys.executable, __file__, "--watch").splitlines()
    answer = json.loads(said[-1])
    lines = answer["lines"]
    print(
        f"| {what} | {lines} | {answer['read']:.1f} | {lines / answer['read']:.0f}"
        f" | {answer['done']:.1f} | {answer['processor']:.1f} | {answer['memory'] / 1024:.1f}"
        f" | {answer['most'] / 1024:.1f} |",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:] == ["--watch"]:
        return watch()
    subprocess.run(["make", "-s", "install"], cwd=SRC, check=True, stdout=subprocess.DEVNULL)
    CONF.write_text(SETTINGS, encoding="ascii")
    _run("sftpjail", "setup")
    _run("useradd", "-r", "-s", "/usr/sbin/nologin", "hooks")
    for number in range(20):
        _run("useradd", "-M", "-G", "sftponly", f"u{number}")
    LOG.write_text("2026-01-01T00:00:00+00:00 host another: line\n", encoding="ascii")
    _run(sys.executable, __file__, "--watch")  # the first one begins at the end
    print("| what | lines | read, s | lines/s | done, s | processor, s | MiB | at most |")
    print("|---|---|---|---|---|---|---|---|")
    for count in [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]:
        measure(count, "no script")
    script = Path("/etc/sftpjail/hooks/upload.d/sleeps")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SLEEPS, encoding="ascii")
    script.chmod(0o755)
    measure(6_080, "a script of 5 ms for each of 2,000 uploads")


if __name__ == "__main__":
    main()
