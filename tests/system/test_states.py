"""The states that `list` can show, each made for real, and what a login then does."""

from __future__ import annotations

import json
import re

import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail, programs_of, ready, shut, works

DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
FIRST = "/etc/ssh/sshd_config.d/05-test.conf"
REREAD = "pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP $pid"

# The state; how it comes; how it goes; whether what changes is sshd's; what `show` says.
STATES = (
    ("expired", "chage -E 2001-01-01 ann", "chage -E -1 ann", False, "it expired on 2001-01-01"),
    ("locked", "chage -d 0 ann", "chage -d 2026-01-01 ann", False, "must change its password"),
    ("locked", "chage -d 2001-01-01 -M 9 ann", "chage -M -1 ann", False, "too old"),
    ("denied", f"echo DenyUsers ann >{FIRST}", f"rm {FIRST}", True, "DenyUsers ann"),
    ("denied", f"echo AllowGroups bob root >{FIRST}", f"rm {FIRST}", True, "AllowGroups"),
    (
        "open",
        f"printf 'Match User a*\\n ChrootDirectory none\\n' >{FIRST}",
        f"rm {FIRST}",
        True,
        "no Match block",
    ),
    (
        "open",
        f"printf 'Match Group ann\\n AllowTcpForwarding yes\\n' >{FIRST}",
        f"rm {FIRST}",
        True,
        "allowtcpforwarding yes",
    ),
    ("open", f"mv {DROPIN} /root/dropin", f"mv /root/dropin {DROPIN}", True, "no Match block"),
    ("open", "usermod -u 4711 ann", "usermod -u 1000 ann", False, "made for uid 1000"),
    ("closed", "chmod g+w /srv/sftp/ann", "chmod g-w /srv/sftp/ann", False, "/srv/sftp/ann "),
    (
        "closed",
        "usermod -u 4711 ann; sftpjail apply || :",
        "usermod -u 1000 ann; sftpjail apply",
        False,
        "may be another person's",
    ),
    (
        "keyless",
        "mv /etc/ssh/authorized_keys/ann /root/kept",
        "mv /root/kept /etc/ssh/authorized_keys/ann",
        False,
        "no key",
    ),
    (
        "keyless",
        "sed -i.kept 's/^/expiry-time=\"20200101\" /' /etc/ssh/authorized_keys/ann",
        "cd /etc/ssh/authorized_keys; mv ann.kept ann",
        False,
        "that has not expired",
    ),
    ("keyless", f"echo PubkeyAuthentication no >{FIRST}", f"rm {FIRST}", True, "wants more"),
    ("keyless", f"echo AuthenticationMethods password >{FIRST}", f"rm {FIRST}", True, "wants more"),
    (
        "incomplete",
        "umount /srv/sftp/ann/home/ann",
        "sftpjail apply",
        False,
        "/home/ann is not mounted",
    ),
    ("unknown", f"echo Nonsense >{FIRST}", f"rm {FIRST}; {REREAD}", False, "sshd refuses"),
)


def state(machine: Machine, name: str) -> tuple[str, str]:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return next((jail["state"], jail["why"] or "") for jail in jails if jail["user"] == name)


@pytest.mark.halved
def test_each_state_is_what_a_login_meets(machine: Machine, thorough: bool) -> None:
    ready(machine)
    key = jail(machine, "ann")
    jail(machine, "bob")
    assert state(machine, "ann") == ("ok", "")
    works(machine, "ann", key)
    seen = set()
    for word, make, undo, of_sshd, reason in STATES:
        if word in seen and not thorough:
            continue
        seen.add(word)
        machine.sh(make)
        if of_sshd:
            machine.restart_sshd()
        found, why = state(machine, "ann")
        assert (found, reason in why) == (word, True), (make, found, why)
        if reason == "no Match block" and "Match User" in make:
            assert machine.sftp("ann", key, ["ls /etc/passwd"]).code == 0, "out of her jail"
        elif word == "incomplete":
            assert machine.sftp("ann", key, ["pwd"]).code == 0, make
        elif word not in ("open", "unknown"):  # the running sshd knows nothing of the latter
            shut(machine, "ann", key)
        if thorough:
            assert why in machine.run("sftpjail", "show", "ann").out
            said = machine.run("sftpjail", "--json", "check", check=False).out
            about = {problem["about"] for problem in json.loads(said)["problems"]}
            assert about & {"ann", "host"}, (make, said)
        machine.sh(undo)
        if of_sshd:
            machine.restart_sshd()
        machine.wait_for("/run/sshd.pid", r"\d")
        assert state(machine, "ann") == ("ok", ""), undo
    works(machine, "ann", key)


@pytest.mark.halved
def test_what_the_running_sshd_has_not_read_is_not_said_of_it(machine: Machine) -> None:
    """It goes by the files that it has read: with those that came since a jail may be open or not."""
    ready(machine)
    key = jail(machine, "ann")
    machine.sh(f"mv {DROPIN} /root/dropin")
    machine.restart_sshd("-o", "AuthorizedKeysFile=/etc/ssh/authorized_keys/%u")
    machine.sh(f"cp -a /root/dropin {DROPIN}")
    assert machine.ssh("ann", key, "true").code != 255, "out of her jail"
    found, why = state(machine, "ann")
    assert found == "unknown" and f"has not read {DROPIN} since it was changed" in why, why
    assert 'state="unknown"} 1' in machine.run("sftpjail", "metrics").out
    machine.run("sftpjail", "setup")
    works(machine, "ann", key)
    assert state(machine, "ann") == ("ok", "")
    # Shut out by a line that it has not read, she is still let in.
    machine.write(FIRST, "DenyUsers ann\n")
    assert state(machine, "ann")[0] == "unknown"
    works(machine, "ann", key)
    machine.sh(REREAD)
    machine.wait_for("/run/sshd.pid", r"\d")
    assert state(machine, "ann")[0] == "denied"
    shut(machine, "ann", key)


@pytest.mark.halved
def test_a_key_file_that_is_none_hides_no_other_jail(machine: Machine) -> None:
    ready(machine)
    ann = jail(machine, "ann")
    jail(machine, "bob")
    machine.sh("cd /etc/ssh/authorized_keys; rm bob; mkdir bob")
    assert states(machine) == {"ann": "ok", "bob": "keyless"}
    found = machine.run("sftpjail", "metrics").out
    assert 'state="ok"} 1' in found and 'collector_success{collector="keys"} 1' in found, found
    for command in ("review", "export"):
        assert "ann" in machine.run("sftpjail", command).out, command
    works(machine, "ann", ann)


@pytest.mark.halved
def test_list_looks_at_each_path_of_an_account_once(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    for kind, most in (("fstab", 4), ("session", 6)):
        machine.write(CONFIG, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = {kind}\n")
        machine.run("sftpjail", "apply")
        assert state(machine, "ann") == ("ok", "")
        machine.run("strace", "-f", "-e", "trace=%file", "-o", "/run/calls", "sftpjail", "list")
        calls = re.findall(r'(\w+\(.*"/[^"]*/ann".*)\) = ', machine.read("/run/calls"))
        calls = [re.sub(r"\{.*?\}", "", call) for call in calls]
        assert len(set(calls)) == len(calls) <= most, calls


@pytest.mark.halved
def test_list_asks_sshd_once_for_all_who_are_alike(machine: Machine) -> None:
    ready(machine)
    machine.sh("for n in 1 2 3 4 5 6; do useradd -M -G sftponly u$n; done; groupadd other")
    few = programs_of(machine, "sftpjail", "list")
    assert sum(bool(re.search(r"/sshd$", program)) for program in few) == 1, few
    machine.sh("for n in 7 8 9; do useradd -M -G sftponly u$n; done")
    assert programs_of(machine, "sftpjail", "list") == few
    machine.write(FIRST, "Match User u1\n PermitTTY yes\nMatch Group other\n X11Forwarding yes\n")
    machine.run("usermod", "-aG", "other", "u2")
    machine.restart_sshd()
    more = programs_of(machine, "sftpjail", "list")
    assert sum(program.endswith("/sshd") for program in more) == 3, "u1, u2, and all others"
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    assert {jail["user"] for jail in jails if jail["state"] == "open"} == {"u1", "u2"}
    assert {jail["state"] for jail in jails} == {"open", "keyless"}


# What sshd says then, and who is kept out: whoever has the gid is in sftponly, and nobody in alias.
OF_ALIAS = (
    ("AllowGroups alias", True),
    ("DenyGroups alias", False),
    ("AllowGroups sftponly", False),
    ("DenyGroups sftponly", True),
    ("Match Group alias\n ChrootDirectory none\n ForceCommand internal-sftp", False),
)


@pytest.mark.halved
def test_members_by_a_second_name_of_the_groups_gid(machine: Machine) -> None:
    """sshd has one name for a gid, the first; by which group an account has it is all the same."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine)
    machine.sh("echo alias:x:$(getent group sftponly | cut -d: -f3):dan >>/etc/group")
    machine.sh("useradd -m dan; useradd -m -g alias eve; useradd -m gil; usermod -g alias gil")
    assert {"eve"} <= states(machine).keys(), "the hook of useradd"
    machine.run("sftpjail", "apply")
    keys = {name: jail_key(machine, name) for name in ("dan", "eve", "gil")}
    assert states(machine) == dict.fromkeys(keys, "ok")
    for lines, out in OF_ALIAS:
        machine.write(FIRST, f"{lines}\n")
        machine.restart_sshd()
        for name, key in keys.items():
            if out:
                shut(machine, name, key)
            else:
                works(machine, name, key)
        assert states(machine) == dict.fromkeys(keys, "denied" if out else "ok"), lines
    machine.run("rm", FIRST)
    machine.sh("sed -i '/^alias:/{h;d}' /etc/group; sed -i '1i alias:x:0:' /etc/group")
    machine.sh('gid=$(getent group sftponly | cut -d: -f3); sed -i "1s/:0:/:$gid:dan/" /etc/group')
    machine.restart_sshd()
    assert states(machine) == dict.fromkeys(keys, "open"), "sshd knows nobody as of sftponly"
    machine.sh("useradd -m -g alias hal", check=False)
    assert states(machine)["hal"] == "closed", "the hook of useradd"
    machine.run("sftpjail", "apply", check=False)
    assert set(states(machine).values()) == {"closed"}
    for name, key in keys.items():
        shut(machine, name, key)


def states(machine: Machine) -> dict[str, str]:
    """What `list` says of each jail."""
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return {one["user"]: one["state"] for one in jails}


def jail_key(machine: Machine, name: str) -> str:
    """A key of somebody who is jailed already."""
    key = machine.keygen(name)
    machine.run("sftpjail", "key", "add", name, f"{key}.pub")
    return key
