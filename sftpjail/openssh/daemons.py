"""The sshds of this host: those that listen, and those that systemd starts for a connection.

Each has its own command line, so each is asked with its own arguments (`sshd -T`). These come from
/proc; the settings come from sshd itself.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..host import Host
from ..model import is_roots
from ..system.listeners import Listener, told
from .match_blocks import DIRECTORY, MAIN
from .sshd import LOCAL

# Options of sshd(8) that affect its settings. Those for where it listens, what it writes and how it
# runs do not.
_DECIDE = "fo"
# Options that keep its lines out of the system's log: -E FILE, -q, and -e and -d (standard error).
_QUIET = "Eqed"
_EVERYWHERE = ("", "0.0.0.0", "::", "*")
# Keywords of -o that are about the daemon, and not about sessions.
_DAEMONS_OWN = re.compile(
    r"(?i)(PidFile|Port|ListenAddress|AddressFamily|Host(Key|KeyAgent|Certificate)|LogLevel|"
    r"SyslogFacility|TCPKeepAlive|LoginGraceTime|MaxStartups|UseDNS)[\s=]"
)


class Daemon(NamedTuple):
    """An sshd, and how to ask it.

    Args:
        program: its path; "" where none is installed.
        arguments: those that affect its settings.
        pid: of the process that listens; 0 for one that systemd starts for each connection.
        places: its addresses and ports; none if nobody listens.
        unit: of systemd, or "".
        unknown: why it cannot be asked, or "".
        began: when the process began, in seconds since the epoch.
        quiet: the letters of its options that keep its lines out of the system's log.
    """

    program: str
    arguments: tuple[str, ...] = ()
    pid: int = 0
    places: tuple[tuple[str, int], ...] = ()
    unit: str = ""
    unknown: str = ""
    began: float = 0.0
    quiet: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """Its program and arguments, as `ask_sshd` takes them."""
        return (self.program, *self.arguments)

    @property
    def is_plain(self) -> bool:
        """Whether it uses /etc/ssh/sshd_config, and nothing else that affects sessions."""
        return not self.peculiar and not self.unknown

    @property
    def peculiar(self) -> tuple[tuple[str, str], ...]:
        """Those of its options that make it differ from an sshd without options."""
        pairs = zip(self.arguments[::2], self.arguments[1::2], strict=True)
        return tuple(
            pair
            for pair in pairs
            if pair != ("-f", MAIN) and not (pair[0] == "-o" and _DAEMONS_OWN.match(pair[1]))
        )

    @property
    def config(self) -> str:
        """The file that it reads."""
        pairs = zip(self.arguments[::2], self.arguments[1::2], strict=True)
        return next((value for option, value in pairs if option == "-f"), MAIN)

    @property
    def local(self) -> str:
        """A connection from this host to its first port; see `sshd.spec`.

        That of a plain one goes to port 22, wherever it listens: see `settings.reached`.
        """
        port = 22
        if self.places and not self.is_plain:
            port = self.places[0][1]
        return LOCAL.replace("lport=22", f"lport={port}")

    @property
    def connections_to(self) -> tuple[str, ...]:
        """A connection from this host to each place where it listens; see `settings.reached`."""
        found = dict[str, None]()
        for address, port in self.places:
            there = address
            if address in _EVERYWHERE:
                there = "127.0.0.1"
            to = LOCAL.replace("lport=22", f"lport={port}")
            found[to.replace("laddr=127.0.0.1", f"laddr={there}")] = None
        return tuple(found)

    @property
    def listens_everywhere(self) -> bool:
        """Whether it listens on each address of this host, or nobody knows where it does."""
        return not self.places or any(address in _EVERYWHERE for address, _ in self.places)

    def __str__(self) -> str:
        """Its name in a message: "sshd on port 2222 (pid 7, -f /etc/ssh/other)"."""
        ports = list(dict.fromkeys(port for _, port in self.places))
        on = ""
        if ports:
            on = f" on port {', '.join(map(str, ports))}"
        if self.pid:
            known = [f"pid {self.pid}"]
        else:
            known = [f"started by {self.unit}"]
        known += [f"{option} {shlex.quote(value)}" for option, value in self.peculiar]
        return f"sshd{on} ({', '.join(known)})"


@lru_cache(maxsize=8)
def daemons(host: Host) -> tuple[Daemon, ...]:
    """Return every sshd that waits for connections on this host.

    Raises:
        SftpJailError: systemctl(1) does not answer.
    """
    return (*running(host), *started_by_sockets(host))


@lru_cache(maxsize=8)
def running(host: Host) -> tuple[Daemon, ...]:
    """Return the sshds that listen by themselves."""
    return tuple(_of_process(found, host) for found in host.daemons.sshds())


def primary(host: Host) -> Daemon:
    """Return the sshd whose settings count unless another one is named.

    This is one that uses /etc/ssh/sshd_config alone, even if none is running; else the one of the
    distribution's unit; else the one on the lowest port.
    """
    known = [daemon for daemon in running(host) if not daemon.unknown]
    if not known or any(daemon.is_plain for daemon in known):
        plain = (daemon for daemon in known if daemon.is_plain)
        return next(plain, Daemon(host.which("sshd")))
    usual = (daemon for daemon in known if daemon.unit in ("ssh.service", "sshd.service"))
    return next(usual, known[0])


def called(daemon: Daemon, host: Host) -> str:
    """Return the name of a daemon in a message: the usual one is just sshd."""
    if daemon == primary(host) and daemon.is_plain:
        return "sshd"
    return str(daemon)


def others(host: Host) -> list[Daemon]:
    """Return the sshds to check beside the primary one.

    One is enough of those with the same arguments.
    """
    seen = {(primary(host).peculiar, "")}
    found = []
    for daemon in daemons(host):
        key = (daemon.peculiar, daemon.unknown and str(daemon))
        if key not in seen:
            seen.add(key)
            found.append(daemon)
    return found


def _of_process(found: Listener, host: Host) -> Daemon:
    if found.options is not None:
        arguments = _deciding(found.options)
    else:
        arguments = ()
    quiet = _quiet(found.options or ())
    daemon = Daemon(
        found.program, arguments, found.pid, found.places, found.unit, "", found.began, quiet
    )
    unknown = ""
    if found.options is None:
        unknown = "its command line cannot be read from /proc"
    elif not daemon.config.startswith("/"):
        unknown = f"its file {daemon.config} has no absolute path"
    elif not _is_roots(found.program, host):
        unknown = _not_roots(found.program)
    elif "mnt" in found.apart and not _sees_the_same(daemon, host):
        unknown = f"in its own mount namespace {daemon.config} is another file than here"
    if not unknown:
        return daemon
    return Daemon(found.program, (), found.pid, found.places, found.unit, unknown, found.began)


def _is_roots(program: str, host: Host) -> bool:
    """Return whether a program exists and only root can change it, since root runs it."""
    found = host.stat(program)
    return found is not None and is_roots(found) and bool(host.trusted_path(program))


def _not_roots(program: str) -> str:
    return f"its program {program} is gone, or can be changed by others than root"


def _sees_the_same(daemon: Daemon, host: Host) -> bool:
    """Return whether a file is the same in a daemon's mount namespace: proc_pid_root(5)."""
    inside = f"/proc/{daemon.pid}/root"
    return host.same_file(inside + daemon.config, daemon.config) and (
        not host.is_dir(DIRECTORY) or host.same_file(inside + DIRECTORY, DIRECTORY)
    )


def _deciding(options: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(word for name, value in options if name in _DECIDE for word in (f"-{name}", value))


def _quiet(options: tuple[tuple[str, str], ...]) -> str:
    return "".join(sorted({name for name, _ in options if name in _QUIET}))


# -- systemd ---------------------------------------------------------------------------------------


_OF_SOCKETS = ("Id", "Triggers", "Accept", "ActiveState", "Listen")
_OF_SERVICES = ("Id", "ExecStart", "Environment", "EnvironmentFiles")


@lru_cache(maxsize=8)
def started_by_sockets(host: Host) -> tuple[Daemon, ...]:
    """Return the sshds that systemd starts when somebody connects: ssh@.service and the like.

    Raises:
        SftpJailError: systemctl(1) does not answer.
    """
    if not host.systemd:
        return ()
    sockets = _shown(host, _OF_SOCKETS, "--type=socket", "*.socket")
    found = [
        (_service(about), about.get("Listen", ""))
        for about in sockets
        if about.get("ActiveState") == "active"
    ]
    busy = {daemon.unit for daemon in running(host)}
    wanted = dict.fromkeys(service for service, _ in found if service and service not in busy)
    if not wanted:
        return ()
    commands = {about["Id"]: about for about in _shown(host, _OF_SERVICES, *wanted)}
    return tuple(
        daemon
        for service, listens in found
        if service in commands and (daemon := _of_unit(commands[service], listens, host))
    )


def _service(about: dict[str, str]) -> str:
    """Return the service that a socket starts; systemd.socket(5), Accept=."""
    if about.get("Accept") == "yes":
        return about["Id"].removesuffix(".socket") + "@sftpjail.service"
    return next(iter(about.get("Triggers", "").split()), "")


def _shown(host: Host, names: tuple[str, ...], *units: str) -> Iterator[dict[str, str]]:
    """Yield some properties of units, as systemctl(1) shows them."""
    asked = [f"--property={name}" for name in names]
    said = host.ask(["systemctl", "show", *asked, *units]).out
    for paragraph in said.split("\n\n"):
        about = dict[str, str]()
        for line in paragraph.splitlines():
            name, _, value = line.partition("=")
            if name in about:
                about[name] = f"{about[name]}\n{value}"
            else:
                about[name] = value
        if about.get("Id"):
            yield about


def _of_unit(about: dict[str, str], listens: str, host: Host) -> Daemon | None:
    """Return the sshd that a service starts; None if it starts something else."""
    command = re.search(r"path=(\S*/sshd[^/\s]*) ; argv\[\]=(.*?) ; ", about.get("ExecStart", ""))
    if not command:
        return None
    unit = about["Id"].replace("@sftpjail.", "@.")
    places = tuple(("", int(port)) for port in re.findall(r":([0-9]{1,5}) \(Stream\)", listens))
    try:
        options = told(_expanded(command[2], about, host)[1:])
    except ValueError:
        options = None
    why = ""
    if options is None:
        why = f"the command line of {unit} is unknown"
    why = why or ("" if _is_roots(command[1], host) else _not_roots(command[1]))
    if options is None or why:
        return Daemon(command[1], (), 0, places, unit, why)
    return Daemon(command[1], _deciding(options), 0, places, unit, quiet=_quiet(options))


def _expanded(command: str, about: dict[str, str], host: Host) -> list[str]:
    """Return a command's words with its variables: systemd.service(5), COMMAND LINES.

    Raises:
        ValueError: a quote is not closed.
    """
    values = dict(word.partition("=")[::2] for word in shlex.split(about.get("Environment", "")))
    for line in about.get("EnvironmentFiles", "").splitlines():
        for text in host.text(line.rpartition(" (")[0]).splitlines():
            name, assigned, value = text.strip().partition("=")
            if assigned and not name.startswith(("#", ";")):
                values[name] = " ".join(shlex.split(value))
    words = list[str]()
    for word in shlex.split(command):
        whole = re.fullmatch(r"\$(\w+)", word)
        if whole:
            words += shlex.split(values.get(whole[1], ""))
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda name: values.get(name[1], ""), word))
    return words


_OF_STATE = ("Id", "MainPID", "ReloadResult", "StateChangeTimestampMonotonic")


def changed_state(daemon: Daemon, host: Host) -> float:
    """Return when systemd saw a daemon start or reload, in seconds since the epoch; 0 if never.

    sshd notifies systemd whenever it reads its configuration (Type=notify). A failed reload does
    not count.
    """
    if not daemon.unit or not daemon.pid or not host.systemd:
        return 0.0
    about = next(_shown(host, _OF_STATE, daemon.unit), {})
    if about.get("MainPID") != str(daemon.pid) or about.get("ReloadResult") not in ("success", ""):
        return 0.0
    stamp = re.fullmatch("[0-9]{1,18}", about.get("StateChangeTimestampMonotonic", ""))
    since = 0.0
    if stamp:
        since = int(stamp[0]) / 1e6
    if not since:
        return 0.0
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since
