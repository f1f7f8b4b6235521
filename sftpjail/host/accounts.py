"""The accounts and groups of the host: passwd(5), group(5), shadow(5) and the name services.

A name service is queried by name only, never enumerated, except in `newcomers`.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain

from ..formats import account_files
from ..formats.account_files import Entries
from ..model import Account, Group, Shadow, components, is_valid_name, normal, number
from ..paths import GATE, USERADD_HOOK
from ..system import arrivals, processes
from .files import Files
from .programs import Programs
from .records import Records

# The name services that know only accounts made on this host. systemd's are its own dynamic
# users.
LOCAL = ("files", "compat", "db", "systemd", "mymachines", "extrausers", "altfiles")


# Query a single name service. glibc's getpwnam_r(3) returns 0 if the service answered that there is
# no such account, and an error number if it could not answer; getent(1) and pwd.getpwnam hide the
# difference. Measured: 2 for nslcd without its server, 111 for a stopped SSSD. An offline SSSD
# answers from its cache, and denies any name that it has never seen.
_LOOK_UP = """
import ctypes, sys
libc, (database, service, name) = ctypes.CDLL(None), (word.encode() for word in sys.argv[1:])
entry, buffer, result = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 24), \
ctypes.c_void_p()
libc.__nss_configure_lookup(database, service)
look_up = libc.getpwnam_r if database == b"passwd" else libc.getgrnam_r
sys.exit(bool(look_up(name, entry, buffer, ctypes.c_size_t(len(buffer)), ctypes.byref(result))) \
and not result.value)
"""


class People:
    """The accounts and groups of a host.

    Args:
        files: if their root is not /, no name service is queried.
        programs: used to test whether a directory service answers.
        records: the accounts of a directory service that have been used here before.
    """

    def __init__(self, files: Files, programs: Programs, records: Records) -> None:
        self.files, self.programs, self.records = files, programs, records
        self._members: dict[str, tuple[str, ...] | None] = {}
        self._listed: dict[str, tuple[int, frozenset[str]] | None] = {}
        self._strangers: dict[str, Account | None] = {}
        self._joined: dict[str, Group | None] = {}
        self._of_services: dict[int, list[Group]] = {}

    @cached_property
    def _services(self) -> tuple[str, ...]:
        """The name services of nsswitch.conf(5) for passwd."""
        return tuple(re.sub(r"\[.*?\]", " ", self._sources("passwd")).split())

    def _sources(self, database: str) -> str:
        """Return what nsswitch.conf(5) says for a database, or ""."""
        found = re.search(rf"(?m)^\s*{database}:(.*)", self.files.text("/etc/nsswitch.conf"))
        if not found:
            return ""
        return found[1].partition("#")[0].strip()

    @cached_property
    def _local_only(self) -> frozenset[str]:
        """The databases that have no source but their file."""
        return frozenset(one for one in ("passwd", "group") if self._sources(one) == "files")

    @cached_property
    def directory_services(self) -> tuple[str, ...]:
        """The name services for passwd that are not local, such as ("sss",)."""
        return tuple(word for word in self._services if word not in LOCAL)

    @cached_property
    def has_nonlocal_accounts(self) -> bool:
        """Whether there may be accounts without a line in passwd(5).

        They come from a directory service, systemd's userdb or extrausers.
        """
        return bool(set(self._services) - {"files", "compat", "db"})

    @cached_property
    def accounts(self) -> Entries[Account]:
        """The local accounts of passwd(5), by name."""
        return account_files.accounts(self.files.text("/etc/passwd"))

    def comment(self, name: str) -> str:
        """Return the comment of a local account, the fifth field of passwd(5)."""
        return self._comments.get(name, "")

    @cached_property
    def _comments(self) -> Mapping[str, str]:
        return account_files.comments(self.files.text("/etc/passwd"))

    @cached_property
    def groups(self) -> Entries[Group]:
        """The local groups of group(5), by name."""
        return account_files.groups(self.files.text("/etc/group"))

    def _is_settled(
        self, database: str, entries: Entries[Account] | Entries[Group], name: str
    ) -> bool:
        """Return whether the C library has no more about a name than we have found in its file.

        It reads the whole file for each name, which for ten thousand takes minutes.
        """
        return database in self._local_only and entries.is_plain(name)

    @cached_property
    def _by_gid(self) -> Mapping[int, list[Group]]:
        found: dict[int, list[Group]] = {}
        for group in self.groups.values():
            found.setdefault(group.gid, []).append(group)
        return found

    @cached_property
    def departed(self) -> Mapping[int, tuple[str, ...]]:
        """The names that have a record and no line in passwd(5), by the uid in the record."""
        names = (name for name in self.records.recorded if name not in self.accounts.names)
        return self.records.names_by_uid(names)

    @cached_property
    def homes(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the local accounts, by home directory."""
        found: dict[str, list[str]] = {}
        for account in self.accounts.values():
            found.setdefault(normal(account.home), []).append(account.name)
        return {home: tuple(names) for home, names in found.items()}

    @cached_property
    def _real_homes(self) -> tuple[Mapping[str, tuple[str, ...]], list[str]]:
        found: dict[str, tuple[str, ...]] = {}
        for home, names in self.homes.items():
            real = self.files.realpath(home)
            found[real] = found.get(real, ()) + names
        return found, sorted(found)

    def accounts_with_home_around(self, path: str) -> tuple[list[str], list[str]]:
        """Return the local accounts with a home above PATH, and those with one at or below PATH."""
        homes, ordered = self._real_homes
        above = [name for directory in components(path)[:-1] for name in homes.get(directory, ())]
        # "0" follows "/".
        first, last = bisect_left(ordered, path + "/"), bisect_left(ordered, path + "0")
        below = [name for home in ordered[first:last] for name in homes[home]]
        return above, [*homes.get(path, ()), *below]

    def account(self, name: str) -> Account | None:
        """Return an account, local or from a name service, by its own name, or None.

        A directory service may have it by second names too (`own_name`). sshd, PAM and group(5) do
        not know that these are the same account, so nothing of ours may go by them.
        """
        found = self.accounts.get(name)
        if found is not None or self.files.root or self._is_settled("passwd", self.accounts, name):
            return found
        if name not in self._strangers:
            self._strangers[name] = None
            with contextlib.suppress(KeyError, ValueError):  # no name has a NUL
                entry = pwd.getpwnam(name)
                ids = entry.pw_uid, entry.pw_gid
                if entry.pw_name == name and None not in map(number, map(str, ids)):
                    self._strangers[name] = Account(
                        name, *ids, entry.pw_dir, entry.pw_shell, local=False
                    )
        return self._strangers[name]

    def own_name(self, name: str) -> str:
        """Return the name that an account has where NAME is a second name of it, or "".

        winbind answers to ALICE, CORP/alice and alice@corp.example for alice, SSSD to some of them.
        """
        known = name in self.accounts or self.files.root
        if known or self._is_settled("passwd", self.accounts, name):
            return ""
        try:
            own = pwd.getpwnam(name).pw_name
        except (KeyError, ValueError):
            return ""
        if own == name:
            return ""
        return own

    def name_of(self, uid: int) -> str | None:
        """Return the name of the account with a uid, local or from a name service, or None."""
        local = self._by_uid.get(uid)
        if local is not None or self.files.root:
            return local
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return None

    def names_of(self, uid: int) -> list[str]:
        """Return the names of the local accounts with a uid. Few other lines are looked at."""
        return [one.name for one in self.accounts.holding(f"{uid}:") if one.uid == uid]

    def uid_of(self, name: str) -> int | None:
        """Return an account's uid; None if there is none, or its name service does not answer."""
        found = self.account(name)
        if not found:
            return None
        return found.uid

    @cached_property
    def _by_uid(self) -> Mapping[int, str]:
        # If two lines have the same uid, the first counts, as in getpwuid(3).
        return {account.uid: account.name for account in reversed([*self.accounts.values()])}

    def owner_name(self, path: str) -> str:
        """Return the local account, other than root, that owns PATH, or ""."""
        found = self.files.lstat(path)
        if found is None or found.st_uid == 0:
            return ""
        owners = (name for name, one in self.accounts.items() if one.uid == found.st_uid)
        return next(owners, "")

    def is_leaving(self, name: str) -> bool:
        """Return whether userdel(8) is deleting the account now.

        The account stays in passwd(5) until userdel is nearly done.
        """
        return name in self._leaving

    @cached_property
    def _leaving(self) -> frozenset[str]:
        if self.files.root:
            return frozenset()
        return processes.being_deleted()

    def maker(self, name: str) -> int | None:
        """Return the pid of the process that is creating the account now, or None.

        The jail is made when that process ends; our hook makes it at the end of useradd(8). A jail
        made earlier would belong to an unfinished account, and would later be taken for that of a
        former account with the same name.
        """
        arrival = self._arriving.get(name)
        if arrival:
            return arrival.pid
        is_known = self.records.uid_of(name) >= 0
        if is_known:
            return None
        return self._new.get(name)

    @cached_property
    def _arriving(self) -> Mapping[str, arrivals.Arrival]:
        if self.files.root:
            return {}
        return arrivals.arriving()

    @cached_property
    def _new(self) -> Mapping[str, int]:
        hooked = not self.files.root and self.files.lstat(USERADD_HOOK) is not None
        if not hooked:
            return {}
        return processes.being_created()

    def is_silent(self, name: str) -> bool:
        """Return whether it is unknown if the account exists.

        It is unknown if no name service has it and a directory service does not answer.
        """
        return self.account(name) is None and self._unanswered("passwd", name)

    def is_silent_group(self, name: str) -> bool:
        """Return whether it is unknown if the group exists, as in `is_silent`."""
        return self.group(name) is None and self._unanswered("group", name)

    def _unanswered(self, database: str, name: str) -> bool:
        if self.files.root:
            return False
        look_up = [sys.executable, "-I", "-c", _LOOK_UP, database]
        services = self.directory_services
        return any(self.programs.ask([*look_up, one, name]).failed for one in services)

    def is_gone(self, name: str) -> bool:
        """Return whether the account certainly does not exist."""
        unknown = self.is_silent(name) or bool(self.denied)
        return self.account(name) is None and not unknown

    @cached_property
    def denied(self) -> tuple[str, ...]:
        """The accounts that a directory service's groups have jailed here, if it now has none.

        An offline SSSD or winbind that has lost its cache denies that any account exists.
        """
        if not self.directory_services:
            return ()
        names = [name for name in self.files.text(GATE).split("\n") if name]
        if any(map(self.account, names)):
            return ()
        return tuple(names)

    def group_of(self, gid: int) -> str | None:
        """Return the name of a group, local or from NSS; None where nobody says."""
        if local := self._by_gid.get(gid):
            return local[0].name
        if self.files.root:
            return None
        try:
            return grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError):
            return None

    def group_label(self, gid: int) -> str:
        """Return the name of a group, or its number if it has no name."""
        return self.group_of(gid) or str(gid)

    def known_as(self, name: str) -> str:
        """Return the group by whose name getgrgid(3) knows the gid of a group.

        It is another one where two lines of group(5) have the same gid: the first line answers.
        group(5) answers before a directory service, so that a local group takes the name of one
        that has its gid there. Of two that a directory service has, nobody is asked: it is slow.
        """
        group = self.groups.get(name)
        if group is None:
            found = self.group(name)
            local = []
            if found:
                local = self._by_gid.get(found.gid, [])
            if local:
                return local[0].name
            return name
        same = (one.name for one in self.groups.holding(f":{group.gid}") if one.gid == group.gid)
        return next(same, name)

    def known_by(self, name: str) -> list[Group]:
        """Return the other groups whose gid getgrgid(3) knows by the name of a local group.

        Their members are in this group too, for sshd and for the kernel. Of a directory service's
        group, these are the local accounts that it is said to have: `groups_of` knows the others.
        """
        group = self.groups.get(name)
        if group is None or self.known_as(name) != name:
            return []
        same = self.groups.holding(f":{group.gid}")
        local = [one for one in same if one.gid == group.gid and one.name != name]
        return [*local, *map(self._local_members, self._beside_local(group))]

    def _local_members(self, group: Group) -> Group:
        """Return a directory service's group with those members alone that are local accounts.

        It may list them and yet not say so of them: SSSD knows no groups of accounts that it does
        not have.
        """
        found = []
        for name in group.members:
            account = self.accounts.get(name)
            if account and group.gid in os.getgrouplist(name, account.gid):
                found.append(name)
        return Group(group.name, group.gid, tuple(found))

    def _beside_local(self, group: Group) -> list[Group]:
        """Return the groups that directory services have with the gid of a local group.

        The C library never shows them: it takes the local one. So each service is asked alone.
        """
        if self.files.root or "group" in self._local_only:
            return []
        if group.gid not in self._of_services:
            words = re.sub(r"\[.*?\]", " ", self._sources("group")).split()
            asked = (
                self.programs.ask(["getent", "-s", f"group:{one}", "group", str(group.gid)])
                for one in words
                if one not in LOCAL
            )
            lines = [
                line for answer in asked if answer.code == 0 for line in answer.out.split("\n")
            ]
            found = account_files.groups("\n".join(lines)).values()
            self._of_services[group.gid] = [one for one in found if one.gid == group.gid]
        return [one for one in self._of_services[group.gid] if one.name != group.name]

    def group(self, name: str) -> Group | None:
        """Return a group, local or from a name service, or None; members of both are joined."""
        found = self.groups.get(name)
        if self.files.root or self._is_settled("group", self.groups, name):
            return found
        if name not in self._joined:  # a directory service is slow where many are in it
            self._joined[name] = found
            with contextlib.suppress(KeyError):
                entry = grp.getgrnam(name)
                local = found.members if found else ()
                members = tuple(dict.fromkeys((*local, *entry.gr_mem)))
                self._joined[name] = Group(name, entry.gr_gid, members)
        return self._joined[name]

    def group_members(self, name: str) -> tuple[str, ...] | None:
        """Return the members of a group, primary or supplementary; None if there is no such group.

        A directory service is never enumerated. Of its accounts, only those that have been used
        here or are listed in /etc/group count, and members whose names are not taken. systemd's
        userdb and extrausers are read from files.
        """
        if name not in self._members:
            group = self.group(name)
            members = None
            if group is not None:
                members = tuple(dict.fromkeys(self._members_of(group)))
            self._members[name] = members
        return self._members[name]

    def _members_of(self, group: Group) -> Iterator[str]:
        known = self.records.known
        is_local = group.name in self.groups
        alike = (other.members for other in self.known_by(group.name))
        for name in chain(group.members, *alike):
            # Names that are not taken cannot have been used.
            if is_local or name in self.accounts or name in known or not is_valid_name(name):
                yield name
        yield from (account.name for account in self.accounts.values() if account.gid == group.gid)
        for name in dict.fromkeys((*known, *self._beside)):
            if name not in self.accounts and group.name in self.groups_of(name):
                yield name

    @cached_property
    def _beside(self) -> tuple[str, ...]:
        """The names of accounts in the files of other name services on this host."""
        if not self.has_nonlocal_accounts:
            return ()
        from .userdb import names  # late: few hosts have such a service, and useradd waits

        return tuple(names(self._services, self.files))

    def unseen_members(self, name: str) -> list[str] | None:
        """Return the members of a group whose accounts have never been used here.

        Only this function enumerates a directory service. An SSSD with `enumerate = false`, the
        default (sssd.conf(5)), does not report accounts that have the group as their primary one.

        Returns:
            the names, or None if the directory service does not report them.
        """
        group = self.group(name)
        if group is None or self.files.root or not self.directory_services:
            return []
        every = [entry for entry in pwd.getpwall() if entry.pw_name not in self.accounts]
        names = [
            member
            for one in (group, *self._beside_local(group))
            for member in one.members
            if member not in self.accounts and self.account(member)
        ]
        names += [entry.pw_name for entry in every if entry.pw_gid == group.gid]
        if not names and not every and name not in self.groups:
            return None
        return [member for member in dict.fromkeys(names) if member not in self.records.known]

    def in_group(self, name: str, group: str) -> bool:
        """Return whether an account is in a group, primary or supplementary."""
        account = self.account(name)
        if account is not None and not account.local:
            return group in self.groups_of(name)
        if account is None:
            return name in (self.group_members(group) or ())
        if group not in self._listed:
            found = self.group(group)
            names = frozenset(name for one in self.known_by(group) for name in one.members)
            if found:
                self._listed[group] = (found.gid, names.union(found.members))
            else:
                self._listed[group] = None
        listed = self._listed[group]
        return listed is not None and (account.gid == listed[0] or name in listed[1])

    def groups_of(self, name: str, thorough: bool = True) -> tuple[str, ...]:
        """Return the names of an account's groups, the primary one first (getgrouplist(3)).

        These are the names by which sshd knows them (groupaccess.c, ga_init): of several groups
        with one gid the first one in group(5), whichever lists the account.

        Args:
            name: the account.
            thorough: query the name services about a local account too.
        """
        account = self.account(name)
        if account is None:
            return ()
        # getgrouplist(3) reads all of group(5) each time.
        if self.files.root or (account.local and not thorough):
            gids = dict.fromkeys((account.gid, *self.local_gids(name)))
            return tuple(self._by_gid[gid][0].name for gid in gids if gid in self._by_gid)
        names = []
        for gid in os.getgrouplist(name, account.gid):
            try:
                names.append(grp.getgrgid(gid).gr_name)
            except KeyError:
                continue
        return tuple(names)

    def local_gids(self, name: str) -> tuple[int, ...]:
        """Return the gids of the local groups that list the account in group(5)."""
        return tuple(group.gid for group in self._memberships.get(name, ()))

    def expiry(self, name: str) -> str:
        """Return the expiry date of an account in days since 1970, or "", as in shadow(5)."""
        return self.shadow(name).expire

    def has_shadow(self, name: str) -> bool:
        """Return whether an account is in shadow(5), so that usermod(8) can set its expiry date."""
        return name in self._shadow

    def shadow(self, name: str) -> Shadow:
        """Return an account's line of shadow(5), or one with empty fields if there is none."""
        return self._shadow.get(name, Shadow("*", "", "", "", ""))

    @cached_property
    def _shadow(self) -> Mapping[str, Shadow]:
        return account_files.shadows(self.files.text("/etc/shadow"))

    @cached_property
    def login_defs(self) -> Mapping[str, str]:
        """The settings of /etc/login.defs (login.defs(5))."""
        pairs = (line.split() for line in self.files.text("/etc/login.defs").split("\n"))
        settings = (fields for fields in pairs if len(fields) > 1)
        return {name: value for name, value, *_ in settings if not name.startswith("#")}

    @cached_property
    def home_mode(self) -> str:
        """The mode of a new home in octal digits: HOME_MODE of login.defs(5), or 0700."""
        mode = self.login_defs.get("HOME_MODE", "")
        if not re.fullmatch("[0-7]{3,4}", mode):
            return "0700"
        return mode.zfill(4)

    def is_system(self, account: Account) -> bool:
        """Return whether a local account has a uid outside UID_MIN to UID_MAX of login.defs(5)."""
        low, high = self.uids
        return account.local and not low <= account.uid <= high

    @cached_property
    def uids(self) -> tuple[int, int]:
        """The first and the last uid of ordinary accounts: UID_MIN and UID_MAX of login.defs(5)."""
        return self._id_of("UID_MIN", 1000), self._id_of("UID_MAX", 60000)

    def _id_of(self, setting: str, default: int) -> int:
        """Return a setting of login.defs(5) as strtol(…, 0) reads it: 0x3e8 and 01750 are 1000."""
        text = self.login_defs.get(setting, str(default))
        with contextlib.suppress(ValueError):
            return int(re.sub(r"^0(?=[0-7])", "0o", text), 0)
        return default

    @cached_property
    def invoker(self) -> frozenset[str]:
        """The accounts of the person who runs us through sudo, doas or a login session; never root.

        The login session's uid is in proc_pid_loginuid(5).
        """
        names = {os.environ.get(variable, "") for variable in ("SUDO_USER", "DOAS_USER")}
        uid = self.files.text("/proc/self/loginuid").strip()
        if uid.isdecimal():
            names |= set(self.names_of(int(uid)))
        return frozenset(names - {"", "root"})

    @cached_property
    def _memberships(self) -> Mapping[str, list[Group]]:
        """The local groups that list each account in group(5)."""
        found: dict[str, list[Group]] = {}
        for group in self.groups.values():
            for name in group.members:
                found.setdefault(name, []).append(group)
        return found
