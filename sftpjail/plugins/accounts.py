"""The profiles' groups, and the account's own fields: shell, membership, and the home of `home = inside`."""

from __future__ import annotations

from .. import Account, Finding, SetAccount, SetGroup, SftpJailError, hookimpl
from ..actions import Action
from ..config import Config
from ..errors import FaultsFound
from ..host import HOST_RECORD, Host
from ..jails import administrator, jailed


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    groups = [profile.group for profile in config.profiles if profile.group]
    for group in groups:
        if _hidden(group, host):
            raise SftpJailError(
                f"there is no group {group}: is the directory ({', '.join(host.directories)}) down?",
                f"getent group {group}; if it is to be one of this host: groupadd --system {group}",
            )
    return [SetGroup(group) for group in groups]


def _hidden(group: str, host: Host) -> bool:
    """Return whether a group that is missing may be a directory's: ours would hide it, and let its members out."""
    if not host.directories or host.group(group) is not None or f"group:{group}" in host.origin("").made:
        return False
    return host.is_silent_group(group) or host.lstat(HOST_RECORD) is not None


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    ours = (name.removeprefix("group:") for name in host.origin("").made if name.startswith("group:"))
    # Without its Match block a jailed account would be an ordinary one; expiry closes key logins too (day 1 of 1970).
    closed = [SetAccount(name, expire="1") for name, account in jailed(config, host).items() if _closes(account, host)]
    return [*(SetGroup(name, present=False) for name in ours), *closed]


def _closes(account: Account, host: Host) -> bool:
    forced = host.origin(account.name).forced and account.uid != 0 and account.name not in host.invoker
    if administrator(account, host) and not forced:
        return False
    if not account.local:
        raise SftpJailError(
            f"{account.name} comes from a directory, so it cannot be closed here, and would be an ordinary account",
            f"take it out of the group {account.profile.group if account.profile else ''} there",
        )
    return True


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    if not account.local:
        return []
    actions: list[Action] = []
    if profile.group and account.name not in profile.match_user:
        actions.append(SetAccount(account.name, add_groups=(profile.group,)))
    if profile.shell:
        actions.append(SetAccount(account.name, shell=profile.shell))
    if profile.home == "inside":
        # sshd does chdir(home) inside the chroot, so this is where the session starts.
        home = f"/{profile.files}"
        if host.lstat(home) is not None:
            raise SftpJailError(
                f"the home of {account.name} would be {home} inside its jail, and this host has a {home} too, "
                "which `userdel -r` would then delete",
                f"set `files` of profile {profile.name} to a name that is not a folder of /",
            )
        actions.append(SetAccount(account.name, home=home))
    elif (now := host.account(account.name)) and now.home != account.home:
        actions.append(SetAccount(account.name, home=account.home))  # back from `home = inside`; see events.py
    return actions


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host, config: Config) -> list[Action]:
    profile = account.profile
    assert profile is not None
    home = f"/{profile.files}"
    if deleted and account.exists and profile.home == "inside" and account.home == home and host.lstat(home):
        raise FaultsFound(
            f"the home of {account.name} is {home} inside its jail, and this host has a {home} now, "
            "which `userdel -r` would delete",
            f"usermod -d /nonexistent {account.name}, then delete it",
        )
    if deleted or not account.local:
        return []
    groups = [group for p in config.profiles if p.group and (group := host.group(p.group))]
    for group in groups:
        if account.gid == group.gid:
            raise SftpJailError(
                f"{group.name} is the primary group of {account.name}, which sshd jails for it",
                f"usermod -g GROUP {account.name} && sftpjail remove {account.name}",
            )
    if account.name in profile.match_user:
        raise SftpJailError(
            f"{account.name} is jailed by match_user of profile {profile.name}",
            "take it out of match_user in /etc/sftpjail/sftpjail.conf, then run: sftpjail setup && "
            f"sftpjail remove {account.name}",
        )
    was = host.origin(account.name).was
    # An account that never had another home keeps its files where they are.
    old = was.get("home", account.files if profile.home == "inside" else None)
    before = SetAccount(account.name, was.get("shell"), old, expire=was.get("expire"))
    actions: list[Action] = [before] if before.fields() else []
    member_of = tuple(group.name for group in groups if host.in_group(account.name, group.name))
    if member_of:  # of every profile's, or sshd would jail it as the next one says
        actions.append(SetAccount(account.name, remove_groups=member_of))
    return actions


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Finding]:
    if account is None:
        return []
    groups = [p.group for p in config.profiles if p.group and host.in_group(account.name, p.group)]
    if len(groups) < 2:
        return []
    what = f"{account.name} is in the groups of {len(groups)} profiles: {', '.join(groups)}"
    mends = [f"gpasswd -d {account.name} {group}" for group in groups[1:]]
    return [Finding(what, "only the first one counts", " && ".join(mends))]
