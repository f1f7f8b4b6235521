"""Runs hostile command lines as real processes. It is run inside of a machine:

    python3 processes.py <cases >results

Both are JSON lines: argv, env and standard input of each process in, its exit code and what it printed out. Bytes are
Latin-1 there. Two run at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

HANG = 60  # seconds after which a process is one that hangs


def run(case: dict[str, Any]) -> dict[str, Any]:
    argv = [word.encode("latin-1") for word in case["argv"]]
    env = {name.encode("latin-1"): value.encode("latin-1") for name, value in case["env"].items()}
    given = case["stdin"].encode("latin-1")
    try:
        done = subprocess.run(
            argv, env=env, input=given, capture_output=True, timeout=HANG, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        return {"code": "hangs", "out": "", "err": ""}
    except OSError as error:  # the kernel takes no such argument
        return {"code": "refused", "out": "", "err": str(error)}
    # An answer in JSON is judged whole, also one that repeats a long argument.
    out, err = done.stdout[:1_000_000].decode("latin-1"), done.stderr[:20_000].decode("latin-1")
    return {"code": done.returncode, "out": out, "err": err}


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(run, map(json.loads, sys.stdin)):
            print(json.dumps(result), flush=True)
