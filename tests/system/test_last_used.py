"""When keys were last used: by PAM at the login, by sshd's log, and never in the way of a login."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from machine import Machine
from steps import QUIET, by_password, jail, open_with_key, ready, refused, works

pytestmark = pytest.mark.halved

SESSION = f"{QUIET}[profiles]\n[[sftponly]]\nmounts = session\n"
SEEN = "/var/lib/sftpjail/seen"


def keys(machine: Machine, name: str = "ann") -> dict[str, dict[str, Any]]:
    found = json.loads(machine.run("sftpjail", "--json", "key", "list", name).out)
    assert (found["records_since"] or 0) <= time.time()
    return {key["comment"]: key for key in found["keys"]} | {"": found}


def second_key(machine: Machine) -> str:
    key = machine.keygen("spare")
    machine.run("sftpjail", "key", "add", "ann", f"{key}.pub")
    return key


def is_now(at: int | None) -> bool:
    return at is not None and abs(time.time() - at) < 60


def until(machine: Machine, script: str) -> None:
    machine.sh(f"for n in $(seq 100); do {script} && exit 0; sleep 0.1; done; exit 1")


def test_by_the_log_of_sshd(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    key = jail(machine, "ann")
    second_key(machine)
    works(machine, "ann", key)
    machine.wait_for("/var/log/auth.log", "Accepted publickey for ann")
    found = keys(machine)
    assert is_now(found["ann"]["used"]) and found["ann"]["from"] == "127.0.0.1", found
    assert is_now(found["ann"]["added"]) and found["ann"]["added_by"], found
    assert found["spare"]["used"] is None is found["spare"]["from"], found
    assert found[""]["records_since"]
    row = machine.run("sftpjail", "key", "list", "ann").out.splitlines()[0].split("\t")
    assert row[4] == "ann" and row[7] == "127.0.0.1" and row[6].startswith("20"), row
    assert machine.run("ls", "-A", SEEN).out == "", "who only reads has written"
    # Nobody else's key counts, whatever the log says of it.
    machine.sh("logger -t sshd -p auth.info 'Accepted publickey for bob from ::1 port 1 ssh2'")
    assert keys(machine)["spare"]["used"] is None
    # A log that no daemon writes any more does not say that nobody came.
    machine.write("/var/log/auth.log", "2020-01-02T12:00:00+00:00 host cron[1]: hello\n")
    assert keys(machine)[""]["records_since"] is None
    words = refused(machine, "sftpjail", "review", "--inactive", "1d", "--disable", "--yes")
    assert "nothing has been written to /var/log/auth.log since 2020-01-02" in words, words


@pytest.mark.booted
def test_by_the_journal_every_hour(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    booted.run("systemctl", "stop", "sftpjail.path")
    key = jail(booted, "ann")
    works(booted, "ann", key)
    uid = booted.run("id", "-u", "ann").out.strip()
    until(booted, "journalctl -q -t sshd -t sshd-session | grep -q 'Accepted publickey for ann'")
    assert is_now(keys(booted)["ann"]["used"])
    booted.sh(f"rm -f {SEEN}/*")
    booted.run("systemctl", "start", "sftpjail.service")
    fingerprint, at, address, _ = booted.read(f"{SEEN}/{uid}").split()
    assert fingerprint == keys(booted)["ann"]["fingerprint"], booted.read(f"{SEEN}/{uid}")
    assert is_now(int(at)) and address == "127.0.0.1" and booted.mode(SEEN) == "root:root 700"
    # What the journal has lost before anybody read it is a gap, and what was kept stays.
    since = keys(booted)[""]["records_since"]
    assert since == keys(booted)[""]["records_since"]
    booted.sh("sleep 1; journalctl --rotate && journalctl --vacuum-time=1s && logger x")
    assert keys(booted)[""]["records_since"] > since
    assert is_now(keys(booted)["ann"]["used"])
    # Somebody who only calls himself sshd is not believed.
    booted.sh(
        "setpriv --reuid=nobody logger -t sshd 'Accepted password for ann from ::9 port 1 ssh2'"
    )
    booted.run("rm", "-r", SEEN)
    assert "::9" not in booted.run("sftpjail", "--json", "key", "list", "ann").out


def test_by_pam_at_the_login(machine: Machine) -> None:
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, SESSION)
    key = jail(machine, "ann")
    machine.sh("echo ann:pw | chpasswd")
    uid = machine.run("id", "-u", "ann").out.strip()
    file = f"{SEEN}/{uid}"
    works(machine, "ann", key)
    until(machine, f"test -e {file}")
    found = keys(machine)
    assert is_now(found["ann"]["used"]) and found["ann"]["from"] == "127.0.0.1", found
    assert is_now(found[""]["records_since"])
    # Where an sshd cannot write, nobody knows.
    machine.sh(
        f"unshare -m sh -c 'mount --bind {SEEN} {SEEN} && mount -o remount,bind,ro {SEEN} && "
        f"exec /usr/sbin/sshd -p 2223 -o PidFile=/run/readonly.pid'; "
        f"for n in $(seq 100); do test -s /run/readonly.pid && exit 0; sleep 0.1; done; exit 1"
    )
    assert keys(machine)[""]["records_since"] is None
    machine.sh("kill $(cat /run/readonly.pid)")
    until(machine, "test ! -e /run/readonly.pid")
    # Who has the uid of somebody who is gone has not used what he used.
    assert is_now(keys(machine)[""]["records_since"])
    machine.sh(
        f"useradd -m -u 4001 bob; echo 'SHA256:x 1 ::1 5' >{SEEN}/4001; gpasswd -a bob sftponly"
    )
    machine.run("sftpjail", "apply")
    assert not machine.exists(f"{SEEN}/4001")
    # At most once a minute, and other ways in have a line of their own.
    written = machine.read(file)
    works(machine, "ann", key)
    assert by_password(machine, "ann") == 0
    until(machine, f"grep -q '^[pk][^ ]* ' {file}")
    assert machine.read(file).startswith(written)
    # An old one is written again; a line that is none is dropped.
    machine.sh(f"sed -i 's/^\\(SHA256[^ ]*\\) [0-9]*/\\1 1000/; $a rubbish' {file}")
    works(machine, "ann", key)
    until(machine, f"! grep -q ' 1000 ' {file}")
    assert "rubbish" not in machine.read(file)
    # Whatever becomes of the file, the login is not held up.
    for breaking in (
        f"rm -r {SEEN} && mkdir {SEEN} && mkfifo {SEEN}/new",
        f"rm -r {SEEN} && mkdir {SEEN} && mount -t tmpfs -o size=4k none {SEEN} && "
        f"head -c 4k /dev/zero >{SEEN}/full",
        f"umount {SEEN} && rmdir {SEEN} && touch {SEEN}",
    ):
        machine.sh(breaking)
        works(machine, "ann", key)
        until(machine, "! pgrep -x pam-session")
    machine.sh(f"rm {SEEN}")
    machine.run("sftpjail", "setup")
    works(machine, "ann", key)
    until(machine, f"test -e {file}")
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert not machine.exists(SEEN)


def test_that_nobody_keeps_it_is_said(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "ann")
    works(machine, "ann", key)
    found = keys(machine)
    assert found["ann"]["used"] is None and found[""]["records_since"] is None
    refused(machine, "sftpjail", "key", "list", "bob", says="there is no account bob")
    assert open_with_key(machine, "ann") == key
