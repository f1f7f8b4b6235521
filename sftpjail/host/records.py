"""Our own records: what was there before us, and whom we know."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property

from ..errors import SftpJailError
from ..formats.origin_record import parse_origin
from ..model import Origin, inside
from ..paths import ACCOUNTS, HOST_RECORD
from .files import Files
from .mounts import MountTables


class Records:
    """The records below /var/lib/sftpjail, each read once."""

    def __init__(self, files: Files, mount_tables: MountTables) -> None:
        self.files, self.mount_tables = files, mount_tables
        self._origins: dict[str, Origin] = {}

    def origin(self, owner: str) -> Origin:
        """Return what was there before us.

        Args:
            owner: an account, or "" for the host.

        Raises:
            SftpJailError: the record is damaged.
        """
        if owner not in self._origins:
            path = f"{ACCOUNTS}/{owner}" if owner else HOST_RECORD
            self._origins[owner] = parse_origin(path, self.files.text(path))
        return self._origins[owner]

    def uid_of(self, owner: str) -> int:
        """Return the uid that an account's record has; -1 for none, and for a damaged record."""
        with contextlib.suppress(SftpJailError):
            return self.origin(owner).uid
        return -1

    @cached_property
    def by_uid(self) -> Mapping[int, tuple[str, ...]]:
        """The names whose records have a uid. To know, every record is read."""
        found: dict[int, tuple[str, ...]] = {}
        for name in self.recorded():
            uid = self.uid_of(name)
            found[uid] = (*found.get(uid, ()), name)
        return found

    def made_as(self, path: str, owner: str) -> str:
        """Return the name by which a record has a path that we made, or PATH itself.

        A profile's chroot may lead there through a link since.

        Args:
            path: absolute.
            owner: as in `origin`.
        """
        made = self.origin(owner).made
        if path in made:
            return path
        return next((name for name in made if self.mount_tables.same_place(name, path)), path)

    @property
    def is_set_up(self) -> bool:
        """Whether `setup` was done, and no teardown since.

        The record can be of directories that a teardown had to leave, as that of somebody's keys.
        """
        made = (path for path in self.origin("").made if inside(path, "/etc"))
        return any(not self.files.is_dir(path) for path in made)

    def recorded(self) -> list[str]:
        """Return everybody who has a record of ours."""
        return [name for name in self.files.listdir(ACCOUNTS) if not name.startswith(".")]

    @cached_property
    def known(self) -> Mapping[str, None]:
        """The names that have a record or binds of ours."""
        return dict.fromkeys((*self.recorded(), *self.mount_tables.bind_users))
