"""The durable undo log of the running transaction, and the recovery of one that was interrupted.

One file of JSON lines. The first names the transaction; every other is on the disk before the step
that it undoes. The line of that transaction in the history is its commit: it turns the log from
"put everything back" into "clear away the old versions". Earlier versions committed by a line
`{"committed": …}` in this file.
Every undo can run twice, and on a step that never began. The idea of registering the undo first is
certbot's Reverter's; one ordered log, so that order is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from typing import Any

from ..errors import LinkRefused, RollbackIncomplete, SftpJailError
from ..system import accounts, files, process_state, services, shadow_leftovers
from .history import Entry, Head, History, announce
from .kinds import OLD_VERSIONS, Undo, drop, first_versions, is_undo, revert, with_earlier

# The undos that give, take or change a name in a directory.
_NAMES = ("file", "unremove", "rename", "made-dir")
# Those that change passwd(5) and its kin; its programs sync a file, and not its name.
_ETC = ("account", "group", "added-account", "deleted-account", "restored-account")
# Those that take an account away or bring it back.
_ACCOUNTS = ("added-account", "deleted-account", "restored-account")


class Journal:
    """The log in DIRECTORY. Make one only while holding the lock.

    Args:
        directory: /var/lib/sftpjail.

    `notices` says what a rollback has left on purpose.
    """

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/journal"
        self.directory = directory
        self.history = History(f"{directory}/history")
        self.undos: list[Undo] = []
        self.notices: list[str] = []
        self.head: Head | None = None  # where the history ends, or with the commit, ended
        self.token = ""
        self.began: dict[str, Any] = {}  # the host when the first step was taken
        self.tried = False  # to commit
        self._saved: set[str] = set()  # paths whose old version is kept, or where was nothing

    def record(self, undos: Iterable[Undo]) -> None:
        """Put the undo records of one batch of steps on the disk, before the steps.

        Raises:
            SftpJailError: they cannot be written; then no step may be taken.
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
            lines = "".join(json.dumps(undo) + "\n" for undo in batch)
            files.append(self.path, self._begin() + lines)
        except OSError as error:
            raise SftpJailError(f"cannot write {self.path}: {error.strerror}") from error
        self.undos += batch

    def once(self, undos: Iterable[Undo]) -> list[Undo]:
        """Return undo records that say "again" where an old version is not to be kept.

        Of a path that the transaction has written or removed before there is one already, in an
        earlier stage: that from before the transaction, which alone counts.

        Args:
            undos: of a batch of steps, which are on their way to `record`.
        """
        marked = []
        for undo in undos:
            path = undo["path"] if undo["op"] in OLD_VERSIONS else ""
            marked.append(undo | {"again": True} if path in self._saved else undo)
            self._saved |= {path} - {""}
        return marked

    def _begin(self) -> str:
        """Return the line that names the transaction, for the first batch."""
        if self.head is not None:
            return ""
        self.head, self.token = self.history.head(), os.urandom(8).hex()
        if self.head.torn:
            self.history.mend()
        now = {"boot": shadow_leftovers.boot_id(), "leftovers": shadow_leftovers.present()}
        self.began = now
        return json.dumps({"id": self.head.number + 1, "token": self.token} | now) + "\n"

    def commit(self, entry: Entry | None = None) -> Head | None:
        """Make the steps final. From here on the next run finishes what this one cannot.

        Args:
            entry: what the history is to say of them.

        Returns:
            where the history ends now; None where nothing was done.
        """
        if self.head is None:
            return None
        self.tried, now = True, time.time()
        about = {"id": self.head.number + 1, "token": self.token, "time": int(now)}
        return self.history.append(self.head, about | (entry or {}), now)

    def clear_away(self) -> None:
        """Drop the old versions, which only a rollback would have needed.

        Before the notices, so that no daemon's directory changes once more after the
        daemon has read it.
        """
        with contextlib.suppress(SftpJailError, OSError):  # `finish` tries again
            self._drop_old(committed=True)

    def finish(self, months: int = 0) -> None:
        """Forget the transaction; after the notices, so that none of them is lost.

        Args:
            months: how many months' files of the history stay; 0 for all.
        """
        with contextlib.suppress(SftpJailError, OSError):  # the next transaction tries again
            self.history.forget_before(months)
        if self.undos:
            with contextlib.suppress(SftpJailError, OSError):
                self._forget(committed=True)

    def rollback(self, interrupted: bool = False) -> None:
        """Put everything back, the last step first.

        Args:
            interrupted: it is another run's, since whose end the host may have booted.

        Raises:
            RollbackIncomplete: some undo failed; the log stays, and the next run tries again.
        """
        process_state.lift_limits()
        if self.tried and self.head is not None:
            try:
                self.history.withdraw(self.head)
            except (SftpJailError, OSError) as error:  # nothing may be put back while it says so
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
        # A daemon that has begun since an interrupted run has read what that one left.
        self._notify(
            undo
            for undo in self.undos
            if interrupted or not (undo.get("late") or undo.get("foreseen"))
        )
        try:
            self._forget(committed=False)
        except (SftpJailError, OSError) as error:
            raise RollbackIncomplete(
                f"everything was put back, and the next run will do it once more: {error}",
                advice=f"fix that and run sftpjail again: it goes on from {self.path}",
            ) from error

    def _clear_leftovers(self) -> list[str]:
        """Remove what a program that changed accounts has left as it died; return what failed.

        It comes before the undos, some of which run programs that would wait for such a lock.
        """
        if "boot" in self.began and any(undo["op"] in _ETC for undo in self.undos):
            try:
                shadow_leftovers.clear(self.began["leftovers"], self.began["boot"])
            except (SftpJailError, OSError) as error:
                return [str(error)]
        return []

    def _put_back(self) -> list[str]:
        """Carry out the undos, the last one first; return what failed."""
        failures = []
        for undo in [*reversed(with_earlier(first_versions(self.undos)))]:
            about = f"{undo['op']} {undo.get('path', undo.get('name', ''))}"
            about = f"plugin {undo['plugin']}: {about}" if "plugin" in undo else about
            try:
                notice = revert(undo)
                self.notices += [notice] if notice else []
            except LinkRefused as error:
                # What we made there is gone, and what is there now is not ours.
                self.notices.append(f"{about} is left: {error}")
            except Exception as error:  # whatever it is, the others are still to be put back
                why = str(error) if isinstance(error, SftpJailError | OSError) else repr(error)
                failures.append(f"{about}: {why}")
        return failures

    def _notify(self, undos: Iterable[Undo]) -> None:
        """Tell the daemons of the undo records, each once, what they may not have heard."""
        told = [(undo["name"], undo.get("how", "")) for undo in undos if undo["op"] == "notify"]
        for name, how in dict.fromkeys(told):
            with contextlib.suppress(SftpJailError, OSError):
                services.notify(name, how)

    def _sync(self) -> list[str]:
        """Make durable what was put back, before the log goes; return what failed.

        One fsync for each directory in which a name may have changed.
        """
        undos = [undo for undo in self.undos if undo["op"] in _NAMES]
        paths = {undo[key] for undo in undos for key in ("path", "to") if key in undo}
        directories = {os.path.dirname(path) for path in paths}
        directories |= {undo["path"] for undo in self.undos if undo["op"] == "owner"}
        if any(undo["op"] in _ETC for undo in self.undos):
            directories.add("/etc")
        failures = []
        for directory in sorted(directories):
            if os.path.isdir(directory):
                try:
                    files.sync_dirs({directory})
                except LinkRefused:  # behind a user's link nothing is ours
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
        for undo in self.undos if committed else ():
            if undo["op"] == "remove-dir":
                # Only now: until the commit a directory may hold the old versions of its files.
                with contextlib.suppress(LinkRefused):
                    files.remove_dir(undo["path"], undo.get("inode", 0))

    def _tidy(self) -> None:
        if os.path.lexists(self.path):
            files.unlink(self.path)
            files.sync_dirs({self.directory})
        # A host without a jail has nothing of ours; a host with one has a record in here.
        for directory in (self.history.directory, f"{self.directory}/accounts", self.directory):
            with contextlib.suppress(SftpJailError, OSError):  # empty it does no harm
                if os.path.isdir(directory) and not os.listdir(directory):
                    files.remove_dir(directory)

    def recover(self, arrived: str = "") -> bool:
        """Finish what an interrupted run left: roll back, or clear away after a commit.

        Return whether there was any.

        Args:
            arrived: an account that somebody else has just made, whose lines stay.

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
        self._notify(undo for undo in self.undos if undo.get("late"))  # twice does no harm
        self._forget(committed=True)
        return True

    def _read(self, text: str, arrived: str) -> dict[str, Any]:
        """Take over the undo records of a log, and return all else that its lines say.

        Args:
            text: of the log.
            arrived: as in `recover`.

        Raises:
            SftpJailError: a line is of another version.
        """
        about: dict[str, Any] = {}
        for line in text.split("\n"):
            # A torn last line was never followed by its step.
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
        """Return whether an interrupted transaction is committed, and mend the history's end."""
        head = self.history.head()
        if head.torn:
            self.history.mend()
        if about.get("token") and about["token"] == head.token:
            announce(head)  # perhaps once more
            return True
        return "committed" in about
