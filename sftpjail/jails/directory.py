"""What nobody knows while a directory service does not answer."""

from __future__ import annotations

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..openssh.match_blocks import DROPIN, MAIN


def refuse_silent(name: str, host: Host) -> None:
    """Refuse to go on about a name while nobody knows whether there is such an account.

    Raises:
        SftpJailError: a directory service does not answer.
    """
    if host.is_silent(name):
        raise SftpJailError(
            f"the directory service ({', '.join(host.directory_services)}) does not answer "
            f"whether there is an account {name}",
            f"getent passwd {name}",
        )


def silent(host: Host) -> list[str]:
    """Return who has something of a jail, and nobody knows whether they are still there.

    Nobody knows because a directory service is down.
    """
    return (
        [name for name in host.known() if host.is_silent(name)] if host.directory_services else []
    )


def unseen(config: Config, host: Host) -> list[str]:
    """Return the profiles' groups that are missing, on a host where a directory may be to blame."""
    groups = (
        [profile.group for profile in config.profiles if profile.group]
        if host.directory_services
        else []
    )
    return [group for group in groups if host.group(group) is None]


def lost_groups(config: Config, host: Host) -> list[str]:
    """Return the profiles' groups that sshd has a Match block for and that are not there.

    They were renamed, or deleted. A new one of that name would be empty, and hide that
    nobody's jail is in force.
    """
    live = f"{host.text(DROPIN)}\n{host.text(MAIN)}".split("\n")
    groups = [
        profile.group
        for profile in config.profiles
        if profile.group and f"Match Group {profile.group}" in live
    ]
    return [group for group in groups if host.group(group) is None] if host.recorded() else []
