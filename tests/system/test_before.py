"""What was there before the jail and goes on outside of it: refused, ended, given back, reported."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import again, jail, killed, open_with_key, ready, refused, running, session, works

pytestmark = pytest.mark.halved

CRONTABS = "/var/spool/cron/crontabs"
JOBS = "/var/spool/cron/atjobs"
ASIDE = "/var/lib/sftpjail/aside."
EVERY_MINUTE = "* * * * * touch /tmp/$LOGNAME.ran\n"
SPOOLED = f"for f in {CRONTABS}/* {JOBS}/* /var/spool/incron/* /var/lib/systemd/linger/*; do [ ! -e $f ] || {{"
SPOOLED += " stat -c '%n %U:%G %a %Y %h' $f; md5sum <$f; }; done"


def crontab(machine: Machine, name: str, text: str = EVERY_MINUTE) -> None:
    """A crontab, by crontab(1)."""
    machine.run("crontab", "-u", name, "-", input=text)


def work(machine: Machine, name: str = "alice") -> str:
    """Everything that needs no more than files, as the programs leave it; returns how it looks."""
    crontab(machine, name)
    machine.sh(
        f"""
        install -d -o daemon -g daemon -m 1770 {JOBS}
        printf '#!/bin/sh\\n# atrun uid=1000\\ntouch /tmp/at.ran\\n' >{JOBS}/a0000301c5f3a1
        chown {name}:daemon {JOBS}/a0000301c5f3a1; chmod 700 {JOBS}/a0000301c5f3a1
        install -d -m 1731 /var/spool/incron; echo '/tmp IN_CREATE true' >/var/spool/incron/{name}
        chown {name} /var/spool/incron/{name}; chmod 600 /var/spool/incron/{name}
        install -d /var/lib/systemd/linger; touch /var/lib/systemd/linger/{name}
        """
    )
    return look(machine)


def look(machine: Machine) -> str:
    return machine.sh(SPOOLED).out


def as_user(name: str, *argv: str) -> tuple[str, ...]:
    """A command as that user with no session of sshd's, as cron or a forgotten shell would leave it."""
    return ("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *argv)


def test_adopt_refuses_with_the_list_and_says_both_commands(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    work(machine)
    units = "~alice/.config/systemd/user"
    machine.sh(
        f"mkdir -p {units}/default.target.wants; echo >{units}/own.service; chown -R alice: ~alice/.config"
    )
    with running(machine, *as_user("alice", "sleep", "1000")):
        machine.sh("for n in $(seq 50); do pgrep -u alice sleep && exit; sleep 0.1; done; exit 1")
        said = refused(
            machine,
            "sftpjail",
            "adopt",
            "alice",
            says="to end that: sftpjail adopt --close alice\n",
        )
    for words in (
        f"a crontab ({CRONTABS}/alice)",
        f"1 at job ({JOBS}/a0000301c5f3a1)",
        "an incron table (/var/spool/incron/alice)",
        "lingering user services",
        "1 process (",
        " sleep)",
        "user units (/home/alice/.config/systemd/user)",
        "to let that go on: sftpjail adopt --keep cron,at,incron,linger,processes,units alice",
    ):
        assert words in said, said
    said = refused(machine, "sftpjail", "adopt", "--keep", "cron,at,units", "alice")
    assert (
        "has an incron table" in said
        and "to end that: sftpjail adopt --close --keep cron,at,units alice\n" in said
    )
    refused(
        machine,
        "sftpjail",
        "adopt",
        "--keep",
        "corn",
        "alice",
        code=2,
        says="--keep 'corn': must be one of",
    )


@pytest.mark.parametrize("other", [False, True], ids=["one file system", "two file systems"])
def test_what_close_puts_aside_comes_back_byte_for_byte(machine: Machine, other: bool) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    machine.run("useradd", "-m", "bob")
    if other:
        machine.sh(
            f"cp -a {CRONTABS} /root/c; mount -t tmpfs t {CRONTABS}; chown root:crontab {CRONTABS}; "
            f"chmod 1730 {CRONTABS}"
        )
    before = work(machine)
    crontab(machine, "bob")
    bobs = look(machine)
    listing = machine.sh("ls -A /var/lib/sftpjail").out
    said = machine.run("sftpjail", "adopt", "--close", "alice").out
    assert f"ended: a crontab ({CRONTABS}/alice), 1 at job" in said, said
    assert "alice" not in look(machine).replace("alice:", "") and "bob" in look(machine)
    assert machine.mode(f"{ASIDE}alice") == "root:root 700"
    assert machine.read(f"{ASIDE}alice/cron-alice").endswith(EVERY_MINUTE)
    assert (
        machine.run("sftpjail", "check", "alice", check=False).out.count("outside of its jail") == 0
    )
    again(machine, "sftpjail", "adopt", "--close", "alice")
    again(machine, "sftpjail", "adopt", "alice")
    again(machine, "sftpjail", "apply")
    machine.run("sftpjail", "remove", "alice")
    assert look(machine) == bobs and before.splitlines()[0] in bobs
    assert machine.sh("ls -A /var/lib/sftpjail").out == listing


@pytest.mark.whole
def test_cron_runs_it_no_more(machine: Machine) -> None:
    """cron(8) reads a spool again whose time has changed: database.c; bob's crontab proves that the minute came."""
    ready(machine)
    machine.run("useradd", "-m", "alice")
    machine.run("useradd", "-m", "bob")
    for name in ("alice", "bob"):
        crontab(machine, name)
    machine.sh("cron; sleep 1")
    machine.run("sftpjail", "adopt", "--close", "alice")
    machine.wait_for("/tmp/bob.ran", timeout=70)
    machine.sh("sleep 1; ! ls /tmp/alice.ran")
    assert machine.exists("/tmp/bob.ran")
    machine.run("sftpjail", "remove", "alice")
    machine.wait_for("/tmp/alice.ran", timeout=70)


def test_a_run_that_is_killed_gives_all_back(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    before = work(machine)
    killed(machine, "user-create", "sftpjail", "adopt", "--close", "alice")
    assert "crontabs/alice" not in look(machine)
    with running(machine, *as_user("alice", "sleep", "1000")):
        machine.sh("for n in $(seq 50); do pgrep -u alice sleep && exit; sleep 0.1; done; exit 1")
        machine.run("sftpjail", "apply")
        assert look(machine) == before
        machine.run("pgrep", "-u", "alice", "sleep")
    assert not machine.exists(f"{ASIDE}alice") and not machine.exists("/var/lib/sftpjail/journal")
    assert "alice" not in machine.read("/etc/group").split("sftponly:")[1].splitlines()[0]
    machine.run("sftpjail", "adopt", "--close", "alice")
    machine.run("sftpjail", "remove", "alice")
    assert look(machine) == before


def test_what_is_kept_stands_in_the_record_and_is_advice(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    before = work(machine)
    machine.run("sftpjail", "adopt", "--close", "--keep", "cron,linger", "alice")
    open_with_key(machine, "alice")
    assert json.loads(machine.read("/var/lib/sftpjail/accounts/alice"))["kept"] == [
        "cron",
        "linger",
    ]
    assert "crontabs/alice" in look(machine) and "a0000301c5f3a1" not in look(machine)
    done = machine.run("sftpjail", "check")
    assert (
        f"alice: advice: outside of its jail alice has a crontab ({CRONTABS}/alice)" in done.out
    ), done
    assert "1 jail checked, no problems" in done.out, done
    faults = json.loads(machine.run("sftpjail", "check", "--json").out)["problems"]
    assert [fault["severity"] for fault in faults] == ["advice"]
    machine.run("sftpjail", "apply")
    again(machine, "sftpjail", "adopt", "alice")
    machine.run("sftpjail", "adopt", "--close", "alice")
    assert look(machine) == ""
    assert "kept" not in json.loads(machine.read("/var/lib/sftpjail/accounts/alice"))
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    machine.run("sftpjail", "remove", "alice")
    assert look(machine) == before


def test_others_jail_and_report(machine: Machine) -> None:
    """setup, apply and useradd refuse nobody; adopt --close works on who is jailed by then."""
    machine.sh(f"install -d -m 1730 -g crontab {CRONTABS}; printf '{EVERY_MINUTE}' >{CRONTABS}/eve")
    ready(machine)
    fix = "sftpjail adopt --close"
    done = machine.run("useradd", "-m", "-G", "sftponly", "eve")
    assert (
        f"eve is jailed, but outside of its jail it still has a crontab ({CRONTABS}/eve)"
        in done.err
    ), done
    assert f"fix: {fix} eve\n" in done.err, done
    machine.run("useradd", "-m", "alice")
    crontab(machine, "alice")
    machine.run("gpasswd", "-a", "alice", "sftponly")
    done = machine.run("sftpjail", "apply")
    assert f"fix: {fix} alice\n" in done.err and "eve" not in done.err, done
    assert "try" not in machine.run("sftpjail", "apply").err
    done = machine.run("sftpjail", "check", check=False)
    assert (
        done.code == 3 and f"fix: {fix} alice\n" in done.out and f"fix: {fix} eve\n" in done.out
    ), done
    for name in ("alice", "eve"):
        machine.run(*fix.split(), name)
    assert "outside of" not in machine.run("sftpjail", "check", check=False).out
    machine.sh(f"printf '{EVERY_MINUTE}' >{CRONTABS}/alice")
    said = refused(machine, "sftpjail", "remove", "alice", says=f"{CRONTABS}/alice is in the way")
    machine.sh(said.partition("fix: ")[2])
    assert machine.read(f"{CRONTABS}/alice").startswith(
        "# "
    )  # crontab(1)'s own head: the first one


def test_processes_end_and_sessions_in_jails_go_on(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "alice")
    machine.run("useradd", "-m", "bob")
    machine.run("useradd", "-o", "-u", "4321", "-M", "one")
    machine.run("useradd", "-o", "-u", "4321", "-M", "two")
    stubborn = as_user("alice", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    forking = as_user("alice", "sh", "-c", "while :; do sleep 0.01 & sleep 0.01; done")
    with (
        session(machine, "alice", key, "/home/alice"),
        running(machine, *as_user("bob", "sleep", "2000")),
        running(machine, *as_user("one", "sleep", "3000")),
        running(machine, *stubborn),
        running(machine, *forking),
    ):
        machine.sh("for n in $(seq 50); do pgrep -u alice -x sh && exit; sleep 0.1; done; exit 1")
        session_pid = machine.run("pgrep", "-u", "alice", "sshd").out
        done = machine.run("sftpjail", "check", "alice", check=False)
        assert done.code == 3 and "processes (" in done.out and "sshd" not in done.out, done
        assert "fix: sftpjail adopt --close alice" in done.out, done
        done = machine.run("sftpjail", "adopt", "--close", "alice")
        assert "ended " in done.err and " of alice" in done.err, done
        assert machine.run("pgrep", "-u", "alice").out == session_pid
        machine.run("pgrep", "-u", "bob", "sleep")
        assert machine.run("sftpjail", "check", "alice", check=False).code == 0
        said = refused(
            machine, "sftpjail", "adopt", "--close", "one", says="has the uid 4321 of two"
        )
        assert "fix: sftpjail adopt --close --keep processes one" in said
        machine.run("pgrep", "-u", "one", "sleep")


def test_a_session_from_before_the_jail_is_outside_of_it(machine: Machine) -> None:
    """Its sshd has no chroot: what it forwards, and the shell below it, know nothing of the jail."""
    ready(machine)
    machine.run("useradd", "-m", "-s", "/bin/bash", "alice")
    key = machine.keygen("alice")
    machine.sh(
        "install -d -o alice -g alice -m 700 /home/alice/.ssh; "
        f"install -o alice -m 600 {key}.pub /home/alice/.ssh/authorized_keys"
    )
    forward = ("ssh", *machine._client(key, "-p"), "-N", "alice@127.0.0.1")
    with running(machine, *forward):
        machine.sh("for n in $(seq 50); do pgrep -u alice sshd && exit; sleep 0.1; done; exit 1")
        refused(machine, "sftpjail", "adopt", "alice", says="1 process (")
        machine.run("sftpjail", "adopt", "--close", "alice")
        assert machine.run("pgrep", "-u", "alice", check=False).out == ""
    works(machine, "alice", key)


def test_lines_of_the_administrator_are_advice(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.write(
        "/etc/cron.d/pull",
        "PATH=/usr/bin\n# alice\n*/5 * * * mon alice /usr/local/bin/pull\n@daily bob x\n",
    )
    done = machine.run("sftpjail", "check")
    assert "alice: advice: /etc/cron.d/pull:3 runs as alice, outside of its jail" in done.out, done
    again(machine, "sftpjail", "adopt", "alice")


@pytest.mark.booted
def test_linger_and_a_manager_that_runs(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    booted.run("useradd", "-m", "alice")
    proper = (
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
    )  # logind asks in which control group its caller is
    booted.run(*proper, "loginctl", "enable-linger", "alice")
    up = "for n in $(seq 50); do pgrep -u alice systemd && exit; sleep 0.1; done; exit 1"
    booted.sh(up)
    before = look(booted)
    refused(booted, "sftpjail", "adopt", "alice", says="lingering user services")
    # A service that root has made to run as her is root's.
    booted.run("systemd-run", "--unit=pull", "--uid=alice", "sleep", "4000")
    done = booted.run("sftpjail", "adopt", "--close", "alice")
    assert not booted.exists("/var/lib/systemd/linger/alice"), done
    assert booted.run("pgrep", "-a", "-u", "alice").out.endswith("sleep 4000\n")
    done = booted.run("sftpjail", "check", "alice", check=False)
    assert "advice: pull.service runs as alice" in done.out and "linger" not in done.out, done
    booted.run(*proper, "sftpjail", "remove", "alice")
    assert look(booted).split()[0::6] == before.split()[0::6]
    booted.sh(up)
    assert booted.mode("/var/lib/systemd/linger/alice") == "root:root 644"


def test_a_process_that_makes_its_crontab_again_gains_nothing(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    machine.write(
        "/home/alice/table", "@daily id\n"
    )  # no pipe, whose end would be an empty crontab
    loop = as_user("alice", "sh", "-c", "while :; do crontab /home/alice/table; done")
    with running(machine, *loop):
        machine.wait_for(f"{CRONTABS}/alice")
        done = machine.run("sftpjail", "adopt", "--close", "alice", check=False)
        if done.code:
            assert (
                done.code == 1 and f"made {CRONTABS}/alice again before it was ended" in done.err
            ), done
            assert machine.exists(f"{CRONTABS}/alice") and not machine.exists(
                "/var/lib/sftpjail/journal"
            )
            assert "alice" not in machine.read("/etc/group").split("sftponly:")[1].splitlines()[0]
            machine.run("sftpjail", "adopt", "--close", "alice")
    assert not machine.exists(f"{CRONTABS}/alice")
    assert machine.run("pgrep", "-u", "alice", check=False).out == ""
    assert "outside of its jail" not in machine.run("sftpjail", "check", "alice", check=False).out
    machine.run("sftpjail", "remove", "alice")
    assert machine.read(f"{CRONTABS}/alice").endswith("@daily id\n")


def test_what_a_deleted_account_left_aside_is_nobody_elses(machine: Machine) -> None:
    ready(machine)
    for name in ("alice", "bob"):
        machine.run("useradd", "-m", name)
        crontab(machine, name)
        machine.run("sftpjail", "adopt", "--close", name)
    machine.run("userdel", "alice")
    done = machine.run("sftpjail", "check", check=False)
    fix = f"rm -rI --one-file-system {ASIDE}alice && sftpjail apply --prune"
    assert done.code == 3 and fix in done.out, done
    uid = machine.run("id", "-u", "bob").out
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    machine.run("sftpjail", "remove", "alice")
    assert not machine.exists(f"{CRONTABS}/alice") and machine.exists(f"{ASIDE}alice/cron-alice")
    machine.run("sftpjail", "remove", "bob")
    assert machine.exists(f"{CRONTABS}/bob") and machine.run("id", "-u", "bob").out == uid
