"""Our own records: the state of the host and its accounts before us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
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
        """Return the record of the state before us.

        Args:
            owner: an account, or "" for the host.

        Raises:
            SftpJailError: the record is damaged.
        """
        if owner not in self._origins:
            path = HOST_RECORD
            if owner:
                path = f"{ACCOUNTS}/{owner}"
            self._origins[owner] = parse_origin(path, self.files.text(path))
        return self._origins[owner]

    def uid_of(self, owner: str) -> int:
        """Return the uid in an account's record; -1 if the record has none or is damaged."""
        with contextlib.suppress(SftpJailError):
            return self.origin(owner).uid
        return -1

    @cached_property
    def by_uid(self) -> Mapping[int, tuple[str, ...]]:
        """The names of the records by the uid in them. This reads every record."""
        return self.names_by_uid(self.recorded)

    def names_by_uid(self, names: Iterable[str]) -> Mapping[int, tuple[str, ...]]:
        """Return the names of some records by the uid in them, which reads these."""
        found: dict[int, tuple[str, ...]] = {}
        for name in names:
            uid = self.uid_of(name)
            found[uid] = (*found.get(uid, ()), name)
        return found

    def made_as(self, path: str, owner: str) -> str:
        """Return the path under which a record lists PATH as made by us, or PATH itself.

        The two differ if a profile's chroot has become a link since.

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
        """Whether the host is set up, that is, no teardown followed the last `setup`.

        After a teardown the record can still list directories that had to stay, for example with
        users' keys.
        """
        made = (path for path in self.origin("").made if inside(path, "/etc"))
        return any(not self.files.is_dir(path) for path in made)

    @cached_property
    def recorded(self) -> Mapping[str, None]:
        """The names that have a record."""
        names = self.files.listdir(ACCOUNTS)
        return dict.fromkeys(name for name in names if not name.startswith("."))

    @cached_property
    def known(self) -> Mapping[str, None]:
        """The names that have a record or binds."""
        return dict.fromkeys((*self.recorded, *self.mount_tables.bind_users))
