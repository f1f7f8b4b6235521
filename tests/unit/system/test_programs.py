"""The one door for programs: words, environment, time limits, and how daemons are told."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Programs

from sftpjail.errors import SftpJailError
from sftpjail.system import services
from sftpjail.system.listeners import Listener
from sftpjail.system.programs import Answer, must, run, stream
from sftpjail.system.services import notify
from sftpjail.system.signals import Interrupted, signals_raise


def test_words_of_a_program() -> None:
    assert Answer(1, "out", "a\nb\n").words == "a / b"
    assert Answer(1, "out\n", "").words == "out"
    assert (
        Answer(2, "", "x: no such option\nUsage: x [-a]\n  -a  all\n").words == "x: no such option"
    )
    assert Answer(2, "", "usage: x [-a]\n  -a  all\n").words == "usage: x [-a] /   -a  all"
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

    def test_what_is_written_without_end_is_kept_at_both_ends(self) -> None:
        script = "echo first; head -c 30000000 /dev/zero; echo; echo last; exit 3"
        answer = run(["sh", "-c", script], keep=1000)
        assert answer.code == 3 and len(answer.out) < 2100
        assert answer.out.startswith("first\n") and answer.out.endswith("\nlast\n")
        assert f"\n[{30000000 + 6 + 6 - 2000} bytes are left out]\n" in answer.out

    def test_little_is_kept_whole(self) -> None:
        answer = run(["sh", "-c", "printf abc; printf de >&2"], keep=2)
        assert (answer.out, answer.err) == ("ab" + "c", "de")

    def test_what_a_program_leaves_behind_is_not_waited_for(self) -> None:
        script = "sleep 60 & echo $!; echo said"
        answer = run(["sh", "-c", script], keep=1000)
        pid, said = answer.out.split()
        os.kill(int(pid), signal.SIGKILL)
        assert said == "said"

    def test_too_much_is_an_error_and_never_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sftpjail.system.outputs.MOST", 1000)
        with pytest.raises(SftpJailError, match="wrote more than"):
            run(["head", "-c", "1001", "/dev/zero"])
        assert len(run(["head", "-c", "1000", "/dev/zero"]).out) == 1000

    @pytest.mark.parametrize("patient", [True, False])
    def test_a_signal_meanwhile(self, patient: bool, tmp_path: Path) -> None:
        done = tmp_path / "done"
        script = f"kill -INT {os.getpid()}; sleep 0.2; kill -TERM {os.getpid()}; echo >{done}"
        with signals_raise(), pytest.raises(Interrupted, match="SIG(INT|TERM)"):
            run(["sh", "-c", script], patient=patient)
        assert done.exists() == patient

    def test_must(self) -> None:
        with pytest.raises(SftpJailError, match="sh -c echo no >&2; exit 3 failed: no"):
            must(["sh", "-c", "echo no >&2; exit 3"])


# -- telling daemons -----------------------------------------------------------------------------


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The directories of this host; none is that of a running systemd until a test says so."""
    directories: set[str] = set()
    monkeypatch.setattr(services.os.path, "isdir", lambda path: path in directories)
    monkeypatch.setattr(services, "listeners", list)
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


@pytest.mark.parametrize(
    ("enabled", "active", "told"), [(0, 3, True), (1, 3, False), (0, 0, False)]
)
def test_a_unit_that_has_failed_is_started_at_once(
    booted: set[str], programs: Programs, enabled: int, active: int, told: bool
) -> None:
    booted.add("/run/systemd/system")
    programs.answer("is-enabled", "--quiet", "x.service", code=enabled)
    programs.answer("is-active", "--quiet", "x.service", code=active)
    programs.answer("restart", "x.service")
    services.start_again("x.service")
    assert (("systemctl", "restart", "x.service") in programs.asked) == told
    asked = len(programs.asked)
    booted.clear()
    services.start_again("x.service")
    assert len(programs.asked) == asked, "no systemd"


@pytest.mark.parametrize("abstract", [False, True])
def test_who_waits_for_a_service_is_told_that_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    services.tell_ready()  # nobody waits
    name = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
    services.tell_ready()  # nobody is there any more
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        services.tell_ready()
        assert manager.recv(100) == b"READY=1"


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
    one = Listener(77, "/usr/sbin/sshd", (("f", "/etc/ssh/sshd_config"),), (("0.0.0.0", 22),))
    other = one._replace(pid=78, options=(("f", "/etc/other"),))
    broken = one._replace(pid=79, options=(("o", "Port=x"),))
    monkeypatch.setattr(services, "running", lambda service: 77 if service == "sshd" else None)
    monkeypatch.setattr(services, "listeners", lambda: [one, other, broken])
    monkeypatch.setattr(services, "_is_roots", lambda program: True)
    monkeypatch.setattr(services.os, "kill", lambda pid, number: sent.append((pid, number)))
    programs.answer("/usr/sbin/sshd", "-f/etc/ssh/sshd_config", "-t")
    programs.answer("/usr/sbin/sshd", "-oPort=x", "-t", code=255)
    assert notify("sshd", "reload") == "" and sent == [(77, signal.SIGHUP)]
    programs.asked.clear()
    monkeypatch.setattr(services.os, "access", lambda path, mode: False)
    assert notify("rsyslog", "reload") == "" and len(sent) == 1, "it does not run"
    assert notify("systemd", "daemon-reload") == "" and programs.asked == []


def test_without_systemd_the_init_script_or_a_person_restarts(
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


@pytest.mark.parametrize(("code", "failed"), [(0, False), (1, True), (-9, True)])
def test_a_program_that_a_signal_killed_has_failed(code: int, failed: bool) -> None:
    assert Answer(code, "", "").failed == failed


@pytest.mark.real_program
def test_output_goes_on_after_a_pause(tmp_path: Path) -> None:
    """The program waits for a word that comes in the pause, however busy the machine is."""
    go, pieces = tmp_path / "go", []
    os.mkfifo(go)
    for piece in stream(["sh", "-c", 'echo a; read _ <"$0"; echo b', str(go)], idle=0.01):
        pieces.append(piece)
        if not piece and go.exists():
            go.write_text("on\n")
            go.unlink()
    assert b"" in pieces and b"".join(pieces) == b"a\nb\n"
    with pytest.raises(SftpJailError, match="sh failed: no"):
        list(stream(["sh", "-c", "echo a; echo no >&2; exit 3"]))
