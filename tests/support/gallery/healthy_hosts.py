"""More healthy hosts: sshd's configuration, accounts, profiles and logs."""

from __future__ import annotations

from healthy import healthy, host
from machine import Machine
from steps import QUIET, jail, open_with_key, ready

# -- sshd -----------------------------------------------------------------------------------------


OPEN = "    PermitTTY yes\n    ForceCommand none\n    ChrootDirectory none\n"
HARMLESS = "    PasswordAuthentication no\n    ClientAliveInterval 30\n"


@healthy()
def match_address_above(machine: Machine) -> str:
    return host(machine, sshd=f"Match Address 10.0.0.0/8\n{HARMLESS}")


@healthy()
def match_blocks_of_other_kinds_above(machine: Machine) -> str:
    """All that sshd has; `Match exec` is ssh's."""
    kinds = dict.fromkeys(
        ("Host *.example.com", "LocalPort 2022", "LocalAddress 10.0.0.1"), HARMLESS
    )
    kinds |= dict.fromkeys(("User bob Address 127.0.0.1", "Group sudo"), OPEN)
    return host(machine, sshd="".join(f"Match {kind}\n{block}" for kind, block in kinds.items()))


@healthy()
def match_blocks_above_that_agree(machine: Machine) -> str:
    text = "Match User root\n    PermitTTY yes\nMatch Group sftponly\n    ClientAliveInterval 30\n    X11Forwarding no\n"
    return host(
        machine, sshd=text + "Match User a*,!alice\n    AllowTcpForwarding yes\nMatch all\n"
    )


@healthy()
def drop_ins_around(machine: Machine) -> str:
    machine.write(
        "/etc/ssh/sshd_config.d/90-last.conf",
        "Match Group sftponly\n    AllowTcpForwarding yes\n    PermitTTY yes\n",
    )
    return host(
        machine,
        sshd="ClientAliveInterval 60\nLoginGraceTime 30\nLogLevel DEBUG\nMaxSessions 1\nPermitRootLogin no\n",
    )


@healthy()
def other_addresses(machine: Machine) -> str:
    return host(machine, sshd="ListenAddress 127.0.0.1\nAddressFamily inet\nUseDNS no\n")


@healthy()
def no_include(machine: Machine) -> str:
    machine.sh("sed -i 's/^Include/#Include/' /etc/ssh/sshd_config")
    return host(machine)


@healthy(mounts="fstab")
def no_pam(machine: Machine) -> str:
    name = host(machine, sshd="UsePAM no\n")
    machine.run("usermod", "-p", "*", name)
    return name


@healthy()
def no_passwords(machine: Machine) -> str:
    return host(
        machine,
        sshd="PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthenticationMethods publickey\n",
    )


@healthy()
def lists_that_let_in(machine: Machine) -> str:
    lists = "AllowGroups admins sftp* root\nDenyUsers mal* alice@10.0.0.1 bob\nDenyGroups bad\nAllowUsers a?ice root\n"
    return host(machine, sshd=lists)


@healthy()
def allow_users_from_an_address(machine: Machine) -> str:
    return host(machine, sshd="AllowUsers alice@127.* root\n")


@healthy()
def subsystem_is_internal(machine: Machine) -> str:
    return host(machine, "[sshd]\nsubsystem = internal-sftp\n")


@healthy()
def subsystem_is_internal_by_hand(machine: Machine) -> str:
    machine.sh("sed -i 's|^Subsystem.*|Subsystem sftp internal-sftp|' /etc/ssh/sshd_config")
    return host(machine)


def second(machine: Machine, text: str, *options: str) -> str:
    """A second sshd, on port 2300, with a file of its own."""
    name = host(machine)
    machine.write("/etc/ssh/second", text)
    pidfile = ("-o", "PidFile=/run/second.pid")
    machine.run("/usr/sbin/sshd", "-f", "/etc/ssh/second", "-p", "2300", *pidfile, *options)
    machine.wait_for("/run/second.pid", r"\d")
    return name


@healthy()
def second_sshd_for_administrators(machine: Machine) -> str:
    return second(machine, "AllowGroups root sudo\nSubsystem sftp internal-sftp\n")


@healthy(whole=True)
def second_sshd_that_denies_on_its_command_line(machine: Machine) -> str:
    return second(machine, "UsePAM yes\n", "-o", "DenyGroups nobody sftponly")


@healthy(whole=True)
def second_sshd_that_jails_too(machine: Machine) -> str:
    text = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nSubsystem sftp internal-sftp\n"
    return second(machine, text)


@healthy(whole=True)
def two_sshds_of_one_file(machine: Machine) -> str:
    name = host(machine)
    machine.run("/usr/sbin/sshd", "-p", "2300", "-o", "PidFile=/run/second.pid", "-4")
    machine.wait_for("/run/second.pid", r"\d")
    return name


def booted_with(machine: Machine, unit: str, text: str) -> str:
    """A booted host, with a drop-in for a unit."""
    machine.run("sftpjail", "setup")
    jail(machine, "alice")
    machine.write(f"/etc/systemd/system/{unit}.d/50-mine.conf", text)
    machine.sh("systemctl daemon-reload; systemctl restart ssh")
    return "alice"


@healthy(booted=True, whole=True)
def hardened_unit_that_does_no_harm(machine: Machine) -> str:
    text = "[Service]\nProtectSystem=full\nProtectHome=read-only\nPrivateTmp=yes\n"
    text += "ProtectKernelModules=yes\nProtectKernelTunables=yes\nProtectClock=yes\n"
    return booted_with(machine, "ssh.service", text)


@healthy(booted=True, whole=True)
def mount_table_of_its_own(machine: Machine) -> str:
    return booted_with(machine, "ssh.service", "[Service]\nPrivateMounts=yes\n")


@healthy(booted=True, whole=True)
def strict_unit_that_may_write_in_jails(machine: Machine) -> str:
    text = "[Service]\nProtectSystem=strict\nReadWritePaths=/srv/sftp /run /var/log\n"
    return booted_with(machine, "ssh.service", text)


@healthy(booted=True, whole=True, mounts="session")
def strict_unit_whose_sessions_mount(machine: Machine) -> str:
    text = "[Service]\nProtectSystem=strict\nReadWritePaths=/run /var/log\n"
    return booted_with(machine, "ssh.service", text)


@healthy(booted=True, whole=True)
def options_of_the_unit(machine: Machine) -> str:
    name = booted_with(machine, "ssh.service", "")
    machine.sh("echo 'SSHD_OPTS=\"-o MaxAuthTries=4 -4\"' >/etc/default/ssh; systemctl restart ssh")
    return name


@healthy(booted=True, whole=True)
def started_by_a_socket(machine: Machine) -> str:
    name = booted_with(machine, "ssh.service", "")
    machine.sh("systemctl stop ssh; systemctl start ssh.socket")
    return name


# -- accounts ------------------------------------------------------------------------------------


@healthy()
def shells_are_asked_for(machine: Machine) -> str:
    machine.sh(
        "echo /usr/sbin/nologin >>/etc/shells; sed -i '1a account required pam_shells.so' /etc/pam.d/sshd"
    )
    return host(machine)


@healthy()
def shell_of_its_own(machine: Machine) -> str:
    machine.sh("sed -i '1a account required pam_shells.so' /etc/pam.d/sshd")
    return host(machine, "[profiles]\n[[sftponly]]\nshell = ''\n", options="-s /bin/bash")


@healthy()
def account_has_a_password_and_dates(machine: Machine) -> str:
    name = host(machine)
    machine.sh("echo alice:secret | chpasswd; chage -E 2099-01-01 -M 90 -W 7 -I 14 alice")
    return name


@healthy()
def account_is_locked_with_pam(machine: Machine) -> str:
    name = host(machine)
    machine.sh("echo alice:secret | chpasswd; passwd -q -l alice")
    return name


@healthy()
def name_with_dots_and_capitals(machine: Machine) -> str:
    bad = "--badname" if "--badname" in machine.run("useradd", "--help").out else "--badnames"
    return host(machine, name="Alice.B-c_d", options=bad)


@healthy()
def several_groups(machine: Machine) -> str:
    machine.run("groupadd", "-f", "clients")
    return host(machine, options="-G clients,sftponly,users,games")


@healthy()
def primary_group(machine: Machine) -> str:
    ready(machine)
    machine.run("useradd", "-m", "-g", "sftponly", "alice")
    open_with_key(machine, "alice")
    return "alice"


# -- profiles and logs ---------------------------------------------------------------------------


def profile(machine: Machine, lines: str, group: str = "sftponly") -> str:
    """A host with one profile."""
    ready(machine, f"{QUIET}[profiles]\n[[{group}]]\n{lines}\n")
    machine.run("useradd", "-m", "-G", group, "alice")
    open_with_key(machine, "alice")
    return "alice"


@healthy()
def group_with_a_dash(machine: Machine) -> str:
    return profile(machine, "umask = 027\ndeny = rmdir,", "sftp-users")


@healthy()
def home_inside(machine: Machine) -> str:
    return profile(machine, "home = inside")


@healthy()
def chroot_is_the_home(machine: Machine) -> str:
    return profile(machine, "chroot = %h")


@healthy(read_only=True)
def read_only_profile(machine: Machine) -> str:
    return profile(machine, "read_only = yes")


@healthy()
def options_of_sshd(machine: Machine) -> str:
    return profile(
        machine, 'sshd_options = "PasswordAuthentication no", "Banner none"\nstart = /home/%u'
    )


@healthy()
def several_profiles(machine: Machine) -> str:
    text = "[profiles]\n[[sftponly]]\n[[dropbox]]\nread_only = yes\n"
    text += "[[guests]]\nmatch_user = carol\nchroot = /srv/guests/%u\n"
    name = host(machine, text)
    machine.sh("useradd -m -G dropbox bob; useradd -m carol")
    open_with_key(machine, "carol")
    open_with_key(machine, "bob")
    return name


@healthy()
def log_level_info(machine: Machine) -> str:
    machine.start_rsyslog()
    ready(machine, "[logs]\nlevel = INFO\nfacility = LOCAL3\nfile = /var/log/jails/sftp.log\n")
    machine.restart_rsyslog()
    jail(machine, "alice")
    return "alice"


@healthy()
def no_log_daemon(machine: Machine) -> str:
    machine.run("rm", "/usr/sbin/rsyslogd")
    ready(machine, "")
    jail(machine, "alice")
    return "alice"


@healthy()
def administrators_hooks(machine: Machine) -> str:
    machine.write("/usr/local/sbin/adduser.local", '#!/bin/sh -e\necho "$1" >>/run/added\n', 0o755)
    machine.write("/etc/shadow-maint/useradd-post.d/10-mine", "#!/bin/sh\nexit 0\n", 0o755)
    machine.write("/etc/sftpjail/hooks/user-create.d/note", "#!/bin/sh\nexit 0\n", 0o755)
    machine.write("/etc/sftpjail/hooks/user-create.d/note.dpkg-old", "nonsense\n", 0o666)
    return host(machine)


@healthy(booted=True)
def booted(machine: Machine) -> str:
    machine.run("sftpjail", "setup")
    jail(machine, "alice")
    return "alice"
