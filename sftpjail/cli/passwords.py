"""--password of add and set: read passwords, and report whether they can be used."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from ..actions import SetPasswords
from ..config import Config
from ..engine.plan import Step
from ..errors import SftpJailError, UsageError
from ..errors.escapes import Choice
from ..host import Host
from ..jails.membership import find
from ..jails.states import States, usable_password
from ..model import Account, Problem
from ..openssh.profile_edit import set_passwords
from ..openssh.settings import effective
from ..system.passwords import NONE, hashed, is_hash
from .context import Context

if TYPE_CHECKING:
    # The type that argparse returns has no public name.
    from argparse import _MutuallyExclusiveGroup as Options

PASSWORD_SET = "{} has a new password"
_MOST = 1024  # bytes of a hash; crypt(5) has none of 400


def add_password_options(parser: argparse.ArgumentParser) -> Options:
    """Add --password and --must-change; return the group of options that exclude --password."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--password",
        action="store_true",
        help="ask for a password, or read its hash from standard input",
    )
    parser.add_argument("--must-change", action="store_true", help=argparse.SUPPRESS)
    return which


def refuse_must_change(given: argparse.Namespace) -> None:
    """Refuse --must-change. Raises UsageError."""
    if given.must_change:
        raise UsageError(
            "--must-change: a jail has no terminal to change a password on, "
            "and PAM would refuse every login until then, by key as well",
            advice="set another password instead: sftpjail set USER --password",
        )


def wanted_password(name: str, context: Context) -> str:
    """Return the hash of the password for an account, or "" if --password was not given.

    Call this before the lock is taken, because it may wait for a person.

    Args:
        name: the account.
        context: with the arguments.

    Raises:
        UsageError: there is no password or no hash.
        SftpJailError: this host cannot make hashes.
    """
    given = context.arguments
    refuse_must_change(given)
    if getattr(given, "no_password", False):
        return NONE
    if not given.password:
        return ""
    if "-" in getattr(given, "key", ()):
        raise UsageError("--password and --key - both read standard input")
    if sys.stdin.isatty():
        return _asked(name)
    return _read(name)


def _asked(name: str) -> str:
    from getpass import getpass  # late: few commands need it

    try:
        password = getpass(f"Password of {name}: ")
        again = getpass("Once more: ")
    except EOFError:
        raise UsageError("no password was given, and nothing was changed") from None
    if not password:
        raise UsageError("the password is empty, and nothing was changed")
    if password != again:
        raise UsageError("the two passwords differ, and nothing was changed")
    return hashed(password)


def _read(name: str) -> str:
    """Return a hash from standard input: a line for `chpasswd -e`, with or without the name."""
    text = b""
    if sys.stdin:
        text = os.read(sys.stdin.fileno(), _MOST + 1)
    while text and b"\n" not in text and len(text) <= _MOST:
        more = os.read(sys.stdin.fileno(), _MOST)
        if not more:
            break
        text += more
    line = text.decode("ascii", "replace").rstrip("\r\n").removeprefix(f"{name}:")
    if not is_hash(line):
        raise UsageError(
            "standard input has no password hash in a format of crypt(5)",
            advice=f"to be asked for the password: sftpjail set {name} --password on a terminal; "
            "to make a hash: openssl passwd -6, or mkpasswd",
        )
    return line


def password_steps(account: Account, wanted: str, host: Host) -> list[Step]:
    """Return the step that sets the password hash of an account, unless it has that hash already.

    Args:
        account: with its uid if it exists already.
        wanted: from `wanted_password`.
        host: the facts.

    Raises:
        SftpJailError: it has no line in shadow(5).
    """
    if not wanted:
        return []
    if account.exists and not host.people.has_shadow(account.name):
        advice = "its password is set where the account comes from"
        raise SftpJailError(f"{account.name} has no line in /etc/shadow", advice=advice)
    action = SetPasswords(((account.name, wanted),))
    if not action.pending(host, account.name):
        return []
    return [Step(action, "accounts", account.name)]


def of_passwords(name: str, config: Config) -> list[Problem]:
    """Return the problem that an account cannot use its password, or cannot log in without one."""
    host = Host()
    account = find(name, config, host)
    if account.profile is None:
        return []
    found = effective(host, name)
    if not host.shadow(name).password.startswith("$"):
        state = States(config, host).of(account)
        return [Problem(f"{name}: {state.why}", "", severity="advice")] * (state.word == "keyless")
    if usable_password(host.shadow(name), found):
        return []
    what = f"sshd takes no password of {name}"
    why = f"PasswordAuthentication no ({found.where('passwordauthentication')})"
    command = set_passwords(account.profile, host)
    label = f"to let the members of profile {account.profile.name} in by password"
    return [Problem(what, why, severity="advice", choices=(Choice(label, command),))]
