"""`watch` under load: 10,000 uploads by 20 accounts, while the log is rotated, the watcher killed, the host restarted."""

from __future__ import annotations

import subprocess
import time
from collections import Counter

import pytest
from machine import Machine
from steps import CONFIG, jail, ready
from watched import EVENTS, LOG, UNIT, prepare, put, told, until, uploads

ACCOUNTS = [f"u{number}" for number in range(20)]
FILES = [f"n{number}" for number in range(500)]
PARTS = 5
CONFIGURED = "sed -i s,/run/told,/var/lib/told, /etc/sftpjail/hooks/*.d/tell"
KEPT = "mkdir /var/lib/told && chown hooks /var/lib/told"


class Many:
    """Twenty accounts that upload at the same time, and what happens meanwhile.

    Args:
        machine: set up; what scripts write is in /var/lib/told.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.keys = {name: jail(machine, name) for name in ACCOUNTS}
        self.began = time.monotonic()

    def start(self, part: int) -> list[subprocess.Popen[bytes]]:
        """Have all accounts upload a part of their files, and return the clients."""
        size = len(FILES) // PARTS
        batch = put(FILES[part * size : (part + 1) * size])
        running = []
        for name in ACCOUNTS:
            words = ["sftp", "-b", "-", *self.machine._client(self.keys[name], "-P")]
            argv = self.machine.argv(*words, f"{name}@127.0.0.1")
            client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert client.stdin
            client.stdin.write(("\n".join(batch) + "\n").encode())
            client.stdin.close()
            running.append(client)
        return running

    def judge(self, what: str) -> None:
        """Every upload was handed out, in the order of its account, or a gap says that some were not."""
        self.machine.sh("rm -rf /run/told; ln -s /var/lib/told /run/told")
        for name in ACCOUNTS:
            until(self.machine, name, f"/home/{name}/{FILES[-1]}", seconds=600)
        lost, repeated, gaps = 0, 0, Counter[str]()
        for name in (*ACCOUNTS, "nobody"):
            found = told(self.machine, name)
            gaps.update(one["reason"] for one in found if one["event"] == "gap")
            repeated += len(found) - len({one["id"] for one in found})
            if name in self.keys:
                paths = uploads(self.machine, name)
                wanted = [f"/home/{name}/{one}" for one in FILES]
                assert len(paths) == len(set(paths)), "a repetition that its id does not show"
                assert paths == [one for one in wanted if one in set(paths)], "the order"
                lost += len(wanted) - len(paths)
        done = time.monotonic() - self.began
        print(f"{what}: {lost} lost, {repeated} repeated, gaps {dict(gaps)}, {done:.0f} s")
        aside = self.machine.run("sftpjail", "events").out
        assert lost == 0 and not gaps, aside
        assert aside == "no event lies aside\n"


def settings(backend: str) -> str:
    """A script that was killed with the watcher has failed, and is run again."""
    return EVENTS.replace("retries = 0", "retries = 2") + f"[logs]\nbackend = {backend}\n"


def keep(machine: Machine, backend: str) -> None:
    """A host on which what scripts write outlives a reboot."""
    prepare(machine)
    machine.write(CONFIG, settings(backend))
    machine.sh(f"{KEPT}; {CONFIGURED}")


def rebooted(booted: Machine, backend: str) -> None:
    """The whole of it under systemd: the watcher is killed twice, the log rotated five times."""
    keep(booted, backend)
    booted.sh("echo MaxStartups 100 >/etc/ssh/sshd_config.d/x.conf; systemctl reload ssh")
    booted.run("sftpjail", "setup")
    many = Many(booted)
    for part in range(PARTS):
        running = many.start(part)
        if part % 2:
            booted.run("systemctl", "kill", "-s", "KILL", UNIT)
        if backend == "journald":
            booted.run("journalctl", "--rotate")
        else:
            booted.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
        assert [one.wait() for one in running] == [0] * len(ACCOUNTS)
        if part == 2:
            booted.reboot()
    many.judge(backend)


@pytest.mark.whole
@pytest.mark.booted
def test_ten_thousand_uploads_with_journald(booted: Machine) -> None:
    rebooted(booted, "journald")


@pytest.mark.whole
@pytest.mark.booted
def test_ten_thousand_uploads_with_rsyslog(booted: Machine) -> None:
    rebooted(booted, "rsyslog")


@pytest.mark.whole
@pytest.mark.booted
@pytest.mark.syslog_ng
def test_ten_thousand_uploads_with_syslog_ng(booted: Machine) -> None:
    if not booted.exists("/usr/sbin/syslog-ng"):
        pytest.skip("this root has no syslog-ng")
    rebooted(booted, "syslog-ng")


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
    machine.wait_for("/run/sftpjail/watch", r"\d")
    for part in range(PARTS):
        running = many.start(part)
        if part % 2:
            machine.sh("kill -KILL $(cat /run/sftpjail/watch)")
            watcher.wait()
        if part != 3:
            machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
        assert [one.wait() for one in running] == [0] * len(ACCOUNTS)
        if part == 3:  # when nobody writes: what comes between its copy and the end is gone
            machine.write("/run/copy", f"{LOG} {{\nrotate 12\ncopytruncate\ncompress\n}}\n")
            machine.run("logrotate", "-f", "-s", "/run/copied", "/run/copy")
        if part == 2:  # as in a reboot, nothing that runs outlives it
            machine.sh("kill -KILL $(cat /run/rsyslogd.pid); kill -KILL $(cat /run/sftpjail/watch)")
            watcher.wait()
            machine.restart_sshd()
            machine.start_rsyslog()
        if watcher.poll() is not None:
            watcher = subprocess.Popen(machine.argv("sftpjail", "watch"))
            machine.wait_for("/run/sftpjail/watch", r"\d")
    many.judge("rsyslog's file")
    machine.sh("kill $(cat /run/sftpjail/watch)")
    assert watcher.wait(30) == 0
