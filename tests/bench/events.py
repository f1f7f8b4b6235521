#!/usr/bin/python3
"""Whether `sftpjail watch` keeps up: lines a second read, matched and queued, and its memory. Run it in a sandbox.

tests/sandbox --root trixie [--boot] -- python3 /src/tests/bench/events.py [LINES]...

Twenty accounts upload, in sessions of fifty files each. The log is written beforehand, so that the
watcher has it all to read; by default 100,000 lines and then 1,000,000. No script wants the events
of these; then 2,000 uploads go to one that takes 5 milliseconds. With --boot the log is journald's,
which gets each account's lines from a process with its uid; else a file of rsyslog's.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SRC))

CONF = Path("/etc/sftpjail/sftpjail.conf")
LOG = Path("/var/log/sftp.log")
SETTINGS = "[events]\nuser = hooks\nworkers = 4\nqueue = 10000000\n[logs]\nbackend = {}\n"
BOOTED = os.path.isdir("/run/systemd/system")
NO_LIMIT = "[Journal]\nRateLimitIntervalSec=0\nSystemMaxUse=4G\nRuntimeMaxUse=4G\n"
ACCOUNTS = [f"u{number}" for number in range(20)]
SLEEPS = "#!/bin/sh\nexec sleep 0.005\n"
FILES = 50


def session(user: str, pid: int) -> Iterator[str]:
    """Yield the lines of one session."""
    head = f"internal-sftp[{pid}]: "
    yield head + f"session opened for local user {user} from [192.0.2.7]"
    for number in range(FILES):
        path = f"/home/{user}/incoming/scan {number:04}.pdf"
        yield head + f'open "{path}" flags WRITE,CREATE,TRUNCATE mode 0644'
        yield head + "sent status Success"
        yield head + f'close "{path}" bytes read 0 written 123456'
    yield head + f"session closed for local user {user} from [192.0.2.7]"


def write_journal(count: int) -> None:
    """Have twenty processes write that many lines to the journal, each with an account's uid."""
    for user in ACCOUNTS:
        if os.fork() == 0:
            os.setuid(pwd.getpwnam(user).pw_uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                log.connect("/dev/log")
                written = 0
                while written < count // len(ACCOUNTS):
                    for line in session(user, os.getpid()):
                        log.send(f"<38>{line}".encode("ascii"))
                        written += 1
            os._exit(0)
    for _ in ACCOUNTS:
        _, status = os.wait()
        assert status == 0, status
    _run("journalctl", "--sync")


def write_file(count: int) -> None:
    """Append that many lines to the log: of twenty sessions at a time, a line of each in turn."""
    now, written, pid = time.time(), 0, 1000
    heads = {user: f" host uid={pwd.getpwnam(user).pw_uid} " for user in ACCOUNTS}
    with open(LOG, "a", encoding="ascii") as log:
        while written < count:
            running = []
            for user in ACCOUNTS:
                pid += 1
                running.append(session(user, pid % 4_000_000))
            for together in zip(*running, strict=True):
                for head, line in zip(heads.values(), together, strict=True):
                    at = now - 86400 + written * 0.0005
                    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
                    log.write(f"{stamp}.{int(at % 1 * 1e6):06}+00:00{head}{line}\n")
                    written += 1


def watch(count: int) -> None:
    """Read that many lines, or more, in this process, until all is done.

    Print what it took, as JSON.
    """
    from sftpjail import config as configuration
    from sftpjail.watch.handout import Worker, deliver
    from sftpjail.watch.watcher import Watcher

    config = configuration.load(str(CONF))
    workers = [
        Worker(n, config.events.user, config.events.timeout) for n in range(config.events.workers)
    ]
    read_at = 0.0
    began, used = time.monotonic(), sum(os.times()[:2])

    def over() -> bool:
        nonlocal read_at
        read = watcher._following.place is not None and watcher._reader.lines >= count
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
    (write_journal if BOOTED else write_file)(count)
    said = _run(sys.executable, __file__, "--watch", str(count)).splitlines()
    answer = json.loads(said[-1])
    lines = answer["lines"]
    print(
        f"| {what} | {lines} | {answer['read']:.1f} | {lines / answer['read']:.0f}"
        f" | {answer['done']:.1f} | {answer['processor']:.1f} | {answer['memory'] / 1024:.1f}"
        f" | {answer['most'] / 1024:.1f} |",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--watch"]:
        return watch(int(sys.argv[2]))
    subprocess.run(["make", "-s", "install"], cwd=SRC, check=True, stdout=subprocess.DEVNULL)
    backend = "journald" if BOOTED else "rsyslog"
    CONF.write_text(SETTINGS.format(backend), encoding="ascii")
    if BOOTED:
        unlimited = Path("/etc/systemd/journald.conf.d/bench.conf")
        unlimited.parent.mkdir(parents=True, exist_ok=True)
        unlimited.write_text(NO_LIMIT, encoding="ascii")
        _run("systemctl", "restart", "systemd-journald")
    _run("sftpjail", "setup")
    _run("useradd", "-r", "-s", "/usr/sbin/nologin", "hooks")
    for user in ACCOUNTS:
        _run("useradd", "-M", "-G", "sftponly", user)
    if BOOTED:
        _run("systemctl", "stop", "sftpjail-watch")
    else:
        LOG.write_text("2026-01-01T00:00:00+00:00 host another: line\n", encoding="ascii")
    _run(sys.executable, __file__, "--watch", "0")  # the first one begins at the end
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
