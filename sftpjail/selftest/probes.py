"""The probes of `sftpjail test`: what a jail promises, each asked of a real session.

A probe may return a few words, and raises when the jail does not keep its promise. A door is proved
shut twice: sshd refuses the request, and each setting that guards the door is in force, so that a
single one cannot be opened unnoticed while another still holds.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Iterator
from shlex import quote

from ..errors import SftpJailError
from ..model import REQUESTS, frozen, normal
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


@frozen
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
    if not trial.confined:
        return ""
    return f"by an sshd as the one that runs: {trial.confined}"


def lands(trial: Trial) -> str:
    """There is an SFTP session, and it starts where it should."""
    if "realpath" in trial.denied:
        return f"the profile denies realpath; {trial.start} was not asked for"
    here, there = trial.sftp.realpath("."), trial.sftp.realpath(trial.start)
    if here != there:
        raise Failed(f"the session starts in {here} and not in {trial.start}")
    return here


def transfers(trial: Trial) -> str:
    """Files can be written, read, renamed and deleted, or none of that in a read-only profile."""
    if trial.read_only:
        return _writes_nothing(trial)
    denied, sftp = trial.denied, trial.sftp
    if denied & {"open", "write"}:
        return "the profile denies uploads"
    start = normal(f"{trial.jail}/{trial.directory}")
    if _is_administrators(trial) and not trial.host.may(trial.account, start, "w"):
        return f"{trial.directory} is an administrator's, and not to be written in"
    name = path = normal(f"{trial.directory}/{trial.nonce}")
    renamed = f"{name}.renamed"
    trial.leaves(path, renamed)
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
    if not {"rename", "posix-rename"} <= denied:
        done.append("renamed")
    if "remove" not in denied:
        sftp.must("remove", path)
        done.append("deleted")
    return f"{', '.join(done)} in {trial.directory}"


def _is_administrators(trial: Trial) -> bool:
    """Return whether what lies in the jail is an administrator's: `home = none`."""
    profile = trial.account.profile
    return profile is not None and not profile.is_filled


def _writes_nothing(trial: Trial) -> str:
    name = normal(f"{trial.directory}/{trial.nonce}")
    trial.leaves(name)
    codes = {"open for writing": _opens_for_writing(trial, name)}
    codes |= {
        request: _code(trial, request) for request in sorted(REQUESTS) if REQUESTS[request].writes
    }
    _all_refused(codes, "the session should be read-only, but sshd does not refuse")
    return f"read-only: {len(codes)} requests refused"


def _opens_for_writing(trial: Trial, path: str) -> int:
    return trial.sftp.ask("open", path, WRITE | CREATE | EXCLUSIVE).code


def _code(trial: Trial, request: str) -> int:
    return trial.sftp.ask(request, *harmless(request, f"/{trial.nonce}/none")).code


def _all_refused(codes: dict[str, int], complaint: str) -> None:
    refused = (PERMISSION_DENIED, OP_UNSUPPORTED)
    granted = [request for request, code in codes.items() if code not in refused]
    if granted:
        raise Failed(f"{complaint} {', '.join(granted)}")


def root_is_closed(trial: Trial) -> None:
    """Nothing can be made in the jail's root."""
    file, directory = f"/{trial.nonce}", f"/{trial.nonce}.d"
    trial.leaves(file, directory)
    made = []
    if _opens_for_writing(trial, file) == OK:
        made.append("a file")
    if trial.sftp.ask("mkdir", directory).code == OK:
        made.append("a directory")
    if made:
        raise Failed(f"{' and '.join(made)} could be made in /")


def host_is_hidden(trial: Trial) -> None:
    """No path leads out of the jail, nor a link that the user makes."""
    seen = []
    witness, climbing = trial.witness, f"{'../' * 12}{trial.witness.lstrip('/')}"
    link = normal(f"{trial.directory}/{trial.nonce}")
    soft, hard = f"{link}.symlink", f"{link}.hardlink"
    trial.leaves(soft, hard)
    passwd = trial.host.read("/etc/passwd") or b""
    shown = _content(trial, "/etc/passwd")
    if shown and passwd.startswith(shown):
        seen.append("/etc/passwd of the host")
    seen += [path for path in (witness, climbing) if _sees(trial, path)]
    linked = trial.sftp.ask("symlink", witness, soft).code == OK
    if linked and _sees(trial, soft):
        seen.append(f"{witness} through a symbolic link")
    if trial.sftp.ask("hardlink", witness, hard).code == OK:
        seen.append(f"{witness} through a hard link")
    if seen:
        raise Failed(f"the session sees {', '.join(seen)}")


def _content(trial: Trial, path: str) -> bytes:
    try:
        return trial.sftp.read(path)
    except SftpError as error:
        if error.code < 0:
            raise
        return b""


def _exists(trial: Trial, path: str) -> bool:
    return trial.sftp.ask("stat", path).code == OK


def _sees(trial: Trial, path: str) -> bool:
    return _exists(trial, path) or trial.nonce.encode() in _content(trial, path)


def denies(trial: Trial) -> str:
    """Each request on the deny list is refused; sent so that it does nothing if it is not.

    sftp-server.c looks at the list before anything else, so that "permission denied" cannot have
    another cause: the names do not exist, and the handles are none.
    """
    codes = {name: _code(trial, name) for name in sorted(trial.denied)}
    _all_refused(codes, "sshd does not refuse")
    return f"{', '.join(sorted(trial.denied)) or 'nothing'} denied"


def is_logged(trial: Trial) -> str | None:
    """What the session did stands in the log within a few seconds."""
    logs = trial.config.logs
    if logs.backend == "none" or logs.level not in LOGGED:
        return "not logged, as configured"
    if {"open", "opendir"} <= trial.denied:
        return "the profile denies everything that is logged"
    if _is_administrators(trial) and trial.host.lstat(f"{trial.jail}/dev/log") is None:
        return "not logged: the jail is an administrator's, and has no dev/log"
    from ..transferlog.backend import backend
    from ..transferlog.sources import recent

    if backend(trial.host, trial.config) == "none":
        return "not logged: no log daemon is here"
    if "opendir" not in trial.denied:  # logged even where there is no such directory
        trial.sftp.ask("opendir", f"/{trial.nonce}")
    # By the random word alone: other characters of a path may be escaped in the log.
    wanted = re.compile((r'(forced )?close ".*' if trial.uploaded else "") + trial.nonce).search
    deadline = time.monotonic() + LOG_PATIENCE
    while time.monotonic() <= deadline:
        lines = recent(trial.host, trial.config, trial.began)
        if any(wanted(line.decode("latin-1")) for line in lines):
            return None
        time.sleep(0.02)
    raise Failed(f"nothing about {trial.uploaded or trial.nonce} in {LOG_PATIENCE:.0f} seconds")


# -- the doors -------------------------------------------------------------------------------------


def runs_nothing(trial: Trial) -> None:
    """A command, or a shell that is given one, prints nothing of what it should."""
    command = f"echo {trial.nonce}"
    asked = {"command": ("exec", command), "shell": ("shell",)}
    for what, request in asked.items():
        said = trial.doors.runs(*request, given=f"{command}\nexit\n".encode()) or b""
        if trial.nonce.encode() in said:
            raise Failed(f"a {what} ran")


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
        runs = trial.host.jobs.has_manager(trial.account.uid)
        while runs and mark and time.monotonic() < deadline:
            if _exists(trial, mark):
                raise Failed("an uploaded unit of systemd's ran on the host, outside of the jail")
            time.sleep(0.05)
    finally:
        trial.stop_manager()
    if runs:
        raise Failed("systemd starts a user manager on the host, outside of the jail")
    if mark:
        return "an uploaded unit did not run"
    return "none started; no unit can be uploaded"


def _place_unit(trial: Trial) -> str:
    """Upload a unit that every user manager would start, and return the path of its mark.

    It is "" where that cannot be.
    """
    if trial.read_only or not trial.home:
        return ""
    user = normal(f"{trial.home}/.config/systemd/user")
    wants, name = f"{user}/default.target.wants", f"sftpjail-{trial.nonce}"
    unit, link, mark = f"{user}/{name}.service", f"{wants}/{name}.service", f"{user}/{name}.mark"
    directories = [posixpath.dirname(posixpath.dirname(user)), posixpath.dirname(user), user, wants]
    missing = [path for path in directories if trial.sftp.ask("stat", path).code == NO_SUCH_FILE]
    trial.leaves(mark, link, unit, *reversed(missing))
    try:
        for path in missing:
            trial.sftp.must("mkdir", path)
        content = _UNIT.format(f"{name}.mark").encode()
        trial.sftp.write(unit, content, keep_open="close" in trial.denied)
        trial.sftp.must("symlink", f"../{name}.service", link)
    except SftpError as error:
        if error.code < 0:
            raise
        return ""
    return mark


def no_terminal(trial: Trial) -> None:
    """RFC 4254, 6.2."""
    _shut(trial.doors.requests("pty-req", "xterm", 80, 24, 0, 0, ""), "sshd gave a terminal")


def no_environment(trial: Trial) -> None:
    """RFC 4254, 6.4; LANG and LC_* are let in by Debian for everybody, and steer nothing."""
    names = ("LD_PRELOAD", "PATH", "SFTPJAIL_TEST")
    taken = [name for name in names if trial.doors.requests("env", name, trial.nonce)]
    _shut(bool(taken), f"sshd takes {', '.join(taken)} from the client")


def no_subsystem(trial: Trial) -> None:
    """RFC 4254, 6.5.

    ForceCommand makes each one SFTP, which begins with a packet of its version.
    """
    known = [line.split()[0] for line in trial.settings.values.get("subsystem", ()) if line.split()]
    for name in (trial.nonce, *(name for name in known if name != "sftp")):
        said = trial.doors.runs("subsystem", name, given=b"\0\0\0\5\1\0\0\0\3") or b""
        if said and said[4:5] != b"\2":
            raise Failed(f"the subsystem {name} answers {said[:60]!r}")


def no_tcp(trial: Trial) -> None:
    """-L, -D and -W are one request, RFC 4254, 7.2.

    -R is 7.1, with a port that a user cannot have anyway.
    """
    there = trial.doors.opens("direct-tcpip", "127.0.0.1", 1, "127.0.0.1", 0)
    # A failed connection has another reason.
    _shut(there != PROHIBITED, "sshd connects to where the client wants (-L, -D, -W)")
    here = "127.0.0.1", 1
    if not _forbidden(
        trial, "disabled port forwarding", trial.doors.globally, "tcpip-forward", *here
    ):
        trial.doors.globally("cancel-tcpip-forward", *here)
        raise Failed("sshd would listen for the client (-R)")


def no_sockets(trial: Trial) -> None:
    """Section 2.4 of OpenSSH's PROTOCOL.

    There is no reason in the answer, so sshd's own words decide.
    """
    mark = trial.mark()
    reason = trial.doors.opens("direct-streamlocal@openssh.com", trial.socket, "", 0)
    refused = reason != 0 and "refused streamlocal port forward" in trial.words(mark)
    _shut(not refused, "sshd connects to unix sockets")
    request = "streamlocal-forward@openssh.com", f"/{trial.nonce}/none"
    forbidden = _forbidden(trial, "disabled streamlocal forwarding", trial.doors.globally, *request)
    _shut(not forbidden, "sshd would listen on a unix socket")


def no_agent(trial: Trial) -> None:
    """The session request of OpenSSH's ssh(1) -A; draft-ietf-secsh-agent-02 has the same."""
    _shut(trial.doors.requests("auth-agent-req@openssh.com"), "sshd forwards the agent")


def no_x11(trial: Trial) -> None:
    """RFC 4254, 6.3."""
    granted = trial.doors.requests("x11-req", False, "MIT-MAGIC-COOKIE-1", "0" * 32, 0)
    _shut(granted, "sshd forwards X11")


def no_tunnel(trial: Trial) -> None:
    """Section 2.3 of OpenSSH's PROTOCOL: mode 1 is layer 3, mode 2 is layer 2."""
    for mode in (1, 2):
        request = "tun@openssh.com", mode, ANY_TUNNEL
        forbidden = _forbidden(trial, "rejected tunnel", trial.doors.opens, *request)
        _shut(not forbidden, f"sshd would make a tunnel of mode {mode}")


def nothing_outside(trial: Trial) -> None:
    """Nothing runs for the account outside of its jail, and no mount could lead root.

    No session shows either.
    """
    if trial.outside:
        first, *others = trial.outside
        more = f", and {len(others)} more: sftpjail check {quote(trial.account.name)}"
        raise Failed(first + (more if others else ""))


def _shut(opened: bool, complaint: str) -> None:
    """Fail where a door is open."""
    if opened:
        raise Failed(complaint)


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
Probe = tuple[str, Callable[[Trial], str | None], tuple[str, ...]]
PROBES: tuple[Probe, ...] = (
    ("authenticates", authenticates, ()),
    ("lands in the start directory", lands, ()),
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


def prove(trial: Trial, table: tuple[Probe, ...] = PROBES) -> Iterator[Outcome]:
    """Yield what comes of each probe of a table.

    Without a session the rest is not run, and that is not ok either.
    """
    silent = ""
    login = [probe for _, probe, _ in table].index(authenticates)
    for number, (name, probe, guards) in enumerate(table):
        if silent and not (probe is nothing_outside and trial.outside):
            yield Outcome(name, False, f"not run: {silent}")
            continue
        began = time.monotonic()
        mark = () if number < login + 2 else trial.mark()
        words, faults = "", list[str]()
        try:
            words = probe(trial) or ""
        except (Failed, SftpError, DoorError, SftpJailError) as error:
            faults.append(str(error))
        faults += [
            _open(trial, guard, not faults) for guard in guards if not _in_force(trial, guard)
        ]
        if faults:
            said = trial.words(mark)
            words = "; ".join(filter(None, [*faults, said and f"sshd: {said}"]))
        if not trial.connected and (faults or number > login):
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
