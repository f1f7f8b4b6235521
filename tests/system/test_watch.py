"""`watch`: real sessions, real log daemons, rotation, a killed watcher: every event is handed out, and told apart."""

from __future__ import annotations

import json
import shlex
from collections import Counter

import pytest
from answers import judge
from machine import Machine
from steps import CONFIG, jail, ready, refused
from watched import EVENTS, LOG, UNIT, prepare, put, told, until, uploads, watching


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


GOT = r"""#!/bin/sh
{
    printf '%s\t' "$SFTPJAIL_PATH"
    if [ -n "$SFTPJAIL_FILE" ]; then cat <&3; else echo nothing; fi
} >>/run/told/got
"""


@pytest.mark.halved
def test_what_is_exchanged_before_its_event_is_not_handed_out(machine: Machine) -> None:
    """The client does it itself, after the close and while nobody watches; names are no commands."""
    machine.start_rsyslog()
    prepare(machine)
    machine.write("/etc/sftpjail/hooks/upload.d/tell", GOT, 0o755)
    ready(machine, EVENTS)
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    machine.sh("echo secret >/srv/canary && chmod 600 /srv/canary; echo hers >/root/file")
    before = machine.sh("ls -A / /srv /root /tmp /etc /home/ann | sort").out
    with watching(machine):
        pass
    names = ["plain", "$(touch pwned)", "`touch pwned`", "; touch pwned;", "' ; touch pwned ; '"]
    batch = [f'put /root/file "{name}"' for name in names]
    batch += ["put /root/file link", "rm link", "ln -s /srv/canary link"]
    batch += ["mkdir d", "put /root/file d/canary", "rm d/canary", "rmdir d", "ln -s /srv d"]
    batch += ["put /root/file up", "rm up", "ln -s ../../srv/canary up", "put /root/file gone"]
    batch += ["rm gone", "put /root/file last"]
    assert machine.sftp("ann", key, batch).code == 0
    with watching(machine):
        machine.wait_for("/run/told/got", "/last\t")
        until(machine, "ann", "session-end")
    home = "/home/ann"
    got = machine.read("/run/told/got").splitlines()
    assert got == [
        *(f"{home}/{name}\thers" for name in names),
        *(f"{home}/{name}\tnothing" for name in ("link", "d/canary", "up", "gone")),
        f"{home}/last\thers",
    ]
    machine.sh(f"cd {home} && rm -f plain *pwned* link d up last")
    assert machine.sh("ls -A / /srv /root /tmp /etc /home/ann | sort").out == before
    assert machine.read("/srv/canary") == "secret\n"


def cut_off(machine: Machine, key: str) -> None:
    """Kill a client in the midst of an upload."""
    machine.write("/root/batch", "put /root/big cut\n")
    words = shlex.join(["sftp", "-b", "/root/batch", "-l", "800", *machine._client(key, "-P")])
    machine.sh(
        f"{words} ann@127.0.0.1 >/dev/null 2>&1 & pid=$!\n"
        f"until grep -q 'open \"/home/ann/cut\"' {LOG}; do sleep 0.1; done\n"
        "kill -KILL $pid"
    )


CLIENTS = r"""
import json, os, re, signal, subprocess, sys, time, paramiko

key, sftp, lftp = sys.argv[1], json.loads(sys.argv[2]), ["lftp", "--norc", "-c"]

def opened(name):
    while not (found := re.search(r"sftp\[(\d+)\]: open \"/home/ann/%s\"" % name, open(LOG).read())):
        time.sleep(0.05)
    return int(found[1])

def puts(name, *options):
    client = subprocess.Popen([*sftp, *options, "ann@127.0.0.1"], stdin=subprocess.PIPE)
    client.stdin.write(f"put /root/big {name}\n".encode())
    client.stdin.close()
    return client

transport = paramiko.Transport(("127.0.0.1", PORT))
transport.connect(username="ann", pkey=paramiko.Ed25519Key.from_private_key_file(key))
client = paramiko.SFTPClient.from_transport(transport)
for name in ("whole", "winscp.filepart"):
    with client.open(name, "w") as file:
        file.write(b"x" * 1000)
client.posix_rename("winscp.filepart", "winscp")
with client.open("whole", "a") as file:
    file.write(b"y" * 10)
try:
    with client.open("/full/full", "w") as file:
        file.write(b"x" * 1000000)
except OSError:
    pass
with client.open("empty", "w"):
    pass
cut = client.open("cut", "w")
cut.write(b"x" * 1000)
cut.flush()
transport.sock.close()
for name, number in (("stopped", signal.SIGINT), ("killed", signal.SIGKILL)):
    client = puts(name, "-l", "800")
    opened(name)
    client.send_signal(number)
    client.wait()
if THOROUGH:
    client = puts("server", "-l", "800")
    os.kill(opened("server"), signal.SIGTERM)
    client.wait()
subprocess.run([*lftp, sys.argv[3] + "; put /root/file -o lftp"], check=True)
client = subprocess.Popen([*lftp, sys.argv[3] + "; set net:limit-rate 10000; put /root/big -o slow"])
opened(r"\.in\.slow")
client.kill()
client.wait()
"""


def test_what_clients_do_is_told_apart(machine: Machine, thorough: bool) -> None:
    """As far as it can be: a client that is told to stop closes its file as if it were whole.

    That sshd's own process was killed is known when it has been gone for a while; with --all that is awaited.
    """
    machine.start_rsyslog()
    prepare(machine)
    ready(machine, EVENTS)
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    machine.sh("mkdir /srv/full && mount -t tmpfs -o size=40k,mode=777 none /srv/full")
    machine.sh("head -c 1000000 /dev/zero >/root/big")
    machine.run("sftpjail", "mount", "ann", "/srv/full", "/full")
    ssh = " ".join(["ssh", "-a", "-x", *machine._client(key, "-p")])
    lftp = f'set sftp:connect-program "{ssh}"; set xfer:use-temp-file yes; '
    lftp += "open sftp://ann:x@127.0.0.1"
    sftp = ["sftp", "-b", "-", *machine._client(key, "-P")]
    script = CLIENTS.replace("LOG", repr(LOG)).replace("PORT", str(machine.port))
    script = script.replace("THOROUGH", str(thorough))
    with watching(machine):
        machine.run("python3", "-c", script, key, json.dumps(sftp), lftp)
        until(machine, "ann", "session-end", 5 + thorough, 60 + 120 * thorough)
        found = told(machine)
    kinds = [(one["event"], one["path"], one["written"]) for one in found if one["path"]]
    home = "/home/ann"
    assert {one for one in kinds if one[0] == "upload"} >= {
        ("upload", f"{home}/whole", "1000"),
        ("upload", f"{home}/whole", "10"),  # the rest that came in this session
        ("upload", f"{home}/winscp", "1000"),
        ("upload", f"{home}/empty", "0"),
        ("upload", f"{home}/lftp", "1000"),
    }
    uploads = {path: int(written) for kind, path, written in kinds if kind == "upload"}
    assert 0 < uploads.pop(f"{home}/stopped") < 1000000
    failed = {one["path"]: one["reason"] for one in found if one["event"] == "upload-failed"}
    assert failed.pop("/full/full") in ("No space left on device", "Failure")
    if thorough:
        gone = "the session is over, and its end is not in the log"
        assert failed.pop(f"{home}/server") == gone
    assert failed == {f"{home}/{name}": CUT for name in ("cut", "killed", ".in.slow")}
    assert len(uploads) == 4 and len(kinds) == len(uploads) + 1 + 1 + 1 + 3 + thorough
    renamed = {one["path"]: one["renamed_from"] for one in found if one["renamed_from"]}
    assert renamed == {
        f"{home}/winscp": f"{home}/winscp.filepart",
        f"{home}/lftp": f"{home}/.in.lftp",
    }
    assert sum(one["event"] == "gap" for one in found) == thorough, found


CUT = "the session ended before it was closed"


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
        refused(machine, "sftpjail", "events", "retry", "none", says="no event none was put aside")
        refused(machine, "sftpjail", "events", "redo", code=2, says="does not know redo")
        machine.sh("rm -r /run/bad/home")
        name = aside["event"]["id"]
        assert "would be sent" in machine.run("sftpjail", "--dry-run", "events", "retry", name).out
        assert "is sent again" in machine.run("sftpjail", "events", "retry", name).out
        until(machine, "bob", "upload", 30)
        assert uploads(machine, "bob")[-1] == "/home/bob/n3"
        assert machine.run("sftpjail", "events").out == "no event was put aside\n"
        # Without a user nothing runs, and the watcher that runs hears of it.
        machine.write(CONFIG, EVENTS.replace("user = hooks\n", ""))
        assert watcher.wait(30) == 2
    done = machine.run("sftpjail", "watch", check=False)
    assert done.code == 2 and "no user is configured for events" in done.err
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert not machine.exists("/var/lib/sftpjail/events")


def at_once_after_setup(booted: Machine, key: str) -> None:
    """What is uploaded as soon as setup returns is an event, also where the service had failed."""
    lines = booted.read(CONFIG)
    for number in range(2):
        booted.run("systemctl", "stop", UNIT)
        booted.sh("rm -r /var/lib/sftpjail/events")  # as of a host that never had a watcher
        booted.write(CONFIG, lines.replace("user = hooks", "user = nobody-yet"))
        booted.run("systemctl", "start", UNIT)  # it fails, and systemd waits before the next start
        booted.sh(f"until [ $(systemctl is-active {UNIT}) = activating ]; do sleep 0.1; done")
        booted.write(CONFIG, lines)
        booted.run("sftpjail", "setup")
        assert booted.sftp("ann", key, put([f"at-once-{number}"])).code == 0
        until(booted, "ann", f"/home/ann/at-once-{number}")
    assert booted.run("systemctl", "is-active", UNIT).out == "active\n"


@pytest.mark.booted
def test_the_journal_and_the_service(booted: Machine) -> None:
    prepare(booted, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-active", UNIT).out == "active\n"
    assert booted.sh("ls /var/lib/sftpjail/events/queue.*").code == 0, "it watches from here on"
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
    at_once_after_setup(booted, key)
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
