"""The one door for programs: words, environment, time limits, and how daemons are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from fakes import Programs

from sftpjail.errors import SftpJailError
from sftpjail.system import services
from sftpjail.system.programs import Answer, must, run
from sftpjail.system.services import notify


def test_words_of_a_program() -> None:
    assert Answer(1, "out", "a\nb\n").words == "a / b"
    assert Answer(1, "out\n", "").words == "out"
    assert Answer(3, "", "").words == "exit code 3"


@pytest.mark.real_program
class TestRun:
    """The door for programs, with programs that only speak."""

    def test_answer_and_environment(self) -> None:
        answer = run(["env"], env={"X": "1"})
        assert answer.code == 0
        assert set(answer.out.split()) == {
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "X=1",
        }

    def test_standard_input_and_bytes(self) -> None:
        assert run(["cat"], stdin="a\udcffb").out == "a\udcffb"

    def test_a_missing_program(self) -> None:
        with pytest.raises(SftpJailError, match="cannot run no-such-program"):
            run(["no-such-program"])

    def test_a_time_limit_takes_the_children_along(self) -> None:
        with pytest.raises(SftpJailError, match="took longer than"):
            run(["sh", "-c", "sleep 60 & wait"], timeout=0.2)

    def test_must(self) -> None:
        with pytest.raises(SftpJailError, match="sh -c echo no >&2; exit 3 failed: no"):
            must(["sh", "-c", "echo no >&2; exit 3"])


# -- telling daemons -----------------------------------------------------------------------------


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The directories of this host; none is that of a running systemd until a test says so."""
    directories: set[str] = set()
    monkeypatch.setattr(services.os.path, "isdir", lambda path: path in directories)
    yield directories


def test_under_systemd_the_unit_that_runs_is_told(booted: set[str], programs: Programs) -> None:
    booted.add("/run/systemd/system")
    programs.answer("is-active", "--quiet", "ssh.service", code=3)
    programs.answer("systemctl")
    assert notify("sshd", "reload") == ""
    assert programs.asked[-1] == ("systemctl", "reload", "sshd.service")
    assert notify("systemd", "daemon-reload") == ""
    assert programs.asked[-1] == ("systemctl", "daemon-reload")


def test_under_systemd_what_does_not_run_is_not_started(
    booted: set[str], programs: Programs
) -> None:
    booted.add("/run/systemd/system")
    programs.answer("is-active", code=3)
    assert notify("rsyslog", "restart") == ""
    assert [argv[1] for argv in programs.asked] == ["is-active"]


def test_a_daemon_that_refuses_is_quoted(booted: set[str], programs: Programs) -> None:
    booted.add("/run/systemd/system")
    programs.answer("is-active")
    programs.answer("systemctl", err="Job for rsyslog.service failed.", code=1)
    with pytest.raises(
        SftpJailError, match=r"systemctl restart rsyslog.service failed: Job for rsyslog"
    ):
        notify("rsyslog", "restart")


def test_without_systemd_a_reload_is_a_signal(
    booted: set[str], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(services, "running", lambda service: 77 if service == "sshd" else None)
    monkeypatch.setattr(services.os, "kill", lambda pid, number: sent.append((pid, number)))
    assert notify("sshd", "reload") == "" and sent == [(77, signal.SIGHUP)]
    assert notify("rsyslog", "reload") == "" and len(sent) == 1, "it does not run"
    assert notify("systemd", "daemon-reload") == "" and programs.asked == []


def test_without_systemd_a_restart_is_the_init_scripts_or_a_persons(
    booted: set[str], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "running", lambda service: 77)
    monkeypatch.setattr(services.os, "access", lambda path, mode: False)
    assert notify("rsyslog", "restart").startswith("restart rsyslog (pid 77)")
    monkeypatch.setattr(
        services.os, "access", lambda path, mode: path == "/etc/init.d/rsyslog" and mode == os.X_OK
    )
    programs.answer("/etc/init.d/rsyslog", "restart")
    assert notify("rsyslog", "restart") == "" and len(programs.asked) == 1
