"""Prevents systemd from starting user managers for members.

systemd --user runs on the host and obeys unit files in the home, which a jailed account can upload.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from .. import Account, Fact, MakeDir, Notify, Problem, Remove, WriteFile, hookimpl
from ..actions import Action
from ..config import Config
from ..errors.escapes import look_at
from ..formats import fixes
from ..formats.user_managers import DIRECTORY, DROPIN, SERVICE, loaded, mark, render
from ..host import Host
from ..jails.membership import jailed
from ..paths import LINGER

NOBODY = 65534  # the uid to ask systemd about while nobody is jailed
# Directories of units and drop-ins: systemd.unit(5), and set-property in systemctl(1).
UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
CONTROL = ("/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient")
_WHY = (
    "systemd starts user managers for members, which run what they upload to ~/.config/systemd/user"
)
_RESETS = r"(?m)^\s*ExecCondition\s*=\s*$"


def dropin(config: Config) -> str:
    """Return the drop-in for user@.service, for the profiles of this configuration."""
    groups = [profile.group for profile in config.profiles if profile.group]
    users = [user for profile in config.profiles for user in profile.match_user]
    return render(groups, list(dict.fromkeys(users)))


def _masked(host: Host) -> bool:
    """Return whether the drop-in is a link; one to /dev/null masks it (systemd.unit(5))."""
    found = host.lstat(DROPIN)
    return found is not None and stat.S_ISLNK(found.st_mode)


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    # Also if systemd is installed but not running: it may be at the next boot.
    if not host.which("systemctl") or _masked(host):
        return []
    return [
        *(MakeDir(path) for path in ("/etc/systemd", posixpath.dirname(DIRECTORY), DIRECTORY)),
        WriteFile(DROPIN, dropin(config)),
        # This takes effect before the Match block: sshd reloads only after the commit.
        Notify("systemd", "daemon-reload", required=True),
        Notify(SERVICE, "stop"),
    ]


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    if not host.systemd or not account.exists:
        return []
    # An account that joins by this change may have got a manager since the facts were read.
    joins = bool(profile.group) and not host.in_group(account.name, profile.group)
    if joins or host.jobs.has_manager(account.uid):
        return [Notify(SERVICE, "stop", always=True)]
    return []


@hookimpl
def on_user_remove(account: Account, host: Host) -> list[Action]:
    # Otherwise it would have no manager while a session of the jail's lasts.
    denied = mark(account.uid)
    there = account.exists and host.is_dir(denied)
    if not there:
        return []
    return [Remove(denied, ours=True, directory=True)]


@hookimpl
def on_teardown() -> list[Action]:
    paths = (DROPIN, DIRECTORY, posixpath.dirname(DIRECTORY), "/etc/systemd")
    return [*(Remove(path) for path in paths), Notify("systemd", "daemon-reload")]


# -- check and explain -----------------------------------------------------------------------------


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if not host.which("systemctl"):
        return []
    problems = []
    if account is None or host.thorough:
        problems += _not_in_force(host, config)
    if account is not None:
        problems += _outside(account, host)
    return [replace(problem, severity="open") for problem in problems]


def _outside(account: Account, host: Host) -> list[Problem]:
    """Return what makes systemd run, or has made it run, services of the account on the host."""
    name, found = account.name, []
    if host.systemd and host.jobs.has_manager(account.uid):
        what = f"a user manager (systemd --user) of {name} runs on the host, outside of its jail"
        why = "it obeys the units in the account's home"
        found.append(Problem(what, why, f"systemctl stop user@{account.uid}.service"))
    if host.jobs.lingers(name) and "linger" not in host.origin(name).kept:
        what = f"{name} lingers: systemd is to start its user manager at boot"
        why = "only the drop-in of user@.service keeps it from that"
        fix = f"rm {quote(f'{LINGER}/{name}')}"
        if host.systemd:
            fix = f"loginctl disable-linger {account.uid}"
        found.append(Problem(what, why, fix))
    return found


def _not_in_force(host: Host, config: Config) -> list[Problem]:
    """Return why systemd would start a user manager for a member, such as an outdated drop-in."""
    if _masked(host):
        what = f"{DROPIN} is a symbolic link, so that it is masked"
        return [Problem(what, _WHY, f"rm {DROPIN} && sftpjail setup")]
    text = dropin(config)
    if host.text(DROPIN) != text:
        if not jailed(config, host):
            return []
        state = "is not as configured"
        if host.lstat(DROPIN) is None:
            state = "is missing"
        return [Problem(f"{DROPIN} {state}", _WHY, "sftpjail setup")]
    if not host.systemd:
        return []
    uids = _to_ask(host, config)
    units = [f"user@{uid}.service" for uid in uids]
    properties = ("ExecCondition", "NeedDaemonReload", "DropInPaths", "LoadState")
    options = (f"--property={name}" for name in properties)
    answer = host.ask(["systemctl", "show", *options, *units])
    parts = answer.out.strip().split("\n\n")
    if answer.failed or len(parts) != len(units):
        what = f"systemd does not say whether {DROPIN} is in force: {answer.words}"
        return [Problem(what, _WHY, look_at("systemctl status"))]
    for uid, unit, part in zip(uids, units, parts, strict=True):
        if _starts(part, text, uid):
            return [_blame(unit, part, host)]
    return []


def _starts(shown: str, text: str, uid: int) -> bool:
    """Return whether a unit is not masked and would start without our check."""
    return "LoadState=masked" not in shown and not loaded(shown, text, uid)


def _to_ask(host: Host, config: Config) -> list[int]:
    """Return the uids whose user managers to ask systemd about.

    One represents all members that have no drop-in of their own.
    """
    names = {name for directory in (*UNITS, *CONTROL) for name in host.listdir(directory)}
    usual, own = NOBODY, set()
    for account in jailed(config, host).values():
        unit = f"user@{account.uid}.service"
        if account.uid == 0:
            continue
        if unit in names or f"{unit}.d" in names:
            own.add(account.uid)
        elif usual == NOBODY:
            usual = account.uid
    return [usual, *sorted(own)]


def _blame(unit: str, shown: str, host: Host) -> Problem:
    """Return why the drop-in is not in force: it is not loaded, or another one overrides it."""
    name = posixpath.basename(DROPIN)
    rivals = [f"{directory}/{unit}.d/{name}" for directory in (*CONTROL, *UNITS)]
    rivals += [f"{directory}/user@.service.d/{name}" for directory in CONTROL]
    rival = next((path for path in rivals if host.lstat(path)), "")
    if rival:
        move = fixes.move(rival, f"{rival}.off", host)
        fix = move and f"{move} && systemctl daemon-reload"
        return Problem(f"{rival} takes the place of {DROPIN} for {unit}", _WHY, fix)
    said = re.search(r"(?m)^DropInPaths=(.*)", shown)
    paths = said[1].split() if said else []
    later = paths[paths.index(DROPIN) + 1 :] if DROPIN in paths else []
    resets = [path for path in later if re.search(_RESETS, host.text(path))]
    if "NeedDaemonReload=yes" in shown or not resets:
        what = f"systemd has not read {DROPIN}: it is not in force for {unit}"
        return Problem(what, _WHY, "systemctl daemon-reload")
    return Problem(f"{resets[0]} takes {DROPIN} back for {unit}", _WHY, _without_reset(resets))


def _without_reset(paths: Sequence[str]) -> str:
    files = " ".join(map(quote, paths))
    return (
        f"sed -i '/^[[:space:]]*ExecCondition[[:space:]]*=[[:space:]]*$/d' {files} "
        "&& systemctl daemon-reload"
    )


@hookimpl
def on_explain(account: Account, host: Host, config: Config) -> list[Fact]:
    if account.profile is None or not host.which("systemctl"):
        return []
    bad = True
    if host.systemd and host.jobs.has_manager(account.uid):
        value, note = "runs on the host", f"user@{account.uid}.service"
    elif host.text(DROPIN) != dropin(config) or _not_in_force(host, config):
        value, note = "would be started", f"{DROPIN} is not in force"
    else:
        value, note, bad = "none: systemd refuses it", DROPIN, False
    return [Fact("account", "user manager", value, note, bad)]
