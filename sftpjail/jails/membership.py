"""Who is jailed, who must never be, and who has left something behind."""

from __future__ import annotations

import stat
from dataclasses import replace
from shlex import quote

from .. import fixes
from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import ACCOUNTS, Host
from ..model import Account, Profile, inside, valid_name
from ..openssh.match_blocks import DROPIN, MAIN

ADMIN_GROUPS = ("sudo", "wheel", "admin")
# A home that is one of these is no home, whoever owns it; nor is one inside the first ones.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr")
TOPS = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib", "/var/mail", "/var/tmp")


def jailed(config: Config, host: Host) -> dict[str, Account]:
    """Return the accounts that sshd's Match blocks hold, each with its profile, by name.

    As in sshd: a Match User block stands before every Match Group block, and the first of each kind wins.
    """
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
        if account is not None and is_valid(name):
            found[name] = replace(account, profile=profile)
    return found


def is_valid(name: str) -> bool:
    """Return whether a name that somebody got into passwd(5) is one that we can handle; sshd jails the others too."""
    try:
        return bool(valid_name(name))
    except UsageError:
        return False


def find(name: str, config: Config, host: Host) -> Account:
    """Return one account, with its profile if it is jailed, without looking at all the others.

    Raises:
        UsageError: it is not a name.
        SftpJailError: there is no such account.
    """
    account = host.account(valid_name(name))
    refuse_silent(name, host)
    if account is None:
        raise SftpJailError(f"there is no account {name}", f"sftpjail add {name}")
    for profile in config.profiles:
        if name in profile.match_user:
            return replace(account, profile=profile)
    groups = host.groups_of(name)
    for profile in config.profiles:
        if profile.group in groups:
            return replace(account, profile=profile)
    return account


def refuse_silent(name: str, host: Host) -> None:
    """Refuse to go on about a name while nobody knows whether there is such an account.

    Raises:
        SftpJailError: a directory does not answer.
    """
    if host.is_silent(name):
        raise SftpJailError(
            f"the directory ({', '.join(host.directories)}) does not answer whether there is an account {name}",
            f"getent passwd {name}",
        )


def silent(host: Host) -> list[str]:
    """Return who has something of a jail, and nobody knows whether they are still there: a directory is down."""
    return [name for name in host.known() if host.is_silent(name)] if host.directories else []


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
    """Return the error that an account is no jail, with the command that makes it one, or the reason why none does.

    Args:
        account: in no profile's group.
        host: the facts.
        words: what is told.
    """
    reason = why_not(account, host)
    if reason:
        return SftpJailError(f"{words}, and must not be jailed: {reason}")
    return SftpJailError(words, f"sftpjail adopt {account.name}")


def administrator(account: Account, host: Host) -> str:
    """Return why a jail, or an expiry, would lock out an administrator, or ""."""
    if account.uid == 0:
        return "it has uid 0; root would be locked out"
    if account.exists and account.name in host.invoker:
        return "it is you; you would lock yourself out"
    for group in ADMIN_GROUPS:
        if host.in_group(account.name, group):
            return f"it is in the group {group}; an administrator would be locked out"
    return ""


def why_not(account: Account, host: Host) -> str:
    """Return why this account must not be jailed unless somebody forces it, or ""."""
    if account.forced or host.origin(account.name).forced:
        return ""
    system = account.exists and host.is_system(account)
    return administrator(account, host) or (f"it is a system account (uid {account.uid})" if system else "")


def guard(account: Account, host: Host, hint: str = "") -> None:
    """Refuse an account whose jail would lock out an administrator.

    Args:
        account: whom.
        host: the facts.
        hint: how somebody insists who did not ask by `adopt`.

    Raises:
        SftpJailError: see `why_not`.
    """
    reason = why_not(account, host)
    if reason:
        insist = hint or f"if you really mean it: sftpjail adopt --force {account.name}"
        raise SftpJailError(f"will not jail {account.name}: {reason}", insist)


def is_namesake(account: Account, host: Host) -> bool:
    """Return whether what we keep under an account's name is of another uid: an earlier account's, or its own before
    `usermod -u`; nothing on the host tells which.
    """
    kept = host.origin(account.name).uid
    return account.exists and kept >= 0 and kept != account.uid


def refuse_namesake(account: Account, host: Host) -> None:
    """Refuse to let an account into the jail of another uid, whose keys and mounts it would have.

    Raises:
        SftpJailError: see `is_namesake`; with what mends it where it is the same person, and where not.
    """
    if not is_namesake(account, host):
        return
    name, kept = quote(account.name), host.origin(account.name).uid
    same = f"""sed -i 's/"uid": {kept}/"uid": {account.uid}/' {ACCOUNTS}/{name} && sftpjail apply"""
    raise SftpJailError(
        f"what sftpjail keeps of {account.name} is of uid {kept}, and {account.name} has uid {account.uid}: "
        f"its keys and mounts may be another person's; only if it is the same one: {same}",
        f"sftpjail remove {name} && sftpjail adopt {name}",
    )


def has_remains(name: str, host: Host) -> bool:
    """Return whether a name has anything of a jail: a record or binds.

    Keys alone do not count: an administrator may have put them there, or the account's directory may be down.
    """
    return host.lstat(f"{ACCOUNTS}/{name}") is not None or bool(host.binds(name))


def left_names(config: Config, host: Host, jails: dict[str, Account]) -> list[str]:
    """Return the names that have something of a jail and are jailed no more; what is no name is `check`'s to tell.

    While a directory does not answer, nobody knows who is gone, or has left a group of it.
    """
    names = [n for n in host.known() if n not in jails and is_valid(n) and not host.is_silent(n)]
    return [name for name in names if host.account(name) is None] if unseen(config, host) else names


def unseen(config: Config, host: Host) -> list[str]:
    """Return the profiles' groups that are not there, on a host where a directory may be to blame."""
    groups = [profile.group for profile in config.profiles if profile.group] if host.directories else []
    return [group for group in groups if host.group(group) is None]


def lost_groups(config: Config, host: Host) -> list[str]:
    """Return the profiles' groups that sshd has a Match block for and that are not there: renamed, or deleted.

    A new one of that name would be empty, and hide that nobody's jail is in force.
    """
    live = f"{host.text(DROPIN)}\n{host.text(MAIN)}".split("\n")
    groups = [profile.group for profile in config.profiles if profile.group and f"Match Group {profile.group}" in live]
    return [group for group in groups if host.group(group) is None] if host.recorded() else []


def leftovers(config: Config, host: Host, jails: dict[str, Account]) -> dict[str, Account]:
    """Return who has something of a jail and is jailed no more, existing or not.

    Raises:
        SftpJailError: a record is damaged.
    """
    return {name: leftover(name, config, host) for name in left_names(config, host, jails)}


def leftover(name: str, config: Config, host: Host) -> Account:
    """Return an account as far as it is still known, with its profile or the one that its remains speak of."""
    try:
        valid_name(name)
    except UsageError as error:
        raise SftpJailError(f"a record or fstab line of ours names {name!r}, which is no account's name") from error
    if host.account(name) is None:
        account = Account(name, -1, -1, home=f"/nonexistent/{name}", local=False)
    else:
        account = find(name, config, host)
        if account.profile is not None:
            return account
        if is_namesake(account, host):
            account = replace(account, local=False)  # another's shell and home are not given to it
    targets = [bind.target for bind in host.binds(name)]
    origin = host.origin(name)
    for profile in config.profiles:
        jail = replace(account, profile=profile).jail
        if jail in origin.made or jail in origin.owners or any(inside(t, jail) for t in targets):
            return replace(account, profile=profile)
    return replace(account, profile=config.profiles[0])


def home_flaw(account: Account, home: str, host: Host) -> str:
    """Return why a home may not become a jail by `chroot = %h`, or "": it must be the account's own alone."""
    if home in TOPS or any(inside(home, folder) for folder in SYSTEM):
        return "is a folder of the system"
    found = host.stat(home)
    if found is not None and found.st_uid not in (account.uid, 0):
        return f"belongs to uid {found.st_uid}"
    others = [name for name in host.dwellers(home)[1] if host.accounts[name].uid != account.uid]
    return f"is or holds the home of {others[0]} too" if others else ""


def new_home(account: Account) -> str:
    """Return the command that gives an account a home where others have theirs; what is there already stays."""
    name = quote(account.name)
    return f"usermod -d /home/{name} {name} && mkhomedir_helper {name} && sftpjail apply"


def mend_flaw(path: str, host: Host) -> str:
    """Return the command that makes one component of a chroot path good, or "" while one above is not; `Host.flaw`."""
    found = host.stat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        move = fixes.aside(path, host)
        return move and f"{move} && sftpjail apply"
    commands = ["chown root {}"] if found.st_uid != 0 else []
    commands += ["chmod go-w {}"] if found.st_mode & 0o022 else []
    return fixes.on(path, host, *commands)
