"""Which accounts are jailed, and by which profile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from shlex import quote

from ..config import Config
from ..errors import NotJailed, SftpJailError
from ..errors.escapes import Advice, shown, some
from ..host import Host
from ..model import Account, Group, Profile, is_valid_name, valid_name
from .directory import refuse_silent
from .former_names import account_with_recorded_uid, former_name, is_same_person
from .guards import why_not


def jailed(config: Config, host: Host) -> dict[str, Account]:
    """Return the accounts that sshd's Match blocks jail, by name, each with its profile.

    As in our configuration for sshd, Match User comes before Match Group, and the first match wins.
    """
    found = members(config, host)
    return {name: account for name, account in found.items() if is_valid(name)}


def untaken(config: Config, host: Host) -> dict[str, Account]:
    """Return the members of jail groups whose names sftpjail does not accept, with their profiles.

    sshd's Match blocks apply to them, but they have no jail.
    """
    found = members(config, host)
    return {name: account for name, account in found.items() if not is_valid(name)}


def refuse_name(account: Account) -> SftpJailError:
    """Return the error of such a member."""
    profile = account.profile
    where = "a member"
    if profile:
        where = f"in the group {profile.group}"
    return SftpJailError(
        f"{shown(account.name)} is {where} and gets no jail: sftpjail does not take its name",
        why="a name has ASCII letters, digits and _ . @ - only, and does not begin with . @ or -",
        advice="give it another name: see NAMES in sftpjail.conf(5)",
    )


def members(config: Config, host: Host) -> dict[str, Account]:
    """Return all accounts to which our Match blocks apply, valid or not, with their profiles.

    Whom we have jailed stays a member while sshd knows the group by another name, because it was
    renamed or because another group has its gid; and while `match_user` has its former name.
    """
    profiles: dict[str, Profile] = {}
    for profile in config.profiles:
        for name in profile.match_user:
            profiles.setdefault(name, profile)
    for profile in config.profiles:
        for name in (host.group_members(profile.group) or ()) if profile.group else ():
            profiles.setdefault(name, profile)
    for name, profile in (*renamed_members(config, host), *renamed_users(config, host)):
        profiles.setdefault(name, profile)
    found = {}
    for name, profile in profiles.items():
        account = host.account(name)
        if account is not None:
            found[name] = replace(account, profile=profile)
    return found


def is_valid(name: str) -> bool:
    """Return whether we accept a name. sshd's Match blocks apply to accounts with any name."""
    return is_valid_name(name)


def find(name: str, config: Config, host: Host) -> Account:
    """Return one account, with its profile if it is jailed, without examining all others.

    Raises:
        UsageError: the name is invalid.
        SftpJailError: there is no such account.
    """
    account = host.account(valid_name(name))
    refuse_silent(name, host)
    if account is None:
        own = host.people.own_name(name)
        if own:
            raise SftpJailError(
                f"{name} is a second name of {shown(own)}",
                why="sshd, PAM and groups go by an account's own name",
                advice=f"name it as the directory service does: {shown(own)}",
            )
        raise SftpJailError(f"there is no account {name}", f"sftpjail add {name}")
    for profile in config.profiles:
        if name in profile.match_user:
            return replace(account, profile=profile)
    groups = host.groups_of(name)
    for profile in config.profiles:
        if profile.group in groups or (
            shares_gid(profile, host) and host.in_group(name, profile.group)
        ):
            return replace(account, profile=profile)
    known = (one for one in config.profiles if name in host.records.recorded)
    former = [one for one in known if is_in_renamed(name, one, host)]
    former += [profile for now, profile in renamed_users(config, host) if now == name]
    return replace(account, profile=next(iter(former), None))


def find_jailed(name: str, config: Config, host: Host) -> Account:
    """Return a jailed account.

    Raises:
        SftpJailError: there is no such account, or it is in no profile's group.
    """
    account = find(name, config, host)
    if account.profile is None:
        raise not_jailed(account, host, f"{name} is not jailed: it is in no profile's group")
    return account


def not_jailed(account: Account, host: Host, words: str) -> SftpJailError:
    """Return an error saying that an account is not jailed.

    It includes the command that would jail the account, or why the account must not be jailed.

    Args:
        account: an account in no profile's group.
        host: the facts.
        words: the message.
    """
    reason = why_not(account, host)
    if reason:
        return SftpJailError(f"{words}, and must not be jailed: {reason}")
    return SftpJailError(words, f"sftpjail adopt {account.name}")


# -- groups of profiles that were renamed: groupmod(8), -n. sshd's Match Group and the configuration
# -- go by the name, so that nothing jails the members any more. Their records have the gid, which
# -- stays.


def renamed_members(config: Config, host: Host) -> Iterator[tuple[str, Profile]]:
    """Yield the accounts that we have jailed and that are in a profile's group by another name.

    This reads their records, and only where sshd knows nobody by the name of a profile's group.
    """
    for profile in config.profiles:
        missing = is_missing(profile, host)
        if missing or shares_gid(profile, host):
            yield from (
                (name, profile)
                for name in host.records.recorded
                if _is_in_other(name, profile, missing, host)
            )


def is_in_renamed(name: str, profile: Profile, host: Host) -> bool:
    """Return whether an account with a record is in a profile's group by another name alone.

    The group was renamed, or an earlier one of group(5) has its gid. Whom only that one lists was
    jailed for the gid while the two came in another order.
    """
    missing = is_missing(profile, host)
    return (missing or shares_gid(profile, host)) and _is_in_other(name, profile, missing, host)


def _is_in_other(name: str, profile: Profile, missing: bool, host: Host) -> bool:
    now = called_now(name, profile, host)
    return now != "" and (missing or now == host.people.known_as(profile.group))


def is_missing(profile: Profile, host: Host) -> bool:
    """Return whether there is no group of a profile's name, or nobody says that there is one."""
    # Its members are not asked for: useradd waits, and there may be thousands.
    if not profile.group or profile.group in host.people.groups:
        return False
    # Where a directory service is asked, once: it is slow, and down perhaps.
    key = is_missing, profile.group
    return host.files.once(key, lambda: host.group(profile.group) is None)


def new_name(name: str, profile: Profile, host: Host) -> str:
    """Return the name that the group of a profile has now, if it was renamed, or "".

    Args:
        name: an account that the group has jailed and that is still in it; else the answer is "".
        profile: the profile.
        host: the facts.
    """
    recorded = name in host.records.recorded and is_missing(profile, host)
    if not recorded:
        return ""
    return called_now(name, profile, host)


def called_now(name: str, profile: Profile, host: Host) -> str:
    """Return the same of an account that has a record, whatever has the group's name now."""
    account = host.account(name)
    if account is None:
        return ""
    with contextlib.suppress(SftpJailError):  # a damaged record is reported elsewhere
        origin = host.origin(name)
        if (origin.group, origin.uid) == (profile.group, account.uid):
            now = host.people.group_of(origin.gid)
            # A directory service may know by its gid a group that it denies by its name.
            renamed = now and now != profile.group and host.people.in_group(name, now)
            if now and renamed:
                return now
            return ""
    return ""


def name_now(account: Account, host: Host) -> str:
    """Return the name that the group of an account's profile has now, if it was renamed, or ""."""
    if not account.profile:
        return ""
    return new_name(account.name, account.profile, host)


def refuse_other_name(profile: Profile, host: Host) -> None:
    """Refuse to go by the group of a profile while it has another name.

    Raises:
        SftpJailError: it was renamed, and somebody whom it has jailed is in it.
    """
    if is_missing(profile, host):
        for now in (called_now(name, profile, host) for name in host.records.recorded):
            if now:
                raise was_renamed(profile, now, host)


def refuse_missing(profile: Profile, host: Host) -> None:
    """Refuse to jail somebody by a group that is not there.

    Raises:
        SftpJailError: it was renamed, or there is none.
    """
    refuse_other_name(profile, host)
    if profile.group and host.group(profile.group) is None:
        raise SftpJailError(f"there is no group {profile.group}", "sftpjail setup")


def lost(account: Account, host: Host) -> SftpJailError | None:
    """Return why sshd does not know the account, or the group that jails it, by its name, if so."""
    profile, now = account.profile, name_now(account, host)
    if profile is None:
        return None
    if now:
        return was_renamed(profile, now, host)
    old = former_user(account, host)
    if old:
        return user_was_renamed(account, old, host)
    by_group = account.name not in profile.match_user
    if by_group and shares_gid(profile, host):
        return same_gid(profile, host)
    return None


def shares_gid(profile: Profile, host: Host) -> bool:
    """Return whether another group has the gid of a profile's, and comes before it.

    It is in an earlier line of group(5), or the profile's is a directory service's and it is local.
    sshd asks for the names of the gids that an account has (groupaccess.c, ga_init), and gets that
    of the first group.
    """
    known_as = partial(host.people.known_as, profile.group)
    name = ""
    if profile.group:
        name = host.files.once((shares_gid, profile.group), known_as)
    return name != profile.group


def same_gid(profile: Profile, host: Host) -> SftpJailError:
    """Return the error that another group has the gid of the group of a profile."""
    group, other = host.group(profile.group), host.people.known_as(profile.group)
    assert group is not None  # else nothing has its gid
    command = host.files.once((same_gid, group.name), partial(_other_gid, group, host))
    return NotJailed(
        f"the group {shown(other)} has the gid of {group.name} ({group.gid}), and comes before it",
        why=f"sshd takes whoever is in {group.name} for a member of {shown(other)} alone",
        choices=[(f"to give {group.name} a gid of its own", command)],
    )


def _other_gid(group: Group, host: Host) -> str:
    """Return the command that gives a group a gid that no other has, or advice.

    groupmod(8) takes the accounts along whose primary group it is, whichever of the two is meant,
    and changes local groups alone.
    """
    if group.name not in host.people.groups:
        other = quote(host.people.known_as(group.name))
        return Advice(
            f"give one of them another gid, in the directory service or: groupmod -g GID {other}"
        )
    if any(account.gid == group.gid for account in host.accounts.values()):
        return Advice(f"give one of them another gid: groupmod -g GID {quote(group.name)}")
    taken = {one.gid for one in host.people.groups.values()}
    gid = next(gid for gid in range(max(host.people.uids[0], group.gid), 2**31) if gid not in taken)
    return f"groupmod -g {gid} {quote(group.name)} && sftpjail apply"


def was_renamed(profile: Profile, now: str, host: Host) -> SftpJailError:
    """Return the error that the group of a profile is called NOW."""
    from ..openssh.profile_edit import set_group  # late: useradd waits

    once = host.files.once
    others = once((was_renamed, now), partial(_unjailed_members, now, host))
    also, choices, advice = f", which jails {some(others, 8)} too" if others else "", [], ""
    if now in host.people.groups:
        back = f"groupmod -n {quote(profile.group)} {quote(now)} && sftpjail apply"
        choices.append((f"to give it its former name{also}", back))
    edit = partial(set_group, profile, now, host)  # it reads the configuration twice
    command = once((set_group, profile.name, now), edit)
    if isinstance(command, Advice):
        advice = command
        if choices:
            advice = f"or {command}"
    else:
        choices.append((f"to have that name in the configuration{also}", command))
    again = once((was_renamed, profile.group), partial(_jailed_by, profile, host))
    if others and again:  # groupadd(8) gives a gid that is free again
        choices.append((f"if {now} is another group, to make {profile.group} anew", again))
    return NotJailed(
        f"the group {profile.group} is called {now} now",
        why="sshd's Match Group has the former name, and jails nobody by it",
        choices=choices,
        advice=advice,
    )


def _unjailed_members(group: str, host: Host) -> list[str]:
    """Return the members of a group that we have never jailed."""
    recorded = host.records.recorded
    return [name for name in host.group_members(group) or () if name not in recorded]


def _jailed_by(profile: Profile, host: Host) -> str:
    """Return the command that makes a group anew for those whom it has jailed; "" for too many."""
    names = [name for name in host.records.recorded if called_now(name, profile, host)]
    adopt = [f"sftpjail adopt {quote(name)}" for name in names]
    command = " && ".join([f"groupadd {quote(profile.group)}", "sftpjail setup", *adopt])
    if len(names) <= 8:
        return command
    return ""


# -- Accounts that `match_user` of a profile names, and that were renamed: usermod(8), -l. sshd's
# -- Match User has the former name, so that nothing jails them any more. Their record has the uid.


def renamed_users(config: Config, host: Host) -> Iterator[tuple[str, Profile]]:
    """Yield the accounts whose former name is in `match_user` of a profile, which has jailed them.

    Of an account that still has its name, nothing but passwd(5) is read.
    """
    for profile in config.profiles:
        for old in profile.match_user:
            now = _user_now(old, host)
            if now:
                yield now, profile


def former_user(account: Account, host: Host) -> str:
    """Return the former name by which `match_user` alone names an account, or "".

    Args:
        account: with its profile.
        host: the facts.
    """
    profile, name = account.profile, account.name
    if profile is None or name in profile.match_user:
        return ""
    old = next((one for one in profile.match_user if _user_now(one, host) == name), "")
    if old and profile.group and host.in_group(name, profile.group):
        return ""
    return old


def _user_now(old: str, host: Host) -> str:
    """Return the name that the account OLD, which has a record, certainly has now, or ""."""
    account = host.account(old)
    if old not in host.records.recorded or (account and account.uid == host.records.uid_of(old)):
        return ""
    with contextlib.suppress(SftpJailError):  # a damaged record is reported elsewhere
        other = account_with_recorded_uid(old, host)
        if other is None or former_name(other, host) != old:
            return ""
        if is_same_person(other, old, host):
            return other.name
    return ""


def user_was_renamed(account: Account, old: str, host: Host) -> SftpJailError:
    """Return the error that an account is in `match_user` by its former name OLD."""
    from ..openssh.profile_edit import set_user  # late: useradd waits

    assert account.profile is not None
    profile = account.profile
    why = f"match_user of profile {profile.name} has the former name, and so has sshd's Match User"
    fix = set_user(profile, old, account.name, host)
    return NotJailed(f"{old} is called {account.name} now", fix, why=why)
