"""Names of accounts that stand in files beside passwd(5): those of systemd's userdb, of extrausers.

They are on this host as well, but no line of passwd(5) or group(5) tells who is in a group by them.
Whether an account is, the name service says: what is found here are only names to ask it for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .files import Files

# Where nss-systemd(8) reads drop-in records, by its manual page.
USERDB = (
    "/etc/userdb",
    "/run/userdb",
    "/run/host/userdb",
    "/usr/local/lib/userdb",
    "/usr/lib/userdb",
)
# The passwd(5) of other name services of nsswitch.conf(5).
PASSWD = {"extrausers": "/var/lib/extrausers/passwd", "altfiles": "/usr/lib/passwd"}


def names(services: Collection[str], files: Files) -> Iterator[str]:
    """Yield the names of accounts in the files of name services, some of them twice.

    A record of userdb is NAME.user, and UID.user a link to it; USER:GROUP.membership makes somebody
    a member.

    Args:
        services: those that nsswitch.conf(5) names for passwd.
        files: of the host.
    """
    for directory in USERDB if "systemd" in services else ():
        for entry in files.listdir(directory):
            stem, _, kind = entry.rpartition(".")
            if kind == "user" and not stem.isdigit() and ":" not in stem:
                yield stem
            elif kind == "membership":
                yield stem.partition(":")[0]
    for service, path in PASSWD.items():
        if service in services:
            yield from (
                line.partition(":")[0] for line in files.text(path).split("\n") if ":" in line
            )
