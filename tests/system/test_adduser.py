"""adduser makes the home after useradd's hook: a waiter makes the jail then, and nobody else waits for it."""

from __future__ import annotations

import re

import pytest
from machine import Machine, changes
from steps import (
    QUIET,
    jail,
    mounted,
    open_with_key,
    programs_of,
    ready,
    refused,
    shut,
    snapshot,
    works,
)

QUIETLY = "adduser --quiet --disabled-password --comment x"
FORMS = """[profiles]
[[sftponly]]
mounts = fstab
[[sessions]]
mounts = session
[[homes]]
chroot = %h
[[drop]]
home = inside
"""
WAITING = "/run/sftpjail/waiting"
# An administrator's script, which adduser calls last of all: here it keeps adduser from ending.
GATE = "#!/bin/sh\n: >/run/held\nuntil [ -e /run/go ]; do sleep 0.02; done\n"


def extra_groups(machine: Machine, group: str = "sftponly") -> None:
    machine.append("/etc/adduser.conf", f'\nEXTRA_GROUPS="{group}"\nADD_EXTRA_GROUPS=1\n')


def hold(machine: Machine, command: str = f"{QUIETLY} --ingroup sftponly bob") -> None:
    """Start an adduser that has made the home, and does not end."""
    machine.write("/usr/local/sbin/adduser.local", GATE, 0o755)
    machine.run("rm", "-f", "/run/go", "/run/held")
    machine.sh(f"setsid {command} </dev/null >/run/adduser.out 2>&1 &")
    machine.wait_for("/run/held")


def let_go(machine: Machine) -> None:
    machine.sh(": >/run/go; while pgrep -x adduser >/dev/null; do sleep 0.02; done")


def waiter(machine: Machine, name: str = "bob") -> str:
    """The pid of an account's waiter."""
    return machine.sh(f"cat {WAITING}/{name}:*").out.split()[0]


def give_key(machine: Machine, name: str) -> str:
    """A key that was there before the jail, to see who is let in; returns its path."""
    key = machine.keygen(name)
    machine.write(f"/etc/ssh/authorized_keys/{name}", machine.read(f"{key}.pub"))
    return key


def is_whole(machine: Machine, name: str, key: str) -> None:
    works(machine, name, key)
    assert machine.run("sftpjail", "check", name).out == "1 jail checked, no problems\n"
    assert machine.run("ls", WAITING).out == "", "the waiter has ended"


@pytest.mark.parametrize("group", ["sftponly", "sessions", "homes", "drop"])
def test_in_one_line_in_every_form(machine: Machine, group: str) -> None:
    ready(machine, QUIET + FORMS)
    key = machine.keygen("bob")
    made = f"{QUIETLY} --ingroup {group} bob && sftpjail key add bob {key}.pub"
    client = " ".join(machine._client(key, "-P"))
    done = machine.sh(f"{made} && echo 'put /etc/hostname x' | sftp -b - {client} bob@127.0.0.1")
    assert "bob can log in" in done.out and "sftpjail:" not in done.err, done
    is_whole(machine, "bob", key)


def test_by_extra_groups_and_into_a_group(machine: Machine) -> None:
    ready(machine)
    key = machine.keygen("bob")
    machine.sh(f"{QUIETLY} carol && adduser --quiet carol sftponly && sftpjail apply")
    works(machine, "carol", open_with_key(machine, "carol"))
    extra_groups(machine)
    machine.sh(f"{QUIETLY} bob && sftpjail key add bob {key}.pub")
    is_whole(machine, "bob", key)


@pytest.mark.parametrize(
    "caller",
    [
        "sh -c '{}'",
        "sudo {}",
        "$(head -n 1 /usr/sbin/adduser | cut -c 3-) /usr/sbin/{}",
        "python3 -c 'import subprocess; subprocess.run(\"{}\", shell=True, check=True)'",
    ],
)
def test_whoever_calls_adduser(machine: Machine, caller: str) -> None:
    ready(machine)
    adduser = f"{QUIETLY} --ingroup sftponly bob"
    key = machine.keygen("bob")
    machine.sh(f"{caller.format(adduser)} && sftpjail key add bob {key}.pub")
    is_whole(machine, "bob", key)


def test_nobody_but_commands_about_that_account_waits(machine: Machine) -> None:
    """A password prompt, which may stay for a long time."""
    ready(machine)
    alice = jail(machine, "alice")
    adduser = "adduser --comment x --ingroup sftponly bob"
    machine.sh(
        "mkfifo /run/typed; setsid sleep 1000 <>/run/typed >/dev/null 2>&1 & echo $! >/run/typist"
    )
    machine.sh(f"setsid script -qfc '{adduser}' /run/screen </run/typed >/dev/null 2>&1 &")
    machine.wait_for("/run/screen", "assword:")
    bob = give_key(machine, "bob")
    shut(machine, "bob", bob)
    machine.run("sftpjail", "key", "list", "alice")
    machine.run("sftpjail", "check", "alice")
    works(machine, "alice", alice)
    applied = machine.run("sftpjail", "apply")
    pid = machine.run("pgrep", "-x", "adduser").out.strip()
    assert f"bob is skipped: pid {pid} is still creating it" in applied.err, applied
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    shut(machine, "bob", bob)
    refused(machine, "sftpjail", "key", "list", "bob", says=f"still being created, by pid {pid}")
    machine.sh("echo s3cret-Enough >/run/typed; sleep 0.5; echo s3cret-Enough >/run/typed")
    machine.sh("while pgrep -x adduser >/dev/null; do sleep 0.02; done; kill $(cat /run/typist)")
    machine.run("sftpjail", "show", "bob")
    is_whole(machine, "bob", bob)


def test_a_waiter_has_nothing_of_its_caller(machine: Machine) -> None:
    ready(machine)
    hold(
        machine,
        f"bash -c 'exec 7>/run/seven 200>/run/two-hundred; {QUIETLY} --ingroup sftponly bob'",
    )
    pid = waiter(machine)
    opened = set(machine.sh(f"ls -l /proc/{pid}/fd | sed -n 's/.*-> //p'").out.split("\n"))
    looking = {path for path in opened if path.startswith("/proc/")}
    assert opened - looking == {"", "/dev/null", "/usr/lib/sftpjail/entry/waiter"}
    assert machine.run("ps", "-o", "sid=", pid).out.strip() == pid
    maker = machine.run("pgrep", "-x", "adduser").out.strip()
    assert machine.run("readlink", f"/proc/{pid}/cwd").out == f"/proc/{maker}\n"
    let_go(machine)
    works(machine, "bob", open_with_key(machine, "bob"))


def test_nothing_of_ours_is_in_usr_local(machine: Machine) -> None:
    """An administrator's adduser.local and deluser.local are theirs alone, and run."""
    for name in ("adduser", "deluser"):
        script = f'#!/bin/sh\necho {name} "$1" >>/root/seen\n'
        machine.write(f"/usr/local/sbin/{name}.local", script, 0o755)
    before = machine.listing("/usr/local")
    ready(machine)
    machine.sh(f"{QUIETLY} --ingroup sftponly bob")
    works(machine, "bob", open_with_key(machine, "bob"))
    assert changes(before, machine.listing("/usr/local")) == {}
    machine.run("deluser", "--quiet", "--remove-home", "bob")
    assert machine.read("/root/seen") == "adduser bob\ndeluser bob\n"
    assert mounted(machine) == [] and not machine.exists("/etc/ssh/authorized_keys/bob")
    assert not machine.exists("/srv/sftp/bob")


def test_where_the_home_is_there_the_hook_does_all(machine: Machine) -> None:
    ready(machine)
    machine.run("mkdir", "/home/bob")
    hold(machine)
    assert mounted(machine, "/srv/sftp/bob") == ["/srv/sftp/bob/home/bob"]
    assert not machine.exists(f"{WAITING}/bob:{machine.run('pgrep', '-x', 'adduser').out.strip()}")
    let_go(machine)


def test_a_container_build_that_ends_at_once(machine: Machine) -> None:
    """adduser is process 1, and with it everything ends: the next apply makes the jail."""
    ready(machine)
    machine.sh(f"unshare --pid --fork --mount-proc {QUIETLY} --ingroup sftponly bob")
    bob = give_key(machine, "bob")
    shut(machine, "bob", bob)
    assert "applied: bob" in machine.run("sftpjail", "apply").out
    works(machine, "bob", bob)
    assert machine.run("sftpjail", "check", "bob").out == "1 jail checked, no problems\n"


def test_many_at_once(machine: Machine, thorough: bool) -> None:
    """adduser itself gives up when it has waited for its lock for 30 seconds."""
    ready(machine)
    key, number = machine.keygen("all"), 50 if thorough else 20
    one = f"until {QUIETLY} --ingroup sftponly u$n || id u$n; do :; done; sftpjail key add u$n {key}.pub"
    script = f"for n in $(seq {number}); do ({one}) >>/run/out 2>&1 & done; wait"
    machine.sh(script, timeout=600)
    said = machine.run("sftpjail", "check", timeout=120).out
    assert said == f"{number} jails checked, no problems\n"
    assert machine.run("ls", WAITING).out == ""
    for name in ("u1", f"u{number // 2}", f"u{number}"):
        works(machine, name, key)


def test_an_adduser_that_takes_the_account_back(machine: Machine) -> None:
    ready(machine)
    before = snapshot(machine)
    machine.run("mkfifo", "/etc/skel/pipe")
    failed = machine.sh(f"{QUIETLY} --ingroup sftponly bob", check=False)
    assert failed.code and machine.run("id", "bob", check=False).code, failed
    machine.run("rm", "/etc/skel/pipe")
    machine.sh(f'while [ "$(ls {WAITING})" ]; do sleep 0.02; done')
    found = changes(before, snapshot(machine))
    assert [path for path in found if not path.startswith("/etc/sub")] == []


def test_a_waiter_that_is_killed(machine: Machine) -> None:
    ready(machine)
    hold(machine)
    machine.run("kill", "-9", waiter(machine))
    let_go(machine)
    bob = give_key(machine, "bob")
    shut(machine, "bob", bob)
    assert "no problems" not in machine.run("sftpjail", "check", "bob", check=False).out
    assert "applied: bob" in machine.run("sftpjail", "apply").out
    works(machine, "bob", bob)


def test_an_adduser_that_is_killed(machine: Machine) -> None:
    ready(machine)
    hold(machine)
    machine.sh("kill -9 $(pgrep -x adduser); : >/run/go")
    works(machine, "bob", open_with_key(machine, "bob"))
    assert machine.run("ls", WAITING).out == ""


def test_a_hook_script_that_runs_useradd(machine: Machine) -> None:
    """The account's hook cannot have the lock, whose holder waits for it."""
    ready(machine)
    script = '#!/bin/sh\n[ "$SFTPJAIL_USER" != alice ] || useradd -m -G sftponly bob\n'
    machine.write("/etc/sftpjail/hooks/user-create.d/second", script, 0o755)
    machine.run("useradd", "-m", "-s", "/bin/bash", "alice")
    machine.run("sftpjail", "adopt", "alice")
    for name in ("alice", "bob"):
        is_whole(machine, name, open_with_key(machine, name))


def test_adduser_of_others_starts_no_python(machine: Machine) -> None:
    ready(machine)
    started = programs_of(machine, *QUIETLY.split(), "other")
    assert "/usr/lib/sftpjail/entry/waiter" in started
    assert [
        program for program in started if "python" in program or "bin/sftpjail" in program
    ] == []
    assert machine.run("ls", WAITING).out == "", "strace(1) sees the waiter end"


@pytest.mark.booted
def test_in_a_service_that_ends(booted: Machine) -> None:
    """systemd kills what is left of a service; the waiter is a unit of its own."""
    booted.run("sftpjail", "setup")
    key = booted.keygen("bob")
    adduser = f"{QUIETLY} --ingroup sftponly bob"
    booted.run("systemd-run", "--quiet", "--wait", "--property=Type=oneshot", *adduser.split())
    booted.run("sftpjail", "key", "add", "bob", f"{key}.pub")
    is_whole(booted, "bob", key)
    extra_groups(booted)
    booted.sh(f"{QUIETLY} carol && sftpjail key add carol {key}.pub")
    works(booted, "carol", key)
    left = booted.run("systemctl", "list-units", "--all", "--plain", "sftpjail-waiter-*").out
    assert "sftpjail-waiter" not in left
    failed = booted.run("systemctl", "list-units", "--failed", "--plain", "sftpjail*").out
    assert "sftpjail" not in failed


@pytest.mark.booted
def test_a_waiter_is_a_unit(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    hold(booted)
    cgroup = booted.read(f"/proc/{waiter(booted)}/cgroup")
    assert re.search(r"/system\.slice/sftpjail-waiter-\d+\.service$", cgroup.strip())
    let_go(booted)
    is_whole(booted, "bob", open_with_key(booted, "bob"))


def test_a_jail_group_whose_gid_another_group_has(machine: Machine) -> None:
    """Another one that comes first has the name; whom sshd does not jail is shut out at once, whom it does is a member."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine)
    gid = machine.sh("getent group sftponly | cut -d: -f3").out.strip()
    machine.sh(f"sed -i '1i other:x:{gid}:' /etc/group")
    machine.sh("useradd -m -G sftponly ann; useradd -m -g sftponly carl; useradd -m bob")
    machine.sh(f"LC_ALL=C.UTF-8 LANGUAGE=de {QUIETLY} --ingroup sftponly eve")
    machine.sh("while pgrep -x adduser >/dev/null; do sleep 0.02; done")
    machine.sh(f"while ls {WAITING}/* >/dev/null 2>&1; do sleep 0.02; done")
    keys = {name: give_key(machine, name) for name in ("ann", "bob", "carl", "eve")}
    for name in ("ann", "carl", "eve"):
        machine.sh(
            f"install -d -o {name} /home/{name}/.ssh;"
            f"install -o {name} {keys[name]}.pub /home/{name}/.ssh/authorized_keys"
        )
        shut(machine, name, keys[name])
    said = machine.run("sftpjail", "list").out
    assert [line.split("\t")[-1] for line in said.splitlines()] == ["closed"] * 3, said
    machine.sh(f"sed -i 1d /etc/group; echo other:x:{gid}:bob >>/etc/group; rm -r /home/*/.ssh")
    said = machine.run("sftpjail", "check", check=False).out
    assert f"the group other has the gid of sftponly ({gid}) too" in said
    machine.run("sftpjail", "apply")
    for name in keys:
        works(machine, name, keys[name])
    refused(machine, "sftpjail", "remove", "bob", says="bob is in other, which has the gid")
