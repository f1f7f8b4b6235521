"""The groups of profiles, and accounts' shell, membership and home (with `home = inside`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from shlex import quote

from .. import (
    Account,
    Fact,
    Problem,
    SetAccount,
    SetGroup,
    SetLines,
    SftpJailError,
    hookimpl,
)
from ..actions import Action, Phase
from ..config import Config
from ..errors import ProblemsFound
from ..errors.escapes import Choice, shown
from ..formats.tagged_lines import Style
from ..host import Host
from ..jails import addresses as of_addresses
from ..jails.addresses import limit
from ..jails.closing import (
    close,
    disable,
    expire,
    forget,
    is_disabled,
    is_shut,
    period,
    reason,
    reopen,
    why_spared,
)
from ..jails.membership import jailed, lost, refuse_other_name
from ..model import Group
from ..openssh.pam_session import CLOSED
from ..openssh.repair import basic
from ..paths import ADDRESSES, HOST_RECORD


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    for profile in config.profiles:
        refuse_other_name(profile, host)
    groups = [profile.group for profile in config.profiles if profile.group]
    for group in groups:
        if _hidden(group, host):
            raise SftpJailError(
                f"there is no group {group}: "
                f"is the directory service ({', '.join(host.people.directory_services)}) down?",
                choices=(
                    ("to see whether the directory answers", f"getent group {group}"),
                    ("to make it a group of this host", f"groupadd --system {group}"),
                ),
            )
    return [SetGroup(group) for group in groups]


def _hidden(group: str, host: Host) -> bool:
    """Return whether a missing group may belong to a directory service.

    A local group would hide it and release its members.
    """
    if (
        not host.people.directory_services
        or host.group(group) is not None
        or f"group:{group}" in host.origin("").made
    ):
        return False
    return host.people.is_silent_group(group) or host.lstat(HOST_RECORD) is not None


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    from ..jails import keeping  # late: useradd waits

    # Without its Match block, a jailed account would have an ordinary login.
    closed = (_closed(account, host) for account in jailed(config, host).values())
    kept = (keeping.mark(name, False, host) for name in keeping.listed(host))
    made = (name.partition(":") for name in host.origin("").made)
    groups = [SetGroup(name, present=False) for kind, _, name in made if kind == "group"]
    return [*groups, *chain.from_iterable(closed), *chain.from_iterable(kept)]


def _closed(account: Account, host: Host) -> list[Action]:
    """Return the actions that shut out an account whose jail is removed permanently.

    Raises:
        SftpJailError: it has no line in shadow(5), and the PAM rule that reads the list is removed
            as well.
    """
    if why_spared(account, host) or host.people.has_shadow(account.name):
        return close(account, "its jail was taken away", "teardown", host, until="")
    if account.local:
        fix = f"usermod -e 1 {quote(account.name)}"
        raise SftpJailError(
            f"{account.name} has no line in /etc/shadow, and would be an ordinary account", fix
        )
    raise SftpJailError(
        f"{account.name} comes from a directory service, so it cannot be closed here, "
        "and would be an ordinary account",
        advice=f"take it out of the group {account.profile.group if account.profile else ''} there",
    )


@hookimpl
def on_user_close(account: Account, why: str, by: str, host: Host) -> list[Action]:
    return close(account, why, by, host)


@hookimpl
def on_user_disable(account: Account, why: str, until: str, host: Host) -> list[Action]:
    return disable(account, why, until, host)


@hookimpl
def on_user_enable(account: Account, host: Host) -> list[Action]:
    if not is_disabled(account, host):
        return []
    _refuse_other_name(account, host)
    return reopen(account, host, whoever=True)


@hookimpl
def on_user_expire(account: Account, date: str, host: Host) -> list[Action]:
    return expire(account, date, host)


@hookimpl
def on_user_limit(account: Account, addresses: tuple[str, ...], host: Host) -> list[Action]:
    return limit(account, addresses, host)


@hookimpl
def on_user_connections(account: Account, most: int, host: Host) -> list[Action]:
    from ..jails import connections  # late: useradd waits

    if most:
        connections.refuse_uncounted(account, host)
    return connections.limit(account.name, most, host)


@hookimpl
def on_user_keep(account: Account, keep: bool, host: Host) -> list[Action]:
    from ..jails import keeping  # late: useradd waits

    return keeping.mark(account.name, keep, host)


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    _refuse_other_name(account, host)
    actions = reopen(account, host)
    if not account.local:
        return actions
    if profile.group and account.name not in profile.match_user:
        actions.append(SetAccount(account.name, add_groups=(profile.group,)))
    if profile.shell:
        actions.append(SetAccount(account.name, shell=profile.shell))
    if profile.home == "inside":
        # sshd does chdir(home) inside the chroot, so this is where the session starts.
        home = f"/{profile.files}"
        if host.lstat(home) is not None:
            raise SftpJailError(
                f"the home of {account.name} would be {home} inside its jail, "
                f"and this host has a {home} too, which `userdel -r` would then delete",
                advice=f"set `files` of profile {profile.name} to a name that / does not have",
            )
        actions.append(SetAccount(account.name, home=home))
    elif (there := host.account(account.name)) and there.home != account.home:
        # The profile used to have `home = inside`; see operations/events.py.
        actions.append(SetAccount(account.name, home=account.home))
    return actions


def _refuse_other_name(account: Account, host: Host) -> None:
    """Refuse to let an account in while sshd knows its jail's group under another name."""
    error = lost(account, host)
    if error:
        raise error


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host, config: Config) -> list[Action]:
    profile = account.profile
    assert profile is not None
    if deleted:
        _refuse_foreign_home(account, host)
        if account.exists:
            return []
        return [*forget(account.name, host), *_unlimited(account, host)]
    _refuse_disabled(account, host)
    opened = reopen(account, host, whoever=True)
    opened += _unlimited(account, host)
    if not account.local:
        return opened
    named = (host.group(profile.group) for profile in config.profiles if profile.group)
    groups = [group for group in named if group]
    _refuse_to_stay(account, groups, host)
    actions: list[Action] = []
    before = _before(account, host)
    if before.fields():
        actions.append(before)
    actions += opened
    member_of = tuple(group.name for group in groups if host.in_group(account.name, group.name))
    if member_of:  # all groups, or sshd would jail it by another profile
        actions.append(SetAccount(account.name, remove_groups=member_of))
    return actions


def _before(account: Account, host: Host) -> SetAccount:
    """Return the action that restores what an account was before its jail.

    One that never had another home than that of `home = inside` keeps its files in the jail.
    """
    was, now, profile = host.origin(account.name).was, host.account(account.name), account.profile
    assert profile is not None
    home = was.get("home")
    if home is None and profile.home == "inside" and now and now.home == f"/{profile.files}":
        home = account.files
    return SetAccount(account.name, was.get("shell"), home, expire=was.get("expire"))


def _unlimited(account: Account, host: Host) -> list[Action]:
    from ..jails import connections, keeping  # late: useradd waits

    name = account.name
    limited = [*of_addresses.forget(name, host), *connections.limit(name, 0, host)]
    return [*limited, *keeping.mark(name, False, host)]


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    from ..jails import connections, keeping  # late: useradd waits

    limited = of_addresses.rename(old, account.name, host)
    limited += connections.rename(old, account.name, host)
    limited += keeping.rename(old, account.name, host)
    if old == account.name or old not in host.tagged(CLOSED, Style.LINE):
        return limited
    names: dict[str, tuple[str, ...]] = {account.name: (account.name,)}
    if host.account(old) is None:
        names[old] = ()
    return limited + [
        SetLines(CLOSED, name, line, Style.LINE, when=Phase.CLOSING) for name, line in names.items()
    ]


def _refuse_foreign_home(account: Account, host: Host) -> None:
    """Refuse to delete an account if userdel would delete a directory of the host with it.

    The account's home is a path inside its jail, and by now the same path exists on the host.
    """
    profile = account.profile
    assert profile is not None
    home = f"/{profile.files}"
    inside = account.exists and profile.home == "inside" and account.home == home
    if inside and host.lstat(home):
        raise ProblemsFound(
            f"the home of {account.name} is {home} inside its jail, "
            f"and this host has a {home} now, which `userdel -r` would delete",
            f"usermod -d /nonexistent {account.name}",
        )


def _refuse_disabled(account: Account, host: Host) -> None:
    """Refuse to make an ordinary account of one that an administrator has disabled."""
    if account.exists and is_disabled(account, host):
        name, remove = quote(account.name), "sftpjail remove"
        raise SftpJailError(
            f"{account.name} is disabled ({reason(account, host)}), "
            "and would be let in as an ordinary account",
            choices=(
                ("to let it in outside of a jail", f"sftpjail enable {name} && {remove} {name}"),
                ("to delete the account; its files stay", f"{remove} --delete-account {name}"),
            ),
        )


def _refuse_to_stay(account: Account, groups: Sequence[Group], host: Host) -> None:
    """Refuse to remove the jail of an account that sshd would jail all the same."""
    profile = account.profile
    assert profile is not None
    for group in groups:
        if account.gid == group.gid:
            raise SftpJailError(
                f"{group.name} is the primary group of {account.name}, which sshd jails for it",
                advice=f"give it another one: usermod -g GROUP {account.name} && "
                f"sftpjail remove {account.name}",
            )
    alike = [one for group in groups for one in host.people.known_by(group.name)]
    for group in alike:
        if account.name in group.members and group.name not in host.people.groups:
            raise SftpJailError(
                f"{account.name} is in {shown(group.name)} of a directory service, which has the "
                f"gid of a jail group ({group.gid}), so that sshd jails it all the same",
                advice=f"take it out there, or give {shown(group.name)} another gid",
            )
        if account.name in group.members:
            raise SftpJailError(
                f"{account.name} is in {group.name}, which has the gid of a jail group "
                f"({group.gid}), so that sshd jails it all the same",
                choices=(
                    (
                        f"to take it out of {group.name}, too",
                        f"gpasswd -d {quote(account.name)} {quote(group.name)} && "
                        f"sftpjail remove {quote(account.name)}",
                    ),
                ),
                advice=f"or give {group.name} another gid first",
            )
    if account.name in profile.match_user:
        raise SftpJailError(
            f"{account.name} is jailed by match_user of profile {profile.name}",
            advice="take it out of match_user in /etc/sftpjail/sftpjail.conf, "
            f"then run sftpjail setup && sftpjail remove {account.name}",
        )


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if account is None:
        return _alike(host, config)
    return [*_in_two(account, host, config), *_shut(account, host), *_limits(account, host)]


def _limits(account: Account, host: Host) -> list[Problem]:
    return [*_from_nowhere(account, host), *_uncounted(account, host)]


def _uncounted(account: Account, host: Host) -> list[Problem]:
    """Return that nothing counts the sessions of an account that may have a few only."""
    from ..jails import connections  # late: useradd waits

    if account.name not in connections.listed(host):
        return []
    try:
        connections.refuse_uncounted(account, host)
    except SftpJailError as error:
        return [Problem.of(error, "it can have any number of sessions")]
    return []


def _from_nowhere(account: Account, host: Host) -> list[Problem]:
    """Return that no address is both of the account's and of its profile's."""
    if of_addresses.example(account, host):
        return []
    name = quote(account.name)
    what = f"{account.name} can log in from no address: its own and those of its profile differ"
    choices = (Choice("to take its own away", f"sftpjail set {name} --from any"),)
    return [Problem(what, "sshd and PAM refuse every login", choices=choices)]


def _alike(host: Host, config: Config) -> list[Problem]:
    """Return the groups whose members sshd jails too, for they have the gid of a jail group."""
    return [
        Problem(
            f"the group {shown(other.name)} has the gid of {profile.group} ({other.gid}) too",
            f"sshd takes whoever is in it for a member of {profile.group}, and so does sftpjail",
            severity="advice",
            advice=f"if they are not to be jailed, give {shown(other.name)} a gid of its own",
        )
        for profile in config.profiles
        if profile.group
        for other in host.people.known_by(profile.group)
    ]


def _in_two(account: Account, host: Host, config: Config) -> list[Problem]:
    groups = [p.group for p in config.profiles if p.group and host.in_group(account.name, p.group)]
    if len(groups) < 2:
        return []
    what = f"{account.name} is in the groups of {len(groups)} profiles: {', '.join(groups)}"
    name = quote(account.name)
    commands_known = [f"gpasswd -d {name} {quote(group)}" for group in groups[1:]]
    return [Problem(what, "only the first one counts", " && ".join(commands_known))]


def _shut(account: Account, host: Host) -> list[Problem]:
    """Return that an account is shut out until an administrator acts: on purpose, so no fault."""
    closed = host.origin(account.name).closed
    if not is_shut(account, host) or is_disabled(account, host) or (closed and closed.until):
        return []  # as wanted; or the reason why its jail cannot be made is reported instead
    name = quote(account.name)
    what = f"{account.name} is closed: {reason(account, host)}"
    why = "no record says why"
    if closed:
        why = f"by {closed.by}"
    if account.name in host.tagged(CLOSED, Style.LINE):
        command = f"sed -i '/^{basic(account.name)}$/d' {CLOSED}"
    elif closed:
        command = f"usermod -e {quote(closed.expire or '')} {name}"
    else:
        return []  # expiry dates are reported by the plugin login
    choices = (Choice("to let it in again", command),)
    return [Problem(what, why, severity="advice", choices=choices, hides=True)]


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    why = reason(account, host)
    closed = host.origin(account.name).closed
    facts = _address_facts(account, host)
    if closed and is_disabled(account, host):
        return [*facts, Fact("account", "disabled", why, period(closed), True)]
    if why:
        by = ""
        if closed:
            by = f"by {closed.by}"
        facts.append(Fact("account", "closed", why, by, True))
    return facts


def _address_facts(account: Account, host: Host) -> list[Fact]:
    from ..jails import connections  # late: useradd waits

    own = of_addresses.listed(host).get(account.name, ())
    profile, most = account.profile, connections.allowed(account, host)
    facts = []
    if most:
        facts.append(Fact("account", "sessions at once", str(most)))
    if own:
        facts.append(Fact("account", "let in from", " ".join(own), ADDRESSES))
    if profile and profile.addresses:
        note = f"profile {profile.name}"
        facts.append(Fact("account", "let in from", " ".join(profile.addresses), note))
    return facts
