"""`watch` under load: 10,000 uploads by 20 accounts, while the log is rotated, the watcher killed, the host restarted."""

from __future__ import annotations

import subprocess
import time
from collections import Counter

import pytest
from machine import Machine
from steps import CONFIG, jail, ready
from watched import EVENTS, LOG, UNIT, prepare, put, told, until, uploads, wait_until_watching

PARTS = 5
CONFIGURED = "sed -i s,/run/told,/var/lib/told, /etc/sftpjail/hooks/*.d/tell"
KEPT = "mkdir /var/lib/told && chown hooks /var/lib/told"
KILLS = "kill -KILL $(cat /run/sftpjail/watch); : >/run/sftpjail/watch"


class Many:
    """Accounts that upload at the same time, and what happens meanwhile.

    Args:
        machine: set up; what scripts write is in /var/lib/told.
        accounts: how many.
        files: how many each of them uploads.
    """

    def __init__(self, machine: Machine, accounts: int = 20, files: int = 500) -> None:
        self.machine = machine
        self.keys = {f"u{number}": jail(machine, f"u{number}") for number in range(accounts)}
        self.files = [f"n{number}" for number in range(files)]
        self.began = time.monotonic()

    def start(self, part: int) -> list[subprocess.Popen[bytes]]:
        """Have all accounts upload a part of their files, and return the clients."""
        size = len(self.files) // PARTS
        batch = put(self.files[part * size : (part + 1) * size])
        running = []
        for name in self.keys:
            words = ["sftp", "-b", "-", *self.machine._client(self.keys[name], "-P")]
            argv = self.machine.argv(*words, f"{name}@127.0.0.1")
            client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert client.stdin
            client.stdin.write(("\n".join(batch) + "\n").encode())
            client.stdin.close()
            running.append(client)
        return running

    def judge(self, what: str) -> None:
        """Every upload was handed out, in the order of its account.

        Of one whose line the log daemon has lost, a gap of that account says so.
        """
        self.machine.sh("rm -rf /run/told; ln -s /var/lib/told /run/told")
        for name in self.keys:
            until(self.machine, name, f"/home/{name}/{self.files[-1]}", seconds=600)
        lost, repeated, gaps = 0, 0, Counter[str]()
        for name in (*self.keys, "nobody"):
            found = told(self.machine, name)
            gaps.update(one["reason"] for one in found if one["event"] == "gap")
            repeated += len(found) - len({one["id"] for one in found})
            if name in self.keys:
                paths = uploads(self.machine, name)
                wanted = [f"/home/{name}/{one}" for one in self.files]
                assert len(paths) == len(set(paths)), "a repetition that its id does not show"
                assert paths == [one for one in wanted if one in set(paths)], "the order"
                missing = [one for one in wanted if one not in set(paths)]
                lost += len(missing)
                why = [one["reason"] for one in found if one["event"] == "gap"]
                logged = self.machine.sh(
                    f"zcat -f {LOG}*; journalctl -q -t internal-sftp", check=False
                )
                for path in missing:
                    lines = [line for line in logged.out.splitlines() if f'"{path}"' in line]
                    assert why and not any("]: close" in line for line in lines), lines
        done = time.monotonic() - self.began
        print(f"{what}: {lost} lost, {repeated} repeated, gaps {dict(gaps)}, {done:.0f} s")
        aside = self.machine.run("sftpjail", "events").out
        assert lost <= len(self.keys) and bool(lost) == bool(gaps)
        assert aside == "no event was put aside\n"


def settings(backend: str) -> str:
    """A script that was killed with the watcher has failed, and is run again."""
    return EVENTS.replace("retries = 0", "retries = 2") + f"[logs]\nbackend = {backend}\n"


def keep(machine: Machine, backend: str) -> None:
    """A host on which what scripts write outlives a reboot."""
    prepare(machine)
    machine.write(CONFIG, settings(backend))
    machine.sh(f"{KEPT}; {CONFIGURED}")


def booted_with(booted: Machine, backend: str, accounts: int = 20, files: int = 500) -> None:
    """The watcher is killed twice, the log rotated five times; where it is much, the host is rebooted."""
    keep(booted, backend)
    booted.sh("echo MaxStartups 100 >/etc/ssh/sshd_config.d/x.conf; systemctl reload ssh")
    booted.run("sftpjail", "setup")
    many = Many(booted, accounts, files)
    for part in range(PARTS):
        running = many.start(part)
        if part % 2:
            booted.run("systemctl", "kill", "-s", "KILL", UNIT)
        if backend == "journald":
            booted.run("journalctl", "--rotate")
        else:
            booted.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
        assert [one.wait() for one in running] == [0] * len(many.keys)
        if part == 2 and files > 100:
            booted.reboot()
    many.judge(backend)


@pytest.mark.whole
@pytest.mark.booted
def test_ten_thousand_uploads_with_journald(booted: Machine) -> None:
    booted_with(booted, "journald")


@pytest.mark.whole
@pytest.mark.booted
def test_ten_thousand_uploads_with_rsyslog(booted: Machine) -> None:
    booted_with(booted, "rsyslog")


@pytest.mark.whole
@pytest.mark.booted
@pytest.mark.syslog_ng
def test_ten_thousand_uploads_with_syslog_ng(booted: Machine) -> None:
    if not booted.exists("/usr/sbin/syslog-ng"):
        pytest.skip("this root has no syslog-ng")
    booted_with(booted, "syslog-ng")


@pytest.mark.booted
@pytest.mark.syslog_ng
def test_a_hundred_uploads_with_syslog_ng(booted: Machine) -> None:
    if not booted.exists("/usr/sbin/syslog-ng"):
        pytest.skip("this root has no syslog-ng")
    booted_with(booted, "syslog-ng", 2, 50)


@pytest.mark.whole
def test_ten_thousand_uploads_without_systemd(machine: Machine) -> None:
    """The file of rsyslog, which is rotated as `create` and as `copytruncate` do it."""
    machine.start_rsyslog()
    keep(machine, "rsyslog")
    machine.sh("echo MaxStartups 100 >/etc/ssh/sshd_config.d/x.conf")
    ready(machine, settings("rsyslog"))
    machine.restart_rsyslog()
    many = Many(machine)
    watcher = subprocess.Popen(machine.argv("sftpjail", "watch"))
    wait_until_watching(machine)
    for part in range(PARTS):
        running = many.start(part)
        if part % 2:
            machine.sh(KILLS)
            watcher.wait()
        if part != 3:
            machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
        assert [one.wait() for one in running] == [0] * len(many.keys)
        if part == 3:  # when nobody writes: what comes between its copy and the end is gone
            machine.write("/run/copy", f"{LOG} {{\nrotate 12\ncopytruncate\ncompress\n}}\n")
            machine.run("logrotate", "-f", "-s", "/run/copied", "/run/copy")
        if part == 2:  # as in a reboot, nothing that runs outlives it
            machine.sh(f"kill -KILL $(cat /run/rsyslogd.pid); {KILLS}")
            watcher.wait()
            machine.restart_sshd()
            machine.start_rsyslog()
        if watcher.poll() is not None:
            watcher = subprocess.Popen(machine.argv("sftpjail", "watch"))
            wait_until_watching(machine)
    many.judge("rsyslog's file")
    machine.sh("kill $(cat /run/sftpjail/watch)")
    assert watcher.wait(30) == 0
