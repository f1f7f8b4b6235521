"""Hosts that are healthy though unusual, each made by a function: `check` must say nothing about them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from faults import EARLIER
from machine import Machine
from steps import QUIET, jail, open_with_key, ready, web

Making = Callable[[Machine], str]


@dataclass(frozen=True)
class Healthy:
    """A host: `makes` returns the name of a jailed account, whose private key is /root/keys/NAME."""

    name: str
    makes: Making
    booted: bool = False
    read_only: bool = False
    whole: bool = False  # with --all alone
    mounts: str = ""

    @property
    def kind(self) -> str:
        """Where its mounts are, fstab or session: what is about neither has the one or the other, by its name."""
        return self.mounts or ("fstab", "session")[zlib.crc32(self.name.encode()) % 2]


HEALTHY: list[Healthy] = []


def healthy(mounts: str = "", **options: bool) -> Callable[[Making], Making]:
    """Put a host into the list."""

    def register(function: Making) -> Making:
        HEALTHY.append(Healthy(function.__name__, function, mounts=mounts, **options))
        return function

    return register


def host(machine: Machine, config: str = "", sshd: str = "", **account: str) -> str:
    """An ordinary host with one jail; `sshd` is an administrator's drop-in that was there before."""
    if sshd:
        machine.write(EARLIER, sshd)
    ready(machine, QUIET + config)
    name = account.get("name", "alice")
    jail(machine, name, *account.get("options", "").split())
    return name


# -- directories and mounts ----------------------------------------------------------------------


@healthy()
def srv_is_a_link(machine: Machine) -> str:
    machine.sh("mkdir /data; mv /srv /data/srv; ln -s /data/srv /srv")
    return host(machine)


@healthy()
def chroot_is_for_a_group_alone(machine: Machine) -> str:
    name = host(machine)
    machine.sh("chgrp sftponly /srv/sftp/alice; chmod 750 /srv/sftp/alice")
    return name


@healthy()
def home_is_another_file_system(machine: Machine) -> str:
    machine.sh("mount -t tmpfs -o mode=755,noexec,nosuid,nodev none /home")
    return host(machine)


@healthy()
def homes_are_closed_to_others(machine: Machine) -> str:
    """The bind shows the home without going through /home."""
    name = host(machine)
    machine.run("chmod", "700", "/home")
    return name


@healthy()
def home_has_a_space(machine: Machine) -> str:
    ready(machine)
    machine.run("useradd", "-m", "-d", "/home/al ice", "-G", "sftponly", "alice")
    open_with_key(machine, "alice")
    return "alice"


@healthy()
def home_is_open_to_a_group(machine: Machine) -> str:
    name = host(machine)
    machine.sh("chgrp www-data /home/alice; chmod 2770 /home/alice")
    return name


@healthy()
def administrators_mounts_in_the_jail(machine: Machine) -> str:
    name = host(machine)
    machine.sh(
        "mkdir -p /srv/other /srv/sftp/alice/extra /srv/sftp/alice/listed;"
        "mount --bind /srv/other /srv/sftp/alice/extra;"
        "echo /srv/other /srv/sftp/alice/listed none bind,nofail 0 0 >>/etc/fstab; mount /srv/sftp/alice/listed"
    )
    return name


@healthy()
def administrators_files_in_the_jail(machine: Machine) -> str:
    name = host(machine)
    machine.sh(
        "mkdir /srv/sftp/alice/etc; grep alice /etc/passwd >/srv/sftp/alice/etc/passwd; : >/srv/sftp/alice/README"
    )
    return name


@healthy()
def fstab_has_a_disk_that_is_not_plugged_in(machine: Machine) -> str:
    machine.append(
        "/etc/fstab",
        "UUID=11111111-2222-3333-4444-555555555555 /media/disk ext4 noauto,nofail 0 2\n"
        "# a comment\n\n/swapfile none swap sw,nofail 0 0\nnas:/vol /media/nas nfs noauto,nofail 0 0\n",
    )
    return host(machine)


@healthy()
def mounts_of_all_kinds(machine: Machine) -> str:
    name = host(machine)
    web(machine)
    machine.sh(
        "mkdir -p /srv/incoming /srv/web/drop; chown alice /srv/incoming; chmod 555 /srv/web"
    )
    machine.sh("sftpjail mount alice /srv/web /a/deep/web; sftpjail mount alice /srv/incoming /in")
    machine.sh("sftpjail mount --read-only alice /srv/web/example.com '/with a space'")
    return name


@healthy()
def users_files_are_odd(machine: Machine) -> str:
    """Whatever a user does in the home is no fault of the host."""
    name = host(machine)
    machine.sh(
        "cd /home/alice; ln -s /etc etc; mkdir -m 0 shut; mkfifo pipe; ln -s loop loop; chown -h alice: *; chmod 700 ."
    )
    return name


# -- keys ----------------------------------------------------------------------------------------


@healthy()
def key_by_certificate(machine: Machine) -> str:
    ca, key = machine.keygen("ca"), machine.keygen("alice")
    machine.sh(f"cp {ca}.pub /etc/ssh/ca.pub; ssh-keygen -q -s {ca} -I alice -n alice {key}.pub")
    machine.write(EARLIER, "TrustedUserCAKeys /etc/ssh/ca.pub\n")
    ready(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    return "alice"


@healthy()
def key_by_command(machine: Machine) -> str:
    key = machine.keygen("alice")
    machine.sh(f"install -D -m 644 {key}.pub /etc/directory/alice")
    machine.write("/usr/local/bin/keys", '#!/bin/sh\nexec cat "/etc/directory/$1"\n', 0o755)
    machine.write(
        EARLIER, "AuthorizedKeysCommand /usr/local/bin/keys %u\nAuthorizedKeysCommandUser nobody\n"
    )
    ready(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    return "alice"


@healthy()
def key_has_options(machine: Machine) -> str:
    name = host(machine)
    options = 'from="127.0.0.1,10.0.0.0/8",expiry-time="20991231",restrict'
    machine.sh(f"""sed -i 's|^|{options} |' /etc/ssh/authorized_keys/alice""")
    return name


@healthy()
def many_keys(machine: Machine) -> str:
    """With comments, blank lines, the line ends of Windows, no newline at the end, and other types of key."""
    name = host(machine)
    machine.sh(
        "cd /root; for type in rsa ecdsa ed25519; do ssh-keygen -q -t $type -N '' -C \"of $type\" -f more.$type; done;"
        "{ echo '# our keys'; echo; cat more.*.pub; echo '   '; printf '\\t# more\\r\\n'; sed 's/$/\\r/' more.*.pub;"
        ' printf %s "$(cat /etc/ssh/authorized_keys/alice)"; } >all; cat all >/etc/ssh/authorized_keys/alice'
    )
    return name


@healthy()
def key_file_is_for_root_and_group(machine: Machine) -> str:
    name = host(machine)
    machine.sh(
        "chgrp alice /etc/ssh/authorized_keys/alice; chmod 440 /etc/ssh/authorized_keys/alice"
    )
    return name


@healthy()
def keys_elsewhere_for_others(machine: Machine) -> str:
    return host(machine, sshd="AuthorizedKeysFile /etc/keys/%u .ssh/authorized_keys\n")


@healthy()
def revocation_list(machine: Machine) -> str:
    machine.sh("ssh-keygen -q -t ed25519 -N '' -f /root/lost; cp /root/lost.pub /etc/ssh/revoked")
    return host(machine, sshd="RevokedKeys /etc/ssh/revoked\n")
