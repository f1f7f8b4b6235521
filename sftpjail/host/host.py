"""Read-only facts about the host.

Each file is read once per run, so that 10,000 accounts cost one read and not 10,000.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

from ..formats.fstab import FstabEntry, MountPoint
from ..model import Account
from .accounts import People
from .daemons import Daemons
from .files import Files
from .jobs import Jobs
from .mounts import MountTables
from .owned import Owned
from .programs import Programs
from .records import Records


class Host:
    """The machine as it is now. Hooks may ask it anything and change nothing.

    A host consists of parts, and each part caches what it has read. The host itself has what
    `Facts` and `View` promise; anything else is asked of its part.

    Args:
        files, programs, daemons: the parts of a fake host in tests; by default the machine's.
        thorough: only a few accounts are examined, so that running a program for each of them is
            acceptable.
        preparing: the plan being made includes on_setup.
        listed: the accounts on the list of disabled accounts after that plan, if it changes them.
        limited: the accounts limited to some source addresses after that plan, likewise.
        invoker: the accounts of the person who runs us; None means to find out.
    """

    def __init__(
        self,
        files: Files | None = None,
        programs: Programs | None = None,
        daemons: Daemons | None = None,
        *,
        thorough: bool = True,
        preparing: bool = False,
        listed: frozenset[str] | None = None,
        limited: Mapping[str, tuple[str, ...]] | None = None,
        invoker: frozenset[str] | None = None,
    ) -> None:
        self.files = files = files or Files()
        self.programs = programs = programs or Programs(files)
        self.daemons = daemons = daemons or Daemons(files)
        self.mount_tables = tables = MountTables(files)
        self.records = Records(files, tables)
        self.people = people = People(files, programs, self.records)
        self.owned = Owned(files, people)
        self.jobs = Jobs(files)
        self.thorough, self.preparing, self.listed = thorough, preparing, listed
        self.limited = limited
        self._invoker = invoker
        # The promises of `Facts` and `View`.
        self.lstat, self.stat, self.is_dir = files.lstat, files.stat, files.is_dir
        self.read, self.text, self.tagged = files.read, files.text, files.tagged
        self.listdir, self.realpath, self.same_file = files.listdir, files.realpath, files.same_file
        self.trusted_path, self.flaw, self.acl = files.trusted_path, files.flaw, files.acl
        self.access = files.access
        self.account, self.group, self.in_group = people.account, people.group, people.in_group
        self.group_members, self.is_system = people.group_members, people.is_system
        self.shadow, self.expiry = people.shadow, people.expiry
        self.comment = people.comment
        self.owner_name = people.owner_name
        self.mount_at, self.binds, self.origin = tables.mount_at, tables.binds, self.records.origin
        self.is_stale_mount = tables.is_stale_mount
        self.is_lost_by_umount = tables.is_lost_by_umount
        self.mount_changed = tables.mount_changed
        self.which, self.ask, self.as_user = programs.which, programs.ask, programs.as_user
        self.running, self.listens = daemons.running, daemons.listens

    @property
    def accounts(self) -> Mapping[str, Account]:
        """The local accounts by name."""
        return self.people.accounts

    @property
    def fstab(self) -> tuple[FstabEntry, ...]:
        """The mounts of /etc/fstab."""
        return self.mount_tables.fstab

    @property
    def mounts(self) -> Mapping[str, MountPoint]:
        """The mount table of our mount namespace, by mount point."""
        return self.mount_tables.mounts

    @property
    def openssh(self) -> tuple[int, int]:
        """The version of the installed OpenSSH server, such as (9, 2)."""
        return self.programs.openssh

    @property
    def systemd(self) -> bool:
        """Whether systemd is PID 1."""
        return self.daemons.systemd

    @property
    def invoker(self) -> frozenset[str]:
        """The accounts of the person who runs us."""
        if self._invoker is None:
            return self.people.invoker
        return self._invoker

    def groups_of(self, name: str) -> tuple[str, ...]:
        """Return the names of an account's groups, the primary one first."""
        return self.people.groups_of(name, self.thorough)

    def may(self, account: Account, path: str, what: str) -> bool:
        """Return whether an account may read (r), write (w) or enter (x) PATH.

        If the mode denies it, test(1) is run as the account, which honours ACLs. A read-only file
        system denies w. The immutable attribute counts only if test(1) is run.
        """
        found = self.files.stat(path)
        if found is None:
            return False
        bit = {"r": 4, "w": 2, "x": 1}[what]
        mode = found.st_mode
        if found.st_uid == account.uid:
            mode >>= 6
        elif found.st_gid in (account.gid, *self.people.local_gids(account.name)):
            mode >>= 3
        if mode & bit and not (what == "w" and self.files.read_only(path)):
            return True
        return not self.files.root and self.as_user(account, ["test", f"-{what}", path]).code == 0

    def able(self, account: Account, directory: str) -> str:
        """Return which of r, w and x the kernel grants an account in a directory.

        The directories above it do not count, because a jail reaches it by a mount. ACLs, all
        groups, read-only file systems and the immutable attribute do.
        """
        if self.files.root:
            return "".join(what for what in "rwx" if self.may(account, directory, what))
        script = "for what in r w x; do if test -$what .; then printf $what; fi; done"
        return self.programs.as_user(account, ["sh", "-c", script], within=directory).out

    def anew(self) -> Host:
        """Return the host for the same purpose with empty caches, to see it as it is now."""
        files = self.files.anew()
        return Host(
            files,
            self.programs.anew(files),
            self.daemons.anew(files),
            thorough=self.thorough,
            preparing=self.preparing,
            listed=self.listed,
            limited=self.limited,
            invoker=self._invoker,
        )

    # -- the same host for another purpose, with shared caches -------------------------------------

    def for_many_accounts(self) -> Self:
        """Return this host for many accounts, so that no program is run for each of them."""
        return self._but(thorough=False)

    def for_plan(
        self,
        preparing: bool,
        listed: frozenset[str] | None = None,
        limited: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Self:
        """Return this host for a plan being made. The arguments are those of the constructor."""
        if (preparing, listed, limited) == (self.preparing, self.listed, self.limited):
            return self
        return self._but(preparing=preparing, listed=listed, limited=limited)

    def run_by_nobody(self) -> Self:
        """Return this host for a run that no person has started."""
        return self._but(_invoker=frozenset())

    def with_owners(self, owners: Mapping[str, tuple[int, int, int]]) -> Self:
        """Return this host for a plan that changes the owners of some paths.

        Args:
            owners: uid, gid and mode by path.
        """

        def lstat(path: str) -> os.stat_result | None:
            found = self.files.lstat(path)
            if found is None or path not in owners:
                return found
            uid, gid, mode = owners[path]
            fields = list(found)
            fields[:1], fields[4:6] = [stat.S_IFMT(found.st_mode) | mode], [uid, gid]
            return os.stat_result(fields)

        return self._but(lstat=lstat)

    def _but(self, **purpose: Any) -> Self:
        other = copy(self)
        vars(other).update(purpose)
        return other
