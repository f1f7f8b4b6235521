"""Sources of keys other than files: AuthorizedKeysCommand and certificates (sshd_config(5))."""

from __future__ import annotations

import posixpath
import shlex
import stat
from collections.abc import Iterator
from shlex import quote

from ...errors.escapes import look_at
from ...formats import fixes
from ...host import Host
from ...model import Account, Problem, frozen, is_roots, normal
from ...openssh.public_keys import Entry, survey
from ...openssh.settings import Settings

_UNKNOWN = ("%f", "%k", "%t", "%D", "%C")  # these depend on the connection, or on the key offered


@frozen
class CommandKeys:
    """The result of AuthorizedKeysCommand for an account: its argv, and keys or a problem."""

    argv: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    problem: str = ""


def commanded(account: Account, found: Settings, host: Host) -> CommandKeys | None:
    """Run AuthorizedKeysCommand as sshd would.

    Return None if there is none, or if its result depends on the connection.

    Raises:
        SftpJailError: ssh-keygen or setpriv is missing.
    """
    command = found.get("authorizedkeyscommand")
    user = account.expand(found.get("authorizedkeyscommanduser"))
    if command in ("", "none") or any(token in command for token in _UNKNOWN):
        return None
    try:
        argv = tuple(account.expand(word) for word in shlex.split(command))
    except ValueError:  # sshd has its own rules for splitting words (misc.c, argv_split)
        return None
    if len(argv) == 1:
        argv = (*argv, account.name)  # as sshd does if there are no arguments (auth2-pubkey.c)
    if problem := _unsafe(argv[0], host):
        return CommandKeys(argv, (), problem)
    runner = host.account(user)
    if runner is None:
        return CommandKeys(argv, (), f"AuthorizedKeysCommandUser {user} is no account")
    answer = host.as_user(runner, argv)
    if answer.failed:
        return CommandKeys(argv, (), f"it fails: {answer.words}")
    return CommandKeys(argv, tuple(survey([answer.out], host)[0]))


def _unsafe(path: str, host: Host) -> str:
    """Return why sshd would not run a command, or "" (misc.c, subprocess).

    Only root may be able to change any component of its path.
    """
    found = host.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return f"{path} is not there"
    if not is_roots(found):
        return f"{path} can be changed by others than root"
    if not found.st_mode & 0o111:
        return f"{path} is not executable"
    loose = host.files.loose_parent(path)
    if not loose:
        return ""
    return f"{path} lies in {loose}, which {host.flaw(loose)}"


def principals_file(account: Account, found: Settings) -> str:
    """Return the file that lists the principals accepted for the account, or ""."""
    pattern = found.get("authorizedprincipalsfile")
    if found.get("trustedusercakeys") in ("", "none") or pattern in ("", "none"):
        return ""
    return normal(posixpath.join(account.home, account.expand(pattern)))


def problems(account: Account, found: Settings, has_file: bool, host: Host) -> Iterator[Problem]:
    """Yield why AuthorizedKeysCommand or certificates do not work for an account.

    Args:
        account: the account with its profile.
        found: sshd's settings for it.
        has_file: it has keys in a file, so it is no problem if another source has none.
        host: the facts.
    """
    said = commanded(account, found, host)
    if said and said.problem and not (has_file and said.problem.startswith("it fails")):
        where = found.where("authorizedkeyscommand")
        why = f"AuthorizedKeysCommand ({where}) gives {account.name} no key"
        user = account.expand(found.get("authorizedkeyscommanduser"))
        fix = _fix_of(said, host) or fixes.as_user(user, *said.argv)
        yield Problem(f"AuthorizedKeysCommand: {said.problem}", why, fix)
    yield from _no_authority(found, host)
    if not has_file and not (said and said.entries):
        yield from _no_principal(account, found, host)


def _no_authority(found: Settings, host: Host) -> Iterator[Problem]:
    """Yield that the file of authorities, whose certificates sshd takes, has no key."""
    ca = found.get("trustedusercakeys")
    if ca in ("", "none") or not found.is_set("trustedusercakeys"):
        return
    if not any(entry.key for entry in survey([host.text(ca)], host)[0]):
        where = found.where("trustedusercakeys")
        what = f"{ca} of TrustedUserCAKeys ({where}) holds no key of an authority"
        yield Problem(what, "sshd takes no certificate", look_at(f"ssh-keygen -l -f {quote(ca)}"))


def _no_principal(account: Account, found: Settings, host: Host) -> Iterator[Problem]:
    """Yield that the file of an account's principals names none."""
    path = principals_file(account, found)
    if not path:
        return
    lines = host.text(path).split("\n")
    if any(line.strip() and not line.startswith("#") for line in lines):
        return
    where = found.where("authorizedprincipalsfile")
    what = f"{path} names no principal for {account.name} ({where})"
    write = ("install -D -m 644 /dev/null {}", f"echo {quote(account.name)} >>{{}}")
    yield Problem(what, "no certificate opens its jail", fixes.on_or_why(path, host, *write))


def _fix_of(said: CommandKeys, host: Host) -> str:
    """Return the command that fixes the AuthorizedKeysCommand program itself, or ""."""
    path = said.argv[0]
    commands = {
        "is not executable": ("chmod 755 {}",),
        "can be changed by others than root": ("chown root:root {}", "chmod go-w {}"),
    }.get(said.problem.removeprefix(f"{path} "), ())
    if not commands:
        return ""
    return fixes.on(path, host, *commands)
