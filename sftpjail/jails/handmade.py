"""Find jails that were made by hand in sshd_config, and the profiles that would be the same.

Nothing is changed here. sshd reports which block applies to which account. If a block has
something that no profile can express, it is reported with its file and line, and the block stays
as it is.
"""

from __future__ import annotations

import getopt
import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..model import Account, Key, Profile, components, frozen, inside, normal
from ..openssh import public_keys
from ..openssh.handmade import Block, Option, blocks
from ..openssh.match_blocks import DIRECTORY, DOORS, DROPIN, MAIN, WORDS
from ..openssh.settings import Settings, effective
from ..paths import KEYS_DIR
from .guards import why_not
from .homes import refusal
from .membership import is_valid

# Keywords that have their own setting in a profile.
_FIELDS = {
    "authorizedkeyscommand": "keys_command",
    "authorizedkeyscommanduser": "keys_command_user",
    "trustedusercakeys": "trusted_ca",
    "authorizedprincipalsfile": "principals",
}
_KNOWN = ("chrootdirectory", "forcecommand", "authorizedkeysfile", *_FIELDS)
_DOORS = dict(door.lower().split() for door in DOORS)


@frozen
class Command:
    """The options of internal-sftp (sftp-server(8))."""

    start: str = ""
    umask: str = ""
    read_only: bool = False
    deny: tuple[str, ...] = ()
    facility: str = ""
    level: str = ""


@frozen
class Member:
    """An account that such a block jails, with its chroot and keys.

    `pattern` is sshd's ChrootDirectory. `files` are the key files that sshd reads for it now, and
    `keys` are their keys in the same order.
    """

    account: Account
    chroot: str
    pattern: str
    keys: tuple[Key, ...] = ()
    files: tuple[str, ...] = ()


@frozen
class Found:
    """A Match block with a chroot, the equivalent profiles, and the accounts that it jails.

    Args:
        block: the block.
        profiles: none if there are `problems`.
        members: the accounts to which it applies.
        problems: what no profile can express, with file and line.
        notes: what will change, or stays as it is.
        command: the ForceCommand.
    """

    block: Block
    profiles: tuple[Profile, ...] = ()
    members: tuple[Member, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    command: Command = field(default_factory=Command)


class _Lacking(Exception):
    """Something that no profile can express."""


def find_handmade(host: Host, config: Config) -> list[Found]:
    """Return the jails made by hand, in the order in which sshd reads them.

    Args:
        host: the facts.
        config: its profiles keep their names and groups.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    found: list[Found] = []
    used = {profile.name for profile in config.profiles}
    for block in written(host):
        one = _Reader(block, host, config, used).read()
        used |= {profile.name for profile in one.profiles}
        found.append(one)
    return found


def written(host: Host) -> Iterator[Block]:
    """Yield the blocks of others with a chroot in the files that sshd reads.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    files = effective(host, "root").files
    main = [path for path in files if path == MAIN] or [MAIN]
    others = [path for path in files if path not in (MAIN, DROPIN) and not host.is_dir(path)]
    for path in (*others, *main):
        for block in blocks(host.text(path), path):
            chroot = block.option("chrootdirectory")
            if chroot and chroot.value.lower() != "none":
                yield block


class _Reader:
    """Reads one block."""

    def __init__(self, block: Block, host: Host, config: Config, used: Collection[str]) -> None:
        self.block, self.host, self.config, self.used = block, host, config, used
        self.problems: list[str] = []
        self.notes: list[str] = []

    def read(self) -> Found:
        """Return the block as Found."""
        block = self.block
        names, kind = self._whom()
        command = self._command()
        common = self._settings(command)
        profiles, members = [], list[Member]()
        for name in names if kind == "group" else names[:1]:
            of_group = {"group": name} if kind == "group" else {"match_user": tuple(names)}
            label = self._label(name, kind)
            own = self._members((name,) if kind == "group" else names, kind)
            profile = Profile(label, **{"group": "", **of_group, **common})  # type: ignore[arg-type]
            profile = replace(profile, chroot=self._chroot(own, kind))
            profiles.append(profile)
            members += [self._member(one, profile, settings) for one, settings in own.items()]
        if self.problems:
            profiles = []
        self._mounts(members)
        problems, notes = dict.fromkeys(self.problems), dict.fromkeys(self.notes)
        return Found(block, tuple(profiles), tuple(members), tuple(problems), tuple(notes), command)

    def _lack(self, words: str, option: Option | None = None) -> None:
        number = option.number if option else self.block.number
        self.problems.append(f"{self.block.path}:{number}: {words}")

    # -- the accounts ----------------------------------------------------------------------------

    def _whom(self) -> tuple[list[str], str]:
        """Return the names in the Match line, and their kind, "group" or "user"."""
        criteria = self.block.criteria
        if self.block.path != MAIN and posixpath.dirname(self.block.path) != DIRECTORY:
            self._lack(f"import changes no file but {MAIN} and those of {DIRECTORY}")
        if criteria is None:
            self._lack("this chroot is in no Match block, so it applies to everybody")
            return [], "user"
        if len(criteria) != 1 or criteria[0][0] not in ("group", "user"):
            words = f"a profile applies to a group or to users by name, not to {self.block.heading}"
            self._lack(words)
            return [], "user"
        kind, patterns = criteria[0]
        names = list(dict.fromkeys(patterns.split(",")))
        wrong = [name for name in names if not is_valid(name)]
        if wrong:
            self._lack(f"a profile applies to names; {wrong[0]} is a pattern or not a valid name")
            return [], kind
        if kind == "group":
            taken = {profile.group: profile.name for profile in self.config.profiles}
            for name in names:
                if self.host.group(name) is None:
                    self._lack(f"there is no group {name}")
                elif name in taken:
                    self._lack(f"the group {name} has the profile {taken[name]} already")
        else:
            known = {name for profile in self.config.profiles for name in profile.match_user}
            for name in known.intersection(names):
                self._lack(f"{name} is in match_user of a profile already")
        return names, kind

    def _label(self, name: str, kind: str) -> str:
        """Return an unused name for the profile."""
        label = re.sub(r"[@$]", "-", name)
        free = [label, f"{label}-{kind}", *(f"{label}-{number}" for number in range(2, 1000))]
        return next(one for one in free if one not in self.used)

    def _members(self, names: Sequence[str], kind: str) -> dict[Account, Settings]:
        """Return the accounts to which this block applies, with sshd's settings for each."""
        host, members = self.host, list[str]()
        for name in names:
            if kind == "group":
                members += host.group_members(name) or ()
            else:
                members += (name,)
        found: dict[Account, Settings] = {}
        chroot = self.block.option("chrootdirectory")
        assert chroot is not None
        for name in dict.fromkeys(members):
            account = host.account(name)
            if account is None:
                continue
            if not is_valid(name):
                self._lack(f"sftpjail does not accept the name of the member {name!r}")
                continue
            settings = effective(host, name)
            place = settings.origins.get("chrootdirectory")
            if place == (self.block.path, chroot.number):
                found[account] = settings
            else:
                where = settings.where("chrootdirectory")
                self.notes.append(f"{name} is jailed by {where} and not by this block")
        if members and not found and not self.problems:
            self._lack("this block jails nobody: other lines win for all its members")
        return found

    # -- the settings ----------------------------------------------------------------------------

    def _command(self) -> Command:
        """Return the ForceCommand."""
        option = self.block.option("forcecommand")
        if option is None:
            self._lack("without ForceCommand internal-sftp a session may be a shell in the chroot")
            return Command()
        try:
            return _parsed(option.value)
        except _Lacking as lack:
            self._lack(str(lack), option)
            return Command()

    def _settings(self, command: Command) -> dict[str, object]:
        """Return the fields of the profile for these settings."""
        found: dict[str, object] = {"home": "none", "mounts": "fstab", "shell": ""}
        found |= {"start": command.start, "umask": command.umask, "deny": command.deny}
        found["read_only"] = command.read_only
        options, seen = list[str](), set[str]()
        for option in self.block.options:
            name = option.name
            first = name not in seen
            seen.add(name)
            if name in _DOORS:
                self._door(option, first)
            elif name in ("include", "subsystem", "match"):
                self._lack(f"a profile cannot have {option.keyword}", option)
            elif name in _FIELDS and first and option.value.lower() != "none":
                found[_FIELDS[name]] = option.value
            elif name not in _KNOWN and (first or name in ("acceptenv", "setenv")):
                options.append(f"{option.keyword} {option.value}")
            if "'" in option.value and '"' in option.value:
                self._lack(f"{option.keyword} has both kinds of quotes", option)
        found["sshd_options"] = tuple(options)
        return found

    def _door(self, option: Option, first: bool) -> None:
        opens = option.value.lower() != _DOORS[option.name]
        if opens and first and option.name != "disableforwarding":
            self._lack(f"{option.keyword} {option.value}: every jail shuts that", option)

    def _chroot(self, members: Mapping[Account, Settings], kind: str) -> str:
        """Return the chroot in the form of a profile."""
        option = self.block.option("chrootdirectory")
        assert option is not None
        value = option.value.strip('"')
        if value.startswith("%"):
            pattern = value
        else:
            pattern = normal(value)
        if kind == "user" and len(members) == 1 and "%" not in pattern:
            (account,) = members
            if pattern == normal(account.home):
                return "%h"
            if posixpath.basename(pattern) == account.name:
                pattern = f"{posixpath.dirname(pattern)}/%u"
        elsewhere = [a for a in members if a.expand(pattern) != normal(a.home)]
        if members and not elsewhere and pattern.endswith("/%u"):
            return "%h"
        if "%" not in pattern:
            words = "not named by the user"
            if kind == "group":
                words = "one directory for all of them"
            self._lack(
                f"the chroot {pattern} is {words}: a profile's is %h or /DIRECTORY/%u", option
            )
        elif pattern != "%h" and not re.fullmatch(r"(/[^/%\s\"'\\#]+)+/%u", pattern):
            self._lack(f"a profile's chroot is %h or /DIRECTORY/%u, not {pattern}", option)
        return pattern

    # -- the members -----------------------------------------------------------------------------

    def _member(self, found: Account, profile: Profile, settings: Settings) -> Member:
        """Return one account as it is now; add a problem if it cannot be jailed like this."""
        host, name = self.host, found.name
        account = replace(found, profile=profile)
        pattern = settings.get("chrootdirectory")
        chroot = normal(found.expand(pattern))
        reason = why_not(account, host)
        if not reason and not found.local:
            reason = "it comes from a directory service"
        if reason:
            self._lack(f"will not jail {name}: {reason}")
        missing = [path for path in components(chroot) if not host.is_dir(path)]
        flaws = [f"{path} {flaw}" for path in components(chroot) if (flaw := host.flaw(path))]
        if missing or flaws:
            why = flaws[0] if flaws else f"{missing[0]} is missing"
            self._lack(f"sshd refuses the logins of {name}: {why}")
        elif wrong := refusal(account, host, self.config):
            self._lack(wrong)
        command = _parsed_or_none(settings.get("forcecommand"))
        if command is None:
            self._lack(
                f"another ForceCommand is in force for {name}: {settings.get('forcecommand')}"
            )
        shut = [door for door, value in _DOORS.items() if settings.get(door) not in ("", value)]
        shut = [door for door in shut if door != "disableforwarding"]
        if shut:
            self.notes.append(f"will be shut, and is open now: {', '.join(shut)}")
        try:
            keys, files = self._keys(account, settings)
        except SftpJailError as error:
            self._lack(error.message)
            keys, files = (), ()
        return Member(account, chroot, pattern, keys, files)

    def _keys(
        self, account: Account, settings: Settings
    ) -> tuple[tuple[Key, ...], tuple[str, ...]]:
        """Return the keys that sshd accepts for an account now, and their files.

        Raises:
            SftpJailError: a file cannot be read safely.
        """
        keys: dict[str, Key] = {}
        files = []
        for pattern in settings.words("authorizedkeysfile"):
            if pattern == "none":
                continue
            path = normal(posixpath.join(account.home, account.expand(pattern)))
            inner = inside(path, normal(account.home))
            data = self.host.owned.read(path, account.uid, account.home if inner else "/")
            if data is None:
                continue
            files.append(path)
            (entries,) = public_keys.survey([data.decode("utf-8", "surrogateescape")], self.host)
            for entry in entries:
                if entry.key is None:
                    place = f"{path}, line {entry.number}"
                    self.notes.append(f"{place}: no key for sshd, left out: {entry.problem}")
                    continue
                wrong = ""
                if not inside(path, KEYS_DIR):
                    wrong = public_keys.unfit(entry.key)
                if wrong:
                    self._lack(f"a key of {account.name} ({path}, line {entry.number}): {wrong}")
                known = keys.setdefault(public_keys.blob(entry.key), entry.key)
                if known.options != entry.key.options:
                    self._lack(f"{account.name} has a key twice, with other options: {path}")
        return tuple(keys.values()), tuple(files)

    def _mounts(self, members: Sequence[Member]) -> None:
        """Add notes about mounts in these jails, by fstab or by hand."""
        for entry in self.host.fstab:
            if not entry.option("x-sftpjail.user") and _within(entry.target, members):
                words = f"stays as it is: {entry.source} at {entry.target} (/etc/fstab)"
                self.notes.append(words)
        lasting = {normal(entry.target) for entry in self.host.fstab}
        for target in self.host.mounts:
            if target not in lasting and _within(target, members):
                self.notes.append(f"stays as it is: a mount at {target} that is not in /etc/fstab")


def _within(target: str, members: Sequence[Member]) -> bool:
    return any(inside(target, member.chroot) for member in members)


def command_of(settings: Settings) -> Command:
    """Return the effective ForceCommand, or an empty one if no profile can express it."""
    return _parsed_or_none(settings.get("forcecommand")) or Command()


def _parsed_or_none(value: str) -> Command | None:
    try:
        return _parsed(value)
    except _Lacking:
        return None


@lru_cache(maxsize=256)
def _parsed(value: str) -> Command:
    """Parse a ForceCommand.

    Raises:
        _Lacking: no profile can express it.
    """
    try:
        words = shlex.split(value)
        words = shlex.split(words[0]) if len(words) == 1 else words  # quoted as a whole
        options, rest = getopt.getopt(words[1:], "d:f:l:P:p:Q:u:cehR")
    except (ValueError, getopt.GetoptError) as error:
        raise _Lacking(f"ForceCommand {value}: {error}") from error
    if words[:1] != ["internal-sftp"]:
        raise _Lacking(f"ForceCommand {value}: a jail's is internal-sftp")
    if len(words) > WORDS:
        raise _Lacking(f"ForceCommand has more than the {WORDS} words that sshd keeps")
    given = dict(options)  # the last one wins
    odd = [option for option in given if option not in ("-d", "-f", "-l", "-P", "-u", "-R")]
    if odd or rest:
        raise _Lacking(f"a profile cannot set {(odd or rest)[0]} of internal-sftp")
    umask, start = given.get("-u", ""), given.get("-d", "")
    if umask and not re.fullmatch(r"0?[0-7]{1,3}", umask):
        raise _Lacking(f"-u {umask}: a profile's umask has three octal digits")
    if start and not re.fullmatch(r"/[A-Za-z0-9_./%u@+-]*", start):
        raise _Lacking(f"-d {start}: a profile's start is a path from / on, with no token but %u")
    return Command(
        start=start,
        umask=umask[-3:].zfill(3) if umask else "",
        read_only="-R" in given,
        deny=tuple(filter(None, given.get("-P", "").split(","))),
        facility=given.get("-f", "").upper(),
        level=given.get("-l", "").upper(),
    )
