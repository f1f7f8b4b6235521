"""Attempts by SFTP: every request that takes a path, in every spelling, through links of both kinds; every extension;
handles that nobody gave; packets that are none. Runs in a machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
from collections.abc import Callable, Iterator
from functools import partial

from canaries import Zone
from lab import Attempt, Lab, Out, tell
from wire import (
    APPEND,
    CREATE,
    EXCLUSIVE,
    EXTENDED,
    HANDLE,
    NO_ATTRS,
    READ,
    TRUNCATE,
    WRITE,
    Gone,
    Raw,
    Reply,
    Sftp,
    Wide,
    attrs,
    pack,
)

OPEN, CLOSE, READ_FILE, WRITE_FILE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = range(3, 13)
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(13, 21)
POSIX_RENAME, STATVFS, FSTATVFS = (
    b"posix-rename@openssh.com",
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
)
HARDLINK, FSYNC, LSETSTAT = b"hardlink@openssh.com", b"fsync@openssh.com", b"lsetstat@openssh.com"
LIMITS, EXPAND, COPY = b"limits@openssh.com", b"expand-path@openssh.com", b"copy-data"
HOME_DIRECTORY, IDS = b"home-directory", b"users-groups-by-id@openssh.com"
# Everything that OpenSSH announces until 10.6 (PROTOCOL, section 4; sftp-server.c, process_init).
KNOWN = {
    POSIX_RENAME,
    STATVFS,
    FSTATVFS,
    HARDLINK,
    FSYNC,
    LSETSTAT,
    LIMITS,
    EXPAND,
    COPY,
    HOME_DIRECTORY,
    IDS,
}

Asks = Callable[[Lab, bytes], str]


# --- requests that take a path -----------------------------------------


def opened(flags: int, lab: Lab, path: bytes) -> str:
    """Open, read, write, and look at what was opened."""
    reply = lab.ask(OPEN, path, flags, attrs(mode=0o666))
    if reply.kind != HANDLE:
        return tell(reply)
    handle = reply.string()
    replies = [lab.ask(FSTAT, handle), lab.ask(READ_FILE, handle, Wide(0), 4096)]
    if flags & (WRITE | APPEND):
        replies.append(lab.ask(WRITE_FILE, handle, Wide(0), b"written from inside\n"))
        replies.append(lab.ask(FSETSTAT, handle, attrs(mode=0o600)))
    lab.ask(CLOSE, handle)
    return tell(reply)


def listed(lab: Lab, path: bytes) -> str:
    reply = lab.ask(OPENDIR, path)
    if reply.kind == HANDLE:
        lab.ask(READDIR, reply.string())
        lab.ask(CLOSE, reply.string())
    return tell(reply)


def plain(kind: int | bytes, lab: Lab, path: bytes, *more: bytes) -> str:
    return tell(lab.ask(kind, path, *more))


def from_there(kind: int | bytes, lab: Lab, path: bytes) -> str:
    """A request with two paths, the first of them outside; and what it would have brought in."""
    brought = lab.name().encode()
    reply = lab.ask(kind, path, brought)
    return tell(reply) if not reply.ok else f"{tell(reply)}, read: {opened(READ, lab, brought)}"


def to_there(kind: int | bytes, lab: Lab, path: bytes) -> str:
    return tell(lab.ask(kind, lab.file().encode(), path))


def copied(lab: Lab, path: bytes) -> str:
    """copy-data from there to a file inside."""
    source = lab.ask(OPEN, path, READ, NO_ATTRS)
    name = lab.name().encode()
    target = lab.ask(OPEN, name, READ | WRITE | CREATE, NO_ATTRS)
    replies = [source]
    if source.kind == HANDLE and target.kind == HANDLE:
        replies.append(lab.ask(COPY, source.string(), Wide(0), Wide(0), target.string(), Wide(0)))
        lab.ask(READ_FILE, target.string(), Wide(0), 4096)
    for reply in (source, target):
        if reply.kind == HANDLE:
            lab.ask(CLOSE, reply.string())
    return tell(*replies)


# The request, and what of a zone it is for: a file, the directory, one that is empty, the link, or
# a new name.
REQUESTS: dict[str, tuple[str, Asks]] = {
    "open to read": ("secret", partial(opened, READ)),
    "open to write": ("secret", partial(opened, WRITE)),
    "open to read and write": ("secret", partial(opened, READ | WRITE)),
    "open to append": ("secret", partial(opened, WRITE | APPEND)),
    "open to truncate": ("secret", partial(opened, WRITE | CREATE | TRUNCATE)),
    "open to make": ("new", partial(opened, WRITE | CREATE)),
    "open to make, exclusively": ("new", partial(opened, WRITE | CREATE | EXCLUSIVE)),
    "open with every flag": ("new", partial(opened, 63)),
    "open with unknown flags": ("secret", partial(opened, READ | 0xFFFF0000)),
    "open with no flag": ("secret", partial(opened, 0)),
    "open a directory": ("", partial(opened, READ)),
    "opendir": ("", listed),
    "opendir of what is below": ("sub", listed),
    "stat": ("secret", partial(plain, STAT)),
    "lstat": ("secret", partial(plain, LSTAT)),
    "stat of a directory": ("", partial(plain, STAT)),
    "lstat of a link": ("link", partial(plain, LSTAT)),
    "readlink": ("link", partial(plain, READLINK)),
    "realpath": ("link", partial(plain, REALPATH)),
    "statvfs": ("", partial(plain, STATVFS)),
    "expand-path": ("link", partial(plain, EXPAND)),
    "copy-data": ("secret", copied),
    "setstat: mode": ("secret", lambda lab, path: plain(SETSTAT, lab, path, attrs(mode=0o6777))),
    "setstat: size": ("secret", lambda lab, path: plain(SETSTAT, lab, path, attrs(size=0))),
    "setstat: owner": ("secret", lambda lab, path: plain(SETSTAT, lab, path, attrs(owner=(0, 0)))),
    "setstat: times": ("secret", lambda lab, path: plain(SETSTAT, lab, path, attrs(times=(1, 1)))),
    "lsetstat: mode": ("secret", lambda lab, path: plain(LSETSTAT, lab, path, attrs(mode=0o6777))),
    "lsetstat: times": ("link", lambda lab, path: plain(LSETSTAT, lab, path, attrs(times=(1, 1)))),
    "mkdir": ("new", lambda lab, path: plain(MKDIR, lab, path, NO_ATTRS)),
    "rmdir": ("empty", partial(plain, RMDIR)),
    "remove": ("secret", partial(plain, REMOVE)),
    "rename from there": ("secret", partial(from_there, RENAME)),
    "rename to there": ("new", partial(to_there, RENAME)),
    "posix-rename from there": ("secret", partial(from_there, POSIX_RENAME)),
    "posix-rename over it": ("secret", partial(to_there, POSIX_RENAME)),
    "hardlink from there": ("secret", partial(from_there, HARDLINK)),
    "hardlink to there": ("new", partial(to_there, HARDLINK)),
    "symlink there": ("new", lambda lab, path: tell(lab.ask(SYMLINK, b"x", path))),
}


# --- ways to write a path that lies outside -----------------------------------------


def _dots(lab: Lab, path: str) -> bytes:
    return f"{'../' * 12}{path.lstrip('/')}".encode()


def _encoded(dot: bytes, slash: bytes, lab: Lab, path: str) -> bytes:
    return (dot * 2 + slash) * 12 + path.lstrip("/").encode()


Spelling = Callable[[Lab, str], bytes]
SPELLINGS: dict[str, Spelling] = {
    "absolute": lambda lab, path: path.encode(),
    "with dots": _dots,
    "with dots from /": lambda lab, path: b"/" + _dots(lab, path),
    "with dots from the home": lambda lab, path: lab.home.encode() + b"/" + _dots(lab, path),
    "with dots from a mount": lambda lab, path: b"/web/" + _dots(lab, path),
    "beside a mount's source": lambda lab, path: (
        b"/web/../" + os.path.relpath(path, "/srv/web").encode()
    ),
    "with dots through nothing": lambda lab, path: b"nothing/" + _dots(lab, path),
    "with dots through a file": lambda lab, path: lab.file().encode() + b"/" + _dots(lab, path),
    "with two slashes": lambda lab, path: b"//" + path.replace("/", "//").encode(),
    "with dot components": lambda lab, path: path.replace("/", "/./").encode(),
    "with a slash behind": lambda lab, path: path.encode() + b"/",
    "with a dot behind": lambda lab, path: path.encode() + b"/.",
    "with %2e": partial(_encoded, b"%2e", b"%2f"),
    "with %252e": partial(_encoded, b"%252e", b"/"),
    "with dots of two bytes": partial(_encoded, b"\xc0\xae", b"/"),
    "with slashes of two bytes": partial(_encoded, b".", b"\xc0\xaf"),
    "with dots of three bytes": partial(_encoded, b"\xe0\x80\xae", b"/"),
    "with wide dots": partial(
        _encoded, "\N{FULLWIDTH FULL STOP}".encode(), "\N{FULLWIDTH SOLIDUS}".encode()
    ),
    "with backslashes": partial(_encoded, b".", b"\\"),
    "with NUL before": lambda lab, path: lab.home.encode() + b"\0" + path.encode(),
    "with NUL in front": lambda lab, path: b"\0" + path.encode(),
    "with NUL behind": lambda lab, path: path.encode() + b"\0.txt",
    "with bytes that are no UTF-8": lambda lab, path: b"\xff\xfe/" + _dots(lab, path),
    "with a newline": lambda lab, path: b"\n/" + _dots(lab, path),
    "from ~": lambda lab, path: b"~/" + _dots(lab, path),
    "from ~root": lambda lab, path: b"~root/.." + path.encode(),
    "longer than PATH_MAX": lambda lab, path: b"./" * 2100 + _dots(lab, path),
    "behind 5000 slashes": lambda lab, path: b"/" * 5000 + path.encode(),
    "behind a long component": lambda lab, path: b"a" * 300 + b"/" + _dots(lab, path),
    "as an address": lambda lab, path: b"file://localhost" + path.encode(),
}


def _place(zone: Zone, leaf: str, lab: Lab) -> str:
    names = {"new": f"{zone.path}/{os.path.basename(lab.name())}", "": zone.path}
    return names.get(leaf, f"{zone.path}/{leaf}")


def _spelled(ask: Asks, leaf: str, spell: Spelling, zone: int, lab: Lab) -> str:
    return ask(lab, spell(lab, _place(lab.flock.zones[zone], leaf, lab)))


def traversals(zones: int) -> Iterator[Attempt]:
    """Every request in every spelling, each aimed at one zone after the other; and every request at every zone."""
    turn = 0
    for how, spell in SPELLINGS.items():
        for request, (leaf, ask) in REQUESTS.items():
            turn += 1
            run = partial(_spelled, ask, leaf, spell, turn % zones)
            yield Attempt("traversal", f"{request}, {how}", run)
    for zone in range(zones):
        for request, (leaf, ask) in REQUESTS.items():
            run = partial(_spelled, ask, leaf, SPELLINGS["with dots from /"], zone)
            yield Attempt("traversal", f"{request}, zone {zone}", run)


# --- links -----------------------------------------


def _relative(lab: Lab, path: str) -> str:
    return "../" * 12 + path.lstrip("/")


LINKS: dict[str, Callable[[Lab, str], str]] = {
    "absolute": lambda lab, path: path,
    "relative": _relative,
    "through /proc/self/root": lambda lab, path: f"/proc/self/root{path}",
    "through /proc/1/root": lambda lab, path: f"/proc/1/root{path}",
    "through /proc/self/cwd": lambda lab, path: f"/proc/self/cwd/{_relative(lab, path)}",
    "through another link": lambda lab, path: lab.link_to(path),
    "in the mount": lambda lab, path: lab.link_to(_relative(lab, path)),
}


def _through(ask: Asks, leaf: str, aim: Callable[[Lab, str], str], zone: int, lab: Lab) -> str:
    """Make a link to the directory, and use what lies behind it."""
    target = lab.flock.zones[zone]
    link = lab.link_to(aim(lab, target.path))
    return ask(lab, (link + _place(target, leaf, lab).removeprefix(target.path)).encode())


def _upon(ask: Asks, leaf: str, aim: Callable[[Lab, str], str], zone: int, lab: Lab) -> str:
    """Make a link to the very thing, and use it."""
    link = lab.link_to(aim(lab, _place(lab.flock.zones[zone], leaf, lab)))
    return ask(lab, link.encode())


def _in_the_mount(ask: Asks, leaf: str, zone: int, lab: Lab) -> str:
    """A link in the writable mount, whose source lies on the host beside a canary."""
    link = f"/web/{os.path.basename(lab.name())}"
    lab.ask(
        SYMLINK,
        os.path.relpath(lab.flock.zones[zone].path, "/srv/web/site").encode(),
        link.encode(),
    )
    return ask(
        lab,
        (
            link + _place(lab.flock.zones[zone], leaf, lab).removeprefix(lab.flock.zones[zone].path)
        ).encode(),
    )


PLACES = {
    "/etc/passwd": "a file of the system",
    "/proc/self/environ": "the environment of the session",
    "/proc/self/root": "the root in /proc",
    "/proc/1/environ": "the environment of process 1",
    "/proc/self/mem": "memory",
    "/proc/self/fd/0": "an open file",
    "/dev/sda": "a disk",
    "/dev/mem": "the memory",
    "/dev/tty": "a terminal",
    "/dev/stdin": "standard input",
    "/sys/kernel": "the kernel's settings",
    "/run/systemd/private": "systemd's socket",
    "/var/run/docker.sock": "docker's socket",
    "/root/.ssh/authorized_keys": "root's keys",
    "/etc/shadow": "passwords",
}


def _foreign(path: str, lab: Lab) -> str:
    """A link to a well-known place: whatever is found there is not the jail's."""
    link = lab.link_to(path).encode()
    replies = [lab.ask(STAT, link), lab.ask(OPENDIR, link), lab.ask(OPEN, link, READ, NO_ATTRS)]
    if any(reply.ok for reply in replies):
        raise Out(f"{path} is there")
    return tell(*replies)


def _chain(lab: Lab) -> str:
    """Links upon links, and a loop: an error, and no hang."""
    path = lab.flock.zones[0].path
    for _ in range(38):
        path = lab.link_to(path)
    loop = lab.name()
    lab.ask(SYMLINK, loop.encode(), loop.encode())
    return f"{listed(lab, path.encode())}; {opened(READ, lab, loop.encode())}"


def _swapped(lab: Lab) -> str:
    """A directory is renamed and a link put in its place, while a handle of it is open."""
    directory, moved = lab.name(), lab.name()
    lab.ask(MKDIR, directory.encode(), NO_ATTRS)
    handle = lab.ask(OPENDIR, directory.encode())
    lab.ask(RENAME, directory.encode(), moved.encode())
    lab.ask(SYMLINK, lab.flock.zones[0].path.encode(), directory.encode())
    return tell(handle, lab.ask(READDIR, handle.string()), lab.ask(OPENDIR, directory.encode()))


def _climbing(lab: Lab) -> str:
    """A directory that is moved up, out of the home, while one works below it: the classic way out of a chroot."""
    directory = lab.name()
    lab.ask(MKDIR, directory.encode(), NO_ATTRS)
    lab.ask(MKDIR, f"{directory}/a".encode(), NO_ATTRS)
    lab.ask(RENAME, f"{directory}/a".encode(), b"/web/" + os.path.basename(lab.name()).encode())
    return tell(
        lab.ask(RENAME, directory.encode(), b"/moved"),
        lab.ask(STAT, f"{directory}/a/../../../../../etc".encode()),
    )


def links(zones: int) -> Iterator[Attempt]:
    turn = 0
    for how, aim in LINKS.items():
        for request, (leaf, ask) in REQUESTS.items():
            turn += 1
            run = partial(_through, ask, leaf, aim, turn % zones)
            yield Attempt("links", f"{request}, below a link that is {how}", run)
            if leaf not in ("", "new"):
                yield Attempt(
                    "links",
                    f"{request}, a link {how}",
                    partial(_upon, ask, leaf, aim, turn % zones),
                )
    for request, (leaf, ask) in REQUESTS.items():
        turn += 1
        run = partial(_in_the_mount, ask, leaf, turn % zones)
        yield Attempt("links", f"{request}, below a link in a mount", run)
    for path, what in PLACES.items():
        yield Attempt("links", f"to {what}, {path}", partial(_foreign, path))
    yield Attempt("links", "forty upon each other, and a loop", _chain)
    yield Attempt("links", "put in the place of an open directory", _swapped)
    yield Attempt("links", "a directory moved upwards", _climbing)


# --- handles -----------------------------------------

WITH_HANDLE: dict[str, Callable[[Sftp, bytes], Reply]] = {
    "read": lambda sftp, handle: sftp.ask(READ_FILE, handle, Wide(0), 4096),
    "write": lambda sftp, handle: sftp.ask(WRITE_FILE, handle, Wide(0), b"x"),
    "fstat": lambda sftp, handle: sftp.ask(FSTAT, handle),
    "fsetstat": lambda sftp, handle: sftp.ask(FSETSTAT, handle, attrs(mode=0o777)),
    "readdir": lambda sftp, handle: sftp.ask(READDIR, handle),
    "fstatvfs": lambda sftp, handle: sftp.ask(FSTATVFS, handle),
    "fsync": lambda sftp, handle: sftp.ask(FSYNC, handle),
    "copy-data": lambda sftp, handle: sftp.ask(COPY, handle, Wide(0), Wide(0), handle, Wide(0)),
    "close": lambda sftp, handle: sftp.ask(CLOSE, handle),
}
FORGED: dict[str, Callable[[Lab], list[bytes]]] = {
    "random": lambda lab: [random.randbytes(4) for _ in range(20)],
    "low": lambda lab: [pack(number) for number in range(3, 40)],
    "negative": lambda lab: [pack(0xFFFFFFFF), pack(0x80000000)],
    "empty": lambda lab: [b""],
    "short": lambda lab: [b"\0", b"\0\0\0"],
    "long": lambda lab: [bytes(300), bytes(100_000)],
    "of a pointer's size": lambda lab: [b"\xff" * 8, bytes(8)],
}


def _forged(
    ask: Callable[[Sftp, bytes], Reply], handles: Callable[[Lab], list[bytes]], lab: Lab
) -> str:
    """None of these is a handle of this session, which has none."""
    sftp = lab.other_sftp()
    replies = [ask(sftp, handle) for handle in handles(lab)]
    sftp.close()
    if any(reply.ok for reply in replies):
        raise Out("a handle that nobody gave is one")
    return tell(*replies)


def _anothers(ask: Callable[[Sftp, bytes], Reply], lab: Lab) -> str:
    """The handle of another session, which has a file open."""
    mine, other = lab.sftp, lab.other_sftp()
    handle = mine.ask(OPEN, lab.file().encode(), READ, NO_ATTRS)
    reply = ask(other, handle.string())
    mine.ask(CLOSE, handle.string())
    other.close()
    if handle.ok and reply.ok:
        raise Out("a session has the files of another one open")
    return tell(reply)


def _closed(ask: Callable[[Sftp, bytes], Reply], lab: Lab) -> str:
    handle = lab.ask(OPEN, lab.file().encode(), READ, NO_ATTRS).string()
    lab.ask(CLOSE, handle)
    reply = ask(lab.sftp, handle)
    if reply.ok:
        raise Out("a closed handle is open")
    return tell(reply)


def _wrong_kind(ask: Callable[[Sftp, bytes], Reply], lab: Lab) -> str:
    """The handle of a directory for files' requests and the other way round."""
    directory = lab.ask(OPENDIR, b".").string()
    file = lab.ask(OPEN, lab.file().encode(), READ, NO_ATTRS).string()
    replies = [ask(lab.sftp, directory), ask(lab.sftp, file)]
    for handle in (directory, file):
        lab.ask(CLOSE, handle)
    return tell(*replies)


def handles() -> Iterator[Attempt]:
    for request, ask in WITH_HANDLE.items():
        for kind, forged in FORGED.items():
            yield Attempt(
                "handles", f"{request} with a handle that is {kind}", partial(_forged, ask, forged)
            )
        yield Attempt(
            "handles", f"{request} with another session's handle", partial(_anothers, ask)
        )
        yield Attempt("handles", f"{request} with a closed handle", partial(_closed, ask))
        yield Attempt("handles", f"{request} with handles of both kinds", partial(_wrong_kind, ask))


# --- packets -----------------------------------------


def _bytes(data: bytes, lab: Lab) -> str:
    """A packet that is none: an error, or the end of this session."""
    sftp = lab.other_sftp()
    try:
        kind, body = sftp.exchange(data, 0.5)
        words = tell(Reply(kind, body[4:]))
    except Gone as error:
        words = str(error)
    sftp.close()
    return words


def _unknown(kind: int, lab: Lab) -> str:
    """A type of packet that version 3 does not have: sftp-server logs it and gives no answer."""
    if kind == EXTENDED:
        return tell(lab.ask(b"unknown@example.com", b"/etc/passwd"))
    lab.sftp.send(_request(kind, b"/etc/passwd", b"/etc/shadow"))
    reply = lab.ask(STAT, b"/etc/passwd")
    if reply.ok and lab.form["jail"] != "/":
        raise Out(f"type {kind} does something")
    return tell(reply)


def _version(version: int, lab: Lab) -> str:
    sftp = lab.other_sftp(version)
    words = tell(sftp.ask(STAT, b"/etc/passwd"))
    sftp.close()
    return words


def _uninitialised(lab: Lab) -> str:
    """Requests before the first packet that has to come first."""
    sftp = lab.other_sftp(None)
    path = lab.flock.zones[0].path.encode()
    try:
        return tell(sftp.ask(OPENDIR, path), sftp.ask(OPEN, path + b"/secret", READ, NO_ATTRS))
    finally:
        sftp.close()


def _request(kind: int, *fields: bytes | int) -> bytes:
    return pack(pack(Raw(bytes([kind]) + pack(7)), *fields))


PACKETS: dict[str, bytes] = {
    "of length 0": pack(0),
    "of length 1": pack(1) + b"\x03",
    "of 2^32-1 bytes": pack(0xFFFFFFFF) + b"\x03",
    "of 256 KiB and one": pack(256 * 1024 + 1) + bytes(1024),
    "of 256 KiB": pack(256 * 1024)
    + b"\x11"
    + pack(7)
    + pack(256 * 1024 - 9)
    + bytes(256 * 1024 - 9),
    "that ends in its number": pack(3) + b"\x03\0\0",
    "that ends in a path": pack(Raw(b"\x11" + pack(7) + pack(400) + b"/etc")),
    "with a path of 2^31 bytes": pack(Raw(b"\x11" + pack(7) + pack(0x80000000) + b"/etc")),
    "with a path of 2^32-1 bytes": pack(Raw(b"\x11" + pack(7) + pack(0xFFFFFFFF) + b"/etc")),
    "with no path": pack(Raw(b"\x03" + pack(7))),
    "with an empty path": _request(STAT, b""),
    "with attributes that are cut": _request(MKDIR, b"x", Raw(pack(15) + b"\0")),
    "with 2^32-1 extended attributes": _request(SETSTAT, b"x", Raw(pack(0x80000000, 0xFFFFFFFF))),
    "with unknown attributes": _request(SETSTAT, b"x", Raw(pack(0x7FFFFFF0))),
    "with a size of 2^64-1": _request(SETSTAT, b"x", attrs(size=2**64 - 1)),
    "with a read at 2^64-1": _request(READ_FILE, pack(0), Wide(2**64 - 1), 0xFFFFFFFF),
    "with a write that says too much": _request(
        WRITE_FILE, pack(0), Wide(0), Raw(pack(1_000_000) + b"x")
    ),
    "with more behind": pack(Raw(b"\x11" + pack(7) + pack(b"/", b"/etc/passwd", b"/etc/shadow"))),
    "extended with an empty name": _request(EXTENDED, b""),
    "extended with no name": pack(Raw(b"\xc8" + pack(7))),
    "extended with a name of 200,000 bytes": _request(EXTENDED, b"a" * 200_000),
    "extended with NUL in its name": _request(EXTENDED, b"statvfs@openssh.com\0x", b"/"),
    "of random bytes": pack(bytes(random.Random(1).randbytes(4096))),
    "of text": b"GET /etc/passwd HTTP/1.0\r\n\r\n",
    "of a shell": b"cat /etc/passwd; id\n",
}


def packets() -> Iterator[Attempt]:
    for name, data in PACKETS.items():
        yield Attempt("packets", f"a packet {name}", partial(_bytes, data))
    for kind in (
        0,
        2,
        21,
        22,
        23,
        50,
        100,
        101,
        102,
        103,
        104,
        105,
        106,
        128,
        199,
        200,
        201,
        202,
        255,
    ):
        yield Attempt("packets", f"a packet of type {kind}", partial(_unknown, kind))
    for version in (0, 1, 2, 4, 6, 99, 0xFFFFFFFF):
        yield Attempt("packets", f"version {version}", partial(_version, version))
    yield Attempt("packets", "requests before the version", _uninitialised)


# --- extensions -----------------------------------------


def _announced(lab: Lab) -> str:
    """This suite knows every extension of this server."""
    unknown = set(lab.sftp.extensions) - KNOWN
    if unknown:
        raise Out(f"this suite does not try {unknown}")
    return f"{len(lab.sftp.extensions)} announced, all known"


def _limits(lab: Lab) -> str:
    return tell(lab.ask(LIMITS), lab.ask(LIMITS, b"/etc/passwd"))


def _expanded(path: bytes, lab: Lab) -> str:
    """~NAME is a fact of the host's, which a chroot without /etc/passwd does not know."""
    reply = lab.ask(EXPAND, path)
    if reply.ok and path[:2] not in (b"~", b"~/"):
        raise Out(f"it knows the home {reply.string(4)!r}")
    return tell(reply)


def _home_of(user: str, lab: Lab) -> str:
    """The home of another account is a fact of the host's."""
    reply = lab.ask(HOME_DIRECTORY, user.encode())
    if reply.ok and user and user != lab.form["user"]:
        raise Out(f"it knows the home of {user}")
    return tell(reply)


def _ids(kind: str, lab: Lab) -> str:
    """Names of users and groups are facts of the host's; those of numbers that the jail shows anyway are no secret."""
    numbers = Raw(pack(pack(*[n for n in range(1000, 1020) if n != lab.form["uid"]])))
    none = Raw(pack(b""))
    reply = lab.ask(IDS, *((numbers, none) if kind == "users" else (none, numbers)))
    if reply.ok and b"bob" in reply.body:
        raise Out(f"it knows the host's {kind}")
    return tell(reply)


def _ids_strange(data: bytes, lab: Lab) -> str:
    return tell(lab.ask(IDS, data, data))


def _copy_onto_itself(lab: Lab) -> str:
    """copy-data of a file into itself, without end: refused, or it would fill the disk."""
    handle = lab.ask(OPEN, lab.file().encode(), READ | WRITE, NO_ATTRS).string()
    reply = lab.ask(COPY, handle, Wide(0), Wide(0), handle, Wide(0))
    lab.ask(CLOSE, handle)
    return tell(reply)


def _copy_huge(lab: Lab) -> str:
    one, two = (
        lab.ask(OPEN, lab.file().encode(), READ | WRITE, NO_ATTRS).string() for _ in range(2)
    )
    reply = lab.ask(COPY, one, Wide(2**63), Wide(2**64 - 1), two, Wide(2**63))
    for handle in (one, two):
        lab.ask(CLOSE, handle)
    return tell(reply)


def _copy_into_reader(lab: Lab) -> str:
    """copy-data into what was opened for reading."""
    one, two = (lab.ask(OPEN, lab.file().encode(), READ, NO_ATTRS).string() for _ in range(2))
    reply = lab.ask(COPY, one, Wide(0), Wide(0), two, Wide(0))
    if reply.ok and one and two and lab.ask(FSTAT, two).string() == b"x":
        raise Out("written through a handle for reading")
    for handle in (one, two):
        lab.ask(CLOSE, handle)
    return tell(reply)


def _fsync_directory(lab: Lab) -> str:
    handle = lab.ask(OPENDIR, b"/").string()
    words = tell(lab.ask(FSYNC, handle), lab.ask(FSTATVFS, handle))
    lab.ask(CLOSE, handle)
    return words


def extensions() -> Iterator[Attempt]:
    yield Attempt("extensions", "what is announced", _announced)
    yield Attempt("extensions", "limits, with an argument too", _limits)
    for path in (
        b"~",
        b"~/x",
        b"~bob",
        b"~bob/x",
        b"~root",
        b"~carol",
        b"~nobody/../root",
        b"~%u",
        b"~" + b"a" * 5000,
    ):
        name = path[:30].decode()
        yield Attempt("extensions", f"expand-path {name}", partial(_expanded, path))
    for user in ("bob", "root", "carol", "nobody", "", "alice", "../bob", "bob\0"):
        yield Attempt("extensions", f"home-directory of {user!r}", partial(_home_of, user))
    for kind in ("users", "groups"):
        yield Attempt("extensions", f"users-groups-by-id: {kind}", partial(_ids, kind))
    for name, data in {
        "cut": b"\0\0",
        "none": b"",
        "30,000": bytes(120_000),
        "-1": b"\xff" * 4,
    }.items():
        yield Attempt("extensions", f"users-groups-by-id: {name}", partial(_ids_strange, data))
    yield Attempt("extensions", "copy-data onto itself", _copy_onto_itself)
    yield Attempt("extensions", "copy-data with offsets that overflow", _copy_huge)
    yield Attempt("extensions", "copy-data into a reader", _copy_into_reader)
    yield Attempt("extensions", "fsync and fstatvfs of a directory", _fsync_directory)


# --- mounts, devices, modes -----------------------------------------


def _in_read_only(ask: Asks, leaf: str, lab: Lab) -> str:
    """The read-only mount, whose source everybody on the host may write: only the mount keeps it."""
    base = f"/media/{os.path.basename(lab.flock.guarded[0].path)}"
    names = {"new": f"{base}/{os.path.basename(lab.name())}", "": base}
    return ask(lab, names.get(leaf, f"{base}/{leaf}").encode())


def _device(path: str, lab: Lab) -> str:
    """A device that an administrator has in a mounted directory: /dev/zero by another name."""
    reply = lab.ask(OPEN, path.encode(), READ, NO_ATTRS)
    if reply.kind == HANDLE:
        data = lab.ask(READ_FILE, reply.string(), Wide(0), 16)
        lab.ask(CLOSE, reply.string())
        if data.string() == bytes(16):
            raise Out(f"the device {path} answers")
    return tell(reply)


def _below(path: str, lab: Lab) -> str:
    """A /proc that is mounted on the host below a mount's source, and the host seen through a process of the user's."""
    found = []
    for way in (
        f"{lab.form['outsider']}/root",
        "self/root",
        "1/root",
        f"{lab.form['outsider']}/cwd",
    ):
        target = f"{path}/{way}{lab.flock.zones[0].path}/secret"
        found.append(opened(READ, lab, target.encode()))
    found.append(opened(READ, lab, f"{path}/{lab.form['outsider']}/environ".encode()))
    found.append(listed(lab, f"{path}/{lab.form['outsider']}".encode()))
    return ", ".join(dict.fromkeys(found))


def _on_host(lab: Lab, path: str) -> os.stat_result | None:
    """What a path of the jail is on the host."""
    for inside, outside in lab.form["behind"].items():
        if path.startswith(f"{inside}/"):
            try:
                return os.lstat(outside + path.removeprefix(inside))
            except OSError:
                return None
    raise AssertionError(f"{path} is in no place that is known")


def _setuid(mode: int, owner: tuple[int, int] | None, directory: str, lab: Lab) -> str:
    """An uploaded program that would run as somebody else on the host."""
    path = f"{directory}/{os.path.basename(lab.name())}"
    handle = lab.ask(OPEN, path.encode(), WRITE | CREATE, attrs(mode=mode)).string()
    replies = [
        lab.ask(FSETSTAT, handle, attrs(mode=mode)),
        lab.ask(SETSTAT, path.encode(), attrs(mode=mode)),
    ]
    if owner:
        replies += [
            lab.ask(FSETSTAT, handle, attrs(owner=owner)),
            lab.ask(SETSTAT, path.encode(), attrs(owner=owner)),
        ]
        replies.append(lab.ask(LSETSTAT, path.encode(), attrs(owner=owner)))
        replies.append(lab.ask(SETSTAT, path.encode(), attrs(mode=mode)))
    found = _on_host(lab, path)
    lab.ask(CLOSE, handle)
    if found and directory in lab.form.get("lent", {}):
        # By `mount --as` it is its owner's, and the source's own mount takes the bit its effect.
        lent = tuple(lab.form["lent"][directory])
        nosuid = os.statvfs(lab.form["behind"][directory]).f_flag & os.ST_NOSUID
        if (found.st_uid, found.st_gid) == lent and nosuid:
            return tell(*replies)
    if found and (found.st_uid != lab.form["uid"] or found.st_gid not in lab.form["gids"]):
        raise Out(
            f"it belongs to {found.st_uid}:{found.st_gid}, mode {stat.S_IMODE(found.st_mode):o}"
        )
    return tell(*replies)


def _special(mode: int, lab: Lab) -> str:
    """Modes of devices, fifos and sockets, with open, mkdir and setstat: SFTP has no mknod, and must not get one."""
    path, directory = lab.name(), lab.name()
    lab.ask(OPEN, path.encode(), WRITE | CREATE, attrs(mode=mode | 0o666))
    lab.ask(SETSTAT, path.encode(), attrs(mode=mode | 0o666))
    lab.ask(MKDIR, directory.encode(), attrs(mode=mode | 0o777))
    found = [_on_host(lab, name) for name in (path, directory)]
    lab.drop()
    if any(
        info and not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)) for info in found
    ):
        raise Out("something special was made")
    return "a file or nothing was made"


def _fifo(lab: Lab) -> str:
    """A fifo that an administrator has in a mount: its own session waits, and nothing else.

    Its server waits on when the connection has ended, as a process in the jail, until somebody
    opens the other end.
    """
    sftp = lab.other_sftp()
    try:
        return tell(Reply(*sftp.exchange(_request(OPEN, b"/web/fifo", READ, NO_ATTRS), 0.3)))
    except Gone as error:
        return str(error)
    finally:
        sftp.close()
        lab.close()
        with contextlib.suppress(OSError):  # nobody waits
            os.close(os.open(f"{lab.form['behind']['/web']}/fifo", os.O_WRONLY | os.O_NONBLOCK))


def _log_socket(lab: Lab) -> str:
    """The jail's /dev/log is a socket: it cannot be opened, and not be taken away or exchanged."""
    replies = [
        lab.ask(OPEN, b"/dev/log", flags, NO_ATTRS)
        for flags in (READ, WRITE, WRITE | CREATE | TRUNCATE)
    ]
    replies += [lab.ask(REMOVE, b"/dev/log"), lab.ask(RENAME, b"/dev/log", lab.name().encode())]
    replies += [
        lab.ask(SETSTAT, b"/dev/log", attrs(mode=0)),
        lab.ask(POSIX_RENAME, lab.file().encode(), b"/dev/log"),
    ]
    if any(reply.ok for reply in replies):
        raise Out("the log socket can be changed")
    return tell(*replies)


def _root_of_jail(request: str, path: bytes, lab: Lab) -> str:
    """The jail's root, and what root made in it, stay root's."""
    fields = {
        "make a file": lambda: lab.ask(
            OPEN, path + b"/" + os.urandom(4).hex().encode(), WRITE | CREATE, NO_ATTRS
        ),
        "mkdir": lambda: lab.ask(MKDIR, path + b"/" + os.urandom(4).hex().encode(), NO_ATTRS),
        "symlink": lambda: lab.ask(SYMLINK, b"/etc", path + b"/" + os.urandom(4).hex().encode()),
        "rename": lambda: lab.ask(RENAME, path, path + b".old"),
        "posix-rename": lambda: lab.ask(POSIX_RENAME, path, lab.name().encode()),
        "rmdir": lambda: lab.ask(RMDIR, path),
        "setstat": lambda: lab.ask(SETSTAT, path, attrs(mode=0o777)),
        "chown": lambda: lab.ask(SETSTAT, path, attrs(owner=(lab.form["uid"], lab.form["uid"]))),
    }
    reply = fields[request]()
    if reply.ok and lab.form["jail"] != "/":
        raise Out(f"{request} of {path!r} was granted")
    return tell(reply)


ROOTS_OWN = (
    "make a file",
    "mkdir",
    "symlink",
    "rename",
    "posix-rename",
    "rmdir",
    "setstat",
    "chown",
)
CHANGES = tuple(
    name
    for name in REQUESTS
    if name not in ("realpath", "statvfs", "expand-path", "opendir", "readlink")
)


def mounts(form: dict[str, object]) -> Iterator[Attempt]:
    for request in CHANGES:
        leaf, ask = REQUESTS[request]
        yield Attempt(
            "mounts", f"{request}, in the read-only mount", partial(_in_read_only, ask, leaf)
        )
    for path in ("/web/zero", "/media/zero", "/web/disk", "/media/disk"):
        yield Attempt("mounts", f"the device {path}", partial(_device, path))
    for path in ("/web/proc", "/web/late", "/media/proc"):
        yield Attempt("mounts", f"/proc as {path}", partial(_below, path))
    yield Attempt("mounts", "a fifo", _fifo)
    yield Attempt("mounts", "the log socket", _log_socket)
    for path in (b"/", *sorted(str(place).encode() for place in form["roots"])):  # type: ignore[attr-defined]
        for request in ROOTS_OWN:
            run = partial(_root_of_jail, request, path)
            yield Attempt("mounts", f"{request} of root's {path.decode()}", run)


def modes(form: dict[str, object]) -> Iterator[Attempt]:
    for where, directory in {"the home": str(form["home"]), "a mount": "/web"}.items():
        for mode in (0o4755, 0o2755, 0o6777, 0o7777):
            yield Attempt(
                "modes", f"mode {mode:o} in {where}", partial(_setuid, mode, None, directory)
            )
            run = partial(_setuid, mode, (0, 0), directory)
            yield Attempt("modes", f"mode {mode:o} for root in {where}", run)
        for owner in ((0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (65534, 65534), (1, 1)):
            run = partial(_setuid, 0o4755, owner, directory)
            yield Attempt("modes", f"owner {owner[0]}:{owner[1]} in {where}", run)
    kinds = {
        "character device": 0o020000,
        "block device": 0o060000,
        "fifo": 0o010000,
        "socket": 0o140000,
    }
    for name, mode in {**kinds, "symbolic link": 0o120000, "every bit": 0xFFFFF000}.items():
        yield Attempt("modes", f"the mode of a {name}", partial(_special, mode))


# --- floods -----------------------------------------


def _forged_lines(lab: Lab) -> str:
    """Names that would be lines of the log, if newlines got there."""
    line = "\nNov 28 12:00:00 host sshd[1]: Accepted publickey for forged-by-alice\n"
    return tell(
        lab.ask(STAT, line.encode()), lab.ask(MKDIR, f"{lab.name()}{line}".encode(), NO_ATTRS)
    )


def _flood(name: bytes, times: int, lab: Lab) -> str:
    """Many requests that are logged, not waiting for answers; bounded."""
    sftp = lab.other_sftp()
    for number in range(times):
        sftp.send(pack(pack(Raw(bytes([OPENDIR]) + pack(number)), name)))
        if number % 50 == 49:
            for _ in range(50):
                sftp.packet()
    words = tell(sftp.ask(STAT, b"/"))
    sftp.close()
    return words


def _many_handles(lab: Lab) -> str:
    """As many open files as the server allows, and the host has others to spare."""
    sftp, path = lab.other_sftp(), lab.file().encode()
    replies = [sftp.ask(OPEN, path, READ, NO_ATTRS) for _ in range(300)]
    sftp.close()
    return tell(*replies)


def _many_sessions(lab: Lab) -> str:
    """More sessions in one connection than MaxSessions."""
    link = lab.new_link()
    opened_sessions = [link.open(b"session") for _ in range(14)]
    granted = sum(not isinstance(channel, int) for channel in opened_sessions)
    link.close()
    return f"{granted} of 14 sessions"


def floods() -> Iterator[Attempt]:
    yield Attempt("floods", "names that are lines of a log", _forged_lines)
    for what, name in {
        "short": b"/flood",
        "long": b"/" + b"f" * 4000,
        "with escapes": b"/\x1b[2J\r\n\t" * 50,
    }.items():
        yield Attempt("floods", f"1,000 log lines, {what}", partial(_flood, name, 1000))
    yield Attempt("floods", "300 open files", _many_handles)
    yield Attempt("floods", "14 sessions", _many_sessions)


def attempts(form: dict[str, object], zones: int) -> Iterator[Attempt]:
    """Every attempt by SFTP."""
    yield from traversals(zones)
    yield from links(zones)
    yield from handles()
    yield from packets()
    yield from extensions()
    yield from mounts(form)
    yield from modes(form)
    yield from floods()
