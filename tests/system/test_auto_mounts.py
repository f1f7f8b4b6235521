"""`mounts = auto`, the default: session mounts where jails can have a PAM service of their own, else fstab; decided once."""

from __future__ import annotations

from machine import Machine
from steps import (
    CONFIG,
    QUIET,
    again,
    as_shipped,
    fstab,
    is_new,
    jail,
    mounted,
    programs_of,
    ready,
    web,
    works,
)

DROPIN = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\n"
PROVED = "setup has tried it with logins"


def shown(machine: Machine, name: str = "alice") -> str:
    """What `show` says of where the mounts are kept, and why."""
    lines = machine.run("sftpjail", "show", name).out.splitlines()
    return next(line for line in lines if line.startswith("mounts\t")).partition("\t")[2]


def test_setup_decides_by_logins_and_says_why(machine: Machine) -> None:
    pam = machine.read("/etc/pam.d/sshd")
    as_shipped(machine)
    ready(machine)
    again(machine, "sftpjail", "setup")
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", web(machine), "/web")
    works(machine, "alice", key, "get /web/index.html /tmp/got")
    assert machine.read("/etc/pam.d/sshd") == pam, "never edited for a default"
    if is_new(machine):
        assert shown(machine) == f"session (auto: {PROVED})"
        assert mounted(machine) == [] and fstab(machine, "alice") == []
    else:
        why = "OpenSSH 9.2 takes no PAMServiceName in a Match block"
        assert shown(machine) == f"fstab (auto: {why})"
        assert len(fstab(machine, "alice")) == 2
    # What setup has decided is read: useradd waits for no login.
    programs = programs_of(machine, "useradd", "-m", "-G", "sftponly", "carol")
    assert [one for one in programs if one.endswith(("/prove-login", "/sftp", "/ssh"))] == []
    machine.run("userdel", "-r", "carol")
    explained = machine.run("sftpjail", "explain", "alice").out
    assert "mounts = auto" in explained, explained
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    by_hand = "Match User bob\n    ChrootDirectory /srv/bob\n    ForceCommand internal-sftp\n"
    machine.sh("useradd -m bob && mkdir /srv/bob")
    machine.write("/etc/ssh/sshd_config.d/99-bob.conf", by_hand)
    found = machine.run("sftpjail", "import").out
    assert "`sftpjail import --apply` takes over 1 account" in found, found
    plan = machine.run("sftpjail", "--dry-run", "import", "--apply").out
    assert "+[[sftponly]]" in plan, "a file without profiles gets the one that was meant"
    machine.run("rm", "/etc/ssh/sshd_config.d/99-bob.conf")
    machine.run("sftpjail", "remove", "--delete-account", "alice")
    machine.run("sftpjail", "teardown")
    assert not machine.exists(DROPIN)


def test_jails_in_fstab_stay_there(machine: Machine) -> None:
    """The setting changes, and a profile comes beside it."""
    ready(machine)
    key = jail(machine, "alice")
    lines, block = fstab(machine, "alice"), machine.read(DROPIN)
    as_shipped(machine)
    machine.write(CONFIG, QUIET)
    assert shown(machine) == "fstab (auto: its Match block had it so)"
    again(machine, "sftpjail", "setup")
    assert (fstab(machine, "alice"), machine.read(DROPIN)) == (lines, block)
    machine.write(CONFIG, f"{PROFILE}[[second]]\nmounts = auto\n")
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-N", "-G", "second", "bob")
    assert shown(machine, "bob") == "fstab (auto: jails of this host have their mounts there)"
    works(machine, "alice", key)
    assert machine.run("sftpjail", "check", "alice").out == "1 jail checked, no problems\n"


def test_failed_trial_logins_mean_fstab(machine: Machine) -> None:
    """What only a login shows: a PAM module that is not there."""
    module = machine.sh("find /usr/lib -name pam_namespace.so").out.strip()
    machine.run("mv", module, f"{module}.away")
    as_shipped(machine)
    machine.start_sshd()
    done = machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    works(machine, "alice", key)
    if is_new(machine):
        assert "advice: session mounts do not work on this host" in done.err, done
        assert shown(machine) == "fstab (auto: setup's trial logins with session mounts failed)"
    machine.run("mv", f"{module}.away", module)
    again(machine, "sftpjail", "setup")
    assert len(fstab(machine, "alice")) == 2, "what was decided holds"
    # Where no login can be tried at all.
    machine.run("sftpjail", "remove", "--delete-account", "alice")
    machine.run("sftpjail", "teardown")
    machine.run("mv", "/usr/bin/ssh-keygen", "/usr/bin/ssh-keygen.away")
    done = machine.run("sftpjail", "setup")
    if is_new(machine):
        assert "the logins of profile sftponly cannot be tried" in done.err, done
    machine.run("mv", "/usr/bin/ssh-keygen.away", "/usr/bin/ssh-keygen")
    jail(machine, "alice")
    assert shown(machine).startswith("fstab (auto: "), shown(machine)
