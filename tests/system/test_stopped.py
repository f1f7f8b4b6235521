"""What stops a command from outside: signals to all of its group, a lost terminal, a full disk, a read-only /etc."""

from __future__ import annotations

import time

import pytest
from machine import Machine, changes
from steps import jail, ready, snapshot, web

ADD = "sftpjail add eve --key /root/keys/more.pub --mount /srv/web:/web"
TAKE_BACK = "sftpjail remove eve --delete-account; rm -rf /home/eve"
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the time that the command takes undisturbed
# The signal goes to the command and all that it has started; or its terminal goes, as with a lost ssh session.
STOPS = {
    "TERM": f"timeout -s TERM {{}} {ADD}",
    "INT": f"timeout -s INT {{}} {ADD}",
    "terminal": f"timeout -s KILL --foreground {{}} script -qec '{ADD}' /dev/null </dev/null",
}
COMMANDS = (
    "add eve",
    "adopt bob",
    "remove alice",
    "remove alice --delete-account",
    "mount alice /srv/web /a/b",
    "umount alice /web",
    "key add alice /root/keys/more.pub",
    "disable alice",
    "set alice --from 127.0.0.0/8",
    "undo --yes",
    "apply",
)


def furnish(machine: Machine) -> None:
    ready(machine)
    web(machine, "/srv/web")
    machine.keygen("more")
    jail(machine, "alice")
    machine.sh("useradd -m bob; sftpjail mount alice /srv/web /web")


@pytest.mark.whole
@pytest.mark.parametrize("how", STOPS)
def test_all_of_a_group_is_stopped(machine: Machine, how: str) -> None:
    furnish(machine)
    machine.sh(f"{ADD}; {TAKE_BACK}")
    before = snapshot(machine)
    began = time.monotonic()
    machine.sh(ADD)
    took = time.monotonic() - began
    after = snapshot(machine)
    machine.sh(TAKE_BACK)
    assert changes(before, snapshot(machine)) == {}
    for moment in MOMENTS:
        done = machine.sh(STOPS[how].format(f"{moment * took:.3f}"), check=False)
        assert "Traceback" not in done.err and "a bug:" not in done.err, done
        machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
        now = snapshot(machine)
        assert now in (before, after), (moment, done, changes(before, now), changes(after, now))
        assert not machine.exists("/var/lib/sftpjail/journal"), done
        if "put back" in done.err or "nothing was changed" in done.err:
            assert now == before, done
        if now == after:
            machine.sh(TAKE_BACK)


def test_a_full_disk_and_a_read_only_etc_change_nothing(machine: Machine) -> None:
    furnish(machine)
    for breaks, mends in (
        ("mount --bind /etc /etc; mount -o remount,bind,ro /etc", "umount /etc"),
        (
            "cp -a /var/lib/sftpjail /run/kept; mount -t tmpfs -o mode=700,size=128k none"
            " /var/lib/sftpjail; cp -a /run/kept/. /var/lib/sftpjail;"
            " cat /dev/zero >/var/lib/sftpjail/fills 2>/dev/null || :",
            "umount /var/lib/sftpjail; rm -rf /run/kept",
        ),
    ):
        machine.sh(breaks)
        for words in COMMANDS:
            before = snapshot(machine)
            done = machine.run("sftpjail", *words.split(), check=False)
            said = [line for line in done.err.splitlines() if line.startswith("sftpjail: ")]
            assert "Traceback" not in done.err and "a bug:" not in done.err, done
            assert changes(before, snapshot(machine)) == {}, done
            assert done.code == (0 if words == "apply" else 1) and len(said) == done.code, done
        machine.sh(mends)
        assert machine.run("sftpjail", "check").code == 0
