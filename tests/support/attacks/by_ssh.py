"""Attempts by SSH itself: every channel and channel request, every global request, messages at the wrong time, and the
stock clients. Runs in a machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from lab import Attempt, Lab, Out, connected, tried
from wire import SESSION, Channel, Gone, Link, Raw, Sftp, pack

HELLO = pack(pack(Raw(b"\x01"), 3))  # SFTP's first packet


# --- programs -----------------------------------------


def _command(lab: Lab) -> str:
    """A command that says a canary which does not stand in it, and changes one."""
    half = len(lab.form["spoken"]) // 2
    word = lab.form["spoken"]
    zone = lab.flock.zones[0].path
    return f"printf '%s%s' {word[:half]} {word[half:]}; cat {zone}/secret; touch {zone}/by-command"


COMMANDS: dict[str, Callable[[Lab], str]] = {
    "a command": _command,
    "a shell's command": lambda lab: f"/bin/sh -c '{_command(lab)}'".replace("'%s%s'", "%s%s"),
    "bash": lambda lab: f"bash -c '{_command(lab)}'".replace("'%s%s'", "%s%s"),
    "nothing": lambda lab: "",
    "a command behind internal-sftp": lambda lab: f"internal-sftp; {_command(lab)}",
    "a command in $()": lambda lab: f"internal-sftp $({_command(lab)})",
    "a command behind a newline": lambda lab: f"internal-sftp\n{_command(lab)}",
    "internal-sftp with a log level": lambda lab: "internal-sftp -l DEBUG3 -e",
    "internal-sftp in another directory": lambda lab: f"internal-sftp -d {lab.flock.zones[0].path}",
    "sftp-server": lambda lab: "/usr/lib/openssh/sftp-server",
    "scp as a source": lambda lab: f"scp -f {lab.flock.zones[0].path}/secret",
    "scp as a sink": lambda lab: f"scp -t {lab.flock.zones[0].path}/by-scp",
    "rsync": lambda lab: f"rsync --server --sender -vlogDtpre.iLsfxC . {lab.flock.zones[0].path}/",
    "git": lambda lab: f"git-upload-pack '{lab.flock.zones[0].path}'",
    "tar": lambda lab: f"tar cf - {lab.flock.zones[0].path}",
    "a restricted shell": lambda lab: f"rbash -c '{_command(lab)}'".replace("'%s%s'", "%s%s"),
    "python": lambda lab: f"python3 -c \"print(open('{lab.flock.zones[0].path}/secret').read())\"",
    "with NUL": lambda lab: f"internal-sftp\0{_command(lab)}",
    "of 200,000 bytes": lambda lab: "a" * 200_000,
}


def _fed(lab: Lab) -> bytes:
    return f"{_command(lab)}\nexit\n".encode()


def _executed(command: Callable[[Lab], str], lab: Lab) -> str:
    channel = lab.session()
    granted = channel.request(b"exec", command(lab).encode())
    said = channel.said(_fed(lab) if not command(lab) else b"\0\nC0644 9 x\nby scp..\n\0", 1.0)
    channel.close()
    return f"{'granted' if granted else 'refused'}, {len(said)} bytes said"


def _shell(terminal: bool, lab: Lab) -> str:
    channel = lab.session()
    had = terminal and channel.request(b"pty-req", b"xterm", 80, 24, 0, 0, b"")
    granted = channel.request(b"shell")
    channel.said(_fed(lab), 1.0)
    channel.close()
    if had:
        raise Out("sshd gives a terminal")
    return "granted" if granted else "refused"


def _subsystem(name: bytes, lab: Lab) -> str:
    """ForceCommand makes each SFTP, whatever its name."""
    channel = lab.session()
    granted = channel.request(b"subsystem", name)
    channel.said(_fed(lab), 0.5)
    channel.close()
    return "granted" if granted else "refused"


def _twice(first: bytes, second: bytes, lab: Lab) -> str:
    """A second program in a channel that has one."""
    channel = lab.session()
    fields: dict[bytes, tuple[bytes, ...]] = {
        b"exec": (_command(lab).encode(),),
        b"subsystem": (b"sftp",),
        b"shell": (),
    }
    channel.request(first, *fields[first])
    try:
        granted = channel.request(second, *fields[second])
        channel.said(_fed(lab), 0.5)
    finally:
        channel.close()
    return "both granted" if granted else "the second is refused"


def _beside(lab: Lab) -> str:
    """Two SFTP sessions and a command in one connection, each with what is its own."""
    one, two = lab.other_sftp(), lab.other_sftp()
    path = lab.flock.zones[0].path.encode()
    replies = [sftp.ask(11, path) for sftp in (one, two)]
    words = _executed(COMMANDS["a command"], lab)
    one.close()
    two.close()
    return f"{[reply.words for reply in replies]}; {words}"


def programs() -> Iterator[Attempt]:
    for what, command in COMMANDS.items():
        yield Attempt("programs", f"exec: {what}", partial(_executed, command))
    yield Attempt("programs", "shell", partial(_shell, False))
    yield Attempt("programs", "shell in a terminal", partial(_shell, True))
    names = (
        b"shell",
        b"netconf",
        b"",
        b"sftp\0",
        b"../sftp",
        b"/bin/sh",
        b"SFTP",
        b"sftp -R",
        b"a" * 100_000,
        b"talk",
    )
    for name in names:
        yield Attempt("programs", f"the subsystem {name[:20]!r}", partial(_subsystem, name))
    for first in (b"subsystem", b"exec", b"shell"):
        for second in (b"subsystem", b"exec", b"shell"):
            words = f"{second.decode()} after {first.decode()}"
            yield Attempt("programs", words, partial(_twice, first, second))
    yield Attempt("programs", "two sessions and a command beside each other", _beside)


# --- channel requests -----------------------------------------

# The request, its fields, and whether sshd must say no (it ignores, or grants in vain, some that do
# no harm).
REQUESTS: dict[str, tuple[bytes, tuple[bytes | int | bool, ...], bool]] = {
    "a terminal": (b"pty-req", (b"xterm", 80, 24, 640, 480, b"\x35\0\0\0\x03\0"), True),
    "a terminal without a name": (b"pty-req", (b"", 0, 0, 0, 0, b""), True),
    "a terminal of 2^32-1 columns": (
        b"pty-req",
        (b"../../etc", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, b"\xff" * 64),
        True,
    ),
    "X11": (b"x11-req", (False, b"MIT-MAGIC-COOKIE-1", b"0" * 32, 0), True),
    "X11 once": (b"x11-req", (True, b"MIT-MAGIC-COOKIE-1", b"0" * 32, 0xFFFFFFFF), True),
    "X11 with a command for a cookie": (b"x11-req", (False, b"`id`", b"; id", 0), True),
    "the agent": (b"auth-agent-req@openssh.com", (), True),
    "the agent, as the draft has it": (b"auth-agent-req", (), True),
    "a new size of the window": (b"window-change", (80, 24, 0, 0), False),
    "a break": (b"break", (1000,), False),
    "flow control": (b"xon-xoff", (True,), False),
    "an exit status": (b"exit-status", (0,), False),
    "an exit by a signal": (b"exit-signal", (b"KILL", True, b"", b""), False),
    "the end of writing": (b"eow@openssh.com", (), False),
    "a keepalive": (b"keepalive@openssh.com", (), False),
    "a window of PuTTY's": (b"winadj@putty.projects.tartarus.org", (), False),
    "a simple channel": (b"simple@putty.projects.tartarus.org", (), False),
    "something unknown": (b"elevate@example.com", (b"root",), True),
    "nothing": (b"", (), True),
    "something of 100,000 bytes": (b"r" * 100_000, (), True),
}
SIGNALS = (
    b"KILL",
    b"TERM",
    b"HUP",
    b"INT",
    b"USR1",
    b"STOP",
    b"",
    b"9",
    b"KILL\0",
    b"INFO@openssh.com",
)
VARIABLES = (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PATH",
    "HOME",
    "USER",
    "SHELL",
    "TMPDIR",
    "IFS",
    "ENV",
)
VARIABLES += (
    "BASH_ENV",
    "PYTHONPATH",
    "SSH_ORIGINAL_COMMAND",
    "SSH_AUTH_SOCK",
    "MALLOC_TRACE",
    "GCONV_PATH",
    "KRB5CCNAME",
)


def _requested(
    kind: bytes, fields: tuple[bytes | int | bool, ...], forbidden: bool, running: bool, lab: Lab
) -> str:
    """A request in a session that has not begun, or that is SFTP already."""
    if running:
        sftp = lab.other_sftp()
        channel = sftp.channel
    else:
        channel = lab.session()
    granted = False
    try:
        granted = channel.request(kind, *fields)
        words = "granted" if granted else "refused"
    except Gone as error:
        words = str(error)
    channel.close()
    if granted and forbidden:
        raise Out(f"sshd grants {kind!r}")
    return words


def _variable(name: str, lab: Lab) -> str:
    """A variable of the environment; LANG and LC_* are let in by Debian, and steer nothing."""
    channel = lab.session()
    granted = channel.request(b"env", name.encode(), lab.form["bait"].encode() + b"=1")
    channel.request(b"subsystem", b"sftp")
    channel.said(HELLO, 0.2)
    channel.close()
    if granted and not name.startswith(("LANG", "LC_")):
        raise Out(f"sshd takes {name}")
    return "granted" if granted else "refused"


def _another_channel(number: int, lab: Lab) -> str:
    """Requests for channels that are not open."""
    link = lab.new_link()
    try:
        return tried(lambda: link.session().request_to(number, b"exec", _command(lab).encode()))
    finally:
        link.close()


def requests() -> Iterator[Attempt]:
    for running in (False, True):
        when = "in SFTP" if running else "before it begins"
        for what, (kind, fields, forbidden) in REQUESTS.items():
            run = partial(_requested, kind, fields, forbidden, running)
            yield Attempt("channel requests", f"{what}, {when}", run)
        for signal in SIGNALS:
            run = partial(_requested, b"signal", (signal,), False, running)
            yield Attempt("channel requests", f"the signal {signal!r}, {when}", run)
    for name in (*VARIABLES, "LANG", "LC_ALL", "A" * 10_000, "LD_PRELOAD\0X", "X=Y"):
        yield Attempt("channel requests", f"the variable {name[:30]!r}", partial(_variable, name))
    for number in (1, 7, 100, 0x7FFFFFFF, 0xFFFFFFFF):
        yield Attempt(
            "channel requests", f"exec in the channel {number}", partial(_another_channel, number)
        )


# --- forwarding -----------------------------------------


class Listener:
    """A service of the host that says a canary to whoever reaches it: on a port of 127.0.0.1, or in a socket."""

    def __init__(self, word: str, path: str = "") -> None:
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.bind(path or ("127.0.0.1", 0))
        if path and not path.startswith("\0"):
            os.chmod(path, 0o777)
        self.socket.listen(50)
        self.port = 0 if path else self.socket.getsockname()[1]
        threading.Thread(target=self._serve, args=(word.encode(),), daemon=True).start()

    def _serve(self, word: bytes) -> None:
        while True:
            connection = self.socket.accept()[0]
            with contextlib.suppress(OSError):
                connection.sendall(word)
            connection.close()


def _tcp(host: str, port: int, lab: Lab) -> str:
    opened = lab.link.open(
        b"direct-tcpip", host.encode(), port or lab.form["listener"], b"127.0.0.1", 1
    )
    return connected(opened)


def _unix(path: str, lab: Lab) -> str:
    return connected(
        lab.link.open(b"direct-streamlocal@openssh.com", path.encode(), b"", 0),
        b"<13>forged\n",
        0.5,
    )


def _listens(kind: bytes, fields: tuple[bytes | int, ...], lab: Lab) -> str:
    """sshd would listen for the client."""
    granted = lab.link.globally(kind, *fields)
    if granted:
        lab.link.globally(b"cancel-" + kind, *fields)
        raise Out(f"sshd grants {kind!r}")
    return "refused"


def _channel(
    kind: bytes, fields: tuple[bytes | int | bool, ...], harmless: bool, raw: bool, lab: Lab
) -> str:
    link = lab.new_link()
    try:
        opened = link.open(kind, *fields, raw=raw)
    except Gone as error:
        return f"the connection ends ({error})"
    finally:
        link.close()
    if isinstance(opened, Channel) and not harmless:
        raise Out(f"sshd opens {kind!r}")
    return "opened" if isinstance(opened, Channel) else f"refused, reason {opened}"


PLACES = (b"", b"*", b"0.0.0.0", b"127.0.0.1", b"::", b"localhost", b"::1", b"example.com")
CHANNELS: dict[str, tuple[bytes, tuple[bytes | int | bool, ...], bool, bool]] = {
    "a tunnel of packets": (b"tun@openssh.com", (1, 0xFFFFFFFF), False, False),
    "a tunnel of frames": (b"tun@openssh.com", (2, 0xFFFFFFFF), False, False),
    "a tunnel of no mode": (b"tun@openssh.com", (0, 0), False, False),
    "a tunnel of mode 9": (b"tun@openssh.com", (9, 0), False, False),
    "an X11 connection": (b"x11", (b"127.0.0.1", 6000), False, False),
    "an agent's connection": (b"auth-agent@openssh.com", (), False, False),
    "an agent's connection, as the draft has it": (b"auth-agent", (), False, False),
    "a forwarded TCP connection": (
        b"forwarded-tcpip",
        (b"127.0.0.1", 22, b"127.0.0.1", 1),
        False,
        False,
    ),
    "a forwarded socket": (b"forwarded-streamlocal@openssh.com", (b"/dev/log", b""), False, False),
    "a channel to the master": (b"mux@openssh.com", (), False, False),
    "something unknown": (b"root@example.com", (b"x",), False, False),
    "nothing": (b"", (), False, False),
    "something of 100,000 bytes": (b"c" * 100_000, (), False, False),
    "a session with more behind": (b"session", (b"root", 0), True, False),
    "a session without a window": (b"session", (0, 0), True, True),
    "a session with windows of 2^32-1": (b"session", (0xFFFFFFFF, 0xFFFFFFFF), True, True),
    "TCP that is cut": (b"direct-tcpip", (Raw(b"\0\0\0\x09127."),), False, False),
    "a socket that is cut": (
        b"direct-streamlocal@openssh.com",
        (Raw(b"\0\0\0\xff/"),),
        False,
        False,
    ),
    "a tunnel that is cut": (b"tun@openssh.com", (Raw(b"\0"),), False, False),
}


def forwarding(form: dict[str, object]) -> Iterator[Attempt]:
    for host in (
        "127.0.0.1",
        "localhost",
        "::1",
        "0.0.0.0",
        "",
        "127.1",
        "2130706433",
        "sandbox",
        "::ffff:127.0.0.1",
    ):
        yield Attempt("forwarding", f"TCP to a service at {host!r}", partial(_tcp, host, 0))
        yield Attempt(
            "forwarding", f"TCP to sshd at {host!r}", partial(_tcp, host, int(str(form["port"])))
        )
    for port in (1, 65535, 65536 + 22, 0xFFFFFFFF):
        yield Attempt("forwarding", f"TCP to port {port}", partial(_tcp, "127.0.0.1", port))
    sockets = [
        str(form["socket"]),
        "\0canary",
        f"{'../' * 12}{form['socket']}",
        "/dev/log",
        "",
        "x",
        "/" + "s" * 5000,
    ]
    for path in (
        *sockets,
        "/run/systemd/private",
        "/run/dbus/system_bus_socket",
        "/run/systemd/journal/stdout",
    ):
        yield Attempt("forwarding", f"the socket {path[:40]!r}", partial(_unix, path))
    for place in PLACES:
        for port in (0, 80, 8022):
            run = partial(_listens, b"tcpip-forward", (place, port))
            yield Attempt("forwarding", f"listening at {place.decode()!r}, port {port}", run)
    for port in (65536 + 8023, 0xFFFFFFFF):
        yield Attempt(
            "forwarding",
            f"listening on port {port}",
            partial(_listens, b"tcpip-forward", (b"", port)),
        )
    home = str(form["home"]).rstrip("/")
    for place in (
        "/srv/canary.d/esc.sock",
        "/tmp/esc.sock",
        f"{home}/esc.sock",
        "esc.sock",
        "\0esc",
        "",
    ):
        run = partial(_listens, b"streamlocal-forward@openssh.com", (place.encode(),))
        yield Attempt("forwarding", f"listening in {place!r}", run)
    for what, (kind, fields, harmless, raw) in CHANNELS.items():
        yield Attempt("channels", what, partial(_channel, kind, fields, harmless, raw))


# --- global requests, and messages -----------------------------------------


def _global(kind: bytes, fields: tuple[bytes | int | bool, ...], forbidden: bool, lab: Lab) -> str:
    link = lab.new_link()
    granted = False
    try:
        granted = link.globally(kind, *fields)
        words = "granted" if granted else "refused"
    except Gone as error:
        words = f"the connection ends ({error})"
    finally:
        link.close()
    if granted and forbidden:
        raise Out(f"sshd grants {kind!r}")
    return words


def _no_more(lab: Lab) -> str:
    """After no-more-sessions sshd opens none."""
    link = lab.new_link()
    try:
        link.globally(b"no-more-sessions@openssh.com", wants=False)
        opened = link.open(SESSION)
    except Gone as error:
        return f"the connection ends ({error})"
    finally:
        link.close()
    if isinstance(opened, Channel):
        raise Out("a session after no-more-sessions")
    return f"refused, reason {opened}"


GLOBALS: dict[str, tuple[bytes, tuple[bytes | int | bool, ...], bool]] = {
    "a proof of no key": (b"hostkeys-prove-00@openssh.com", (), False),
    "a proof of another's key": (
        b"hostkeys-prove-00@openssh.com",
        (pack(b"ssh-ed25519", b"k" * 32),),
        True,
    ),
    "a proof of something else": (b"hostkeys-prove-00@openssh.com", (b"not a key",), True),
    "a proof of 100,000 bytes": (b"hostkeys-prove-00@openssh.com", (bytes(100_000),), True),
    "keys of the client's": (b"hostkeys-00@openssh.com", (pack(b"ssh-ed25519", b"k" * 32),), True),
    "a keepalive": (b"keepalive@openssh.com", (), False),
    "an end of a forwarding that is none": (b"cancel-tcpip-forward", (b"127.0.0.1", 22), True),
    "an end of a socket that is none": (
        b"cancel-streamlocal-forward@openssh.com",
        (b"/dev/log",),
        True,
    ),
    "something unknown": (b"elevate@example.com", (b"root",), True),
    "nothing": (b"", (), True),
    "something of 100,000 bytes": (b"g" * 100_000, (), True),
    "listening, cut": (b"tcpip-forward", (Raw(b"\0\0"),), True),
    "a socket, cut": (b"streamlocal-forward@openssh.com", (Raw(b"\0\0\0\xff/"),), True),
}


def _again(user: str, lab: Lab) -> bytes:
    """SSH_MSG_USERAUTH_REQUEST, RFC 4252, section 5."""
    return b"\x32" + pack(user.encode(), b"ssh-connection", b"none")


MESSAGES: dict[str, Callable[[Lab], list[bytes]]] = {
    "authentication again, as root": lambda lab: [_again("root", lab)],
    "authentication again, as bob": lambda lab: [_again("bob", lab)],
    "a password for root": lambda lab: [
        b"\x32" + pack(b"root", b"ssh-connection", b"password", False, b"root")
    ],
    "the service of authentication": lambda lab: [
        b"\x05" + pack(b"ssh-userauth"),
        _again("root", lab),
    ],
    "success of authentication": lambda lab: [b"\x34"],
    "an answer that nobody asked for": lambda lab: [b"\x3d" + pack(1, b"x")],
    "new keys without an exchange": lambda lab: [b"\x15"],
    "a key exchange that is cut": lambda lab: [b"\x14" + bytes(16)],
    "a key of an exchange": lambda lab: [b"\x1e" + pack(b"k" * 32)],
    "a ping": lambda lab: [b"\xc0" + pack(b"x" * 1000)],
    "a pong": lambda lab: [b"\xc1" + pack(b"x")],
    "a debug message": lambda lab: [b"\x04" + pack(True, b"x" * 1000, b"")],
    "a message to be ignored": lambda lab: [b"\x02" + pack(b"x" * 30_000)],
    "extensions": lambda lab: [b"\x07" + pack(1, b"no-flow-control", b"p")],
    "success of a request": lambda lab: [b"\x51", b"\x63" + pack(0)],
    "a channel that opened": lambda lab: [b"\x5b" + pack(0, 0, 100, 100)],
    "data for a channel": lambda lab: [b"\x5e" + pack(3, b"id\n")],
    "data of an unknown kind": lambda lab: [b"\x5f" + pack(0, 9, b"id\n")],
    "a window that overflows": lambda lab: [b"\x5d" + pack(0, 0xFFFFFFFF)] * 3,
    "the end of a channel": lambda lab: [b"\x60" + pack(9), b"\x61" + pack(9)],
    "the monitor's messages": lambda lab: [
        bytes([number]) + pack(7, b"x") for number in (100, 101, 116, 124, 150)
    ],
    "unknown messages": lambda lab: [
        bytes([number]) + b"x" * 50 for number in (8, 40, 66, 110, 127, 191, 192, 254, 255)
    ],
    "a disconnection": lambda lab: [b"\x01" + pack(11, b"bye", b"")],
}


def _message(messages: Callable[[Lab], list[bytes]], lab: Lab) -> str:
    """Messages at the wrong time; then who one is, if there still is a connection."""
    link = lab.new_link()
    try:
        for data in messages(lab):
            link.send(data)
        time.sleep(0.05)
        return f"{_who(link, lab)} afterwards"
    except (Gone, OSError, EOFError) as error:
        return f"the connection ends ({error})"
    finally:
        link.close()


def _who(link: Link, lab: Lab) -> str:
    channel = link.session()
    channel.request(b"exec", _command(lab).encode())
    channel.said(b"", 0.5)
    sftp = Sftp.begin(link)
    return sftp.ask(11, lab.flock.zones[0].path.encode()).words


def messages() -> Iterator[Attempt]:
    yield Attempt("global requests", "sessions after no more sessions", _no_more)
    for what, (kind, fields, forbidden) in GLOBALS.items():
        yield Attempt("global requests", what, partial(_global, kind, fields, forbidden))
    for what, made in MESSAGES.items():
        yield Attempt("messages", what, partial(_message, made))


# --- stock clients -----------------------------------------


def _options(lab: Lab) -> list[str]:
    options = [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ]
    options += ["LogLevel=ERROR", "ConnectTimeout=5", "ExitOnForwardFailure=yes"]
    return ["-F", "none", "-i", lab.form["key"], *(f"-o{option}" for option in options)]


def _sftp(batch: str, lab: Lab) -> str:
    """A batch for sftp(1); Z is a zone's path, HERE a directory of the attacker's own machine."""
    here = lab.form["here"]
    path = f"{here}/batch"
    with open(path, "w", encoding="utf-8") as file:
        file.write(batch.replace("Z", lab.flock.zones[0].path).replace("HERE", here) + "\n")
    said = lab.run("sftp", "-P", str(lab.form["port"]), *_options(lab), "-b", path, _target(lab))
    return _taken(lab, said)


def _target(lab: Lab) -> str:
    return f"{lab.form['user']}@127.0.0.1"


def _taken(lab: Lab, said: bytes) -> str:
    """What a client brought back counts as heard."""
    for directory, _, names in os.walk(lab.form["here"]):
        for name in names:
            path = f"{directory}/{name}"
            if name != "batch" and not name.startswith("mine"):
                lab.heard += name.encode()
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        lab.heard += file.read()
                os.unlink(path)
    return said.decode("utf-8", "replace").strip().splitlines()[-1]


def _client(words: str, lab: Lab) -> str:
    """A stock client; K stands for its options, T for user and host, Z for a zone's path."""
    values = {"Z": lab.flock.zones[0].path, "T": _target(lab), "HERE": lab.form["here"]}
    values |= {
        "L": str(lab.form["listener"]),
        "S": lab.form["socket"],
        "P": str(lab.form["port"]),
        "U": lab.form["user"],
    }
    argv: list[str] = []
    for word in words.split():
        if word == "K":
            argv += _options(lab)
            continue
        for key, value in values.items():
            word = word.replace(f"%{key}", value)
        argv.append(word.replace("%_", " "))
    return _taken(lab, lab.run(*argv))


def _forwarded(option: str, local: int, lab: Lab) -> str:
    """ssh -N with a forwarding, and what comes out of the local port."""
    value = option.replace("%L", str(lab.form["listener"])).replace("%S", lab.form["socket"])
    argv = ["ssh", "-N", "-p", str(lab.form["port"]), *_options(lab), *value.split(), _target(lab)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline, data = time.monotonic() + 0.6, b""
        while process.poll() is None and time.monotonic() < deadline and not data:
            try:
                with socket.create_connection(("127.0.0.1", local), 1) as connection:
                    if option.startswith("-D"):
                        connection.sendall(b"\x05\x01\x00")
                        connection.recv(10)
                        connection.sendall(
                            b"\x05\x01\x00\x01\x7f\0\0\1" + lab.form["listener"].to_bytes(2, "big")
                        )
                        connection.recv(10)
                    data = connection.recv(100)
            except OSError:
                time.sleep(0.05)
        lab.heard += data
        process.kill()
    return f"{len(data)} bytes" if data else "nothing"


BATCHES: dict[str, str] = {
    "get": "get Z/secret HERE/got",
    "get with dots": "get ../../../../../../../../..Z/secret HERE/got",
    "get -r": "get -R Z HERE/got",
    "reget": "reget Z/secret HERE/got",
    "ls": "ls -la Z",
    "ls of a pattern": "ls -l Z/*",
    "cd": "cd Z\nls -la\nget secret HERE/got",
    "put": "put HERE/mine Z/new",
    "put -R": "put -R HERE Z/new",
    "rm": "rm Z/secret",
    "rm of a pattern": "rm Z/sec*",
    "mkdir": "mkdir Z/new",
    "rmdir": "rmdir Z/empty",
    "rename": "rename Z/secret taken\nget taken HERE/got",
    "chmod": "chmod 777 Z/secret",
    "chown": "chown 1 Z/secret",
    "ln": "ln Z/secret stolen\nget stolen HERE/got",
    "ln -s": "symlink Z way\nls -la way/\nget way/secret HERE/got",
    "copy": "copy Z/secret copied\nget copied HERE/got",
    "df": "df Z",
    "put through a link": "symlink Z door\nput HERE/mine door/new",
    "rm through a link": "symlink Z gate\nrm gate/secret",
}
CLIENTS: dict[str, str] = {
    "scp from there": "scp -P %P K %T:%Z/secret %HERE/got",
    "scp from there, the old way": "scp -O -P %P K %T:%Z/secret %HERE/got",
    "scp -r from there": "scp -r -P %P K %T:%Z %HERE/got",
    "scp to there": "scp -P %P K %HERE/mine %T:%Z/new",
    "scp to there, the old way": "scp -O -P %P K %HERE/mine %T:%Z/new",
    "scp between hosts": "scp -3 -P %P K %T:%Z/secret %T:stolen",
    "rsync": "rsync -a -e ssh%_-p%_%P%_-F%_none%_-i%_/root/keys/KEY%_-oStrictHostKeyChecking=no %T:%Z/ %HERE/got/",
    "ssh with a command": "ssh -p %P K %T cat %Z/secret",
    "ssh in a terminal": "ssh -tt -p %P K %T cat %Z/secret",
    "ssh -W": "ssh -W 127.0.0.1:%L -p %P K %T",
    "ssh -W to a socket": "ssh -W %S -p %P K %T",
    "ssh -s shell": "ssh -s -p %P K %T shell",
    "ssh -A": "ssh -A -p %P K %T env",
    "ssh -X": "ssh -X -p %P K %T env",
    "ssh with an environment": "ssh -oSetEnv=LD_PRELOAD=/x -p %P K %T cat %Z/secret",
    "ssh -w": "ssh -N -w any:any -p %P K %T",
    "lftp": "lftp -e set%_sftp:connect-program%_ssh%_-a%_-x%_-F%_none%_-oStrictHostKeyChecking=no%_-i%_/root/keys/KEY"
    ";set%_net:max-retries%_1;set%_net:timeout%_4;cat%_%Z/secret;exit sftp://%U:x@127.0.0.1:%P",
}
FORWARDS: dict[str, tuple[str, int]] = {
    "ssh -L": ("-L 9101:127.0.0.1:%L", 9101),
    "ssh -L to a socket": ("-L 9102:%S", 9102),
    "ssh -D": ("-D 9103", 9103),
    "ssh -R": ("-R 9104:127.0.0.1:%L", 9104),
    "ssh -R with a proxy": ("-R 9105", 9105),
}


def clients(form: dict[str, object]) -> Iterator[Attempt]:
    key = os.path.basename(str(form["key"]))
    for what, batch in BATCHES.items():
        yield Attempt("clients", f"sftp: {what}", partial(_sftp, batch))
    for what, words in CLIENTS.items():
        yield Attempt("clients", what, partial(_client, words.replace("KEY", key)))
    for what, (option, local) in FORWARDS.items():
        yield Attempt("clients", what, partial(_forwarded, option, local))


def attempts(form: dict[str, object]) -> Iterator[Attempt]:
    """Every attempt by SSH."""
    yield from programs()
    yield from requests()
    yield from forwarding(form)
    yield from messages()
    yield from clients(form)
