"""Hook scripts: executables in EVENT.d, run by name within the transaction.

A non-zero exit status vetoes the change. Those of what happens in jails are run by watch/.
"""

from __future__ import annotations

import json
import posixpath
from shlex import quote

from .. import Account, Bind, Config, Key, Problem, Run, hookimpl
from ..actions import Action
from ..config import PATH as CONFIG
from ..errors.escapes import Advice
from ..formats import fixes
from ..host import Host
from ..jails.hook_scripts import DIRECTORIES, passed_by, scripts, would_run
from ..model import EVENT_KINDS

TIMEOUT = 30.0
MANUAL = Advice("see sftpjail-plugins(7)")
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


def _homeless(host: Host) -> list[Problem]:
    """Return the problem of files in the directories of hook scripts that belong to no event."""
    known = [f"{event}.d" for event in (*EVENTS, *EVENT_KINDS)]
    problems = []
    for directory in DIRECTORIES:
        for name in (name for name in host.listdir(directory) if name not in known):
            path = f"{directory}/{name}"
            if would_run(path, host):
                problems.append(passed_by(path, "it lies in no event's directory", MANUAL))
            elif host.is_dir(path) and host.listdir(path):
                what = f"{path} is the directory of no event, so that nothing in it is run"
                problems.append(
                    Problem(
                        what,
                        f"the events are {', '.join((*EVENTS, *EVENT_KINDS))}",
                        _move_command(path, known, host),
                    )
                )
    return problems


def _move_command(path: str, known: list[str], host: Host) -> str:
    """Return the command that moves a directory's scripts to the event that was meant."""
    from difflib import get_close_matches  # late: only `check` asks this

    directory, name = posixpath.split(path)
    for meant in get_close_matches(name, known, 1):
        if host.lstat(f"{directory}/{meant}") is None:
            return fixes.move(path, f"{directory}/{meant}", host)
        # Files that others could have put there must not become hook scripts.
        alone = host.trusted_path(f"{path}/.") and host.trusted_path(f"{directory}/{meant}/.")
        if not alone:
            return ""
        return f"mv -n {quote(path)}/* {directory}/{meant}/"
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
        if account.profile:
            facts["profile"] = account.profile.name
        else:
            facts["profile"] = ""
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
        "group": bind.group,
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
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if account:
        return []
    found = {event: scripts(event, host) for event in (*EVENTS, *EVENT_KINDS)}
    problems = [problem for _, problems in found.values() for problem in problems]
    waiting = [path for event in EVENT_KINDS for path in found[event][0]]
    return [*_homeless(host), *problems, *_nobody_runs(waiting, host, config)]


def _nobody_runs(paths: list[str], host: Host, config: Config) -> list[Problem]:
    """Return the problem that nobody is there as whom scripts of what happens in jails could run.

    Args:
        paths: the scripts.
        host, config: as in on_check.
    """
    user = config.events.user
    if not paths or (user and host.account(user)):
        return []
    more = ""
    if len(paths) > 1:
        more = f" and {len(paths) - 1} more"
    what = f"the hook script {paths[0]}{more} is not run: "
    if user:
        what += f"[events] user is {user}, and there is no such account"
    else:
        what += "no user is configured"
    return [
        Problem(
            what,
            "what happens in jails is handed to nobody",
            severity="broken" if user else "advice",
            advice=f"set user of [events] in {CONFIG}: see EVENTS in sftpjail-plugins(7)",
        )
    ]
