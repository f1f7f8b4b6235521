"""Accounts that do not exist yet: their profile, their uid, and the program that makes them."""

from __future__ import annotations

import grp
import re
from collections.abc import Collection
from itertools import chain

from ..actions import AddAccount, NewAccount
from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..jails.quota_systems import is_btrfs
from ..model import Profile

SYSUSERS = ("systemd-sysusers", "systemd-standalone-sysusers")
# What systemd-sysusers(8) takes for a name; useradd(8) of Debian takes more.
_STRICT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")
_DEFAULTS = {"HOME": "/home", "SHELL": "/bin/sh", "INACTIVE": ""}
_AGING = ("PASS_MIN_DAYS", "PASS_MAX_DAYS", "PASS_WARN_AGE")


def maker(
    name: str,
    profile: Profile,
    tool: str,
    options: list[str],
    expires: str = "",
    subvolume: bool = False,
) -> list[str]:
    """Return the command that makes the account.

    Subordinate ids are not allocated: SFTP does not need them, and their range fills up quickly.
    adduser has no option for an expiry date.
    """
    if tool == "adduser":
        return ["adduser", "--quiet", "--disabled-password", "--comment", "", *options, name]
    if profile.home == "inside":
        home = ["--no-create-home", "--home-dir", f"/{profile.files}"]
    else:
        home = ["--create-home"]
    if subvolume:
        home += ["--btrfs-subvolume-home"]
    shell = []
    if profile.shell:
        shell = ["--shell", profile.shell]
    # An impossible password, not a locked one:
    # without UsePAM sshd refuses key logins of locked accounts.
    plain = ["--password", "*", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    group = []
    if profile.group:
        group = ["--groups", profile.group]
    end = []
    if expires:
        end = ["--expiredate", expires]
    return ["useradd", *home, *shell, *plain, *group, *end, *options, name]


def profile_for(name: str, wanted: str, config: Config) -> Profile:
    """Return the profile that is to jail a new account.

    Args:
        name: the account.
        wanted: a profile's name, or "" for the one that names the account, else the first.
        config: the configuration.

    Raises:
        UsageError: there is no such profile, or the account could not be in it.
    """
    named = next((p for p in config.profiles if name in p.match_user), None)
    if named and not wanted:
        profile = named
    else:
        profile = config.profile(wanted)
    if named is not None and profile.name != named.name:
        raise UsageError(
            f"profile {named.name} jails {name}: it is in its match_user",
            advice=f"leave profile {profile.name} out; or take {name} out of that match_user, "
            "then run sftpjail setup",
        )
    return with_way_in(profile, name)


def with_way_in(profile: Profile, name: str) -> Profile:
    """Return a profile that an account can be in. Raises UsageError."""
    if profile.group or name in profile.match_user:
        return profile
    raise UsageError(
        f"profile {profile.name} has no group",
        advice=f"add {name} to its match_user, then run sftpjail setup",
    )


def home_of(name: str, profile: Profile, host: Host) -> str:
    """Return the home of a new account of a profile, as useradd(8) chooses it."""
    if profile.home == "inside":
        return f"/{profile.files}"
    return f"{_default('HOME', host)}/{name}"


def shell_of(profile: Profile, host: Host) -> str:
    """Return the shell of a new account of a profile."""
    return profile.shell or _default("SHELL", host)


def _default(key: str, host: Host) -> str:
    """Return a default of useradd(8)."""
    found = re.search(rf"(?m)^{key}=(\S+)", host.text("/etc/default/useradd"))
    if found:
        return found[1].rstrip("/")
    return _DEFAULTS[key]


def bulk_program(host: Host) -> str:
    """Return the program that makes many accounts at once, each with its own group, or ""."""
    if host.people.login_defs.get("USERGROUPS_ENAB", "yes").lower() != "yes":
        return ""
    return next((name for name in SYSUSERS if host.which(name)), "")


def is_strict(name: str) -> bool:
    """Return whether that program accepts a name."""
    return bool(_STRICT.fullmatch(name))


def takes(new: NewAccount) -> bool:
    """Return whether that program can make an account. To it, a comment of "-" means none."""
    return is_strict(new.name) and new.comment != "-"


def aging(host: Host) -> tuple[str, str, str, str]:
    """Return the fields that useradd(8) writes into shadow(5) besides the password."""
    values = (host.people.login_defs.get(key, "") for key in _AGING)
    inactive = _default("INACTIVE", host)  # -1 is none
    every = (value if value.isdecimal() else "" for value in (*values, inactive))
    least, most, warning, idle = every
    return least, most, warning, idle


def makes_subvolume(name: str, profile: Profile, quota: int, host: Host) -> bool:
    """Return whether a new account's home must be a subvolume of btrfs, which can have a quota.

    What a jail has of its own is made by the plugin chroot.

    Args:
        name: the account.
        profile: that will jail it.
        quota: in bytes, 0 for none.
        host: the facts.
    """
    of_home = profile.home == "bind" and not profile.in_home
    return bool(quota) and of_home and is_btrfs(home_of(name, profile, host), host)


def useradd(new: NewAccount, profile: Profile, subvolume: bool = False) -> AddAccount:
    """Return the action that makes one account, if no program makes many."""
    options = ["--uid", str(new.uid), "--comment", new.comment]
    if new.expire:
        options += ["--expiredate", new.expire]
    argv = maker(new.name, profile, "useradd", options, subvolume=subvolume)
    return AddAccount(new.name, tuple(argv), new.home)


class Numbers:
    """Free uids in the order of useradd(8): above all others first, then the lowest free ones.

    Args:
        host: the facts.
        kept: uids that are reserved.
    """

    def __init__(self, host: Host, kept: Collection[int]) -> None:
        self._host = host
        self._uids = {account.uid for account in host.accounts.values()}
        self._gids = {group.gid for group in host.people.groups.values()}
        self._kept = frozenset(kept)
        low, high = host.people.uids
        taken = self._uids | self._gids | self._kept
        top = max((uid for uid in taken if low <= uid <= high), default=low - 1)
        self._free = chain(range(top + 1, high + 1), range(low, top + 1))

    def take(self) -> int:
        """Return a uid that is also free as a gid. Raises SftpJailError if there is none."""
        for uid in self._free:
            if uid not in self._kept and uid not in self._gids and not self.taken_by(uid):
                return uid
        low, high = self._host.people.uids
        raise SftpJailError(
            f"no uid between {low} and {high} is free", advice="raise UID_MAX in /etc/login.defs"
        )

    def gid_for(self, uid: int) -> int:
        """Return the gid for the group of an account with this uid: the same number if free."""
        gid = uid
        if uid in self._gids or _group_in_nss(uid, self._host):
            gid = self.take()
        self._gids.add(gid)
        return gid

    def taken_by(self, uid: int) -> str:
        """Return a sentence that says to whom a uid belongs or belonged, or ""."""
        if uid in self._uids:
            return f"it is the uid of {self._host.people.name_of(uid)}"
        if uid in self._host.records.by_uid:
            left = self._host.records.by_uid[uid][0]
            return f"it was the uid of {left}, of whom something is left"
        if not self._host.people.directory_services:
            return ""
        name = self._host.people.name_of(uid)
        if not name:
            return ""
        return f"it is the uid of {name}"


def _group_in_nss(gid: int, host: Host) -> bool:
    if not host.people.directory_services or host.files.root:
        return False
    try:
        return bool(grp.getgrgid(gid))
    except (KeyError, OverflowError):
        return False
