"""The sshd processes that listen for connections, and their command lines.

A program is taken for sshd if its file's name begins so, as that of a copy such as sshd-sftp does.
One with another name than sshd must have sshd's title, or it is another program: an exporter, say.

A listening sshd overwrites its arguments with a title that contains its command line, with a blank
between words (prepare_proctitle in sshd.c). sshd accepts only options and refuses to start with
anything else, so the words can be separated again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .processes import after_name, is_here, owner, pids, unit_of

_LISTENS = "0A"  # TCP_LISTEN of linux/net/tcp_states.h
# A title begins with the name that sshd was called by, which a copy or a link may have changed.
_CALLED = re.compile(r"[^\0/:]+: ")
_TITLE = re.compile(r"(?P<words>.*) \[listener\] \d+ of \d+-\d+ startups", re.DOTALL)
# The options of sshd(8) with a value, and those without one.
_VALUED, _BARE = "bCcEfghkopuV", "46DGQRTdeiqrt"


class Listener(NamedTuple):
    """An sshd process that listens for connections.

    Args:
        pid: its pid.
        program: the path of its executable.
        options: its command line as pairs of option and value; None if it cannot be determined.
        places: the addresses and ports.
        unit: the systemd service that it belongs to, or "".
        began: its start in seconds since the epoch.
        apart: the kinds of namespaces, such as "mnt", that it does not share with us.
    """

    pid: int
    program: str
    options: tuple[tuple[str, str], ...] | None
    places: tuple[tuple[str, int], ...]
    unit: str = ""
    began: float = 0.0
    apart: tuple[str, ...] = ()


def listeners() -> list[Listener]:
    """Return the sshd processes that listen on this host, the lowest port first.

    Processes in a container, which have another root directory, do not count.
    """
    found = dict[int, Listener]()
    parents = dict[int, int]()
    for pid in pids():
        with contextlib.suppress(OSError, ValueError):  # it has ended
            program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
            named = os.path.basename(program).startswith("sshd")
            if named and owner(pid) == 0 and is_here(pid):
                parents[pid] = int(after_name(pid)[1])
                one = _listener(pid, program)
                if one:
                    found |= {pid: one}
    # A new child still has its parent's sockets and title.
    waiting = (one for pid, one in found.items() if parents[pid] not in found)
    return sorted(waiting, key=lambda one: (min(port for _, port in one.places), one.pid))


def _listener(pid: int, program: str) -> Listener | None:
    """Return an sshd process as a Listener, or None if it does not listen."""
    line = _text(pid, "cmdline")
    title = None
    called = _CALLED.match(line)
    if called:
        line = line[called.end() :]
        title = _TITLE.match(line)
        if not line.startswith("/"):
            return None
    elif os.path.basename(program) != "sshd":
        return None
    places = tuple(_places(pid))
    if not places:
        return None
    if title:
        words = title["words"].split(" ")
    else:
        words = line.rstrip("\0").split("\0")
    # A title is cut off if it is longer than the arguments and the environment were.
    options = None
    if title or not called:
        options = told(words[1:])
    apart = tuple(_apart(pid))
    return Listener(pid, program, options, places, unit_of(pid), began(pid), apart)


def told(words: list[str]) -> tuple[tuple[str, str], ...] | None:
    """Return the options of a command line with their values, or None if it is not valid.

    A word that is not an option belongs to the value before it.

    Args:
        words: the words after the program's name.
    """
    found: list[list[str]] = []
    for word in words:
        if re.match(f"-[{_BARE}{_VALUED}]", word) and not _wants_value(found):
            found += _cluster(word[1:])
        elif found and found[-1][0] in _VALUED:
            value = found[-1][1:]
            found[-1][1:] = [" ".join([*value, word])]
        else:
            return None
    if _wants_value(found) or any(name not in _VALUED + _BARE for name, *_ in found):
        return None
    return tuple((name, "".join(value)) for name, *value in found)


def _cluster(letters: str) -> Iterator[list[str]]:
    """Yield the options of one word: `-De`, `-p2222`, `-oPort=22` (getopt(3))."""
    while letters:
        name, letters = letters[0], letters[1:]
        if name in _VALUED:
            if letters:
                yield [name, letters]
            else:
                yield [name]
            return
        yield [name]


def _wants_value(found: list[list[str]]) -> bool:
    return bool(found) and found[-1][0] in _VALUED and len(found[-1]) == 1


def _text(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as handle:
        return handle.read()


def _places(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the address and port of each socket on which a process listens (proc_pid_net(5))."""
    held = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            held.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in _text(pid, f"net/{table}").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in held:
                    address, _, port = fields[1].partition(":")
                    yield address_of(address), int(port, 16)


def address_of(text: str) -> str:
    """Return an address of the kernel's tables in its usual form.

    The kernel prints 32-bit words in host byte order. An IPv4-mapped IPv6 address becomes an IPv4
    address.
    """
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    data = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    if len(data) == 4:
        return str(IPv4Address(data))
    found = IPv6Address(data)
    return str(found.ipv4_mapped or found)


def began(pid: int) -> float:
    """Return the start of a process in seconds since the epoch (proc_pid_stat(5), field 22)."""
    with open("/proc/stat", encoding="ascii") as handle:
        boot = next(int(line.split()[1]) for line in handle if line.startswith("btime "))
    return boot + int(after_name(pid)[19]) / os.sysconf("SC_CLK_TCK")


def _apart(pid: int) -> Iterator[str]:
    for kind in ("mnt", "net"):
        if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"):
            yield kind
