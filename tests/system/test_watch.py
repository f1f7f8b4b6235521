"""`watch`: real sessions, real log daemons, rotation, a killed watcher: every event is handed out, and told apart."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from answers import judge
from machine import Machine
from steps import CONFIG, jail, ready, refused

EVENTS = "[events]\nuser = hooks\nworkers = 3\ntimeout = 20\nretries = 0\n"
UNIT = "sftpjail-watch.service"
LOG = "/var/log/sftp.log"
KINDS = (
    "upload",
    "upload-failed",
    "download",
    "rename",
    "delete",
    "session-start",
    "session-end",
    "gap",
)
# Says what it got, in a line for each account; what is in /run/bad/PATH makes it fail.
SCRIPT = r"""#!/bin/sh
[ -z "$SFTPJAIL_PATH" ] || [ ! -e "/run/bad$SFTPJAIL_PATH" ] || exit 1
printf '%s\t' "$SFTPJAIL_EVENT" "$SFTPJAIL_ID" "$SFTPJAIL_PATH" "$SFTPJAIL_RENAMED_FROM" "$SFTPJAIL_TO" \
    "$SFTPJAIL_WRITTEN" "$SFTPJAIL_READ" "$SFTPJAIL_REASON" >>"/run/told/${SFTPJAIL_USER:-nobody}"
echo >>"/run/told/${SFTPJAIL_USER:-nobody}"
"""


def prepare(machine: Machine, backend: str = "") -> None:
    """A user for scripts, and a script for each event."""
    machine.run("useradd", "--system", "--shell", "/usr/sbin/nologin", "hooks")
    machine.sh("install -d -o hooks /run/told; mkdir /run/bad")
    for kind in KINDS:
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


@contextmanager
def watching(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """`sftpjail watch` in the foreground, ended as systemd ends it."""
    watcher = subprocess.Popen(machine.argv("sftpjail", "watch"), stderr=subprocess.PIPE)
    machine.wait_for("/run/sftpjail/watch", r"\d")
    machine.sh(
        "for n in $(seq 200); do ls /var/lib/sftpjail/events/queue.* && exit; sleep 0.1; done"
    )
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


@pytest.mark.halved
def test_what_sessions_do_is_told_apart(machine: Machine) -> None:
    machine.start_rsyslog()
    prepare(machine)
    ready(machine, EVENTS)
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    said = machine.run("sftpjail", "check").out
    assert "sftpjail watch does not run" in said
    with watching(machine):
        assert "watch does not run" not in machine.run("sftpjail", "check").out
        refused(machine, "sftpjail", "watch", says="another sftpjail has held")
        batch = [*put(["plain", "b.filepart"]), "rename b.filepart b", "get plain /root/back"]
        batch += [*put(["c"]), "rename c c2", "mkdir d", "rename c2 d/c3", "rm plain"]
        batch += ["-rm nothing"]
        assert machine.sftp("ann", key, batch).code == 0
        until(machine, "ann", "session-end")
        keys = ("event", "path", "renamed_from", "to", "written", "read")
        home = "/home/ann"
        assert [tuple(one[name] for name in keys) for one in told(machine)] == [
            ("session-start", "", "", "", "0", "0"),
            ("upload", f"{home}/plain", "", "", "1000", "0"),
            ("upload", f"{home}/b", f"{home}/b.filepart", "", "1000", "0"),
            ("download", f"{home}/plain", "", "", "0", "1000"),
            ("upload", f"{home}/c", "", "", "1000", "0"),
            ("upload", f"{home}/c2", f"{home}/c", "", "1000", "0"),
            ("rename", f"{home}/c2", "", f"{home}/d/c3", "0", "0"),
            ("delete", f"{home}/plain", "", "", "0", "0"),
            ("session-end", "", "", "", "3000", "1000"),
        ]
        # A disk that is full, and a client that is killed.
        machine.sh("mkdir /srv/full && mount -t tmpfs -o size=40k,mode=777 none /srv/full")
        machine.sh("head -c 1000000 /dev/zero >/root/big")
        machine.run("sftpjail", "mount", "ann", "/srv/full", "/full")
        machine.sftp("ann", key, ["put /root/big /full/big"])
        until(machine, "ann", "upload-failed")
        cut_off(machine, key)
        until(machine, "ann", "upload-failed", 2)
        failed = [one for one in told(machine) if one["event"] == "upload-failed"]
        assert [one["path"] for one in failed] == ["/full/big", "/home/ann/cut"]
        # Of a write that had room for a part there is a status alone.
        assert failed[0]["reason"] in ("No space left on device", "Failure")
        assert failed[1]["reason"] == "the session ended before it was closed"
    assert not any(one["event"] == "gap" for one in told(machine)), told(machine)


def cut_off(machine: Machine, key: str) -> None:
    """Kill a client in the midst of an upload."""
    machine.write("/root/batch", "put /root/big cut\n")
    words = shlex.join(["sftp", "-b", "/root/batch", "-l", "800", *machine._client(key, "-P")])
    machine.sh(
        f"{words} ann@127.0.0.1 >/dev/null 2>&1 & pid=$!\n"
        f"until grep -q 'open \"/home/ann/cut\"' {LOG}; do sleep 0.1; done\n"
        "kill -KILL $pid"
    )


@pytest.mark.halved
def test_nothing_is_lost_and_what_fails_lies_aside(machine: Machine) -> None:
    machine.start_rsyslog()
    prepare(machine)
    ready(machine, EVENTS)
    machine.restart_rsyslog()
    keys = {name: jail(machine, name) for name in ("ann", "bob")}
    names = [f"n{number}" for number in range(30)]
    machine.sh("mkdir -p /run/bad/home/bob; touch /run/bad/home/bob/n3")
    with watching(machine) as watcher:
        for number in range(3):  # killed, rotated, and not there at all
            for name, key in keys.items():
                assert machine.sftp(name, key, put(names[number * 10 : number * 10 + 5])).code == 0
            if number == 0:
                machine.sh("kill -KILL $(cat /run/sftpjail/watch)")
                watcher.wait()
            if number == 1:
                machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
                machine.restart_rsyslog()
            for name, key in keys.items():
                rest = put(names[number * 10 + 5 : number * 10 + 10])
                assert machine.sftp(name, key, rest).code == 0
    with watching(machine) as watcher:
        until(machine, "ann", "upload", 30)
        until(machine, "bob", "upload", 29)
        assert uploads(machine, "ann") == [f"/home/ann/{name}" for name in names]
        assert uploads(machine, "bob") == [f"/home/bob/{name}" for name in names if name != "n3"]
        assert not any(one["event"] == "gap" for one in told(machine))
        answer = json.loads(machine.run("sftpjail", "--json", "events").out)
        judge("events", answer)
        (aside,) = answer["events"]
        assert aside["event"]["path"] == "/home/bob/n3" and aside["tries"] == 1
        assert "/home/bob/n3" in machine.run("sftpjail", "events").out
        refused(machine, "sftpjail", "events", "retry", "none", says="no event none lies aside")
        refused(machine, "sftpjail", "events", "redo", code=2, says="does not know redo")
        machine.sh("rm -r /run/bad/home")
        name = aside["event"]["id"]
        assert "would be sent" in machine.run("sftpjail", "--dry-run", "events", "retry", name).out
        assert "is sent again" in machine.run("sftpjail", "events", "retry", name).out
        until(machine, "bob", "upload", 30)
        assert uploads(machine, "bob")[-1] == "/home/bob/n3"
        assert machine.run("sftpjail", "events").out == "no event lies aside\n"
        # Without a user nothing runs, and the watcher that runs hears of it.
        machine.write(CONFIG, EVENTS.replace("user = hooks\n", ""))
        assert watcher.wait(30) == 2
    done = machine.run("sftpjail", "watch", check=False)
    assert done.code == 2 and "no user is configured for events" in done.err
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert not machine.exists("/var/lib/sftpjail/events")


@pytest.mark.booted
def test_the_journal_and_the_service(booted: Machine) -> None:
    prepare(booted, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-active", UNIT).out == "active\n"
    booted.wait_for("/run/sftpjail/watch", r"\d")
    booted.sh(
        "for n in $(seq 100); do ls /var/lib/sftpjail/events/queue.* && exit; sleep 0.1; done"
    )
    assert (
        "journald may drop what a session logs beyond 10000" in booted.run("sftpjail", "check").out
    )
    key = jail(booted, "ann")
    names = [f"n{number}" for number in range(40)]
    assert booted.sftp("ann", key, put(names[:10])).code == 0
    booted.run("systemctl", "kill", "-s", "KILL", UNIT)
    assert booted.sftp("ann", key, put(names[10:20])).code == 0
    booted.run("journalctl", "--rotate")
    assert booted.sftp("ann", key, put(names[20:30])).code == 0
    booted.run("systemctl", "restart", UNIT)
    assert booted.sftp("ann", key, put(names[30:])).code == 0
    until(booted, "ann", "upload", 40)
    assert uploads(booted) == [f"/home/ann/{name}" for name in names]
    assert Counter(one["event"] for one in told(booted))["gap"] == 0
    # The journal loses what was not read, and the log daemon drops what comes too fast.
    booted.run("systemctl", "stop", UNIT)
    booted.sh("logger x; sleep 1; journalctl --rotate && journalctl --vacuum-time=1s && logger x")
    booted.sh("mkdir -p /etc/systemd/journald.conf.d")
    limit = "[Journal]\nRateLimitIntervalSec=3s\nRateLimitBurst=5\n"
    booted.write("/etc/systemd/journald.conf.d/x.conf", limit)
    booted.run("systemctl", "restart", "systemd-journald")
    booted.run("systemctl", "start", UNIT)
    until(booted, "nobody", "gap")
    assert "not there any more" in told(booted, "nobody")[0]["reason"]
    with_pause = [*put(names), "!sleep 4", *put(["last"])]
    assert booted.sftp("ann", key, with_pause).code == 0
    until(booted, "ann", "/home/ann/last")
    until(booted, "ann", "gap")
    gaps = [one["reason"] for one in told(booted) if one["event"] == "gap"]
    assert any(reason.startswith("journald dropped ") for reason in gaps), gaps
    booted.write(CONFIG, "[logs]\nbackend = journald\n")
    # It has noticed that before setup stops it, and is no unit that has failed.
    booted.sh(f"until [ $(systemctl is-active {UNIT}) = activating ]; do sleep 0.1; done")
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-active", UNIT, check=False).out == "inactive\n"
    said = booted.run("sftpjail", "check", check=False).out
    assert "hooks/upload.d" in said, "there are scripts, and nobody runs them"


def handed(machine: Machine, names: list[str]) -> dict[str, list[str]]:
    return {name: uploads(machine, name) for name in names}


@pytest.mark.whole
@pytest.mark.booted
def test_ten_thousand_uploads_by_twenty_accounts(booted: Machine) -> None:
    """The watcher is killed, the log rotated and the host rebooted meanwhile; in each account's order, none is missing."""
    prepare(booted, "[logs]\nbackend = journald\n")
    booted.sh("mkdir /var/lib/told && chown hooks /var/lib/told")
    booted.sh("echo MaxStartups 100 >/etc/ssh/sshd_config.d/x.conf; systemctl reload ssh")
    booted.sh("sed -i s,/run/told,/var/lib/told, /etc/sftpjail/hooks/*.d/tell")
    booted.run("sftpjail", "setup")
    names = [f"u{number}" for number in range(20)]
    keys = {name: jail(booted, name) for name in names}
    wanted = [f"n{number}" for number in range(500)]
    for part in range(5):
        batch = put(wanted[part * 100 : part * 100 + 100])
        running = [
            subprocess.Popen(
                booted.argv(
                    "sftp", "-b", "-", *booted._client(keys[name], "-P"), f"{name}@127.0.0.1"
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            for name in names
        ]
        for one in running:
            assert one.stdin
            one.stdin.write(("\n".join(batch) + "\n").encode())
            one.stdin.close()
        if part % 2:
            booted.run("systemctl", "kill", "-s", signal.SIGKILL.name, UNIT)
        booted.run("journalctl", "--rotate")
        assert [one.wait() for one in running] == [0] * len(names)
        if part == 2:
            booted.reboot()
    booted.sh("rm -rf /run/told; ln -s /var/lib/told /run/told")
    for name in names:
        until(booted, name, "upload", 500, seconds=600)
    for name in names:
        assert uploads(booted, name) == [f"/home/{name}/{one}" for one in wanted]
