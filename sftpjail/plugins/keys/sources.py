"""Where keys come from beside a file: AuthorizedKeysCommand and certificates, sshd_config(5)."""

from __future__ import annotations

import posixpath
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from ... import fixes
from ...host import Host
from ...model import Account, Problem, normal
from ...openssh.public_keys import Entry, survey
from ...openssh.settings import Settings

_UNKNOWN = ("%f", "%k", "%t", "%D", "%C")  # of the connection, or of the key that a client offers


@dataclass(frozen=True)
class Commanded:
    """What AuthorizedKeysCommand says of one account: its argv, the keys, or why there are none."""

    argv: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    problem: str = ""


def commanded(account: Account, found: Settings, host: Host) -> Commanded | None:
    """Run AuthorizedKeysCommand as sshd would.

    Return None where there is none, or what it says depends on the connection.

    Raises:
        SftpJailError: ssh-keygen or setpriv is missing.
    """
    command, user = (
        found.get("authorizedkeyscommand"),
        account.expand(found.get("authorizedkeyscommanduser")),
    )
    if command in ("", "none") or any(token in command for token in _UNKNOWN):
        return None
    try:
        argv = tuple(account.expand(word) for word in shlex.split(command))
    except ValueError:  # sshd splits words by rules of its own (misc.c, argv_split)
        return None
    if len(argv) == 1:
        argv = (*argv, account.name)  # as sshd does where no argument is given (auth2-pubkey.c)
    problem = _unsafe(argv[0], host) or (
        "" if host.account(user) else f"AuthorizedKeysCommandUser {user} is no account"
    )
    runner = host.account(user)
    if problem or runner is None:
        return Commanded(argv, (), problem)
    answer = host.as_user(runner, argv)
    if answer.code != 0:
        return Commanded(argv, (), f"it fails: {answer.words}")
    return Commanded(argv, tuple(survey([answer.out], host)[0]))


def _unsafe(path: str, host: Host) -> str:
    """Return why sshd would not run a command, or "": misc.c, subprocess().

    That wants it to be root's all the way.
    """
    found = host.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return f"{path} is not there"
    if found.st_uid != 0 or found.st_mode & 0o022:
        return f"{path} can be changed by others than root"
    if not found.st_mode & 0o111:
        return f"{path} is not executable"
    loose = host.loose_parent(path)
    return f"{path} lies in {loose}, which {host.flaw(loose)}" if loose else ""


def principals_file(account: Account, found: Settings) -> str:
    """Return the file that says which principals of certificates may be the account, or ""."""
    pattern = found.get("authorizedprincipalsfile")
    if found.get("trustedusercakeys") in ("", "none") or pattern in ("", "none"):
        return ""
    return normal(posixpath.join(account.home, account.expand(pattern)))


def problems(account: Account, found: Settings, has_file: bool, host: Host) -> Iterator[Problem]:
    """Yield why a command or certificates are of no use to an account.

    Args:
        account: with its profile.
        found: what sshd would do with it.
        has_file: it has keys in a file, so that a source which knows nothing of it is no problem.
        host: the facts.
    """
    name = quote(account.name)
    said = commanded(account, found, host)
    if said and said.problem and not (has_file and said.problem.startswith("it fails")):
        why = (
            f"AuthorizedKeysCommand ({found.where('authorizedkeyscommand')}) "
            f"gives {account.name} no key"
        )
        user = account.expand(found.get("authorizedkeyscommanduser"))
        fix = _fix_of(said, host) or fixes.as_user(user, *said.argv)
        yield Problem(f"AuthorizedKeysCommand: {said.problem}", why, fix)
    ca = found.get("trustedusercakeys")
    if ca not in ("", "none") and "trustedusercakeys" in found.origins:
        keys = survey([host.text(ca)], host)[0]
        if not any(entry.key for entry in keys):
            what = (
                f"{ca} of TrustedUserCAKeys ({found.where('trustedusercakeys')}) "
                "holds no key of an authority"
            )
            yield Problem(what, "sshd takes no certificate", f"ssh-keygen -l -f {quote(ca)}")
    path = principals_file(account, found)
    listed = (
        [line for line in host.text(path).split("\n") if line.strip() and not line.startswith("#")]
        if path
        else []
    )
    if path and not listed and not has_file and not (said and said.entries):
        what = (
            f"{path} names no principal for {account.name} "
            f"({found.where('authorizedprincipalsfile')})"
        )
        fix = fixes.on(path, host, "install -D -m 644 /dev/null {}", f"echo {name} >>{{}}")
        yield Problem(what, "no certificate opens its jail", fix, fixes.advice(path, host))


def _fix_of(said: Commanded, host: Host) -> str:
    """Return the command that fixes the program of AuthorizedKeysCommand itself, or ""."""
    path = said.argv[0]
    commands = {
        "is not executable": ("chmod 755 {}",),
        "can be changed by others than root": ("chown root:root {}", "chmod go-w {}"),
    }.get(said.problem.removeprefix(f"{path} "), ())
    return fixes.on(path, host, *commands) if commands else ""
