"""What `sftpjail watch` has handed out: a script that tells what it got, and who reads that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from machine import Machine
from steps import CONFIG

from sftpjail.model import EVENT_KINDS

EVENTS = "[events]\nuser = hooks\nworkers = 3\ntimeout = 20\nretries = 0\n"
UNIT = "sftpjail-watch.service"
LOG = "/var/log/sftp.log"
# Says what it got, in a line that is written whole, whatever kills it; what is in /run/bad/PATH makes it fail.
SCRIPT = r"""#!/bin/sh
[ -z "$SFTPJAIL_PATH" ] || [ ! -e "/run/bad$SFTPJAIL_PATH" ] || exit 1
printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$SFTPJAIL_EVENT" "$SFTPJAIL_ID" "$SFTPJAIL_PATH" \
    "$SFTPJAIL_RENAMED_FROM" "$SFTPJAIL_TO" "$SFTPJAIL_WRITTEN" "$SFTPJAIL_READ" "$SFTPJAIL_REASON" \
    >>"/run/told/${SFTPJAIL_USER:-nobody}"
"""


def prepare(machine: Machine, backend: str = "") -> None:
    """A user for scripts, and a script for each event."""
    machine.run("useradd", "--system", "--shell", "/usr/sbin/nologin", "hooks")
    machine.sh("install -d -o hooks /run/told; mkdir /run/bad")
    for kind in EVENT_KINDS:
        machine.write(f"/etc/sftpjail/hooks/{kind}.d/tell", SCRIPT, 0o755)
    machine.sh("dd if=/dev/zero of=/root/file bs=1000 count=1 2>/dev/null")
    machine.write(CONFIG, f"{EVENTS}{backend}")


def told(machine: Machine, user: str = "ann") -> list[dict[str, str]]:
    """What was handed out of an account, in its order."""
    names = ("event", "id", "path", "renamed_from", "to", "written", "read", "reason")
    text = machine.sh(f"cat /run/told/{user} 2>/dev/null || :").out
    lines = [line.split("\t") for line in text.split("\n") if line]
    return [dict(zip(names, line, strict=False)) for line in lines]


def uploads(machine: Machine, user: str = "ann") -> list[str]:
    """The paths of complete uploads, in their order, each once: a repetition is known by its id."""
    found = {one["id"]: one["path"] for one in told(machine, user) if one["event"] == "upload"}
    return list(found.values())


def until(machine: Machine, user: str, event: str, count: int = 1, seconds: float = 60) -> None:
    """Wait until so many events of a kind, or of a path, were handed out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = told(machine, user)
        if len({one["id"] for one in found if event in (one["event"], one["path"])}) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {count} of {event}: {told(machine, user)}")


def wait_until_watching(machine: Machine) -> None:
    """Wait until `sftpjail watch` runs and has noted a place in the log, from which on it misses nothing."""
    machine.wait_for("/run/sftpjail/watch", r"\d", 60)
    noted = "grep -qs '\"place\": {' /var/lib/sftpjail/events/queue.*"
    machine.sh(f"for n in $(seq 400); do {noted} && exit; sleep 0.1; done; exit 1")


@contextmanager
def watching(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """`sftpjail watch` in the foreground, ended as systemd ends it."""
    watcher = subprocess.Popen(machine.argv("sftpjail", "watch"), stderr=subprocess.PIPE)
    wait_until_watching(machine)
    try:
        yield watcher
    finally:
        asked = machine.sh("kill $(cat /run/sftpjail/watch) 2>/dev/null", check=False).code == 0
        assert watcher.wait(30) == 0 or not asked
        assert watcher.stderr
        said = watcher.stderr.read().decode()
        assert "Traceback" not in said and "a bug:" not in said, said


def put(names: list[str]) -> list[str]:
    return [f"put /root/file {name}" for name in names]
