"""Whether the sshds that run do what our configuration says.

Each goes by its own command line, and by what its files held when it read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ... import Account, Choice, Fact, Problem, Profile, SftpJailError
from ...config import Config
from ...errors.escapes import shown
from ...formats import fixes
from ...host import Host
from ...jails.membership import is_valid
from ...openssh.admission import admits
from ...openssh.connections import connections
from ...openssh.daemons import Daemon, called, others, running, started_by_sockets
from ...openssh.match_blocks import DROPIN, settings
from ...openssh.repair import reload_command, unit
from ...openssh.settings import PROBE, Settings, effective, reached
from ...openssh.stale import has_read, left_unread, soon
from .candidate import Lack, lacks, opens, where_from

STALE = "it still does what the old configuration says"


def running_problems(host: Host, config: Config) -> list[Problem]:
    """Return what is wrong with the daemons: none runs, one is stale, unknown, or jails nobody."""
    if not soon(lambda: _listens(host)):
        install = f"install -d -m 755 /run/sshd && {host.which('sshd')}"
        start = install
        if host.systemd:
            start = f"systemctl start {unit(host)}"
        return [Problem("sshd does not run", "nobody can log in", start)]
    problems = [problem for daemon in _distinct(host) for problem in _stale(daemon, host)]
    for daemon in others(host):
        problems += _unjailed(daemon, host, config)
    return problems


def _listens(host: Host) -> bool:
    return bool(host.daemons.sshds()) or bool(started_by_sockets(host))


def _distinct(host: Host) -> Iterator[Daemon]:
    """Yield the daemons that can be stale, the primary one by its short name."""
    return (daemon for daemon in running(host) if not daemon.unknown)


def _stale(daemon: Daemon, host: Host) -> list[Problem]:
    """Return that a daemon has not read its files, or that nobody knows."""
    try:
        _, known = has_read(daemon, host)
        left = left_unread(daemon, host)
    except SftpJailError:
        return []  # it refuses its configuration, which is said already
    if not left:
        return []
    again, which = reload_command(host, daemon), called(daemon, host)
    if known:
        what = f"{which} has not read {shown(left[-1])} since it was changed"
        return [Problem(what, STALE, again, severity="open")]
    what = f"whether {which} has read {shown(left[-1])} since it was changed is not known"
    why = "it has no pid file of its own, and systemd does not know either"
    advice = f"if in doubt, have it read its configuration: {again}"
    return [Problem(what, why, advice=advice, severity="advice")]


# -- other daemons ---------------------------------------------------------------------------------


def _unjailed(daemon: Daemon, host: Host, config: Config) -> list[Problem]:
    """Return how a daemon beside the primary one fails to jail the members of profiles."""
    found, unknown = _lacks(daemon, host, config)
    if unknown:
        return [unknown]
    return [lacking(lack, daemon, host, config) for lack in found]


def _lacks(daemon: Daemon, host: Host, config: Config) -> tuple[list[Lack], Problem | None]:
    """Return what a daemon lacks to jail the members of profiles, or that nobody knows.

    Members whom its lists keep out are in no danger.
    """
    why, advice = daemon.unknown, f"see: tr '\\0' ' ' </proc/{daemon.pid}/cmdline"
    if not daemon.pid:
        advice = f"see: systemctl cat {daemon.unit}"
    if not why:
        try:
            found = lacks(host, config, {}, daemon)
            return [one for one in found if _lets_in_a_member(one.profile, daemon, host)], None
        except SftpJailError as error:
            why, advice = error.message, f"see what is wrong: {_test(daemon)}"
    what = f"whether {daemon} jails anybody is not known: {why}"
    return [], Problem(what, "it was not asked", advice=advice)


def _test(daemon: Daemon) -> str:
    return " ".join(map(quote, [*daemon.command, "-t"]))


def _lets_in_a_member(profile: Profile, daemon: Daemon, host: Host) -> bool:
    """Return whether a daemon's lists let in a member, or would let in one that comes."""
    if profile.group:
        members = host.group_members(profile.group) or ()
    else:
        members = ()
    names = [name for name in (*profile.match_user, *members) if is_valid(name)]
    known = [(name, host.groups_of(name)) for name in names[:20]]
    known = known or [(PROBE, (profile.group,))]
    places = reached(daemon, effective(host, PROBE, daemon.local, daemon))
    return any(
        admits(effective(host, name, there, daemon), name, groups)
        for name, groups in known
        for there in places
    )


def lacking(lack: Lack, daemon: Daemon, host: Host, config: Config) -> Problem:
    """Return that a daemon with a command line of its own does not apply a profile's settings."""
    name = lack.profile.name
    what = f"{daemon} does not jail the members of profile {name}: {lack}"
    if not lack.is_open:
        what = f"{daemon} does not apply all settings of profile {name}: {lack}"
        return Problem(what, "the jail holds there", advice=_elsewhere(daemon), severity="advice")
    choices = _choices(lack.profile, daemon, host, config)
    return Problem(
        what,
        "whoever of them can log in there is in no jail",
        choices=choices,
        advice="" if choices else _elsewhere(daemon),
        severity="open",
    )


def _elsewhere(daemon: Daemon) -> str:
    command = " ".join(daemon.command)
    return f"its settings come from {daemon.config} and its command line: {command}"


def _choices(profile: Profile, daemon: Daemon, host: Host, config: Config) -> tuple[Choice, ...]:
    """Return the commands that make a daemon jail the members of a profile, or keep them out.

    The first line of its file decides, by what sshd itself says of a trial.
    """
    edits = {"to jail them there too": f"Include {DROPIN}"}
    if profile.group:
        edits["to keep them out there"] = f"DenyGroups {profile.group}"
    elif profile.match_user:
        edits["to keep them out there"] = f"DenyUsers {' '.join(profile.match_user)}"
    found = []
    for label, line in edits.items():
        trial: dict[str, str | None] = {daemon.config: f"{line}\n{host.text(daemon.config)}"}
        if line.startswith("Include") and not _cures(trial, profile, daemon, host, config):
            continue
        edit = fixes.on(daemon.config, host, f"sed -i {quote(f'1i {line}')} {{}}")
        if edit:
            # One that systemd starts for each connection reads its file then.
            again = ""
            if daemon.pid:
                again = f" && {reload_command(host, daemon)}"
            found.append(Choice(label, edit + again))
    return tuple(found)


def _cures(
    trial: dict[str, str | None], profile: Profile, daemon: Daemon, host: Host, config: Config
) -> bool:
    try:
        left = lacks(host, config, trial, daemon)
    except SftpJailError:
        return False
    return not any(lack.profile == profile and lack.is_open for lack in left)


def elsewhere(account: Account, host: Host, config: Config) -> list[Problem]:
    """Return which daemons beside the primary one let an account in without a jail, or may."""
    profile = account.profile
    problems = []
    for daemon in others(host) if profile else ():
        assert profile is not None
        found, unknown = _lacks(daemon, host, config)
        of_all = [one for one in found if one.is_open and one.profile.name == profile.name]
        if unknown:
            problems.append(unknown)
        elif of_all:
            problems += [lacking(one, daemon, host, config) for one in of_all]
        else:
            problems += _open_for(account, profile, daemon, host, config)
    return problems


def _open_for(
    account: Account, profile: Profile, daemon: Daemon, host: Host, config: Config
) -> list[Problem]:
    """Return that a daemon makes an exception for one account."""
    groups = host.groups_of(account.name)
    for kind in connections(host, account.name, daemon):
        found = effective(host, account.name, kind, daemon)
        if not admits(found, account.name, groups):
            continue
        for line in settings(profile, config, host):
            keyword, _, wanted = line.partition(" ")
            if found.get(keyword) != wanted and opens(line, _said(found)):
                now = found.get(keyword) or "unset"
                what = f"{daemon} does not jail {account.name}: {keyword} {now}{where_from(kind)}"
                why = f"{found.where(keyword)} says so, and it lets the account in"
                return [Problem(what, why, advice=_elsewhere(daemon), severity="open")]
    return []


def _said(found: Settings) -> str:
    return "".join(
        f"{keyword} {value}\n" for keyword, values in found.values.items() for value in values
    )


def running_facts(account: Account, host: Host) -> list[Fact]:
    """Return what the daemons beside the primary one do with an account."""
    facts = []
    for daemon in others(host):
        if daemon.unknown:
            facts.append(Fact("sshd", str(daemon), "unknown", daemon.unknown, True))
            continue
        try:
            found = effective(host, account.name, daemon.local, daemon)
        except SftpJailError as error:
            facts.append(Fact("sshd", str(daemon), "unknown", error.message, True))
            continue
        chroot = found.get("chrootdirectory")
        let_in = admits(found, account.name, host.groups_of(account.name))
        jails = chroot not in ("", "none")
        value = "lets nobody of that name in"
        if let_in:
            value = f"ChrootDirectory {chroot}"
        facts.append(Fact("sshd", str(daemon), value, "", let_in and not jails))
    return facts
