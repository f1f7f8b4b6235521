"""Every sshd that runs is judged by its own command line, and by what it has read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from machine import Machine
from steps import QUIET, choice, jail, open_with_key, programs_of, ready, shut, works

pytestmark = pytest.mark.halved

OTHER = "/etc/ssh/other_config"
OPEN = "UsePAM yes\nSubsystem sftp internal-sftp\nAuthorizedKeysFile /etc/ssh/authorized_keys/%u\n"


def problems(machine: Machine, *argv: str) -> list[dict[str, Any]]:
    """What `check`, or `explain`, finds."""
    done = machine.run("sftpjail", *(argv or ("check",)), "--json", check=False)
    assert done.code in (0, 3) and not done.err, done
    found: list[dict[str, Any]] = json.loads(done.out)["problems"]
    return found


def state(machine: Machine) -> tuple[str, str | None]:
    """What `list` says of the one jail."""
    (jail,) = json.loads(machine.run("sftpjail", "list", "--json").out)["jails"]
    return jail["state"], jail["why"]


def second(machine: Machine, text: str, *options: str) -> None:
    """A second sshd, on port 2300, with a file of its own."""
    machine.write(OTHER, text)
    machine.run("/usr/sbin/sshd", "-f", OTHER, "-p", "2300", *options)
    machine.sh("for n in 1 2 3 4 5 6 7 8 9; do ss -tln | grep -q :2300 && exit; sleep .1; done")


def gets_out(machine: Machine, port: int) -> bool:
    """Whether alice reads the host's passwd there."""
    machine.sh("ssh-keygen -R '[127.0.0.1]:2300' 2>/dev/null", check=False)
    kept, machine.port = machine.port, port
    try:
        done = machine.sftp("alice", "/root/keys/alice", ["get /etc/passwd /tmp/passwd"])
    finally:
        machine.port = kept
    return done.code == 0


@pytest.mark.parametrize("which", ["to jail them there too", "to keep them out there"])
def test_a_second_sshd_that_opens_the_jail(machine: Machine, which: str) -> None:
    """It is named by its port, its pid and its file, and each choice that is printed closes it."""
    ready(machine)
    jail(machine, "alice")
    assert problems(machine) == []
    second(machine, OPEN, "-o", "PidFile=/run/other.pid")
    assert gets_out(machine, 2300)
    (found,) = problems(machine)
    pid = machine.read("/run/other.pid").strip()
    name = f"sshd on port 2300 (pid {pid}, -f {OTHER})"
    assert found["severity"] == "open" and found["what"].startswith(f"{name} does not jail")
    assert [one["what"] for one in problems(machine, "check", "alice")] == [found["what"]]
    (explained,) = problems(machine, "explain", "alice")
    assert explained["what"] == found["what"]
    assert name in machine.run("sftpjail", "explain", "alice", "--json", check=False).out
    assert state(machine) == ("open", f"{name} does not jail it")
    said = machine.run("sftpjail", "check", check=False).out
    machine.sh(choice(said, which))
    machine.wait_for("/run/other.pid", r"\d")
    assert problems(machine) == [] and state(machine) == ("ok", None)
    assert not gets_out(machine, 2300)


@pytest.mark.parametrize("make", ["cp -p", "ln -s"])
def test_a_second_sshd_by_another_name(machine: Machine, make: str) -> None:
    """As it is called to have a PAM service of its own: a copy, or a link, and its own title."""
    ready(machine)
    jail(machine, "alice")
    machine.sh(f"{make} /usr/sbin/sshd /usr/sbin/sshd-files; cd /etc/pam.d; cp sshd sshd-files")
    machine.write(OTHER, OPEN)
    argv = ("-f", OTHER, "-p", "2300", "-o", "PidFile=/run/other.pid")
    machine.run("/usr/sbin/sshd-files", *argv)
    pid = machine.wait_for("/run/other.pid", r"\d").strip()
    assert gets_out(machine, 2300)
    name = f"sshd on port 2300 (pid {pid}, -f {OTHER})"
    assert state(machine) == ("open", f"{name} does not jail it")
    (found,) = problems(machine)
    assert found["severity"] == "open" and found["what"].startswith(f"{name} does not jail")
    machine.sh(choice(machine.run("sftpjail", "check", check=False).out, "to keep them out there"))
    machine.wait_for("/run/other.pid", r"\d")
    assert problems(machine) == [] and not gets_out(machine, 2300)


def test_match_lines_about_ports_and_addresses(machine: Machine) -> None:
    """`list` asks about where sshd listens, which need not be port 22, and about each such place."""
    machine.write("/etc/ssh/sshd_config.d/90-more.conf", f"{machine.patience()}Port 2400\n")
    ready(machine)
    jail(machine, "alice")
    lines = "Match LocalPort {}\n    ChrootDirectory none\n    ForceCommand internal-sftp\n"
    first = "/etc/ssh/sshd_config.d/05-first.conf"
    for port in (2222, 2300):
        machine.write(first, lines.format(port))
        machine.stop_sshd()
        machine.run("/usr/sbin/sshd", "-p", "2300", "-p", "2222", "-o", "PidFile=/run/sshd.pid")
        machine.wait_for("/run/sshd.pid", r"\d")
        assert gets_out(machine, port) and state(machine)[0] == "open", port
        assert any(found["severity"] == "open" for found in problems(machine))
    machine.write(first, lines.format(22))
    machine.stop_sshd()
    machine.start_sshd()
    assert not gets_out(machine, 2222) and state(machine)[0] == "ok", "nobody gets to that port"
    assert problems(machine) == [], "nor is that one asked about"
    shown = machine.run("sftpjail", "show", "alice").out
    machine.write(first, lines.format(2222))
    machine.restart_sshd()
    assert gets_out(machine, 2222) and state(machine) == ("open", "no Match block of sshd jails it")
    assert machine.run("sftpjail", "show", "alice").out != shown


def test_an_address_is_asked_about_at_the_real_port(machine: Machine) -> None:
    """What holds at port 22, where nobody listens, hides nothing of what holds where sshd does."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine)
    jail(machine, "alice")
    ours = machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf")
    block = ours[ours.index("\n    ChrootDirectory") :]
    from_there = (
        "Match Address 127.0.0.2\n    ChrootDirectory none\n    ForceCommand internal-sftp\n"
    )
    first = "/etc/ssh/sshd_config.d/05-first.conf"
    machine.write(first, f"Match LocalPort 22{block}{from_there}")
    machine.restart_sshd()
    login = (
        f"sftp -q -b - -P {machine.port} -i /root/keys/alice -o BindAddress={{}} alice@127.0.0.1"
    )
    insecure = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    login = login.replace("-q ", f"-q {insecure}")
    assert "etc" not in machine.sh(f"echo ls / | {login.format('127.0.0.1')}").out
    assert "etc" in machine.sh(f"echo ls / | {login.format('127.0.0.2')}").out
    found = [one for one in problems(machine) if one["severity"] == "open"]
    assert found and "addr 127.0.0.2" in found[0]["what"], problems(machine)
    machine.write(first, f"Match LocalPort {machine.port}{block}{from_there}")
    machine.restart_sshd()
    assert "etc" not in machine.sh(f"echo ls / | {login.format('127.0.0.2')}").out
    assert [one for one in problems(machine) if one["severity"] == "open"] == []


def test_list_asks_about_each_place_once(machine: Machine) -> None:
    """And not for each account: accounts of one kind have one answer."""
    machine.write(
        "/etc/ssh/sshd_config.d/05-first.conf", "Match LocalPort 2300\n    PermitTTY no\n"
    )
    ready(machine)
    machine.sh("for n in 1 2 3 4 5 6 7 8; do useradd -M -G sftponly u$n; done")
    machine.stop_sshd()
    machine.run("/usr/sbin/sshd", "-p", "2300", "-p", "2222", "-o", "PidFile=/run/sshd.pid")
    machine.wait_for("/run/sshd.pid", r"\d")
    programs = programs_of(machine, "sftpjail", "list")
    assert sum(program.endswith("/sshd") for program in programs) <= 4, programs


def test_options_on_the_command_line_count(machine: Machine) -> None:
    """What is in no file keeps her out, lets her out, or does neither."""
    ready(machine)
    key = jail(machine, "alice")
    machine.restart_sshd("-o", "AllowUsers root  bob")
    shut(machine, "alice", key)
    (found,) = problems(machine)
    assert "AllowUsers" in found["what"] and found["about"] == "alice"
    machine.restart_sshd("-o", "MaxAuthTries=4", "-4")
    works(machine, "alice", key)
    assert problems(machine) == []


def test_a_sshd_that_cannot_be_asked_is_unknown(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.sh("mkdir /opt/ssh && cp /usr/sbin/sshd /opt/ssh/sshd")
    machine.run(
        "/opt/ssh/sshd",
        "-p",
        "2300",
        "-o",
        "PidFile=/run/other.pid",
        "-o",
        "UseDNS=no",
        "-f",
        OTHER,
        check=False,
    )
    machine.write(OTHER, OPEN)
    machine.run("/opt/ssh/sshd", "-p", "2300", "-o", "PidFile=/run/other.pid", "-f", OTHER)
    machine.wait_for("/run/other.pid", r"\d")
    # What lies there is run as root, to be asked, so it must be root's alone.
    program = '#!/bin/sh\ntouch /root/led\nexec /usr/sbin/sshd "$@"\n'
    machine.sh("rm /opt/ssh/sshd; chmod 1777 /opt/ssh")
    machine.write("/opt/ssh/sshd", program, 0o755)
    (found,) = problems(machine)
    assert "by others than root" in found["what"] + found["why"], found
    machine.run("sftpjail", "setup", check=False)
    assert not machine.exists("/root/led")
    machine.sh("rm /opt/ssh/sshd; chmod 755 /opt/ssh")
    (found,) = problems(machine)
    assert "is not known" in found["what"] and "port 2300" in found["what"]
    assert machine.run("sftpjail", "check", check=False).code == 3


def test_a_restored_host_jails_after_setup(machine: Machine) -> None:
    """The files come back by tar(1) as old as they were; the sshd that runs has not read them."""
    ready(machine, QUIET + "[profiles]\n[[sftponly]]\nshell = ''\n")
    key = jail(machine, "alice", "-s", "/bin/bash")
    machine.sh("tar -cpf /root/etc.tar /etc/ssh /etc/sftpjail /etc/fstab")
    machine.sh("rm /etc/ssh/sshd_config.d/10-sftpjail.conf")
    machine.restart_sshd("-o", "AuthorizedKeysFile=/etc/ssh/authorized_keys/%u")
    machine.sh("tar -xpf /root/etc.tar -C /")
    assert machine.sftp("alice", key, ["get /etc/passwd /tmp/passwd"]).code == 0
    (found,) = problems(machine)
    assert "has not read" in found["what"] and found["severity"] == "open"
    done = machine.run("sftpjail", "setup")
    assert "this host is ready for jails" in done.out
    works(machine, "alice", key)
    assert problems(machine) == []


def test_what_changed_counts_not_what_is_new(machine: Machine) -> None:
    """A file of 2001 that comes by `cp -a`, by mv, and by what sets the directory's time back too."""
    ready(machine)
    jail(machine, "alice")
    into = "/etc/ssh/sshd_config.d/50-old.conf"
    for how in (
        "cp -a {} {}",
        "mv {} {}",
        "cp -p {} {}; touch -d 2001-01-01 /etc/ssh/sshd_config.d",
    ):
        machine.write("/root/old.conf", "Match User alice\n    PermitTTY yes\n")
        machine.sh("touch -d 2001-01-01 /root/old.conf")
        machine.sh(how.format("/root/old.conf", into))
        assert any("has not read" in one["what"] for one in problems(machine)), how
        machine.run("sftpjail", "check", "--fix", check=False)
        assert not any("has not read" in one["what"] for one in problems(machine)), how
        machine.sh(f"rm {into}")
        machine.run("sftpjail", "setup")
        assert problems(machine) == []


@pytest.mark.booted
def test_daemons_of_other_units(booted: Machine) -> None:
    """SSHD_OPTS of the usual unit, a second unit, and one that systemd starts for each connection."""
    machine = booted
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    open_with_key(machine, "alice")
    machine.let_the_path_unit_apply()
    assert problems(machine) == []

    machine.write(OTHER, OPEN)
    unit = "[Service]\nType={}\nExecStart=/usr/sbin/sshd -{} -f {} -o PidFile=/run/other.pid{}\n"
    machine.write(
        "/etc/systemd/system/second.service", unit.format("simple", "D -p 2300", OTHER, "")
    )
    machine.sh("systemctl daemon-reload; systemctl start second")
    machine.wait_for("/run/other.pid", r"\d")
    assert gets_out(machine, 2300)
    (found,) = problems(machine)
    assert f"-f {OTHER}" in found["what"] and found["severity"] == "open"
    said = machine.run("sftpjail", "check", check=False).out
    machine.sh(choice(said, "to jail them there too"))
    machine.sh("sleep 0.3")
    assert problems(machine) == [] and not gets_out(machine, 2300)
    machine.sh("systemctl stop second")

    machine.write("/etc/systemd/system/each.socket", "[Socket]\nListenStream=2300\nAccept=yes\n")
    machine.write(
        "/etc/systemd/system/each@.service",
        unit.format(
            "simple", "i", "$OTHER", "\nStandardInput=socket\nEnvironment=OTHER=/etc/ssh/third"
        ),
    )
    machine.write("/etc/ssh/third", OPEN)
    machine.sh("systemctl daemon-reload; systemctl start each.socket")
    assert gets_out(machine, 2300)
    (found,) = problems(machine)
    assert "sshd on port 2300 (started by each@.service, -f /etc/ssh/third)" in found["what"]
    said = machine.run("sftpjail", "check", check=False).out
    machine.sh(choice(said, "to keep them out there"))
    assert problems(machine) == [] and not gets_out(machine, 2300)

    machine.sh(f"echo 'SSHD_OPTS=\"-f {OTHER}\"' >/etc/default/ssh; echo '{OPEN}' >{OTHER}")
    machine.sh("systemctl restart ssh")
    found, *_ = problems(machine)
    assert "sshd on port 22 (pid" in found["what"] and found["severity"] == "open", found


@pytest.mark.booted
def test_sandboxes_of_units(booted: Machine) -> None:
    """What the unit of sshd forbids its sessions is found, and felt by `test`."""
    machine = booted
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    key = open_with_key(machine, "alice")
    machine.let_the_path_unit_apply()
    drop_in = "/etc/systemd/system/ssh.service.d/50-hard.conf"
    batch = ["put /etc/hostname proof", "rm proof"]

    def harden(text: str) -> bool:
        machine.write(drop_in, f"[Service]\n{text}\n")
        machine.sh("systemctl daemon-reload; systemctl restart ssh")
        return machine.sftp("alice", key, batch).code == 0

    for text in (
        "ProtectHome=read-only\nNoNewPrivileges=yes\nProtectClock=yes",
        "PrivateTmp=yes\nProtectSystem=full\nProtectKernelModules=yes\nCapabilityBoundingSet=~CAP_SYS_MODULE",
    ):
        assert harden(text), text
        assert problems(machine) == [], text
        assert ": in its own mount namespace" in machine.run("sftpjail", "test", "alice").out

    for text, says in (
        ("ProtectSystem=strict", "sees what members may write below /srv/sftp as read-only"),
        ("ReadOnlyPaths=/srv", "sees what members may write below /srv/sftp as read-only"),
        ("InaccessiblePaths=/srv", "does not see /srv/sftp"),
        (
            "CapabilityBoundingSet=~CAP_SYS_CHROOT",
            "without CAP_SYS_CHROOT, so every login in a jail",
        ),
    ):
        assert not harden(text), text
        (found,) = problems(machine)
        assert says in found["what"] and "systemctl edit ssh.service" in found["advice"], found
        assert problems(machine, "check", "alice") == [found | {"about": "alice"}]
        assert machine.run("sftpjail", "test", "alice", check=False).code == 3, text
    assert harden("ProtectSystem=strict\nReadWritePaths=/srv/sftp /run /var/log")
    assert problems(machine) == []


@pytest.mark.booted
def test_units_that_keep_mounts_from_sessions(booted: Machine) -> None:
    """A mount table that gets none of ours any more, and an sshd that may make none."""
    machine, drop_in = booted, "/etc/systemd/system/ssh.service.d/50-hard.conf"
    kind = "[profiles]\n[[sftponly]]\nmounts = {}\n"
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET + kind.format("fstab"))
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    key = open_with_key(machine, "alice")
    machine.let_the_path_unit_apply()

    def harden(text: str) -> None:
        machine.write(drop_in, f"[Service]\n{text}\n")
        machine.sh("systemctl daemon-reload; systemctl restart ssh")

    harden("PrivateMounts=yes\nMountFlags=private")
    assert problems(machine) == []
    machine.sh(
        "mkdir /srv/web; echo >/srv/web/file; sftpjail mount --read-only alice /srv/web /web"
    )
    assert machine.sftp("alice", key, ["ls /web/file"]).code != 0
    (found,) = problems(machine)
    assert "does not have the mounts below /srv/sftp" in found["what"], found
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET + kind.format("session"))
    machine.run("sftpjail", "setup")
    harden("CapabilityBoundingSet=~CAP_SYS_ADMIN")
    assert machine.sftp("alice", key, ["ls /web/file"]).code != 0
    (found,) = problems(machine)
    assert "without CAP_SYS_ADMIN, so no session gets its mounts" in found["what"], found
    assert machine.run("sftpjail", "test", "alice", check=False).code == 3
    harden("")
    assert machine.sftp("alice", key, ["ls /web/file"]).code == 0 and problems(machine) == []
