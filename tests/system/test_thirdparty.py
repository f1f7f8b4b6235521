"""A plugin that is a distribution of its own, installed by pip: its actions, its veto, and one that does not load."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import CONFIG, QUIET, open_with_key, previewed, ready, refused, works

pytestmark = pytest.mark.halved

ALLOWED = QUIET + "[plugins]\nallow = welcome\n"


def pip(machine: Machine, directory: str) -> None:
    machine.sh(
        f"cp -r {directory} /root/plugin && /usr/bin/python3 -m pip install --quiet --no-index --no-build-isolation "
        "$(python3 -m pip install --help | grep -q break-system && echo --break-system-packages) /root/plugin",
        timeout=120,
    )


def test_installed_by_pip(machine: Machine) -> None:
    pip(machine, "/src/tests/unit/plugins/example")
    ready(machine)
    assert "not allowed" in machine.sh("sftpjail plugins | grep welcome").out
    assert "WELCOME" not in previewed(machine, "sftpjail", "add", "alice")

    machine.write(CONFIG, ALLOWED)
    assert "allowed" in machine.sh("sftpjail plugins | grep welcome").out
    assert "WELCOME" in previewed(machine, "sftpjail", "add", "alice")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    works(machine, "alice", open_with_key(machine, "alice"), "ls /WELCOME")

    assert "bad name" in refused(machine, "sftpjail", "add", "badger")
    # useradd itself never fails because of a plugin; the jail is not made, and so closed.
    done = machine.run("useradd", "-m", "-G", "sftponly", "badboy")
    assert "bad name" in done.err and not machine.exists("/srv/sftp/badboy")

    machine.run("sftpjail", "remove", "alice")
    assert not machine.exists("/srv/sftp/alice")


def test_a_plugin_that_does_not_load_is_named(machine: Machine) -> None:
    ready(machine)
    machine.write(CONFIG, QUIET + "[plugins]\nallow = nowhere\n")
    assert "plugin nowhere" in refused(machine, "sftpjail", "apply")
    machine.sh(
        "cp -r /src/tests/unit/plugins/example /root/broken && echo import nothing_like_it >/root/broken/sftpjail_welcome.py"
    )
    pip(machine, "/root/broken")
    machine.write(CONFIG, ALLOWED)
    assert "plugin welcome does not load: ModuleNotFoundError" in refused(
        machine, "sftpjail", "apply"
    )
