#!/usr/bin/python3
"""What commands cost on a host of many jails: processor time, and the most memory that they take.

usage: python3 tests/bench/many.py [ACCOUNTS], as root, in a throw-away machine:

    tests/sandbox --root trixie -- python3 tests/bench/many.py 10000

It installs the checkout and makes ACCOUNTS accounts (2,000), each with a key and a mount, from one
CSV, in jails with `mounts = session`. It prints for each command the seconds of user and system
time and of the clock, with the programs that the command starts, and its largest resident set.
Compare user time: unlike the clock it changes little with what else a machine does.
"""

from __future__ import annotations

import base64
import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CONFIG = Path("/etc/sftpjail/sftpjail.conf")
FILE = Path("/root/accounts.csv")
FIRST = 20000  # the uid of the first account


def run(*argv: str) -> None:
    """Run a command; a failure is this script's."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stdout}{done.stderr}")


def public_key() -> str:
    """Return a public key that no private key belongs to."""
    words = (b"ssh-ed25519", os.urandom(32))
    blob = b"".join(len(word).to_bytes(4, "big") + word for word in words)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} made@bench"


def prepare(accounts: int) -> None:
    """Install sftpjail, set the host up, and write the file of accounts."""
    run("make", "-C", str(PROJECT), "install", "prefix=/usr")
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text("[profiles]\n[[sftponly]]\nmounts = session\n")
    run("ssh-keygen", "-A")
    os.makedirs("/run/sshd", exist_ok=True)
    run("sftpjail", "setup")
    run("rsyslogd", "-i", "/run/rsyslogd.pid")
    run("/usr/sbin/sshd")
    os.makedirs("/srv/web")
    with FILE.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(("name", "uid", "keys", "mounts"))
        for number in range(accounts):
            rows.writerow((f"user{number}", FIRST + number, public_key(), "/srv/web:/web:ro"))


def measured(*argv: str) -> None:
    """Run a command and print what it took."""
    began = time.monotonic()
    with open("/root/output", "wb") as output:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    failed = "" if os.waitstatus_to_exitcode(status) == 0 else f"  (exit status {status >> 8})"
    print(
        f"{' '.join(argv):<44} {used.ru_utime:8.2f} {used.ru_stime:8.2f} {seconds:8.2f}"
        f" {used.ru_maxrss / 1024:8.0f}{failed}",
        flush=True,
    )
    if failed:
        sys.stdout.write(Path("/root/output").read_text(errors="replace")[-2000:])


def main() -> None:
    """Measure each command once."""
    accounts = int(sys.argv[1]) if sys.argv[1:] else 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
    prepare(accounts)
    key = Path("/root/key.pub")
    key.write_text(public_key() + "\n")
    print(f"{accounts} accounts: seconds of user time, of system time and of the clock; MB")
    measured("sftpjail", "--version")
    measured("sftpjail", "apply", str(FILE))
    measured("sftpjail", "apply", str(FILE))
    measured("sftpjail", "apply")
    measured("sftpjail", "check")
    measured("sftpjail", "list")
    measured("sftpjail", "review")
    measured("sftpjail", "explain", "user7")
    measured("sftpjail", "key", "add", "user7", str(key))
    measured("sftpjail", "set", "user7", "--expires", "2099-12-31")
    measured("useradd", "-m", "-G", "sftponly", "another")
    measured("useradd", "-m", "stranger")
    measured("sftpjail", "list")


if __name__ == "__main__":
    main()
