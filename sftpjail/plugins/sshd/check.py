"""Whether sshd applies a profile's settings to its members, and has read our configuration."""

from __future__ import annotations

from dataclasses import replace

from ... import Account, Fact, Problem, Profile, SftpJailError
from ...config import Config
from ...errors.escapes import look_at
from ...host import Host
from ...jails.membership import is_valid, jailed, same_gid, shares_gid
from ...openssh.connections import conditions, connections, peculiar
from ...openssh.daemons import primary
from ...openssh.match_blocks import DIRECTORY, MAIN, WORDS, address_blocks, settings
from ...openssh.patterns import any_matches
from ...openssh.repair import broken_line, except_for, match_line
from ...openssh.settings import PROBE, Settings, effective
from ...openssh.sshd import ask_sshd
from . import confined, writers
from .candidate import Lack, is_written, lacks, refusal
from .changes import refuse_services
from .differences import PENDING, differing, in_foreign_match
from .guard import shut, shut_out
from .running import elsewhere, lacking, running_facts, running_problems

SETUP = "sftpjail setup"


def _stands_for(account: Account, host: Host, config: Config) -> bool:
    """Return whether sshd must be asked about this very account.

    When many accounts are checked, that is so only if a foreign Match line could single it out.
    Lines about addresses and hosts cannot.
    """
    if host.thorough:
        return True
    groups = host.groups_of(account.name)
    ours = {line.partition(" ")[2] for line in address_blocks(config)}
    for criteria in effective(host, PROBE).criteria:
        if criteria in ours:
            continue
        for kind, patterns in conditions(criteria):
            names = {"user": (account.name,), "group": groups}.get(kind, ())
            own = account.profile and patterns in (
                account.profile.group,
                ",".join(account.profile.match_user),
            )
            if not own and any_matches(names, patterns.split(",")):
                return True
    return False


def _differences(account: Account, host: Host, config: Config) -> list[Problem]:
    """Return where sshd's settings for a member differ from the profile's.

    There is one problem for each file to blame, for the first kind of connection that differs.
    """
    kinds = (differing(account, kind, host, config) for kind in connections(host, account.name))
    return next(filter(None, kinds), [])


def find_problems(account: Account | None, host: Host, config: Config) -> list[Problem]:
    closed = shut(config, host)
    if account is not None:
        if account.profile in closed:
            return [shut_out(closed, host)]
        if not _stands_for(account, host, config):
            return []
        own = _differences(account, host, config)
        return [*own, *elsewhere(account, host, config), *confined.problems_of(account, host)]
    main = primary(host)
    answer = ask_sshd(host, "-t", daemon=main.command, damaged=True)
    if answer.failed:
        why = "the running daemon has an older one, and will not start again"
        try:
            refuse_services(config, host)
        except SftpJailError as error:
            return [replace(Problem.of(error), why=why)]
        ours = (
            ask_sshd(host, "-t", daemon=main.command).code == 0
        )  # without our drop-in, which `setup` writes
        fix = SETUP if ours else broken_line(" / ".join(answer.err.splitlines()), host)
        return [Problem(refusal(answer.words), why, fix)]
    problems = [shut_out(closed, host)] if closed else []
    problems += [
        _lacking(lack, host, config) if main.is_plain else lacking(lack, main, host, config)
        for lack in lacks(host, config, {}, main)
        if lack.profile not in closed
    ]
    if not any(
        value.startswith("sftp ") for value in effective(host, "root").values.get("subsystem", ())
    ):
        why = "sshd refuses SFTP, also where ForceCommand says internal-sftp"
        problems.append(Problem("sshd has no line Subsystem sftp", why, SETUP))
    problems += writers.find_problems(host)
    problems += running_problems(host, config)
    jails = []
    if host.thorough:
        jails = list(jailed(config, host).values())
    return problems + confined.host_problems(jails, host)


def _lacking(lack: Lack, host: Host, config: Config) -> Problem:
    """Return that sshd, by /etc/ssh/sshd_config, does not apply a profile's settings."""
    if shares_gid(lack.profile, host):
        return Problem.of(same_gid(lack.profile, host))
    return Problem(
        f"sshd does not jail the members of profile {lack.profile.name}: {lack}",
        "the jail is open" if lack.is_open else _short_of(lack.profile, host, config),
        _blame(lack, host, config),
        severity="open" if lack.is_open else "broken",
    )


def _short_of(profile: Profile, host: Host, config: Config) -> str:
    """Return why a profile's jails are safe, but not as they should be."""
    if is_written(profile, host, config):
        return "the jail holds, but not all of its settings"
    return PENDING


def _blame(lack: Lack, host: Host, config: Config) -> str:
    """Return the command that restores a profile's setting.

    Where a foreign Match block has another value of any of its settings, that comes first: `setup`
    would refuse.
    """
    if lack.profile.group:
        group = host.group_members(lack.profile.group)
    else:
        group = ()
    names = [name for name in (*lack.profile.match_user, *(group or ())) if is_valid(name)]
    if peculiar(lack.connection):
        names.append(PROBE)  # a Match line about connections applies to everybody
    if names:
        found = effective(host, names[0], lack.connection)
        member = Account(names[0], -1, -1, home="/nonexistent", profile=lack.profile)
        for line in (lack.line, *settings(lack.profile, config, host)):
            keyword, _, wanted = line.partition(" ")
            if found.get(keyword) != wanted and in_foreign_match(keyword, found, host):
                return except_for([found.origins[keyword]], member, host)
    if not peculiar(lack.connection):
        return SETUP
    return look_at(f"grep -in -A9 ^match {MAIN} {DIRECTORY}/*.conf")


def list_facts(account: Account, host: Host, config: Config) -> list[Fact]:
    found = effective(host, account.name)
    wanted: dict[str, str] = {}
    if account.profile:
        lines = settings(account.profile, config, host)
        wanted = dict(line.split(" ", 1) for line in lines)
    block = found.origins.get("chrootdirectory")
    winner = ""
    if block:
        winner = match_line(block, host)
    heading = winner or "no Match block with a chroot"
    facts = [Fact("sshd", heading, "", _short(found.where("chrootdirectory")), not winner)]
    for keyword, value in wanted.items():
        now, where = found.get(keyword) or "unset", _short(found.where(keyword))
        if now == value:
            note = where
        else:
            note = f"{where}, wanted {value}"
        facts.append(Fact("sshd", keyword, now, note, now != value, 1))
    for keyword in _ASKED:
        where = _short(found.where(keyword))
        facts.append(Fact("sshd", keyword, found.get(keyword) or "unset", where))
    return [*facts, *running_facts(account, host), *_hazards(account, host, found)]


# Settings that are not part of the jail but affect logins.
_ASKED = (
    "authenticationmethods",
    "pubkeyauthentication",
    "passwordauthentication",
    "usepam",
    "subsystem",
)


def _short(place: str) -> str:
    return place.rpartition("/")[2]


def _hazards(account: Account, host: Host, found: Settings) -> list[Fact]:
    """Return where this version of OpenSSH deviates from its manual."""
    version = "{}.{}".format(*host.openssh)
    notes = []
    if host.openssh < (10, 4):
        notes.append(
            f"keeps {WORDS} words of ForceCommand internal-sftp and drops the rest in silence"
        )
    if host.openssh < (10, 0):
        notes.append(
            "leaves X11 and agent forwarding open with DisableForwarding alone; "
            "each door is shut by name"
        )
    elif host.openssh < (10, 4):
        notes.append(
            "leaves PermitTunnel open with DisableForwarding alone; each door is shut by name"
        )
    if account.profile and account.profile.umask:
        notes.append("does not hold a client that sends modes to the umask of -u")
    return [Fact("sshd", "OpenSSH", version), *(Fact("sshd", "", f"It {note}.") for note in notes)]
