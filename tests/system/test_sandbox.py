"""The sandbox itself: everything in it is real, and nothing comes back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from machine import CommandFailed, Machine, changes

pytestmark = pytest.mark.halved


def run(*argv: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def groups() -> set[str]:
    """The control groups of booted sandboxes, on the whole machine."""
    script = "mount -t cgroup2 none /run && cd /run && ls -d sftpjail-sandbox.* 2>/dev/null"
    return set(run("unshare", "-m", "sh", "-c", script).stdout.split())


def processes(word: str) -> list[str]:
    return run("pgrep", "-f", word).stdout.split()


def test_nothing_comes_back(sandbox: Path) -> None:
    script = "touch /etc/made /src/made /usr/bin/made /tmp/made /run/made; rm /etc/passwd; mount -t tmpfs none /mnt"
    before = Path("/proc/self/mountinfo").read_text()
    assert run(sandbox, "sh", "-ec", script).returncode == 0
    assert Path("/proc/self/mountinfo").read_text() == before
    for directory in ("/etc", sandbox.parents[1], "/usr/bin", "/tmp", "/run"):
        assert not Path(directory, "made").exists()
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 7", 7), ("kill -TERM $$", 143)])
def test_exit_code_is_passed_on(sandbox: Path, script: str, code: int) -> None:
    assert run(sandbox, "sh", "-c", script).returncode == code


def test_streams_are_passed_through(sandbox: Path) -> None:
    done = run(sandbox, "sh", "-c", "cat; echo err >&2", input="in")
    assert (done.stdout, done.stderr) == ("in", "err\n")


def test_environment_is_clean_and_the_checkout_is_at_src(sandbox: Path) -> None:
    script = 'echo "$SECRET|$HOME|$PWD|$(hostname)"; ls tests'
    done = run(sandbox, "sh", "-c", script, env={**os.environ, "SECRET": "x"})
    assert done.stdout.startswith("|/root|/src|sandbox\n")
    assert "sandbox\n" in done.stdout


def test_network_is_private_and_has_a_loopback(bare_machine: Machine) -> None:
    assert bare_machine.sh("ls /sys/class/net").out.split() == ["lo"]
    assert "127.0.0.1" in bare_machine.sh("ip -4 address show up").out
    assert os.readlink(f"/proc/{bare_machine.pid}/ns/net") != os.readlink("/proc/self/ns/net")


def test_only_its_own_processes_are_seen(bare_machine: Machine) -> None:
    assert (
        bare_machine.sh("cat /proc/1/cmdline")
        .out.replace("\0", " ")
        .split()[1]
        .endswith("tests/sandbox")
    )
    assert len(bare_machine.sh("ls -d /proc/[0-9]*").out.split()) < 8


def test_what_is_left_running_dies_with_the_command(sandbox: Path) -> None:
    assert run(sandbox, "sh", "-c", "setsid sleep 4321 >/dev/null 2>&1 & sleep 0.1").returncode == 0
    assert processes("sleep 4321") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_everything(sandbox: Path, number: signal.Signals) -> None:
    argv = [str(sandbox), "sh", "-c", "setsid sleep 4322 >/dev/null & echo ready; sleep 4322"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(10) != 0
    process.stdout.close()
    deadline = time.monotonic() + 5  # SIGKILL leaves nobody who could wait for the rest
    while processes("sleep 4322") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes("sleep 4322") == []


def test_layer_lies_over_the_copy(sandbox: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "etc/layered").write_text("hello")
    assert run(
        sandbox, "--layer", tmp_path, "cat", "/etc/layered", "/etc/hostname"
    ).stdout.startswith("hello")
    assert not Path("/etc/layered").exists()


@pytest.mark.parametrize(
    "argv", [["--root", "nonesuch", "true"], ["--nonesuch"], [], ["--layer", "/nonesuch", "true"]]
)
def test_wrong_use_is_refused(sandbox: Path, argv: list[str]) -> None:
    done = run(sandbox, *argv)
    assert done.returncode in (2, 125)
    assert done.stderr


def test_a_machine_is_fresh(sandbox: Path) -> None:
    with Machine() as first:
        first.write("/etc/made", "x", 0o640)
        assert (first.read("/etc/made"), first.mode("/etc/made")) == ("x", "root:root 640")
    with Machine() as second:
        assert not second.exists("/etc/made")


def test_failed_and_endless_commands_say_so(bare_machine: Machine) -> None:
    with pytest.raises(CommandFailed, match="exit code 3\n--- out\nhello"):
        bare_machine.sh("echo hello; exit 3")
    with pytest.raises(CommandFailed, match="no end"):
        bare_machine.run("sleep", "4323", timeout=0.1)
    assert bare_machine.run("pgrep", "sleep", check=False).code == 1


def test_listing_tells_every_change(bare_machine: Machine) -> None:
    bare_machine.sh("mkdir /srv/a; echo 1 >/srv/a/file; ln -s file /srv/a/link")
    before = bare_machine.listing()
    assert changes(before, bare_machine.listing()) == {}
    bare_machine.sh(
        "cd /srv/a; echo 2 >file; ln -sf other link; chmod 700 .; touch new; chown games:adm new"
    )
    assert sorted(changes(before, bare_machine.listing())) == [
        "/srv/a",
        "/srv/a/file",
        "/srv/a/link",
        "/srv/a/new",
    ]
    assert bare_machine.listing("/srv/a/new")["/srv/a/new"][:4] == ("-", "games", "adm", "644")


def test_machine_has_sftpjail_and_a_bare_one_has_not(
    machine: Machine, bare_machine: Machine
) -> None:
    machine.sh("command -v sftpjail; python3 -c 'import sftpjail'")
    assert bare_machine.run("sh", "-c", "command -v sftpjail", check=False).code == 127
    bare_machine.install()
    assert changes(bare_machine.listing("/usr/bin"), machine.listing("/usr/bin")) == {}


def login(machine: Machine) -> None:
    machine.run("useradd", "-m", "alice")
    key = machine.keygen("alice")
    machine.write("/home/alice/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
    done = machine.sftp("alice", key, ["pwd", "put /etc/hostname sent"])
    assert done.code == 0, done
    assert "Remote working directory: /home/alice" in done.out
    assert machine.mode("/home/alice/sent").startswith("alice:alice")
    assert machine.ssh("alice", key, "id -un").out == "alice\n"


def test_login_through_a_real_sshd(bare_machine: Machine) -> None:
    bare_machine.start_sshd()
    login(bare_machine)
    bare_machine.restart_sshd()
    bare_machine.stop_sshd()
    assert bare_machine.ssh("alice", "/root/keys/alice", "true").code == 255


def log(machine: Machine) -> None:
    machine.run("logger", "-p", "auth.info", "-t", "probe", "first line")
    machine.wait_for("/var/log/auth.log", "probe.*first line")


def test_rsyslog_writes_logs(bare_machine: Machine) -> None:
    bare_machine.start_rsyslog()
    log(bare_machine)
    bare_machine.restart_rsyslog()
    bare_machine.run("logger", "-p", "auth.info", "-t", "probe", "second line")
    bare_machine.wait_for("/var/log/auth.log", "probe.*second line")


@pytest.mark.syslog_ng
def test_syslog_ng_writes_logs(bare_machine: Machine) -> None:
    if not bare_machine.exists("/usr/sbin/syslog-ng"):
        pytest.skip("this root has no syslog-ng")
    bare_machine.start_syslog_ng()
    log(bare_machine)
    bare_machine.restart_syslog_ng()
    bare_machine.run("logger", "-p", "auth.info", "-t", "probe", "second line")
    bare_machine.wait_for("/var/log/auth.log", "probe.*second line")


@pytest.mark.booted
def test_booted_machine_runs_its_services(sandbox: Path) -> None:
    with Machine(boot=True) as machine:
        group = re.findall(
            r"sftpjail-sandbox\.\w+", Path(f"/proc/{machine.pid}/cgroup").read_text()
        )[0]
        assert group in groups()
        assert machine.read("/proc/1/comm") == "systemd\n"
        assert machine.run("systemctl", "is-system-running").out == "running\n"
        assert machine.sh("ls /sys/class/net").out.split() == ["lo"]
        login(machine)
        log(machine)
        assert "first line" in machine.sh("journalctl --no-pager -t probe").out
    assert group not in groups()


@pytest.mark.booted
def test_booted_command(sandbox: Path) -> None:
    done = run(
        sandbox,
        "--boot",
        "sh",
        "-c",
        "systemctl is-system-running; cat; echo err >&2; exit 7",
        input="in",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("running\nin", "err\n", 7)
    done = run(sandbox, "--boot", "sleep", "4324", env={**os.environ, "SANDBOX_TIMEOUT": "0.1"})
    assert done.returncode == 124
