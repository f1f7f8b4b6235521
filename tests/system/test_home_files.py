"""Services of the host that obey files in homes: what an upload does there, and that check reports it."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail, ready, shut, works

pytestmark = pytest.mark.halved

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


def test_principals_that_a_client_uploads(machine: Machine) -> None:
    """The host trusts an authority: one of its certificates, for mallory, logs in as alice once she has said so."""
    machine.sh(
        "mkdir -p /root/keys; ssh-keygen -q -t ed25519 -N '' -f /root/keys/ca; "
        "cp /root/keys/ca.pub /etc/ssh/ca.pub; ssh-keygen -q -t ed25519 -N '' -f /root/keys/mallory; "
        "ssh-keygen -q -s /root/keys/ca -I mallory -n mallory /root/keys/mallory.pub"
    )
    ready(machine)
    key = jail(machine, "alice")
    whole = "TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedPrincipalsFile .ssh/principals\n"
    machine.write("/etc/ssh/sshd_config.d/05-ca.conf", whole)
    machine.stop_sshd()
    machine.start_sshd()
    machine.write("/root/principals", "mallory\n")
    shut(machine, "alice", "/root/keys/mallory")
    works(machine, "alice", key, "-mkdir .ssh", "put /root/principals .ssh/principals")
    works(machine, "alice", "/root/keys/mallory")
    done = machine.run("sftpjail", "check", check=False)
    what = "host: sshd obeys .ssh/principals of homes (/etc/ssh/sshd_config.d/05-ca.conf:2)"
    assert done.code == 3 and what in done.out, done
    # What it advises.
    machine.sh("mkdir /etc/ssh/principals && echo alice >/etc/ssh/principals/alice")
    own = "[profiles]\n[[sftponly]]\ntrusted_ca = /etc/ssh/ca.pub\nprincipals = /etc/ssh/principals/%u\n"
    machine.write(CONFIG, f"{QUIET}{own}")
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "check")
    shut(machine, "alice", "/root/keys/mallory")
    works(machine, "alice", key)


def test_known_hosts_that_a_client_uploads(machine: Machine) -> None:
    """A host that users may come from without a key: one whose key the host does not know, but alice's file does."""
    ready(machine)
    key = jail(machine, "alice")
    machine.write("/etc/ssh/sshd_config.d/50-hosts.conf", "HostbasedAuthentication yes\n")
    machine.write("/etc/ssh/shosts.equiv", "127.0.0.1\n")
    machine.append("/etc/ssh/ssh_config", "\nHost *\n    EnableSSHKeysign yes\n")
    machine.stop_sshd()
    machine.start_sshd()
    argv = ("runuser", "-u", "alice", "--", "ssh", "-p", str(machine.port), "-oBatchMode=yes")
    ways = ("-oHostbasedAuthentication=yes", "-oPreferredAuthentications=hostbased")
    more = ("-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-s")
    other = (*argv, *ways, *more, "alice@127.0.0.1", "sftp")
    assert machine.run(*other, check=False, input="").code == 255
    machine.sh("for x in /etc/ssh/ssh_host_*.pub; do echo 127.0.0.1 $(cat $x); done >/root/known")
    works(machine, "alice", key, "-mkdir .ssh", "put /root/known .ssh/known_hosts")
    assert machine.run(*other, check=False, input="").code == 0
    done = machine.run("sftpjail", "check", check=False)
    what = "sshd obeys ~/.ssh/known_hosts (/etc/ssh/sshd_config.d/50-hosts.conf:1)"
    assert done.code == 3 and f"host: {what}" in done.out, done
    own = '[profiles]\n[[sftponly]]\nsshd_options = "HostbasedAuthentication no"\n'
    machine.write(CONFIG, f"{QUIET}{own}")
    machine.run("sftpjail", "setup")
    assert machine.run("sftpjail", "check").code == 0
    assert machine.run(*other, check=False, input="").code == 255
