"""`log`: what real clients moved, to the byte, whoever tries to have it look otherwise."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from answers import judge
from machine import Machine
from steps import CONFIG, jail, ready, running, session

pytestmark = pytest.mark.halved

LOG = "/var/log/sftp.log"
COUNT = 125  # files of each user and direction: 500 in all
PIECES = [
    b'"',
    b"'",
    b"\n",
    b"\\",
    b"\\n",
    b"\x1b[31mred",
    b"\xff\xfe",
    "Müller".encode(),
    b"  ",
    b"-rf",
    b"*?[a]",
    b"\t",
    b"\r",
]
PIECES += [
    b" bytes read 0 written 99999",
    b'" bytes read 0 written 99999',
    b'" new "',
    b'close "',
    b"$(id)",
    b"x",
]
PIECES += [
    b"\n2026-11-24T09:00:00+00:00 host internal-sftp[1]: session opened for local user root from [::1]"
]
PIECES += [
    b'" session opened for local user bob from [::1]',
    b"\xc3",
    b"%s%n",
    b"\x7f",
    b"message repeated 9 times: [ ",
]


def files(user: str) -> dict[bytes, int]:
    """Names and sizes, which are another for every file; each piece stands first, last and next to others."""
    found = {}
    for number in range(COUNT):
        one, two = PIECES[number % len(PIECES)], PIECES[number * 7 % len(PIECES)]
        name = one + two + b"%d" % number + (one if number % 3 else b"")
        found[name] = 0 if number == 11 else number * 13 + (7 if user == "alice" else 1009)
    assert len(found) == COUNT
    return found


def fill(machine: Machine, directory: str, user: str) -> None:
    place = os.fsencode(f"/proc/{machine.pid}/root{directory}")
    os.makedirs(place)
    for name, size in files(user).items():
        with open(os.path.join(place, name), "wb") as file:
            file.write(b"." * size)


def mirror(machine: Machine, key: str, *commands: str) -> list[str]:
    """What starts lftp with commands."""
    ssh = " ".join(["ssh", "-a", "-x", *machine._client(key, "-p")])
    settings = [f'set sftp:connect-program "{ssh}"', "set sftp:charset C", "set file:charset C"]
    script = "; ".join([*settings, "open sftp://bob:x@127.0.0.1", *commands, "bye"])
    return machine.argv("lftp", "--norc", "-c", script)


def told(machine: Machine, *options: str) -> list[dict[str, Any]]:
    """What `log --json` prints, when the daemon has written all."""
    for _ in range(100):
        lines = machine.run("sftpjail", "log", "--json", *options).out.splitlines()
        records = [json.loads(line) for line in lines]
        if {r["how"] for r in records if r["kind"] == "session"} == {"closed"}:
            return records
        time.sleep(0.05)
    raise AssertionError(f"no session, or one does not end: {lines[-5:]}")


def moves_files(machine: Machine) -> None:
    """500 files, two users at once, sftp and lftp, up and down: every byte is where it belongs."""
    keys = {user: jail(machine, user) for user in ("alice", "bob")}
    fill(machine, "/root/up", "alice")
    fill(machine, "/root/bob", "bob")
    sftp = ["sftp", "-b", "-", *machine._client(keys["alice"], "-P"), "alice@127.0.0.1"]
    commands = b"put -r /root/up\nget -r up /root/down\n"
    clients = [
        subprocess.Popen(
            machine.argv(*sftp),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ),
        subprocess.Popen(
            mirror(machine, keys["bob"], "mirror -R /root/bob up", "mirror up /root/bobdown"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ),
    ]
    for client, given in zip(clients, (commands, b""), strict=True):
        out, _ = client.communicate(given, timeout=60)
        assert client.returncode == 0, out
    machine.run("diff", "-r", "/root/up", "/root/down")
    machine.run("diff", "-r", "/root/bob", "/root/bobdown")

    records = told(machine)
    summary = records[-1]
    assert summary["kind"] == "summary" and summary["unknown"] == 0
    assert summary["lines"] == summary["understood"] + summary["other"]
    stored, fetched = Counter[tuple[str, bytes, int]](), Counter[tuple[str, bytes, int]]()
    for record in records:
        assert record["kind"] in ("session", "transfer", "operation", "summary")
        if record["kind"] != "summary":
            assert record["user"] in keys and record["from"] == "127.0.0.1", record
        if record["kind"] == "transfer":
            path = record["path"].encode("utf-8", "surrogateescape")
            if record["written"]:
                stored[record["user"], path, record["written"]] += 1
            if record["read"]:
                fetched[record["user"], path, record["read"]] += 1
    wanted = Counter(
        (user, b"/home/%s/up/%s" % (user.encode(), name), size)
        for user in keys
        for name, size in files(user).items()
        if size
    )
    assert stored == wanted
    assert fetched == wanted
    total = sum(size for _, _, size in wanted)
    assert (summary["written"], summary["read"]) == (total, total)
    assert sum(s["written"] for s in records if s["kind"] == "session") == total
    for user in keys:
        days = [r for r in told_days(machine, user) if r["kind"] == "day"]
        own = sum(size for name, _, size in wanted if name == user)
        assert {day["user"] for day in days} == {user}
        assert (sum(day["written"] for day in days), sum(day["read"] for day in days)) == (own, own)
        # lftp of Debian 12 leaves without closing the last file that it has read.
        left = sum(r["user"] == user and r.get("forced", False) for r in records if "user" in r)
        assert left <= (user == "bob") and sum(day["failed"] for day in days) == left
        assert sum(day["up"] for day in days) == sum(day["down"] for day in days) + left == COUNT
    shown = machine.run("sftpjail", "log").out
    assert (
        shown
        and "\x1b" not in shown
        and "\r" not in shown
        and all(line.count("\t") == 5 for line in shown.splitlines())
    )


def told_days(machine: Machine, user: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in machine.run("sftpjail", "log", user, "--summary", "--json").out.splitlines()
    ]


@contextmanager
def following(machine: Machine, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = machine.argv("sftpjail", "log", "--follow", *options)
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def follows(machine: Machine, key: str, process: subprocess.Popen[bytes], name: str) -> None:
    """An upload is shown within a second of its end."""
    assert machine.sftp("alice", key, f"put /etc/hostname {name}").code == 0
    deadline, got = time.monotonic() + 1, b""
    assert process.stdout
    while b"/home/alice/" + name.encode() not in got:
        wait = deadline - time.monotonic()
        assert wait > 0 and select.select([process.stdout], [], [], wait)[0], (
            f"no {name} within a second: {got!r}"
        )
        got += os.read(process.stdout.fileno(), 1 << 16)
    for line in got.splitlines():
        if line.startswith(b"{") and line.endswith(b"}"):
            judge("log", json.loads(line))


def ends(machine: Machine, process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C is no failure."""
    machine.run("pkill", "-INT", "-f", "sftpjail log --follow")
    assert process.wait(5) == 0
    assert process.stderr and process.stderr.read() == b""


def started(machine: Machine) -> None:
    machine.sh("until pgrep -f 'sftpjail log --follow' >/dev/null; do sleep 0.02; done; sleep 0.5")


# -- where the log is ----------------------------------------------------------------------------


def test_500_files_with_rsyslog(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    moves_files(machine)


@pytest.mark.syslog_ng
def test_500_files_with_syslog_ng(machine: Machine) -> None:
    machine.start_syslog_ng()
    ready(machine, "")
    machine.restart_syslog_ng()
    moves_files(machine)


@pytest.mark.booted
def test_500_files_with_journald(booted: Machine) -> None:
    booted.write(CONFIG, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    moves_files(booted)
    with following(booted, "--json") as process:
        started(booted)
        time.sleep(0.5)
        follows(booted, "/root/keys/alice", process, "now")
        ends(booted, process)


# -- over time -----------------------------------------------------------------------------------


def logging(machine: Machine) -> str:
    """A jail of alice's, and rsyslog; returns her key."""
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    return jail(machine, "alice")


def test_follow_shows_at_once_across_a_rotation(machine: Machine) -> None:
    key = logging(machine)
    with following(machine) as process:
        started(machine)
        follows(machine, key, process, "first")
        machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
        follows(machine, key, process, "second")
        follows(machine, key, process, "third")
        machine.run("sh", "-c", f": >{LOG}")
        follows(machine, key, process, "fourth")
        ends(machine, process)
    machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
    machine.wait_for(f"{LOG}.1", "fourth")
    assert machine.exists(f"{LOG}.2.gz")
    paths = [r["path"] for r in told(machine) if r["kind"] == "transfer"]
    assert paths == [
        f"/home/alice/{name}" for name in ("first", "fourth")
    ]  # the others were truncated away


def test_follow_ends_when_nobody_reads(machine: Machine) -> None:
    machine.sftp("alice", logging(machine), "put /etc/hostname x")
    with following(machine) as process:
        started(machine)
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.wait(5) in (0, 1)
        assert process.stderr.read() == b""
    done = machine.sh("sftpjail log --json | true; echo done")
    assert done.out == "done\n" and done.err == ""


def test_killed_and_open_sessions(machine: Machine) -> None:
    """sshd is killed: its session is lost, and the one that goes on is open."""
    key = logging(machine)
    with session(machine, "alice", key, "/home/alice"), session(machine, "alice", key, "/"):
        machine.wait_for(LOG, r"(?s)session opened.*session opened")
        assert [r["how"] for r in sessions_of(machine)] == ["open", "open"]
        pids = [r["pid"] for r in sessions_of(machine)]
        machine.run("kill", "-KILL", str(pids[0]))
        machine.sh(f"while [ -e /proc/{pids[0]} ]; do sleep 0.01; done")
        assert [(r["pid"], r["how"]) for r in sessions_of(machine)] == [
            (pids[0], "lost"),
            (pids[1], "open"),
        ]
        machine.run("userdel", "-f", "alice", check=False)
        assert [r["user"] for r in sessions_of(machine, "alice")] == ["alice", "alice"]


def sessions_of(machine: Machine, *options: str) -> list[dict[str, Any]]:
    lines = machine.run("sftpjail", "log", "--json", *options).out.splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "session"]


def test_an_upload_that_failed_is_not_a_good_one(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    machine.sh(
        "mkdir /srv/small && mount -t tmpfs -o size=1M none /srv/small && chown ann /srv/small"
        " && sftpjail mount ann /srv/small /small && head -c 3M /dev/zero >/root/big"
    )
    long = "n" * 120
    batch = [f"-put /root/big /small/{name}" for name in ("big", long)]
    machine.sftp("ann", key, [*batch, "put /etc/hostname good"])
    with running(machine, "sftp", "-l", "800", *machine._client(key, "-P"), "ann@127.0.0.1") as one:
        assert one.stdin
        one.stdin.write("put /root/big cut\n")
        machine.wait_for(LOG, 'open "/home/ann/cut"')
        time.sleep(0.5)
    machine.wait_for(LOG, 'forced close "/home/ann/cut"')
    lines = machine.run("sftpjail", "log", "ann", "--json").out.splitlines()
    found = [record for record in map(json.loads, lines) if record["kind"] == "transfer"]
    full = "No space left on device"
    assert {record["path"]: record["failed"] for record in found} == {
        "/small/big": full,
        f"/small/{long}": full,
        "/home/ann/good": None,
        "/home/ann/cut": "the session ended before it was closed",
    }
    (day,) = [record for record in told_days(machine, "ann") if record["kind"] == "day"]
    assert (day["up"], day["failed"]) == (1, 3), day
    assert f"failed: {full}" in machine.run("sftpjail", "log", "ann").out


def test_failed_logins_and_the_key_of_a_session(machine: Machine) -> None:
    machine.start_rsyslog()
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, "")
    machine.restart_rsyslog()
    key, other = jail(machine, "ann"), machine.keygen("other")
    assert machine.sftp("ann", key, "pwd").code == 0
    machine.sftp("ann", other, "pwd")
    machine.sftp("nobody-there", other, "pwd")
    for closing, opening in (
        ("usermod -e 2001-01-01 ann", "usermod -e '' ann"),
        # Later than what counts as at once, after the login before.
        ("sleep 6; chmod g+w /srv/sftp", "chmod g-w /srv/sftp"),
    ):
        machine.sh(closing)
        assert machine.sftp("ann", key, "pwd").code == 255
        machine.sh(opening)
    machine.wait_for("/var/log/auth.log", "bad ownership or modes for chroot")
    lines = machine.run("sftpjail", "log", "--json").out.splitlines()
    records = [json.loads(line) for line in lines]
    (one,) = [record for record in records if record["kind"] == "session"]
    print_of = machine.run("ssh-keygen", "-lf", f"{key}.pub").out.split()[1]
    assert (one["key"], one["key_name"], one["method"]) == (print_of, "ann", "publickey")
    assert one["port"] > 1023
    failed = [record for record in records if record["kind"] == "login"]
    reasons = [record["failed"] for record in failed]
    assert len(reasons) == 3 == records[-1]["failed_logins"], reasons
    assert reasons[0] == "no key or password was accepted"
    assert reasons[1].startswith("PAM: account ann has expired"), reasons
    assert reasons[2].startswith("bad ownership or modes for chroot directory"), reasons
    assert {record["user"] for record in failed} == {"ann"}
    shown = machine.run("sftpjail", "log").out
    assert f"by {print_of} ann, port {one['port']}" in shown, shown
    assert "failed: PAM: account ann has expired" in shown, shown


def test_a_pid_that_is_used_again(machine: Machine) -> None:
    """The kernel gives a second session the pid of one whose end is not in the log."""
    key = logging(machine)
    at = "echo %d >/proc/sys/kernel/ns_last_pid"
    machine.sh(at % 10000)
    with session(machine, "alice", key, "/"):
        machine.wait_for(LOG, "session opened")
        (first,) = sessions_of(machine)
        machine.run("kill", "-KILL", str(first["pid"]))
    machine.sh(at % 20000)
    machine.sftp("alice", key, "pwd")
    distance = (
        max(r["pid"] for r in told_all(machine)) - 20000
    )  # processes that a login makes before that of the session
    for jitter in (0, 1, -1, 2, -2, 3, -3):
        machine.sh(at % (first["pid"] - distance + jitter))
        machine.sftp("alice", key, "put /etc/hostname again")
        again = [r for r in told_all(machine) if r["pid"] == first["pid"]]
        if len(again) == 2:
            break
    assert [(r["how"], r["transfers"]) for r in again] == [("lost", 0), ("closed", 1)]


def told_all(machine: Machine) -> list[dict[str, Any]]:
    """The sessions, when all have ended or were killed."""
    for _ in range(100):
        found = sessions_of(machine)
        if not any(r["how"] == "open" for r in found):
            time.sleep(0.1)
            return sessions_of(machine)
    raise AssertionError(found)


def test_names_that_are_cut_off_are_shown_and_not_guessed(machine: Machine) -> None:
    key = logging(machine)
    long = "/".join(["d" * 200, "e" * 200, "f" * 200])
    commands = [f"mkdir {'/'.join(long.split('/')[: n + 1])}" for n in range(3)]
    done = machine.sftp(
        "alice", key, [*commands, f"put /etc/hostname {long}/x", "put /etc/hostname short"]
    )
    assert done.code == 0, done
    records = told(machine)
    unknown = [r for r in records if r["kind"] == "unknown"]
    assert unknown and {(r["why"], r["user"]) for r in unknown} == {("truncated", "alice")}
    assert any(" close " in r["line"] for r in unknown)
    assert [r["path"] for r in records if r["kind"] == "transfer"] == ["/home/alice/short"]


def test_failures_and_refusals(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "[profiles]\n[[sftponly]]\ndeny = rmdir\n")
    machine.restart_rsyslog()
    key = jail(machine, "alice")
    commands = [
        "-rm missing",
        "-put /etc/hostname /outside",
        "put /etc/hostname a",
        "rename a b",
        "mkdir c",
        "-rmdir c",
        "rm b",
    ]
    machine.sftp("alice", key, commands)
    done = [
        (r["operation"], r["path"], r["to"], r["failed"])
        for r in told(machine)
        if r["kind"] == "operation"
        and r["operation"] not in ("realpath", "lstat", "stat", "set", "status")
    ]
    assert ("open", "/outside", "WRITE,CREATE,TRUNCATE", "Permission denied") in done
    assert ("posix-rename", "/home/alice/a", "/home/alice/b", None) in done
    assert ("mkdir", "/home/alice/c", None, None) in done
    assert ("rmdir", None, None, "refused") in done
    assert ("remove", "/home/alice/b", None, None) in done


def test_every_message_of_debugging_is_understood(machine: Machine) -> None:
    """At DEBUG3 success is logged too, so a later failure of something else is not that of a removal."""
    machine.start_rsyslog()
    ready(machine, "[logs]\nlevel = DEBUG3\n")
    machine.restart_rsyslog()
    key = jail(machine, "alice")
    commands = [
        "put /etc/hostname a",
        "get a /root/a",
        "ls -l",
        "df",
        "ln -s a b",
        "ln a c",
        "chmod 600 a",
        "rm b",
        "-get nothing",
    ]
    machine.sftp("alice", key, commands)
    records = told(machine)
    unknown = [r["line"] for r in records if r["kind"] == "unknown"]
    assert unknown == []
    done = {r["operation"]: r["failed"] for r in records if r["kind"] == "operation"}
    assert {"symlink", "hardlink", "remove", "statvfs", "opendir", "set"} <= done.keys() and done[
        "remove"
    ] is None


# -- what the command says -----------------------------------------------------------------------


def test_no_log_a_wrong_time_and_a_file_that_cannot_be_read(machine: Machine) -> None:
    machine.write(CONFIG, "[logs]\nbackend = none\n")
    done = machine.run("sftpjail", "log", check=False)
    assert done.code == 1 and "nothing is logged" in done.err and "sftpjail setup" in done.err
    machine.write(CONFIG, "")
    done = machine.run("sftpjail", "log")
    assert "nothing has been transferred yet" in done.err and done.out == ""
    machine.write(LOG, "")
    assert json.loads(machine.run("sftpjail", "log", "--json").out)["lines"] == 0
    done = machine.run("sftpjail", "log", "--since", "the day of days", check=False)
    assert done.code == 2 and "--since 'the day of days'" in done.err
    assert machine.run("sftpjail", "log", "--follow", "--summary", check=False).code == 2
    machine.run("chmod", "600", LOG)
    done = machine.run("setpriv", "--reuid=65534", "--clear-groups", "sftpjail", "log", check=False)
    assert done.code == 1 and f"cannot read {LOG}: Permission denied" in done.err
    machine.sh(f"rm {LOG}; mkdir {LOG}")
    assert "it is not a file" in machine.run("sftpjail", "log", check=False).err


def test_since_and_until_filter_what_is_shown_not_what_is_known(machine: Machine) -> None:
    lines = ["09:00:00 host internal-sftp[7]: session opened for local user gone from [::1]"]
    lines += [
        f'{hour:02}:00:00 host internal-sftp[7]: close "/{hour}" bytes read 0 written 1'
        for hour in range(10, 15)
    ]
    machine.write(LOG, "".join(f"2026-11-20T{line.replace(' ', '+00:00 ', 1)}\n" for line in lines))
    out = machine.run(
        "sftpjail",
        "log",
        "gone",
        "--since",
        "2026-11-20 11:00 UTC",
        "--until",
        "2026-11-20 13:00 UTC",
        "--json",
    ).out
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["user"], r["path"]) for r in records if r["kind"] == "transfer"] == [
        ("gone", f"/{h}") for h in (11, 12, 13)
    ]
    assert [(r["user"], r["how"]) for r in records if r["kind"] == "session"] == [("gone", "lost")]
    assert machine.run("sftpjail", "log", "nobody").out == ""


def test_a_terminal_gets_a_table_and_bars(machine: Machine) -> None:
    line = '2026-11-20T10:00:00+00:00 host internal-sftp[7]: close "/x\\033[31m" bytes read 0 written 1234567\n'
    machine.write(LOG, line)
    for locale, bar in (("C.UTF-8", "█"), ("POSIX", "=")):
        shown = f"LC_ALL={locale} sftpjail log; LC_ALL={locale} sftpjail log --summary"
        out = machine.run("script", "-qec", shown, "/dev/null").out.replace("\r", "")
        row = '10:00:00 -          -               put        1.2 MB "/x\\x1b[31m" (unverified)'
        assert f"2026-11-20\n{row}\n" in out
        assert "0 sessions, 1 transfer: 0 B down, 1.2 MB up" in out and bar * 16 in out
        assert "- (?)" in out and "1 unverified record:" in out


def test_signals_end_a_long_run(machine: Machine) -> None:
    machine.sh(f"seq 2000000 | sed 's/.*/2026-11-20T10:00:00+00:00 host x[&]: y/' >{LOG}")
    process = subprocess.Popen(
        machine.argv("sftpjail", "log"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    machine.sh(
        "until pgrep -f 'sftpjail log$' >/dev/null; do sleep 0.02; done; sleep 0.3; pkill -INT -f 'sftpjail log$'"
    )
    _, err = process.communicate(timeout=10)
    assert process.returncode in (130, -signal.SIGINT) and b"Traceback" not in err
