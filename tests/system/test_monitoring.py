"""What watches hosts: the real node_exporter, promtool and Nagios are told of jails. With --all, in roots of their own."""

from __future__ import annotations

import re
import time

import pytest
from machine import Machine
from steps import jail, ready, running, works

pytestmark = pytest.mark.monitor
PROM = "/var/lib/prometheus/node-exporter/sftpjail.prom"
NAGIOS = "/run/nagios"
CONFIG = f"""\
log_file={NAGIOS}/log
cfg_dir={NAGIOS}/objects
status_file={NAGIOS}/status
status_update_interval=1
object_cache_file={NAGIOS}/cache
precached_object_file={NAGIOS}/precached
lock_file={NAGIOS}/lock
temp_file={NAGIOS}/temp
temp_path={NAGIOS}
check_result_path={NAGIOS}/results
state_retention_file={NAGIOS}/retention
command_file={NAGIOS}/commands
query_socket={NAGIOS}/socket
nagios_user=nagios
nagios_group=nagios
interval_length=2
"""
OBJECTS = """\
define command {
 command_name check_sftpjail
 command_line sudo sftpjail check --format nagios
}
define command {
 command_name true
 command_line /bin/true
}
define contact {
 contact_name root
 host_notification_commands true
 service_notification_commands true
}
define host {
 host_name here
 address 127.0.0.1
 check_command true
 max_check_attempts 1
 contacts root
}
define service {
 host_name here
 service_description sftpjail
 check_command check_sftpjail
 max_check_attempts 1
 check_interval 1
 retry_interval 1
 contacts root
}
"""


def until(machine: Machine, path: str, pattern: str) -> re.Match[str]:
    """What a file says, in time."""
    deadline = time.monotonic() + 60
    text = ""
    while time.monotonic() < deadline:
        text = machine.read(path) if machine.exists(path) else ""
        if found := re.search(pattern, text, re.DOTALL):
            return found
        time.sleep(0.3)
    raise AssertionError(f"no {pattern!r} in {text}")


def test_prometheus(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, f"[metrics]\nfile = {PROM}\n")
    machine.restart_rsyslog()
    key = jail(machine, "ann")
    machine.run(
        *("sftpjail", "key", "replace", "ann", "ann", f"{machine.keygen('new')}.pub"),
        *("--overlap", "7"),
    )
    machine.sh(r"""sed -i '$ s/ [^ ]*$/ of "ann" \\or\\another/' /etc/ssh/authorized_keys/ann""")
    machine.run("sftpjail", "metrics", "--write")
    works(machine, "ann", key, "put /etc/passwd")
    machine.wait_for("/var/log/sftp.log", 'close "/home/ann/passwd"')
    machine.run("sftpjail", "metrics", "--write")
    for options in ("", "--no-accounts"):
        done = machine.sh(f"sftpjail metrics {options} | promtool check metrics 2>&1")
        assert done.out == "", done
    rules = "/src/packaging/examples/prometheus-rules.yml"
    assert "5 rules found" in machine.run("promtool", "check", "rules", rules).out
    server = "setpriv", "--reuid=prometheus", "--clear-groups", "prometheus-node-exporter"
    with running(machine, *server):
        said = machine.sh(
            "for n in $(seq 100); do curl -fs http://127.0.0.1:9100/metrics && exit; sleep 0.2; done"
        ).out
    lines = said.splitlines()
    assert "node_textfile_scrape_error 0" in lines
    assert 'sftpjail_jails{state="ok"} 1' in lines
    size = machine.run("stat", "-c", "%s", "/etc/passwd").out.strip()
    (up,) = [line for line in lines if 'direction="upload",user="ann"' in line]
    assert int(float(up.split()[-1])) >= int(size), up
    expiries = [line for line in lines if line.startswith("sftpjail_key_expiry_timestamp_seconds{")]
    assert [r'key="of \"ann\" \\or\\another"' in line for line in expiries] == [True], expiries


def test_nagios(machine: Machine) -> None:
    machine.sh("rm -f /usr/sbin/exim4")  # which comes along, and trusts what lies in homes
    ready(machine)
    jail(machine, "ann")
    machine.sh(f"mkdir -p {NAGIOS}/objects {NAGIOS}/results")
    machine.write(f"{NAGIOS}/nagios.cfg", CONFIG)
    machine.write(f"{NAGIOS}/objects/all.cfg", OBJECTS)
    machine.write(
        "/etc/sudoers.d/nagios",
        "nagios ALL=(root) NOPASSWD: /usr/local/bin/sftpjail check --format nagios,"
        " /usr/bin/sftpjail check --format nagios\n",
        0o440,
    )
    machine.sh(f"chown -R nagios {NAGIOS}")
    with running(machine, "nagios4", f"{NAGIOS}/nagios.cfg"):
        status = f"{NAGIOS}/status"
        for state, words, figures in (
            (0, "SFTPJAIL OK - 1 jail checked, no problems", "open=0 broken=0 advice=0"),
            (2, "SFTPJAIL CRITICAL - ann: /srv/sftp can be written", "open=0 broken=1 advice=0"),
        ):
            pattern = (
                rf"servicestatus {{[^}}]*current_state={state}\n[^}}]*"
                rf"plugin_output={re.escape(words)}[^\n]*\n[^}}]*"
                rf"performance_data=jails=1 {figures}\n"
            )
            until(machine, status, pattern)
            machine.sh("chmod g+w /srv/sftp")
