"""What is done when a session opens, at boot, and for `enter`: the mounts of jails.

Each is judged when it is made.

PAM runs it as root, before sshd's chroot: pam_exec(8). With "session" it is in the session's own
mount namespace and mounts what the account's table says; with "fstab" that is mounted already. Who
has no jail yet, because no useradd ever ran here, gets one. It fails, and the session is closed,
rather than show less than all.

This and safe_path.py become one file that needs no package; see openssh/pam_session.py, program().
"""

from __future__ import annotations

import os
import sys

from ..paths import BIN
from .safe_path import PathRefused, mount, open_path, unmount

USAGE = """\
usage: pam-session session|fstab           as PAM runs it, with PAM_USER in the environment
       pam-session enter TABLE DIRECTORY COMMAND [ARGUMENT]...
       pam-session boot"""
TABLES, ACCOUNTS = "/etc/sftpjail/mounts", "/var/lib/sftpjail/accounts"
# pam_namespace(8) mounts a tmpfs on it, for a session alone.
MARK = "/var/lib/sftpjail/session"
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-$")
# The administrator's word that a source may lie where others can write; see plugins/mounts/.
LOOSE = "x-sftpjail.allow"


class Refused(Exception):
    """The session is closed, and this is why."""


def unescaped(field: str) -> str:
    """Return the path that a field of fstab(5) stands for: octal escapes, getmntent(3)."""
    first, *rest = os.fsencode(field).split(b"\\")
    parts = [first]
    for part in rest:
        octal = part[:3]
        if (
            len(octal) == 3
            and octal[:1] in b"0123"
            and all(digit in b"01234567" for digit in octal)
        ):
            part = bytes([int(octal, 8)]) + part[3:]
        else:
            part = b"\\" + part
        parts.append(part)
    return os.fsdecode(b"".join(parts).partition(b"\0")[0])  # where mount(8) sees its end


def entries(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return source, target and options of the lines of an fstab(5) or an account's table."""
    found = []
    for line in text.split("\n"):
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if len(fields) >= 4 and not fields[0].startswith("#"):
            found.append((unescaped(fields[0]), unescaped(fields[1]), tuple(fields[3].split(","))))
    return found


def read(path: str) -> str:
    """Return the text of a file of root's; bytes that are not UTF-8 as surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape") as handle:
        return handle.read()


def show(table: str) -> None:
    """Make every mount of an account's table, the outer ones first.

    Raises:
        Refused: one cannot be made, or what it leads through is no longer root's alone.
    """
    for source, target, options in sorted(
        entries(read(table)), key=lambda entry: entry[1].count("/")
    ):
        try:
            mount(source, target, options, loose=LOOSE in options)
        except (PathRefused, OSError) as error:
            raise Refused(f"will not show {source} as {target}: {why(error)}") from error


def why(error: Exception) -> str:
    """Return an error in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def mount_points() -> set[str]:
    """Return every path of our namespace on which something is mounted: proc_pid_mountinfo(5)."""
    lines = read("/proc/self/mountinfo").split("\n")
    return {unescaped(line.split(" ")[4]) for line in lines if line}


def real(target: str) -> str:
    """Return a mount point as mountinfo has it."""
    directory, name = os.path.split(target)
    return os.path.join(os.path.realpath(directory), name)


def take_away_inherited(table: str) -> None:
    """Unmount binds of the host's from before `mounts` changed that came along.

    Perhaps they came with more rights.

    Raises:
        Refused: one stays.
    """
    targets = {real(target) for _, target, _ in entries(read(table))}
    for target in sorted(mount_points() & targets, reverse=True):
        try:
            while unmount(target, lazy=True):
                pass
        except (PathRefused, OSError) as error:
            raise Refused(
                f"{target}, mounted there before, cannot be unmounted: {why(error)}"
            ) from error


def make_jail(name: str) -> None:
    """Have sftpjail make the jail of an account that no hook of useradd's has brought.

    Raises:
        Refused: it does not, in its own words, or is not installed.
    """
    import subprocess

    if not os.access(BIN, os.X_OK):
        raise Refused(f"it has no jail yet, and {BIN}, which would make it, is not installed")
    argv = [BIN, "hook", "pam-session", name]
    null = subprocess.DEVNULL
    done = subprocess.run(
        argv, stdin=null, stdout=null, stderr=subprocess.PIPE, env={}, check=False
    )
    if done.returncode:
        raise Refused(done.stderr.decode("utf-8", "replace").strip() or f"{BIN} failed")


def login(kind: str) -> None:
    """Make the mounts of the session that PAM opens.

    Args:
        kind: session or fstab, as the profile's `mounts`.

    Raises:
        Refused: the session must not be.
    """
    if os.environ.get("PAM_TYPE") != "open_session":
        return
    name = os.environ.get("PAM_USER", "")
    if not name or name[0] in ".-" or not NAME.issuperset(name):
        raise Refused("that is not the name of an account")
    table = f"{TABLES}/{name}"
    if not os.path.lexists(table if kind == "session" else f"{ACCOUNTS}/{name}"):
        make_jail(name)
    if kind != "session" or not os.path.lexists(table):
        return
    if os.stat(MARK).st_dev == os.stat(f"{MARK}/..").st_dev:  # never in the host's own
        raise Refused("pam_namespace gave it no mount namespace of its own")
    take_away_inherited(table)
    show(table)


def enter(table: str, directory: str, argv: list[str]) -> None:
    """Become a command in a jail's directory, with the mounts that its sessions see.

    Args:
        table: the account's table, or "".
        directory: the jail.
        argv: the command; it is looked for in PATH.

    Raises:
        Refused: as `show`, or there is no such command.
    """
    if table:
        show(table)
    os.chdir(directory)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"sftpjail: cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def boot() -> bool:
    """Unmount what fstab(5) brought into a jail and would not be mounted there now.

    Return whether all holds. Nobody judges what mount(8) follows at a boot: a source in whose place
    somebody has put something else shows that.
    """
    good, mounted = True, mount_points()
    for source, target, options in entries(read("/etc/fstab")):
        ours = any(option.startswith("x-sftpjail.user=") for option in options)
        point = real(target)
        if not ours or point not in mounted:
            continue
        reason = unlike(source, target)
        if reason:
            good = False
            print(printable(f"sftpjail: {target} is unmounted: {reason}"), file=sys.stderr)
            take_away(point)
    return good


def take_away(point: str) -> None:
    """Unmount every layer at a mount point.

    One that stays is reported, and keeps no other from being judged.
    """
    try:
        while unmount(point, lazy=True):
            pass
    except (PathRefused, OSError) as error:
        print(printable(f"sftpjail: {point} stays mounted: {why(error)}"), file=sys.stderr)


def unlike(source: str, target: str) -> str:
    """Return why what is mounted at TARGET is not SOURCE, or may not be there, or ""."""
    try:
        point = open_path(target, strict=True)
    except (PathRefused, OSError) as error:
        return why(error)
    try:
        shown = open_path(source, follow=True, strict=True)
    except (PathRefused, OSError) as error:
        return why(error)
    else:
        same = os.path.samestat(os.fstat(point), os.fstat(shown))
        os.close(shown)
        return "" if same else f"it shows something other than {source}"
    finally:
        os.close(point)


def printable(words: str) -> str:
    """Return words for one line of a log."""
    return "".join(c if c.isprintable() else " " for c in words)


def refuse(words: str) -> None:
    """Report why a session is closed: to PAM's own log, and for whoever ran this by hand."""
    words = printable(words)
    print(f"sftpjail: {words}", file=sys.stderr)
    if os.environ.get("PAM_SERVICE"):
        import syslog

        syslog.openlog("sftpjail", 0, syslog.LOG_AUTH)
        user = "".join(c for c in os.environ.get("PAM_USER", "") if c in NAME)
        syslog.syslog(syslog.LOG_ERR, f"session of {user} closed: {words}")


def main(argv: list[str]) -> int:
    """Do one of the steps of USAGE; return the exit code."""
    os.umask(0o022)
    try:
        if argv[:1] == ["boot"] and len(argv) == 1:
            return 0 if boot() else 1
        if argv[:1] == ["enter"] and len(argv) > 3:
            enter(argv[1], argv[2], argv[3:])
        elif argv in (["session"], ["fstab"]):
            login(argv[0])
        else:
            print(USAGE, file=sys.stderr)
            return 2
    except (Refused, PathRefused, OSError, ValueError) as error:
        refuse(why(error))
        return 1
    return 0
