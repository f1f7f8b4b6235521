"""Whether the log daemon runs, reads the jails' socket and has loaded the rule."""

from __future__ import annotations

import posixpath
import re

from ... import Account, Fact, Problem
from ...config import Config
from ...formats import fixes
from ...host import Host
from ...transferlog.backend import PROGRAMS, backend
from .changes import RULES, socket_of


def _seen(account: Account, host: Host) -> str:
    """Return the path on the host of the log socket that an account's sessions use."""
    return host.mount_tables.behind(account.name, f"{account.jail}/dev/log")


def _restart(name: str, host: Host) -> str:
    """Return the command that restarts a log daemon."""
    if host.systemd:
        return f"systemctl restart {name}"
    if host.lstat(f"/etc/init.d/{name}"):
        return f"service {name} restart"
    start, pid = host.which(PROGRAMS[name]), host.running(name)
    if not pid:
        return start
    return f"kill {pid} && while kill -0 {pid} 2>/dev/null; do sleep 0.1; done; {start}"


def _runs(name: str, host: Host) -> bool:
    if host.systemd:  # its units need no pid file
        return host.ask(["systemctl", "is-active", "--quiet", name]).code == 0
    return host.running(name) is not None


def _daemon(name: str, host: Host, config: Config) -> list[Problem]:
    """Return that a log daemon does not run, or writes into a file that was deleted."""
    file = config.logs.file
    if not _runs(name, host):
        return [_stopped(name, f"nothing is written to {file}", host)]
    pid = host.daemons.writes_deleted(file)
    if pid is None or host.lstat(file) is not None:
        return []
    if name == "syslog-ng":
        fix = "syslog-ng-ctl reopen"
    elif host.systemd:
        fix = f"systemctl kill -s HUP {name}"
    else:
        fix = f"kill -HUP {pid}"
    what = f"{file} was deleted, and {name} goes on writing into it"
    return [Problem(what, "nobody can read that", fix)]


def _stopped(name: str, why: str, host: Host) -> Problem:
    return Problem(f"{name} does not run", why, _restart(name, host))


def _dropped(name: str, host: Host, config: Config) -> list[Problem]:
    """Return what journald drops, where somebody wants to hear of all that happens in jails.

    Source: RateLimitIntervalSec= in journald.conf(5). It counts for each unit, and so for each
    session, which is a scope of its own; a scope cannot have a limit of its own.
    """
    if not config.events.user or not host.systemd or name == "none":
        return []
    said = host.ask(["systemd-analyze", "cat-config", "systemd/journald.conf"]).out
    limits = {"RateLimitIntervalSec": "30s", "RateLimitBurst": "10000"}
    limits |= dict(re.findall(r"(?m)^[ \t]*(RateLimit\w+|Storage)[ \t]*=[ \t]*(\S+)", said))
    if limits.get("Storage") == "none":
        what = "journald keeps nothing: Storage=none in journald.conf(5)"
        why = "watch reads the journal, so nothing that happens in jails is an event"
        return [Problem(what, why, advice="set another Storage= in journald.conf(5)")]
    interval, burst = limits["RateLimitIntervalSec"], limits["RateLimitBurst"]
    if re.fullmatch(r"0[a-z]*", interval) or burst == "0":
        return []
    return [
        Problem(
            f"journald may drop what a session logs beyond {burst} messages in {interval}",
            "what happens then is no event, but a gap",
            severity="advice",
            advice="raise RateLimitBurst= in journald.conf(5); a file takes about four messages",
        )
    ]


def find_problems(account: Account | None, host: Host, config: Config) -> list[Problem]:
    name = backend(host, config)
    if name == "none":
        return []
    if account is None:
        daemon = []
        if name in RULES:
            daemon = _daemon(name, host, config)
        return [*daemon, *_dropped(name, host, config)]
    filled = account.profile is None or account.profile.is_filled
    if not filled:
        return []
    return _of_account(account, name, host, config)


def _of_account(account: Account, name: str, host: Host, config: Config) -> list[Problem]:
    """Return why what an account does is not logged."""
    path, source = _seen(account, host), socket_of(host, config)
    if host.listens(path) or not host.is_dir(account.jail) or _lacks_mount(account, path, host):
        return []
    why = "nothing the account does is logged"
    if host.listens(source):
        if host.mount_at(path):
            point = path
        else:
            point = posixpath.dirname(path)
        fix = "sftpjail apply"
        if host.mount_at(point):
            fix = fixes.on(point, host, "umount {}", "sftpjail apply")
        lost = "is not there"
        if host.lstat(path):
            lost = "is a socket that nobody reads any more"
        return [Problem(f"{path} {lost}", why, fix)]
    if name not in RULES:
        fix = "systemctl restart systemd-journald.socket"
        return [Problem(f"nobody reads from {source}", why, fix)]
    restart = _restart(name, host)
    if host.lstat(RULES[name]) is None:
        what = f"{name} has no rule for jails, {RULES[name]}"
        return [Problem(what, why, f"sftpjail setup && {restart}")]
    if not _runs(name, host):
        return [_stopped(name, why, host)]
    return [Problem(f"{name} does not read from {source}", why, restart)]


def _lacks_mount(account: Account, path: str, host: Host) -> bool:
    """Return whether the mount of a jail's socket is missing or hidden: it is reported as such."""
    binds = [bind for bind in host.binds(account.name) if bind.role == "log"]
    if any(bind.kept == "fstab" and host.mount_at(bind.target) is None for bind in binds):
        return True
    return bool(binds) and not host.is_dir(posixpath.dirname(path))


def list_facts(account: Account, host: Host, config: Config) -> list[Fact]:
    name = backend(host, config)
    if account.profile is None or name == "none":
        return [Fact("log", "backend", name)]
    read = host.listens(_seen(account, host))
    note = "nobody reads from it"
    if read:
        note = f"{name} reads from it"
    level = f"level {config.logs.level}, facility {config.logs.facility}"
    facts = [
        Fact("log", "backend", name, level),
        Fact("log", "socket", f"{account.jail}/dev/log", note, not read),
    ]
    if name in RULES:
        facts.append(Fact("log", "file", config.logs.file))
    return facts
