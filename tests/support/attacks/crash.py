"""Has sftpjail die, fail or go on without its caller at one of its system calls; on the machine, as root.

    crash.py install                            once: /usr/bin/sftpjail is run by way of here from then on
    crash.py sites CALLS COMMAND...             prints JSON: of each of these calls its name, which of that name it
                                                is, and the line of ours that made it
    crash.py main|all|caller CALL N COMMAND...  kills sftpjail at its Nth CALL; that and all else that the command
                                                started; or only who called sftpjail, which goes on
    crash.py inject CALL N[+] WHAT COMMAND...   has its Nth CALL (and those after it) fail, or bring a signal: WHAT is
                                                error=ERRNO or signal=NAME; ends as COMMAND does

COMMAND is sftpjail, or what runs it, as useradd does. Of several sftpjails it is the first of whose command line
/run/crash/only is a part, if there is such a file. What strace(1) kills as it enters a call does not do it any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# What changes files or mounts, begins a program (vfork, clone), or has just begun one (pidfd_open).
CALLS = (
    "write,pwrite64,fsync,fdatasync,ftruncate,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,"
    "renameat2,link,linkat,symlink,symlinkat,chown,fchown,fchownat,chmod,fchmod,fchmodat,utimensat,"
    "setxattr,fsetxattr,fremovexattr,mount,umount2,open_tree,move_mount,mount_setattr,"
    "vfork,clone,clone3,pidfd_open"
)
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
BIN, REAL = "/usr/bin/sftpjail", "/run/crash/sftpjail"
NEXT, OUT, SITES = "/run/crash/next", "/run/crash/out", "/run/crash/sites"
ONLY = "/run/crash/only"
# Only the first one that runs after NEXT was written is traced.
WRAPPER = f"""#!/bin/sh
only=$(/bin/cat {ONLY} 2>/dev/null)
case "$*" in *"$only"*) ;; *) exec {REAL} "$@" ;; esac
/bin/mv {NEXT} {NEXT}.now 2>/dev/null || exec {REAL} "$@"
. {NEXT}.now
"""


def install() -> None:
    os.makedirs("/run/crash", exist_ok=True)
    shutil.move(BIN, REAL)
    Path(BIN).write_text(WRAPPER)
    os.chmod(BIN, 0o755)


def trace(options: str, program: str = REAL) -> None:
    """Have the next sftpjail run under strace(1), with these options, in the words of a shell."""
    Path(OUT).write_text("")
    Path(NEXT).write_text(f'exec /usr/bin/strace -qq -o {OUT} {options} {program} "$@"\n')


def sites(calls: str, argv: Sequence[str]) -> list[tuple[str, int, str]]:
    """Run the command undisturbed, and return its calls in their order, each with its line of ours."""
    tracer = Path(__file__).with_name("sites.py")
    trace(f"-ttt -e trace={calls}", f"/usr/bin/python3 -IS {tracer} {SITES}")
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{argv} failed: {done}")
    lines = [line.partition(" ") for line in Path(SITES).read_text().splitlines()]
    times, places = [float(at) for at, _, _ in lines], [place for _, _, place in lines]
    counts: Counter[str] = Counter()
    found = []
    for line in Path(OUT).read_text(errors="replace").splitlines():
        at, _, words = line.partition(" ")
        name = words.partition("(")[0]
        index = bisect_right(times, float(at))
        place = places[index - 1] if index else "Python"
        if place and " = " in words and name.isidentifier():
            counts[name] += 1
            found.append((name, counts[name], place))
    return found


def children() -> list[int]:
    """Return who is a child of ours, or has become one because the one that began it has died."""
    me = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def traced(pids: Sequence[int]) -> int:
    """Return which of these strace(1) traces, or 0."""
    for pid in pids:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            if "\nTracerPid:\t0\n" not in status:
                return pid
    return 0


def stopped(process: subprocess.Popen[bytes]) -> int:
    """Wait until sftpjail has been stopped at its call, and return its pid; 0 where the command has ended first."""
    while process.poll() is None:
        if "stopped by SIGSTOP" in Path(OUT).read_text(errors="replace"):
            return traced(descendants(os.getpid()))
        time.sleep(0.01)
    return 0


def crash(whom: str, call: str, number: int, argv: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    death = "KILL" if whom == "main" else "STOP"
    trace(f"-e inject={call}:signal=SIG{death}:when={number}")
    # The caller, of whom nothing is left that could read what sftpjail prints.
    caller = subprocess.Popen(
        ["/bin/sh", "-c", '"$@" | /bin/cat; exit 0', "sh", *argv], stdout=sys.stderr
    )
    pid = stopped(caller) if whom != "main" else 0
    if pid:
        end(pid, whom)
    caller.wait()
    gone = pid or "killed by SIGKILL" in Path(OUT).read_text(errors="replace")
    print("struck" if gone else "ended by itself")
    while whom != "main" and (left := children()):
        if whom == "all":
            kill(left)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(left[0], 0)


def end(pid: int, whom: str) -> None:
    """Kill all that we have started; or let sftpjail and its strace live, and what it has started."""
    why_spared = set[int]()
    if whom == "caller":
        why_spared = {pid, *descendants(pid)}
        status = Path(f"/proc/{pid}/status").read_text()
        why_spared.add(int(status.partition("TracerPid:\t")[2].split()[0]))
    kill([other for other in descendants(os.getpid()) if other not in why_spared])
    if whom == "caller":
        os.kill(pid, signal.SIGCONT)


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def inject(call: str, when: str, what: str, argv: Sequence[str]) -> int:
    trace(f"-e inject={call}:{what}:when={when}")
    code = subprocess.run(argv, check=False).returncode
    return code if code >= 0 else 128 - code


def main(what: str, *words: str) -> int:
    if what == "install":
        install()
    elif what == "sites":
        print(json.dumps(sites(words[0], words[1:])))
    elif what == "inject":
        return inject(*words[:3], words[3:])
    else:
        crash(what, words[0], int(words[1]), words[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
