"""setup and teardown: everything comes back, nobody else notices, and a host that is not well is left as it is."""

from __future__ import annotations

import pytest
from machine import Machine, changes
from steps import (
    CONFIG,
    IMMUTABLE,
    QUIET,
    again,
    jail,
    open_with_key,
    previewed,
    ready,
    refused,
    settings,
    snapshot,
    web,
    works,
)

pytestmark = pytest.mark.halved

SSHD = "/etc/ssh/sshd_config"
DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"


def test_teardown_leaves_the_host_as_it_was(machine: Machine) -> None:
    """Also after accounts came and went; with the packaged configuration, thus with a log daemon."""
    machine.start_sshd()
    machine.start_rsyslog()
    web(machine)
    before = machine.listing()
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "teardown")
    assert changes(before, machine.listing()) == {}

    machine.run("sftpjail", "setup")
    machine.restart_rsyslog()
    keys = {name: jail(machine, name) for name in ("one", "two")}
    machine.run(
        "sftpjail", "add", "three", "--mount", "/srv/web:/web", "--key", f"{keys['one']}.pub"
    )
    machine.run("sftpjail", "mount", "one", "/srv/web", "/a/deep/directory")
    for name, key in keys.items():
        works(machine, name, key)
    refused(machine, "sftpjail", "teardown", says="still jailed: one, two, three")
    machine.run("userdel", "-r", "one")
    machine.run("deluser", "--quiet", "--remove-home", "two")
    machine.run("sftpjail", "remove", "three", "--delete-account")
    machine.run("rm", "-r", "/home/three")
    previewed(machine, "sftpjail", "teardown")
    machine.run("sftpjail", "teardown")
    assert changes(before, machine.listing()) == {}
    again(machine, "sftpjail", "teardown")


def test_teardown_removes_what_other_settings_made(machine: Machine) -> None:
    machine.start_sshd()
    machine.write(CONFIG, QUIET)
    before = machine.listing()
    machine.run("sftpjail", "setup")
    machine.write(CONFIG, f"{QUIET}[profiles]\n[[sftponly]]\nchroot = %h\n")
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "teardown")
    machine.write(CONFIG, QUIET)
    assert changes(before, machine.listing()) == {}
    again(machine, "sftpjail", "apply")
    assert changes(before, machine.listing()) == {}


def test_teardown_closes_the_accounts_it_leaves(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "alice", "-s", "/bin/sh")
    machine.write("/home/alice/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert machine.ssh("alice", key, "id").code == 255
    assert machine.exists("/home/alice/.profile") and not machine.exists("/srv/sftp")
    assert not machine.exists("/etc/ssh/authorized_keys"), "a later alice would inherit the keys"
    again(machine, "sftpjail", "teardown")
    machine.run("usermod", "-e", "", "-s", "/bin/sh", "alice")
    assert "uid=" in machine.ssh("alice", key, "id").out


GOES = """
import os, subprocess, sys, time
from sftpjail.system.gate import useradd_blocked

path = sys.argv[1]
slow = subprocess.Popen(["sh", "-c", "useradd before; exit $?"])  # which waits for it
while not os.path.exists("/run/slow"):
    time.sleep(0.01)
start = time.monotonic()
with useradd_blocked(path):
    print("waited", time.monotonic() - start)
    late = subprocess.Popen(["useradd", "meanwhile"])
    time.sleep(1)
    print("meanwhile", late.poll())
    os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
print("codes", slow.wait(), late.wait())
"""


@pytest.mark.parametrize("may", [True, False], ids=["", "in a container"])
@pytest.mark.parametrize("name", ["/aside", ""], ids=["script", "directory"])
def test_a_hook_that_goes_stops_whoever_would_see_it(
    machine: Machine, name: str, may: bool
) -> None:
    """A useradd that may have seen it is waited for; one that comes then waits for us."""
    directory = "/etc/shadow-maint/useradd-post.d"
    machine.run("sftpjail", "teardown")
    machine.write(
        "/etc/shadow-maint/useradd-pre.d/aaa", "#!/bin/sh\n>/run/slow; sleep 0.5\n", mode=0o755
    )
    machine.run("mkdir", "-p", directory)
    if name:
        machine.write(directory + name, "#!/bin/sh\n", mode=0o755)
    bound = () if may else ("setpriv", "--bounding-set=-sys_admin")
    said = machine.run(*bound, "python3", "-c", GOES, directory + name).out.split()
    assert 0.3 < float(said[said.index("waited") + 1]) < 1.5
    assert said[said.index("meanwhile") + 1] == ("None" if may else "0")
    assert said[said.index("codes") + 1 :] == ["0", "0"]
    assert not machine.exists(directory + name)


def test_sshd_is_the_same_for_everybody_else(machine: Machine) -> None:
    machine.start_sshd()
    for number in range(3):
        machine.run("useradd", "-m", "-s", "/bin/bash", f"person{number}")
    names = [line.split(":")[0] for line in machine.read("/etc/passwd").splitlines()]
    others = ["root", *names[-3:], *names[1:18]]
    assert len(others) == 21

    def said() -> dict[str, str]:
        return {name: settings(machine, name) for name in others}

    before = said()
    machine.run("sftpjail", "setup")
    assert said() == before
    machine.run("sftpjail", "add", "alice")
    assert said() == before
    assert "chrootdirectory /srv/sftp/%u" in settings(machine, "alice")
    machine.run("sftpjail", "remove", "alice", "--delete-account")
    machine.run("sftpjail", "teardown")
    assert said() == before


# -- pulling the rug -----------------------------------------------------------------------------


def test_immutable_fstab(machine: Machine) -> None:
    ready(machine)
    web(machine)
    jail(machine, "alice")
    machine.sh(f"{IMMUTABLE} /etc/fstab")
    refused(machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says="/etc/fstab")
    refused(machine, "sftpjail", "add", "bob", says="/etc/fstab")
    refused(machine, "sftpjail", "remove", "alice", says="/etc/fstab")
    machine.run("chattr", "-i", "/etc/fstab")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    works(machine, "alice", "/root/keys/alice", "ls /web/example.com/index.html")


def test_sshd_config_that_somebody_else_broke(machine: Machine) -> None:
    machine.append(SSHD, "Nonsense yes\n")
    refused(machine, "sftpjail", "setup", says="Nonsense")


def test_log_daemon_that_does_not_start(machine: Machine) -> None:
    machine.append("/etc/rsyslog.conf", 'input(type="nonsense\n')
    refused(machine, "sftpjail", "setup", says="rsyslog must accept the rule")


def test_full_disk_under_etc(machine: Machine) -> None:
    """A small loop file system, or where this machine has no loop devices a small tmpfs."""
    machine.sh(
        "mknod /dev/loop-control c 10 237; for n in 0 1 2 3 4 5 6 7; do mknod /dev/loop$n b 7 $n; done;"
        "truncate -s 16M /root/disk; mkfs.ext2 -q -b 4096 -m 0 /root/disk; cp -a /etc /root/etc;"
        "mount -o loop /root/disk /etc || mount -t tmpfs -o size=16m,mode=755 none /etc;"
        "rm -rf /etc/lost+found; cp -a /root/etc/. /etc"
    )
    # What was freed is there again only after a sync.
    fill = "for n in 1 2 3; do sync; dd if=/dev/zero of=/etc/filler$n bs=4k 2>/dev/null || :; done"
    machine.start_sshd()
    machine.sh(fill)
    refused(machine, "sftpjail", "setup", says="No space left on device")
    machine.sh("rm /etc/filler?")
    machine.write(CONFIG, QUIET)
    machine.run("sftpjail", "setup")
    machine.keygen("alice")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    machine.sh(fill)
    machine.run("mkdir", "-p", "/srv/web")
    refused(
        machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says="No space left on device"
    )
    refused(
        machine,
        "sftpjail",
        "key",
        "add",
        "alice",
        "/root/keys/alice.pub",
        says="No space left on device",
    )
    machine.sh("rm /etc/filler?")
    works(machine, "alice", open_with_key(machine, "alice"))


def test_an_earlier_match_that_shadows_ours(machine: Machine) -> None:
    machine.run("groupadd", "sftponly")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    machine.write(
        "/etc/ssh/sshd_config.d/00-mine.conf", "Match User alice\n    ChrootDirectory /var/empty\n"
    )
    assert "grep" in refused(machine, "sftpjail", "setup", says="alice must be jailed")


def test_no_sshd_at_all(machine: Machine) -> None:
    machine.run("mv", "/usr/sbin/sshd", "/root/sshd")
    refused(machine, "sftpjail", "setup", says="not installed")


def test_only_root_may(machine: Machine) -> None:
    done = machine.run(
        "setpriv", "--reuid=games", "--clear-groups", "sftpjail", "setup", check=False
    )
    assert done.code == 1 and "only root" in done.err and "sudo" in done.err


# -- the shapes that sshd_config has -------------------------------------------------------------


@pytest.mark.parametrize("ending", ["\n", ""], ids=["complete", "no newline at the end"])
def test_sshd_config_without_include(machine: Machine, ending: str) -> None:
    text = machine.read(SSHD).replace("Include ", "#Include ").rstrip("\n") + ending
    machine.write(SSHD, text)
    before = snapshot(machine)
    machine.write(CONFIG, QUIET)
    ready(machine)
    assert not machine.exists(DROPIN)
    assert machine.read(SSHD).startswith(text) and machine.read(SSHD).endswith(
        "# END sftpjail sftpjail\n"
    )
    again(machine, "sftpjail", "setup")
    works(machine, "alice", jail(machine, "alice"))
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    assert [path for path in changes(before, snapshot(machine)) if path != CONFIG] == []


def test_missing_subsystem_is_added(machine: Machine) -> None:
    machine.sh(f"sed -i '/^Subsystem/d' {SSHD}")
    text = machine.read(SSHD)
    machine.run("useradd", "-m", "bob")
    bob = machine.keygen("bob")
    machine.write("/home/bob/.ssh/authorized_keys", machine.read(f"{bob}.pub"), 0o644)
    ready(machine)
    works(machine, "alice", jail(machine, "alice"))
    assert machine.sftp("bob", bob, ["pwd"]).code == 0
    assert "subsystem sftp internal-sftp" in settings(machine, "bob")
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    assert machine.read(SSHD) == text and not machine.exists(DROPIN)


@pytest.mark.parametrize("included", [True, False])
def test_subsystem_internal_sftp(machine: Machine, included: bool) -> None:
    """The recipe's edit, and back."""
    if not included:
        machine.sh(f"sed -i s/^Include/#Include/ {SSHD}")
    before = machine.listing("/etc/ssh")
    ready(machine, f"{QUIET}[sshd]\nsubsystem = internal-sftp\n")
    assert "subsystem sftp internal-sftp" in settings(machine, "root").splitlines()
    again(machine, "sftpjail", "setup")
    works(machine, "alice", jail(machine, "alice"))
    machine.write(CONFIG, QUIET)
    machine.run("sftpjail", "setup")
    assert "subsystem sftp /usr/lib/openssh/sftp-server" in settings(machine, "root").splitlines()
    machine.write(CONFIG, f"{QUIET}[sshd]\nsubsystem = internal-sftp\n")
    machine.run("sftpjail", "setup")
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    assert changes(before, machine.listing("/etc/ssh")) == {}


def test_running_sshd_is_reloaded_and_not_restarted(machine: Machine) -> None:
    machine.start_sshd()
    pid = machine.read("/run/sshd.pid")
    machine.write(CONFIG, QUIET)
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    works(machine, "alice", key)
    assert machine.read("/run/sshd.pid") == pid
    machine.run("test", "-d", f"/proc/{pid.strip()}")


def test_configuration_that_is_wrong(machine: Machine) -> None:
    for text, says in (
        ("[profiles]\n[[a]]\nchroot = /srv/%u/x\n", "[[a]]"),
        ("[profiles]\n[[a]]\ndeny = remvoe,\n", "remvoe"),
        ("[profiles]\n[[a]]\ncolour = red\n", "colour"),
        ("[logs]\nbackend = journal\n", "[logs] backend"),
        ("[profiles\n", "sftpjail.conf"),
    ):
        machine.write(CONFIG, text)
        refused(machine, "sftpjail", "setup", says=says, code=2)
