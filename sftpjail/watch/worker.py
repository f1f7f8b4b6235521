"""The program that runs hook scripts and plugins for events, as the configured user.

handout.py starts it as root. It becomes that user before it loads a plugin, then answers one
request after another.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..config import load
from ..engine.manager import BUNDLED, Manager
from ..errors import SftpJailError
from ..errors.escapes import one_line
from ..system.event_workers import Requests, become
from ..system.programs import Answer, run
from ..system.signals import Interrupted, ends_with, raise_always
from .event import TransferEvent

KEEP = 64 << 10  # bytes of the beginning and of the end of a script's output
QUARANTINE = 10  # the exit status by which a script asks for that
MOST = 2000  # characters of what we say


def program() -> None:
    """Serve requests until the watcher ends or sends SIGTERM.

    Its arguments are the user, and the path of the configuration.
    """
    raise_always()
    user, path = sys.argv[1:]
    requests, code = Requests(), 0
    try:
        try:
            _serve(requests, user, path)
        except OSError:
            code = 1
        ends_with(code)
    except Interrupted:  # while it is handled, no other one is raised: the watcher may say so twice
        code = 1
        ends_with(code)
    sys.exit(code)


def _serve(requests: Requests, user: str, path: str) -> None:
    ready: _Ready | None = None
    while (came := requests.next()) is not None:
        request, descriptor = json.loads(came[0]), came[1]
        requests.give(descriptor)
        try:
            # With the first request, so that there is somebody to whom a failure can be said.
            ready = ready or _Ready(user, path)
            result, why = ready.handle(request, descriptor is not None)
        except SftpJailError as error:
            requests.answer(_answer("failed", error.message))
            return
        requests.give(None)
        requests.answer(_answer(result, why))


class _Ready:
    """The worker once it has dropped its privileges.

    Raises:
        SftpJailError: the configuration is wrong, or there is no such user.
    """

    def __init__(self, user: str, path: str) -> None:
        self._config = load(path)
        become(user)
        self._manager: Manager | None = None

    def handle(self, request: Mapping[str, Any], has_file: bool) -> tuple[str, str]:
        """Return the result of an event, and the reason.

        Raises:
            SftpJailError: a plugin does not load.
        """
        result, why = run_scripts(request, has_file)
        if result not in ("done", "nothing") or not request["plugins"]:
            return result, why
        event = TransferEvent.from_json(request["event"])
        manager = self._loaded()
        if not manager.has(event.hook):
            return result, why
        about = {"host_path": request["host_path"], "host_to": request["host_to"]}
        file = -1
        if has_file:
            file = 3
            os.lseek(file, 0, os.SEEK_SET)
        failures = manager.tell(event.hook, event=event, config=self._config, file=file, **about)
        if failures:
            return ("failed", "; ".join(failures))
        return ("done", "")

    def _loaded(self) -> Manager:
        """Return the third-party plugins; late, since reading the metadata of packages is slow."""
        if self._manager is None:
            disabled = (*self._config.plugins_disable, *BUNDLED)
            self._manager = Manager(replace(self._config, plugins_disable=disabled))
        return self._manager


def _answer(result: str, why: str) -> bytes:
    return json.dumps({"result": result, "why": one_line(why)[:MOST]}).encode()


def run_scripts(request: Mapping[str, Any], has_file: bool) -> tuple[str, str]:
    """Run the hook scripts of a request until one fails or wants quarantine.

    Args:
        request: as `handout.request` makes it.
        has_file: the uploaded file is open as descriptor 3.

    Returns:
        "done", "failed", "stopped" for its time limit, "quarantine" or "nothing", and why.
    """
    scripts: Sequence[str] = request["scripts"]
    for path in scripts:
        if has_file:
            os.lseek(3, 0, os.SEEK_SET)  # where the one before has stopped
        try:
            answer = run(
                [path],
                json.dumps(told(request, has_file)) + "\n",
                environment(request, has_file),
                request["timeout"],
                patient=False,
                keep=KEEP,
                fds=(3,) if has_file else (),
            )
        except SftpJailError as error:
            return "stopped", error.message
        if answer.code == QUARANTINE and request["event"]["kind"] == "upload":
            return "quarantine", f"{path}: {_said(answer)}"
        if answer.failed:
            return "failed", f"{path}: {_said(answer)}"
    return "done" if scripts else "nothing", ""


def _said(answer: Answer) -> str:
    said = answer.words
    if said.startswith("exit code"):
        return said
    return f"{said} (exit code {answer.code})"


def told(request: Mapping[str, Any], has_file: bool) -> dict[str, object]:
    """Return the object that a script reads from its standard input."""
    event = dict(request["event"])
    return {
        "event": event.pop("kind"),
        **event,
        "host_path": request["host_path"],
        "host_to": request["host_to"],
        "file": has_file,
        "no_file": request["no_file"],
    }


def environment(request: Mapping[str, Any], has_file: bool) -> dict[str, str]:
    """Return the environment variables of a script, except PATH and LC_ALL."""
    variables = {}
    for name, value in told(request, has_file).items():
        if isinstance(value, bool):
            value = "1" if value else ""
        variables[f"SFTPJAIL_{name.upper()}"] = str(value).replace("\0", "")
    return variables
