"""Who is shut out because the account should be jailed and cannot be, and how it gets in again."""

from __future__ import annotations

import json

import pytest
from directory import Directory
from machine import Machine, changes
from steps import (
    QUIET,
    again,
    by_password,
    jail,
    killed,
    mounted,
    open_with_key,
    ready,
    refused,
    shut,
    snapshot,
    works,
)

pytestmark = pytest.mark.halved

IN_HOME = f"[profiles]\n[[sftponly]]\nchroot = %h\n{QUIET}"


def expiry(machine: Machine, name: str) -> str:
    return machine.run("getent", "shadow", name).out.split(":")[7]


def record(machine: Machine, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(machine.read(f"/var/lib/sftpjail/accounts/{name}"))
    return found


def keyed(machine: Machine, name: str) -> str:
    """A key for an account that has no jail to add it to."""
    key = f"/root/keys/{name}"
    if not machine.exists(key):
        machine.keygen(name)
    machine.write(f"/etc/ssh/authorized_keys/{name}", machine.read(f"{key}.pub"), 0o644)
    return key


def test_an_account_whose_home_is_the_systems_is_shut_out(machine: Machine) -> None:
    """Chrooted into /etc she would read the host's files: sshd has nothing against that."""
    ready(machine, IN_HOME)
    done = machine.run("useradd", "-M", "-d", "/etc", "-e", "2099-12-31", "-G", "sftponly", "eve")
    assert (
        "cannot become its jail" in done.err and "eve is shut out until this is fixed" in done.err
    ), done
    key = keyed(machine, "eve")
    shut(machine, "eve", key)
    machine.run("usermod", "-e", "2099-12-31", "eve")
    assert machine.sftp("eve", key, "ls -1 /ssh").code == 0, "what it is good for: sshd lets her in"
    said = machine.run("sftpjail", "check", "eve", check=False)
    assert said.code == 3 and "sshd lets eve in" in said.out, said
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "eve is shut out until this is fixed" in done.err, done
    shut(machine, "eve", key)
    assert expiry(machine, "eve") == "1"
    closed = record(machine, "eve")["closed"]
    assert isinstance(closed, dict) and (closed["by"], closed["until"]) == ("apply", "jail"), closed
    before = snapshot(machine)
    machine.run("sftpjail", "apply", check=False)
    assert changes(before, snapshot(machine)) == {}
    assert machine.run("sftpjail", "list").out.split()[-1] == "closed"
    assert "is a directory of the system" in machine.run("sftpjail", "show", "eve").out
    for command in ("check", "explain"):
        said = machine.run("sftpjail", command, "eve", check=False)
        words = " ".join(said.out.split())
        assert said.code == 3 and "eve is shut out until this is fixed" in words, said
        assert "usermod -e" not in words, "that would let her in"
    # The command that check names is enough.
    said = machine.run("sftpjail", "check", "eve", check=False)
    machine.sh(
        next(line.removeprefix("  fix: ") for line in said.out.splitlines() if "mkhomedir" in line)
    )
    assert (
        machine.run("date", "-d", f"1970-01-01 {expiry(machine, 'eve')} days", "+%F").out
        == "2099-12-31\n"
    )
    machine.sftp("eve", key, "put /etc/hostname proof", check=True)
    assert "closed" not in record(machine, "eve")
    assert machine.run("sftpjail", "list").out.split()[-1] == "ok"
    again(machine, "sftpjail", "apply")


def test_another_ones_jail_and_an_expiry_that_is_over(machine: Machine) -> None:
    ready(machine, IN_HOME)
    bob = jail(machine, "bob")
    machine.sh("useradd -M -d /home/bob -e 2001-01-01 eve; gpasswd -a eve sftponly")
    key = keyed(machine, "eve")
    done = machine.run("sftpjail", "apply", check=False)
    assert "eve is shut out until this is fixed: the home /home/bob of eve" in done.err, done
    assert expiry(machine, "eve") == "11323"
    shut(machine, "eve", key)
    assert "bob:" not in done.err, "bob keeps his jail, whoever else is said to be at home in it"
    machine.sftp("bob", bob, "put /etc/hostname proof", check=True)
    machine.sh("gpasswd -d eve sftponly; usermod -d /home/eve eve")
    machine.run("sftpjail", "apply", "--prune", "--yes")
    assert expiry(machine, "eve") == "11323" and not machine.exists(
        "/var/lib/sftpjail/accounts/eve"
    )


# What is nobody's jail, and what `mount` refuses as well.
OTHERS = {"in-home": "/var/log", "bind": "/home/carl"}
MORE = {
    "in-home": ("/", "/etc", "/home", "/home/bob", "/home/carl", "/data", "/srv", "/usr/lib"),
    "bind": ("/", "/home", "/etc", "/home/bob", "/srv", "/srv/sftp", "/var/lib"),
}


@pytest.mark.halved
@pytest.mark.parametrize("form", OTHERS)
def test_a_home_that_is_not_its_own_gives_nothing_away(
    machine: Machine, form: str, thorough: bool
) -> None:
    """By useradd, usermod, adopt and add: no login, and no printed command makes it the account's."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine, {"in-home": IN_HOME, "bind": QUIET}[form])
    bob = jail(machine, "bob")
    machine.sh("useradd -m carl; mkdir -p /data/x; echo 1 >/data/x/secret")
    for home in (OTHERS[form], *(MORE[form] if thorough else ())):
        before = machine.sh(f"stat -c %U:%G:%a {home} {home}/files || :").out
        done = machine.run("useradd", "-M", "-d", home, "-G", "sftponly", "eve")
        assert f"of eve {OUTCOME[form]}" in done.err, done
        shut(machine, "eve", keyed(machine, "eve"))
        assert_only_a_home_of_its_own(machine, "eve")
        machine.run("userdel", "eve")
        done = machine.run("sftpjail", "add", "eve", "--", "-d", home, check=False)
        assert done.code == 1 and f"of eve {OUTCOME[form]}" in done.err, done
        assert machine.run("getent", "passwd", "eve", check=False).out == ""
        machine.run("useradd", "-M", "-d", home, "eve")
        done = machine.run("sftpjail", "adopt", "eve", check=False)
        assert done.code == 1 and f"of eve {OUTCOME[form]}" in done.err, done
        assert "sftponly" not in machine.run("id", "eve").out
        machine.run("userdel", "eve")
        if home == "/home/bob":
            continue
        machine.run("usermod", "-d", home, "bob")
        done = machine.run("sftpjail", "apply", check=False)
        assert done.code == 1 and f"of bob {OUTCOME[form]}" in done.err, done
        if form == "in-home":
            shut(machine, "bob", bob)
        else:  # he keeps his jail as it was
            listed = machine.run("sftpjail", "list").out
            assert listed.split("\n", 1)[0].endswith("\tincomplete"), listed
            seen = machine.sftp("bob", bob, ["ls -1 /", "-ls -1 /home"]).out.split()
            assert {"/home"} < {*seen} and not {"/home/carl", "/etc"} & {*seen}, seen
        assert_only_a_home_of_its_own(machine, "bob")
        machine.run("usermod", "-d", "/home/bob", "bob")
        machine.run("sftpjail", "apply")
        works(machine, "bob", bob) if form == "bind" else machine.sftp(
            "bob", bob, "pwd", check=True
        )
        assert machine.sh(f"stat -c %U:%G:%a {home} {home}/files || :").out == before


OUTCOME = {"in-home": "cannot become its jail", "bind": "in its jail: "}


def assert_only_a_home_of_its_own(machine: Machine, name: str) -> None:
    """check and explain name the cause alone, and the command that gives the account a home."""
    problems = json.loads(machine.run("sftpjail", "--json", "check", name, check=False).out)[
        "problems"
    ]
    said = [problem for problem in problems if problem["about"] == name]
    assert len(said) == 1 and "the home" in said[0]["what"], problems
    commands = [said[0]["fix"], *(choice["command"] for choice in said[0]["choices"])]
    assert all(not word or word.startswith("usermod -d /home/") for word in commands), said
    explained = machine.run("sftpjail", "explain", name, check=False).out
    assert "the home" in " ".join(explained.split()), explained


def test_a_jail_that_shows_another_home_is_open(machine: Machine) -> None:
    """As an earlier version made it: it is not taken from whoever works in it, and check says so."""
    ready(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "eve")
    machine.sh("install -d -o root /data; usermod -d /data eve; sftpjail apply")
    machine.sh("useradd -M -d /data/bob bob; install -d -o bob /data/bob")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "/data is or holds the home of bob" in done.err, done
    said = machine.run("sftpjail", "--json", "check", "eve", check=False)
    found = [p for p in json.loads(said.out)["problems"] if "the home" in p["what"]]
    assert [problem["severity"] for problem in found] == ["open"], said
    machine.append("/etc/sftpjail/sftpjail.conf", "[mounts]\nallow = /data\n")
    machine.run("sftpjail", "apply")


def test_adduser_and_a_profile_that_changes(machine: Machine) -> None:
    """Who is in already is shut out as well, when the new profile cannot hold it."""
    ready(machine, IN_HOME)
    adduser = "adduser --quiet --disabled-password --comment '' --no-create-home --home /usr --ingroup sftponly eve"
    done = machine.sh(f"{adduser} 2>&1")
    assert "eve is shut out" in done.out, done
    key = open_with_key(machine, "eve")
    shut(machine, "eve", key)
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "apply")
    assert machine.sftp("eve", key, "pwd").code == 0 and expiry(machine, "eve") == ""
    machine.write("/etc/sftpjail/sftpjail.conf", IN_HOME)
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "eve is shut out" in done.err, done
    shut(machine, "eve", key)


def test_a_new_member_of_a_group_without_a_match_block(machine: Machine) -> None:
    """Its shell is one, and sshd knows nothing of a jail."""
    ready(machine)
    alice = jail(machine, "alice")
    machine.sh("rm /etc/ssh/sshd_config.d/10-sftpjail.conf; kill -HUP $(cat /run/sshd.pid)")
    done = machine.run("useradd", "-m", "-s", "/bin/sh", "-G", "sftponly", "eve")
    assert "no Match block" in done.err and "eve is shut out" in done.err, done
    key = machine.keygen("eve")
    machine.write("/home/eve/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
    assert machine.ssh("eve", key, "id").code == 255
    assert expiry(machine, "alice") == "", "who could log in goes on to; check says what is open"
    machine.run("sftpjail", "apply")
    works(machine, "eve", open_with_key(machine, "eve"))
    works(machine, "alice", alice)


def test_whom_guard_rails_protect_is_reported_and_not_shut_out(machine: Machine) -> None:
    ready(machine, IN_HOME)
    machine.sh("groupadd -f sudo; useradd -M -d /etc -G sudo,sftponly eve 2>/root/said")
    assert "will not jail eve: it is in the group sudo" in machine.read("/root/said")
    done = machine.run("sftpjail", "apply", check=False)
    assert "eve is skipped: it is in the group sudo" in done.err, done
    assert expiry(machine, "eve") == ""
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and "eve: is in a jail group" in said.out, said
    assert "sshd lets it into /etc" in said.out, said
    machine.sh(
        "gpasswd -d eve sudo; useradd -M -o -u 0 -d /etc -G sftponly toor; sftpjail apply || :"
    )
    done = machine.run("sftpjail", "apply", check=False, env={"SUDO_USER": "eve"})
    assert expiry(machine, "toor") == "", done
    refused(machine, "sftpjail", "setup", says="root would be locked out")


def test_a_killed_run_lets_nobody_in_and_loses_no_expiry(machine: Machine) -> None:
    """Both ways: while an account is shut out, and while it is let in again."""
    ready(machine, IN_HOME)
    machine.sh("useradd -m bob; useradd -M -d /etc -e 2099-12-31 eve")
    key = keyed(machine, "eve")
    machine.sh("for name in bob eve; do gpasswd -a $name sftponly; done")
    before = expiry(machine, "eve")
    killed(machine, "user-create", "sftpjail", "apply")  # by bob's jail
    assert expiry(machine, "eve") == "1", "it comes first"
    shut(machine, "eve", key)
    machine.run("sftpjail", "apply", check=False)
    assert expiry(machine, "eve") == "1" and not machine.exists("/var/lib/sftpjail/journal")
    machine.run("usermod", "-d", "/home/eve", "eve")
    machine.run("mkhomedir_helper", "eve")
    killed(machine, "user-create", "sftpjail", "apply")
    assert expiry(machine, "eve") == "1", "it comes last"
    shut(machine, "eve", key)
    machine.run("sftpjail", "apply")
    assert expiry(machine, "eve") == before
    assert machine.sftp("eve", key, "pwd").code == 0


def test_teardown_shuts_out_and_names_who_had_an_expiry(machine: Machine) -> None:
    ready(machine)
    keys = {name: jail(machine, name) for name in ("alice", "bob", "carl")}
    machine.sh("usermod -e 2099-12-31 bob; usermod -e 2001-01-01 carl")
    for name in keys:
        machine.write(
            f"/home/{name}/.ssh/authorized_keys", machine.read(f"{keys[name]}.pub"), 0o644
        )
    shadow = machine.read("/etc/shadow")
    done = machine.run("sftpjail", "teardown", "--close-accounts")
    assert "bob had an expiry: usermod -e 47481 bob" in done.err and "carl" not in done.err, done
    for name, key in keys.items():
        assert machine.ssh(name, key, "id").code == 255, name
    machine.run("sftpjail", "setup")
    machine.sh("for name in alice bob carl; do gpasswd -a $name sftponly; done; sftpjail apply")
    said = machine.run("sftpjail", "check", check=False)
    assert "alice: advice: alice is closed: its jail was taken away (by teardown)" in said.out, said
    for line in said.out.splitlines():
        if line.startswith("  choice: to let it in again: "):
            machine.sh(line.removeprefix("  choice: to let it in again: "))
    assert machine.read("/etc/shadow") == shadow.replace("::11323:", ":::"), "carl's was over"
    for name in keys:
        machine.run("sftpjail", "remove", name)
        assert (
            "closed"
            not in machine.run("cat", f"/var/lib/sftpjail/accounts/{name}", check=False).out
        )


def test_setup_and_teardown_give_back_every_byte(machine: Machine) -> None:
    """Also on a host with accounts of which passwd(5) knows nothing, and of one who was shut out and is not."""
    machine.sh("sed -i 's/^passwd:.*/& systemd/' /etc/nsswitch.conf; useradd -M -d /etc eve")
    machine.write("/etc/sftpjail/sftpjail.conf", IN_HOME)
    machine.start_sshd()
    before = machine.listing()
    machine.run("sftpjail", "setup")
    rule = machine.read("/etc/pam.d/sshd").splitlines()[2]
    assert " default=bad] pam_listfile.so " in rule and "/etc/sftpjail/closed" in rule
    machine.run("gpasswd", "-a", "eve", "sftponly")
    machine.run("sftpjail", "apply", check=False)
    assert expiry(machine, "eve") == "1"
    machine.run("sftpjail", "remove", "eve")
    machine.run("sftpjail", "teardown")
    assert changes(before, machine.listing()) == {}


def test_a_record_of_before_and_a_jail_that_was_shut_by_its_mode(machine: Machine) -> None:
    """As an earlier sftpjail left them: expired by its teardown, and a jail of another uid that nobody may enter."""
    ready(machine)
    alice, bob = jail(machine, "alice"), jail(machine, "bob")
    machine.sh("usermod -e 1 alice; chmod 700 /srv/sftp/bob")
    for name, fields in (
        ("alice", {"was": {"expire": ""}}),
        ("bob", {"owners": {"/srv/sftp/bob": [0, 0, 0o755]}}),
    ):
        old = record(machine, name)
        for field, value in fields.items():
            old[field] = {**old.get(field, {}), **value}  # type: ignore[dict-item]
        machine.write(f"/var/lib/sftpjail/accounts/{name}", json.dumps(old), 0o600)
    machine.run("sftpjail", "apply")
    works(machine, "bob", bob)
    assert machine.mode("/srv/sftp/bob") == "root:root 755"
    shut(machine, "alice", alice)
    assert "expired on 1970-01-02" in machine.run("sftpjail", "check", check=False).out
    machine.run("sftpjail", "remove", "alice")
    assert expiry(machine, "alice") == ""


# -- accounts without a line in shadow(5)


def extrausers(machine: Machine, use_pam: str) -> str:
    """Zoe, of whom /etc/passwd and /etc/shadow know nothing; her home is /etc. Returns her key."""
    machine.sh("sed -Ei 's/^(passwd|shadow):.*/\\1: files extrausers/' /etc/nsswitch.conf")
    machine.write("/var/lib/extrausers/passwd", "zoe:x:5000:100::/etc:/bin/sh\n")
    machine.write("/var/lib/extrausers/shadow", "zoe:*:20000:0:99999:7:::\n", 0o600)
    machine.write(
        "/etc/ssh/sshd_config", f"UsePAM {use_pam}\n" + machine.read("/etc/ssh/sshd_config")
    )
    assert machine.run("getent", "passwd", "zoe").out
    return keyed(machine, "zoe")


def moved(machine: Machine, home: str) -> None:
    machine.write("/var/lib/extrausers/passwd", f"zoe:x:5000:100::{home}:/bin/sh\n")


def test_who_has_no_line_in_shadow_is_on_a_list_that_pam_reads(machine: Machine) -> None:
    key = extrausers(machine, "yes")
    ready(machine, IN_HOME)
    alice = jail(machine, "alice")
    machine.run("useradd", "-m", "-s", "/bin/sh", "bob")
    bob = machine.keygen("bob")
    machine.write("/home/bob/.ssh/authorized_keys", machine.read(f"{bob}.pub"), 0o644)
    machine.sh("sed -i 's/^sftponly:.*/&,zoe/' /etc/group")
    assert machine.sftp("zoe", key, "ls -1 /ssh").code == 0, "what it is good for"
    done = machine.run("sftpjail", "apply", check=False)
    assert "zoe is shut out until this is fixed" in done.err, done
    assert (
        machine.read("/etc/sftpjail/closed") == "zoe\n"
        and machine.mode("/etc/sftpjail/closed") == "root:root 644"
    )
    shut(machine, "zoe", key)
    machine.sftp("alice", alice, "put /etc/hostname proof", check=True)
    assert "uid=" in machine.ssh("bob", bob, "id").out
    before = snapshot(machine)
    machine.run("sftpjail", "apply", check=False)
    assert changes(before, snapshot(machine)) == {}
    said = machine.run("sftpjail", "check", check=False)
    assert "zoe is shut out" in said.out and "sed -i" not in said.out, said
    moved(machine, "/home/zoe")
    killed(machine, "user-create", "sftpjail", "apply")
    shut(machine, "zoe", key)
    machine.run("sftpjail", "apply")
    machine.sftp("zoe", key, "put /etc/hostname proof", check=True)
    assert not machine.exists("/etc/sftpjail/closed")
    again(machine, "sftpjail", "apply")
    # Whom our rules do not deny, they do not let in either.
    machine.sh(
        "sed -i '/nologin/d; s/^@include common-account/account sufficient pam_unix.so/' "
        "/etc/pam.d/sshd; usermod -e 1 bob"
    )
    assert machine.ssh("bob", bob, "id").code == 255
    machine.sh("usermod -e '' bob")
    assert "uid=" in machine.ssh("bob", bob, "id").out


def test_without_pam_it_is_a_match_block_that_no_hook_writes(machine: Machine) -> None:
    key = extrausers(machine, "no")
    ready(machine, IN_HOME)
    alice = jail(machine, "alice", "-p", "*")
    machine.sh("sed -i 's/^sftponly:.*/&,zoe/' /etc/group")
    before = machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf")
    done = machine.run("sftpjail", "hook", "useradd-post", "zoe", check=False)
    assert "zoe is NOT shut out" in done.err and "sftpjail setup" not in done.out, done
    assert machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf") == before
    assert machine.sftp("zoe", key, "ls -1 /ssh").code == 0, "what it is good for"
    done = machine.run("sftpjail", "apply", check=False)
    assert "zoe is shut out until this is fixed" in done.err, done
    assert "Match User zoe\n    DenyUsers *\n" in machine.read(
        "/etc/ssh/sshd_config.d/10-sftpjail.conf"
    )
    shut(machine, "zoe", key)
    machine.sftp("alice", alice, "put /etc/hostname proof", check=True)
    stays = snapshot(machine)
    machine.run("sftpjail", "apply", check=False)
    assert changes(stays, snapshot(machine)) == {}
    moved(machine, "/home/zoe")
    machine.run("sftpjail", "apply")
    assert machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf") == before
    machine.sftp("zoe", key, "put /etc/hostname proof", check=True)
    again(machine, "sftpjail", "apply")
    machine.run(
        "usermod", "-d", "/etc", "alice"
    )  # who has a line is expired here too, and sshd itself refuses
    machine.run("sftpjail", "apply", check=False)
    assert expiry(machine, "alice") == "1"
    shut(machine, "alice", alice)


@pytest.mark.directory
def test_who_comes_from_a_directory_is_on_the_list(machine: Machine, directory: Directory) -> None:
    """At the first login already, before sshd has chrooted anybody."""
    key = machine.keygen("ida")
    directory.add_group("people", 20000)
    directory.add_group("dirusers", 20002, "ida", "otto")
    directory.add_person("ida", 20010, gid=20000, home="/etc", keys=[machine.read(f"{key}.pub")])
    directory.add_person("otto", 20011, gid=20000, keys=[machine.read(f"{key}.pub")])
    config = (
        f"[profiles]\n[[dirusers]]\nchroot = %h\nkeys_command = {directory.keys_command}\n{QUIET}"
    )
    ready(machine, config)
    assert machine.sftp("ida", key, "ls -1 /ssh").code == 255
    machine.wait_for("/etc/sftpjail/closed", "^ida$")
    done = machine.run("sftpjail", "apply", check=False)
    assert "ida is shut out until this is fixed" in done.err, done
    assert machine.run("sftpjail", "list").out.split("\n")[0].split()[-1] == "closed"
    machine.sftp("otto", key, "put /etc/hostname proof", check=True)
    directory.set("ida", "homeDirectory", "/home/ida")
    directory.forget()
    shut(machine, "ida", key)
    machine.run("sftpjail", "apply")
    machine.sftp("ida", key, "put /etc/hostname proof", check=True)
    assert "ida" not in machine.run("cat", "/etc/sftpjail/closed", check=False).out
    assert mounted(machine) == []


@pytest.mark.directory
def test_a_second_name_of_a_directory_account_gets_round_nothing(
    machine: Machine, directory: Directory
) -> None:
    """SSSD answers to NAME@DOMAIN too, and sshd and PAM compare what was typed."""
    key, sssd = machine.keygen("ida"), directory.client == "sssd"
    directory.add_group("people", 20000)
    for number, name in enumerate(("ida", "otto"), 20010):
        directory.add_person(name, number, gid=20000)
        machine.sh(f"install -d -o {name} /home/{name}")
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, f"[profiles]\n[[sftponly]]\nmatch_user = ida,\n{QUIET}")

    def enters(name: str) -> bool:
        owner = name.partition("@")[0]
        machine.sh(f"""install -d -o {owner} /home/{owner}/.ssh
            install -o {owner} {key}.pub /home/{owner}/.ssh/authorized_keys""")
        return machine.ssh(name, key, "id", "-un").code == 0

    assert not enters("ida@example") and enters("otto")
    assert enters("otto@example") == sssd
    # Whose name is right has no right password yet, also where no rule denies at the end.
    machine.sh("sed -i 's/^@include common-auth/auth sufficient pam_unix.so/' /etc/pam.d/sshd")
    assert by_password(machine, "otto", word="wrong") != 0
    # Without the rule it would.
    machine.sh("sed -i '/pam-session name/d' /etc/pam.d/sshd")
    assert enters("ida@example") == sssd
    said = machine.run("sftpjail", "check", check=False)
    assert "a second name of ida, as the directory service has it, is let in" in said.err + said.out
    machine.run("sftpjail", "setup")
    assert not enters("ida@example")
    machine.run("sftpjail", "disable", "ida")
    assert not enters("ida") and not enters("ida@example") and enters("otto")
