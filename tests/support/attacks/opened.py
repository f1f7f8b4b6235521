"""Twenty jails that are set up right and then opened in one place, each in a way in which a host really is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from machine import Machine

BLOCK = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
EARLIER = "/etc/ssh/sshd_config.d/00-administrator.conf"
KEYS = "/etc/ssh/authorized_keys/alice"
PROFILE = "deny = remove, rmdir\numask = 027\nstart = /home/%u\n"


@dataclass(frozen=True)
class Door:
    """A door: how it is opened, how it is shut again, and what `check` or `test` must say (a regular expression)."""

    name: str
    opens: Callable[[Machine], None]
    says: str
    shuts: Callable[[Machine], None]


def _earlier(lines: str, name: str, says: str) -> Door:
    """Another Match block, which stands before ours and wins."""

    def opens(machine: Machine) -> None:
        machine.write(EARLIER, lines)

    return Door(name, opens, says, lambda machine: _run(machine, f"rm {EARLIER}"))


def _block(change: str, name: str, says: str) -> Door:
    """A line of our block, changed by hand: a script for sed."""

    def opens(machine: Machine) -> None:
        before = machine.read(BLOCK)
        machine.run("cp", "-a", BLOCK, "/root/block")
        machine.run("sed", "-i", "-E", change, BLOCK)
        assert machine.read(BLOCK) != before, change

    return Door(name, opens, says, lambda machine: _run(machine, f"cp -a /root/block {BLOCK}"))


def _host(opening: str, name: str, says: str, shutting: str) -> Door:
    """Something else of the host, by a shell's commands."""
    return Door(
        name, lambda machine: _run(machine, opening), says, lambda machine: _run(machine, shutting)
    )


def _run(machine: Machine, script: str) -> None:
    machine.sh(script)


DOORS = [
    _earlier(
        "Match User alice\n  AllowTcpForwarding yes\n",
        "AllowTcpForwarding",
        "allowtcpforwarding yes",
    ),
    _block("s/^( *ForceCommand).*/\\1 none/", "no ForceCommand", "forcecommand none"),
    _earlier("Match Group sftponly\n  PermitTTY yes\n", "PermitTTY", "permittty yes"),
    _earlier(
        "Match Address 192.0.2.0/24\n  ChrootDirectory none\n",
        "ChrootDirectory none for some addresses",
        "chrootdirectory.*192.0.2",
    ),
    _earlier("Match User a*\n  PermitTunnel yes\n", "PermitTunnel", "permittunnel yes"),
    _block(
        "s/^( *AllowStreamLocalForwarding).*/\\1 all/",
        "AllowStreamLocalForwarding",
        "allowstreamlocalforwarding",
    ),
    _earlier("Match Group sftponly\n  X11Forwarding yes\n", "X11Forwarding", "x11forwarding yes"),
    _block("/AllowAgentForwarding/d", "AllowAgentForwarding", "allowagentforwarding yes"),
    _block("s/^( *PermitUserRC).*/\\1 yes/", "PermitUserRC", "permituserrc yes"),
    _host(
        f"echo 'PermitUserEnvironment yes' >{EARLIER}; cp -a {KEYS} /root/alice; "
        f"sed -i 's/^/environment=\"A=b\" /' {KEYS}",
        "PermitUserEnvironment, and a key with environment=",
        "permituserenvironment yes",
        f"rm {EARLIER}; cp -a /root/alice {KEYS}",
    ),
    _block(
        "s/ -d[^ ]*//", "the start directory is ignored", "forcecommand internal-sftp|starts? in"
    ),
    _block(
        "s/ -P[^ ]*//", "the deny list is lost", "does not refuse remove|forcecommand internal-sftp"
    ),
    _block("s/ -u[^ ]*//", "the umask is lost", "forcecommand internal-sftp"),
    _earlier(
        "Match User alice\n  AuthorizedKeysFile .ssh/authorized_keys\n",
        "keys in the home again",
        "authorizedkeysfile .ssh/authorized_keys",
    ),
    _host(
        "mount -o remount,bind,suid,dev /srv/sftp/alice/web",
        "a mount without nosuid and nodev",
        "/web is mounted without nosuid,nodev",
        "mount -o remount,bind,nosuid,nodev /srv/sftp/alice/web",
    ),
    _host(
        "mount -o remount,bind,rw,nosuid,nodev /srv/sftp/alice/media",
        "a read-only mount that is writable",
        "/media is mounted without ro",
        "mount -o remount,bind,ro,nosuid,nodev /srv/sftp/alice/media",
    ),
    _host(
        "chmod 777 /srv/sftp/alice",
        "the jail's directory is writable",
        "/srv/sftp/alice can be written",
        "chmod 755 /srv/sftp/alice",
    ),
    _host(
        "mkdir /srv/sftp/alice/host; mount --bind / /srv/sftp/alice/host",
        "the host's / in the jail",
        "/srv/sftp/alice/host is mounted",
        "umount /srv/sftp/alice/host; rmdir /srv/sftp/alice/host",
    ),
    _earlier("AcceptEnv *\n", "AcceptEnv", "takes LD_PRELOAD"),
    _host(
        f"cp -a {KEYS} /root/alice; chown alice {KEYS}",
        "the key file is the user's own",
        f"{KEYS}.*(alice|owner)",
        f"cp -a /root/alice {KEYS}",
    ),
]
