"""Our own records: what was there before us, and whom we know."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from ..formats.origin_record import parse_origin
from ..model import Origin
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

    def recorded(self) -> list[str]:
        """Return everybody who has a record of ours."""
        return [name for name in self.files.listdir(ACCOUNTS) if not name.startswith(".")]

    @cached_property
    def known(self) -> Mapping[str, None]:
        """The names that have a record or binds of ours."""
        return dict.fromkeys((*self.recorded(), *self.mount_tables.bind_users))
