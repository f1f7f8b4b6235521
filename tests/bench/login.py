#!/usr/bin/python3
"""What a login in a jail costs beside an ordinary account's SFTP on the same host, interleaved: medians of 30.

usage: python3 tests/bench/login.py [ROUNDS], as root, in a throw-away machine: with systemd

    tests/sandbox --root trixie --boot -- python3 tests/bench/login.py

and the same without --boot. It installs the checkout, makes a jail with each kind of mounts, and
prints for each the median of the jailed logins, that of the plain ones between them, their ratio
and their difference. With systemd the user manager that a plain login starts stays for ten seconds:
once each login is the first one, and once it finds the manager of the one before, if there is any.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]
KEY = "/root/bench-key"
CONFIG = Path("/etc/sftpjail/sftpjail.conf")
PROFILES = "[profiles]\n[[sftponly]]\nmounts = {kind}\n"


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command; a failure is this script's."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return done


def start(booted: bool) -> int:
    """Have sshd run, and the log daemon; return sshd's port."""
    if booted:
        run("systemctl", "start", "ssh")
        return 22
    os.makedirs("/run/sshd", exist_ok=True)
    run("ssh-keygen", "-A")
    subprocess.Popen(["rsyslogd", "-n", "-i", "/run/rsyslogd.pid"], stdin=subprocess.DEVNULL)
    while not os.path.exists("/dev/log"):
        time.sleep(0.05)
    run("/usr/sbin/sshd", "-p", "2222", "-o", "PidFile=/run/sshd.pid")
    return 2222


def prepare(kind: str) -> None:
    """Set the host up with one kind of mounts, and a jailed account beside an ordinary one."""
    CONFIG.write_text(PROFILES.format(kind=kind))
    run("sftpjail", "setup")
    if run("id", "plain", check=False).returncode:
        run("useradd", "-m", "-s", "/bin/sh", "plain")
        run("useradd", "-m", "-G", "sftponly", "jailed")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
        run("install", "-d", "-o", "plain", "-m", "700", "/home/plain/.ssh")
        run("install", "-o", "plain", "-m", "600", f"{KEY}.pub", "/home/plain/.ssh/authorized_keys")
        run("sftpjail", "key", "add", "jailed", f"{KEY}.pub")
        os.makedirs("/srv/shown", exist_ok=True)
        run("sftpjail", "mount", "jailed", "/srv/shown", "/shown")
    run("sftpjail", "apply")


def login(user: str, port: int) -> float:
    """Return how many milliseconds a login takes that lists a directory and leaves."""
    options = [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ]
    options += ["LogLevel=ERROR"]
    argv = ["sftp", "-b", "-", "-F", "none", "-i", KEY, "-P", str(port)]
    argv += [*(f"-o{option}" for option in options), f"{user}@127.0.0.1"]
    begin = time.monotonic()
    done = subprocess.run(argv, input="ls\n", capture_output=True, text=True, check=False)
    taken = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(f"the login of {user} failed: {done.stdout}{done.stderr}")
    return taken * 1000


def end_manager(user: str) -> None:
    """Stop the user manager that an earlier login has left behind."""
    uid = run("id", "-u", user).stdout.strip()
    run("systemctl", "stop", f"user@{uid}.service", check=False)


def measure(rounds: int, port: int, first: bool) -> tuple[float, float]:
    """Return the medians of jailed and plain logins, made in turns; FIRST: no manager is left of an earlier one."""
    taken: dict[str, list[float]] = {"jailed": [], "plain": []}
    for user in taken:
        login(user, port)
    for number in range(rounds):
        for user in ("jailed", "plain") if number % 2 else ("plain", "jailed"):
            if first:
                end_manager(user)
            time.sleep(0.05)  # what the last one left behind ends
            taken[user].append(login(user, port))
    return statistics.median(taken["jailed"]), statistics.median(taken["plain"])


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    booted = os.path.isdir("/run/systemd/system")
    run("make", "-C", str(PROJECT), "install", "prefix=/usr")
    port = start(booted)
    for kind in ("fstab", "session"):
        prepare(kind)
        for first in (True, False) if booted else (False,):
            jailed, plain = measure(rounds, port, first)
            where = (
                "without systemd"
                if not booted
                else "booted, the first"
                if first
                else "booted, again"
            )
            print(
                f"login, {where}, mounts = {kind}: jailed {jailed:.0f} ms, plain {plain:.0f} ms, "
                f"ratio {jailed / plain:.2f}, difference {jailed - plain:+.0f} ms"
            )


main()
