"""Read-only facts about the host, each file read once per run.

So 10,000 accounts cost one read and not 10,000.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import shutil
import socket
import stat
import struct
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from .. import fixes
from ..errors import SftpJailError
from ..formats.fstab import FstabEntry, MountPoint, parse_line, parse_mountinfo
from ..formats.origin_record import parse_origin
from ..formats.tagged_lines import Style, small_keywords, tagged
from ..model import Account, Bind, Origin, components, inside
from ..paths import ACCOUNTS, BIN, HOST_RECORD, LIB, LINGER, TABLES
from ..system import arrivals, previews, processes, programs, services
from ..system.files import open_parent
from ..system.mounts import mounts_missing
from .accounts import People

# Asks one name service alone: getpwnam_r(3) of glibc returns 0 where it has said no, else what went
# wrong, which neither getent(1) nor pwd.getpwnam tells. Measured: nslcd without its server 2, SSSD
# that is stopped 111. An SSSD that is offline answers from its cache, and says of a name that it
# has never seen that there is none.
_LOOK_UP = """
import ctypes, sys
libc, (database, service, name) = ctypes.CDLL(None), (word.encode() for word in sys.argv[1:])
entry, buffer, result = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 24), \
ctypes.c_void_p()
libc.__nss_configure_lookup(database, service)
look_up = libc.getpwnam_r if database == b"passwd" else libc.getgrnam_r
sys.exit(bool(look_up(name, entry, buffer, ctypes.c_size_t(len(buffer)), ctypes.byref(result))) \
and not result.value)
"""


class Host(People):
    """The machine as it is now. Hooks may ask it anything and change nothing.

    Args:
        root: the directory that plays `/`; tests put a fake host there. Another root
            than / asks no NSS.

    `preparing` says that the plan being made also does on_setup, and `listed`, where it is not
    None, who will be on the list of who is shut out when it is carried out; `thorough` that few
    accounts are looked at, so that a question to a program for each of them is not too much.
    """

    def __init__(self, root: str = "/") -> None:
        super().__init__(root)
        self.preparing = False
        self.listed: frozenset[str] | None = None
        self._answers: dict[tuple[tuple[str, ...], str], programs.Answer] = {}
        self._origins: dict[str, Origin] = {}
        self._tagged: dict[tuple[str, Style], Mapping[str, tuple[str, ...]]] = {}
        self._programs: dict[str, str] = {}
        self._directories: dict[str, str] = {}
        self._all_binds: dict[str, tuple[Bind, ...]] = {}

    # -- files -------------------------------------------------------------------------------------

    def lstat(self, path: str) -> os.stat_result | None:
        """Return lstat(2) of PATH, or None where there is nothing."""
        return _stat(self.root + path, follow=False)

    def stat(self, path: str) -> os.stat_result | None:
        """Return stat(2) of PATH, links followed, or None where there is nothing."""
        return _stat(self.root + path, follow=True)

    def is_dir(self, path: str) -> bool:
        """Return whether PATH is a directory or a link to one."""
        found = self.stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def read(self, path: str) -> bytes | None:
        """Return the content of PATH, or None where there is nothing.

        Raises:
            SftpJailError: it is there and cannot be read.
        """
        try:
            with open(self.root + path, "rb") as handle:
                return handle.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SftpJailError(
                f"cannot read {path}: {error.strerror}", advice="run sftpjail as root"
            ) from error

    def text(self, path: str) -> str:
        """Return the text of PATH, "" where there is nothing.

        Bytes that are not UTF-8 come as surrogates.
        """
        return (self.read(path) or b"").decode("utf-8", "surrogateescape")

    def tagged(self, path: str, style: Style) -> Mapping[str, tuple[str, ...]]:
        """Return the lines of a shared file that carry a tag, by tag; read once."""
        if (path, style) not in self._tagged:
            self._tagged[path, style] = tagged(self.text(path), style)
        return self._tagged[path, style]

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory; none where there is no such directory."""
        try:
            return sorted(os.listdir(self.root + path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SftpJailError(
                f"cannot list {path}: {error.strerror}", advice="run sftpjail as root"
            ) from error

    def realpath(self, path: str) -> str:
        """Return PATH with every symbolic link resolved."""
        directory, name = posixpath.split(path)
        if name in ("", ".", "..") or not directory.startswith("/"):
            return self._resolved(path)
        if directory not in self._directories:
            self._directories[directory] = self._resolved(directory)
        real = posixpath.join(self._directories[directory], name)
        found = _stat(self.root + real, follow=False)
        return self._resolved(real) if found and stat.S_ISLNK(found.st_mode) else real

    def _resolved(self, path: str) -> str:
        return os.path.realpath(self.root + path).removeprefix(self.root) or "/"

    def flaw(self, path: str) -> str:
        """Return what safely_chroot() has against one component of a path, or "".

        It is in OpenSSH's session.c, and uses stat(). A link counts as what it leads to; the mode's
        group bits are the mask where there is an ACL.
        """
        found = self.stat(path)
        if found is None:
            return ""
        if not stat.S_ISDIR(found.st_mode):
            return "is not a directory"
        if found.st_uid != 0:
            return f"belongs to uid {found.st_uid} and not to root"
        if found.st_mode & 0o022:
            acl = self.acl(path)
            by = f"access list {acl}" if acl else f"mode {stat.S_IMODE(found.st_mode):04o}"
            return f"can be written by others than root ({by})"
        return ""

    def acl(self, path: str) -> str:
        """Return the named entries of a directory's access ACL (acl(5)), or "".

        They come as `user:1000:rw-,group:33:r-x`.
        """
        try:
            data = os.getxattr(self.root + path, "system.posix_acl_access")
        except OSError:
            return ""
        # struct posix_acl_xattr_entry of linux/posix_acl_xattr.h: tag, permissions, id; 2 and
        # 8 are named ones.
        entries = (struct.unpack_from("<HHI", data, at) for at in range(4, len(data), 8))
        kinds = {2: "user", 8: "group"}
        bits = (4, "r"), (2, "w"), (1, "x")
        return ",".join(
            f"{kinds[tag]}:{name}:"
            + "".join(letter if permissions & bit else "-" for bit, letter in bits)
            for tag, permissions, name in entries
            if tag in kinds
        )

    def loose_parent(self, path: str, trusted: Collection[str] = ()) -> str:
        """Return the first directory above PATH in which others than root could replace it, or "".

        Links are resolved first.

        Args:
            path: what could be replaced.
            trusted: directories that pass, because the same plan gives them to root.
        """
        above = components(self.realpath(posixpath.dirname(path)))
        return next(
            (directory for directory in above if directory not in trusted and self.flaw(directory)),
            "",
        )

    def trusted_path(self, path: str, uid: int = 0, follow: bool = True) -> str:
        """Return where PATH really leads if only root, and UID, can make it lead elsewhere, or "".

        Each directory on the way, those on the way of a link too, must be root's or UID's and not
        open to others, so that no name in it can be exchanged; each link must be one's that they
        made. What lies at the end is not judged.

        Args:
            path: absolute.
            uid: of the account as whom PATH is to be used; it can be led astray by itself alone.
            follow: a link at the end leads on.
        """
        todo, real, links = [part for part in path.split("/") if part], "", 0
        while todo:
            name = todo.pop(0)
            if not self._is_trusted(real or "/", uid):
                return ""
            if name in (".", ".."):
                real = real if name == "." else posixpath.dirname(real).rstrip("/")
                continue
            found = self.lstat(f"{real}/{name}")
            if found is None or not stat.S_ISLNK(found.st_mode) or not (todo or follow):
                real = f"{real}/{name}"
                continue
            links += 1
            if found.st_uid not in (0, uid) or links > 40:
                return ""
            target = os.readlink(f"{self.root}{real}/{name}")
            target = target.removeprefix(self.root) if self.root else target
            real = "" if target.startswith("/") else real
            todo = [part for part in target.split("/") if part] + todo
        return real or "/"

    def _is_trusted(self, directory: str, uid: int) -> bool:
        found = self.stat(directory)
        return found is None or (found.st_uid in (0, uid) and not found.st_mode & 0o022)

    def owner_name(self, path: str) -> str:
        """Return the account that PATH belongs to, or "".

        It is one of this host's and not root.
        """
        found = self.lstat(path)
        uid = found.st_uid if found else 0
        return next(
            (name for name, account in self.accounts.items() if uid and account.uid == uid), ""
        )

    def mount_place_below(self, path: str) -> str:
        """Return what a jail has mounted below PATH, or is to have mounted there, or "".

        Whoever could write in PATH could put something else in that one's place: at the next login
        root would mount it.
        """
        top = self.realpath(path).rstrip("/") + "/"
        return next((place for place in self._mount_places if place.startswith(top)), "")

    @cached_property
    def _mount_places(self) -> frozenset[str]:
        """Every mount point of a jail, as it is in the jail.

        Below another bind, also as it is in that one's source.
        """
        places: set[str] = set(self.mounts)
        for user in self.bind_users:
            binds = self.binds(user)
            places |= {bind.target for bind in binds}
            nested = ((outer, bind) for outer in binds for bind in binds if outer is not bind)
            places |= {
                self.realpath(outer.source).rstrip("/") + bind.target.removeprefix(outer.target)
                for outer, bind in nested
                if inside(bind.target, outer.target)
            }
        return frozenset(places)

    def same_file(self, one: str, other: str) -> bool:
        """Return whether two paths lead to the same file or directory."""
        a, b = self.stat(one), self.stat(other)
        return a is not None and b is not None and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    def read_owned(
        self, path: str, uid: int, home: str = "/", limit: int = 1 << 20
    ) -> bytes | None:
        """Return the content of a file in a user's directory, or None where there is none.

        Nobody else's file is read. The path is walked without following a link that a user could
        have made, and the file must be a regular one of that user (or root) with a single name, so
        that a link to /etc/shadow gives an error and not its content. Nor is one read that a third
        party could have written, since sshd would not trust it: misc.c, safe_path.

        Args:
            path: the file.
            uid: its owner.
            home: none of the directories from here to the file may be open to third parties either;
                "/" asks for none.
            limit: bytes; a larger file is refused.

        Raises:
            SftpJailError: it is there and is not such a file.
        """
        directories = components(posixpath.dirname(path)) if home != "/" else ()
        wide = next(
            (part for part in directories if inside(part, home) and self._is_wide(part)), ""
        )
        fd = self._open_owned(path)
        if fd is None:
            return None
        try:
            found = os.fstat(fd)
            regular = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if not regular or found.st_uid not in (0, uid):
                wrong = f"it is not a file of uid {uid} with one name"
                raise SftpJailError(f"will not read {path}: {wrong}")
            wide = path if found.st_mode & 0o022 else wide
            if wide:
                fix = fixes.on(wide, self, "chmod go-w {}")
                fix = fix or fixes.as_owner(wide, self, "chmod", "go-w", wide)
                raise SftpJailError(f"will not read {path}: others can write {wide}", fix)
            if found.st_size > limit:
                raise SftpJailError(f"will not read {path}: it has more than {limit} bytes")
            return os.read(fd, limit)
        finally:
            os.close(fd)

    def _open_owned(self, path: str) -> int | None:
        """Open what lies at PATH for reading, without following a link; None where nothing does."""
        try:
            directory, name = open_parent(self.root + path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            why = "is a link or not a directory" if error.errno == errno.ELOOP else error.strerror
            raise SftpJailError(f"cannot read {path}: a directory on the way {why}") from error
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SftpJailError(f"cannot read {path}: {error.strerror}") from error
        finally:
            os.close(directory)

    def _is_wide(self, directory: str) -> bool:
        found = self.stat(directory)
        return bool(found and found.st_mode & 0o022)

    def entry_script(self, name: str) -> str:
        """Return one of the scripts that the system calls us by, for this installation.

        Raises:
            SftpJailError: the installation is incomplete.
        """
        path = f"{LIB}/entry/{name}"
        text = self.text(path)
        if not text:
            raise SftpJailError(
                f"{path} is missing: sftpjail is only partly installed", "make install"
            )
        return text.replace("@SFTPJAIL@", BIN).replace("@WAITER@", arrivals.WAITER)

    # -- mounts ------------------------------------------------------------------------------------

    @cached_property
    def fstab(self) -> tuple[FstabEntry, ...]:
        """The mounts of /etc/fstab."""
        return tuple(filter(None, map(parse_line, self.text("/etc/fstab").split("\n"))))

    @cached_property
    def _binds(self) -> Mapping[str, tuple[Bind, ...]]:
        found: dict[str, list[Bind]] = {}
        for entry in self.fstab:
            user = entry.option("x-sftpjail.user")
            if user:
                found.setdefault(user, []).append(_bind(entry, "fstab"))
        return {user: tuple(binds) for user, binds in found.items()}

    def binds(self, name: str) -> tuple[Bind, ...]:
        """Return the binds of an account's jail in their order.

        These are those in fstab, and those made for each session.
        """
        if name not in self._all_binds:
            lines = self.text(f"{TABLES}/{name}").split("\n") if name in self._tables else []
            found = {bind.target: bind for bind in self._binds.get(name, ())}
            found |= {
                entry.target: _bind(entry, "session")
                for entry in filter(None, map(parse_line, lines))
            }
            self._all_binds[name] = tuple(found.values())
        return self._all_binds[name]

    @cached_property
    def _tables(self) -> frozenset[str]:
        return frozenset(name for name in self.listdir(TABLES) if not name.startswith("."))

    @cached_property
    def bind_users(self) -> tuple[str, ...]:
        """Everybody who has a bind, whether there is such an account or not."""
        return tuple(dict.fromkeys((*self._binds, *sorted(self._tables))))

    def behind(self, name: str, path: str) -> str:
        """Return the host's path of what a session of the account finds at PATH inside its jail.

        Where that is mounted for the session alone, it is one in the source of the innermost bind.
        """
        outer = [
            bind
            for bind in self.binds(name)
            if bind.kept == "session" and inside(path, bind.target)
        ]
        if not outer:
            return path
        bind = max(outer, key=lambda bind: len(bind.target))
        return bind.source + path.removeprefix(bind.target)

    def is_busy(self, directory: str) -> bool:
        """Return whether a process of our mount namespace uses DIRECTORY: proc(5).

        It is in it, or has something in it open.
        """
        real = self.realpath(directory)
        return any(inside(path, real) for path in self._held)

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset() if self.root else processes.held()

    def is_leaving(self, name: str) -> bool:
        """Return whether a userdel(8) is deleting that account now.

        It finds the account in passwd(5) to the last.
        """
        return name in self._leaving

    @cached_property
    def _leaving(self) -> frozenset[str]:
        return frozenset() if self.root else processes.being_deleted()

    def maker(self, name: str) -> int | None:
        """Return the pid of the process that is creating an account now, or None.

        Its jail is made when that has ended.
        """
        arrival = self._arriving.get(name)
        return arrival.pid if arrival else None

    @cached_property
    def _arriving(self) -> Mapping[str, arrivals.Arrival]:
        return {} if self.root else arrivals.arriving()

    @cached_property
    def mounts(self) -> Mapping[str, MountPoint]:
        """The mount table of our namespace by mount point."""
        return parse_mountinfo(self.text("/proc/self/mountinfo"))

    def mount_at(self, target: str) -> MountPoint | None:
        """Return the topmost mount on exactly that path.

        Links on the way (a /srv that is one) are resolved.
        """
        return self.mounts.get(target) or self.mounts.get(
            os.path.join(self.realpath(os.path.dirname(target)), os.path.basename(target))
        )

    @cached_property
    def mounts_missing(self) -> str:
        """What this kernel lacks for mounts that are made through descriptors, or "".

        Linux 5.12 has all.
        """
        return "" if self.root else mounts_missing()

    # -- what runs for an account beside its logins ------------------------------------------------

    @cached_property
    def crontabs(self) -> Mapping[str, str]:
        """The path of each user's crontab, by name.

        Debian has them in the first place, others in the second.
        """
        found: dict[str, str] = {}
        for directory in ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs"):
            for name in self._spooled(directory):
                found.setdefault(name, f"{directory}/{name}")
        return found

    @cached_property
    def incron_tables(self) -> Mapping[str, str]:
        """The path of each user's table of incrond(8), by name."""
        return {name: f"/var/spool/incron/{name}" for name in self._spooled("/var/spool/incron")}

    @cached_property
    def at_jobs(self) -> Mapping[int, tuple[str, ...]]:
        """The paths of the jobs of at(1), by their owner's uid.

        Their names are atd.c's: queue, number, minute.
        """
        found: dict[int, list[str]] = {}
        for directory in ("/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atd"):
            for name in self._spooled(directory):
                job = self.lstat(f"{directory}/{name}")
                if job and re.fullmatch(r"[a-zA-Z][0-9a-f]{13}", name):
                    found.setdefault(job.st_uid, []).append(f"{directory}/{name}")
        return {uid: tuple(paths) for uid, paths in found.items()}

    def _spooled(self, directory: str) -> list[str]:
        """Return the names of the regular files in a spool.

        What begins with a dot is nobody's (database.c).
        """
        names = [name for name in self.listdir(directory) if not name.startswith(".")]
        found = ((name, self.lstat(f"{directory}/{name}")) for name in names)
        return [name for name, file in found if file and stat.S_ISREG(file.st_mode)]

    @cached_property
    def cron_lines(self) -> Mapping[str, tuple[str, ...]]:
        """The lines of the administrator's crontabs, as FILE:LINE (crontab(5)).

        They go by the name of whom they run as.
        """
        found: dict[str, list[str]] = {}
        for path in (
            "/etc/crontab",
            *(f"/etc/cron.d/{name}" for name in self._spooled("/etc/cron.d")),
        ):
            for number, line in enumerate(self.text(path).split("\n"), 1):
                user = re.match(r"\s*(?:@\w+|(?:[\d*][^\s=]*\s+){3}\S+\s+\S+)\s+(\S+)\s+\S", line)
                if user:
                    found.setdefault(user[1], []).append(f"{path}:{number}")
        return {name: tuple(places) for name, places in found.items()}

    @cached_property
    def _user_processes(self) -> Mapping[int, list[int]]:
        return {} if self.root else processes.of_users()

    def outside(self, uid: int) -> list[processes.Outsider]:
        """Return the processes of a user that no jail holds; all are looked for once."""
        return processes.outside(uid, self._user_processes.get(uid, []))

    def list_owned(self, path: str) -> list[str]:
        """Return the names in a directory of a user's, reached by no link of theirs, or none."""
        try:
            directory, name = open_parent(self.root + path)
        except (OSError, SftpJailError):
            return []
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        except OSError:
            return []
        finally:
            os.close(directory)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    # -- our own records ---------------------------------------------------------------------------

    def origin(self, owner: str) -> Origin:
        """Return what was there before us.

        Args:
            owner: an account, or "" for the host.

        Raises:
            SftpJailError: the record is damaged.
        """
        if owner not in self._origins:
            path = f"{ACCOUNTS}/{owner}" if owner else HOST_RECORD
            self._origins[owner] = parse_origin(path, self.text(path))
        return self._origins[owner]

    def recorded(self) -> list[str]:
        """Return everybody who has a record of ours."""
        return [name for name in self.listdir(ACCOUNTS) if not name.startswith(".")]

    def known(self) -> Collection[str]:
        """Return the names that have a record or binds of ours."""
        return self._known

    @cached_property
    def _known(self) -> Mapping[str, None]:
        return dict.fromkeys((*self.recorded(), *self.bind_users))

    def is_silent(self, name: str) -> bool:
        """Return whether nobody can say now if there is such an account.

        That is so where a directory service does not answer.
        """
        return self.account(name) is None and self._unanswered("passwd", name)

    def is_silent_group(self, name: str) -> bool:
        """Return the same of a group."""
        return self.group(name) is None and self._unanswered("group", name)

    def _unanswered(self, database: str, name: str) -> bool:
        services = () if self.root else self.directory_services
        asked = (
            self.ask([sys.executable, "-I", "-c", _LOOK_UP, database, service, name])
            for service in services
        )
        return any(answer.code != 0 for answer in asked)

    # -- questions to real programs ----------------------------------------------------------------

    def which(self, program: str) -> str:
        """Return the absolute path of an installed program, or ""."""
        if program not in self._programs:
            path = ":".join(
                f"{self.root}{directory}"
                for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
            )
            self._programs[program] = (shutil.which(program, path=path) or "").removeprefix(
                self.root
            )
        return self._programs[program]

    def ask_beside_sshd(self, argv: Sequence[str]) -> programs.Answer:
        """Return what a program says that starts an sshd.

        Where none has run yet, it gets a /run/sshd of its own.

        Raises:
            SftpJailError: as `previews.preview`.
        """
        return previews.preview(argv, {})

    def ask(self, argv: Sequence[str], stdin: str = "") -> programs.Answer:
        """Return what a program that only reads says; asked twice, it runs once.

        Raises:
            SftpJailError: it is not installed or does not end.
        """
        key = (tuple(argv), stdin)
        if key not in self._answers:
            self._answers[key] = programs.run(argv, stdin=stdin)
        return self._answers[key]

    def ask_sshd(
        self, *arguments: str, files: Mapping[str, bytes | None] | None = None
    ) -> programs.Answer:
        """Return what sshd(8) says with these arguments, as if FILES already had the given content.

        Its settings (-T) come by keywords in small letters.

        Raises:
            SftpJailError: there is no sshd, or no private mount namespace for the trial.
        """
        sshd = self.which("sshd")
        if not sshd:
            raise SftpJailError("OpenSSH's server is not installed", "apt install openssh-server")
        key = ((sshd, *arguments), repr(files) if files else "")
        if key not in self._answers:
            answer = previews.preview([sshd, *arguments], files or {})
            self._answers[key] = (
                replace(answer, out=small_keywords(answer.out)) if "-T" in arguments else answer
            )
        return self._answers[key]

    @cached_property
    def openssh(self) -> tuple[int, int]:
        """The version of the installed OpenSSH server, as (9, 2)."""
        answer = self.ask([self.which("sshd") or "sshd", "-V"])
        match = re.search(r"OpenSSH_(\d+)\.(\d+)", answer.out + answer.err)
        if not match:
            raise SftpJailError(f"sshd -V does not report OpenSSH's version: {answer.words}")
        return int(match[1]), int(match[2])

    def may(self, account: Account, path: str, what: str) -> bool:
        """Return whether an account may read (r), write (w) or enter (x) PATH.

        Where the mode says no, ACLs are asked. The file system's own no (read-only, immutable)
        counts only for w, and only where test(1) sees it.
        """
        found = self.stat(path)
        if found is None:
            return False
        bit = {"r": 4, "w": 2, "x": 1}[what]
        mode = found.st_mode
        if found.st_uid == account.uid:
            mode >>= 6
        elif found.st_gid == account.gid or found.st_gid in self._gids(account):
            mode >>= 3
        if mode & bit and not (what == "w" and self.read_only(path)):
            return True
        return not self.root and self.as_user(account, ["test", f"-{what}", path]).code == 0

    def as_user(self, account: Account, argv: Sequence[str]) -> programs.Answer:
        """Return what a program says that only reads, run as the account with its groups.

        See setpriv(1).
        """
        return self.ask(
            [
                "setpriv",
                f"--reuid={account.uid}",
                f"--regid={account.gid}",
                "--init-groups",
                "--",
                *argv,
            ]
        )

    def _gids(self, account: Account) -> tuple[int, ...]:
        return tuple(group.gid for group in self._memberships.get(account.name, ()))

    def read_only(self, path: str) -> bool:
        """Return whether PATH lies on a file system or mount that is read-only (statvfs(3))."""
        found = self._statvfs(path)
        return bool(found and found.f_flag & os.ST_RDONLY)

    def _statvfs(self, path: str) -> os.statvfs_result | None:
        try:
            return None if self.root else os.statvfs(path)
        except OSError:
            return None

    def full(self, path: str) -> bool:
        """Return whether PATH's file system has no block or inode left for users (statvfs(3))."""
        found = self._statvfs(path)
        if found is None:
            return False
        return (found.f_blocks > 0 and found.f_bavail == 0) or (
            found.f_files > 0 and found.f_favail == 0
        )

    def listens(self, path: str) -> bool:
        """Return whether somebody reads from the datagram socket PATH.

        syslogd does so from /dev/log.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self.root + path)
            except OSError:
                return False
        return True

    def running(self, service: str) -> int | None:
        """Return a daemon's pid, if its pid file names a process that is really that program."""
        return None if self.root else processes.running(service)

    def writes_deleted(self, path: str) -> int | None:
        """Return the pid of a process that has PATH open though it was deleted."""
        return None if self.root else processes.holds_deleted(path)

    @property
    def systemd(self) -> bool:
        """Whether systemd is PID 1."""
        return self.is_dir("/run/systemd/system") if self.root else processes.booted()

    def has_manager(self, uid: int) -> bool:
        """Return whether `systemd --user` runs for an account now.

        It is user@UID.service, told by a cgroup of its own.

        Args:
            uid: the account's number.
        """
        cgroup = processes.manager_cgroup(uid)
        return any(self.lstat(f"{tree}/{cgroup}") is not None for tree in self._cgroups)

    @cached_property
    def _cgroups(self) -> tuple[str, ...]:
        return tuple(tree for tree in processes.CGROUPS if self.is_dir(tree))

    def lingers(self, name: str) -> bool:
        """Return whether an account's services start at boot, without a login.

        That is what `loginctl enable-linger` does.

        Args:
            name: the account.
        """
        return self.lstat(f"{LINGER}/{name}") is not None

    def forbids(self, service: str, how: str) -> bool:
        """Return whether the host's policy keeps a package's script from this.

        See `services.forbids`.
        """
        return not self.root and services.forbids(service, how)


def _stat(path: str, follow: bool) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None  # a link to itself leads to nothing
        raise SftpJailError(f"cannot look at {path}: {error.strerror}") from error


def _bind(entry: FstabEntry, kept: str) -> Bind:
    own = tuple(o for o in entry.options if not o.startswith("x-sftpjail."))
    return Bind(
        entry.source,
        entry.target,
        "ro" in own,
        entry.option("x-sftpjail.role") or "mount",
        own,
        kept,
    )
