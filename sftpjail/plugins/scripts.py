"""Drop-in hook scripts: executables in EVENT.d, run in name order inside the transaction; non-zero vetoes."""

from __future__ import annotations

import json
import re
import stat
from shlex import quote

from .. import Account, Bind, Finding, Key, Run, hookimpl
from ..actions import Action
from ..host import Host
from ..paths import LIB

# The administrator's folder comes second and wins: the same name there replaces ours, a link to /dev/null masks it.
FOLDERS = (f"{LIB}/hooks", "/etc/sftpjail/hooks")
TIMEOUT = 30.0
EVENTS = ("setup", "teardown", "user-create", "user-remove", "key-add", "key-remove", "mount", "unmount")


def scripts(event: str, host: Host) -> tuple[list[str], list[Finding]]:
    """Return the scripts to run for an event, in name order, and what is wrong with those that are not run.

    The names are those of run-parts(8), so that `x.dpkg-old` and `x~` do not run.
    """
    chosen: dict[str, str] = {}
    for folder in FOLDERS:
        for name in host.listdir(f"{folder}/{event}.d"):
            if re.fullmatch(r"[A-Za-z0-9_-]+", name):
                chosen[name] = f"{folder}/{event}.d/{name}"
    good, findings = [], []
    for _, path in sorted(chosen.items()):
        if host.realpath(path) == "/dev/null":
            continue
        wrong = _flaw(path, host)
        if wrong:
            mend = f"chown root {quote(path)} && chmod 755 {quote(path)}"
            findings.append(Finding(f"the hook script {path} is not run: it {wrong}", "its event passes it by", mend))
        else:
            good.append(path)
    return good, findings


def _flaw(path: str, host: Host) -> str:
    found = host.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return "is not a file"
    if found.st_uid != 0 or found.st_mode & 0o022:
        return "can be changed by others than root"
    if not found.st_mode & 0o111:
        return "is not executable"
    loose = host.loose_parent(path) or host.loose_parent(host.realpath(path))
    if loose:
        return f"lies in {loose}, which {host.flaw(loose)}"
    return ""


def _runs(event: str, host: Host, account: Account | None = None, **about: object) -> list[Action]:
    paths, _ = scripts(event, host)
    if not paths:
        return []
    facts: dict[str, object] = {"event": event}
    env = {"SFTPJAIL_EVENT": event}
    if account is not None:
        facts["account"] = {"name": account.name, "uid": account.uid, "gid": account.gid, "home": account.home}
        facts["jail"] = account.jail
        facts["profile"] = account.profile.name if account.profile else ""
        env |= {"SFTPJAIL_USER": account.name, "SFTPJAIL_JAIL": account.jail, "SFTPJAIL_HOME": account.home}
    text = json.dumps(facts | about) + "\n"
    return [Run((path,), f"hook script of {event}", (), tuple(env.items()), text, TIMEOUT) for path in paths]


def _bind(bind: Bind) -> dict[str, object]:
    return {"source": bind.source, "target": bind.target, "read_only": bind.read_only, "role": bind.role}


def _key(key: Key) -> dict[str, object]:
    return {"type": key.type, "bits": key.bits, "fingerprint": key.fingerprint, "comment": key.comment}


@hookimpl
def on_setup(host: Host) -> list[Action]:
    return _runs("setup", host)


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    return _runs("teardown", host)


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    return _runs("user-create", host, account)


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
def on_check(account: Account | None, host: Host) -> list[Finding]:
    return [] if account else [finding for event in EVENTS for finding in scripts(event, host)[1]]
