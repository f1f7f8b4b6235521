"""Members from Active Directory, by a real domain controller: which names work, and who gets in when."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from domain import WORD, Domain
from machine import Machine, changes
from steps import by_password, refused, shut, snapshot, works

pytestmark = pytest.mark.samba

GROUP = "SFTP Users"
CONFIG = "[logs]\nbackend = none\n[profiles]\n[[customers]]\ngroup = sftp_users\n"
ONE = "[[one]]\nmatch_user = henry,\n"
# The cookbook's settings of smb.conf.
NAMES = ("winbind use default domain = yes", "winbind normalize names = yes")
# What changes when it is asked, and the homes, which stay when a jail goes.
ASKED = ("/var/lib/samba", "/var/lib/sss", "/var/lib/dc", "/etc/krb5", "/var/lib/sftpjail/seen")
SECOND = ("ALICE", "CORP\\alice", "alice@corp.example")


def states(machine: Machine) -> dict[str, str]:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return {jail["user"]: jail["state"] for jail in jails}


def fill(machine: Machine, domain: Domain, *people: str) -> str:
    """People in the group, and henry, who is in none. Returns a key that opens all of their jails."""
    domain.edit(people={**{name: [GROUP] for name in people}, "henry": []}, groups=[GROUP])
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    return machine.keygen("all")


def open_with(machine: Machine, key: str, names: Sequence[str]) -> None:
    """Also to those whom `key add` does not take."""
    for name in names:
        machine.run("install", "-m", "644", f"{key}.pub", f"/etc/ssh/authorized_keys/{name}")


def set_up(machine: Machine, config: str, code: int = 0) -> None:
    machine.write("/etc/sftpjail/sftpjail.conf", config)
    machine.start_sshd()
    assert machine.run("sftpjail", "setup", check=False).code == code


def enters(machine: Machine, name: str, word: str = WORD) -> bool:
    return by_password(machine, name, word=word) == 0


def test_names_from_winbind(machine: Machine, domain: Domain) -> None:
    key = fill(machine, domain, "alice", "John Doe", "BOB", "svc$", "max.power", "jürgen", "o'neil")
    domain.join(*NAMES)
    domain.start_winbind(*NAMES, "winbind expand groups = 1")
    assert domain.names("John Doe", "BOB", "jürgen", "svc$", *SECOND) == {
        **{"John Doe": "john_doe", "BOB": "bob", "jürgen": "jürgen", "svc$": "svc$"},
        **dict.fromkeys(SECOND, "alice"),
    }
    set_up(machine, CONFIG + ONE, code=1)  # it names those that get no jail
    good = ("alice", "john_doe", "bob", "svc$", "max.power", "henry")
    open_with(machine, key, [*good, "jürgen"])
    # Nobody has been here yet, and by a second name nobody's jail is made.
    for name in SECOND:
        shut(machine, name, key)
    assert not set(states(machine)) & {"ALICE", "alice", *SECOND}
    for name in good:
        works(machine, name, key)
        assert enters(machine, name), name
    shut(machine, "jürgen", key)
    assert states(machine) == {
        **dict.fromkeys(good, "ok"),
        **dict.fromkeys(("jürgen", "o'neil"), "closed"),
    }
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and said.out.endswith("2 problems\n"), said
    for name in ("jürgen", '"o\'neil"'):
        assert f"{name} is in the group sftp_users and gets no jail" in said.out, said
    for name in (*SECOND, "HENRY", "CORP\\henry", "henry@corp.example", "john doe"):
        assert not enters(machine, name), f"{name}: out of the jail by a password"
    for name in SECOND:
        shut(machine, name, key)
        if "\\" not in name:
            refused(machine, "sftpjail", "disable", name, says="is a second name of alice")
    for name in ("alice", "john_doe"):
        machine.run("sftpjail", "disable", name, "--reason", "left")
        shut(machine, name, key)
        assert not enters(machine, name) and states(machine)[name] == "disabled"
        machine.run("sftpjail", "enable", name)
        assert enters(machine, name), name
    assert "alice: 18 of 18 ok\n" in machine.run("sftpjail", "test", "alice").out
    machine.sh("sed -i '/^auth .*pam-session name/d' /etc/pam.d/sshd")
    said = machine.run("sftpjail", "check", check=False)
    assert "a second name of henry, as the directory service has it, is let in" in said.out, said


def test_accounts_that_winbind_says_nothing_of(machine: Machine, domain: Domain) -> None:
    """A password is judged by the domain controller; of a key it hears nothing."""
    key = fill(machine, domain, "alice", "dora", "eve", "pia", "luke")
    domain.join(*NAMES)
    domain.start_winbind(*NAMES, "winbind offline logon = yes")
    set_up(machine, CONFIG)
    people = ("alice", "dora", "eve", "pia", "luke")
    open_with(machine, key, people)
    for name in people:
        assert enters(machine, name)
    domain.edit("""sam.disable_account("(sAMAccountName=dora)")
sam.setexpiry("(sAMAccountName=eve)", -86400)
sam.setpassword("(sAMAccountName=pia)", "Secret-1", force_change_at_next_login=True)
sam.modify_ldif("dn: DC=corp,DC=example\\nchangetype: modify\\nreplace: lockoutThreshold\\nlockoutThreshold: 3\\n")
""")
    for _ in range(3):
        assert not enters(machine, "luke", "wrong")
    assert [name for name in people if enters(machine, name)] == ["alice"]
    for name in people:
        works(machine, name, key)  # as the manual says
    domain.stop_controller()
    before = snapshot(machine)
    works(machine, "alice", key)
    assert enters(machine, "alice"), "winbind offline logon"
    assert set(states(machine).values()) == {"ok"}
    machine.run("sftpjail", "check")
    domain.stop_winbind()
    shut(machine, "alice", key)
    said = machine.run("sftpjail", "check", check=False)
    assert "the directory service (winbind) does not answer; skipped: alice, dora" in said.out, said
    machine.sh("winbindd")
    domain.stop_winbind(forget=True)
    machine.sh("winbindd; until wbinfo -p; do sleep 0.05; done >/dev/null 2>&1")
    shut(machine, "alice", key)  # winbind says that there is no alice
    said = machine.run("sftpjail", "check", check=False)
    assert "has none of its accounts that are jailed here: alice, dora, eve" in said.out, said
    assert "belongs to no account" not in said.out and "mv " not in said.out, said
    done = machine.run("sftpjail", "apply", "--prune", check=False)
    assert done.code == 1 and "is the directory service down?" in done.err, done
    left = changes(before, snapshot(machine))
    assert [path for path in left if not path.startswith(ASKED)] == [], left
    domain.start_controller()
    machine.sh("smbcontrol winbindd online")
    machine.sh("until getent passwd alice; do sleep 0.2; done >/dev/null", timeout=90)
    works(machine, "alice", key)


def test_winbind_without_a_default_domain(machine: Machine, domain: Domain) -> None:
    r"""All names have the domain before them, and none is taken."""
    key = fill(machine, domain, "alice")
    domain.join()
    domain.start_winbind()
    typed = ("alice", *SECOND)
    found = {"alice": "", "ALICE": "", **dict.fromkeys(SECOND[1:], "CORP\\alice")}
    assert domain.names(*typed) == found
    machine.run("groupadd", "sftp_users")
    set_up(machine, CONFIG)
    machine.run("gpasswd", "-a", "CORP\\alice", "sftp_users")
    open_with(machine, key, ["CORP\\alice"])
    for name in typed:
        shut(machine, name, key)
        assert not enters(machine, name)
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and '"CORP\\\\alice" is in the group sftp_users' in said.out, said
    assert states(machine) == {"CORP\\alice": "closed"}


@pytest.mark.parametrize("full", [False, True])
def test_names_from_sssd(machine: Machine, domain: Domain, full: bool) -> None:
    """The cookbook's settings, and those of realm(8), where each name has its domain behind it."""
    key = fill(machine, domain, "alice", "John Doe", "BOB", "svc$", "jürgen", "dora")
    domain.join()
    end = "@corp.example" if full else ""
    domain.start_sssd(f"use_fully_qualified_names = {full}", "override_space = _")
    set_up(
        machine,
        CONFIG.replace("sftp_users", f"sftp_users{end}") + ONE.replace("henry", f"henry{end}"),
        code=1,
    )
    good = [f"{name}{end}" for name in ("alice", "john_doe", "bob", "dora", "henry")]
    bad = [f"jürgen{end}", *([f"svc${end}"] if full else ())]
    good += [] if full else ["svc$"]
    open_with(machine, key, [*good, *bad])
    for name in good:
        works(machine, name, key)
        assert enters(machine, name), name
    for name in bad:
        shut(machine, name, key)
    assert states(machine) == {**dict.fromkeys(good, "ok"), **dict.fromkeys(bad, "closed")}
    alice = f"alice{end}"
    for name in ("HENRY", "CORP\\henry", "henry@corp.example", *SECOND):
        if name not in good:
            assert not enters(machine, name), name
            shut(machine, name, key)
    domain.edit('sam.disable_account("(sAMAccountName=dora)")')
    assert not enters(machine, f"dora{end}")
    machine.run("sss_cache", "-E")
    shut(machine, f"dora{end}", key)  # unlike winbind, SSSD asks when its entry is old
    domain.stop_controller()
    works(machine, alice, key)
    assert enters(machine, alice), "cache_credentials"
    machine.run("sftpjail", "check", check=False)
    domain.stop_sssd(forget=True)
    shut(machine, alice, key)
