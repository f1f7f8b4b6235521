"""Runs inside a machine, as root: lets a jailed user try every attempt, and judges each.

usage: attack.py FORM.json, which test_escape.py writes. Prints one JSON object: the attempts with
their verdicts, and what the watch on processes found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import by_sftp
import by_ssh
import by_uploads
from canaries import MARKS, NAME, Flock, Watch, Zone
from lab import Attempt, Lab, Out, counted
from wire import Gone

OUTSIDE = (
    "/etc",
    "/root",
    "/home/bob",
    "/srv",
    "/run",
    "/srv/web",
    "/srv/sftp/carol",
    "/tmp",
    "/var/lib/sftpjail",
)


@dataclass
class Verdict:
    """What came of an attempt; `out` says how it got out, and is empty where it was refused or harmless."""

    group: str
    name: str
    words: str
    out: str
    seconds: float


def judge(lab: Lab, attempt: Attempt) -> Verdict:
    """Do it, and look at the canaries."""
    lab.heard.clear()
    began, words, out = time.monotonic(), "", []
    try:
        words = attempt.run(lab)
    except Out as error:
        out.append(str(error))
    except Gone as error:
        words = f"ended: {error}"
        lab.give_up(error)
    out += [f"seen: {what}" for what in lab.flock.seen(bytes(lab.heard))]
    out += [f"changed: {path}" for path in lab.flock.changed()]
    if time.monotonic() - began > 1 and os.environ.get("SHOW"):
        print(
            f"{time.monotonic() - began:.1f} s: {attempt.group}: {attempt.name}: {words} {out}",
            file=sys.stderr,
        )
    return Verdict(
        attempt.group, attempt.name, words, "; ".join(out), round(time.monotonic() - began, 3)
    )


def prepare(form: dict[str, Any]) -> tuple[Flock, subprocess.Popen[bytes]]:
    """Plant the canaries; start a process of the user's outside of the jail, and services that say a canary."""
    flock = Flock(
        [Zone(f"{place}/{NAME}") for place in OUTSIDE], guarded=[Zone(f"/srv/media/{NAME}")]
    )
    flock.plant()
    # The socket lies beside the canaries, where everybody may connect.
    form["spoken"] = flock.word("what a program says")
    form["socket"] = f"/srv/socket-{flock.word('the socket')[:4]}"
    form["listener"] = by_ssh.Listener(flock.word("a service on a port")).port
    by_ssh.Listener(flock.word("a service in a socket"), form["socket"])
    by_ssh.Listener(flock.word("a service in an abstract socket"), "\0canary")
    form["bait"] = by_uploads.BAIT
    secret = flock.word("the environment of a process")
    ids = [f"--reuid={form['uid']}", f"--regid={form['gids'][0]}", "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "SECRET": secret}
    outsider = subprocess.Popen(["setpriv", *ids, "sleep", "3600"], cwd="/", env=environment)
    form["outsider"] = outsider.pid
    form["here"] = "/root/here"
    os.makedirs(f"{form['here']}", exist_ok=True)
    with open(f"{form['here']}/mine", "w", encoding="utf-8") as file:
        file.write("mine\n")
    os.makedirs(MARKS, exist_ok=True)
    os.chmod(MARKS, 0o1777)
    time.sleep(0.1)  # until setpriv is the user's
    return flock, outsider


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        form: dict[str, Any] = json.load(file)
    flock, outsider = prepare(form)
    try:
        json.dump(tried(form, flock, outsider.pid), sys.stdout)
        sys.stdout.flush()
    finally:
        outsider.kill()
        outsider.wait()


def _administrators(process: str) -> bool:
    """Whether a process comes of the administrator's own su(1)."""
    return process.startswith("su ") or "nologin" in process


def tried(form: dict[str, Any], flock: Flock, outsider: int) -> dict[str, Any]:
    """Do everything; what came of it."""
    lab = Lab(form, flock)
    verdicts = []
    with Watch(form["uid"], form["jail"], {outsider}, by_uploads.BAIT.encode()) as watch:
        lab.watched = watch.found
        wire = [*by_sftp.attempts(form, len(flock.zones)), *by_ssh.attempts(form)]
        for attempt in counted(iter(wire))[:: form["every"]]:
            verdicts.append(judge(lab, attempt))
        before = dict(watch.found)
        uploaded = by_uploads.upload(lab)
        by_uploads.provoke(lab)
        for attempt in counted(by_uploads.attempts(uploaded)):
            verdicts.append(judge(lab, attempt))
        lab.close()
    after = {
        what: words
        for what, words in watch.found.items()
        if what not in before and not _administrators(what)
    }
    return {
        "attempts": [asdict(verdict) for verdict in verdicts],
        "processes": list(before.values()),
        "processes_of_uploads": list(after.values()),
        "logins": lab.logins,
        "uploaded": sum(uploaded.values()),
    }


main()
