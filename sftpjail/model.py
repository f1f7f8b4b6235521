"""The nouns: accounts, profiles, keys, binds, problems and events.

Plain data, the standard library only.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property, lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform, get_args

from .errors import SftpJailError, UsageError
from .errors.escapes import Choice, has_controls, one_line, remedy

SEVERITIES = ("open", "broken", "advice")

# The bits of a mode by which others than the owner may write: inode(7).
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

T = TypeVar("T")

# A name reaches sshd_config (Match User: a pattern list), fstab options (commas) and paths,
# so nothing that means something there. Wider than useradd's own rule because NSS brings
# Mixed.Case and user@domain.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?\Z")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass, as `dataclass(frozen=True)` does, at half the cost.

    dataclass() compiles six methods of each class whenever a program starts, which was a quarter of
    the time that the hook of useradd(8) takes. So our classes share three of them.

    Args:
        cls: a class whose fields are annotated.
    """
    made = dataclass(frozen=True, eq=False, repr=False)(cls)
    shared: dict[str, Any] = {"__eq__": _equals, "__hash__": _hash, "__repr__": _shown}
    for name, method in shared.items():
        setattr(made, name, method)
    return made


def _equals(self: object, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _compared(self) == _compared(other)


def _hash(self: object) -> int:
    return hash(tuple(_compared(self)))


def _compared(self: Any) -> list[object]:
    return [getattr(self, name) for name in _names(self.__class__, "compare")]


def _shown(self: Any) -> str:
    values = (f"{name}={getattr(self, name)!r}" for name in _names(self.__class__, "repr"))
    return f"{self.__class__.__qualname__}({', '.join(values)})"


@cache
def _names(cls: Any, purpose: str) -> list[str]:
    return [one.name for one in fields(cls) if getattr(one, purpose)]


# Characters of a text of an administrator's own, which becomes a part of a record or of a line.
LONGEST_TEXT = 200
LONGEST_COMMENT = 1000  # far below what chpasswd(8) still reads in a line of passwd(5)


def free_text(text: str, what: str, most: int = LONGEST_TEXT) -> str:
    """Return an administrator's own words without blanks around them.

    Args:
        text: the words.
        what: whose value they are, for messages, such as "--reason".
        most: how many characters they may have.

    Raises:
        UsageError: they are more than one line, or too long.
    """
    text = text.strip(" ")
    if has_controls(text):
        raise UsageError(
            f"{what} has a line break or another control character, and must be one line of text:"
            f" {text[:40]!r}"
        )
    if len(text) > most:
        raise UsageError(f"{what} has {len(text)} characters, and may have {most}")
    return text


def valid_name(name: str, kind: str = "account") -> str:
    """Return NAME if it is safe as a path component, a pattern and an fstab option.

    Args:
        name: an account or group name.
        kind: what it names, for the error.

    Raises:
        UsageError: useradd(8) would refuse it, or it would mean something in sshd_config(5)
            or fstab(5).
    """
    if not is_valid_name(name):
        raise UsageError(
            f"{name!r} is not a valid {kind} name: "
            "letters, digits and _ . @ - are, and it may not begin with . @ or -"
        )
    return name


def is_valid_name(name: str) -> bool:
    """Return whether we accept a name."""
    return bool(_NAME.match(name)) and len(name) <= 256


def number(text: str) -> int | None:
    """Return the id or day that a field of passwd(5), group(5) or shadow(5) is.

    None where it is none.

    The last that fits into 32 bits is no id: chown(2) takes it for "as it is".
    """
    # str.isdigit and int() take digits of other scripts too, the C library does not.
    if text.isascii() and text.isdecimal() and len(text.lstrip("0")) <= 10:
        found = int(text)
        if found < 0xFFFFFFFF:
            return found
    return None


MOST_NETWORKS = 64  # of one account or profile: PAM reads them at each login, sshd in one line


def networks(words: Iterable[str]) -> tuple[str, ...]:
    """Return addresses and networks in their usual form, each once.

    They mean the same to sshd (ssh_config(5), PATTERNS) and to pam_access(8): so no wildcards, no
    exclusions and no names.

    Args:
        words: such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.

    Raises:
        UsageError: one is none, and why.
    """
    found = tuple(dict.fromkeys(_network(word.strip()) for word in words if word.strip()))
    if len(found) > MOST_NETWORKS:
        raise UsageError(f"{len(found)} addresses are too many; the limit is {MOST_NETWORKS}")
    return found


def _network(word: str) -> str:
    from ipaddress import IPv6Network, ip_network  # late: most hosts have none

    if not re.fullmatch(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?", word):
        reason = "names and patterns are not"
        raise UsageError(f"{word!r} is no address: 192.0.2.7 or 192.0.2.0/24 is, {reason}")
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise UsageError(f"{word!r} is neither an address nor a network") from None
    if "/" in word and str(network.network_address) != str(_address(word)):
        raise UsageError(f"{word} has host bits set; the network is {network}")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        four = network.network_address.ipv4_mapped
        raise UsageError(f"{word}: sshd takes such a client for an IPv4 one; write {four}")
    single = network.prefixlen == network.max_prefixlen
    if single:
        return str(network.network_address)
    return str(network)


def _address(word: str) -> object:
    from ipaddress import ip_address

    return ip_address(word.partition("/")[0])


_UNITS = "KMGT"
LEAST_SIZE = 1 << 20  # bytes; less is no room for what a home begins with
MOST_SIZE = 1 << 60


def size(text: str) -> int:
    """Return how many bytes a size such as 500M or 10G is.

    K, M, G and T are powers of 1024.

    Raises:
        UsageError: it has another form, or is too small or too large.
    """
    found = re.fullmatch(rf"([0-9]{{1,19}})([{_UNITS}]?)", text)
    if not found:
        raise UsageError(f"{text!r} is not a size, such as 500M or 10G")
    count = int(found[1]) << 10 * (_UNITS.find(found[2]) + 1 if found[2] else 0)
    if not LEAST_SIZE <= count <= MOST_SIZE:
        raise UsageError(f"{text}: a quota is at least 1M and less than 1048576T")
    return count


def exact_size(count: int) -> str:
    """Return a number of bytes as `size` reads it again: 10G, 1536M, 1048577."""
    for power in range(len(_UNITS), 0, -1):
        if not count % (1 << 10 * power):
            return f"{count >> 10 * power}{_UNITS[power - 1]}"
    return str(count)


MOST_DAYS = 36500  # a century


def days(text: str, least: int = 0) -> int:
    """Return how many days 90, 90d or 12w are.

    Args:
        text: the words.
        least: the fewest days that make sense.

    Raises:
        UsageError: it is neither, too few, or more than a century.
    """
    found = re.fullmatch(r"([0-9]{1,5})([dw]?)", text)
    unit = 1
    if found and found[2] == "w":
        unit = 7
    count = -1
    if found:
        count = int(found[1]) * unit
    if not least <= count <= MOST_DAYS:
        raise UsageError(f"{text!r} is not a number of days, such as 90d, or weeks, such as 12w")
    return count


def in_units(count: int) -> str:
    """Return a number of bytes in the largest unit of which it is one or more: 10G, 1.5M, 512."""
    power = min((max(count, 1).bit_length() - 1) // 10, len(_UNITS))
    value = f"{count / (1 << 10 * power):.1f}".removesuffix(".0")
    return value + (_UNITS[power - 1] if power else "")


class Request(NamedTuple):
    """What a client of SFTP may ask for (draft-ietf-secsh-filexfer-02, and PROTOCOL of OpenSSH).

    `kind` is its type, or its extended name. `fields` are s a string, h a handle, d data, u 32
    bits, q 64 bits, a attributes (none), e a string that is best left empty. `writes` says that
    internal-sftp refuses it with -R (does_write of sftp-server.c); there open is refused only for
    writing.
    """

    kind: int | str
    fields: str
    writes: bool = False


# By the names that `internal-sftp -Q requests` prints (sftp-server(8), -P);
# a request that it does not know would be ignored.
REQUESTS = {
    "open": Request(3, "sua"),
    "close": Request(4, "h"),
    "read": Request(5, "hqu"),
    "write": Request(6, "hqd", writes=True),
    "lstat": Request(7, "s"),
    "fstat": Request(8, "h"),
    "setstat": Request(9, "sa", writes=True),
    "fsetstat": Request(10, "ha", writes=True),
    "opendir": Request(11, "s"),
    "readdir": Request(12, "h"),
    "remove": Request(13, "s", writes=True),
    "mkdir": Request(14, "sa", writes=True),
    "rmdir": Request(15, "s", writes=True),
    "realpath": Request(16, "s"),
    "stat": Request(17, "s"),
    "rename": Request(18, "ss", writes=True),
    "readlink": Request(19, "s"),
    "symlink": Request(20, "ss", writes=True),
    "posix-rename": Request("posix-rename@openssh.com", "ss", writes=True),
    "statvfs": Request("statvfs@openssh.com", "s"),
    "fstatvfs": Request("fstatvfs@openssh.com", "h"),
    "hardlink": Request("hardlink@openssh.com", "ss", writes=True),
    "fsync": Request("fsync@openssh.com", "h", writes=True),
    "lsetstat": Request("lsetstat@openssh.com", "sa", writes=True),
    "limits": Request("limits@openssh.com", ""),
    "expand-path": Request("expand-path@openssh.com", "s"),
    "copy-data": Request("copy-data", "hqqhq", writes=True),
    "home-directory": Request("home-directory", "e"),
    "users-groups-by-id": Request("users-groups-by-id@openssh.com", "ee"),
}


def stored(count: int | None) -> str:
    """Return how much an account may store, in words: bytes, 0 for any number, None by profile."""
    if count is None:
        return "what its profile says"
    if not count:
        return "any number of bytes"
    return in_units(count)


@frozen
class Profile:
    """What the jails of one Unix group are like: one section of sftpjail.conf(5), one Match block.

    Paths are absolute. `chroot` keeps its %u, %h and %% as sshd_config(5) knows them. `mounts` is
    what it is on this host; where the configuration leaves that to setup (auto, as it does unless
    it says otherwise), `mounts_because` is why.
    """

    name: str
    group: str = "sftponly"
    match_user: tuple[str, ...] = ()
    chroot: str = "/srv/sftp/%u"
    home: str = "bind"
    mounts: str = "fstab"
    files: str = "files"
    shell: str = "/usr/sbin/nologin"
    read_only: bool = False
    umask: str = ""
    start: str = ""
    deny: tuple[str, ...] = ()
    sshd_options: tuple[str, ...] = ()
    keys_command: str = ""
    keys_command_user: str = "nobody"
    trusted_ca: str = ""
    principals: str = ""
    passwords: str = "host"
    authentication_methods: str = ""
    addresses: tuple[str, ...] = ()
    connections: int = 0
    quota: int = 0
    mounts_because: str = field(default="", compare=False)

    @property
    def in_home(self) -> bool:
        """Whether the jail is the account's own home (the recipe's first form, `chroot = %h`)."""
        return self.chroot == "%h"

    @property
    def is_filled(self) -> bool:
        """Whether we make what is in the jails; with `home = none` an administrator does."""
        return self.home != "none"

    @property
    def base(self) -> str:
        """The directory that holds this profile's jails, or "" where they are the homes."""
        if self.in_home:
            return ""
        return posixpath.dirname(self.chroot)


@frozen
class Account:
    """One account of the host, and the profile it is jailed by, if any.

    A uid of -1 is one that is not there: gone, or not yet made. `forced`: somebody overrides the
    guard rails for it. `kept`: what may go on outside of its jail (see activity.KINDS); None leaves
    that as its record has it. `renamed`: the names now and before of files that were renamed for a
    jail that comes back with it.
    """

    name: str
    uid: int
    gid: int
    home: str
    shell: str = ""
    profile: Profile | None = None
    local: bool = True
    forced: bool = False
    kept: tuple[str, ...] | None = None
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def exists(self) -> bool:
        """Whether it is there; see `uid`."""
        return self.uid >= 0

    def expand(self, pattern: str) -> str:
        """Return a pattern with %u, %U, %h and %% replaced: sshd_config(5), TOKENS."""
        values = {"%%": "%", "%u": self.name, "%U": str(self.uid), "%h": self.home}
        return re.sub("%[%uUh]", lambda token: values[token[0]], pattern)

    @cached_property
    def jail(self) -> str:
        """The jail's root on the host: ChrootDirectory expanded."""
        if self.profile is None:
            return ""
        return normal(self.expand(self.profile.chroot))

    @property
    def files(self) -> str:
        """The writable directory inside a jail that has one of its own, on the host.

        That is one of `chroot = %h`, `home = inside`. A directory service gives an account its
        home, and nobody here can say otherwise: so that home is the directory.
        """
        assert self.profile is not None
        given = self.profile.home == "inside" and self.exists and not self.local
        if given and normal(self.home) != "/":
            return self.jail + normal(self.home)
        return posixpath.join(self.jail, self.profile.files)


# The option of mount(8) that has a map of owners, and ours that allows a source without nosuid.
MAP, SETID = "X-mount.idmap=", "x-sftpjail.setid"
# Ours with the group that may write in a mounted directory, and what the directory had before:
# acl.written.
GROUP = "x-sftpjail.group="
# An account that is still to be made has the uid and gid -1; see `Account.exists`.
_ID = "(-1|[0-9]+)"
_MAP = re.compile(rf"{MAP}u:([0-9]+):{_ID}:1(?:\\040| )g:([0-9]+):{_ID}:1")


class Ids(NamedTuple):
    """A uid and a gid."""

    uid: int
    gid: int


def id_map(owner: Ids, uid: int, gid: int) -> str:
    """Return the option of a mount that shows the files of OWNER as those of UID and GID.

    Its blank is as fstab(5) has it. See X-mount.idmap in mount(8), from util-linux 2.39 on.
    """
    return f"{MAP}u:{owner.uid}:{uid}:1\\040g:{owner.gid}:{gid}:1"


@frozen
class Bind:
    """A directory (or socket) of the host that shows inside a jail. Both paths are host paths.

    `role` is "mount" for what an administrator asked for, "home" and "log" for what a profile
    brings. `options` are those of mount(8); none means the usual ones. `kept` says where, as a
    profile's `mounts` does: in fstab and live, or for each session. `owner` is whose files the
    jail sees as the account's own, None where each file is its owner's. `group` is the one that may
    write in the source because of this mount, None for none.
    """

    source: str
    target: str
    read_only: bool = False
    role: str = "mount"
    options: tuple[str, ...] = ()
    kept: str = "fstab"

    @property
    def map(self) -> str:
        """The option with a map of owners, or ""."""
        return _option(self.options, MAP)

    @property
    def owner(self) -> Ids | None:
        """Whose files the jail sees as the account's, by its map; None where that is not ours."""
        found = _MAP.fullmatch(self.map)
        if not found:
            return None
        return Ids(int(found[1]), int(found[3]))

    @property
    def is_asked_for(self) -> bool:
        """Whether an administrator has asked for it, and so a file of accounts has it.

        Of what a profile brings, that is a home with the files of another owner.
        """
        return self.role == "mount" or (self.role == "home" and self.owner is not None)

    @property
    def group(self) -> int | None:
        """The group that may write in the source, by `mount --group`."""
        return number(self._shared[0])

    @property
    def former(self) -> str:
        """What the source had before it was shared, as acl.written has it, or ""."""
        return self._shared[1]

    @property
    def _shared(self) -> tuple[str, str]:
        gid, _, former = _option(self.options, GROUP).removeprefix(GROUP).partition(":")
        return gid, former


def outer_first(binds: Iterable[Bind]) -> list[Bind]:
    """Return binds in the order of mounting: none comes before one that it lies in."""
    return sorted(binds, key=lambda bind: depth(bind.target))


def inner_first(binds: Iterable[Bind]) -> list[Bind]:
    """Return binds in the order of unmounting: none comes before one that lies in it."""
    return sorted(binds, key=lambda bind: -depth(bind.target))


def innermost(binds: Iterable[Bind], path: str) -> Bind | None:
    """Return the innermost of some binds at or above PATH, which it shows, or None."""
    around = [bind for bind in binds if inside(path, bind.target)]
    return max(around, key=lambda bind: len(bind.target), default=None)


@lru_cache(maxsize=1 << 8)  # the mounts of most jails have the same ones
def _option(options: tuple[str, ...], beginning: str) -> str:
    """Return the first of some options that begins so, or ""."""
    return next((option for option in options if option.startswith(beginning)), "")


def group_option(gid: int, former: str = "") -> str:
    """Return the option of a mount whose directory a group shares.

    Args:
        gid: the group.
        former: what the directory had before any mount asked for that, as acl.written has it.
    """
    return f"{GROUP}{gid}" + (f":{former}" if former else "")


def map_ids(option: str, target: str) -> tuple[Ids, Ids]:
    """Return who owns files on disk, and who in the jail, by the option of a mount.

    Args:
        option: see `id_map`.
        target: of the mount, for the error.

    Raises:
        SftpJailError: it is of another form.
    """
    found = _MAP.fullmatch(option)
    if not found:
        raise SftpJailError(
            f"{target} has a map of owners that sftpjail has not made: {option}",
            advice="give that line of fstab the form that `sftpjail mount --as` writes, or none",
        )
    disk_uid, uid, disk_gid, gid = map(int, found.groups())
    return Ids(disk_uid, disk_gid), Ids(uid, gid)


@frozen
class Key:
    """One line of an authorized_keys file as ssh-keygen -l sees it.

    See sshd(8), AUTHORIZED_KEYS FILE FORMAT.
    """

    line: str
    type: str
    bits: int
    fingerprint: str
    comment: str = ""
    options: tuple[str, ...] = ()


class Group(NamedTuple):
    """One line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


class Shadow(NamedTuple):
    """The fields of shadow(5) that decide about a login.

    The password's hash, and days, as text, "" for none.
    """

    password: str
    changed: str
    maximum: str
    inactive: str
    expire: str


@frozen
class Problem:
    """Something that is wrong: what and where, why it matters, and what is to be done about it.

    `fix` is a command that is complete and fixes it; `choices` are labelled commands, where a
    person must decide; `advice` is a sentence, where there is no fix. All are one line each,
    whatever a value in them is. `severity` is open (somebody gets out of a jail, or into one),
    broken (somebody cannot work), or advice: nothing is wrong with a jail, but somebody should
    know, and `check` exits 0 for it. `about` is an account's name, or "host"; a plugin leaves it
    empty, since who asks it knows. `concerns` names the accounts that have this same problem, also
    filled in by who asks. `hides`: it is the cause, or the account is closed on purpose, so that
    what else is found of the same account is not reported, unless its jail is open. `follows`: it
    is a consequence, not reported where another problem of the account or of the host names a path
    that it names too, or one above.
    """

    what: str
    why: str
    fix: str = ""
    advice: str = ""
    severity: str = "broken"
    choices: tuple[Choice, ...] = ()
    about: str = ""
    concerns: tuple[str, ...] = ()
    hides: bool = False
    follows: bool = False

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        parts = remedy(self.fix, self.choices, self.advice)._asdict()
        texts = {name: one_line(getattr(self, name)) for name in ("about", "what", "why")}
        for name, value in (parts | texts).items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, error: SftpJailError, why: str = "", about: str = "") -> Problem:
        """Return the problem that an error is; WHY it matters, where the error does not say so."""
        return cls(
            error.message,
            error.why or why,
            error.fix,
            error.advice,
            error.severity,
            error.choices,
            about,
        )

    def describe(self) -> dict[str, object]:
        """Return the problem for --json."""
        return {
            "about": self.about,
            "concerns": list(self.concerns or [self.about] * (self.about not in ("", "host"))),
            "severity": self.severity,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "choices": [choice._asdict() for choice in self.choices],
            "advice": self.advice,
        }


@frozen
class Fact:
    """One line of `explain`: under a topic something has a value.

    `note` is a verdict or where the value comes from. `depth` indents a thing below the one before
    it; `bad` says that the note is a problem.
    """

    topic: str
    name: str
    value: str = ""
    note: str = ""
    bad: bool = False
    depth: int = 0

    def __post_init__(self) -> None:
        for name in ("topic", "name", "value", "note"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


@frozen
class Closed:
    """That an account is shut out: why, and by which command.

    `until` says what lets it in again by itself: "jail" is the next plan that can make its
    jail, a date (YYYY-MM-DD, UTC) the first plan from then on, "" nothing. `expire` is the
    expiry that it had before, as in shadow(5), None where that was left alone. `since` is the
    date of a `disable`, "" of anything else.
    """

    why: str
    by: str
    until: str = ""
    expire: str | None = None
    since: str = ""


@frozen
class Origin:
    """What was there before us, so that it can be put back; kept in /var/lib/sftpjail/accounts.

    `made` lists paths and groups (as `group:NAME`) that we made; `was` the fields of the account
    that we changed; `owners` maps a directory whose owner we changed to its (uid, gid, mode),
    `renamed` a file's name now to its old one. `forced` says that somebody overrode the guard rails
    for this account. `uid` is that of the account for which we made all this, -1 where it is not
    known: a name alone may be somebody else's by now. `kept` is what an administrator lets go on
    outside of the jail, by `adopt --keep`; `closed` says that the account is shut out. `group` and
    `gid` are those by which it was jailed last: a group keeps its gid when it is renamed.
    """

    made: tuple[str, ...] = ()
    was: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    forced: bool = False
    uid: int = -1
    kept: tuple[str, ...] = ()
    closed: Closed | None = None
    group: str = ""
    gid: int = -1

    @property
    def is_of_jail(self) -> bool:
        """Whether it says more than what a deleted account has left, or that one is shut out."""
        told = self.was or self.owners or self.renamed or self.kept or self.forced
        return self.uid >= 0 or bool(told)


# What happens in jails; there is a directory of hook scripts, and a plugin's hook, for each.
EventKind = Literal[
    "upload",
    "upload-failed",
    "download",
    "rename",
    "delete",
    "session-start",
    "session-end",
    "gap",
]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)


@frozen
class TransferEvent:
    """One thing that happened in a jail, or of which the log has lost track.

    Attributes:
        id: names this happening; the same when it is handed out again, so that a script
            recognises a repetition. Letters, digits and dashes.
        kind: `upload` is a file that was written and closed; `upload-failed` one whose transfer
            ended with an error of the server's, or with its session; `gap` says that the log
            daemon dropped lines or cut one.
        at: seconds since the epoch, as the log has them.
        user: the account; "" where a gap's is unknown.
        uid: its number, or -1.
        address: the client's, or "".
        session: the process id of the session's internal-sftp, or 0.
        path: as the session saw it, absolute; "" for sessions and gaps. It is the client's.
        to: the new name of a rename, as `path`, else "".
        read: bytes that the client got.
        written: bytes that the client wrote.
        reason: why an upload failed, or what was lost in a gap; else "".
        renamed_from: of an upload that the client wrote under a temporary name and then renamed
            into place: that name, else "".
        verified: the log daemon says that a process of the account's uid wrote the line.
    """

    id: str
    kind: EventKind
    at: int
    user: str
    uid: int = -1
    address: str = ""
    session: int = 0
    path: str = ""
    to: str = ""
    read: int = 0
    written: int = 0
    reason: str = ""
    renamed_from: str = ""
    verified: bool = False

    @property
    def hook(self) -> str:
        """The hook of plugins that hears of it."""
        return f"on_{self.kind.replace('-', '_')}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for the queue and for scripts."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> TransferEvent:
        """Return the event of such an object.

        Raises:
            TypeError: a field is missing or unknown.
        """
        return cls(**record)


def inside(path: str, directory: str) -> bool:
    """Return whether PATH is DIRECTORY or lies below it, by components and not by characters."""
    path, directory = normal(path), normal(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def depth(path: str) -> int:
    """Return how many directories lie above a normal absolute path."""
    return path.count("/")


@lru_cache(maxsize=1 << 12)  # a jail's few paths are compared again and again
def normal(path: str) -> str:
    """Return an absolute path in its shortest form.

    normpath(3) alone would keep two leading slashes.
    """
    return "/" + posixpath.normpath(path).lstrip("/")


def is_roots(found: os.stat_result) -> bool:
    """Return whether root owns what stat(2) has found, and nobody else may write there.

    The group bits of a mode with an access list are the list's mask: acl(5).
    """
    return found.st_uid == 0 and not found.st_mode & OTHERS_WRITE


def components(path: str) -> list[str]:
    """Return `/`, `/srv`, `/srv/sftp` for /srv/sftp."""
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))]
