"""Runs sftpjail and writes down which of its lines it was at, and when; on the machine, as root.

    sites.py FILE ARGUMENT...

FILE gets lines of a time in seconds and a line of ours. By the time a system call that strace(1) sees
is that of the last line before it. A line of system/ is written with the one that led there. What
has no line is not sftpjail's. Nothing is imported here, since sftpjail would not import it any more.
"""

from __future__ import annotations

import sys
import time

PACKAGE = "/sftpjail/"
LAUNCHER = "/run/crash/sftpjail"
seen = []


def line_of(frame):
    path = frame.f_code.co_filename
    return f"{path.rpartition(PACKAGE)[2]}:{frame.f_lineno}"


def site(frame):
    """A line of ours, and the one outside of system/ by which the program came there."""
    words, back = line_of(frame), frame.f_back
    if words.startswith("system/"):
        while back is not None:
            if PACKAGE in back.f_code.co_filename and not line_of(back).startswith("system/"):
                return f"{words} for {line_of(back)}"
            back = back.f_back
    return words


def trace(frame, event, _):
    if PACKAGE not in frame.f_code.co_filename or frame.f_code.co_name == "<module>":
        return None
    seen.append((time.time(), site(frame)))
    return trace


if __name__ == "__main__":
    out, sys.argv = sys.argv[1], [LAUNCHER, *sys.argv[2:]]
    seen.append((time.time(), ""))
    with open(LAUNCHER) as handle:
        code = compile(handle.read(), LAUNCHER, "exec")
    seen.append((time.time(), "launcher"))
    sys.settrace(trace)
    try:
        exec(code, {"__name__": "__main__"})
    finally:
        sys.settrace(None)
        seen.append((time.time(), ""))
        with open(out, "w") as handle:
            handle.writelines(f"{at} {where}\n" for at, where in seen)
