"""Make the mounts of jails: when a session opens, at boot, and for `enter`.

Each mount is checked when it is made.

PAM runs this as root, before sshd's chroot (pam_exec(8)). With "session", it runs in the session's
own mount namespace and mounts what the account's table lists. With "fstab", this is mounted
already. An account that has no jail yet, because no useradd ever ran here, gets one: that is one
without a table, or a record, and a jail with session mounts has a table even if that is empty. If a
mount fails, the session is closed, so that no session sees only a part.

This module, safe_path.py and last_use.py become one file that needs no package, and that a small
script imports; see program() and script() in openssh/pam_session.py.
"""

from __future__ import annotations

import os
import sys

from ..paths import BIN, SEEN
from .safe_path import PathRefused, id_maps, mount, open_path, unmount

USAGE = """\
usage: pam-session session|fstab           as PAM runs it, with PAM_USER in the environment
       pam-session name [NAME:NAME...]     the same
       pam-session enter TABLE DIRECTORY COMMAND [ARGUMENT]...
       pam-session boot"""
TABLES, ACCOUNTS = "/etc/sftpjail/mounts", "/var/lib/sftpjail/accounts"
GATE = "/etc/sftpjail/directory"
# By name: who is shut out, who is jailed by a directory's group, who comes from where.
LISTS = ("/etc/sftpjail/closed", GATE, "/etc/sftpjail/limited")
# The PAM services of jails, which sshd asks for in its Match blocks alone.
SERVICES = ("sftpjail-session", "sftpjail")
# How many sessions at once: of single accounts, of profiles; and which are being opened.
CONNECTIONS, MOST = "/etc/sftpjail/connections", "/etc/sftpjail/most"
SESSIONS = "/run/sftpjail/sessions"
# pam_namespace(8) mounts a tmpfs on it, for a session alone.
MARK = "/var/lib/sftpjail/session"
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-$")
# The administrator's word that a source may lie where others can write; see plugins/mounts/.
LOOSE = "x-sftpjail.allow"
# The text of last_use.py, which no login waits for, not even for its being compiled.
LAST_USE = ""


class Refused(Exception):
    """The reason why the session is closed."""


def unescaped(field: str) -> str:
    """Return the path in a field of fstab(5), without its octal escapes (getmntent(3))."""
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
        line = line.partition("\0")[0]  # where mount(8) sees its end
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if len(fields) >= 4 and not fields[0].startswith("#"):
            found.append((unescaped(fields[0]), unescaped(fields[1]), tuple(fields[3].split(","))))
    return found


def read(path: str) -> str:
    """Return the text of a file of root's. Bytes that are not UTF-8 become surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape") as handle:
        return handle.read()


def show(table: str) -> None:
    """Make every mount of an account's table, the outer ones first.

    Raises:
        Refused: one cannot be made, or others than root can change its path by now; or its source
            is below a mount point of fstab(5) that is not mounted, which would hide uploads.
    """
    there = mount_points()
    missing = unmounted(there)
    for source, target, options in sorted(
        entries(read(table)), key=lambda entry: entry[1].count("/")
    ):
        away = above(source, missing, there)
        if away:
            raise Refused(f"will not show {source} as {target}: {away} is in fstab and not mounted")
        stale = former_ids(os.path.basename(table), options)
        if stale:
            raise Refused(f"will not show {source} as {target}: {stale}")
        try:
            mount(source, target, options, loose=LOOSE in options)
        except (PathRefused, OSError) as error:
            raise Refused(f"will not show {source} as {target}: {why(error)}") from error


def former_ids(name: str, options: tuple[str, ...]) -> str:
    """Return that a mount would give files to a uid or gid that an account has no more, or "".

    Whoever has them now would have another's files. What no name service knows is nobody's.

    Args:
        name: the account.
        options: of its mount.
    """
    maps = id_maps(options)
    if maps is None:
        return ""
    import pwd

    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return ""
    mapped = [int(text.split(" ")[1]) for text in maps]
    if mapped == [found.pw_uid, found.pw_gid]:
        return ""
    return (
        f"it gives files to {mapped[0]}:{mapped[1]}, and {name} is "
        f"{found.pw_uid}:{found.pw_gid} now: run sftpjail apply"
    )


def why(error: Exception) -> str:
    """Return an error in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def mount_points() -> set[str]:
    """Return every mount point of our mount namespace (proc_pid_mountinfo(5))."""
    lines = read("/proc/self/mountinfo").split("\n")
    return {unescaped(line.split(" ")[4]) for line in lines if line}


def mapped_points() -> set[str]:
    """Return the paths of `mount_points` where the topmost mount has a map of owners."""
    lines = [line.split(" ") for line in read("/proc/self/mountinfo").split("\n") if line]
    points = {unescaped(fields[4]): "idmapped" in fields[5].split(",") for fields in lines}
    return {point for point, mapped in points.items() if mapped}


def unmounted(there: set[str]) -> dict[str, str]:
    """Return the mount points of fstab(5) that should be mounted at boot and are not.

    They are named by their real paths, because mount(8) resolves links and extra slashes.

    Args:
        there: the present mount points.
    """
    try:
        known = entries(read("/etc/fstab"))
    except FileNotFoundError:
        return {}
    absent = {
        os.path.realpath(target): target.rstrip("/") or "/"
        for _, target, options in known
        if target.startswith("/")
        and "noauto" not in options
        and not any(option.startswith("x-sftpjail.user=") for option in options)
        and real(target) not in there
    }
    return {place: target for place, target in absent.items() if place not in there}


def above(path: str, points: dict[str, str], there: set[str]) -> str:
    """Return the one of some mount points that PATH lies at or below, or "".

    There is none if PATH lies on a mount further down, which does not need it.
    """
    found, place = "", os.path.realpath(path) if points else "/"
    while place not in there:
        found = points.get(place, found)
        if place == "/":
            break
        place = os.path.dirname(place)
    return found


def real(target: str) -> str:
    """Return a mount point as mountinfo has it, without the slash that fstab(5) may have."""
    directory, name = os.path.split(target.rstrip("/"))
    if name in ("", ".", ".."):
        return os.path.realpath(target)
    return os.path.join(os.path.realpath(directory), name)


def take_away_inherited(table: str) -> None:
    """Unmount the host's inherited binds from before `mounts` changed.

    They may give more rights.

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
    """Run sftpjail to make the jail of an account for which no hook of useradd ran.

    Raises:
        Refused: it failed (the error has its message), or it is not installed.
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


def most_sessions(name: str) -> int:
    """Return the number of sessions that an account may have at once; 0 for no limit."""
    for path, kinds in ((CONNECTIONS, ("user",)), (MOST, ("name", "group"))):
        if not os.path.lexists(path):
            continue
        for line in read(path).split("\n"):
            words = line.split()
            if len(words) != 3 or words[0] not in kinds or not words[2].isdecimal():
                continue
            if words[1] == name or (words[0] == "group" and is_member(name, words[1])):
                return int(words[2])
    return 0


def is_member(name: str, group: str) -> bool:
    """Return whether an account is in a group, as sshd sees it."""
    import grp
    import pwd

    try:
        groups = os.getgrouplist(name, pwd.getpwnam(name).pw_gid)
        return grp.getgrnam(group).gr_gid in groups
    except KeyError:
        return False


def process(pid: str) -> tuple[str, str, str, int] | None:
    """Return name, parent, start and owner of a process, or None if it has ended."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
        text = read(f"/proc/{pid}/stat")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()  # proc_pid_stat(5), from the third
    if fields[0] in "ZX":
        return None
    return (name, fields[1], fields[19], owner)


def is_same(found: tuple[str, str, str, int] | None, start: str) -> bool:
    """Return whether a process has this start time, so that its pid has not been reused."""
    return found is not None and found[2] == start


def monitor_of(pid: str) -> tuple[str, str]:
    """Return pid and start of the sshd monitor of a process. It lives as long as the session."""
    for _ in range(16):
        found = process(pid)
        if found is None:
            break
        if found[0].startswith("sshd") and found[3] == 0:
            return pid, found[2]
        pid = found[1]
    return "", ""


def sessions_of(uid: int) -> set[tuple[str, str]]:
    """Return a user's sessions: the running processes whose parent is an sshd of root's."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        own = process(pid)
        above = None
        if own and own[3] == uid:
            above = process(own[1])
        if own and above and above[3] == 0 and above[0].startswith("sshd"):
            found.add((own[1], above[2]))
    return found


def count_sessions(name: str) -> None:
    """Refuse a session that exceeds the account's limit.

    Running processes are counted. A session that is just being opened does not have any of the
    user's yet. So each one is recorded, with a lock held, by the pid and start of its sshd, and
    counts while that process lives.

    Raises:
        Refused: the account has reached its limit.
    """
    most = most_sessions(name)
    # One through a pipe, which root alone can open, is a trial of ours.
    if not most or os.environ.get("SSH_CONNECTION", "").startswith("UNKNOWN"):
        return
    import fcntl
    import pwd

    uid = pwd.getpwnam(name).pw_uid
    os.makedirs(SESSIONS, 0o700, exist_ok=True)
    with open(f"{SESSIONS}/{uid}", "a+", encoding="ascii", errors="replace") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        noted = [line.partition(" ") for line in handle.read().split("\n")]
        now = {pid: process(pid) for pid, _, _ in noted if pid.isdecimal()}
        living = {(pid, start) for pid, _, start in noted if is_same(now.get(pid), start)}
        own = monitor_of(str(os.getppid()))
        living = (living | sessions_of(uid)) - {own}
        if len(living) >= most:
            raise Refused(f"it has {len(living)} sessions already, and may have {most}")
        handle.truncate(0)
        handle.write("".join(f"{pid} {start}\n" for pid, start in {*living, own} if pid))


def want_own_name(jailed: list[str]) -> None:
    """Refuse a login under an alias of an account.

    Our files and sshd's Match blocks use the account's own name. A directory service may accept
    aliases for it, such as NAME@DOMAIN in SSSD. After the password, pam_winbind has put the name
    that Active Directory gives into the place of what was typed, which was judged before that.

    Args:
        jailed: the accounts with a Match User block; those in our records are known anyway.

    Raises:
        Refused: the account's own name is one of these, or the directory service no longer has it.
    """
    typed, step = os.environ.get("PAM_USER", ""), os.environ.get("PAM_TYPE", "")
    own = own_name(typed)
    if own == typed or (not own and step == "auth"):  # whoever guesses names is not let in anyway
        return
    if not own:
        raise Refused("no name service knows it")
    known = own in jailed or "/" in own or os.path.lexists(f"{ACCOUNTS}/{own}")
    for path in LISTS:
        # The gate does not concern who is in a jail.
        in_jail = path == GATE and os.environ.get("PAM_SERVICE") in SERVICES
        if os.path.lexists(path) and own in read(path).split("\n"):
            known = True
            if not in_jail:
                jailed = [*jailed, own]
    after_password = step == "account" and is_unblanked(typed, own) and own not in jailed
    if known and not after_password:
        raise other_name(own)


def own_name(typed: str) -> str:
    """Return the name that an account has itself, or "" if there is none."""
    import pwd

    try:
        return pwd.getpwnam(typed).pw_name
    except KeyError:
        return ""


def is_unblanked(typed: str, own: str) -> bool:
    """Return whether OWN is a name in Active Directory as `winbind normalize names` has it."""
    return typed.replace(" ", "_") == own and os.environ.get("PAM_SERVICE") in SERVICES


def other_name(own: str) -> Refused:
    """Return the error of a login under an alias of an account."""
    return Refused(f"its own name is {own}, and it may log in by no other")


def login(kind: str) -> None:
    """Make the mounts of the session that PAM opens.

    Args:
        kind: session or fstab, the value of the profile's `mounts`.

    Raises:
        Refused: the session must be closed.
    """
    if os.environ.get("PAM_TYPE") != "open_session":
        return
    name = os.environ.get("PAM_USER", "")
    if " " in name and is_unblanked(name, own_name(name)):
        name = own_name(name)
    if not name or name[0] in ".-" or not NAME.issuperset(name):
        raise Refused("sftpjail does not take its name: see NAMES in sftpjail.conf(5)")
    count_sessions(name)
    table = f"{TABLES}/{name}"
    if not os.path.lexists(table if kind == "session" else f"{ACCOUNTS}/{name}"):
        own = own_name(name)
        if own not in (name, ""):
            raise other_name(own)
        make_jail(name)
    if kind == "session" and os.path.lexists(table):
        mount_table(table)
    note_apart(dict(os.environ))


def note_apart(environment: dict[str, str]) -> None:
    """Record how the session was authenticated, in a process that nobody waits for.

    See `last_use.note_login`.
    """
    if not LAST_USE or "SSH_AUTH_INFO_0" not in environment:
        return
    try:
        if os.fork():
            return
    except OSError:  # it is not worth a login
        return
    try:
        # The rest of the module signal would take longer than all else here.
        import _signal as signal  # type: ignore[import-not-found]
        import time

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.alarm(1)  # which ends it, whatever it waits for
        os.closerange(0, 3)
        time.sleep(0.1)  # the login itself goes first
        scope: dict[str, object] = {"SEEN": SEEN}
        exec(LAST_USE, scope)
        note_login = scope["note_login"]
        if callable(note_login):
            note_login(environment)
    finally:
        os._exit(0)


def mount_table(table: str) -> None:
    """Make the mounts of a session whose mount namespace is its own.

    Raises:
        Refused: the mount namespace is the host's, or as `show`.
    """
    if os.stat(MARK).st_dev == os.stat(f"{MARK}/..").st_dev:  # never in the host's own
        raise Refused("pam_namespace gave it no mount namespace of its own")
    take_away_inherited(table)
    show(table)


def enter(table: str, directory: str, argv: list[str]) -> None:
    """Execute a command in a jail's directory, with the mounts that its sessions see.

    Args:
        table: the account's table, or "".
        directory: the jail.
        argv: the command, which is searched in PATH.

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
    """Unmount mounts of fstab(5) in jails that would not be made there now.

    mount(8) does not check what it follows at boot. So a source that somebody has replaced is shown
    as it is, and one whose disk is missing shows the bare mount point, which must not get uploads.

    Returns:
        whether all mounts are as they should be.
    """
    good, there = True, mount_points()
    mapped = mapped_points()
    missing = unmounted(there)
    for source, target, options in entries(read("/etc/fstab")):
        ours = any(option.startswith("x-sftpjail.user=") for option in options)
        point = real(target)
        if not ours or point not in there:
            continue
        away = above(source, missing, there)
        if away:
            reason = f"{away} is in fstab and not mounted"
        else:
            reason = unlike(source, target)
        reason = reason or wrong_owners(options, point in mapped)
        if reason:
            good = False
            print(printable(f"sftpjail: {target} is unmounted: {reason}"), file=sys.stderr)
            take_away(point)
    return good


def wrong_owners(options: tuple[str, ...], mapped: bool) -> str:
    """Return why a mount shows other owners than its line of fstab(5) says, or "".

    mount(8) before util-linux 2.39 knows no map of owners, and says nothing.

    Args:
        options: of its line.
        mapped: it has a map.
    """
    try:
        wanted = id_maps(options) is not None
    except PathRefused as error:
        return why(error)
    if wanted != mapped:
        if wanted:
            return "it has no map of owners"
        return "it has a map of owners, and its fstab line has none"
    prefix = "x-sftpjail.user="
    names = [option.removeprefix(prefix) for option in options if option.startswith(prefix)]
    if not names:
        return ""
    return former_ids(names[0], options)


def take_away(point: str) -> None:
    """Unmount every layer at a mount point. A failure is reported, and does not stop the others."""
    try:
        while unmount(point, lazy=True):
            pass
    except (PathRefused, OSError) as error:
        print(printable(f"sftpjail: {point} stays mounted: {why(error)}"), file=sys.stderr)


def unlike(source: str, target: str) -> str:
    """Return why the mount at TARGET does not show SOURCE, or is not permitted, or ""."""
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
        if same:
            return ""
        return f"it shows something other than {source}"
    finally:
        os.close(point)


def printable(words: str) -> str:
    """Return a text escaped to one line of a log."""
    return "".join(c if c.isprintable() else " " for c in words)


def refuse(words: str) -> None:
    """Report why a session is closed: to PAM's log, and to a person who runs this by hand."""
    words = printable(words)
    print(f"sftpjail: {words}", file=sys.stderr)
    if os.environ.get("PAM_SERVICE"):
        import syslog

        syslog.openlog("sftpjail", 0, syslog.LOG_AUTH)
        user = os.environ.get("PAM_USER", "")
        if not NAME.issuperset(user):
            user = ascii(user)
        syslog.syslog(syslog.LOG_ERR, f"session of {user} closed: {words}")


def main(argv: list[str]) -> int:
    """Carry out one of the steps of USAGE; return the exit code."""
    os.umask(0o022)
    try:
        if argv[:1] == ["boot"] and len(argv) == 1:
            if boot():
                return 0
            return 1
        if argv[:1] == ["enter"] and len(argv) > 3:
            enter(argv[1], argv[2], argv[3:])
        elif argv in (["session"], ["fstab"]):
            login(argv[0])
        elif argv[:1] == ["name"] and len(argv) < 3:
            want_own_name(argv[1].split(":") if argv[1:] else [])
        else:
            print(USAGE, file=sys.stderr)
            return 2
    except (Refused, PathRefused, OSError, ValueError) as error:
        refuse(why(error))
        return 1
    return 0
