"""The fence holds, and planned answers pass through it."""

from __future__ import annotations

import ctypes
import os
import subprocess

import pytest
from fakes import Programs, Unplanned

from sftpjail.system import programs as door


def test_a_program_is_stopped_and_no_except_swallows_it() -> None:
    assert not issubclass(Unplanned, Exception)
    for attempt in (
        lambda: subprocess.run(["true"], check=False),
        lambda: os.system("true"),
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.kill(os.getpid(), 0),
        lambda: ctypes.CDLL(None).mount,
    ):
        with pytest.raises(Unplanned):
            attempt()


def test_planned_answers(programs: Programs) -> None:
    programs.answer("ssh-keygen", "-l", out="256 SHA256:abc x (ED25519)")
    assert door.run(["ssh-keygen", "-l", "-f", "-"]).out.startswith("256")
    assert programs.asked == [("ssh-keygen", "-l", "-f", "-")]
    with pytest.raises(Unplanned):
        door.must(["usermod", "alice"])


@pytest.mark.real_program
def test_marked_tests_may_run_a_program() -> None:
    assert subprocess.run(["true"], check=False).returncode == 0
