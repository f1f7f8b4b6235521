"""Which accounts are jailed, and by which profile."""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError
from ..escapes import shown
from ..host import Host
from ..model import Account, Profile, is_valid_name, valid_name
from .directory import refuse_silent
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
    where = f"in the group {profile.group}" if profile else "a member"
    return SftpJailError(
        f"{shown(account.name)} is {where} and gets no jail: sftpjail does not take its name",
        why="a name has ASCII letters, digits and _ . @ - only, and does not begin with . @ or -",
        advice="give it another name: see NAMES in sftpjail.conf(5)",
    )


def members(config: Config, host: Host) -> dict[str, Account]:
    """Return all accounts to which our Match blocks apply, valid or not, with their profiles."""
    profiles: dict[str, Profile] = {}
    for profile in config.profiles:
        for name in profile.match_user:
            profiles.setdefault(name, profile)
    for profile in config.profiles:
        for name in (host.group_members(profile.group) or ()) if profile.group else ():
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
        if profile.group in groups:
            return replace(account, profile=profile)
    return account


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
