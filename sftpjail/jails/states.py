"""The state of a jail: the one word that `list` shows for it, and the reason.

It is determined from the same facts as in `check`. sshd is asked once for all accounts to which the
same Match blocks apply, so that ten thousand jails cost one question.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..config import Config, keyfile
from ..errors import SftpJailError
from ..errors.escapes import one_line
from ..host import Host
from ..model import Account, Profile, Shadow, components, frozen, normal, number
from ..openssh.admission import denials, way_in
from ..openssh.connections import conditions
from ..openssh.daemons import Daemon, called, daemons, others, primary, running
from ..openssh.match_blocks import DOORS, settings
from ..openssh.patterns import listed
from ..openssh.settings import Settings, effective, logging, reached
from ..openssh.sshd import LOCAL
from ..openssh.stale import has_read, left_unread
from .closing import DAY, admits, date_of, is_disabled, is_out, period, reason
from .guards import is_namesake
from .homes import refusal
from .membership import is_valid, refuse_name

# In order: the first that applies is the state.
WORDS = (
    "disabled",
    "closed",
    "expired",
    "locked",
    "denied",
    "open",
    "keyless",
    "incomplete",
    "unknown",
    "ok",
)
# Settings that give access other than by the account's key file.
OTHER_KEYS = ("authorizedkeyscommand", "trustedusercakeys")
_OPENS = {"forcecommand", *(door.split()[0].lower() for door in DOORS)}


@frozen
class State:
    """A state: one of WORDS, and the reason in one line, or "" for ok."""

    word: str
    why: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", one_line(self.why))


class LoginMethods(NamedTuple):
    """By what an account could log in beside the keys in its key file.

    Args:
        password: None where only a directory service knows whether it has one.
        certificate: sshd takes those of a trusted authority.
        keys: sshd also takes keys from elsewhere: a command, or other files.
        logged: every sshd writes its logins to the log that we read, as far as can be told.
    """

    password: bool | None
    certificate: bool
    keys: bool
    logged: bool


class States:
    """The states of jails.

    Args:
        config, host: the facts.
    """

    def __init__(self, config: Config, host: Host) -> None:
        self._config, self._host = config, host
        self._answers: dict[tuple[object, ...], Settings] = {}
        self._criteria: dict[tuple[str, Daemon | None], tuple[str, ...]] = {}
        self._logging: dict[tuple[object, ...], bool] = {}
        self._doors: dict[tuple[str, int], str] = {}
        self._flaws: dict[str, str] = {}
        self._keys: dict[str, tuple[int, int]] = {}
        self._others: list[Daemon] | None = None
        self._broken: SftpJailError | None = None  # the error of asking the primary sshd
        self._unread: str | None = None  # what an sshd has not read
        self._unknown: SftpJailError | None = None  # the error of looking for other sshds
        # Accounts are examined one after the other, with several questions about the same paths.
        self._stat = lru_cache(maxsize=8)(host.stat)

    def of(self, account: Account) -> State:
        """Return the state of one jailed account, with its profile."""
        try:
            return self._judged(account)
        except SftpJailError as error:  # a damaged record, or sshd refuses its configuration
            return State("unknown", error.message)

    def keys(self, account: Account) -> int:
        """Return how many keys an account's key file has."""
        return self._counted(account)[0]

    def _counted(self, account: Account) -> tuple[int, int]:
        """Return how many keys an account's key file has, and how many of them have not expired."""
        if account.name not in self._keys:
            text = ""
            with contextlib.suppress(SftpJailError):  # a directory, say: it hides no other jail
                text = self._host.text(keyfile(account.name))
            lines = [*filter(has_key, text.split("\n"))]
            self._keys[account.name] = len(lines), len(lines) - sum(map(_has_lapsed, lines))
        return self._keys[account.name]

    def is_released(self, account: Account) -> bool:
        """Return whether sshd jails an account in no directory, and lets it log in.

        Raises:
            SftpJailError: sshd refuses its configuration.
        """
        groups = self._host.people.groups_of(account.name, thorough=False)
        found = self._ask(account, groups)
        unjailed = found.get("chrootdirectory") in ("", "none")
        return unjailed and not any(denials(found, account.name, groups))

    def methods(self, account: Account) -> LoginMethods:
        """Return by what else than its key file an account could log in, once it is let in.

        Raises:
            SftpJailError: sshd refuses its configuration.
        """
        groups = self._host.people.groups_of(account.name, thorough=False)
        found = self._ask(account, groups)
        password = None
        if account.local or not takes_passwords(found):
            password = usable_password(self._host.shadow(account.name), found)
        certificate = found.get("trustedusercakeys") not in ("", "none")
        command = found.get("authorizedkeyscommand") not in ("", "none")
        keys = command or _reads_other_files(account, found)
        return LoginMethods(password, certificate, keys, self.is_logged(account))

    def is_logged(self, account: Account) -> bool:
        """Return whether each sshd of this host logs an account's logins to where we read them.

        Where that cannot be told, it does not.

        Raises:
            SftpJailError: sshd refuses its configuration, or systemctl(1) does not answer.
        """
        host, groups = self._host, self._host.people.groups_of(account.name, thorough=False)
        every = daemons(host)
        if any(daemon.unknown or _writes_elsewhere(daemon, host) for daemon in every):
            return False
        distinct = {daemon.command: daemon for daemon in every}.values()
        return all(self._logs(account, groups, daemon) for daemon in distinct or (None,))

    def _logs(self, account: Account, groups: tuple[str, ...], daemon: Daemon | None) -> bool:
        host = self._host
        # Daemons that go by the same files have the same Match lines.
        asked = None if daemon and daemon.is_plain else daemon
        alike: tuple[object, ...] = (account.name,)
        if account.profile:
            alike = self._kind(account, groups, asked)
        kind = (daemon and daemon.command, *alike)
        if kind not in self._logging:
            usual = LOCAL
            if asked:
                usual = asked.local
            places: tuple[str, ...] = (usual,)
            told = effective(host, account.name, usual, asked)
            if told.tells_places_apart:
                places = reached(daemon or primary(host), told)
            said = [logging(host, account.name, there, daemon) for there in places]
            self._logging[kind] = all(
                level not in _SILENT and (host.systemd or facility in ("", "AUTH", "AUTHPRIV"))
                for level, facility in said
            )
        return self._logging[kind]

    def _judged(self, account: Account) -> State:
        why = reason(account, self._host)
        if why:
            closed = self._host.origin(account.name).closed
            if closed and is_disabled(account, self._host):
                return State("disabled", f"{why}, {period(closed)}")
            by_date = closed is None and why.startswith("it expired")
            return State("expired" if by_date else "closed", why)
        groups = self._host.people.groups_of(account.name, thorough=False)
        return next(self._states(account, groups, self._ask(account, groups)), State("ok"))

    def _states(
        self, account: Account, groups: tuple[str, ...], found: Settings
    ) -> Iterator[State]:
        """Yield every state that applies to an account that is not shut out."""
        shadow = self._host.shadow(account.name)
        date = date_of(shadow.expire)
        if is_out(date, lambda: found.get("usepam") == "yes"):
            yield State("expired", f"it expired on {date}")
        locked = ""
        if account.local:
            locked = why_locked(shadow, found)
        if lacks_shadow(account, self._host, found):
            locked = "it has no line in /etc/shadow"
        if locked:
            yield State("locked", locked)
        elsewhere = self._elsewhere(account, groups) or self._by_place(account, groups, found)
        if elsewhere:  # even if the primary sshd refuses it
            yield State("open", elsewhere)
        behind = self._behind(account, groups, found)
        if behind:  # what its files say, it does not do yet
            yield State("unknown", behind)
        for keyword in denials(found, account.name, groups):
            yield State("denied", f"{keyword} ({found.where(keyword.split()[0].lower())})")
        opening = self._opening(account, found)
        if opening:
            yield State("open", opening)
        if not is_valid(account.name):
            yield State("closed", refuse_name(account).message)
            return
        refused = self._refused(account)
        if refused:
            yield State("closed", f"{refused}, and sshd refuses the login")
        if not self._has_way_in(account, shadow, found):
            yield State("keyless", self._keyless(account, shadow, found))
        lacking = self._lacking(account)
        if lacking:
            yield State("incomplete", lacking)
        unknown = self._unknown_elsewhere(account, groups)
        if unknown:
            yield State("unknown", unknown)

    def _opening(self, account: Account, found: Settings) -> str:
        """Return how an account can leave its jail, or get into a directory that is none, or ""."""
        host, profile = self._host, account.profile
        assert profile is not None
        if is_valid(account.name) and is_namesake(account, host):
            made_for = host.origin(account.name).uid
            return f"its uid is {account.uid}, and its jail was made for uid {made_for}"
        kind = profile.name, id(found)  # `_answers` keeps the object alive
        if kind not in self._doors:
            self._doors[kind] = self._door(profile, found)
        if self._doors[kind]:
            return self._doors[kind]
        if admits(account, profile.chroot, host):
            return refusal(account, host, self._config) or "its home is no jail"
        home = None
        if not profile.in_home:
            home = self._stat(account.home)
        if home is None or home.st_uid == account.uid:
            return ""
        homes = {host.realpath(source) for source in self._homes_shown(account)}
        if host.realpath(account.home) not in homes:
            return ""
        return refusal(account, host, self._config)

    def _homes_shown(self, account: Account) -> list[str]:
        """Return the directories that a jail shows as its account's home: one, or none."""
        binds = self._host.binds(account.name)
        return [bind.source for bind in binds if bind.role == "home"]

    def _door(self, profile: Profile, found: Settings) -> str:
        """Return which setting of sshd opens the jails of a profile, or ""."""
        chroot = found.get("chrootdirectory")
        if chroot in ("", "none"):
            return "no Match block of sshd jails it"
        if chroot != profile.chroot:
            return f"sshd jails it in {chroot} ({found.where('chrootdirectory')})"
        for keyword, value in self._settings(profile).items():
            if keyword in _OPENS and found.get(keyword) not in ("", value):
                return f"{keyword} {found.get(keyword)} ({found.where(keyword)})"
        return ""

    def _elsewhere(self, account: Account, groups: tuple[str, ...]) -> str:
        """Return which sshd besides the primary one lets an account in without a chroot, or ""."""
        for daemon in self._beside():
            every: list[Settings] = []
            with contextlib.suppress(SftpJailError):  # `_unknown_elsewhere` says so
                if not daemon.unknown:
                    every = self._everywhere(account, groups, daemon)
            for found in every:
                unjailed = found.get("chrootdirectory") in ("", "none")
                if unjailed and not any(denials(found, account.name, groups)):
                    return f"{daemon} does not jail it"
        return ""

    def _everywhere(
        self, account: Account, groups: tuple[str, ...], daemon: Daemon
    ) -> list[Settings]:
        """Return a daemon's settings for an account at each place where it can tell one apart."""
        found = self._ask(account, groups, daemon)
        if not found.tells_places_apart:
            return [found]
        places = reached(daemon, found)
        return [self._ask(account, groups, daemon, connection) for connection in places]

    def _by_place(self, account: Account, groups: tuple[str, ...], found: Settings) -> str:
        """Return at which address or port the primary sshd does not jail an account, or "".

        Args:
            account, groups: whose.
            found: the settings for a connection to one of them.
        """
        if not found.tells_places_apart:
            return ""
        daemon = primary(self._host)
        places = reached(daemon, found)
        for connection in places if len(places) > 1 else ():
            there = self._ask(account, groups, connection=connection)
            if there.get("chrootdirectory") not in ("", "none"):
                continue
            if not any(denials(there, account.name, groups)):
                fields = dict(pair.split("=") for pair in connection.split(","))
                return f"at {fields['laddr']}, port {fields['lport']}, {daemon} does not jail it"
        return ""

    def _behind(self, account: Account, groups: tuple[str, ...], found: Settings) -> str:
        """Return which sshd has not read its files since they changed, or "".

        Args:
            account, groups: anybody's; a daemon's files are everybody's.
            found: the primary sshd's settings for it.
        """
        if self._unread is None:
            self._unread = ""
            for daemon in running(self._host):
                with contextlib.suppress(SftpJailError):  # `_unknown_elsewhere` says so
                    self._unread = self._unread or self._files_of(daemon, account, groups, found)
        return self._unread

    def _files_of(
        self, daemon: Daemon, account: Account, groups: tuple[str, ...], found: Settings
    ) -> str:
        """Return what one sshd has not read, in words, or ""."""
        host = self._host
        if daemon.unknown:
            return ""
        told = found
        if daemon.peculiar != primary(host).peculiar:
            told = self._ask(account, groups, daemon)
        _, known = has_read(daemon, host, told)
        if known and (left := left_unread(daemon, host, told)):
            return f"{called(daemon, host)} has not read {left[-1]} since it was changed"
        return ""

    def _unknown_elsewhere(self, account: Account, groups: tuple[str, ...]) -> str:
        """Return of which sshd besides the primary one nobody knows whether it jails, or ""."""
        for daemon in self._beside():
            why = daemon.unknown
            try:
                if not why:
                    self._ask(account, groups, daemon)
            except SftpJailError as error:
                why = error.message
            if why:
                return f"whether {daemon} jails it is not known: {why}"
        return ""

    def _beside(self) -> list[Daemon]:
        """Return the sshds besides the primary one. They are looked for once.

        Raises:
            SftpJailError: systemctl(1) does not answer.
        """
        if self._unknown is not None:
            raise self._unknown
        if self._others is None:
            try:
                self._others = others(self._host)
            except SftpJailError as error:
                self._unknown = error
                raise
        return self._others

    def _settings(self, profile: Profile) -> dict[str, str]:
        """Return the settings in the Match block of a profile, by keyword."""
        pairs = (line.partition(" ") for line in settings(profile, self._config, self._host))
        return {keyword: value for keyword, _, value in pairs}

    def _refused(self, account: Account) -> str:
        """Return why sshd refuses the chroot, or ""."""
        above = posixpath.dirname(account.jail)
        if above not in self._flaws:
            self._flaws[above] = next(filter(None, map(self._flaw, components(above))), "")
        return self._flaws[above] or self._flaw(account.jail)

    def _flaw(self, path: str) -> str:
        found = self._stat(path)
        if found is None:
            return f"{path} is missing"
        flaw = self._host.files.flaw_of(path, found)
        if not flaw:
            return ""
        return f"{path} {flaw}"

    def _has_way_in(self, account: Account, shadow: Shadow, found: Settings) -> bool:
        """Return whether sshd lets an account in by what it has, or may have elsewhere.

        What PAM asks for beside a password is unknown.
        """
        if not account.local or "keyboard-interactive" in found.get("authenticationmethods"):
            return True
        return way_in(found, key=self._has_key(account, found), password=has_password(shadow))

    def _has_key(self, account: Account, found: Settings) -> bool:
        """Return whether an account has a key in force, or may have one elsewhere."""
        elsewhere = any(found.get(keyword) not in ("", "none") for keyword in OTHER_KEYS)
        if elsewhere or _reads_other_files(account, found):
            return True
        return self._counted(account)[1] > 0

    def _keyless(self, account: Account, shadow: Shadow, found: Settings) -> str:
        keyword = "AuthenticationMethods"
        if found.get("pubkeyauthentication") == "no":
            keyword = "PubkeyAuthentication"
        if self._has_key(account, found):
            where = found.where(keyword.lower())
            said = f"{keyword} {found.get(keyword.lower())} ({where})"
            return f"{said} wants more than the key that it has"
        no_key = f"it has no key in {keyfile(account.name)}"
        if self.keys(account):
            no_key += " that has not expired"
        if not has_password(shadow):
            return f"{no_key} and no password"
        where = found.where("passwordauthentication")
        return f"{no_key}, and PasswordAuthentication no ({where}) refuses its password"

    def _lacking(self, account: Account) -> str:
        """Return what is missing in a jail, or ""."""
        host, profile = self._host, account.profile
        assert profile is not None
        for bind in host.binds(account.name):
            there = (
                host.lstat(bind.source) if bind.kept == "session" else host.mount_at(bind.target)
            )
            if not there:
                return f"{bind.target.removeprefix(account.jail)} is not mounted"
            if host.mount_tables.is_hidden(bind):
                shown = bind.target.removeprefix(account.jail)
                return f"{shown} is hidden: something is mounted over it"
            if point := host.mount_tables.unmounted_ancestor(bind.source):
                return f"{point} is in fstab and not mounted"
        if profile.home == "bind" and not profile.in_home:
            if not self._is_dir(account.home):
                return f"{account.home} is not there"
            return self._not_shown(account) or self._elsewhere_shown(account)
        if profile.is_filled and not self._is_dir(account.files):
            return f"{account.files} is missing"
        return ""

    def _not_shown(self, account: Account) -> str:
        """Return a phrase if a jail does not show the account's home, or ""."""
        home = normal(account.home)
        if home == "/":
            return refusal(account, self._host, self._config)
        shown = self._homes_shown(account)
        if home in shown:
            return ""
        if shown:
            return f"its jail shows {shown[0]}, and its home is {home}"
        return f"its home {home} is not in its jail"

    def _elsewhere_shown(self, account: Account) -> str:
        """Return a phrase if a jail shows something other than the account's home, or "".

        For speed, the mount table is used, and the file system only if in doubt.
        """
        host = self._host
        for bind in host.binds(account.name):
            point = None
            if bind.kept == "fstab":
                point = host.mount_at(bind.target)
            if bind.role != "home" or point is None:
                continue
            home = self._stat(bind.source)
            device = ""
            if home:
                device = f"{os.major(home.st_dev)}:{os.minor(home.st_dev)}"
            if device != point.device and not host.same_file(bind.source, bind.target):
                return f"{bind.target.removeprefix(account.jail)} shows something else"
        return ""

    def _is_dir(self, path: str) -> bool:
        found = self._stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def _ask(
        self,
        account: Account,
        groups: tuple[str, ...],
        daemon: Daemon | None = None,
        connection: str = "",
    ) -> Settings:
        """Return sshd's settings for an account, cached for all accounts of the same kind.

        Accounts are of the same kind if they have the same profile and the same Match lines apply.

        Args:
            account, groups: whose.
            daemon: which sshd; None for the primary one.
            connection: see `sshd.spec`; "" for the daemon's usual one.

        Raises:
            SftpJailError: sshd refuses its configuration. This is cached too.
        """
        host = self._host
        connection = connection or (daemon.local if daemon else LOCAL)
        if self._broken is not None and daemon is None:
            raise self._broken
        try:
            kind = (connection, *self._kind(account, groups, daemon))
            if kind not in self._answers:
                self._answers[kind] = effective(host, account.name, connection, daemon)
        except SftpJailError as error:
            if daemon is None:
                self._broken = error
            raise
        return self._answers[kind]

    def _kind(
        self, account: Account, groups: tuple[str, ...], daemon: Daemon | None
    ) -> tuple[object, ...]:
        """Return the kind of an account for an sshd; see `_ask`."""
        assert account.profile is not None
        place = (account.profile.name, daemon)
        if place not in self._criteria:
            connection = LOCAL
            if daemon:
                connection = daemon.local
            answer = effective(self._host, account.name, connection, daemon)
            self._criteria[place] = answer.criteria
        return (*place, *(holds(one, account.name, groups) for one in self._criteria[place]))


def holds(criteria: str, name: str, groups: tuple[str, ...]) -> bool:
    """Return whether the users and groups of a Match line match an account; see sshd_config(5).

    The other criteria are about the connection.
    """
    names = {"user": (name,), "group": groups}
    return all(listed(names[kind], patterns) for kind, patterns in _about_users(criteria))


@lru_cache(maxsize=256)
def _about_users(criteria: str) -> tuple[tuple[str, str], ...]:
    """Return the User and Group criteria of a Match line."""
    return tuple(pair for pair in conditions(criteria) if pair[0] in ("user", "group"))


# With these sshd logs no login (auth.c, auth_log). `sshd -T` says SILENT for QUIET (log.c).
_SILENT = ("SILENT", "QUIET", "FATAL", "ERROR")


def _writes_elsewhere(daemon: Daemon, host: Host) -> bool:
    """Return whether a daemon's options keep its lines out of the log that we read.

    What a service of systemd writes to standard error is in the journal. In one that a socket
    starts, standard error may be the connection.
    """
    in_journal = host.systemd and daemon.pid and daemon.unit.endswith(".service")
    return bool(set(daemon.quiet) - set("ed" if in_journal else ""))


def _reads_other_files(account: Account, found: Settings) -> bool:
    """Return whether sshd looks for keys in other files than ours."""
    directory = keyfile(account.name).rpartition("/")[0]
    return found.words("authorizedkeysfile") != [f"{directory}/%u"]


def has_key(line: str) -> bool:
    """Return whether a line of an authorized_keys file is more than a comment."""
    return bool(line.strip()) and not line.startswith("#")


def _has_lapsed(line: str) -> bool:
    """Return whether a key line has an end that has come; not if it cannot be read."""
    if "expiry-time=" not in line.lower():
        return False
    from ..openssh.public_keys import line_has_lapsed  # late: few keys have an end

    try:
        return line_has_lapsed(line, time.time())
    except SftpJailError:
        return False


def usable_password(shadow: Shadow, found: Settings) -> bool:
    """Return whether an account has a password and sshd accepts passwords."""
    return has_password(shadow) and takes_passwords(found)


def has_password(shadow: Shadow) -> bool:
    """Return whether an account has a password that is not locked."""
    return shadow.password[:1] not in ("", "!", "*", "x")


def lacks_shadow(account: Account, host: Host, found: Settings) -> bool:
    """Return whether PAM refuses a local account because it has no line in shadow(5).

    As pam_unix(8) has it, if the account's line in passwd(5) says that the password is there.
    """
    if not account.local or host.people.has_shadow(account.name):
        return False
    if found.get("usepam") != "yes":
        return False
    return f"\n{account.name}:x:" in f"\n{host.text('/etc/passwd')}"


def takes_passwords(found: Settings) -> bool:
    """Return whether sshd accepts passwords."""
    return "yes" in (found.get("passwordauthentication"), found.get("kbdinteractiveauthentication"))


def why_locked(shadow: Shadow, found: Settings) -> str:
    """Return why PAM or sshd refuses even keys by shadow(5), apart from expiry, or ""."""
    if found.get("usepam") != "yes":
        locked = shadow.password.startswith("!")
        if locked:
            return "its password is locked, and sshd runs with UsePAM no"
        return ""
    changed, maximum = number(shadow.changed), number(shadow.maximum)
    if changed == 0:
        return "it must change its password first (chage -d 0)"
    if changed is not None and maximum is not None and changed + maximum < time.time() // DAY:
        return f"its password is too old (chage -M {maximum})"
    return ""
