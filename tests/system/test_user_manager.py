"""Under systemd: no user manager for members, however it would be started; everybody else keeps theirs."""

from __future__ import annotations

import time

import pytest
from machine import Machine
from steps import jail, open_with_key, ready, works

from sftpjail.formats.user_managers import DIRECTORY, DROPIN, mark, script

MARK = "/home/{}/mark"
UNIT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'id -un >%h/mark; ls / >>%h/mark'
"""
# As a client would: a unit, and the link that every user manager follows.
UPLOAD = (
    *(
        f"-mkdir .config{path}"
        for path in ("", "/systemd", "/systemd/user", "/systemd/user/default.target.wants")
    ),
    "put /tmp/mark.service .config/systemd/user/mark.service",
    "-symlink ../mark.service .config/systemd/user/default.target.wants/mark.service",
)
FORGET = "loginctl terminate-user {0} 2>/dev/null; while loginctl show-user {0} >/dev/null 2>&1; do sleep 0.1; done"


def host(machine: Machine, members: tuple[str, ...] = ("alice",)) -> dict[str, str]:
    """A host that is set up, and the keys of its members and of bob, who is none and has SFTP as everybody."""
    machine.write("/etc/systemd/logind.conf.d/soon.conf", "[Login]\nUserStopDelaySec=1\n")
    machine.run("systemctl", "restart", "systemd-logind")
    machine.write("/tmp/mark.service", UNIT)
    machine.write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = none\n")
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-s", "/bin/sh", "bob")
    key = machine.keygen("bob")
    machine.sh(
        f"install -d -o bob /home/bob/.ssh; install -o bob -m 600 {key}.pub /home/bob/.ssh/authorized_keys"
    )
    keys = {"bob": key, **{name: jail(machine, name) for name in members}}
    machine.let_the_path_unit_apply()
    return keys


def uid(machine: Machine, name: str) -> int:
    return int(machine.run("id", "-u", name).out)


def state(machine: Machine, name: str) -> str:
    """What systemd says of a user manager: "active" or "inactive"."""
    return machine.run(
        "systemctl", "is-active", f"user@{uid(machine, name)}.service", check=False
    ).out.strip()


def begun(machine: Machine, number: int) -> tuple[int, int]:
    """How often systemd has started the user manager of a uid, and has refused to."""
    machine.run("journalctl", "--sync")
    said = machine.run(
        "journalctl", "--no-pager", "-o", "cat", "-u", f"user@{number}.service", check=False
    ).out
    refused = said.count("Skipped due to 'exec-condition'") + said.count("unmet condition check")
    return said.count(f"Started user@{number}.service"), refused


def started(machine: Machine, number: int) -> str:
    """What systemd does when somebody asks it for a user manager, as logind does: "active" or "inactive".

    Not what is up a moment later: logind ends one to which no session belongs.
    """
    before = begun(machine, number)
    machine.run("systemctl", "start", f"user@{number}.service", check=False)
    after = begun(machine, number)
    # With it goes the mark that a refusal leaves: each time the script is to judge.
    units = f"user@{number}.service", f"user-runtime-dir@{number}.service"
    machine.run("systemctl", "stop", *units, check=False)
    outcomes = {(1, 0): "active", (0, 1): "inactive"}
    return outcomes[after[0] - before[0], after[1] - before[1]]


def during_login(machine: Machine, name: str, key: str) -> str:
    """The same while a session for SFTP is open."""
    service = f"user@{uid(machine, name)}.service"
    asked = f"!sleep 1; systemctl is-active {service} | cat; loginctl list-sessions --no-legend"
    done = machine.sftp(name, key, [asked, "pwd"])
    assert done.code == 0, done
    owners = [line.split()[1] for line in done.out.splitlines() if f" {name} " in line]
    assert str(uid(machine, name)) in owners, "logind has the session"
    machine.sh(FORGET.format(name))
    return next(line for line in done.out.splitlines() if line in ("active", "inactive"))


def linger(machine: Machine, name: str, verb: str = "enable-linger") -> None:
    """From inside: of a process that came by nsenter, logind cannot tell whose it is."""
    machine.run("systemd-run", "--quiet", "--wait", "loginctl", verb, name)


def uploads(machine: Machine, name: str, key: str) -> bool:
    """Whether an uploaded unit runs at the login after."""
    mark = MARK.format(name)
    machine.run("rm", "-f", mark)
    assert machine.sftp(name, key, UPLOAD).code == 0
    machine.sh(FORGET.format(name))
    assert machine.sftp(name, key, ["!sleep 2", "pwd"]).code == 0
    machine.sh(FORGET.format(name))
    return machine.exists(mark)


def open_door(machine: Machine) -> None:
    """A host as an earlier sftpjail has left it."""
    machine.run("rm", "-r", DIRECTORY)
    machine.run("systemctl", "daemon-reload")


@pytest.mark.booted
def test_an_uploaded_unit_runs_no_more(booted: Machine) -> None:
    machine, keys = booted, host(booted)
    assert not uploads(machine, "alice", keys["alice"])
    assert uploads(machine, "bob", keys["bob"]), "who is no member keeps what everybody has"
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    tested = machine.run("sftpjail", "test", "alice").out
    assert "ok      no user manager: an uploaded unit did not run\n" in tested

    open_door(machine)
    assert uploads(machine, "alice", keys["alice"]), "this is what the drop-in is for"
    for users in ((), ("alice",)):
        checked = machine.run("sftpjail", "check", *users, check=False)
        assert checked.code == 3 and checked.out.count(f"{DROPIN} is missing (") == 1, checked
    tested = machine.run("sftpjail", "test", "alice", check=False)
    assert tested.code == 3 and "\nFAILED  no user manager: an uploaded unit" in tested.out, tested
    assert state(machine, "alice") == "inactive" and machine.exists(
        "/home/alice/.config/systemd/user/mark.service"
    )

    # An upgrade, or whatever else runs setup, ends what runs by then; a session that is open goes
    # on.
    linger(machine, "alice")
    asked = f"!systemctl is-active user@{uid(machine, 'alice')}.service | cat"
    done = machine.sftp(
        "alice", keys["alice"], ["!sleep 1", asked, "!sftpjail setup", asked, "pwd"]
    )
    said = [line for line in done.out.splitlines() if not line.startswith("sftp> ")]
    assert done.code == 0, done
    assert said == [
        "active",
        "this host is ready for jails",
        "inactive",
        "Remote working directory: /home/alice",
    ]
    linger(machine, "alice", "disable-linger")
    machine.sh(FORGET.format("alice"))
    assert not uploads(machine, "alice", keys["alice"])


@pytest.mark.booted
def test_no_way_leads_to_a_manager_for_a_member(booted: Machine) -> None:
    """A login, su, cron with systemd's module, linger, and a boot with linger; each starts one for somebody else."""
    machine, keys = booted, host(booted)
    expected = {"alice": "inactive", "bob": "active"}
    assert {name: during_login(machine, name, keys[name]) for name in expected} == expected
    asks = {
        name: f"sleep 1; systemctl is-active user@{uid(machine, name)}.service" for name in expected
    }
    by_su = {
        n: machine.run("su", "-s", "/bin/sh", n, "-c", ask, check=False).out.strip()
        for n, ask in asks.items()
    }
    assert by_su == expected
    machine.append("/etc/pam.d/cron", "session optional pam_systemd.so\n")
    jobs = "".join(f"* * * * * {name} ({ask}) >/tmp/by-cron.{name}\n" for name, ask in asks.items())
    machine.write("/etc/cron.d/ways", jobs, 0o644)
    for name, found in expected.items():
        assert machine.wait_for(f"/tmp/by-cron.{name}", "active", timeout=75) == f"{found}\n"
    machine.run("rm", "/etc/cron.d/ways")
    for name in expected:
        linger(machine, name)
    time.sleep(1)
    assert {name: state(machine, name) for name in expected} == expected
    machine.reboot()
    machine.sh(
        f"for n in $(seq 50); do systemctl -q is-active user@{uid(machine, 'bob')} && exit; sleep 0.1; done"
    )
    said = machine.run(
        "journalctl", "--boot", "--no-pager", "-u", f"user@{uid(machine, 'alice')}.service"
    ).out
    assert "Skipped due to 'exec-condition'" in said, "it was tried at boot"
    assert {name: state(machine, name) for name in expected} == expected
    works(machine, "alice", keys["alice"])
    checked = machine.run("sftpjail", "check", check=False)
    assert (
        checked.code == 3
        and f"  fix: loginctl disable-linger {uid(machine, 'alice')}\n" in checked.out
        and "bob" not in checked.out
    )
    linger(machine, "alice", "disable-linger")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


@pytest.mark.booted
def test_a_mark_denies_until_the_last_session_has_ended(booted: Machine) -> None:
    """PID 1 refuses by itself while it is there; nobody can use it to get a manager, and no link is followed."""
    machine = booted
    key = host(machine, ("alice", "carol"))["alice"]
    number = uid(machine, "alice")
    asked = f"!systemctl start user@{number}.service; systemctl is-active user@{number}.service | cat; ls -d {mark(number)}"
    assert machine.sftp("alice", key, [asked, "pwd"]).out.count("inactive") == 1
    machine.run("journalctl", "--sync")
    said = machine.run("journalctl", "-o", "cat", "-u", f"user@{number}.service").out
    assert "exec-condition" in said and f"ConditionPathExists=!{mark(number)}" in said
    # Without it, and with a link in its place, the script judges, and root makes nothing elsewhere.
    for place in ("true", f"ln -s /etc/made {mark(number)}"):
        swap = f"!rmdir {mark(number)}; {place}; systemctl start user@{number}.service"
        assert machine.sftp("alice", key, [swap, "pwd"]).code == 0
        assert state(machine, "alice") == "inactive" and not machine.exists("/etc/made")
        machine.sh(FORGET.format("alice"))
    assert not machine.exists(mark(number)), "it went with the session"
    # Nobody is denied by it who has left the jail.
    other = uid(machine, "carol")
    machine.sh(f"systemctl start user-runtime-dir@{other}.service && mkdir {mark(other)}")
    assert started(machine, other) == "inactive" and not machine.exists(mark(other))
    machine.sh(f"systemctl start user-runtime-dir@{other}.service && mkdir {mark(other)}")
    machine.run("sftpjail", "remove", "carol")
    assert not machine.exists(mark(other)) and started(machine, other) == "active"
    machine.run("gpasswd", "-d", "alice", "sftponly")
    assert started(machine, number) == "active"


@pytest.mark.booted
def test_whoever_becomes_a_member_loses_theirs(booted: Machine) -> None:
    """By adopt, and by usermod, which systemd's path unit notices; also one whose units will not end."""
    machine = booted
    host(machine, ())
    stubborn = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nTimeoutStopSec=infinity\n"
    for name in ("carol", "dave"):
        machine.run("useradd", "-m", name)
        units = f"/home/{name}/.config/systemd/user/default.target.wants"
        machine.write(f"{units}/../stubborn.service", stubborn)
        machine.sh(f"ln -s ../stubborn.service {units}/; chown -R {name}: /home/{name}")
        linger(machine, name)
        machine.sh(
            f"for n in $(seq 100); do pgrep -u {name} -f while && exit; sleep 0.1; done; exit 1"
        )
        assert state(machine, name).endswith("active")
    machine.run("sftpjail", "adopt", "--keep", "linger,processes,units", "carol")
    assert state(machine, "carol") == "inactive"
    machine.run("usermod", "-aG", "sftponly", "dave")
    machine.sh(
        "for n in $(seq 300); do pgrep -u dave -f while >/dev/null || exit 0; sleep 0.1; done; exit 1"
    )
    machine.run(
        "systemctl", "start", "sftpjail.service"
    )  # waits for the run that the path unit has begun
    assert state(machine, "dave") == "inactive"
    assert machine.run("systemctl", "is-system-running").out == "running\n", (
        "nothing is left failed"
    )


@pytest.mark.booted
def test_with_helpers_missing_members_are_known_by_their_records(booted: Machine) -> None:
    machine = booted
    host(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "erin")
    expected = {"alice": "inactive", "erin": "inactive", "bob": "active"}
    uids = {name: uid(machine, name) for name in expected}
    assert {name: started(machine, number) for name, number in uids.items()} == expected
    for helper in ("id", "getent", "timeout"):
        machine.run("mv", f"/usr/bin/{helper}", f"/root/{helper}")
        assert {name: started(machine, number) for name, number in uids.items()} == expected, helper
        machine.run("mv", f"/root/{helper}", f"/usr/bin/{helper}")
    # The group is gone, as when a directory service that has it does not answer.
    machine.run("sed", "-i", "/^sftponly:/d", "/etc/group")
    assert {name: started(machine, number) for name, number in uids.items()} == expected


@pytest.mark.booted
def test_teardown_gives_systemd_back(booted: Machine) -> None:
    machine = booted
    machine.write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = none\n")
    before = machine.listing("/etc/systemd")
    shown = machine.run(
        "systemctl", "show", "-p", "ExecCondition", "-p", "DropInPaths", "user@1000.service"
    ).out
    machine.run("sftpjail", "setup")
    assert machine.mode(DROPIN) == "root:root 644"
    # What a kept jail needs stays while nothing of ours is called any more.
    machine.run("sftpjail", "teardown", "--keep-jails")
    assert "exec-condition" not in shown and machine.exists(DROPIN)
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "teardown")
    assert machine.listing("/etc/systemd") == before
    asked = "systemctl", "show", "-p", "ExecCondition", "-p", "DropInPaths", "user@1000.service"
    assert machine.run(*asked).out == shown


@pytest.mark.booted
def test_every_fix_of_a_drop_in_puts_it_in_force(booted: Machine) -> None:
    machine, keys = booted, host(booted)
    alice = uid(machine, "alice")
    one = f"/etc/systemd/system/user@{alice}.service.d"
    reload = "systemctl daemon-reload"
    for breaking in (
        f"rm {DROPIN}; {reload}",
        f"echo '[Service]' >{DROPIN}; {reload}",
        f"ln -sf /dev/null {DROPIN}; {reload}",
        f"printf '[Service]\\nExecCondition=\\n' >{DIRECTORY}/zz.conf; {reload}",
        f"mkdir -p {one}; printf '[Service]\\nExecCondition=\\n' >{one}/50-own.conf; {reload}",
        f"mkdir -p {one}; ln -s /dev/null {one}/10-sftpjail.conf; {reload}",
    ):
        machine.sh(breaking)
        assert started(machine, alice) == "active", breaking
        found = machine.run("sftpjail", "check", check=False)
        fixes = [
            line.partition("fix: ")[2]
            for line in found.out.splitlines()
            if line.startswith("  fix: ")
        ]
        assert found.code == 3 and len(fixes) == 1, found
        machine.sh(fixes[0])
        assert started(machine, alice) == "inactive", found
        assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
        machine.run("rm", "-rf", one, f"{DIRECTORY}/zz.conf")
        machine.run("systemctl", "daemon-reload")
    # One that runs by what systemd has read before.
    service = f"user@{alice}.service"
    machine.sh(
        f"mv {DIRECTORY} /root/away; {reload}; systemctl start {service}; mv /root/away {DIRECTORY}"
    )
    found = machine.run("sftpjail", "check", "alice", check=False)
    fixes = [
        line.partition("fix: ")[2] for line in found.out.splitlines() if line.startswith("  fix: ")
    ]
    assert found.code == 3 and fixes == [reload, f"systemctl stop {service}"], found
    machine.sh("; ".join(fixes))
    assert machine.run("sftpjail", "check", "alice").out == "1 jail checked, no problems\n"
    works(machine, "alice", keys["alice"])


def test_where_systemd_does_not_run_the_drop_in_waits(machine: Machine) -> None:
    """And test says that there was nothing to try."""
    ready(machine)
    jail(machine, "alice")
    assert machine.exists(DROPIN) == bool(machine.run("which", "systemctl", check=False).out)
    assert (
        "ok      no user manager: systemd does not run here\n"
        in machine.run("sftpjail", "test", "alice").out
    )
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    assert "none: systemd refuses it" in " ".join(
        machine.run("sftpjail", "explain", "alice").out.split()
    )
    open_with_key(machine, "alice")
    # A stranger pays no more than a few programs for it.
    machine.run("useradd", "-m", "bob")
    text = script(machine.read(DROPIN)).replace("%i", str(uid(machine, "bob")))
    assert machine.run("sh", "-c", text, check=False).code == 0
    assert machine.run(
        "sh", "-c", text.replace(str(uid(machine, "bob")), str(uid(machine, "alice"))), check=False
    ).code
