"""Cuts a command's power at its writes; on the machine, as root. See recorder.py for the disk.

    power.py fill IMAGE                    an ext4 with copies of the machine's TOPS
    power.py record IMAGE RECORD COMMAND…  runs the command with its TOPS on that, and keeps what is written
    power.py boot DIRECTORY NEXT…          what a host finds whose TOPS lie there, and what NEXT makes of it
    power.py cut IMAGE RECORD SEED LIMIT NEXT…  all states that a power cut can leave, or LIMIT of them

Each says what it found as JSON. A state is what the last barrier has made sure of, and any of the blocks
that were written since. The kernel replays the journal of the file system, the host boots (mount -a), and
NEXT, a command of sftpjail, recovers what is left. Then the host must be as before the command, or as
after it; that, where the command had said so before the cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from recorder import Barrier, Mark, Record, Recorder, Write

TOPS = ("etc", "home", "srv", "var/lib")  # what lies on the disk
LEFT_OUT = ("var/lib/dpkg", "var/lib/apt")
# shadow's and the host's own, which no command puts back.
CHANGING = ("etc/*-", "etc/.pwd.lock", "var/lib/systemd", *LEFT_OUT)
SIZE = 24 << 20  # bytes of the disk
BLOCK = 4096  # of these a disk writes each whole or not at all
SUBSETS = 20  # of the blocks of an epoch, chosen by chance
MKFS = ("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-N", "4096")
MKFS = (*MKFS, "-E", "lazy_itable_init=0,lazy_journal_init=0")
STRANGER = "user=stranger,host=localhost,addr=127.0.0.1"
Found = dict[str, Any]


class Entry(NamedTuple):
    """What lies at a path: type, mode, owner, group and attributes; content; inode, size and times."""

    rights: tuple[object, ...]
    content: str
    about: tuple[int, int, int, int]


Tree = dict[str, Entry]


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, errors="surrogateescape"
    )
    if check and done.returncode:
        raise SystemExit(
            f"{' '.join(argv)}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        )
    return done


def nodes() -> None:
    """Make the device nodes that a sandbox lacks."""
    devices = {"fuse": (stat.S_IFCHR, 10, 229), "loop-control": (stat.S_IFCHR, 10, 237)}
    devices |= {f"loop{number}": (stat.S_IFBLK, 7, number) for number in range(64)}
    for name, (kind, major, minor) in devices.items():
        if not os.path.exists(f"/dev/{name}"):
            os.mknod(f"/dev/{name}", kind | 0o600, os.makedev(major, minor))


@contextmanager
def mounted(image: str) -> Iterator[str]:
    """Mount a file system as the kernel does after a boot; its loop device goes with the mount."""
    with tempfile.TemporaryDirectory(prefix="power.") as directory:
        run("mount", "-o", "loop", image, directory)
        try:
            yield directory
        finally:
            run("umount", directory)


def fill(image: str) -> Found:
    """Make the disk, with what the machine's TOPS hold below their mounts."""
    with open(image, "wb") as handle:
        handle.truncate(SIZE)
    run(*MKFS, image)
    run("mount", "--bind", "/", "/mnt")  # without what is mounted on it
    with mounted(image) as directory:
        for top in TOPS:
            os.makedirs(os.path.dirname(f"{directory}/{top}"), exist_ok=True)
            run("cp", "-a", f"/mnt/{top}", f"{directory}/{top}")
        run("rm", "-rf", *(f"{directory}/{path}" for path in LEFT_OUT))
    run("umount", "/mnt")
    return {}


# -- a host whose directories lie there ------------------------------------------------------------


def boot(directory: str) -> list[str]:
    """Be a host that has just booted, in namespaces of its own.

    Return what mount -a complained of, for which systemd would offer a rescue shell alone.
    """
    for point in reversed(points()):
        run("umount", point)  # the machine's own, which would be below those
    for top in TOPS:
        run("mount", "--bind", f"{directory}/{top}", f"/{top}")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    os.mkdir("/run/sshd", 0o755)
    Path("/run/boot_id").write_text(f"{uuid.uuid4()}\n")
    run("mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id")
    done = run("mount", "-a", check=False)
    return [f"mount -a: {done.stderr}"] if done.returncode else []


def points() -> list[str]:
    """Return what is mounted below the TOPS."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    found = [line.split(" ")[4] for line in lines]
    return sorted(point for point in found for top in TOPS if point.startswith(f"/{top}/"))


def sane() -> list[str]:
    """Return what is wrong with sshd, fstab and the accounts of others, for logins wait for nobody."""
    wrong = []
    for argv in (("/usr/sbin/sshd", "-t"), ("id", "stranger")):
        done = run(*argv, check=False)
        wrong += [f"{' '.join(argv)}: {done.stderr}"] if done.returncode else []
    said = run("findmnt", "--verify", "--tab-file", "/etc/fstab", check=False).stdout
    wrong += [said] if "parse error" in said.replace("0 parse errors", "") else []
    return wrong


def settings() -> str:
    return run("/usr/sbin/sshd", "-T", "-C", STRANGER, check=False).stdout


def look(directory: str, command: Sequence[str]) -> Found:
    """Boot, look whether logins work, run the next command, and look again."""
    found: Found = {"wrong": [*boot(directory), *sane()], "stranger": settings()}
    done = run("sftpjail", *command, check=False)
    found["said"] = f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    found["wrong"] += sane()
    if os.path.lexists("/var/lib/sftpjail/journal"):
        found["wrong"].append("the journal is left")
    return found | {"mounts": points()}


def booted(directory: str, command: Sequence[str]) -> Found:
    """Return what `look` finds, in namespaces that end with it."""
    words = ("unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", sys.executable, __file__)
    return dict(json.loads(run(*words, "boot", directory, *command).stdout))


# -- the record of a command -----------------------------------------------------------------------


def record(image: str, log: str, command: Sequence[str]) -> Found:
    """Run a command on a disk that is recorded; in a mount namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="power.") as disk:
        recorder = Recorder(Path(image).read_bytes(), disk)
        server = os.fork()
        if not server:
            recorder.serve()
            Path(log).write_bytes(pickle.dumps(recorder.record))
            os._exit(0)
        os.close(recorder.fuse)
        with mounted(f"{disk}/disk") as directory:
            words = ("unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc")
            words = (*words, sys.executable, __file__, "command", directory, disk, *command)
            done = run(*words)
        run("umount", disk)
        os.waitpid(server, 0)
    return dict(json.loads(done.stdout))


def mark(disk: str, name: str) -> None:
    """Tell the recorder that something happened."""
    os.path.exists(f"{disk}/{name}")


def reported(directory: str, disk: str, command: Sequence[str]) -> Found:
    """Run the command on a booted host, and mark when it begins, reports and ends."""
    boot(directory)
    os.sync()
    mark(disk, "begin")
    argv = ["sftpjail", *command]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        out = process.stdout.readline()
        if out:
            mark(disk, "report")
        out += process.stdout.read()
        found = {"out": out, "err": process.stderr.read(), "code": process.wait()}
    mark(disk, "end")
    return found


# -- the states --------------------------------------------------------------------------------------


class State(NamedTuple):
    """What a power cut can leave.

    `durable` is how many entries of the record are on the disk; `kept` are the blocks written since
    that are as well, as (offset, data) in their order. `late` says that the command may have said
    by then that it was done, `where` names it all.
    """

    durable: int
    kept: tuple[tuple[int, bytes], ...]
    late: bool
    where: str


def states(entries: Record, seed: str) -> Iterator[State]:
    """Yield each prefix at a barrier, and SUBSETS of the blocks of each epoch."""
    begin = entries.index(Mark("begin"))
    report = entries.index(Mark("report" if Mark("report") in entries else "end"))
    ends = [at for at, entry in enumerate(entries) if isinstance(entry, Barrier)] + [len(entries)]
    durable = max((at for at in ends if at < begin), default=0)
    for number, end in enumerate(at for at in ends if at > begin):
        blocks = [
            (entry.offset + at, entry.data[at : at + BLOCK])
            for entry in entries[durable:end]
            if isinstance(entry, Write)
            for at in range(0, len(entry.data), BLOCK)
        ]
        where = (
            f"epoch {number} (entries {durable} to {end} of {len(entries)}, {len(blocks)} blocks)"
        )
        late = end > report
        yield State(durable, (), late, f"{where}: none")
        chance = random.Random(f"{seed} {number}")
        for turn in range(SUBSETS if blocks else 0):
            share = chance.random()
            kept = tuple(block for block in blocks if chance.random() < share)
            yield State(durable, kept, late, f"{where}: subset {turn}, {len(kept)} kept")
        durable = end
    yield State(len(entries), (), True, "all that was written")


class Disk:
    """The content that the disk has had by an entry of the record; these must not go back."""

    def __init__(self, content: bytes, record: Record) -> None:
        self.content, self.record, self.at = bytearray(content), record, 0

    def write(self, state: State, image: str) -> None:
        """Write a state as an image."""
        for entry in self.record[self.at : state.durable]:
            if isinstance(entry, Write):
                self.content[entry.offset : entry.offset + len(entry.data)] = entry.data
        self.at = state.durable
        with open(image, "wb") as handle:
            handle.write(self.content)
            for offset, data in state.kept:
                handle.seek(offset)
                handle.write(data)


class Trees:
    """Reads what lies below the TOPS of one file system in its many states.

    To read each file of each state would take most of the time. What a command has left alone is
    read again only where inode, size or times say that it is another file.
    """

    def __init__(self) -> None:
        self.alone: dict[str, Entry] = {}

    def leave_alone(self, first: Tree, last: Tree) -> None:
        """Take what is the same at the end of a record as at its beginning."""
        self.alone = {path: entry for path, entry in first.items() if entry == last.get(path)}

    def read(self, directory: str) -> Tree:
        """Return all that lies in a directory by its path in there."""
        found = {}
        for top in TOPS:
            for where, directories, names in os.walk(f"{directory}/{top}"):
                below = os.path.relpath(where, directory)
                directories[:] = [name for name in directories if compared(f"{below}/{name}")]
                for name in (".", *directories, *names):
                    path = os.path.normpath(f"{below}/{name}")
                    if compared(path):
                        found[path] = self.entry(path, f"{directory}/{path}")
        return found

    def entry(self, path: str, where: str) -> Entry:
        info = os.lstat(where)
        about = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        known = self.alone.get(path)
        names = os.listxattr(where, follow_symlinks=False)
        attributes = [(name, os.getxattr(where, name, follow_symlinks=False)) for name in names]
        owner = (stat.filemode(info.st_mode), info.st_uid, info.st_gid)
        content = known.content if known and known.about == about else read(where, info)
        return Entry((*owner, attributes), content, about)


def read(where: str, info: os.stat_result) -> str:
    """Return a hash of a file, or what a link says."""
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(where)
    if not stat.S_ISREG(info.st_mode):
        return ""
    return hashlib.sha256(Path(where).read_bytes()).hexdigest()


def compared(path: str) -> bool:
    """Return whether a path below the TOPS is compared."""
    return not any(fnmatch(path, pattern) for pattern in CHANGING)


class Trials:
    """What hosts become that boot from the states of one disk.

    Many states are the same once the kernel has replayed the journal; each of these is recovered once.

    Args:
        image: where a state is written.
        command: what recovers.
    """

    def __init__(self, image: str, command: Sequence[str]) -> None:
        self.image, self.command = image, command
        self.trees = Trees()
        self.states: dict[tuple[object, ...], Found] = {}
        self.recovered: dict[str, Found] = {}

    def found(self, state: State, disk: Disk) -> Found:
        """Return what the host becomes in a state of a disk; chance chooses many of them twice."""
        key = (state.durable, state.kept)
        if key not in self.states:
            disk.write(state, self.image)
            self.states[key] = self.of_image()
        return self.states[key]

    def of_image(self) -> Found:
        with mounted(self.image) as directory:
            raw = self.trees.read(directory)
            same = [
                (path, entry.rights, entry.content, entry.about[0]) for path, entry in raw.items()
            ]
            key = hashlib.sha256(repr(sorted(same, key=itemgetter(0))).encode()).hexdigest()
            if key in self.recovered:
                return self.recovered[key]
            found = booted(directory, self.command)
            tree = self.trees.read(directory)
        found["raw"], found["tree"] = raw, {path: entry[:2] for path, entry in tree.items()}
        checked = run("e2fsck", "-fn", self.image, check=False)
        if checked.returncode:
            found["wrong"].append(f"e2fsck: {checked.stdout}")
        self.recovered[key] = found
        return found


def differs(one: Found, other: Found) -> list[str]:
    """Return in which paths and mounts two hosts differ."""
    paths = one["tree"].keys() | other["tree"].keys()
    found = sorted(path for path in paths if one["tree"].get(path) != other["tree"].get(path))
    return [*found, *sorted(set(one["mounts"]) ^ set(other["mounts"]))]


def judge(found: Found, before: Found, after: Found, late: bool) -> tuple[str, list[str]]:
    """Return whether a host is as "before" or "after", or "" and what is wrong."""
    wrong = list(found["wrong"])
    wrong += ["another sshd for others"] * (
        found["stranger"] not in (before["stranger"], after["stranger"])
    )
    new = differs(found, after)
    if not new:
        return ("" if wrong else "after"), wrong
    if late:
        return "", [*wrong, f"it had said that it was done; not as after: {new}"]
    old = differs(found, before)
    if old:
        return "", [*wrong, f"not as before: {old}", f"not as after: {new}"]
    return ("" if wrong else "before"), wrong


def cut(image: str, log: str, seed: str, limit: int, command: Sequence[str]) -> Found:
    """Try all states, or LIMIT of them by the seed, and return what was found."""
    content, entries = Path(image).read_bytes(), pickle.loads(Path(log).read_bytes())
    every, trials = [*states(entries, seed)], Trials(f"{image}.trial", command)
    before, after = (trials.found(state, Disk(content, entries)) for state in (every[0], every[-1]))
    trials.trees.leave_alone(before["raw"], after["raw"])
    disk, count = Disk(content, entries), min(limit or len(every), len(every))
    said: Found = {"before": 0, "after": 0, "bad": []}
    for place in sorted(random.Random(seed).sample(range(len(every)), count)):
        state = every[place]
        found = trials.found(state, disk)
        which, wrong = judge(found, before, after, state.late)
        if which:
            said[which] += 1
        else:
            said["bad"].append({"where": state.where, "wrong": wrong, "said": found["said"]})
    said |= {"states": len(every), "recovered": len(trials.recovered)}
    return said | {"barriers": entries.count(Barrier()), "changed": differs(before, after)}


def main(does: str, *words: str) -> Found:
    nodes()
    match does:
        case "fill":
            return fill(words[0])
        case "record":
            return record(words[0], words[1], words[2:])
        case "command":
            return reported(words[0], words[1], words[2:])
        case "boot":
            return look(words[0], words[1:])
        case "cut":
            return cut(words[0], words[1], words[2], int(words[3]), words[4:])
    raise SystemExit(__doc__)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
