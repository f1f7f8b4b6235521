"""What cannot be known while a directory service does not answer."""

from __future__ import annotations

from ..config import Config
from ..errors import SftpJailError
from ..errors.escapes import look_at
from ..host import Host
from ..openssh.match_blocks import DROPIN, MAIN


def refuse_silent(name: str, host: Host) -> None:
    """Refuse to continue while it is unknown whether an account exists.

    Raises:
        SftpJailError: a directory service does not answer.
    """
    if host.people.is_silent(name):
        raise SftpJailError(
            f"the directory service ({', '.join(host.people.directory_services)}) does not answer "
            f"whether there is an account {name}",
            look_at(f"getent passwd {name}"),
        )


def silent(host: Host) -> list[str]:
    """Return the names in our records that may belong to an unavailable directory service."""
    if not host.people.directory_services:
        return []
    return [name for name in host.records.known if host.people.is_silent(name)]


def unseen(config: Config, host: Host) -> list[str]:
    """Return the missing groups of profiles, if a directory service may be the cause."""
    groups = []
    if host.people.directory_services:
        groups = [profile.group for profile in config.profiles if profile.group]
    return [group for group in groups if host.group(group) is None]


def lost_groups(config: Config, host: Host) -> list[str]:
    """Return the groups that have a Match block but no longer exist.

    They were renamed or deleted. Creating an empty group of the same name would hide that no jail
    is in force any more.
    """
    live = f"{host.text(DROPIN)}\n{host.text(MAIN)}".split("\n")
    groups = [
        profile.group
        for profile in config.profiles
        if profile.group and f"Match Group {profile.group}" in live
    ]
    if not host.records.recorded:
        return []
    return [group for group in groups if host.group(group) is None]
