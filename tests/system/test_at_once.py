"""Many commands at once: they wait for each other, and no line is lost."""

from __future__ import annotations

import re

import pytest
from machine import Machine
from steps import fstab, jail, mounted, ready, works

pytestmark = pytest.mark.halved
SLOW = "#!/bin/sh\nuntil [ -s /root/second ]; do sleep 0.1; done\n"
# Holds the lock of lckpwdf(3) until somebody has waited for it.
HOLD = """import fcntl, os, time
with open("/etc/.pwd.lock", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    open("/root/held", "w").close()
    while not os.path.exists("/root/third") or not os.path.getsize("/root/third"):
        time.sleep(0.1)
"""
# What a container sees that has /var/lib of the host, and not its /run.
APART = """mount --make-rprivate /
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
timeout 30 sftpjail check 2>&1 | grep interrupted >/root/looked
timeout 60 sftpjail apply 2>/root/second
"""


def test_different_commands(machine: Machine) -> None:
    ready(machine)
    machine.run("sftpjail", "add", "alice")
    machine.sh(
        "for n in 1 2 3 4 5; do mkdir /srv/$n; ssh-keygen -q -t ed25519 -N '' -C $n -f /root/k$n; done"
    )
    machine.sh(
        "for n in 1 2 3 4 5; do sftpjail mount alice /srv/$n /$n & sftpjail key add alice /root/k$n.pub &"
        "sftpjail apply & sftpjail list & done; wait"
    )
    assert len(mounted(machine)) == len(fstab(machine, "alice")) == 6
    for number in range(1, 6):
        works(machine, "alice", f"/root/k{number}")


def test_arrivals_and_departures(machine: Machine) -> None:
    """Every one of them works, and every one of them goes without a trace."""
    ready(machine)
    for number in range(8):
        jail(machine, f"old{number}")
    machine.sh(
        "for n in 0 1 2 3 4 5 6 7; do { useradd -m -G sftponly new$n; echo $? >/root/code.new$n; } &"
        "{ userdel -r old$n; echo $? >/root/code.old$n; } & done; wait",
        timeout=200,
    )
    assert machine.sh("cat /root/code.*").out.split() == ["0"] * 16
    names = [f"new{number}" for number in range(8)]
    assert mounted(machine) == [f"/srv/sftp/{name}/home/{name}" for name in names]
    assert machine.sh("ls /srv/sftp; ls /etc/ssh/authorized_keys").out.split() == names
    key = machine.keygen("all")
    for name in names:
        machine.run("sftpjail", "key", "add", name, f"{key}.pub")
        assert f"Remote working directory: /home/{name}" in works(machine, name, key).out
    assert machine.run("sftpjail", "check").out == "8 jails checked, no problems\n"


def test_a_wait_says_for_whom(machine: Machine) -> None:
    """The hook that runs, who holds our lock, and who holds that of passwd(5)."""
    ready(machine)
    machine.run("sftpjail", "add", "alice")
    machine.write("/etc/sftpjail/hooks/mount.d/slow", SLOW, 0o755)
    machine.sh(
        "mkdir /srv/web; sftpjail mount --read-only alice /srv/web /web 2>/root/first & first=$!;"
        "until [ -s /root/first ]; do sleep 0.1; done; sftpjail apply 2>/root/second; wait $first"
    )
    hook = "/etc/sftpjail/hooks/mount.d/slow (hook script of mount), pid "
    assert machine.read("/root/first").startswith(f"sftpjail: waiting for {hook}")
    holder = re.fullmatch(
        r"sftpjail: waiting for pid \d+ \((.*)\), which holds (\S+)\n", machine.read("/root/second")
    )
    assert holder and holder.groups() == (
        "sftpjail mount --read-only alice /srv/web /web",
        "/run/sftpjail/lock",
    )
    machine.run("rm", "/etc/sftpjail/hooks/mount.d/slow")
    machine.write("/root/hold", HOLD)
    machine.sh(
        "python3 /root/hold & until [ -e /root/held ]; do sleep 0.1; done;"
        "sftpjail add bob 2>/root/third; wait"
    )
    assert "(hold), which holds /etc/.pwd.lock\n" in machine.read("/root/third")


def test_another_run_directory_is_no_way_around_a_journal(machine: Machine) -> None:
    """A mount namespace has a /run of its own, and the same /var/lib: the lock there counts too."""
    ready(machine)
    machine.run("sftpjail", "add", "alice")
    machine.write("/etc/sftpjail/hooks/mount.d/slow", SLOW, 0o755)
    machine.write("/root/apart", APART, 0o755)
    mount = "sftpjail mount --read-only alice /srv/web /web"
    machine.sh(
        f"mkdir /srv/web; {mount} 2>/root/first & first=$!;"
        "until [ -e /var/lib/sftpjail/journal ] && [ -s /root/first ]; do sleep 0.1; done;"
        "unshare -m sh /root/apart; wait $first; echo $? >/root/code",
        timeout=120,
    )
    assert machine.read("/root/looked") == "", "check says that a run was interrupted"
    said = machine.read("/root/second")
    assert re.match("sftpjail: waiting for .*( |, which )holds /var/lib/sftpjail\n", said), said
    assert machine.read("/root/code") == "0\n", machine.read("/root/first")
    assert mounted(machine) == ["/srv/sftp/alice/home/alice", "/srv/sftp/alice/web"]
