"""Has a program that sftpjail runs fail; on the machine, as root.

    children.py programs COMMAND...              prints the programs that COMMAND starts, a line for each start
    children.py FATE PROGRAM N COMMAND...        its Nth start of PROGRAM fails: see FATES

The program's name leads to a script while COMMAND runs, and the program itself is beside it, under its
own name, as hooks of shadow look at that.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ASIDE = "/run/children"
# What the Nth start does; `$real` is the program. "late" is after its work.
FATES = {
    "exit": "echo no >&2; exit 1",
    "die": "kill -9 $$",
    "exit late": '"$real" "$@" >/dev/null; exit 1',
    "die late": '"$real" "$@" >/dev/null; kill -9 $$',
    "hang": "exec sleep 1000",
}


def programs(argv: Sequence[str]) -> list[str]:
    """Return the programs that the main process starts, in their order."""
    out = "/run/children.calls"
    subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=execve", "-o", out, *argv],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    text = Path(out).read_text(errors="replace")
    return re.findall(r'execve\("([^"]+)".* = 0', text)


def script(path: str, fate: str, number: int) -> str:
    return (
        f"#!/bin/bash\nreal={shlex.quote(f'{ASIDE}/{os.path.basename(path)}')}\n"
        f"echo >>{ASIDE}/count\n"
        f'[ "$(/usr/bin/wc -l <{ASIDE}/count)" != {number} ] || {{ {FATES[fate]}; }}\n'
        'exec "$real" "$@"\n'
    )


def fail(fate: str, path: str, number: int, argv: Sequence[str]) -> int:
    os.makedirs(ASIDE, exist_ok=True)
    path = os.path.realpath(path)
    real = f"{ASIDE}/{os.path.basename(path)}"
    shutil.move(path, real)
    try:
        Path(f"{ASIDE}/count").write_text("")
        Path(path).write_text(script(path, fate, number))
        os.chmod(path, 0o755)
        return subprocess.run(argv, check=False).returncode
    finally:
        shutil.move(real, path)


if __name__ == "__main__":
    if sys.argv[1] == "programs":
        print(*programs(sys.argv[2:]), sep="\n")
    else:
        sys.exit(fail(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
