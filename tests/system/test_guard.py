"""An sshd that refuses the PAM service of jails starts all the same; their members are shut out until somebody decides."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import CONFIG, choice, fstab, jail, mounted, shut, works

pytestmark = pytest.mark.booted

AUTO = "[logs]\nbackend = none\n[profiles]\n[[sftponly]]\nmounts = auto\n"
DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
GUARD = "/etc/sftpjail/sshd-guard /etc/systemd/system/sftpjail-guard.service /etc/systemd/system/ssh.service.d"
EACH = "/etc/systemd/system/sshd@.service.d/10-sftpjail.conf"  # where there is such a unit
# Stands in for OpenSSH 10.4, which has no Debian: it refuses the one keyword in a Match block, in the words of servconf.c.
OTHER = """#!/bin/sh
probe=/dev/null; case $1 in -f) probe=$2 ;; esac
file=$(grep -ls '^ *PAMServiceName' /etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config $probe | head -n 1)
[ "$file" ] || exec /usr/lib/real/sshd "$@"
case $1 in -V) exec /usr/lib/real/sshd "$@" ;; esac
number=$(grep -n '^ *PAMServiceName' $file | cut -d: -f1)
echo "$file line $number: Directive 'PAMServiceName' is not allowed within a Match block" >&2
exit 255
"""


def replaced(machine: Machine) -> None:
    """What an upgrade of OpenSSH does: another program, and a restart."""
    machine.run("mkdir", "-p", "/usr/lib/real")
    machine.run("mv", "/usr/sbin/sshd", "/usr/lib/real/sshd")
    machine.write("/usr/sbin/sshd", OTHER, 0o755)
    machine.run("systemctl", "restart", "ssh", check=False)


def guarded(machine: Machine) -> list[str]:
    return [path for path in GUARD.split() if machine.exists(path)]


def test_an_sshd_that_refuses_our_line_starts(booted: Machine) -> None:
    machine = booted
    machine.run("useradd", "-m", "stranger")
    stranger = machine.keygen("stranger")
    machine.sh(
        f"install -d -o stranger /home/stranger/.ssh && "
        f"install -o stranger {stranger}.pub /home/stranger/.ssh/authorized_keys"
    )
    machine.write(CONFIG, AUTO)
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    works(machine, "alice", key)
    if "\n    PAMServiceName" not in machine.read(DROPIN):
        assert guarded(machine) == [], "nothing that this sshd could refuse"
        return
    assert guarded(machine) == GUARD.split()
    replaced(machine)
    assert machine.sftp("stranger", stranger, ["pwd"]).code == 0
    shut(machine, "alice", key)
    assert "    # sshd refused: PAMServiceName sftpjail-session\n    DenyUsers *\n" in machine.read(
        DROPIN
    )
    said = machine.run("journalctl", "-u", "sftpjail-guard", "--no-pager").out
    assert "whose members are shut out" in said, said

    # What is wrong is said once, with the ways out, and setup does not choose.
    what = "takes no PAMServiceName in a Match block"
    checked = machine.run("sftpjail", "check", check=False)
    assert checked.code == 3 and checked.out.count(what) == 1, checked
    assert "DenyUsers" not in checked.out, checked
    refused = machine.run("sftpjail", "setup", check=False)
    assert refused.code == 1 and what in refused.err, refused
    machine.run("systemctl", "restart", "ssh")
    assert machine.sftp("stranger", stranger, ["pwd"]).code == 0, "and once more"

    # An OpenSSH that takes it again: its next start, or setup, which the timer's apply does too.
    text = machine.read(DROPIN)
    machine.run("mv", "/usr/lib/real/sshd", "/usr/sbin/sshd")
    machine.run("systemctl", "restart", "ssh")
    works(machine, "alice", key)
    assert mounted(machine) == [] and machine.run("sftpjail", "check").code == 0
    machine.write(DROPIN, text)
    machine.run("systemctl", "reload", "ssh")
    shut(machine, "alice", key)
    checked = machine.run("sftpjail", "check", check=False)
    assert checked.code == 3 and "and takes it now" in checked.out, checked
    machine.run("sftpjail", "apply")
    works(machine, "alice", key)
    assert machine.run("sftpjail", "check").code == 0

    # The other way out.
    replaced(machine)
    checked = machine.run("sftpjail", "check", check=False)
    label = "to have the mounts of profile sftponly in /etc/fstab from now on"
    machine.sh(choice(checked.out, label))
    works(machine, "alice", key)
    assert len(fstab(machine, "alice")) == 1 and guarded(machine) == []
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


# As on hosts where systemd starts an sshd for each connection; Debian 12 has no such unit.
SOCKET = "[Socket]\nListenStream=22\nAccept=yes\n"
SERVICE = """\
[Service]
ExecStart=-/usr/sbin/sshd -i
StandardInput=socket
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
"""


def test_an_sshd_for_each_connection_is_guarded(booted: Machine) -> None:
    """Its upgrade restarts nothing: the next connection has the new one."""
    machine = booted
    machine.run("useradd", "-m", "stranger")
    stranger = machine.keygen("stranger")
    machine.sh(
        f"install -d -o stranger /home/stranger/.ssh && "
        f"install -o stranger {stranger}.pub /home/stranger/.ssh/authorized_keys"
    )
    machine.write("/etc/systemd/system/sshd@.service", SERVICE)
    machine.write("/etc/systemd/system/sshd.socket", SOCKET)
    machine.sh(
        "systemctl daemon-reload; systemctl stop ssh.socket ssh; systemctl start sshd.socket"
    )
    machine.write(CONFIG, AUTO)
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    works(machine, "alice", key)
    assert machine.run("sftpjail", "check").code == 0
    if "\n    PAMServiceName" not in machine.read(DROPIN):
        assert not machine.exists(EACH)
    else:
        machine.sh("mkdir -p /usr/lib/real; mv /usr/sbin/sshd /usr/lib/real/sshd")
        machine.write("/usr/sbin/sshd", OTHER, 0o755)
        assert machine.sftp("stranger", stranger, ["pwd"]).code == 0
        shut(machine, "alice", key)
        machine.run("mv", "/usr/lib/real/sshd", "/usr/sbin/sshd")
        works(machine, "alice", key)
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert not machine.exists(EACH) and guarded(machine) == []


def test_the_guard_touches_nothing_else(booted: Machine) -> None:
    """Another line that sshd refuses is its administrator's, and teardown takes the guard away."""
    machine = booted
    machine.write(CONFIG, AUTO)
    machine.run("sftpjail", "setup")
    if "\n    PAMServiceName" in machine.read(DROPIN):
        text = machine.read(DROPIN)
        for file, line in (("20-other.conf", "Nonsense yes"), ("05-early.conf", "Nonsense yes")):
            machine.write(f"/etc/ssh/sshd_config.d/{file}", f"{line}\n")
            machine.run("systemctl", "start", "sftpjail-guard")
            assert machine.read(DROPIN) == text, file
            machine.run("rm", f"/etc/ssh/sshd_config.d/{file}")
        machine.write(DROPIN, f"{text}    Nonsense yes\n")
        machine.run("systemctl", "start", "sftpjail-guard")
        assert machine.read(DROPIN) == f"{text}    Nonsense yes\n", "that was not our line"
        machine.write(DROPIN, text)
        assert guarded(machine) == GUARD.split()
        machine.run("systemctl", "restart", "ssh")
    # Who masks it wants none.
    machine.sh("rm -f /etc/systemd/system/sftpjail-guard.service; systemctl mask sftpjail-guard")
    machine.run("sftpjail", "setup")
    assert machine.run("sftpjail", "setup").code == 0
    mask = "/etc/systemd/system/sftpjail-guard.service"
    assert machine.run("readlink", mask).out == "/dev/null\n"
    machine.run("sftpjail", "teardown")
    assert machine.run("readlink", mask).out == "/dev/null\n", "and it stays so"
    machine.run("rm", mask)
    assert guarded(machine) == []
    assert machine.run("ls", "/etc/ssh/sshd_config.d").out == ""
