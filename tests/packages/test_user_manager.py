"""No user manager for members, whatever becomes of the package; and one for everybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builds import Build
from hosts import Debian
from machine import Machine

from sftpjail.formats.user_managers import DIRECTORY, DROPIN

pytestmark = pytest.mark.debian


@pytest.fixture
def machine(built: Build) -> Iterator[Machine]:
    with Machine(boot=True) as machine:
        Debian(machine).install(built.deb)
        yield machine


def begins(machine: Machine, name: str) -> bool:
    """Whether systemd starts a user manager when asked to; what it says decides, for logind may end it at once."""
    service = f"user@{machine.run('id', '-u', name).out.strip()}.service"

    def said() -> tuple[int, int]:
        """How many starts and how many refusals, by the script or by the mark it left."""
        machine.run("journalctl", "--sync")
        lines = machine.run("journalctl", "--no-pager", "-o", "cat", "-u", service).out
        skipped = ("Skipped due to 'exec-condition'", "unmet condition check")
        return lines.count(f"Started {service}"), sum(map(lines.count, skipped))

    before = said()
    machine.run("systemctl", "start", service, check=False)
    after = said()
    machine.run("systemctl", "stop", service, check=False)
    assert sum(after) == sum(before) + 1, (before, after)
    return after[0] > before[0]


def test_a_member_gets_none_and_a_stranger_does(machine: Machine, built: Build) -> None:
    host = Debian(machine)
    machine.run("useradd", "-m", "bob")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    closed = {"alice": False, "bob": True}
    machine.let_the_path_unit_apply()
    assert {name: begins(machine, name) for name in closed} == closed

    # A host that an earlier version has set up, where a manager runs: an upgrade closes it.
    alice = f"user@{machine.run('id', '-u', 'alice').out.strip()}.service"
    machine.run("rm", "-r", DIRECTORY)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemd-run", "--quiet", "--wait", "loginctl", "enable-linger", "alice")
    machine.sh(
        f"for n in $(seq 50); do systemctl -q is-active {alice} && exit; sleep 0.1; done; exit 1"
    )
    machine.run("dpkg", "--install", host.put(built.deb))
    assert machine.run("systemctl", "is-active", alice, check=False).out == "inactive\n"
    machine.run("systemd-run", "--quiet", "--wait", "loginctl", "disable-linger", "alice")
    assert {name: begins(machine, name) for name in closed} == closed

    machine.run("dpkg", "--unpack", host.put(built.deb))
    assert {name: begins(machine, name) for name in closed} == closed
    machine.run("dpkg", "--configure", "sftpjail")
    host.remove()
    assert not machine.exists("/usr/bin/sftpjail") and machine.exists(DROPIN)
    assert {name: begins(machine, name) for name in closed} == closed
    purged = host.purge()
    assert not machine.exists(DIRECTORY), purged.out[-1500:] + purged.err[-1500:]
    # The account has expired, so that PAM refuses one.
    assert begins(machine, "bob")
    assert machine.run("systemctl", "start", alice, check=False).code != 0
