"""Services of the host that obey files in homes: what an upload does there, and that check reports it."""

from __future__ import annotations

from machine import Machine
from steps import jail, ready, works

SSHD = "/etc/pam.d/sshd"


def test_variables_of_a_home_reach_what_pam_runs_as_root(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "alice")
    assert machine.run("sftpjail", "check").code == 0
    machine.write("/root/variables", "LD_PRELOAD DEFAULT=/home/alice/x.so\n")
    machine.write("/usr/local/sbin/greet", "#!/bin/sh\n/usr/bin/env >>/root/seen\n", 0o755)
    machine.append(SSHD, "session required pam_env.so user_readenv=1\n")
    machine.append(SSHD, "session optional pam_exec.so /usr/local/sbin/greet\n")
    works(machine, "alice", key, "put /root/variables .pam_environment")
    works(machine, "alice", key)
    assert "LD_PRELOAD=/home/alice/x.so\n" in machine.read("/root/seen")
    done = machine.run("sftpjail", "check", check=False)
    what = "runs a program with the variables of ~/.pam_environment"
    assert done.code == 3 and f"host: pam_exec ({SSHD}:" in done.out and what in done.out, done


def test_files_that_say_who_may_log_in(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.sh(
        "printf 'HostbasedAuthentication yes\\nIgnoreRhosts no\\n' >/etc/ssh/sshd_config.d/50-hosts.conf"
    )
    machine.sh(f"sed -i '1i auth optional pam_rhosts.so' {SSHD}")
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3, done
    assert (
        "sshd obeys ~/.shosts and ~/.rhosts (/etc/ssh/sshd_config.d/50-hosts.conf:1)" in done.out
    ), done
    assert f"pam_rhosts ({SSHD}:1) obeys ~/.rhosts" in done.out, done


def test_a_web_server_that_serves_homes_is_advice(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.write(
        "/etc/apache2/mods-enabled/userdir.load", "LoadModule userdir_module mod_userdir.so\n"
    )
    done = machine.run("sftpjail", "check")
    assert (
        "Apache serves ~/public_html" in done.out and "1 jail checked, no problems" in done.out
    ), done
