"""The commands of an account's life, by each way in: key, password and certificate, with PAM and without."""

from __future__ import annotations

import pytest
from machine import CONFIG, Machine
from steps import QUIET, by_password, jail, ready, session, works

PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\ntrusted_ca = /etc/ssh/ca.pub\n"
ALL = "key password certificate"


class Ann:
    """ann, who has a key, a password and a certificate, on a host that `setup` has set up."""

    def __init__(self, machine: Machine, pam: str, config: str) -> None:
        self.machine = machine
        machine.sh("ssh-keygen -q -t ed25519 -N '' -f /root/ca; cp /root/ca.pub /etc/ssh/ca.pub")
        lines = f"UsePAM {pam}\nPasswordAuthentication yes\n{machine.patience()}"
        machine.write("/etc/ssh/sshd_config.d/00-test.conf", lines)
        ready(machine, config)
        self.key, self.ticket = jail(machine, "ann"), machine.keygen("ticket")
        machine.sh("echo ann:pw | chpasswd")
        machine.run(
            "ssh-keygen",
            "-q",
            "-s",
            "/root/ca",
            "-I",
            "x",
            "-n",
            "ann",
            "-V",
            "+1d",
            f"{self.ticket}.pub",
        )

    def ways(self) -> str:
        """By what she gets in now."""
        found = {
            "key": self._by(self.key),
            "password": by_password(self.machine, "ann") == 0,
            "certificate": self._by(self.ticket),
        }
        return " ".join(way for way, lets_in in found.items() if lets_in)

    def _by(self, key: str) -> bool:
        done = self.machine.sftp("ann", key, ["pwd"])
        assert done.code in (0, 255), done
        return done.code == 0

    def after(self, *argv: str, input: str | None = None) -> str:
        """By what she gets in after a command."""
        self.machine.run(*argv, input=input)
        return self.ways()


@pytest.mark.halved
@pytest.mark.parametrize("pam", ["yes", "no"])
def test_each_command_by_each_way_in(machine: Machine, pam: str) -> None:
    ann = Ann(machine, pam, f"{PROFILE}{'connections = 9' if pam == 'yes' else ''}\n")
    bob = jail(machine, "bob", "-p", "*")
    hashed = machine.run("openssl", "passwd", "-6", "pw").out
    assert ann.after("sftpjail", "set", "ann", "--expires", "2099-12-31") == ALL
    # The day has come, and is put off.
    assert ann.after("usermod", "-e", "2001-01-01", "ann") == ""
    assert ann.after("sftpjail", "set", "ann", "--expires", "never") == ALL
    with session(machine, "ann", ann.key, "/"):
        assert ann.after("sftpjail", "disable", "ann") == ""
        assert machine.sh("pgrep -u ann || :").out != "", "it goes on"
        machine.run("sftpjail", "disable", "--now", "ann")
        assert machine.sh("pgrep -u ann || :").out == ""
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"
    works(machine, "bob", bob)
    assert ann.after("sftpjail", "enable", "ann") == ALL
    with session(machine, "ann", ann.key, "/"):
        assert ann.after("sftpjail", "kick", "ann") == ALL
    other = machine.keygen("other")
    assert ann.after("sftpjail", "key", "replace", "ann", "ann", f"{other}.pub") == ALL[4:]
    works(machine, "ann", other)
    machine.run("sftpjail", "key", "replace", "--overlap", "7d", "ann", "other", f"{ann.key}.pub")
    works(machine, "ann", other)
    assert ann.after("sftpjail", "set", "ann", "--no-password") == "key certificate"
    assert ann.after("sftpjail", "set", "ann", "--password", input=hashed) == ALL
    if pam == "yes":
        machine.run("sftpjail", "set", "ann", "--connections", "1")
        with session(machine, "ann", ann.key, "/"):
            assert ann.ways() == ""
        machine.sh("while pgrep -u ann >/dev/null; do sleep 0.1; done", timeout=20)
        assert ann.ways() == ALL
    machine.append(CONFIG, "passwords = no\n")
    assert ann.after("sftpjail", "setup", "--yes") == "key certificate"
    works(machine, "bob", bob)
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"
