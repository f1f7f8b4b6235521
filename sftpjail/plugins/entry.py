"""How the system calls us: stubs for the hooks of shadow, systemd's path unit and timers."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from .. import Account, MakeDir, Problem, Remove, Run, SftpJailError, WriteFile, hookimpl
from ..actions import Action, SetLines
from ..config import Config
from ..formats.tagged_lines import Style, edit
from ..host import Host
from ..paths import BIN, COUNTED, EVENTS, LIB, STATE, USERADD_HOOK, WAITER, WATCH, WATCHING

SHADOW = "/etc/shadow-maint"
STUBS = {
    USERADD_HOOK: "useradd-post",
    f"{SHADOW}/userdel-pre.d/sftpjail": "userdel-pre",
    f"{SHADOW}/userdel-post.d/sftpjail": "userdel-post",
}
# An earlier version had stubs here, where no package may write (Debian Policy 9.1.2).
LOCAL = {
    "/usr/local/sbin/adduser.local": "useradd-post",
    "/usr/local/sbin/deluser.local": "userdel-post",
}
UNITS = ("sftpjail.path", "sftpjail.timer")
# Left by a package whose first setup failed. While it exists, the setup is tried again.
WANTED = f"{STATE}/wanted"
METRICS = "sftpjail-metrics.timer"  # runs where the configuration names a file for it
WANTS = {
    "sftpjail.path": "paths.target.wants",
    "sftpjail.timer": "timers.target.wants",
    METRICS: "timers.target.wants",
    WATCH: "multi-user.target.wants",
}
_START = 300.0  # seconds; the watcher is ready when it has read what its last run has left
_WHY = {METRICS: "metrics", WATCH: "events are handed to scripts and plugins"}
_ASLEEP = {
    METRICS: "the metrics are old",
    WATCH: "no script and no plugin hears of what happens in jails",
}


def stub(name: str, host: Host, config: Config) -> str:
    """Return an entry script for this host.

    It contains the groups and names to handle, so that it needs no Python for others. A group of
    this host is there by its gid too, by which id(1) may know another name.

    Raises:
        SftpJailError: the installation is incomplete.
    """
    text = _script(name, host).replace("@ELSEWHERE@\n", _script("elsewhere", host))
    names = [profile.group for profile in config.profiles if profile.group]
    gids = [host.people.groups[name].gid for name in names if name in host.people.groups]
    patterns = [f'*"({name})"*' for name in names] + [f'*",{gid}"[,"("]*' for gid in gids]
    groups = "|".join(dict.fromkeys(patterns))
    users = "|".join(user for profile in config.profiles for user in profile.match_user)
    for token, value in (("@GROUPS@", groups or "' '"), ("@USERS@", users or "' '")):
        text = text.replace(token, value)
    return text


def _script(name: str, host: Host) -> str:
    """Return one of the scripts that the system calls us by, for this installation."""
    path = f"{LIB}/entry/{name}"
    text = host.text(path)
    if not text:
        raise SftpJailError(f"{path} is missing: sftpjail is only partly installed", "make install")
    return text.replace("@SFTPJAIL@", BIN).replace("@WAITER@", WAITER)


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    actions: list[Action] = [Remove(WANTED, ours=True)]
    for path, name in STUBS.items():
        directory = posixpath.dirname(path)
        actions += [
            MakeDir(SHADOW),
            MakeDir(directory),
            WriteFile(path, stub(name, host, config), mode=0o755),
        ]
    wanted = _wanted(config)
    others = [unit for unit in WANTS if unit not in wanted]
    actions += [*_out_of_local(host), *_units(host, wanted), *_units(host, others, want=False)]
    return actions + _given_up(host, config.metrics.file)


def _wanted(config: Config) -> tuple[str, ...]:
    optional = {METRICS: config.metrics.file, WATCH: config.events.user}
    return (*UNITS, *(unit for unit, setting in optional.items() if setting))


def _given_up(host: Host, file: str = "") -> list[Action]:
    """Return what removes the file for node_exporter, if it is another one than FILE.

    Nobody writes it any more, and node_exporter would go on telling what it says.
    """
    from ..transferlog import totals  # late: useradd waits

    path = totals.read(host.text(COUNTED)).file
    ours = path not in ("", file) and host.text(path).startswith("# HELP sftpjail_")
    if not ours:
        return []
    return [Remove(path, ours=True)]


def _out_of_local(host: Host) -> list[Action]:
    """Return what takes away what an earlier version put there; the administrator's stays."""
    actions: list[Action] = [Remove(path) for path in LOCAL]
    for path, name in LOCAL.items():
        text = host.text(path)
        if path not in host.origin("").made and edit(text, {name: ()}, Style.TOP) != text:
            actions.append(SetLines(path, name, (), Style.TOP))
    return [*actions, Remove("/usr/local/sbin"), Remove("/usr/local")]


def _units(host: Host, units: Iterable[str], want: bool = True) -> list[Action]:
    """Return the actions that make systemd run us, or stop; none without systemd.

    Like systemctl(1), leave masked units alone.
    """
    systemctl = host.which("systemctl")
    if not systemctl:
        return []
    now = ("--now",) if host.systemd and not host.daemons.forbids("sftpjail", "start") else ()
    on, off = ((systemctl, verb, "--quiet", *now) for verb in ("enable", "disable"))
    actions: list[Action] = []
    for unit in units:
        why = _WHY.get(unit, "jails for accounts that come by no hook")
        link = f"/etc/systemd/system/{WANTS[unit]}/{unit}"
        enabled = host.lstat(link) is not None
        if want and not enabled and _installed(unit, host) and not _masked(unit, host):
            undo = (*off, unit)
            actions.append(Run((*on, unit), why, undo, timeout=_START, always=True))
        elif enabled and not want and _masked(unit, host):  # systemctl would leave it as it is
            actions += [
                Remove(link, ours=True),
                Remove(posixpath.dirname(link), ours=True, directory=True),
            ]
        elif enabled and not want:
            actions.append(Run((*off, unit), why, undo=(*on, unit), always=True))
    return actions


def _masked(unit: str, host: Host) -> bool:
    return any(
        host.realpath(f"{directory}/{unit}") == "/dev/null"
        for directory in ("/etc/systemd/system", "/run/systemd/system")
    )


def _installed(unit: str, host: Host) -> bool:
    directories = (
        "/usr/lib/systemd/system",
        "/usr/local/lib/systemd/system",
        "/etc/systemd/system",
        "/lib/systemd/system",
    )
    return any(host.lstat(f"{directory}/{unit}") for directory in directories)


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    return [*_detached(host), Remove(COUNTED, ours=True), *_unwatched(host)]


def _unwatched(host: Host) -> list[Action]:
    """Return what removes the state of `watch`. Events that were put aside stay."""
    if not host.is_dir(EVENTS):
        return []
    names = [name for name in host.listdir(EVENTS) if name.startswith(("queue.", "done."))]
    below = [f"{EVENTS}/{name}" for name in ("aside", "again") if host.is_dir(f"{EVENTS}/{name}")]
    return [
        *(Remove(f"{EVENTS}/{name}", ours=True) for name in names),
        *(Remove(path, ours=True, directory=True) for path in (*below, EVENTS)),
    ]


@hookimpl
def on_detach(host: Host) -> list[Action]:
    return _detached(host)


def _detached(host: Host) -> list[Action]:
    actions: list[Action] = [Remove(path) for path in STUBS]
    actions += [Remove(posixpath.dirname(path)) for path in STUBS]
    actions += [Remove(SHADOW), *_out_of_local(host)]
    return actions + _units(host, WANTS, want=False) + _given_up(host)


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    """Report what only systemd knows; the plan of `setup` covers the files."""
    if account is not None:
        return []
    if not host.systemd:
        if config.events.user and not _is_watching(host):
            return [_UNWATCHED]
        return []
    units = [unit for unit in _wanted(config) if _installed(unit, host) and not _masked(unit, host)]
    asleep = [
        unit for unit in units if host.ask(["systemctl", "is-active", "--quiet", unit]).failed
    ]
    if not asleep:
        return []
    verb = "do"
    if len(asleep) == 1:
        verb = "does"
    what = f"{' and '.join(asleep)} {verb} not run"
    other = "members of a group that come by no hook get no jail"
    whys = dict.fromkeys(_ASLEEP.get(unit, other) for unit in asleep)
    return [Problem(what, ", and ".join(whys), f"systemctl start {' '.join(asleep)}")]


_UNWATCHED = Problem(
    "sftpjail watch does not run, and a user is configured for events",
    _ASLEEP[WATCH],
    severity="advice",
    advice="have your service manager run `sftpjail watch`, which stays in the foreground",
)


def _is_watching(host: Host) -> bool:
    pid = host.text(WATCHING).strip()
    return pid.isdecimal() and "watch" in host.text(f"/proc/{pid}/cmdline").split("\0")
