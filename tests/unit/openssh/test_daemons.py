"""The sshds of this host: when systemd says that one has read its configuration."""

from __future__ import annotations

import time

import pytest
from fakes import Programs, Tree

from sftpjail.openssh.daemons import Daemon, changed_state

STAMP = "StateChangeTimestampMonotonic=5000000"


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (("MainPID=7", "ReloadResult=success", STAMP), True),
        (("MainPID=7", "ReloadResult=", STAMP), True),
        (("MainPID=7", "ReloadResult=exit-code", STAMP), False),
        (("MainPID=7", "ReloadResult=timeout", STAMP), False),
        (("MainPID=7", "ReloadResult=signal", STAMP), False),
        (("MainPID=7", STAMP), False),
        (("MainPID=8", "ReloadResult=success", STAMP), False),
        (("ReloadResult=success", STAMP), False),
        (("MainPID=7", "ReloadResult=success", "StateChangeTimestampMonotonic=0"), False),
        (("MainPID=7", "ReloadResult=success", "StateChangeTimestampMonotonic=x"), False),
        (("MainPID=7", "ReloadResult=success"), False),
    ],
)
def test_only_a_reload_that_succeeded_is_known(
    tree: Tree, programs: Programs, said: tuple[str, ...], counts: bool
) -> None:
    tree.directory("/run/systemd/system")
    programs.answer("systemctl", "show", out="\n".join(("Id=ssh.service", *said, "")))
    daemon = Daemon("/usr/sbin/sshd", (), 7, (("", 22),), "ssh.service")
    since_boot = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    found = changed_state(daemon, tree.host())
    if counts:
        assert found == pytest.approx(since_boot + 5, abs=2)
    else:
        assert found == 0


@pytest.mark.parametrize(
    ("daemon", "systemd"),
    [
        (Daemon("/usr/sbin/sshd", (), 7), True),
        (Daemon("/usr/sbin/sshd", (), 0, unit="ssh@.service"), True),
        (Daemon("/usr/sbin/sshd", (), 7, unit="ssh.service"), False),
    ],
)
def test_systemd_is_asked_about_a_unit_that_runs(
    tree: Tree, programs: Programs, daemon: Daemon, systemd: bool
) -> None:
    if systemd:
        tree.directory("/run/systemd/system")
    assert changed_state(daemon, tree.host()) == 0 and programs.asked == []
