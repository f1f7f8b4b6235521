"""What the suites have counted, what they have found out already, and the seed of their samples.

FIGURES: a line for each target, shown when all has run, whether or not it passed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

FIGURES: list[str] = []
# SFTPJAIL_SEED repeats the sample of another day.
SEED = os.environ.get("SFTPJAIL_SEED") or str(datetime.datetime.now(tz=datetime.UTC).date())
# What an earlier run has found out, put there by `tests/run --resume FILE`.
RESUMED = Path("/opt/sftpjail-resume")
PROJECT = Path(__file__).parents[3]


def version() -> str:
    """What the program is now: the results of another one are not taken over."""
    found = hashlib.sha256()
    for path in sorted(
        path for top in ("sftpjail", "hooks", "packaging") for path in (PROJECT / top).rglob("*")
    ):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(PROJECT)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


class Results:
    """What has been found out, so that a run that was stopped can go on from there.

    `say` prints a line; tests/run puts those that begin with "resume: " into its file at once.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._of = [version(), os.environ.get("SFTPJAIL_SANDBOX", "")]
        self._known: dict[str, str] = {}
        if RESUMED.exists():
            for line in RESUMED.read_text().splitlines():
                of, key, result = json.loads(line)
                if of == self._of:
                    self._known[key] = result

    def known(self, *key: object) -> str:
        """What came of a cut, or "" where it is not known."""
        return self._known.get(json.dumps(key), "")

    def add(self, result: str, *key: object) -> None:
        self._known[json.dumps(key)] = result
        if RESUMED.exists():
            self._say("resume: " + json.dumps([self._of, json.dumps(key), result]))
