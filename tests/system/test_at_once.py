"""Many commands at once: they wait for each other, and no line is lost."""

from __future__ import annotations

from machine import Machine
from steps import fstab, jail, mounted, ready, works


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
