"""Who changes something while the guard is up is stopped: a hook asks, and returns actions."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

# Audit events of Python (its manual has the table) of what changes a host or starts a program.
_CHANGES = {
    *("os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill"),
    *("os.killpg", "os.link", "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove"),
    *("os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.symlink"),
    *("os.system", "os.truncate", "os.unsetenv", "os.utime", "os.chdir", "pty.spawn"),
    *("socket.bind", "socket.connect", "socket.sendto", "subprocess.Popen", "syslog.syslog"),
    *("tempfile.mkstemp", "tempfile.mkdtemp"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_state: dict[str, Any] = {"up": False, "hooked": False, "seen": []}


class ChangeAttempted(BaseException):
    """Something was about to be changed. Not an Exception, so that nobody swallows it."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _state["up"]:
        return
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    if event in _CHANGES or writes:
        about = ""
        if arguments:
            about = arguments[0]
        _state["seen"].append(f"{event} {about}")
        raise ChangeAttempted(f"{event} {about}")


@contextlib.contextmanager
def watching() -> Iterator[list[str]]:
    """Stop every change, and yield the list of those that were tried."""
    if not _state["hooked"]:
        sys.addaudithook(_audit)  # for good; it looks at the flag
        _state["hooked"] = True
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _state["seen"], _state["up"] = [], True
    try:
        yield _state["seen"]
    finally:
        _state["up"] = False
        sys.dont_write_bytecode = before
