"""What `metrics` keeps between two runs, and the file that node_exporter reads."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ..errors import SftpJailError
from ..paths import COUNTED, HOST_RECORD, RUN_DIR
from . import files
from .locks import lock

_LOCK = f"{RUN_DIR}/metrics"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other runs of `metrics` waiting: each line of a log is counted once.

    Raises:
        SftpJailError: another one goes on for a minute.
    """
    with lock(_LOCK, 60.0):
        yield


def keep_counted(text: str) -> None:
    """Write how far the logs were counted, where the host is set up. Raises SftpJailError."""
    if files.is_there(HOST_RECORD):
        _put(COUNTED, text.encode("utf-8"), 0o600)


def publish(path: str, text: bytes) -> None:
    """Write a file for node_exporter, which everybody may read, by rename(2).

    The directory may be somebody else's than root's; no link on the way is followed that others
    could change, and what is in the file's place is replaced, never written to.

    Args:
        path: an absolute path.
        text: all of it.

    Raises:
        SftpJailError: it cannot be written, or something that is no file is in its place.
    """
    # Of a run that was killed; node_exporter reads no such name, for it does not end in .prom.
    files.unlink(files.stage_name(path))
    mode = stat.S_IFREG
    with files.parent(path) as (directory, name), contextlib.suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise SftpJailError(f"will not replace {path}: it is not a file")
    _put(path, text, 0o644)


def withdraw(path: str) -> None:
    """Remove such a file, and what a killed run left of it; both may be gone already.

    Raises:
        SftpJailError: one of them cannot be removed.
    """
    files.unlink(path)
    files.unlink(files.stage_name(path))


def _put(path: str, content: bytes, mode: int) -> None:
    files.write_staged(path, content, False, mode, 0, 0)
    files.move(files.stage_name(path), path)
