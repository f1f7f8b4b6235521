"""Metrics: real transfers and failed logins, real log daemons and their rotation, and a file that others cannot lead astray."""

from __future__ import annotations

import exposition
import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail, ready, refused, works

pytestmark = pytest.mark.halved

LOG = "/var/log/sftp.log"
PROM = "/var/lib/node/sftpjail.prom"
WITH_FILE = f"[metrics]\nfile = {PROM}\n"
TIMER = "sftpjail-metrics.timer"


def told(machine: Machine, *options: str) -> exposition.Found:
    return exposition.read(machine.run("sftpjail", "metrics", *options).out.encode())


def moved(machine: Machine, name: str = "ann") -> tuple[int, int]:
    """The bytes up and down of an account."""
    found = told(machine, "--no-check")["sftpjail_transfer_bytes_total"][2]
    up, down = (found[("user", name), ("direction", way)] for way in ("upload", "download"))
    return up, down


def failed(machine: Machine, name: str = "ann") -> int:
    return told(machine, "--no-check")["sftpjail_failed_logins_total"][2][(("user", name),)]


def put(machine: Machine, key: str, name: str) -> None:
    """Upload 1000 bytes in one session, which the log daemon has written down."""
    machine.sh("head -c 1000 /dev/zero >/root/thousand")
    assert machine.sftp("ann", key, [f"put /root/thousand {name}"]).code == 0


def test_counters_over_sessions_and_rotation(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    assert moved(machine) == (0, 0) and failed(machine) == 0
    put(machine, key, "one")
    machine.sftp("ann", key, ["get one /root/back"])
    machine.wait_for(LOG, 'close "/home/ann/one" bytes read 1000')
    assert moved(machine) == (1000, 1000) == moved(machine)
    machine.sftp("ann", "/root/keys/none", ["pwd"])
    machine.wait_for("/var/log/auth.log", "authenticating user ann")
    assert failed(machine) == 1 == failed(machine)
    # What any user writes to the log of a host moves no counter of an account's.
    machine.sh(
        "setpriv --reuid=nobody --clear-groups logger -t internal-sftp"
        " 'close \"/x\" bytes read 5 written 5'"
    )
    put(machine, key, "two")
    machine.wait_for(LOG, 'close "/home/ann/two"')
    machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
    machine.restart_rsyslog()
    put(machine, key, "three")
    machine.wait_for(LOG, 'close "/home/ann/three"')
    assert moved(machine) == (3000, 1000)
    machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
    assert machine.exists(f"{LOG}.2.gz") and moved(machine) == (3000, 1000)
    # Lost state, and a lost log.
    machine.sh(f"rm {LOG}.1; echo '2020-01-01T00:00:00Z host x: y' >{LOG}")
    gaps = told(machine, "--no-check")["sftpjail_transfer_log_gaps_total"][2][()]
    assert gaps == 1 and moved(machine) == (3000, 1000)
    machine.sh("rm /var/lib/sftpjail/metrics")
    assert moved(machine) == (0, 0)


def test_the_file_and_who_is_in_its_way(machine: Machine) -> None:
    ready(machine, QUIET + WITH_FILE)
    jail(machine, "ann")
    # A directory that is somebody else's, as node_exporter's may be.
    machine.sh("mkdir -p /var/lib/node /root/theirs; chown nobody /var/lib/node")
    done = machine.run("sftpjail", "metrics", "--write")
    assert "no metrics of logins: no daemon writes a log" in done.err and done.out == ""
    assert machine.mode(PROM) == "root:root 644"
    found = exposition.read(machine.read(PROM).encode())
    assert found["sftpjail_jails"][2][(("state", "ok"),)] == 1
    assert found["sftpjail_collector_success"][2][(("collector", "logins"),)] == 0
    assert "sftpjail_transfer_bytes_total" not in found
    # A link of theirs is replaced, and what it leads to stays; one on the way is not followed.
    machine.sh(f"echo mine >/root/mine; rm {PROM}; ln -s /root/mine {PROM}")
    refused(machine, "sftpjail", "metrics", "--write", says=f"will not replace {PROM}")
    machine.sh(f"rm {PROM}; ln -s /root/theirs /var/lib/node/link")
    machine.sh("chown -h nobody /var/lib/node/link")
    refused(
        *(machine, "sftpjail", "metrics", "--output", "/var/lib/node/link/x.prom"),
        says="is a symbolic link",
    )
    refused(machine, "sftpjail", "metrics", "--output", "/dev/null", code=2, says="end in .prom")
    assert machine.run("ls", "-A", "/root/theirs").out == "" and machine.read("/root/mine")
    # What a killed run left goes, also where the next one cannot write, or writes another file.
    half = "/var/lib/node/.sftpjail.prom.sftpjail-new~"
    machine.sh(f"rm -f {PROM}; mkdir {PROM}; echo half >{half}")
    done = machine.run("sftpjail", "metrics", "--write", check=False)
    assert f"will not replace {PROM}" in done.err and not machine.exists(half), done
    machine.sh(f"rmdir {PROM}")
    machine.run("sftpjail", "metrics", "--write")
    machine.sh(f"echo half >{half}")
    # Another file of the configuration's: the old one goes, as does the last one at the end.
    machine.write(CONFIG, QUIET + WITH_FILE.replace("sftpjail.prom", "other.prom"))
    machine.run("sftpjail", "metrics", "--write")
    assert not machine.exists(PROM) and machine.exists("/var/lib/node/other.prom")
    assert not machine.exists(half)
    machine.sh("echo half >/var/lib/node/.other.prom.sftpjail-new~")
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert machine.run("ls", "-A", "/var/lib/node").out == "link\n"
    assert not machine.exists("/var/lib/sftpjail/metrics")


@pytest.mark.booted
def test_the_timer_and_the_journal(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-enabled", TIMER, check=False).out == "disabled\n"
    booted.sh("mkdir /var/lib/node")
    booted.write(CONFIG, "[logs]\nbackend = journald\n" + WITH_FILE)
    assert TIMER in booted.run("sftpjail", "check", check=False).out
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-active", TIMER).out == "active\n"
    key = jail(booted, "ann")
    booted.run("systemctl", "start", "sftpjail.service")
    booted.run("systemctl", "start", "sftpjail-metrics.service")
    found = exposition.read(booted.read(PROM).encode())
    assert found["sftpjail_apply_exit_code"][2] == {(): 0}
    assert found["sftpjail_apply_timestamp_seconds"][2][()] > 1_700_000_000
    assert set(found["sftpjail_collector_success"][2].values()) == {1}, found
    assert moved(booted) == (0, 0)
    put(booted, key, "one")
    booted.sh(
        "until journalctl -q -t internal-sftp | grep -q 'close \"/home/ann/one\"'; do sleep 0.1; done"
    )
    assert moved(booted) == (1000, 0) == moved(booted)
    booted.sftp("ann", "/root/keys/none", ["pwd"])
    booted.sh("until journalctl -q | grep -q 'authenticating user ann'; do sleep 0.1; done")
    assert failed(booted) == 1 == failed(booted)
    # The entry of the cursor is gone, and the counters go on.
    booted.sh("sleep 1; journalctl --rotate && journalctl --vacuum-time=1s && logger x")
    assert moved(booted) == (1000, 0)
    put(booted, key, "two")
    booted.sh(
        "until journalctl -q -t internal-sftp | grep -q 'close \"/home/ann/two\"'; do sleep 0.1; done"
    )
    assert moved(booted) == (2000, 0)
    booted.write(CONFIG, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "is-active", TIMER, check=False).out == "inactive\n"
    assert not booted.exists(PROM)
    works(booted, "ann", key)
