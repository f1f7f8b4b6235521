"""Every way an account arrives, whom we never jail, and that we never stand in the way of anybody else's useradd."""

from __future__ import annotations

import json

from machine import Machine, changes
from steps import (
    CONFIG,
    IMMUTABLE,
    as_shipped,
    fstab,
    jail,
    modules_of,
    mounted,
    open_with_key,
    previewed,
    programs_of,
    ready,
    refused,
    shut,
    snapshot,
    web,
    works,
)


def arrives(machine: Machine, user: str, *commands: tuple[str, ...], group: str = "") -> None:
    """After `commands` the account has a jail, and with a key it lands in its home and can write there."""
    for command in commands:
        machine.run(*command, input="")
    key = open_with_key(machine, user)
    done = works(machine, user, key, "put /etc/hostname arrived")
    assert f"Remote working directory: /home/{user}" in done.out, done
    assert machine.mode(f"/home/{user}/arrived").startswith(f"{user}:{group or user}")
    assert mounted(machine, f"/srv/sftp/{user}") == [f"/srv/sftp/{user}/home/{user}"]
    assert len(fstab(machine, user)) == 1
    assert machine.run("sftpjail", "check", user).out == "1 jail checked, no problems\n"


def test_apply_leaves_an_account_to_the_hook_of_its_useradd(machine: Machine) -> None:
    """As the path unit does whose apply begins between useradd's lines and its hook."""
    machine.write(CONFIG, "[profiles]\n[[sftponly]]\nhome = inside\n")
    machine.run("sftpjail", "setup")
    quicker = "#!/bin/sh\nsftpjail apply >/tmp/quicker 2>&1\nexit 0\n"
    machine.write("/etc/shadow-maint/useradd-post.d/00-quicker", quicker, 0o755)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    assert "still creating it" in machine.read("/tmp/quicker")
    record = json.loads(machine.read("/var/lib/sftpjail/accounts/alice"))
    assert record["was"] == {"home": "/home/alice", "shell": "/bin/sh"}
    assert "is no longer jailed" not in machine.run("sftpjail", "history").out
    machine.run("sftpjail", "remove", "alice")
    assert machine.run("getent", "passwd", "alice").out.split(":")[5] == "/home/alice"
    assert not machine.exists("/srv/sftp/alice")


def test_by_useradd_and_adduser(machine: Machine) -> None:
    ready(machine)
    quiet = ("adduser", "--quiet", "--disabled-password", "--comment", "")
    apply = ("sftpjail", "apply")
    arrives(machine, "one", ("useradd", "-m", "-G", "sftponly", "one"))
    arrives(machine, "two", ("useradd", "-m", "-g", "sftponly", "two"), group="sftponly")
    arrives(machine, "three", (*quiet, "--ingroup", "sftponly", "three"), group="sftponly")
    assert machine.exists(
        "/home/three/.profile"
    )  # the skeleton, which adduser copies after useradd's hook
    arrives(machine, "four", (*quiet, "four"), ("adduser", "--quiet", "four", "sftponly"), apply)
    arrives(
        machine, "five", ("useradd", "-m", "five"), ("gpasswd", "-a", "five", "sftponly"), apply
    )
    arrives(machine, "six", ("useradd", "-m", "six"), ("usermod", "-aG", "sftponly", "six"), apply)
    gid = machine.run("getent", "group", "sftponly").out.split(":")[2]
    machine.write("/root/new", f"seven:*::{gid}::/home/seven:/usr/sbin/nologin\n")
    arrives(machine, "seven", ("newusers", "/root/new"), apply, group="sftponly")
    arrives(machine, "Eight.8", ("useradd", "--badname", "-m", "-G", "sftponly", "Eight.8"))
    machine.run("useradd", "-m", "bystander")
    assert not machine.exists("/srv/sftp/bystander")
    assert "nothing to do" in machine.run(*apply).out


def test_by_add(machine: Machine) -> None:
    ready(machine)
    web(machine)
    one, two = machine.keygen("one"), machine.keygen("two")
    add = ["sftpjail", "add", "alice", "--key", f"{one}.pub", "--key", "-"]
    add += [
        "--mount",
        "/srv/web/example.com:/web",
        "--mount",
        "/srv/web:/all:ro",
        "--",
        "--comment",
        "Alice A.",
    ]
    shown = machine.run("sftpjail", "--dry-run", *add[1:], input=machine.read(f"{two}.pub"))
    assert "useradd" in shown.out and "/srv/sftp/alice/all" in shown.out
    assert machine.run("id", "alice", check=False).code
    machine.run(*add, input=machine.read(f"{two}.pub"))
    works(machine, "alice", one, "ls /all/example.com/index.html", "ls /web/index.html")
    works(machine, "alice", two)
    assert machine.run("getent", "passwd", "alice").out.split(":")[4] == "Alice A."
    before = snapshot(machine)
    assert "nothing to do" in machine.run(*add, input=machine.read(f"{two}.pub")).out
    assert changes(before, snapshot(machine)) == {}

    previewed(machine, "sftpjail", "add", "bob", "--with", "adduser")
    machine.run("sftpjail", "add", "bob", "--with", "adduser", "--key", f"{one}.pub")
    works(machine, "bob", one)
    assert "sftponly" in machine.run("id", "-nG", "bob").out.split()

    # What cannot be leaves no account behind.
    refused(machine, "sftpjail", "add", "carol", "--mount", "/srv/none:/web", says="/srv/none")
    refused(machine, "sftpjail", "add", "carol", "--key", "/etc/hostname", says="/etc/hostname")
    refused(machine, "sftpjail", "add", "carol", "--", "--uid", "1", says="system account (uid 1)")
    refused(machine, "sftpjail", "add", "carol", "--", "--uid", "1000", says="useradd failed")
    refused(machine, "sftpjail", "add", "../carol", says="not a valid account name", code=2)
    refused(machine, "sftpjail", "add", "carol", "--profile", "none", says="no profile", code=2)
    machine.run("useradd", "-m", "dave")
    refused(machine, "sftpjail", "add", "dave", says="sftpjail adopt dave")


def test_by_adopt_with_keys_in_the_home(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "-s", "/bin/bash", "alice")
    key = machine.keygen("alice")
    line = machine.read(f"{key}.pub")
    machine.write("/home/alice/.ssh/authorized_keys", f"# mine\n\n{line}", 0o600)
    machine.run("chown", "-R", "alice:alice", "/home/alice/.ssh")
    machine.write("/home/alice/kept", "kept\n")
    assert machine.ssh("alice", key, "cat kept").out == "kept\n"

    previewed(machine, "sftpjail", "adopt", "alice")
    machine.run("sftpjail", "adopt", "alice")
    works(machine, "alice", key, "get kept /root/kept")
    assert machine.read("/etc/ssh/authorized_keys/alice").strip().endswith(line.strip())
    assert "uid=" not in machine.ssh("alice", key, "id").out
    assert "nothing to do" in machine.run("sftpjail", "adopt", "alice").out

    # A file that is broken in places moves nothing out of the way that did not arrive.
    machine.run("useradd", "-m", "-s", "/bin/bash", "bob")
    machine.write("/home/bob/.ssh/authorized_keys", f"nonsense\n{line}", 0o600)
    machine.run("chown", "-R", "bob:bob", "/home/bob/.ssh")
    assert "line 1" in machine.run("sftpjail", "adopt", "bob").err
    works(machine, "bob", key)
    assert machine.exists("/home/bob/.ssh/authorized_keys")
    refused(machine, "sftpjail", "adopt", "nobody-here", says="no account")


def test_keys_are_never_in_neither_place(machine: Machine) -> None:
    """The key opens a session at every moment of `adopt`: logins run all the while."""
    ready(machine)
    machine.run("useradd", "-m", "-s", "/bin/bash", "alice")
    key = machine.keygen("alice")
    machine.write("/home/alice/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o600)
    machine.run("chown", "-R", "alice:alice", "/home/alice/.ssh")
    client = " ".join(machine._client(key, "-P"))
    logins = f"for n in $(seq 30); do echo pwd | sftp -b - {client} alice@127.0.0.1 >/dev/null 2>&1 || echo $n; done"
    failed = machine.sh(
        f"({logins}) >/root/failed & sftpjail adopt --keep processes alice; wait"
    ).out
    assert "jailed" in failed and machine.read("/root/failed") == ""


def test_guard_rails(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "-G", "sudo", "admin")
    machine.run("useradd", "-m", "me")
    for user, reason in (("root", "uid 0"), ("admin", "group sudo"), ("games", "system account")):
        refused(machine, "sftpjail", "adopt", user, says=reason)
    refused(machine, "sftpjail", "adopt", "me", says="it is you", env={"SUDO_USER": "me"})
    machine.run("sftpjail", "adopt", "me", "--force", env={"SUDO_USER": "me"})
    machine.run("sftpjail", "adopt", "admin", "--force")
    works(machine, "admin", open_with_key(machine, "admin"))

    # Membership alone jails nobody whom we would not adopt: the hook and apply leave them, and say
    # so.
    machine.run("useradd", "-m", "-G", "sftponly,sudo", "other")
    done = machine.run("sftpjail", "apply")
    assert "other is skipped" in done.err and not machine.exists("/srv/sftp/other")
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "gpasswd -d other" in done.out


def test_setup_refuses_an_administrator_in_the_group(machine: Machine) -> None:
    machine.run("groupadd", "sftponly")
    machine.run("useradd", "-m", "-G", "sftponly,sudo", "admin")
    refused(machine, "sftpjail", "setup", says="group sudo")


RESTORE = f"cp -a /root/good.conf {CONFIG}"
BREAKAGES = {  # how, and the way back
    "state that cannot be written": (
        "mount -t tmpfs -o ro none /var/lib/sftpjail",
        "umount /var/lib/sftpjail",
    ),
    "configuration with an unknown key": (f"echo 'nonsense = 1' >>{CONFIG}", RESTORE),
    "configuration with a syntax error": (f"echo '[[[[' >>{CONFIG}", RESTORE),
    "no python": ("mv /usr/bin/python3 /usr/bin/away", "mv /usr/bin/away /usr/bin/python3"),
    "no sftpjail": ("mv /usr/bin/sftpjail /usr/bin/away", "mv /usr/bin/away /usr/bin/sftpjail"),
    "fstab that cannot be written": (f"{IMMUTABLE} /etc/fstab", "chattr -i /etc/fstab"),
    "a lock that is held for a while": (
        "setsid flock /run/sftpjail/lock sleep 2 >/dev/null 2>&1 & sleep 0.2",
        ":",
    ),
}


def test_useradd_never_fails_because_of_us(machine: Machine) -> None:
    ready(machine)
    machine.run("cp", "-a", CONFIG, "/root/good.conf")
    for number, (what, (destroy, restore)) in enumerate(BREAKAGES.items()):
        machine.sh(destroy)
        for name, options in ((f"ours{number}", ["-G", "sftponly"]), (f"other{number}", [])):
            done = machine.run("useradd", "-m", *options, name, check=False)
            assert done.code == 0, (what, done)
            assert machine.exists(f"/home/{name}/"), what
        machine.sh(restore)
    machine.run("sftpjail", "apply")
    for number in range(len(BREAKAGES)):
        works(machine, f"ours{number}", open_with_key(machine, f"ours{number}"))


def test_a_jail_that_could_not_be_made_is_closed(machine: Machine) -> None:
    ready(machine)
    machine.run("chattr", "+i", "/srv/sftp")
    done = machine.run("useradd", "-m", "-G", "sftponly", "alice")
    assert "sftpjail:" in done.err and "/srv/sftp" in done.err, done
    machine.write("/etc/ssh/authorized_keys/alice", machine.read(f"{machine.keygen('alice')}.pub"))
    shut(machine, "alice", "/root/keys/alice")
    assert "uid=" not in machine.ssh("alice", "/root/keys/alice", "id").out


def test_useradd_waits_for_no_module_that_its_hook_does_not_need(machine: Machine) -> None:
    as_shipped(machine)
    ready(machine)
    machine.run("useradd", "-M", "-N", "alice")
    machine.run("usermod", "-G", "sftponly", "alice")
    found = modules_of(machine, "hook", "useradd-post", "alice")
    assert machine.exists("/srv/sftp/alice")
    ours = {name for name in found if name.startswith("sftpjail.")}
    assert len(ours) <= 132, sorted(ours)
    assert not [name for name in ours if name.endswith(".check") or ".selftest" in name]
    assert not found & {"difflib", "hashlib", "paramiko", "rich", "sftpjail.openssh.public_keys"}
    others = {f"sftpjail.cli.{name}" for name in ("imports", "metrics", "mounts", "watch")}
    found = modules_of(machine, "list")
    assert not found & others, "a command loads no module of another"
    assert not found & {"pluggy", *(f"sftpjail.{room}" for room in ("actions", "engine"))}
    ours = {name for name in found if name.startswith("sftpjail.")}
    assert len(ours) <= 80, sorted(ours)
    ours = {name for name in modules_of(machine, "--version") if name.startswith("sftpjail.")}
    needed = ["cli", "cli.main", "errors", "errors.escapes", "system"]
    needed += ["system.signals", "system.streams"]
    assert ours == {f"sftpjail.{name}" for name in needed}


def test_useradd_of_others_costs_one_small_program(machine: Machine) -> None:
    """No Python, and nothing that grows with the host: the stub asks id(1) and leaves."""
    ready(machine)
    jail(machine, "alice")
    assert programs_of(machine, "useradd", "-M", "-N", "other") == [
        "/usr/sbin/useradd",
        "/etc/shadow-maint/useradd-post.d/sftpjail",
        "/usr/bin/id",
    ]
