"""The Match blocks.

Before and after a change, sshd itself is asked whether it jails members and nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from shlex import quote

from ... import Account, Check, Notify, Profile, SftpJailError, hookimpl
from ...actions import Action
from ...config import Config
from ...errors import JailUnknown, NotJailed
from ...errors.escapes import look_at
from ...host import Host
from ...jails.membership import is_valid, jailed, same_gid, shares_gid
from ...openssh.match_blocks import DIRECTORY, DROPIN, MAIN, settings
from ...openssh.pam_session import service
from ...openssh.settings import Staged, effective, usual_connection
from ...openssh.sshd import ask_sshd, spec
from .candidate import (
    GLOBAL_KEYS,
    SUBSYSTEM,
    all_given_back,
    ask,
    candidate,
    changes_of,
    encoded,
    is_written,
    lacks,
    opens,
    value_of,
    without_us,
)

OTHERS = 20  # how many accounts outside the jails are compared before and after


def _others(host: Host, config: Config, jails: dict[str, Account]) -> list[str]:
    """Return the accounts to compare before and after: root, those with a shell, then any others.

    Jailed accounts are left out, and so are those that our present blocks jail by name. If no
    profile has them any more, they are being released; see `_released`.
    """
    live = (
        host.text(DROPIN)
        + host.text(MAIN).partition("# BEGIN sftpjail sftpjail")[2].partition("# END sftpjail")[0]
    )
    named = {
        name for names in re.findall(r"(?m)^Match User (\S+)$", live) for name in names.split(",")
    }
    named |= set(config.released)
    ordered = sorted(
        host.accounts.values(),
        key=lambda a: (a.uid != 0, a.shell.endswith(("nologin", "false")), a.uid),
    )
    names = [
        account.name
        for account in ordered
        if account.name not in named and account.name not in jails
    ]
    return [name for name in names if is_valid(name)][:OTHERS]


def _strangers(
    host: Host, files: dict[str, str | None], names: list[str], intended: tuple[str, ...]
) -> list[Action]:
    """Return the checks that accounts outside the jails keep their settings.

    The candidate is checked here; the returned checks are for the live files.

    Raises:
        SftpJailError: sshd would apply other settings than before to one of them.
    """
    sshd, there = host.which("sshd"), usual_connection(host)
    checks: list[Action] = []
    for name in names:
        before = ask(host, name, {}, there)
        after = ask(host, name, encoded(files), there)
        kept = [
            [line for line in said.splitlines() if not line.startswith(intended)]
            for said in (before, after)
        ]
        if kept[0] != kept[1]:
            changed = next(
                line for line in [*kept[1], *kept[0]] if kept[0].count(line) != kept[1].count(line)
            )
            raise SftpJailError(
                f"{name} is not jailed and must see no change, but would get: {changed}",
                look_at("sshd -T"),
            )
        why = f"{name} is not jailed and must see no change"
        asked = sshd, "-T", "-C", spec(name, there)
        checks.append(Check(asked, why, prints=before, ignoring=intended))
    return checks


def _released(
    host: Host, config: Config, files: dict[str, str | None], jails: dict[str, Account]
) -> list[str]:
    """Return the accounts that sshd jails now, but would not with the changed configuration."""
    names = [
        name
        for name in host.records.recorded
        if name not in jails and host.account(name) is not None
    ]
    if not names:
        return []
    staged, there = encoded(files), usual_connection(host)
    return [
        name
        for name in names[:OTHERS]
        if value_of(ask(host, name, {}, there), "chrootdirectory") not in ("", "none")
        and value_of(ask(host, name, staged, there), "chrootdirectory") in ("", "none")
    ]


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    from .guard import guard  # late: useradd waits

    files = candidate(host, config)
    changes = changes_of(host, files)
    _refuse_lacks(host, config, files)
    guards = guard(config, host)
    if not any(action.pending(host, "") for action in changes):
        return guards
    answer = ask_sshd(host, "-t", files=encoded(files))
    if answer.failed:
        raise SftpJailError(
            f"sshd would refuse the configuration: {answer.words}", look_at("sshd -t")
        )
    jails = jailed(config, host)
    _refuse_release(_released(host, config, files, jails))
    from .methods import refuse_to_shut_out  # late, as all that only setup needs: useradd waits

    changed = [profile for profile in config.profiles if not is_written(profile, host, config)]
    refuse_to_shut_out(changed, jails, files, host, config)
    now = "\n".join(host.text(path) for path in files)
    new = "\n".join(text or "" for text in files.values())
    # The settings that our configuration changes for everybody, or used to.
    intended = tuple(
        keyword
        for keyword, line in (("subsystem", SUBSYSTEM), ("authorizedkeysfile", GLOBAL_KEYS))
        if f"\n{line}" in now or f"\n{line}" in new
    )
    return [
        *guards,
        *changes,
        Check((host.which("sshd"), "-t"), "sshd must accept the configuration", "sshd -t"),
        *_strangers(host, files, _others(host, config, jails), intended),
        *_live_checks(host, config, jails),
        Notify("sshd"),
    ]


def _refuse_lacks(host: Host, config: Config, files: dict[str, str | None]) -> None:
    """Refuse a configuration by which sshd would not jail the members of a profile."""
    try:
        found = lacks(host, config, files)
    except SftpJailError:
        refuse_services(config, host)
        raise
    for lack in found:
        if shares_gid(lack.profile, host):
            raise same_gid(lack.profile, host)
        raise SftpJailError(
            f"sshd would not jail the members of {lack.profile.group or lack.profile.name}: "
            f"{lack}, something above our Match block wins",
            look_at(f"grep -in -A9 ^match {MAIN} {DIRECTORY}/*.conf"),
        )


def refuse_services(config: Config, host: Host) -> None:
    """Refuse to set up jails by PAM services of their own where sshd takes none for them."""
    from ...openssh.auto_mounts import refused, takes_service  # late: useradd waits

    served = tuple(profile for profile in config.profiles if service(profile, host))
    if served and not takes_service(host):
        raise refused(served, host)


def _refuse_release(names: Sequence[str]) -> None:
    """Refuse a configuration that would release accounts from their jails."""
    if not names:
        return
    raise SftpJailError(
        f"{', '.join(names)}: jailed until now, "
        "in no profile of the configuration any more, so open after this",
        choices=tuple(
            (f"to make {name} an ordinary account", f"sftpjail remove {quote(name)}")
            for name in names[:8]
        ),
        advice="put them into a group that has a profile",
    )


def _live_checks(host: Host, config: Config, jails: dict[str, Account]) -> list[Action]:
    """Return a check for each profile that has a member."""
    samples = {a.profile.name: a for a in reversed(list(jails.values())) if a.profile}
    return [
        Check(
            (host.which("sshd"), "-T", "-C", spec(name)),
            f"{name} must be jailed",
            look_at(f"grep -in -A9 ^match {MAIN} {DIRECTORY}/*.conf"),
            lines=tuple(settings(account.profile, config, host)),
        )
        for name, account in ((a.name, a) for a in samples.values())
        if account.profile
    ]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    from ...openssh.handmade import uncomment_blocks  # late: useradd waits for everything else
    from .guard import no_guard

    main = uncomment_blocks(without_us(host.text(MAIN)))
    files: dict[str, str | None] = {DROPIN: None, MAIN: main, **all_given_back(host)}
    changes = changes_of(host, files)
    guards = no_guard(host)
    if not any(action.pending(host, "") for action in changes):
        return guards
    if not host.which("sshd"):
        return [*changes, *guards]  # there is nobody left to check
    intended = ("subsystem", "authorizedkeysfile")
    checks = _strangers(host, files, _others(host, config, jailed(config, host)), intended)
    return [*changes, *guards, *checks, Notify("sshd")]


@hookimpl
def on_user_create(account: Account, host: Host, config: Config) -> None:
    # Compare the text instead of asking sshd, since useradd waits. `setup` and `check` ask, and so
    # do we for a new jail if another file of sshd's may decide by now.
    profile = account.profile
    assert profile is not None
    written = partial(is_written, profile, host, config)
    ready = host.files.once((is_written, profile.name), written)
    if not (ready or host.preparing):
        raise SftpJailError(
            f"sshd does not jail {account.name} as profile {profile.name} says: "
            "no Match block, or an old one",
            "sftpjail setup",
        )
    if host.account(account.name) is None:
        return  # sshd knows the accounts that there are
    joins = not _is_member(account, profile, host)
    origin = host.origin(account.name)
    moved = bool(profile.group) and origin.group not in ("", profile.group)
    if joins or moved or not origin.is_of_jail or origin.closed:
        _refuse_open(account, joins, ready, host, config)


def _is_member(account: Account, profile: Profile, host: Host) -> bool:
    named = not profile.group or account.name in profile.match_user
    return named or host.in_group(account.name, profile.group)


def _refuse_open(account: Account, joins: bool, ready: bool, host: Host, config: Config) -> None:
    """Refuse a new jail that sshd leaves open, or does not make: other files decide too.

    Of those of a profile whom the same Match lines of others are about, one is asked about, for
    speed, and none where there is no such line, and sshd's files are as setup has left them.

    Args:
        account: with its profile.
        joins: it is not in the group yet; sshd is asked as if it were.
        ready: our files are as they should be; else, and with setup in the same plan, sshd is asked
            as if they were.
        host: the facts.
        config: the configuration.

    Raises:
        NotJailed: says which setting is not in force, and which line is instead.
        JailUnknown: sshd does not answer.
    """
    profile = account.profile
    assert profile is not None
    asked = partial(_not_in_force, account, joins, ready, host, config)
    lines = _about(account, profile, host)
    newer = ready and not host.files.once(_nothing_newer, partial(_nothing_newer, host))
    error = None
    if lines or newer:
        error = host.files.once((_refuse_open, profile.name, lines), asked)
    if isinstance(error, NotJailed):  # else all hear the same of an sshd that does not answer
        error = asked()
    if error:
        raise error


def _not_in_force(
    account: Account, joins: bool, ready: bool, host: Host, config: Config
) -> NotJailed | JailUnknown | None:
    """Return the error of a setting without which an account's jail is open, or None.

    Also of an sshd that does not say.
    """
    from ...openssh.connections import connections  # late: useradd waits
    from ...openssh.daemons import daemons
    from .differences import differing

    assert account.profile is not None
    wanted = list(settings(account.profile, config, host))
    try:
        files = _to_be(account, joins, ready, host, config)
        for kind in connections(host, account.name):
            found = effective(host, account.name, kind, staged=files).values
            said = [f"{keyword} {value}" for keyword, values in found.items() for value in values]
            lacking = [line for line in wanted if line not in said]
            kept = [line for line in lacking if line.startswith("chrootdirectory ")]
            kept += [line for line in lacking if opens(line, "\n".join(said))]
            if kept:
                problems = differing(account, kind, host, config, files)
                keyword = f"{kept[0].partition(' ')[0]} "
                problem = next((one for one in problems if keyword in one.what), problems[0])
                return NotJailed(problem.what, problem.fix, why=problem.why)
    except SftpJailError as error:
        if not daemons(host):  # as in an image that is being made, where nobody gets in
            return None
        # Whether the daemon that runs jails it, by a configuration of before, nobody can say.
        return JailUnknown(
            error.message, error.fix, choices=error.choices, advice=error.advice, why=error.why
        )
    return None


def _to_be(account: Account, joins: bool, ready: bool, host: Host, config: Config) -> Staged:
    """Return the files that decide, as they are to be; for the arguments see `_refuse_open`."""
    found: dict[str, bytes | None] = {}
    if host.preparing or not ready:
        found = host.files.once(candidate, lambda: encoded(candidate(host, config)))
    if joins and account.profile:
        name, group = account.profile.group, host.group(account.profile.group)
        now = host.text("/etc/group")
        line = f"{name}:x:{group.gid if group else _TO_COME}:{account.name}\n"
        more = (now if now.endswith("\n") else f"{now}\n") + line
        found = {**found, "/etc/group": more.encode("utf-8", "surrogateescape")}
    return tuple(found.items())


_TO_COME = 2**31 - 2  # a gid for a group that setup makes in the same plan; nobody has it


def _about(account: Account, profile: Profile, host: Host) -> tuple[str, ...]:
    """Return the criteria of the Match lines of others that are about an account."""
    lines = host.files.once(_lines_of_others, partial(_lines_of_others, host))
    if not lines:
        return ()
    from ...jails.states import holds  # late: useradd waits

    # The name services are slow where a group has many members; asked where they know more.
    thorough = host.thorough and bool(host.people.directory_services)
    groups = (*host.people.groups_of(account.name, thorough), profile.group)
    return tuple(line for line in lines if holds(line, account.name, groups))


def _lines_of_others(host: Host) -> list[str]:
    """Return the criteria of the Match lines in sshd's usual files that are not ours."""
    names = [name for name in host.listdir(DIRECTORY) if name.endswith(".conf")]
    paths = [path for path in (f"{DIRECTORY}/{name}" for name in names) if path != DROPIN]
    text = "\n".join([without_us(host.text(MAIN)), *map(host.text, paths)])
    return [found.strip() for found in re.findall(r"(?mi)^[ \t]*match[ \t=]+(.*)$", text)]


def _nothing_newer(host: Host) -> bool:
    """Return whether sshd's files are as they were when setup last wrote ours, and asked sshd.

    Nobody can set a ctime: inode(7). What other places an Include names is not looked for.
    """
    paths = [MAIN, *(f"{DIRECTORY}/{name}" for name in host.listdir(DIRECTORY))]
    ours = host.stat(DROPIN) or host.stat(MAIN)
    found = [host.stat(path) for path in paths]
    if ours is None or any(one and one.st_ctime > ours.st_ctime for one in found):
        return False
    included = re.findall(r"(?mi)^[ \t]*include\b.*$", "\n".join(map(host.text, paths)))
    return all(re.fullmatch(_USUAL, line) for line in included)


_USUAL = rf"(?i)[ \t]*include[ \t]+\"?{re.escape(DIRECTORY)}/\*\.conf\"?[ \t]*"
