"""Names of accounts in files other than passwd(5): systemd's userdb, extrausers and altfiles.

These accounts are local, but passwd(5) and group(5) do not show their group memberships. This
module only finds their names; the name service is then queried for each name's groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .files import Files

# The directories of nss-systemd(8) for drop-in records.
USERDB = (
    "/etc/userdb",
    "/run/userdb",
    "/run/host/userdb",
    "/usr/local/lib/userdb",
    "/usr/lib/userdb",
)
# The passwd(5) files of other name services of nsswitch.conf(5).
PASSWD = {"extrausers": "/var/lib/extrausers/passwd", "altfiles": "/usr/lib/passwd"}


def names(services: Collection[str], files: Files) -> Iterator[str]:
    """Yield the names of accounts in the files of name services. Some may come twice.

    A userdb record is NAME.user, with a link UID.user to it. USER:GROUP.membership adds a user to a
    group.

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
