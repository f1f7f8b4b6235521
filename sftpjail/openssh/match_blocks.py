"""The lines of a profile's Match blocks, and how `sshd -T` prints them."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..model import Profile
from ..paths import KEYS_DIR
from .pam_session import service

MAIN = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh/sshd_config.d"
DROPIN = f"{DIRECTORY}/10-sftpjail.conf"

# Each kind is named: DisableForwarding alone missed X11 and agents before OpenSSH 10.0,
# and tunnels before 10.4.
DOORS = (
    "DisableForwarding yes",
    "AllowTcpForwarding no",
    "AllowStreamLocalForwarding no",
    "AllowAgentForwarding no",
    "X11Forwarding no",
    "PermitTunnel no",
    "PermitTTY no",
    "PermitUserRC no",
)
WORDS = 9  # before 10.4 sshd silently drops further arguments of internal-sftp (session.c)


def force_command(profile: Profile, config: Config) -> str:
    """Return the value of ForceCommand: internal-sftp, each option joined with its argument.

    Raises:
        SftpJailError: it has more arguments than sshd keeps.
    """
    words = ["internal-sftp"]
    if config.logs.backend != "none":
        words += [f"-f{config.logs.facility}", f"-l{config.logs.level}"]
    if profile.umask:
        words.append(f"-u{profile.umask.zfill(4)}")
    start = profile.start or (f"/{profile.files}" if profile.in_home else "")
    if start:
        words.append(f"-d{start}")
    if profile.read_only:
        words.append("-R")
    if profile.deny:
        words.append(f"-P{','.join(profile.deny)}")
    command = " ".join(words)
    if len(command.split()) > WORDS:
        raise SftpJailError(
            f"profile {profile.name}: ForceCommand has more than the {WORDS} words that sshd keeps"
        )
    return command


def block(profile: Profile, config: Config, host: Host) -> list[str]:
    """Return a profile's settings as written in its Match blocks."""
    return [*_own(profile, config, host), *profile.sshd_options]


def _own(profile: Profile, config: Config, host: Host) -> Iterator[str]:
    yield f"ChrootDirectory {profile.chroot}"
    yield f"ForceCommand {force_command(profile, config)}"
    yield f"AuthorizedKeysFile {KEYS_DIR}/%u"
    if profile.keys_command:
        yield f"AuthorizedKeysCommand {profile.keys_command}"
        yield f"AuthorizedKeysCommandUser {profile.keys_command_user}"
    if profile.trusted_ca:
        yield f"TrustedUserCAKeys {profile.trusted_ca}"
    if profile.principals:
        yield f"AuthorizedPrincipalsFile {profile.principals}"
    yield from DOORS
    if service(profile, host):
        yield f"PAMServiceName {service(profile, host)}"


def match_blocks(config: Config, host: Host) -> Iterator[str]:
    """Yield the lines of all Match blocks, users before groups, since the first value wins."""
    for profile in config.profiles:
        if profile.match_user:
            yield f"Match User {','.join(profile.match_user)}"
            yield from (f"    {line}" for line in block(profile, config, host))
    for profile in config.profiles:
        if profile.group:
            yield f"Match Group {profile.group}"
            yield from (f"    {line}" for line in block(profile, config, host))


def settings(profile: Profile, config: Config, host: Host) -> Iterator[str]:
    """Yield a profile's settings as `sshd -T` prints them: keywords in lower case, yes and no."""
    for line in _own(profile, config, host):
        keyword, _, value = line.partition(" ")
        yield f"{keyword.lower()} {value}"
