"""Deliver one event to the hook scripts and to the plugins.

This part runs as root: it finds the scripts, finds and opens the uploaded file, and moves it into
quarantine. Scripts and plugins run in a worker, a process of another user; see worker.py.
"""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from enum import Enum
from typing import Any

from ..config import PATH, Config
from ..errors import SftpJailError
from ..errors.escapes import one_line, shown
from ..host import Host
from ..jails.hook_scripts import scripts
from ..jails.membership import find
from ..model import Account, frozen
from ..paths import QUARANTINE, TABLES
from ..system.event_workers import WorkerProcess, scopes
from ..system.quarantine import Taken, take
from ..system.uploads import NotHanded, Upload, open_upload
from .event import TransferEvent
from .places import place_of, uploader_at

_ANSWERS = 10.0  # seconds that the process may take beyond the time limit of what it runs
_STALE = 1.0  # seconds
_TRIES = 3  # scans of a file that changes while it is scanned; then it is taken as it is
_FACTS = ("/etc/passwd", "/etc/group", "/etc/fstab", "/etc/nsswitch.conf", TABLES)


class Result(Enum):
    """The result of a delivery."""

    DONE = "done"
    FAILED = "failed"  # to be handed out again
    NOTHING = "nothing"  # no script and no plugin wants it, or no user is configured


@frozen
class Outcome:
    """The result of a delivery, and the reason in one line.

    Attributes:
        result: see `Result`.
        why: of a failure, and of a DONE that somebody should read in the log, as that a file was
            quarantined; else "".
    """

    result: Result
    why: str = ""


class Worker:
    """A worker delivers events one after another, in a process of its own.

    The process is started for the first event, and again after it was killed for exceeding its time
    limit. Several workers may be used in parallel, each by one thread or process.

    Args:
        number: 1, 2, ...; part of the name of its systemd scope.
        user: the user who runs scripts and plugins.
        timeout: seconds for each script, and for all plugins together.
        path: the configuration, which the process reads itself.
    """

    def __init__(self, number: int, user: str, timeout: float, path: str = PATH) -> None:
        self.number = number
        self.user = user
        self.timeout = timeout
        self._path = path
        self._process: WorkerProcess | None = None
        self._started = 0
        self._host: tuple[object, float, Host] | None = None

    def end(self) -> None:
        """End the process and everything that it has started. A later event starts a new one."""
        process, self._process = self._process, None
        if process:
            process.end()

    def ask(self, request: Mapping[str, Any], descriptor: int | None) -> tuple[str, str]:
        """Run scripts and plugins; return the result and the reason. See `worker.run_scripts`.

        Args:
            request: for `worker.py`.
            descriptor: of the uploaded file, or None.

        Raises:
            SftpJailError: the process could not be started, ended too early, or took too long.
        """
        if self._process is None:
            self._started += 1
            name = f"sftpjail-worker-{os.getpid()}-{self.number}-{self._started}"
            self._process = WorkerProcess((self.user, self._path), name if scopes() else "")
        limit = self.timeout * (len(request["scripts"]) + 1) + _ANSWERS
        try:
            answer = self._process.ask(json.dumps(request).encode(), descriptor, limit)
            said = json.loads(answer)
            # The worker escapes this too, but is no more trusted than its scripts.
            result, why = str(said["result"]), one_line(str(said["why"]))
        except BaseException as error:
            self.end()
            # RecursionError if the answer is a thousand nested lists.
            if isinstance(error, ValueError | KeyError | TypeError | RecursionError):
                raise SftpJailError("the worker has not answered as it should") from error
            raise
        if result == "stopped":
            self.end()
        return result, why

    def host(self) -> Host:
        """Return the facts, which are read again if files have changed or after a while."""
        now, state = time.monotonic(), tuple(map(_state, _FACTS))
        if self._host is None or self._host[0] != state or now - self._host[1] > _STALE:
            self._host = state, now, Host()
        return self._host[2]


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def deliver(event: TransferEvent, config: Config, worker: Worker) -> Outcome:
    """Run the hook scripts and the hooks of plugins for one event, and wait until they end.

    This takes at most the worker's time limit for each script, and once more for all plugins. Only
    the exceptions of signals are raised; an error of ours is returned as FAILED with its reason.

    Args:
        event: what happened.
        config: the configuration, as the watcher has read it.
        worker: runs them; nobody else may use it meanwhile.
    """
    try:
        if not worker.user:
            return Outcome(Result.NOTHING, "no user is configured")
        host = worker.host()
        paths = []
        if "scripts" not in config.plugins_disable:
            paths = scripts(event.kind, host)[0]
        plugins = bool(
            {*config.plugins_allow, *config.plugins_packaged} - {*config.plugins_disable}
        )
        if not paths and not plugins:
            return Outcome(Result.NOTHING)
        request = {
            "event": event.as_json(),
            "scripts": paths,
            "plugins": plugins,
            "timeout": worker.timeout,
        }
        return _hand(event, request, config, host, worker)
    except (SftpJailError, OSError, ValueError) as error:
        return Outcome(Result.FAILED, str(error))


def _hand(
    event: TransferEvent, request: dict[str, Any], config: Config, host: Host, worker: Worker
) -> Outcome:
    """Deliver an event, again if its file changes before a script has asked for quarantine.

    It is the same file each time, whatever the client may have renamed it to.
    """
    account = _account(event, config, host)
    places = {"host_path": event.path, "host_to": event.to}
    for name, path in places.items():
        if account and path:
            request[name] = place_of(path, account, host).path
        else:
            request[name] = ""
    with _opened(event, account, host) as (upload, why_not):
        request["no_file"] = why_not
        for left in reversed(range(_TRIES)):
            result, why = worker.ask(request, upload.descriptor if upload else None)
            if result != "quarantine":
                return Outcome(_RESULTS.get(result, Result.FAILED), why)
            if upload is None:
                return Outcome(Result.FAILED, f"{why}; but it had no file: {why_not}")
            taken = _quarantine(upload, event, request, why, changed=not left)
            if taken is not None:
                return taken
            upload.look_again()
    raise AssertionError("the last try takes the file as it is")


_RESULTS = {"done": Result.DONE, "nothing": Result.NOTHING}


def _account(event: TransferEvent, config: Config, host: Host) -> Account | None:
    """Return the account that an event is about, or None if it is no longer known."""
    if not event.user or not event.path:
        return None
    try:
        account = find(event.user, config, host)
    except SftpJailError:
        return None
    renumbered = event.uid not in (-1, account.uid)
    if account.profile is None or renumbered:
        return None
    return account


@contextmanager
def _opened(
    event: TransferEvent, account: Account | None, host: Host
) -> Iterator[tuple[Upload | None, str]]:
    """Yield an uploaded file, open, or None and why scripts do not get it."""
    if event.kind != "upload":
        yield None, ""
        return
    if account is None:
        yield None, f"{shown(event.user)} has no jail any more"
        return
    try:
        upload = open_upload(
            place_of(event.path, account, host), uploader_at(event.path, account, host)
        )
    except NotHanded as error:
        yield None, error.message
        return
    with closing(upload):
        yield upload, ""


def _quarantine(
    upload: Upload, event: TransferEvent, request: Mapping[str, Any], why: str, changed: bool
) -> Outcome | None:
    """Move a file into quarantine; return None if it has changed and must be scanned again."""
    about = {**event.as_json(), "host_path": request["host_path"], "why": why, "taken": time.time()}
    taken = take(upload, event.id, about, changed)
    if taken is Taken.CHANGED:
        return None
    words = f"moved to {QUARANTINE}"
    if taken is Taken.CLOSED:
        words = "closed where it is, since it could not be moved"
    name = shown(posixpath.basename(event.path))
    return Outcome(Result.DONE, f"{name} of {event.user} was {words}: {why}")
