"""The durable undo log of the running transaction, and the recovery of an interrupted one.

The log is one file of JSON lines. The first line names the transaction. Each other line is an undo
record, and is on the disk before the step that it undoes. The transaction's line in the history is
its commit: before it, recovery means "roll back"; after it, "delete the old versions". Earlier
versions of sftpjail committed by a line `{"committed": …}` in this file.

Every undo may run twice, and on a step that never began. Registering the undo first is an idea of
certbot's Reverter. There is one log for everything, so that the order is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterable
from itertools import chain
from typing import Any

from ..errors import LinkRefused, RollbackIncomplete, SftpJailError
from ..system import accounts, files, process_state, services, shadow_leftovers
from ..system.locks import DirectoryLock
from .history import Entry, Head, History, announce
from .kinds import (
    OF_ACCOUNTS,
    OLD_VERSIONS,
    Undo,
    drop,
    first_versions,
    is_undo,
    joint_op,
    revert,
    revert_together,
    with_earlier,
)

# Seconds to wait for a lock on a directory that has just been made: `check` may look at it.
_MOMENT = 1.0
# The undos that change names in directories.
_NAMES = ("file", "unremove", "rename", "made-dir")
# The undos that delete or restore an account.
_ACCOUNTS = ("added-account", "deleted-account", "restored-account")


class Journal:
    """The log in a directory. Create one only while holding the lock.

    Args:
        directory: /var/lib/sftpjail.
        held: the lock on it. Where the directory did not exist when that was taken, the first
            record makes and locks it.

    `notices` names what a rollback has left in place on purpose.
    """

    def __init__(self, directory: str, held: DirectoryLock | None = None) -> None:
        self.held = held
        self.path = f"{directory}/journal"
        self.directory = directory
        self.history = History(f"{directory}/history")
        self.undos: list[Undo] = []
        self.notices: list[str] = []
        self.head: Head | None = None  # the end of the history before the commit
        self.token = ""
        self.began: dict[str, Any] = {}  # facts of the host from before the first step
        self.tried = False  # whether a commit was tried
        self._saved: set[str] = set()  # paths that have an undo record with the old version
        self._leaving: set[str] = set()  # directories that the commit removes

    def record(self, undos: Iterable[Undo]) -> None:
        """Write the undo records of a batch of steps to the disk, before the steps.

        Raises:
            SftpJailError: they cannot be written, so no step may be taken.
        """
        batch = list(undos)
        if not batch:
            return
        if self.head is None:
            process_state.refuse_few_files()
        try:
            if not os.path.isdir(self.directory):
                files.make_dir(self.directory, 0o700, 0, 0)
                files.sync_dirs({os.path.dirname(self.directory)})
            if self.head is None:
                self._lock()
            lines = (json.dumps(undo) + "\n" for undo in batch)
            files.append(self.path, chain([self._begin()], lines))
        except OSError as error:
            raise SftpJailError(f"cannot write {self.path}: {error.strerror}") from error
        self.undos += batch

    def _lock(self) -> None:
        """Lock the directory before the first record, if this run has not locked it yet.

        Raises:
            SftpJailError: another run, which does not see our lock file, has begun meanwhile: what
                was planned is from before its change.
        """
        if self.held is None or not self.held.take(_MOMENT):
            return
        if files.is_there(self.path) or self.history.head().number:
            raise SftpJailError(
                f"another sftpjail has changed this host meanwhile: it has made {self.directory}",
                advice="run this again",
            )

    def once(self, undos: Iterable[Undo]) -> list[Undo]:
        """Return undo records with "again" set if no old version is to be kept.

        If an earlier stage of the transaction wrote or removed the same path, the version from
        before the transaction has already been kept, and only that one counts.

        The same for a directory that an earlier stage removed: until the commit it still exists,
        and now neither the commit nor a rollback removes it.

        Args:
            undos: the records of a batch of steps, before `record`.
        """
        marked = []
        for undo in undos:
            path = ""
            if undo["op"] in OLD_VERSIONS:
                path = undo["path"]
            stays = undo["op"] == "made-dir" and undo["path"] in self._leaving
            marked.append(undo | {"again": True} if stays or path in self._saved else undo)
            self._saved |= {path} - {""}
            if undo["op"] == "remove-dir":
                self._leaving |= {undo["path"]}
            else:
                self._leaving |= set()
        return marked

    def _begin(self) -> str:
        """Return the line that names the transaction if this is the first batch, else ""."""
        if self.head is not None:
            return ""
        self.head, self.token = self.history.head(), os.urandom(8).hex()
        if self.head.torn:
            self.history.cut_partial()
        now = {"boot": shadow_leftovers.boot_id(), "leftovers": shadow_leftovers.present()}
        self.began = now
        return json.dumps({"id": self.head.number + 1, "token": self.token} | now) + "\n"

    def commit(self, entry: Entry | None = None) -> Head | None:
        """Commit the steps. If this run dies afterwards, the next one finishes its work.

        Args:
            entry: the transaction's entry in the history.

        Returns:
            the new end of the history, or None if nothing was done.
        """
        if self.head is None:
            return None
        self.tried, now = True, time.time()
        about = {"id": self.head.number + 1, "token": self.token, "time": int(now)}
        return self.history.append(self.head, about | (entry or {}), now)

    def clear_away(self) -> None:
        """Delete the old versions, which only a rollback needs.

        This comes before the notices, so that a daemon's directory does not change again after
        the daemon has read it.
        """
        with contextlib.suppress(SftpJailError, OSError):  # `finish` tries again
            self._drop_old(committed=True)

    def finish(self, months: int = 0) -> None:
        """Delete the log. This comes after the notices, so that none of them is lost.

        Args:
            months: how many months of the history to keep; 0 for all.
        """
        with contextlib.suppress(SftpJailError, OSError):  # the next transaction tries again
            self.history.forget_before(months)
        if self.undos:
            with contextlib.suppress(SftpJailError, OSError):
                self._forget(committed=True)

    def rollback(self, interrupted: bool = False) -> None:
        """Undo all steps, the last one first.

        Args:
            interrupted: the log is that of another run, and the host may have rebooted since.

        Raises:
            RollbackIncomplete: an undo failed. The log stays, and the next run tries again.
        """
        process_state.lift_limits()
        if self.tried and self.head is not None:
            try:
                self.history.withdraw(self.head)
            except (SftpJailError, OSError) as error:  # with that line there, undo nothing
                raise RollbackIncomplete(
                    f"the history may say that this was done: {error}",
                    advice="fix that and run sftpjail again: it goes on, or puts everything back",
                ) from error
        failures = self._clear_leftovers() + self._put_back() + self._sync()
        if failures:
            raise RollbackIncomplete(
                "the rollback is incomplete: " + "; ".join(failures),
                advice=f"fix that and run sftpjail again: it goes on from {self.path}",
            )
        # A daemon that was started since an interrupted run has read the files of that run.
        self._notify(
            undo
            for undo in self.undos
            if interrupted or not (undo.get("late") or undo.get("foreseen"))
        )
        try:
            self._forget(committed=False)
        except (SftpJailError, OSError) as error:
            raise RollbackIncomplete(
                f"everything was put back, and the next run will repeat that: {error}",
                advice=f"fix that and run sftpjail again: it goes on from {self.path}",
            ) from error

    def _clear_leftovers(self) -> list[str]:
        """Remove the lock files of a shadow program that was killed; return what failed.

        This comes before the undos, because some of them run programs that wait for such a lock.
        """
        if "boot" in self.began and any(undo["op"] in OF_ACCOUNTS for undo in self.undos):
            try:
                shadow_leftovers.clear(self.began["leftovers"], self.began["boot"])
            except (SftpJailError, OSError) as error:
                return [str(error)]
        return []

    def _put_back(self) -> list[str]:
        """Carry out the undos, the last one first; return the failures."""
        undos = [*reversed(with_earlier(first_versions(self.undos)))]
        failures = []
        for (op, _), run in itertools.groupby(undos, lambda u: (joint_op(u), u.get("plugin"))):
            some = [*run]
            many = op and len({undo["name"] for undo in some}) > 1
            parts = [some] if many else [[undo] for undo in some]
            failures += [failed for part in parts if (failed := self._revert(part))]
        return failures

    def _revert(self, undos: list[Undo]) -> str:
        """Carry out an undo, or some that are carried out at once; return the failure, or ""."""
        first, others = undos[0], len(undos) - 1
        about = f"{first['op']} {first.get('path', first.get('name', ''))}"
        if others:
            about += f" and {others} more"
        if "plugin" in first:
            about = f"plugin {first['plugin']}: {about}"
        try:
            notices = revert_together(undos) if others else [revert(first)]
            self.notices += filter(None, notices)
        except LinkRefused as error:
            # What we made there is gone; what is there now is not ours.
            self.notices.append(f"{about} is left: {error}")
        except Exception as error:  # whatever it is, the other undos must still run
            if isinstance(error, SftpJailError | OSError):
                why = str(error)
            else:
                why = repr(error)
            return f"{about}: {why}"
        return ""

    def _notify(self, undos: Iterable[Undo]) -> None:
        """Notify the daemons in the undo records, each once, in case they missed a change."""
        told = [(undo["name"], undo.get("how", "")) for undo in undos if undo["op"] == "notify"]
        for name, how in dict.fromkeys(told):
            with contextlib.suppress(SftpJailError, OSError):
                services.notify(name, how)

    def _sync(self) -> list[str]:
        """Sync what was put back, before the log is deleted; return the failures.

        Each directory in which a name may have changed is synced once.
        """
        undos = [undo for undo in self.undos if undo["op"] in _NAMES]
        paths = {undo[key] for undo in undos for key in ("path", "to") if key in undo}
        directories = {os.path.dirname(path) for path in paths}
        directories |= {undo["path"] for undo in self.undos if undo["op"] == "owner"}
        if any(undo["op"] in OF_ACCOUNTS for undo in self.undos):
            directories.add("/etc")
        failures = []
        for directory in sorted(directories):
            if os.path.isdir(directory):
                try:
                    files.sync_dirs({directory})
                except LinkRefused:  # nothing behind a user's link is ours
                    continue
                except (SftpJailError, OSError) as error:
                    failures.append(str(error))
        return failures

    def _forget(self, committed: bool) -> None:
        self._drop_old(committed)
        self.undos = []
        self._tidy()

    def _drop_old(self, committed: bool) -> None:
        for undo in self.undos:
            if undo["op"] in OLD_VERSIONS:
                drop(files.backup_name(undo["path"]))
                drop(files.stage_name(undo["path"]))
        made = {u["path"] for u in self.undos if u["op"] == "made-dir" and u.get("again")}
        for undo in self.undos if committed else ():
            if undo["op"] == "remove-dir" and undo["path"] not in made:
                # Not earlier: until the commit, the directory may have old versions of its files.
                with contextlib.suppress(LinkRefused):
                    files.remove_dir(undo["path"], undo.get("inode", 0))

    def _tidy(self) -> None:
        if files.is_there(self.path):
            files.unlink(self.path)
            files.sync_dirs({self.directory})
        # These directories are empty on a host without a jail, and must not stay there.
        for directory in (self.history.directory, f"{self.directory}/accounts", self.directory):
            with contextlib.suppress(SftpJailError, OSError):  # an empty one does no harm
                if os.path.isdir(directory) and not os.listdir(directory):
                    files.remove_dir(directory)

    def recover(self, arrived: str = "") -> bool:
        """Recover from an interrupted run: roll it back, or finish it if it was committed.

        Args:
            arrived: an account that another program has just made, and that must stay.

        Returns:
            whether there was an interrupted run.

        Raises:
            RollbackIncomplete: as `rollback`.
        """
        try:
            with open(self.path, encoding="utf-8", errors="surrogateescape") as handle:
                text = handle.read()
        except FileNotFoundError:
            self._tidy()
            return False
        except OSError as error:
            raise SftpJailError(
                f"cannot read {self.path}: {error.strerror}", advice="run sftpjail as root"
            ) from error
        self.began = self._read(text, arrived)
        if not self._counts(self.began):
            accounts.wait_for_programs()
            self.rollback(interrupted=True)
            return True
        self.clear_away()
        self._notify(undo for undo in self.undos if undo.get("late"))  # harmless if repeated
        self._forget(committed=True)
        return True

    def _read(self, text: str, arrived: str) -> dict[str, Any]:
        """Load the undo records of a log, and return the fields of its other lines.

        Args:
            text: the content of the log.
            arrived: as in `recover`.

        Raises:
            SftpJailError: a line is of another version.
        """
        about: dict[str, Any] = {}
        for line in text.split("\n"):
            # An incomplete last line is ignored: its step never began.
            with contextlib.suppress(ValueError, RecursionError):
                undo = json.loads(line)
                if not isinstance(undo, dict) or ("op" in undo and not is_undo(undo)):
                    raise SftpJailError(
                        f"{self.path} has a line that this version of sftpjail does not write:"
                        f" {line[:80]}",
                        f"mv -nT {self.path} {self.path}.damaged",
                    )
                if "op" not in undo:
                    about |= undo
                elif not (undo["op"] in _ACCOUNTS and undo["name"] == arrived):
                    self.undos.append(undo)
        return about

    def _counts(self, about: dict[str, Any]) -> bool:
        """Return whether an interrupted transaction was committed, after mending the history."""
        head = self.history.head()
        if head.torn:
            self.history.cut_partial()
        if about.get("token") and about["token"] == head.token:
            announce(head)  # possibly for the second time
            return True
        return "committed" in about
