"""The story of the README, line by line: shown beforehand, done, repeated without effect, and taken back."""

from __future__ import annotations

import re

from machine import Machine, changes
from steps import again, doors, fstab, is_new, listing, mounted, previewed, refused, shut, web

DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
DOORS = ["shell", "terminal", "-W", "-L", "-D", "-R"]


def test_the_probes_of_the_doors_find_an_ordinary_accounts_open(bare_machine: Machine) -> None:
    bare_machine.start_sshd()
    bare_machine.run("useradd", "-m", "-s", "/bin/sh", "bob")
    key = bare_machine.keygen("bob")
    bare_machine.write("/home/bob/.ssh/authorized_keys", bare_machine.read(f"{key}.pub"), 0o644)
    assert doors(bare_machine, "bob", key) == DOORS


def test_story(bare_machine: Machine) -> None:
    machine = bare_machine
    machine.start_sshd()
    machine.start_rsyslog()
    web(machine)
    key = machine.keygen("alice")
    untouched = machine.listing()

    machine.run("make", "-C", "/src", "install")
    machine.run("cmp", "/src/SECURITY.md", "/usr/local/share/doc/sftpjail/SECURITY.md")
    fresh, times = machine.listing(), machine.listing(times=True)
    assert "nothing to do" in machine.run("make", "-C", "/src", "install").out
    assert changes(times, machine.listing(times=True)) == {}
    assert not machine.exists("/usr/local/local")
    assert machine.exists("/usr/local/share/sftpjail/schemas/check.json")

    assert "Match Group sftponly" in previewed(machine, "sftpjail", "setup")
    assert "ready" in machine.run("sftpjail", "setup").out
    again(machine, "sftpjail", "setup")
    machine.restart_rsyslog()

    arrive = ("adduser", "--disabled-password", "--comment", "", "--ingroup", "sftponly", "alice")
    machine.run(*arrive)
    machine.run("sftpjail", "show", "alice")  # waits for the waiter
    arrived = listing(machine)
    assert machine.run(*arrive, check=False).code
    assert changes(arrived, listing(machine)) == {}

    add = ("sftpjail", "key", "add", "alice", f"{key}.pub")
    assert machine.read(f"{key}.pub").split()[1] in previewed(machine, *add)
    machine.run(*add)
    again(machine, *add)

    show = ("sftpjail", "mount", "alice", "/srv/web/example.com", "/web")
    assert "/srv/sftp/alice/web" in previewed(machine, *show)
    machine.run(*show)
    again(machine, *show)

    read_only = ("sftpjail", "mount", "alice", "/srv/web/example.com", "/read-only", "--read-only")
    previewed(machine, *read_only)
    machine.run(*read_only)
    again(machine, *read_only)
    # Home, dev and these two; in each session alone where the jails have a PAM service of their own.
    found = machine.run("cat", "/etc/sftpjail/mounts/alice", check=False).out
    table = [line for line in found.splitlines() if not line.startswith("#")]
    assert len(table) + len(fstab(machine, "alice")) == 4
    assert len(fstab(machine, "alice")) == len(mounted(machine, "/srv/sftp/alice"))
    by_session = "PAMServiceName sftpjail-session" in machine.read(DROPIN)
    assert by_session == bool(table) == is_new(machine)

    lands_and_uploads(machine, key)
    cannot_do_anything_else(machine, key)
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"

    takes_everything_back(machine, key, fresh)
    machine.run("make", "-C", "/src", "uninstall")
    left = changes(untouched, machine.listing())
    assert [path for path in left if not path.startswith("/etc/sftpjail")] == []


def lands_and_uploads(machine: Machine, key: str) -> None:
    upload = [
        "pwd",
        "put /etc/hostname up.txt",
        "ls -1 /",
        "get /web/index.html /root/got",
        "ls /web/deep/down",
    ]
    done = machine.sftp("alice", key, upload)
    assert done.code == 0, done
    assert "Remote working directory: /home/alice" in done.out
    assert set(re.findall(r"^/[a-z-]+$", done.out, re.MULTILINE)) == {
        "/dev",
        "/home",
        "/read-only",
        "/web",
    }
    assert machine.mode("/home/alice/up.txt").startswith("alice:sftponly")
    assert machine.read("/root/got") == "hello\n"
    machine.wait_for(
        "/var/log/sftp.log",
        r'internal-sftp\[\d+\]: close "/home/alice/up.txt" bytes read 0 written \d',
    )
    machine.wait_for("/var/log/sftp.log", r"session opened for local user alice")


def cannot_do_anything_else(machine: Machine, key: str) -> None:
    assert doors(machine, "alice", key) == []
    for batch in (
        "put /etc/hostname /hack",
        "put /etc/hostname /dev/hack",
        "put /etc/hostname /home/hack",
        "rm /web",
    ):
        assert machine.sftp("alice", key, [batch]).code == 1, batch
    machine.run("chmod", "777", "/srv/web/example.com")
    for batch, code in (
        ("put /etc/hostname /web/mine", 0),
        ("rm /read-only/mine", 1),
        ("rm /web/mine", 0),
    ):
        assert machine.sftp("alice", key, [batch]).code == code, batch
    machine.run("chmod", "755", "/srv/web/example.com")


def takes_everything_back(machine: Machine, key: str, fresh: dict[str, tuple[object, ...]]) -> None:
    for take in (
        ("umount", "alice", "/web"),
        ("umount", "alice", "/read-only"),
        ("key", "remove", "alice", "alice"),
    ):
        previewed(machine, "sftpjail", *take)
        machine.run("sftpjail", *take)
        refused(machine, "sftpjail", *take)
    shut(machine, "alice", key)
    machine.run("deluser", "--remove-home", "alice")
    machine.run("sftpjail", "teardown")
    again(machine, "sftpjail", "teardown")
    assert changes(fresh, machine.listing()) == {}
    assert mounted(machine, "/srv/sftp") == []
