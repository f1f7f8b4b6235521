"""Root's commands while a user exchanges directories for links under them: root is never led, and nothing hangs."""

from __future__ import annotations

import pytest
from machine import Machine
from race import Race
from steps import CONFIG, QUIET, jail, open_with_key, ready

FORMS = {
    "jails": "[profiles]\n[[sftponly]]\nmounts = fstab\n",
    "sessions": "[profiles]\n[[sftponly]]\nmounts = session\n",
    "homes": "[profiles]\n[[sftponly]]\nchroot = %h\nmounts = fstab\n",
    "inside": "[profiles]\n[[sftponly]]\nhome = inside\nmounts = fstab\n",
}
VETO = "#!/bin/sh\nsleep 0.$(($$ % 4))\nexit 1\n"


def veto(machine: Machine, event: str) -> str:
    """A hook script that makes a command fail late, so that everything is put back."""
    path = f"/etc/sftpjail/hooks/{event}.d/veto"
    machine.write(path, VETO, 0o755)
    return path


def host(machine: Machine, form: str, more: str = "") -> None:
    ready(machine, QUIET + more + FORMS[form])


def rounds(thorough: bool, sample: int = 3, whole: int = 60) -> int:
    return whole if thorough else sample


def test_removal_that_is_put_back(machine: Machine, thorough: bool) -> None:
    """The home is the user's for a moment, and then the mounts in it are made again."""
    host(machine, "homes")
    machine.run("useradd", "-m", "alice")
    machine.run("sftpjail", "adopt", "alice")
    machine.sh("mkdir -p /srv/web")
    machine.run("sftpjail", "mount", "--under-home", "alice", "/srv/web", "/web")
    veto(machine, "user-remove")
    with Race(machine, "remove, put back (%h)", ["/home/alice/web", "/home/alice/files"], rounds(thorough)) as race:
        for _ in race.each():
            race.attack("sftpjail", "remove", "alice", codes=(1,))
