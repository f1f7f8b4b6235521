"""Hook scripts: executables in EVENT.d, run by name within the transaction.

A non-zero exit status vetoes the change.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
import stat
from shlex import quote

from .. import Account, Bind, Key, Problem, Run, fixes, hookimpl
from ..actions import Action
from ..escapes import Advice, look_at
from ..host import Host
from ..openssh.chroot_path import fix_flaw
from ..paths import LIB

# The administrator's directory takes precedence: a script there replaces one of the same name, and
# a link to /dev/null masks it.
DIRECTORIES = (f"{LIB}/hooks", "/etc/sftpjail/hooks")
TIMEOUT = 30.0
MANUAL = Advice("see sftpjail-plugins(7)")
NAME = r"[A-Za-z0-9_-]+"
# Suffixes of files left by editors and package managers, or put aside by hand.
LEFT = r"^[.#]|~$|\.(dpkg|ucf|rpm|pac)[a-z-]*$|\.(bak|old|orig|new|off|disabled)$"
EVENTS = (
    "setup",
    "teardown",
    "user-create",
    "user-remove",
    "key-add",
    "key-remove",
    "mount",
    "unmount",
)


def scripts(event: str, host: Host) -> tuple[list[str], list[Problem]]:
    """Return the scripts to run for an event, by name, and the problems of those that are not run.

    Names follow the rules of run-parts(8), so that `x.dpkg-old` and `x~` do not run.
    """
    chosen: dict[str, str] = {}
    problems = []
    for directory in DIRECTORIES:
        for name in host.listdir(f"{directory}/{event}.d"):
            path = f"{directory}/{event}.d/{name}"
            if re.fullmatch(NAME, name):
                chosen[name] = path
            elif not re.search(LEFT, name) and _would_run(path, host):
                why = "it has a name with other characters than letters, digits, _ and -"
                problems.append(_passed_by(path, why, fixes.move(path, _renamed(path, host), host)))
    good = []
    for _, path in sorted(chosen.items()):
        if host.realpath(path) == "/dev/null":
            continue
        wrong, fix = _flaw(path, host)
        if wrong:
            problems.append(_passed_by(path, f"it {wrong}", fix))
        else:
            good.append(path)
    return good, problems


def _passed_by(path: str, why: str, fix: str) -> Problem:
    return Problem(f"the hook script {path} is not run: {why}", "its event skips it", fix)


def _would_run(path: str, host: Host) -> bool:
    found = host.stat(path)
    return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)


def _renamed(path: str, host: Host) -> str:
    """Return a free path next to PATH with a name that would run, without `.sh`."""
    directory, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "-", given) for given in (stem, name)]
    names = itertools.chain(plain, (f"{plain[0]}-{number}" for number in itertools.count(2)))
    return next(new for part in names if host.lstat(new := f"{directory}/{part}") is None)


def _flaw(path: str, host: Host) -> tuple[str, str]:
    """Return why a script is not run, and the command that fixes it; both are "" if it is run."""
    found = host.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return "is not a file", look_at(f"ls -ld {quote(path)}")
    if found.st_uid != 0 or found.st_mode & 0o022:
        return "can be changed by others than root", fixes.on(
            path, host, "chown root {}", "chmod 755 {}"
        )
    if not found.st_mode & 0o111:
        return "is not executable", fixes.on(path, host, "chmod 755 {}")
    loose = host.files.loose_parent(path) or host.files.loose_parent(host.realpath(path))
    if loose:
        return f"lies in {loose}, which {host.flaw(loose)}", fix_flaw(loose, host)
    return "", ""


def _homeless(host: Host) -> list[Problem]:
    """Return the problem of files in the directories of hook scripts that belong to no event."""
    known = [f"{event}.d" for event in EVENTS]
    problems = []
    for directory in DIRECTORIES:
        for name in (name for name in host.listdir(directory) if name not in known):
            path = f"{directory}/{name}"
            if _would_run(path, host):
                problems.append(_passed_by(path, "it lies in no event's directory", MANUAL))
            elif host.is_dir(path) and host.listdir(path):
                what = f"{path} is the directory of no event, so that nothing in it is run"
                problems.append(
                    Problem(
                        what, f"the events are {', '.join(EVENTS)}", _homecoming(path, known, host)
                    )
                )
    return problems


def _homecoming(path: str, known: list[str], host: Host) -> str:
    """Return the command that moves a directory's scripts to the event that was meant."""
    from difflib import get_close_matches  # late: only `check` asks this

    directory, name = posixpath.split(path)
    for meant in get_close_matches(name, known, 1):
        if host.lstat(f"{directory}/{meant}") is None:
            return fixes.move(path, f"{directory}/{meant}", host)
        # Files that others could have put there must not become hook scripts.
        alone = host.trusted_path(f"{path}/.") and host.trusted_path(f"{directory}/{meant}/.")
        return f"mv -n {quote(path)}/* {directory}/{meant}/" if alone else ""
    return MANUAL


def _runs(event: str, host: Host, account: Account | None = None, **about: object) -> list[Action]:
    paths, _ = scripts(event, host)
    if not paths:
        return []
    facts: dict[str, object] = {"event": event}
    env = {"SFTPJAIL_EVENT": event}
    if account is not None:
        facts["account"] = {
            "name": account.name,
            "uid": account.uid,
            "gid": account.gid,
            "home": account.home,
        }
        facts["jail"] = account.jail
        facts["profile"] = account.profile.name if account.profile else ""
        env |= {
            "SFTPJAIL_USER": account.name,
            "SFTPJAIL_JAIL": account.jail,
            "SFTPJAIL_HOME": account.home,
        }
    text = json.dumps(facts | about) + "\n"
    return [
        Run((path,), f"hook script of {event}", (), tuple(env.items()), text, TIMEOUT)
        for path in paths
    ]


def _bind(bind: Bind) -> dict[str, object]:
    return {
        "source": bind.source,
        "target": bind.target,
        "read_only": bind.read_only,
        "owner": list(bind.owner) if bind.owner else None,
        "role": bind.role,
    }


def _key(key: Key) -> dict[str, object]:
    return {
        "type": key.type,
        "bits": key.bits,
        "fingerprint": key.fingerprint,
        "comment": key.comment,
    }


@hookimpl
def on_setup(host: Host) -> list[Action]:
    return _runs("setup", host)


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    return _runs("teardown", host)


@hookimpl
def on_user_create(account: Account, new: bool, host: Host) -> list[Action]:
    return _runs("user-create", host, account, new=new)


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    return _runs("user-remove", host, account, deleted=deleted)


@hookimpl
def on_key_add(account: Account, key: Key, host: Host) -> list[Action]:
    return _runs("key-add", host, account, key=_key(key))


@hookimpl
def on_key_remove(account: Account, key: Key, host: Host) -> list[Action]:
    return _runs("key-remove", host, account, key=_key(key))


@hookimpl
def on_mount(account: Account, bind: Bind, host: Host) -> list[Action]:
    return _runs("mount", host, account, bind=_bind(bind))


@hookimpl
def on_unmount(account: Account, bind: Bind, host: Host) -> list[Action]:
    return _runs("unmount", host, account, bind=_bind(bind))


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    if account:
        return []
    return [*_homeless(host), *(problem for event in EVENTS for problem in scripts(event, host)[1])]
