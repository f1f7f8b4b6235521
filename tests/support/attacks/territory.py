"""What a command changed, by strace(1): whether each change in users' territory went by descriptor and one name.

Territory is what lies below a directory that somebody other than root can write, or could have
written. A path that leads there may be exchanged while the kernel walks it; a descriptor may not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Calls that change what a path names, with the positions of directory descriptor and path; -1 is
# the working directory.
CALLS: dict[str, tuple[tuple[int, int], ...]] = {
    "open": ((-1, 0),),
    "creat": ((-1, 0),),
    "openat": ((0, 1),),
    "openat2": ((0, 1),),
    "mkdir": ((-1, 0),),
    "mkdirat": ((0, 1),),
    "mknod": ((-1, 0),),
    "mknodat": ((0, 1),),
    "rmdir": ((-1, 0),),
    "unlink": ((-1, 0),),
    "unlinkat": ((0, 1),),
    "rename": ((-1, 0), (-1, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "link": ((-1, 0), (-1, 1)),
    "linkat": ((0, 1), (2, 3)),
    "symlink": ((-1, 1),),
    "symlinkat": ((1, 2),),
    "chmod": ((-1, 0),),
    "fchmodat": ((0, 1),),
    "fchmodat2": ((0, 1),),
    "chown": ((-1, 0),),
    "lchown": ((-1, 0),),
    "fchownat": ((0, 1),),
    "truncate": ((-1, 0),),
    "setxattr": ((-1, 0),),
    "lsetxattr": ((-1, 0),),
    "removexattr": ((-1, 0),),
    "lremovexattr": ((-1, 0),),
    "utimensat": ((0, 1),),
    "futimesat": ((0, 1),),
    "utime": ((-1, 0),),
    "utimes": ((-1, 0),),
    "mount": ((-1, 0), (-1, 1)),
    "umount2": ((-1, 0),),
    "open_tree": ((0, 1),),
    "move_mount": ((0, 1), (2, 3)),
    "mount_setattr": ((0, 1),),
    "pivot_root": ((-1, 0), (-1, 1)),
}
FLOW = ("execve", "chdir", "fchdir", "clone", "clone3", "fork", "vfork")
TRACE = ",".join("?" + call for call in (*CALLS, *FLOW))
STRACE = (
    "strace",
    "-f",
    "--seccomp-bpf",
    "-y",
    "-s",
    "8192",
    "-e",
    "signal=none",
    "-e",
    f"trace={TRACE}",
)

_OPENS = ("open", "openat", "openat2", "creat")
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)\b")
# Of these the last name is followed unless a flag says no.
_FOLLOWS = {
    **dict.fromkeys(_OPENS, ("O_NOFOLLOW", "O_EXCL", "RESOLVE_NO_SYMLINKS")),
    **dict.fromkeys(
        ("fchownat", "utimensat", "fchmodat2"), ("AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH")
    ),
    **dict.fromkeys(("fchmodat", "futimesat"), ()),
    "umount2": ("UMOUNT_NOFOLLOW",),
    **dict.fromkeys(("open_tree", "mount_setattr"), ("AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH")),
}
_BY_FD = re.compile(r"/proc/(?:self|thread-self|\d+)/fd/\d+(?:/([^/]+))?")
# Programs that ours start and that judge by themselves what they do to an account, with all that
# these start.
_OTHERS = re.compile(
    r"user(add|del|mod)|adduser|deluser|group(add|del)|gpasswd|sshd(-\w+)?|ssh(-keygen)?|sftp|sftp-server|systemctl|"
    r"findmnt|getent|rsyslogd|syslog-ng|nscd|sss_cache"
)
_OURS = re.compile(
    r"/(etc|usr/lib|usr/share|usr/bin|usr/local/bin)/(sftpjail\b(?!/hooks/)|shadow-maint/)|/usr/bin/sftpjail"
)


@dataclass
class Process:
    """What runs under one process id."""

    argv: tuple[str, ...] = ()
    cwd: str = "/"
    ours: bool = False  # a program of sftpjail's
    helper: bool = False  # a program that one of ours has started: it does what it is given

    @property
    def name(self) -> str:
        return " ".join(self.argv)[:200]


@dataclass
class Report:
    """What came of one trace, or of several."""

    looked_at: int = 0
    in_territory: int = 0
    others: int = 0
    offenders: list[str] = field(default_factory=list)

    def add(self, more: Report) -> None:
        self.looked_at += more.looked_at
        self.in_territory += more.in_territory
        self.others += more.others
        self.offenders += more.offenders


def read(text: str, territory: Sequence[str]) -> Report:
    """Judge a trace that STRACE has written with -o.

    Args:
        text: all of it.
        territory: the directories that users can write, or could.
    """
    report, processes = Report(), dict[int, Process]()
    lines = list(_whole_lines(text))
    parents = {int(made[2]): int(made[1]) for line in lines if (made := _MADE.match(line))}
    for line in lines:
        parts = _CALL.match(line)
        if not parts:
            continue
        pid, call, result = int(parts[1]), parts[2], parts[4]
        process = _process(pid, processes, parents)
        arguments = _arguments(parts[3])
        if call in FLOW:
            if result.startswith("0"):
                processes[pid] = _flow(process, call, arguments)
            continue
        if call not in CALLS or (
            call in _OPENS and call != "creat" and not _WRITES.search(parts[3])
        ):
            continue
        if call == "open_tree" and "OPEN_TREE_CLONE" not in parts[3]:
            continue
        _judge(process, call, arguments, parts[3], territory, report)
    return report


_CALL = re.compile(r"(\d+)\s+(\w+)\((.*)\)\s+= (.*)$")
_MADE = re.compile(r"(\d+)\s+(?:clone3?|v?fork)\(.*\)\s+= (\d+)")
_PART = re.compile(r"(\d+)\s+(?:(\w+\(.*) <unfinished \.\.\.>|<\.\.\. \w+ resumed>(.*))$")


def _whole_lines(text: str) -> Iterator[str]:
    """Join calls that others came between. One that makes a process counts from its begin on."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        part = _PART.match(line)
        if not part:
            yield line
        elif part[2] is not None:
            begun[part[1]] = part[2]
        else:
            yield f"{part[1]} {begun.pop(part[1], '')}{part[3]}"


def _process(pid: int, processes: dict[int, Process], parents: dict[int, int]) -> Process:
    if pid not in processes:
        parent = parents.get(pid)
        above = _process(parent, processes, parents) if parent and parent != pid else Process()
        processes[pid] = Process(above.argv, above.cwd, above.ours, above.helper)
    return processes[pid]


def _flow(process: Process, call: str, arguments: list[str]) -> Process:
    """Follow a process into another program or directory."""
    if call == "chdir":
        return Process(
            process.argv, _joined(process.cwd, _string(arguments[0])), process.ours, process.helper
        )
    if call == "fchdir":
        return Process(process.argv, _shown(arguments[0]), process.ours, process.helper)
    if call != "execve":
        return process
    path = _string(arguments[0])
    argv = tuple(_string(word) for word in _STRING.findall(arguments[1]))
    script = any(_OURS.search(word) for word in (path, *argv[:4]))
    inline = process.ours and argv[1:2] != () and ("-c" in argv[:5])
    ours = script or inline
    sent = process.ours or process.helper
    helper = not ours and sent and not _OTHERS.fullmatch(os.path.basename(path))
    return Process(argv, process.cwd, ours, helper)


def _judge(
    process: Process,
    call: str,
    arguments: list[str],
    text: str,
    territory: Sequence[str],
    report: Report,
) -> None:
    touched = False
    for directory, name in CALLS[call]:
        if max(directory, name) >= len(arguments) or not arguments[name].startswith('"'):
            continue
        path = _string(arguments[name])
        base = (
            process.cwd
            if directory < 0 or arguments[directory].startswith("AT_FDCWD")
            else _shown(arguments[directory])
        )
        by_fd = _BY_FD.fullmatch(path)
        if call == "mount" and not path.startswith("/"):
            continue  # the name of a file system that has no device
        full = _joined(base, path)
        if (
            not by_fd
            and not _inside(full, territory)
            and not (path == "" and _inside(base, territory))
        ):
            continue
        touched = True
        if not (process.ours or process.helper):
            continue
        on_descriptor = directory >= 0 and not arguments[directory].startswith("AT_FDCWD")
        one_name = on_descriptor and "/" not in path and path not in (".", "..")
        flags = _FOLLOWS.get(call)
        follows = bool(path) and flags is not None and not any(flag in text for flag in flags)
        if by_fd and call in ("umount2", "mount"):
            one_name, follows = True, by_fd[1] is not None and call == "umount2" and follows
        if not one_name:
            report.offenders.append(f"by path: {call}({text})   [{process.name}]")
        elif follows:
            report.offenders.append(f"follows a link: {call}({text})   [{process.name}]")
    if process.ours or process.helper:
        report.looked_at += 1
        report.in_territory += touched
    elif touched:
        report.others += 1


def _inside(path: str, territory: Sequence[str]) -> bool:
    """Whether a path lies below one of these directories, and is not that directory itself."""
    return any(path.startswith(f"{top}/") for top in territory)


def _joined(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path)) if path else base


def _shown(argument: str) -> str:
    """The path that strace -y shows of a descriptor."""
    _, _, path = argument.partition("<")
    return path.rstrip(">").removesuffix("(deleted)")


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-f]{2}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


def _string(argument: str) -> str:
    """What a string of strace's stands for."""
    found = _STRING.match(argument)
    if not found:
        return ""

    def meant(escape: re.Match[str]) -> str:
        word = escape[1]
        if word[0].isdigit():
            return chr(int(word, 8))
        return (
            chr(int(word[1:], 16))
            if word[0] == "x" and len(word) == 3
            else _LETTERS.get(word, word)
        )

    return _ESCAPE.sub(meant, found[0][1:-1])


def _arguments(text: str) -> list[str]:
    """Split the arguments of a call at the commas that stand in no string, bracket or name of a descriptor."""
    words, depth, begin, place = [], 0, 0, 0
    while place < len(text):
        string = _STRING.match(text, place)
        if string:
            place = string.end()
            continue
        letter = text[place]
        depth += (letter in "[{(<") - (letter in "]})>")
        if letter == "," and depth == 0:
            words.append(text[begin:place].strip())
            begin = place + 1
        place += 1
    return [*words, text[begin:].strip()]
