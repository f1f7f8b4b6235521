"""Directories that lose their old files: `set --retention`.

systemd-tmpfiles(8) deletes them every day. It does not follow links at or below the directory, and
does not enter other mounts. But it follows links above the directory. So only root may be able to
create one there, and the files must not be shared with anybody else.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SftpJailError
from ..formats.retention import ages_of, is_writable, line, setting
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Account, innermost, inside, normal
from ..paths import RETENTION

if TYPE_CHECKING:
    from ..actions import Action

SINCE = 250  # the first version of systemd in which "m:" chooses the modification time
MOST = 100_000  # entries of a directory that a preview looks at


def ages(name: str, host: Host) -> dict[str, int]:
    """Return after how many days files are deleted, by directory as sessions see it."""
    return ages_of(host.tagged(RETENTION, Style.BLOCK).get(name, ()))


def place(account: Account, directory: str, host: Host) -> str:
    """Return the path on the host of a directory as an account's sessions see it."""
    path = normal(f"{account.jail}/{directory}")
    bind = innermost(host.binds(account.name), path)
    found = path
    if bind:
        found = bind.source + path.removeprefix(bind.target)
    return host.mount_tables.place(found)


def refuse_host(host: Host) -> None:
    """Refuse a host on which nothing deletes old files. Raises SftpJailError."""
    if not host.which("systemd-tmpfiles") or not host.is_dir("/etc/tmpfiles.d"):
        raise SftpJailError("old files are deleted by systemd-tmpfiles(8), which is not here")
    version = host.programs.systemd_tmpfiles
    if version < SINCE:
        raise SftpJailError(
            f"systemd-tmpfiles is of systemd {version} here and cannot judge files by the time at "
            f"which they were written; {SINCE} can"
        )


def refusal(account: Account, directory: str, host: Host) -> str:
    """Return why old files in a directory must not be deleted, or "".

    Args:
        account: with its profile.
        directory: as its sessions see it.
        host: the facts.
    """
    path = place(account, directory, host)
    found = host.lstat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        if found:
            return f"{path} is no directory"
        return f"{path} is not there"
    if not is_writable(path):
        return f"systemd-tmpfiles would take {path} for a pattern"
    if found.st_uid != account.uid:
        owner = host.people.name_of(found.st_uid) or f"uid {found.st_uid}"
        return f"{path} belongs to {owner}"
    loose = host.files.loose_parent(path)
    if loose:
        return f"others than root can write in {loose}, and put a link in the place of {path}"
    others = sorted(host.mount_tables.shown_to(path) - {account.name})
    if not others:
        return ""
    return f"{path} is shared: it is mounted in the jail of {others[0]} too"


def block(account: Account, wanted: Mapping[str, int], host: Host) -> tuple[str, ...]:
    """Return an account's lines. For a refused directory, only its setting is recorded."""
    found: list[str] = []
    for directory, days in sorted(wanted.items()):
        found.append(setting(directory, days))
        if not refusal(account, directory, host):
            found.append(line(place(account, directory, host), days))
    return tuple(found)


def is_active(account: Account, directory: str, days: int, host: Host) -> bool:
    """Return whether systemd-tmpfiles is told to delete the old files of a directory."""
    lines = host.tagged(RETENTION, Style.BLOCK).get(account.name, ())
    return line(place(account, directory, host), days) in lines


def store(name: str, lines: tuple[str, ...], host: Host) -> list[Action]:
    """Return the action that sets the lines of an account, or removes them if there are none."""
    from ..actions import SetLines  # late: list needs no actions

    if host.tagged(RETENTION, Style.BLOCK).get(name, ()) == lines:
        return []
    return [SetLines(RETENTION, name, lines, Style.BLOCK)]


def old_files(account: Account, directory: str, days: int, host: Host) -> tuple[int, bool]:
    """Return how many files in a directory are too old, and whether all were examined."""
    return host.files.count_old(place(account, directory, host), days, MOST)


def whose(source: str, host: Host) -> str:
    """Return an account whose old files are deleted in, above or below a directory, or ""."""
    real = host.realpath(source)
    for name, lines in host.tagged(RETENTION, Style.BLOCK).items():
        for directory in _paths(lines):
            if inside(real, directory) or inside(directory, real):
                return name
    return ""


def _paths(lines: tuple[str, ...]) -> list[str]:
    """Return the paths on the host of an account's lines."""
    paths = [text[2:].rpartition(" - - - m:")[0] for text in lines if text.startswith("e ")]
    return [normal(path.strip('"').replace("%%", "%")) for path in paths]
