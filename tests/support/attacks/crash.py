"""Runs a command that dies at one of its system calls that change something; on the machine, as root.

    crash.py count COMMAND...           prints the names of these calls
    crash.py main CALL N COMMAND...     kills the command at its Nth CALL, and returns; what it started goes on
    crash.py all CALL N COMMAND...      kills that too

strace(1) kills it as it enters the call, so that this one is not done any more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# What changes files or mounts, begins a program (vfork, clone), or has just begun one (pidfd_open).
CALLS = (
    "write,pwrite64,fsync,fdatasync,ftruncate,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,"
    "renameat2,link,linkat,symlink,symlinkat,chown,fchown,fchownat,chmod,fchmod,fchmodat,utimensat,"
    "setxattr,fsetxattr,mount,umount2,open_tree,move_mount,mount_setattr,vfork,clone,clone3,pidfd_open"
)
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def calls(argv: Sequence[str]) -> list[str]:
    """Run the command undisturbed, and return the names of these calls in their order."""
    out = Path("/run/crash.calls")
    subprocess.run(
        ["strace", "-qq", "-e", f"trace={CALLS}", "-o", out, *argv],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = out.read_text(errors="replace").splitlines()
    return [line.partition("(")[0] for line in lines if " = " in line]


def children() -> list[int]:
    """Return who has become a child of ours, because the command that began it has died."""
    me = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]


def crash(whom: str, call: str, number: int, argv: Sequence[str]) -> None:
    if whom == "all":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    done = subprocess.run(["strace", "-qq", "-e", inject, "-o", "/dev/null", *argv], check=False)
    print("ended by itself" if done.returncode == 0 else "killed")
    while left := children():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(left[0], 0)


if __name__ == "__main__":
    if sys.argv[1] == "count":
        print(*calls(sys.argv[2:]), sep="\n")
    else:
        crash(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
