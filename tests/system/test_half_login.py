"""Logins that sshd has begun by one set of rules, and ends while sftpjail has changed them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from machine import Machine
from steps import QUIET, choice, ready, refused

# ssh asks it for the password when sshd knows the name of the account already.
ASK = """#!/bin/sh
touch /root/asked
while [ ! -e /root/go ]; do sleep 0.05; done
echo secret
"""


@contextmanager
def begun(machine: Machine, *remote: str) -> Iterator[subprocess.Popen[str]]:
    """A login of bob that waits for its password."""
    machine.write("/root/ask", ASK, 0o755)
    machine.sh("rm -f /root/asked /root/go")
    options = [word for word in machine._client("none", "-p") if word != "-oBatchMode=yes"]
    options.append("-oPreferredAuthentications=password")
    argv = ("env", "SSH_ASKPASS=/root/ask", "SSH_ASKPASS_REQUIRE=force", "ssh", *options)
    process = subprocess.Popen(
        machine.argv(*argv, *remote),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        machine.sh("until [ -e /root/asked ]; do sleep 0.1; done")
        yield process
    finally:
        machine.sh("touch /root/go")
        process.kill()
        process.communicate()


def ends(machine: Machine, process: subprocess.Popen[str]) -> tuple[int, str]:
    """Say the password; return the exit code and what the login has printed."""
    machine.sh("touch /root/go")
    said = process.communicate(timeout=60)[0]
    return process.returncode, said


def test_a_login_that_has_begun_goes_by_the_former_rules(machine: Machine) -> None:
    machine.write(
        "/etc/ssh/sshd_config.d/00-test.conf", f"{machine.patience()}PasswordAuthentication yes\n"
    )
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\npasswords = yes\n")
    machine.sh("useradd -m -s /bin/sh bob && echo bob:secret | chpasswd")
    sftp = ("-s", "bob@127.0.0.1", "sftp")
    # It would get a shell, and so it is not left behind.
    with begun(machine, "bob@127.0.0.1", "ls /etc/shadow") as process:
        said = refused(machine, "sftpjail", "adopt", "bob")
        assert "unfinished login" in said and "sftpjail adopt --close bob" in said, said
        assert ends(machine, process) == (0, "/etc/shadow\n")
    with begun(machine, "bob@127.0.0.1", "ls /etc/shadow") as process:
        said = refused(machine, "sftpjail", "adopt", "bob")
        machine.sh(choice(said, "to end that"))
        code, said = ends(machine, process)
        assert code == 255 and "/etc/shadow" not in said, said
    with begun(machine, *sftp) as process:
        assert ends(machine, process)[0] == 0
    # One of the jail, which is gone when it wants to open a session: closed, and the next one is not.
    with begun(machine, *sftp) as process:
        machine.run("sftpjail", "remove", "bob")
        assert ends(machine, process)[0] == 255
    with begun(machine, "bob@127.0.0.1", "ls /etc/shadow") as process:
        assert ends(machine, process) == (0, "/etc/shadow\n")


def test_apply_and_setup_report_a_login_that_has_begun(machine: Machine) -> None:
    """By the rules of before the account joined the group, whoever put it there."""
    machine.write(
        "/etc/ssh/sshd_config.d/00-test.conf", f"{machine.patience()}PasswordAuthentication yes\n"
    )
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\npasswords = yes\n")
    machine.sh("useradd -m -s /bin/sh bob && echo bob:secret | chpasswd")
    for command in ("apply", "setup"):
        with begun(machine, "bob@127.0.0.1", "ls /etc/shadow") as process:
            machine.run("usermod", "-aG", "sftponly", "bob")
            done = machine.run("sftpjail", command)
            assert "unfinished login" in done.err, done
            assert "sftpjail adopt --close bob" in done.err, done
            machine.run("sftpjail", "adopt", "--close", "bob")
            code, said = ends(machine, process)
            assert code == 255 and "/etc/shadow" not in said, said
        assert "unfinished" not in machine.run("sftpjail", command).err
        machine.run("sftpjail", "remove", "bob")
