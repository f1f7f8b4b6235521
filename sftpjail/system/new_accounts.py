"""Make many accounts with few programs: systemd-sysusers(8) and one edit of shadow(5)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Sequence

from ..actions import NewAccount
from ..errors import SftpJailError
from ..errors.escapes import some
from . import account_lines, files, programs
from .accounts import JOINS, entries
from .new_home import skeleton

# The fields of shadow(5).
_AGING, _EXPIRE = (3, 4, 5, 6), 7


def make(program: str, accounts: Sequence[NewAccount]) -> None:
    """Make accounts, each with its own group, and check the result.

    If a uid is taken, systemd-sysusers(8) chooses another one and reports no error.

    Args:
        program: systemd-sysusers or systemd-standalone-sysusers.
        accounts: the accounts, none of which exists.

    Raises:
        SftpJailError: it failed, or an account is not as requested.
    """
    lines = [line for account in accounts for line in _lines(account)]
    answer = programs.run([program, "-"], "".join(lines), env={JOINS: ""}, timeout=300.0)
    if answer.failed:
        raise SftpJailError(f"{program} failed: {answer.words}")
    found = {fields[0]: fields for fields in entries("/etc/passwd")}
    wrong = [one.name for one in accounts if found.get(one.name, [])[2:] != _fields(one)]
    if wrong:
        raise SftpJailError(f"{program} has made these accounts wrongly: {some(wrong, 8)}")


def _lines(account: NewAccount) -> Iterable[str]:
    """Yield the lines of sysusers.d(5) that make an account."""
    name, uid = account.name, account.uid
    yield f"g {name} {account.gid}\n"
    words = map(_quoted, (account.comment, account.home, account.shell))
    yield f"u {name} {uid}:{name} {' '.join(words)}\n"
    yield from (f"m {name} {group}\n" for group in account.groups)


def _quoted(text: str) -> str:
    """Return a word for sysusers.d(5), in double quotes and with specifiers escaped."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if not text:
        return "-"
    return f'"{text}"'


def _fields(account: NewAccount) -> list[str]:
    return [str(account.uid), str(account.gid), account.comment, account.home, account.shell]


def set_aging(accounts: Iterable[NewAccount], aging: Sequence[str]) -> None:
    """Set the expiry dates of new accounts, and the fields that useradd(8) fills, in one edit.

    Raises:
        SftpJailError: see `account_lines.set_shadow`.
    """
    common = dict(zip(_AGING, aging, strict=True))
    account_lines.set_shadow({one.name: {**common, _EXPIRE: one.expire} for one in accounts})


def make_homes(accounts: Iterable[NewAccount], mode: int) -> None:
    """Make the homes that do not exist, with the files that useradd(8) would put into them.

    A home belongs to root, with mode 0700, until it is complete.

    Raises:
        SftpJailError: a home cannot be made.
    """
    made = [one for one in accounts if one.skeleton and not files.is_there(one.home)]
    with files.directories_kept():
        for account in made:
            _make_home(account, mode)
    # Once, instead of fsync(2) for each file of each home.
    files.sync_systems({os.path.dirname(one.home) for one in made})


def _make_home(account: NewAccount, mode: int) -> None:
    files.make_dir(account.home, 0o700, 0, 0)
    with files.parent(f"{account.home}/.", account.home) as (directory, _):
        try:
            _fill(directory, account)
        except OSError as error:
            words = f"cannot make the home {account.home}: {error.strerror}"
            raise SftpJailError(words) from error
    files.set_owner(account.home, account.uid, account.gid, mode)


def _fill(home: int, account: NewAccount) -> None:
    """Copy the skeleton into a home that only root can access."""
    model = skeleton()
    if not os.path.isdir(model):
        return
    inner = f"/proc/self/fd/{home}"
    shutil.copytree(model, inner, symlinks=True, dirs_exist_ok=True)
    os.chmod(inner, 0o700)
    for _, directories, names, directory in os.fwalk(".", dir_fd=home):
        for name in (*directories, *names):
            os.chown(name, account.uid, account.gid, dir_fd=directory, follow_symlinks=False)


def end_processes(uids: Collection[int]) -> None:
    """End the processes of new accounts. Raises SftpJailError."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended
                found.add(os.stat(f"/proc/{name}").st_uid)
    for uid in found.intersection(uids) - {0}:
        programs.end_processes(uid)
