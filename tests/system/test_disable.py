"""An account that an administrator shuts out for a time, and lets in again."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import (
    QUIET,
    again,
    by_password,
    jail,
    open_with_key,
    ready,
    refused,
    session,
    shut,
    snapshot,
    works,
)

CERTIFIED = f"{QUIET}[profiles]\n[[sftponly]]\ntrusted_ca = /etc/ssh/ca.pub\n"
RECORD = "/var/lib/sftpjail/accounts/ann"


def last(machine: Machine) -> list[str]:
    """Return what the history says of the last transaction."""
    found = json.loads(machine.run("sftpjail", "--json", "history").out)["transactions"]
    return [item["what"] for item in max(found, key=lambda entry: int(entry["id"]))["what"]]


def stated(machine: Machine) -> tuple[str, str]:
    (found,) = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return found["state"], found["why"] or ""


def test_keys_passwords_and_certificates_are_shut_out_at_once(machine: Machine) -> None:
    machine.sh("ssh-keygen -q -t ed25519 -N '' -f /root/ca; cp /root/ca.pub /etc/ssh/ca.pub")
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, CERTIFIED)
    key = jail(machine, "ann", "-e", "2099-12-31")
    machine.sh("echo ann:pw | chpasswd")
    ticket = machine.keygen("ticket")
    machine.run("ssh-keygen", "-q", "-s", "/root/ca", "-I", "x", "-n", "ann", f"{ticket}.pub")
    before = machine.run("getent", "shadow", "ann").out
    works(machine, "ann", key)
    works(machine, "ann", ticket)
    assert by_password(machine, "ann") == 0
    whole = snapshot(machine)
    with session(machine, "ann", key, "/home/ann"):
        done = machine.run("sftpjail", "disable", "ann", "--reason", "left the company")
        assert "to let it in again: sftpjail enable ann" in done.out, done
        assert "ann has an open session, which continues" in done.err, done
        assert "fix: sftpjail disable --now ann" in done.err, done
        done = machine.run("sftpjail", "--json", "disable", "--now", "ann")
        assert json.loads(done.out)["ended"] > 0 and not json.loads(done.out)["changed"], done
        assert machine.sh("pgrep -u ann || :").out == ""
    shut(machine, "ann", key)
    shut(machine, "ann", ticket)
    assert by_password(machine, "ann") != 0
    state, why = stated(machine)
    assert state == "disabled" and why.startswith("left the company, since 20"), why
    assert "left the company" in machine.run("sftpjail", "explain", "ann", check=False).out
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    again(machine, "sftpjail", "apply")
    assert "is disabled (left the company)" in refused(machine, "sftpjail", "remove", "ann")
    machine.run("sftpjail", "enable", "ann")
    assert machine.run("getent", "shadow", "ann").out == before
    works(machine, "ann", key)
    works(machine, "ann", ticket)
    assert by_password(machine, "ann") == 0
    assert stated(machine) == ("ok", "")
    assert snapshot(machine).keys() == whole.keys()
    assert machine.run("sftpjail", "enable", "ann").out.startswith("nothing to do")


@pytest.mark.halved
def test_until_a_date_and_taken_back(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "ann")
    refused(machine, "sftpjail", "disable", "ann", "--until", "2020-01-01", code=2)
    refused(machine, "sftpjail", "disable", "ann", "--until", "soon", code=2)
    machine.run("sftpjail", "disable", "ann", "--until", "2099-12-31")
    assert stated(machine)[1].endswith("until 2099-12-31")
    # The jail is looked after meanwhile, and that opens nothing.
    machine.run("umount", "/srv/sftp/ann/home/ann")
    machine.run("sftpjail", "apply")
    shut(machine, "ann", key)
    # The day has come.
    machine.sh(f"sed -i s/2099-12-31/2026-01-01/ {RECORD}; sftpjail apply")
    assert last(machine) == ["is let in again: it was disabled until 2026-01-01"]
    works(machine, "ann", key)
    assert stated(machine) == ("ok", "")
    machine.run("sftpjail", "disable", "ann")
    machine.run("sftpjail", "undo", "--yes")
    works(machine, "ann", key)
    machine.run("sftpjail", "undo")
    shut(machine, "ann", key)
    machine.run("sftpjail", "enable", "ann")
    assert last(machine) == ["is enabled again"]
    # An expiry of its own, also while it is shut out.
    machine.run("sftpjail", "set", "ann", "--expires", "2099-12-30")
    machine.run("sftpjail", "disable", "ann")
    machine.run("sftpjail", "set", "ann", "--expires", "2099-12-31")
    shut(machine, "ann", key)
    machine.run("sftpjail", "undo")
    assert "expires\t2099-12-30\n" in machine.run("sftpjail", "show", "ann").out
    # What expired by itself meanwhile is not ours to change.
    machine.sh("usermod -e 2001-01-01 ann")
    done = machine.run("sftpjail", "enable", "ann")
    assert "it expired on 2001-01-01" in done.err and "fix: chage -E -1 ann" in done.err, done
    shut(machine, "ann", key)
    assert machine.run("getent", "shadow", "ann").out.split(":")[7] == "11323"
    machine.run("sftpjail", "disable", "ann")
    machine.run("sftpjail", "remove", "--delete-account", "ann")
    assert not machine.exists(RECORD) and machine.sh("grep -c ^ann: /etc/passwd || :").out == "0\n"


def test_whom_somebody_else_lets_in_or_shuts_out(machine: Machine) -> None:
    """The day of an expiry, and what an administrator does with chage and usermod meanwhile."""
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine)
    key = jail(machine, "ann", "-p", "*")
    machine.run("sftpjail", "disable", "ann", "--until", "2099-12-31")
    # Shut out is no problem, and that PAM refuses it no other one.
    assert machine.run("sftpjail", "explain", "ann").out.endswith("0 problems\n")
    # An administrator lets it in: what we knew of it no longer holds ...
    machine.run("chage", "-E", "-1", "ann")
    works(machine, "ann", key)
    machine.run("sftpjail", "apply")
    assert last(machine) == ["is no longer noted as shut out by sftpjail"]
    again(machine, "sftpjail", "apply")
    assert "closed" not in machine.read(RECORD)
    # ... so that nothing of ours opens what is shut by usermod(8)'s own advice.
    machine.run("usermod", "-L", "-e", "1", "ann")
    machine.run("sftpjail", "apply")
    assert stated(machine) == ("expired", "it expired on 1970-01-02")
    assert "it expired on" in refused(machine, "sftpjail", "enable", "ann")
    shut(machine, "ann", key)
    # From the day on for PAM, and sshd alone lets it in on that day.
    machine.sh("usermod -p '*' ann; chage -E $(date -u +%F) ann")
    shut(machine, "ann", key)
    assert stated(machine)[0] == "expired"
    done = machine.run("sftpjail", "explain", "ann", check=False)
    assert done.code == 0 and "\n1 problem\n" in done.out, done
    machine.append("/etc/ssh/sshd_config.d/00-test.conf", "UsePAM no\n")
    machine.restart_sshd()
    works(machine, "ann", key)
    assert stated(machine) == ("ok", "")


def test_a_session_is_ended_and_another_one_may_begin(machine: Machine) -> None:
    ready(machine)
    machine.run("sftpjail", "add", "ann", "--expires", "2099-12-31", "--with", "adduser")
    machine.run("sftpjail", "add", "bob", "--expires", "2099-12-31")
    key, other = open_with_key(machine, "ann"), open_with_key(machine, "bob")
    for name in ("ann", "bob"):
        assert machine.run("getent", "shadow", name).out.split(":")[7] == "47481"
    refused(machine, "sftpjail", "add", "eve", "--expires", "2001-01-01", code=2)
    with session(machine, "ann", key, "/home/ann"), session(machine, "bob", other, "/home/bob"):
        done = json.loads(machine.run("sftpjail", "--json", "kick", "ann").out)
        assert done["ended"] > 0, done
        assert machine.sh("pgrep -u ann || :").out == "" != machine.sh("pgrep -u bob").out
    works(machine, "ann", key)
    assert machine.run("sftpjail", "kick", "ann").out == "ann has no session\n"


@pytest.mark.halved
def test_without_pam_and_without_a_line_in_shadow(machine: Machine) -> None:
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", "UsePAM no\n")
    ready(machine)
    key = jail(machine, "ann", "-p", "*")
    works(machine, "ann", key)
    machine.run("sftpjail", "disable", "ann")
    shut(machine, "ann", key)
    machine.run("sftpjail", "enable", "ann")
    works(machine, "ann", key)
    machine.run("sed", "-i", "/^ann:/d", "/etc/shadow")
    machine.run("sftpjail", "disable", "ann")
    assert "Match User ann" in machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf")
    shut(machine, "ann", key)
    again(machine, "sftpjail", "apply")
    machine.run("sftpjail", "enable", "ann")
    assert "Match User ann" not in machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf")
    works(machine, "ann", key)
