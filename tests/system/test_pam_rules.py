"""PAM's own answer about an account, where a rule that sftpjail knows nothing of shuts it out."""

from __future__ import annotations

import json

import pytest
from machine import Machine, changes
from steps import jail, ready, shut, snapshot, works

pytestmark = pytest.mark.halved

# What an administrator puts into /etc/pam.d/sshd, and the addresses that are let in by it.
RULES = {
    "pam_access.so accessfile=/etc/security/jail.conf": ("10.0.0.9",),
    "pam_succeed_if.so quiet user != ann": (),
    "pam_shells.so": (),
}


@pytest.mark.parametrize("rule", RULES)
def test_explain_says_whom_a_rule_shuts_out(machine: Machine, rule: str) -> None:
    ready(machine)
    key = jail(machine, "ann")
    assert "lets it in" in machine.run("sftpjail", "explain", "ann").out
    machine.write("/etc/security/jail.conf", "-:ann:ALL EXCEPT 10.0.0.0/8\n")
    machine.sh("sed -i /nologin/d /etc/shells")
    machine.sh(f"sed -i '1iaccount required {rule}' /etc/pam.d/sshd")
    shut(machine, "ann", key)
    before = snapshot(machine)
    for address in ("127.0.0.1", "10.0.0.9", "2001:db8::1"):
        may = address in RULES[rule]
        done = machine.run("sftpjail", "explain", "--from", address, "ann", check=False)
        assert (done.code, "lets it in" in done.out) == (0 if may else 3, may), done
        assert (f"PAM does not let ann in from {address}" in " ".join(done.out.split())) != may
    assert changes(before, snapshot(machine)) == {}
    done = machine.run("sftpjail", "explain", "--from", "somewhere", "ann", check=False)
    assert done.code == 2 and "somewhere" in done.err
    machine.sh("sed -i 1d /etc/pam.d/sshd")
    works(machine, "ann", key)


def test_what_only_a_session_decides_is_unknown(machine: Machine) -> None:
    """pam_limits counts logins when a session opens, so that nobody knows before one."""
    ready(machine)
    key = jail(machine, "ann")
    assert "unknown" not in machine.run("sftpjail", "explain", "ann").out
    machine.write(
        "/etc/security/limits.d/few.conf", "# ann hard maxlogins 0\nann hard maxlogins 0\n"
    )
    shut(machine, "ann", key)
    found = json.loads(machine.run("sftpjail", "--json", "explain", "ann").out)
    (fact,) = [one for one in found["facts"] if "unknown" in one["value"]]
    assert fact["value"] == "unknown before a login" and not fact["bad"], fact
    assert "/etc/security/limits.d/few.conf:2" in fact["note"], fact
    done = machine.run(*fact["note"].rpartition("ask by ")[2].split(), check=False)
    assert done.code != 0, "a real login says what it is"
    machine.run("rm", "/etc/security/limits.d/few.conf")
    works(machine, "ann", key)
    assert "unknown" not in machine.run("sftpjail", "explain", "ann").out
