"""Accounts: the present lines of passwd(5) and group(5), and the programs that change them."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Sequence
from functools import partial

from ..errors import SftpJailError
from ..formats import fixes
from . import programs
from .locks import ACCOUNTS
from .processes import booted, owner, with_variable
from .waits import holder

# The error of userdel(8), and of usermod(8) for a new home, if the account has a process.
_IN_USE = re.compile(r"currently used by process (\d+)")
# An environment variable for each program that changes an account for us. It names the account, so
# that the hooks of shadow leave it to this run.
JOINS = "SFTPJAIL_JOINS"
MOMENT = 3.0  # seconds that a session may take to end
# The same if systemd says that it is closing; UserStopDelaySec= of logind.conf(5) is 10.
LINGERING = 15.0


def run(argv: Sequence[str], name: str) -> programs.Answer:
    """Run one of the programs of shadow, which wait for each other.

    Args:
        argv: the program and its arguments; no shell.
        name: the account concerned, which the hooks leave to us.

    Raises:
        SftpJailError: as `programs.run`.
    """
    return programs.run(argv, env={JOINS: name}, timeout=300.0, whom=partial(holder, ACCOUNTS))


def change_account(argv: Sequence[str], name: str) -> None:
    """Run usermod(8) or userdel(8). If a session of the account is just ending, wait for its end.

    Args:
        argv: the program and its arguments; no shell.
        name: the account.

    Raises:
        SftpJailError: it failed. If a process of the account is the reason, the fix ends it.
    """
    began = time.monotonic()
    while (answer := run(argv, name)).failed:
        hint = ""
        found = _IN_USE.search(answer.err)
        if found:
            state = _session_state(name)
            patience = MOMENT
            if state == "closing":
                patience = LINGERING
            if time.monotonic() - began < patience:
                time.sleep(0.5)
                continue
            hint = _ending(name, state, found[1])
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}", hint)


def change_group(argv: Sequence[str], name: str = "") -> None:
    """Run gpasswd(1), groupadd(8) or groupdel(8).

    Args:
        argv: the program and its arguments; no shell.
        name: the account whose membership changes, if any.

    Raises:
        SftpJailError: it failed.
    """
    programs.must(argv, env={JOINS: name})


def wait_for_programs(patience: float = 60.0) -> None:
    """Wait for programs that a killed run had started to change accounts.

    They would otherwise finish their work after the undo.

    Args:
        patience: seconds to wait at most, because a process that a hook has left may never end.
    """
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0 and (found := with_variable(JOINS)):
        with programs.pidfds(found) as fds:
            select.select(fds, [], [], left)


def _session_state(name: str) -> str:
    """Return the state of an account in systemd-logind, such as "active" or "closing", or "".

    See sd_uid_get_state(3).
    """
    if not booted():
        return ""
    return programs.run(["loginctl", "show-user", "--property=State", "--value", name]).out.strip()


def _ending(name: str, state: str, pid: str) -> str:
    """Return the command that ends the processes of an account."""
    if state:
        return f"loginctl terminate-user {name}"
    # This is "" if the process is root's or has ended since.
    return fixes.ending({int(pid): owner(int(pid))})


def entries(path: str) -> list[list[str]]:
    """Return the fields of the present lines of passwd(5) or group(5).

    Each line has at least four fields, which may be empty.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as handle:
        lines = [line.rstrip("\n").split(":") for line in handle]
    return [fields + [""] * (4 - len(fields)) for fields in lines]
