#!/usr/bin/python3
"""How long `sftpjail log` takes for a large log, and how much memory: run it in a sandbox that has rsyslog.

tests/sandbox --root trixie -- python3 /src/tests/bench/log.py [LINES]
"""

from __future__ import annotations

import gzip
import os
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[2]
NAMES = (
    "diary.txt",
    "IMG_{n}.jpg",
    "Rechnung M\\303\\274ller {n}.pdf",
    'a "quoted" {n}',
    "backup/{n}.tar.gz",
)


def messages(number: int, random: random.Random) -> Iterator[str]:
    """Yield what one session of an ordinary client logs at VERBOSE."""
    user = f"user{number % 40}"
    yield f"session opened for local user {user} from [192.0.2.{number % 200}]"
    yield "received client version 3"
    yield 'realpath "."'
    for n in range(random.randint(1, 40)):
        path = f"/home/{user}/{random.choice(NAMES).format(n=n)}"
        kind = random.random()
        if kind < 0.6:
            size = random.randrange(1 << 24)
            yield f'stat name "{path}"'
            yield "sent status No such file"
            yield f'open "{path}" flags WRITE,CREATE,TRUNCATE mode 0644'
            yield f'close "{path}" bytes read 0 written {size}'
            yield f'set "{path}" modtime 20261124-10:00:00'
        elif kind < 0.9:
            yield f'open "{path}" flags READ mode 0666'
            yield f'close "{path}" bytes read {random.randrange(1 << 24)} written 0'
        elif kind < 0.95:
            yield f'rename old "{path}" new "{path}.old"'
        else:
            yield f'remove name "{path}"'
    yield f"session closed for local user {user} from [192.0.2.{number % 200}]"


def lines(count: int, form: str) -> Iterator[bytes]:
    """Yield log lines of sessions of which twenty go on at once."""
    chance, written, number = random.Random(1), 0, 0
    running: dict[int, Iterator[str]] = {}
    second, year = 0, 86400 * 300
    while written < count:
        while len(running) < 20:
            number += 1
            running[1000 + number % 30000] = messages(number, chance)
        pid = chance.choice(list(running))
        message = next(running[pid], None)
        if message is None:
            del running[pid]
            continue
        second = year * written // count
        stamp = time.strftime(form, time.gmtime(1767225600 + second)).replace(
            "%f", f"{chance.randrange(10**6):06}"
        )
        yield f"{stamp} server internal-sftp[{pid}]: {message}\n".encode()
        written += 1


def measure(title: str, config: Path, *options: str) -> None:
    """Run the command with its output thrown away; print seconds, those of a CPU, and the peak of memory (its own)."""
    argv = [sys.executable, "-m", "sftpjail", "--config", str(config), *options]
    start, peak, before = time.monotonic(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=SRC) as process:
        while process.poll() is None:
            found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = int(found[1]) if found else peak
            time.sleep(0.05)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    what = f"{title:12} {' '.join(options):28}"
    print(
        f"{what} {seconds:6.2f} s, {busy:6.2f} s of CPU, {peak / 1024:4.0f} MB, exit {process.returncode}"
    )


def journald(config: Path, count: int) -> None:
    """Measure a journal of as many entries; for a sandbox that is booted, since it changes journald's settings."""
    settings = Path("/etc/systemd/journald.conf.d/bench.conf")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(
        "[Journal]\nRateLimitIntervalSec=0\nStorage=persistent\nSystemMaxUse=4G\nForwardToSyslog=no\n"
    )
    subprocess.run(["systemctl", "restart", "systemd-journald"], check=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.connect("/run/systemd/journal/socket")
        for line in lines(count, "-"):
            message = line.partition(b": ")[2]
            journal.send(b"SYSLOG_IDENTIFIER=internal-sftp\nPRIORITY=6\nMESSAGE=" + message)
    subprocess.run(["journalctl", "--sync"], check=True)
    config.write_text("[logs]\nbackend = journald\n")
    measure("journald", config, "log", "--json")


def main() -> None:
    """Measure a plain file, one with times of the traditional form, and a packed one."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        log, config = Path(directory, "sftp.log"), Path(directory, "sftpjail.conf")
        config.write_text(f"[logs]\nbackend = rsyslog\nfile = {log}\n")
        for title, form in (
            ("RFC 3339", "%Y-%m-%dT%H:%M:%S.%%f+00:00"),
            ("traditional", "%b %e %H:%M:%S"),
        ):
            with open(log, "wb") as out:
                out.writelines(lines(count, form))
            print(f"{count} lines, {title}, {log.stat().st_size >> 20} MB")
            for options in (
                ("log", "--json"),
                ("log",),
                ("log", "--summary"),
                ("log", "user7", "--since", "yesterday"),
            ):
                measure(title, config, *options)
        with open(log, "rb") as plain, gzip.open(f"{log}.2.gz", "wb", compresslevel=5) as packed:
            shutil.copyfileobj(plain, packed)
        log.write_bytes(b"")
        measure("packed", config, "log", "--json")
        if os.path.isdir("/run/systemd/system"):
            journald(config, count)


if __name__ == "__main__":
    main()
