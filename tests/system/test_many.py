"""Fifty accounts at once: one lock, no line lost."""

from __future__ import annotations

from machine import Machine
from steps import ready, works


def test_fifty_useradds_started_at_once(machine: Machine) -> None:
    ready(machine)
    machine.sh(
        "for n in $(seq 50); do { useradd -m -G sftponly u$n; echo $? >/root/code.$n; } & done; wait",
        timeout=300,
    )
    assert machine.sh("cat /root/code.*").out.split() == ["0"] * 50
    assert machine.sh("grep -c x-sftpjail.user=u /etc/fstab").out.strip() == "50"
    assert machine.sh("sftpjail list | grep -cw keyless").out.strip() == "50"
    machine.run("findmnt", "--verify", "--tab-file", "/etc/fstab")
    key = machine.keygen("all")
    for number in range(1, 51):
        machine.run("sftpjail", "key", "add", f"u{number}", f"{key}.pub")
        if number % 10 == 0:
            works(machine, f"u{number}", key)
    machine.run("sftpjail", "check")
