"""The probes of `sftpjail test`: what a jail promises, each asked of a real session.

A probe returns a few words, or raises when the jail does not keep its promise. A door is proved
shut twice: sshd refuses the request, and each setting that guards the door is in force, so that a
single one cannot be opened unnoticed while another still holds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shlex import quote

from ..errors import SftpJailError
from ..model import REQUESTS, normal
from .login import Trial
from .sftp_client import (
    CREATE,
    EXCLUSIVE,
    NO_SUCH_FILE,
    OK,
    OP_UNSUPPORTED,
    PERMISSION_DENIED,
    WRITE,
    SftpError,
    harmless,
)
from .ssh_client import PROHIBITED, DoorError

UNIT_PATIENCE = 2.0  # seconds for a user manager to start what is in default.target.wants
LOG_PATIENCE = 3.0  # seconds until a transfer stands in the log
# The levels at which internal-sftp logs files.
LOGGED = ("INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3")
ANY_TUNNEL = 0xFFFFFFFF  # no number that sshd takes, so that it makes no device where it would


class Failed(Exception):
    """The jail does not keep a promise; says which."""


@dataclass(frozen=True)
class Outcome:
    """What came of one probe: its name, whether all is well, and why or why not.

    And how many seconds it took.
    """

    name: str
    ok: bool
    words: str
    seconds: float = 0.0


# -- a session -------------------------------------------------------------------------------------


def authenticates(trial: Trial) -> str:
    """The key is let in, and the account."""
    try:
        trial.log_in()
    except SftpError as error:
        if not trial.accepted():
            raise Failed(str(error)) from error
    return ""


def lands(trial: Trial) -> str:
    """There is an SFTP session, and it starts where it should."""
    start = os.fsencode(trial.start)
    if "realpath" in trial.denied:
        return f"the profile denies realpath; {trial.start} was not asked for"
    here, there = trial.sftp.realpath(b"."), trial.sftp.realpath(start)
    if here != there:
        raise Failed(f"the session starts in {os.fsdecode(here)} and not in {trial.start}")
    return os.fsdecode(here)


def transfers(trial: Trial) -> str:
    """Files can be written, read, renamed and deleted, or none of that in a read-only profile."""
    if trial.read_only:
        return _writes_nothing(trial)
    denied, sftp = trial.denied, trial.sftp
    if denied & {"open", "write"}:
        return "the profile denies uploads"
    name = normal(f"{trial.folder}/{trial.nonce}")
    trial.leaves(name, f"{name}.renamed")
    path, renamed = os.fsencode(name), os.fsencode(f"{name}.renamed")
    content = f"{trial.nonce}\n".encode() * 64
    sftp.write(path, content, keep_open="close" in denied)
    trial.uploaded = name
    done = ["wrote"]
    if "read" not in denied:
        if sftp.read(path, keep_open="close" in denied) != content:
            raise Failed(f"what was read from {name} is not what was written")
        done.append("read")
    for request in ("rename", "posix-rename"):
        if request not in denied:
            sftp.must(request, path, renamed)
            path, renamed = renamed, path
            done = [*done, "renamed"] if "renamed" not in done else done
    if "remove" not in denied:
        sftp.must("remove", path)
        done.append("deleted")
    return f"{', '.join(done)} in {trial.folder}"


def _writes_nothing(trial: Trial) -> str:
    name = normal(f"{trial.folder}/{trial.nonce}")
    trial.leaves(name)
    codes = {
        "open for writing": trial.sftp.ask(
            "open", os.fsencode(name), WRITE | CREATE | EXCLUSIVE
        ).code
    }
    codes |= {
        request: _code(trial, request) for request in sorted(REQUESTS) if REQUESTS[request].writes
    }
    _all_refused(codes, "the session should be read-only, but sshd does not refuse")
    return f"read-only: {len(codes)} requests refused"


def _code(trial: Trial, request: str) -> int:
    return trial.sftp.ask(request, *harmless(request, f"/{trial.nonce}/none".encode())).code


def _all_refused(codes: dict[str, int], complaint: str) -> None:
    granted = [
        request
        for request, code in codes.items()
        if code not in (PERMISSION_DENIED, OP_UNSUPPORTED)
    ]
    if granted:
        raise Failed(f"{complaint} {', '.join(granted)}")


def root_is_closed(trial: Trial) -> str:
    """Nothing can be made in the jail's root."""
    file, folder = f"/{trial.nonce}", f"/{trial.nonce}.d"
    trial.leaves(file, folder)
    made = []
    if trial.sftp.ask("open", file.encode(), WRITE | CREATE | EXCLUSIVE).code == OK:
        made.append("a file")
    if trial.sftp.ask("mkdir", folder.encode()).code == OK:
        made.append("a folder")
    if made:
        raise Failed(f"{' and '.join(made)} could be made in /")
    return ""


def host_is_hidden(trial: Trial) -> str:
    """No path leads out of the jail, nor a link that the user makes."""
    seen = []
    witness, climbing = trial.witness, f"{'../' * 12}{trial.witness.lstrip('/')}"
    soft, hard = (
        normal(f"{trial.folder}/{trial.nonce}.{kind}") for kind in ("symlink", "hardlink")
    )
    trial.leaves(soft, hard)
    passwd = trial.host.read("/etc/passwd") or b""
    shown = _content(trial, "/etc/passwd")
    if shown and passwd.startswith(shown):
        seen.append("/etc/passwd of the host")
    seen += [path for path in (witness, climbing) if _sees(trial, path)]
    if trial.sftp.ask("symlink", os.fsencode(witness), os.fsencode(soft)).code == OK and _sees(
        trial, soft
    ):
        seen.append(f"{witness} through a symbolic link")
    if trial.sftp.ask("hardlink", os.fsencode(witness), os.fsencode(hard)).code == OK:
        seen.append(f"{witness} through a hard link")
    if seen:
        raise Failed(f"the session sees {', '.join(seen)}")
    return ""


def _content(trial: Trial, path: str) -> bytes:
    try:
        return trial.sftp.read(os.fsencode(path))
    except SftpError as error:
        if error.code < 0:
            raise
        return b""


def _sees(trial: Trial, path: str) -> bool:
    return trial.sftp.ask("stat", os.fsencode(path)).code == OK or trial.nonce.encode() in _content(
        trial, path
    )


def denies(trial: Trial) -> str:
    """Each request on the deny list is refused; sent so that it does nothing if it is not.

    sftp-server.c looks at the list before anything else, so that "permission denied" cannot have
    another cause: the names do not exist, and the handles are none.
    """
    _all_refused(
        {name: _code(trial, name) for name in sorted(trial.denied)},
        "sshd does not refuse",
    )
    return f"{', '.join(sorted(trial.denied)) or 'nothing'} denied"


def is_logged(trial: Trial) -> str:
    """What the session did stands in the log within a few seconds."""
    logs = trial.config.logs
    if logs.backend == "none" or logs.level not in LOGGED:
        return "not logged, as configured"
    if {"open", "opendir"} <= trial.denied:
        return "the profile denies everything that is logged"
    from ..transferlog.backend import backend
    from ..transferlog.sources import recent

    if backend(trial.host, trial.config) == "none":
        return "not logged: no log daemon is here"
    if "opendir" not in trial.denied:  # logged even where there is no such folder
        trial.sftp.ask("opendir", f"/{trial.nonce}".encode())
    # By the random word alone: other characters of a path may be escaped in the log.
    wanted = re.compile((r'(forced )?close ".*' if trial.uploaded else "") + trial.nonce).search
    deadline = time.monotonic() + LOG_PATIENCE
    while True:
        if any(
            wanted(line.decode("latin-1")) for line in recent(trial.host, trial.config, trial.began)
        ):
            return ""
        if time.monotonic() > deadline:
            raise Failed(
                f"nothing about {trial.uploaded or trial.nonce} in {LOG_PATIENCE:.0f} seconds"
            )
        time.sleep(0.02)


# -- the doors -------------------------------------------------------------------------------------


def runs_nothing(trial: Trial) -> str:
    """A command, or a shell that is given one, prints nothing of what it should."""
    command = f"echo {trial.nonce}"
    asked = {"command": ("exec", command), "shell": ("shell",)}
    for what, request in asked.items():
        said = trial.doors.runs(*request, given=f"{command}\nexit\n".encode()) or b""
        if trial.nonce.encode() in said:
            raise Failed(f"a {what} ran")
    return ""


# It leaves a mark beside itself; %h is the home: systemd.unit(5).
_UNIT = """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/touch "%h/.config/systemd/user/{}"
"""


def no_user_manager(trial: Trial) -> str:
    """What is uploaded as a unit of systemd's does not run on the host.

    And there is no user manager: user@.service(5).

    It is started as a login does. That of the trial itself need not: whoever is logged in already,
    as root who runs this, has no second session (pam_systemd(8)).
    """
    if not trial.host.systemd:
        return "systemd does not run here"
    if trial.had_manager:
        raise Failed(
            f"a user manager of {trial.account.name} runs on the host, outside of the jail"
        )
    mark = _place_unit(trial)
    try:
        trial.start_manager()
        deadline = time.monotonic() + UNIT_PATIENCE
        runs = trial.host.has_manager(trial.account.uid)
        while runs and mark and time.monotonic() < deadline:
            if trial.sftp.ask("stat", os.fsencode(mark)).code == OK:
                raise Failed("an uploaded unit of systemd's ran on the host, outside of the jail")
            time.sleep(0.05)
    finally:
        trial.stop_manager()
    if runs:
        raise Failed("systemd starts a user manager on the host, outside of the jail")
    return "an uploaded unit did not run" if mark else "none started; no unit can be uploaded"


def _place_unit(trial: Trial) -> str:
    """Upload a unit that every user manager would start, and return the path of its mark.

    It is "" where that cannot be.
    """
    if trial.read_only or not trial.home:
        return ""
    folders, folder = list[str](), trial.home
    for name in (".config", "systemd", "user", "default.target.wants"):
        folder = normal(f"{folder}/{name}")
        folders.append(folder)
    user, name = folders[2], f"sftpjail-{trial.nonce}"
    unit, link, mark = f"{user}/{name}.service", f"{folder}/{name}.service", f"{user}/{name}.mark"
    missing = [
        path for path in folders if trial.sftp.ask("stat", os.fsencode(path)).code == NO_SUCH_FILE
    ]
    trial.leaves(mark, link, unit, *reversed(missing))
    try:
        for path in missing:
            trial.sftp.must("mkdir", os.fsencode(path))
        content = _UNIT.format(f"{name}.mark").encode()
        trial.sftp.write(os.fsencode(unit), content, keep_open="close" in trial.denied)
        trial.sftp.must("symlink", os.fsencode(f"../{name}.service"), os.fsencode(link))
    except SftpError as error:
        if error.code < 0:
            raise
        return ""
    return mark


def no_terminal(trial: Trial) -> str:
    """RFC 4254, 6.2."""
    return _refused(
        not trial.doors.requests("pty-req", "xterm", 80, 24, 0, 0, ""), "sshd gave a terminal"
    )


def no_environment(trial: Trial) -> str:
    """RFC 4254, 6.4; LANG and LC_* are let in by Debian for everybody, and steer nothing."""
    names = ("LD_PRELOAD", "PATH", "SFTPJAIL_TEST")
    taken = [name for name in names if trial.doors.requests("env", name, trial.nonce)]
    return _refused(not taken, f"sshd takes {', '.join(taken)} from the client")


def no_subsystem(trial: Trial) -> str:
    """RFC 4254, 6.5.

    ForceCommand makes each one SFTP, which begins with a packet of its version.
    """
    known = [line.split()[0] for line in trial.settings.values.get("subsystem", ()) if line.split()]
    for name in (trial.nonce, *(name for name in known if name != "sftp")):
        said = trial.doors.runs("subsystem", name, given=b"\0\0\0\5\1\0\0\0\3") or b""
        if said and said[4:5] != b"\2":
            raise Failed(f"the subsystem {name} answers {said[:60]!r}")
    return ""


def no_tcp(trial: Trial) -> str:
    """-L, -D and -W are one request, RFC 4254, 7.2.

    -R is 7.1, with a port that a user cannot have anyway.
    """
    there = trial.doors.opens("direct-tcpip", "127.0.0.1", 1, "127.0.0.1", 0)
    if there != PROHIBITED:  # a failed connection has another reason
        raise Failed("sshd connects to where the client wants (-L, -D, -W)")
    if not _forbidden(
        trial, "disabled port forwarding", trial.doors.globally, "tcpip-forward", "127.0.0.1", 1
    ):
        trial.doors.globally("cancel-tcpip-forward", "127.0.0.1", 1)
        raise Failed("sshd would listen for the client (-R)")
    return ""


def no_sockets(trial: Trial) -> str:
    """Section 2.4 of OpenSSH's PROTOCOL.

    There is no reason in the answer, so sshd's own words decide.
    """
    mark = trial.mark()
    reason = trial.doors.opens("direct-streamlocal@openssh.com", trial.socket, "", 0)
    if reason == 0 or "refused streamlocal port forward" not in trial.words(mark):
        raise Failed("sshd connects to unix sockets")
    request = "streamlocal-forward@openssh.com", f"/{trial.nonce}/none"
    forbidden = _forbidden(trial, "disabled streamlocal forwarding", trial.doors.globally, *request)
    return _refused(forbidden, "sshd would listen on a unix socket")


def no_agent(trial: Trial) -> str:
    """The session request of OpenSSH's ssh(1) -A; draft-ietf-secsh-agent-02 has the same."""
    return _refused(
        not trial.doors.requests("auth-agent-req@openssh.com"), "sshd forwards the agent"
    )


def no_x11(trial: Trial) -> str:
    """RFC 4254, 6.3."""
    granted = trial.doors.requests("x11-req", False, "MIT-MAGIC-COOKIE-1", "0" * 32, 0)
    return _refused(not granted, "sshd forwards X11")


def no_tunnel(trial: Trial) -> str:
    """Section 2.3 of OpenSSH's PROTOCOL: mode 1 is layer 3, mode 2 is layer 2."""
    for mode in (1, 2):
        forbidden = _forbidden(
            trial, "rejected tunnel", trial.doors.opens, "tun@openssh.com", mode, ANY_TUNNEL
        )
        _refused(forbidden, f"sshd would make a tunnel of mode {mode}")
    return ""


def nothing_outside(trial: Trial) -> str:
    """Nothing runs for the account outside of its jail, and no mount could lead root.

    No session shows either.
    """
    first, *others = trial.outside or [""]
    if first:
        raise Failed(
            first
            + (
                f", and {len(others)} more: sftpjail check {quote(trial.account.name)}"
                if others
                else ""
            )
        )
    return ""


def _refused(refused: bool, complaint: str) -> str:
    if not refused:
        raise Failed(complaint)
    return ""


def _forbidden(
    trial: Trial, words: str, ask: Callable[..., bool | int], *request: str | int
) -> bool:
    """Return whether sshd tells the client, in these words, that it forbids a request.

    And not that it failed.
    """
    before = len(trial.doors.heard)
    ask(*request)
    return any(words in message for message in trial.doors.heard[before:])


# -- the table -------------------------------------------------------------------------------------

# Name, probe, and the settings that must be in force, as sshd -T prints them;
# the values are regular expressions.
PROBES: tuple[tuple[str, Callable[[Trial], str], tuple[str, ...]], ...] = (
    ("authenticates", authenticates, ()),
    ("lands in the start folder", lands, ()),
    ("transfers files", transfers, ()),
    ("cannot write to /", root_is_closed, ()),
    ("does not see the host", host_is_hidden, ("chrootdirectory (?!none$).+",)),
    ("no command, no shell", runs_nothing, ("forcecommand internal-sftp( .*)?",)),
    ("no user manager", no_user_manager, ()),
    ("no terminal", no_terminal, ("permittty no",)),
    ("no environment", no_environment, ("permituserenvironment no", "permituserrc no")),
    ("no other subsystem", no_subsystem, ()),
    ("no TCP forwarding", no_tcp, ("allowtcpforwarding no", "disableforwarding yes")),
    ("no unix sockets", no_sockets, ("allowstreamlocalforwarding no",)),
    ("no agent", no_agent, ("allowagentforwarding no",)),
    ("no X11", no_x11, ("x11forwarding no",)),
    ("no tunnel", no_tunnel, ("permittunnel no",)),
    ("the deny list holds", denies, ()),
    ("is logged", is_logged, ()),
    ("nothing outside of it", nothing_outside, ()),
)


def prove(trial: Trial) -> Iterator[Outcome]:
    """Yield what comes of each probe.

    Without a session the rest is not run, and that is not ok either.
    """
    silent = ""
    for number, (name, probe, guards) in enumerate(PROBES):
        if silent and not (probe is nothing_outside and trial.outside):
            yield Outcome(name, False, f"not run: {silent}")
            continue
        began, mark = time.monotonic(), trial.mark()
        words, faults = "", list[str]()
        try:
            words = probe(trial)
        except (Failed, SftpError, DoorError, SftpJailError) as error:
            faults.append(str(error))
        faults += [
            _open(trial, guard, not faults) for guard in guards if not _in_force(trial, guard)
        ]
        if faults:
            said = trial.words(() if number < 2 else mark)
            words = "; ".join([*faults, *([f"sshd: {said}"] if said else [])])
        if not trial.connected and (faults or number > 0):
            silent = "there is no session"
        yield Outcome(name, not faults, words.replace("\n", " / "), time.monotonic() - began)


def _in_force(trial: Trial, guard: str) -> bool:
    keyword, _, pattern = guard.partition(" ")
    return bool(re.fullmatch(pattern, trial.settings.get(keyword)))


def _open(trial: Trial, guard: str, refused: bool) -> str:
    """Return what is wrong with a guard, and whether something else still holds the door."""
    keyword = guard.partition(" ")[0]
    words = (
        f"{keyword} {trial.settings.get(keyword) or '(not set)'} "
        f"in sshd -T ({trial.settings.where(keyword)})"
    )
    if not refused or keyword in ("chrootdirectory", "disableforwarding"):
        return words
    forwards = "forwarding" in keyword or keyword == "permittunnel"
    if forwards and trial.settings.get("disableforwarding") == "yes":
        return f"{words}; only DisableForwarding still shuts this door"
    return f"{words}; sshd refused all the same"
