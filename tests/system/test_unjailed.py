"""No jail, no login: the configuration, or sshd's, was changed and `setup` was not run."""

from __future__ import annotations

import json

import pytest
from machine import CONFIG, Machine
from steps import QUIET, again, jail, ready, shut, works

pytestmark = pytest.mark.halved

PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\n"
FIRST = "/etc/ssh/sshd_config.d/05-first.conf"
# What is configured, and the option of useradd by which a new account would be jailed.
CHANGED = (
    (f"{PROFILE}group = newcomers\n", "-G newcomers"),
    (f'{PROFILE}group = "newcomers" # and no others\n', "-G users,newcomers"),
    (f"{PROFILE}[[newcomers]]\n", "-g newcomers"),
    (f"{PROFILE}[[third]]\ngroup = newcomers\nchroot = %h\n", "-G newcomers"),
    (f"{PROFILE}match_user = ann, eve\n", ""),
)


def state(machine: Machine, name: str) -> str:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return next((str(jail["state"]) for jail in jails if jail["user"] == name), "")


def keyed(machine: Machine, name: str) -> str:
    """A key that counts in a jail and outside of one."""
    key = f"/root/keys/{name}"
    if not machine.exists(key):
        machine.keygen(name)
    machine.sh(
        f"install -d -o {name} /home/{name}/.ssh; cd /home/{name}/.ssh;"
        f"install -o {name} {key}.pub authorized_keys;"
        f"install -m 644 {key}.pub /etc/ssh/authorized_keys/{name}"
    )
    return key


def closed(machine: Machine, name: str) -> None:
    """Neither files nor a tunnel."""
    key = keyed(machine, name)
    shut(machine, name, key)
    tunnel = machine.ssh(name, key, "-W", f"127.0.0.1:{machine.port}")
    assert tunnel.code == 255 and "SSH-2.0" not in tunnel.out, tunnel


def open_minded(machine: Machine) -> None:
    """An sshd that lets whoever is in no jail see the host, with any shell."""
    machine.sh("sed -i 's/^Subsystem.*/Subsystem sftp internal-sftp/' /etc/ssh/sshd_config")
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())


def test_a_profile_that_setup_does_not_know_yet(machine: Machine) -> None:
    """The stub of useradd's hook has the groups and names of the last setup."""
    open_minded(machine)
    ready(machine, PROFILE)
    key = jail(machine, "ann")
    machine.run("groupadd", "newcomers")
    for config, option in CHANGED:
        machine.write(CONFIG, config)
        machine.run("touch", "-d", "2020-01-01", CONFIG)  # as `cp -a` has it
        done = machine.sh(f"useradd -m {option} eve")
        assert "eve is shut out until this is fixed" in done.err, (config, done)
        assert "fix: sftpjail setup" in done.err, done
        closed(machine, "eve")
        assert state(machine, "eve") == "closed"
        machine.run("useradd", "-m", "bob")
        assert "uid=" in machine.ssh("bob", keyed(machine, "bob"), "id").out, "nobody's business"
        works(machine, "ann", key)
        machine.sh("userdel -r bob; userdel -r eve")
    machine.sh("useradd -m eve; sftpjail setup")
    works(machine, "eve", keyed(machine, "eve"))
    again(machine, "sftpjail", "apply")


def test_adduser_and_a_group_that_setup_does_not_know(machine: Machine) -> None:
    """adduser makes home and groups after the hook of useradd."""
    open_minded(machine)
    ready(machine, PROFILE)
    machine.run("groupadd", "newcomers")
    machine.write(CONFIG, f"{PROFILE}group = newcomers\n")
    adduser = ("adduser", "--disabled-password", "--gecos", "", "--ingroup", "newcomers")
    machine.run(*adduser, "eve")
    closed(machine, "eve")
    machine.sh('until [ -z "$(ls /run/sftpjail/waiting)" ]; do sleep 0.05; done')
    closed(machine, "eve")
    machine.run("sftpjail", "setup")
    works(machine, "eve", keyed(machine, "eve"))


def test_a_profile_that_is_gone_and_a_damaged_file(machine: Machine) -> None:
    """With `chroot = %h`, sshd lets in whose home is the system's: no profile says any more that it may not."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine, f"{PROFILE}chroot = %h\n")
    key = machine.keygen("eve")
    for config in (f"{QUIET}[profiles]\n[[other]]\n", f"{PROFILE}chroot = %h\nnonsense\n"):
        machine.write(CONFIG, config)
        done = machine.run("useradd", "-M", "-d", "/etc", "-G", "sftponly", "eve")
        assert "eve is shut out until this is fixed" in done.err, done
        machine.sh(f"install -m 644 {key}.pub /etc/ssh/authorized_keys/eve")
        shut(machine, "eve", key)
        machine.run("usermod", "-e", "", "eve")
        assert machine.sftp("eve", key, "ls -1 /ssh").code == 0, "what it is good for"
        machine.run("userdel", "eve")


@pytest.mark.parametrize("how", ["unread", "overruled"])
def test_an_sshd_that_does_not_obey_our_block(machine: Machine, how: str) -> None:
    """Its files are as setup left them, and another one decides."""
    open_minded(machine)
    ready(machine, PROFILE)
    key = jail(machine, "ann")
    keyed(machine, "ann")
    machine.run("cp", "-a", "/etc/ssh/sshd_config", "/root/")
    if how == "unread":
        machine.run("sed", "-i", "/^Include/d", "/etc/ssh/sshd_config")
    else:
        words = "ChrootDirectory none\n ForceCommand none\n AuthorizedKeysFile .ssh/authorized_keys"
        machine.write(FIRST, f"Match Group sftponly\n {words}\n")
    machine.restart_sshd()
    done = machine.run("useradd", "-m", "-G", "sftponly", "eve")
    why = "sshd does not jail eve" if how == "unread" else f"{FIRST} takes eve out of its jail"
    assert f"eve is shut out until this is fixed: {why}" in done.err, done
    closed(machine, "eve")
    assert machine.sftp("ann", key, "ls /etc/passwd").code == 0, "what it is good for"
    done = machine.run("sftpjail", "apply", check=False)
    if how == "unread":  # setup, which apply does too, writes into sshd_config itself
        assert done.code == 0, done
    else:
        assert done.code == 1 and "setup cannot be done" in done.err, done
        assert "ann is shut out until this is fixed" in done.err, done
        closed(machine, "ann")
        closed(machine, "eve")
        again_said = machine.run("sftpjail", "apply", check=False)
        assert "ann is shut out until this is fixed" in again_said.err, again_said
        assert state(machine, "ann") == state(machine, "eve") == "closed"
        machine.run("rm", FIRST)
        machine.restart_sshd()
        machine.run("sftpjail", "apply")
    works(machine, "ann", key)
    works(machine, "eve", keyed(machine, "eve"))
    again(machine, "sftpjail", "apply")


def test_files_of_sshd_that_are_newer_stop_no_new_account(machine: Machine) -> None:
    """sshd is asked then, and it can say of no account that does not exist yet."""
    ready(machine, QUIET)
    machine.keygen("eve")
    machine.sh("sleep 0.1; touch /etc/ssh/sshd_config")
    machine.run("sftpjail", "add", "eve", "--key", "/root/keys/eve.pub")
    machine.sh("useradd -m bob; groupadd others")
    machine.run("sftpjail", "add", "dan", "--key", "/root/keys/eve.pub", "--", "-G", "others")
    machine.run("sftpjail", "adopt", "bob")
    machine.run("sftpjail", "key", "add", "bob", "/root/keys/eve.pub")
    machine.sh("printf 'name,keys\\nfay,%s\\n' \"$(cat /root/keys/eve.pub)\" >/root/accounts.csv")
    machine.run("sftpjail", "apply", "/root/accounts.csv")
    machine.run("useradd", "-m", "-G", "sftponly", "hal")
    machine.run("sftpjail", "key", "add", "hal", "/root/keys/eve.pub")
    for name in ("eve", "dan", "bob", "fay", "hal"):
        works(machine, name, "/root/keys/eve")


def test_prune_opens_nobody_of_a_group_with_the_same_gid(machine: Machine) -> None:
    """Removed and made anew with its gid, it is as if everybody had been taken out."""
    open_minded(machine)
    ready(machine)
    keys = {name: jail(machine, name) for name in ("ann", "bob")}
    for name in keys:
        keyed(machine, name)
        machine.run("usermod", "-s", "/bin/sh", name)
        assert "uid=" not in machine.ssh(name, keys[name], "id").out
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "disable", "bob")
    machine.sh(
        "gid=$(getent group sftponly | cut -d: -f3); groupdel sftponly; groupadd -g $gid sftponly"
    )
    for command in ("apply --prune", "check --fix", "--json apply --prune"):
        before = machine.listing("/etc/passwd", "/srv", "/etc/fstab", "/var/lib/sftpjail/accounts")
        done = machine.sh(f"sftpjail {command}", check=False)
        assert done.code in (1, 3) and "nobody whom sftponly has jailed is in it" in str(done), done
        after = machine.listing("/etc/passwd", "/srv", "/etc/fstab", "/var/lib/sftpjail/accounts")
        assert after == before, command
    shut(machine, "bob", keys["bob"])
    machine.sh("sftpjail adopt ann; gpasswd -a bob sftponly; sftpjail apply")
    works(machine, "ann", keys["ann"])
    shut(machine, "bob", keys["bob"])
    machine.sh("sftpjail enable bob; gpasswd -d ann sftponly; sftpjail apply")
    done = machine.run("sftpjail", "apply", "--prune", check=False)
    assert "ann: is not pruned (it left its profile's group)" in done.err, done
    machine.run("sftpjail", "apply", "--prune", "--yes")
    assert "uid=" in machine.ssh("ann", keys["ann"], "id").out, "an ordinary account"
    works(machine, "bob", keys["bob"])


def test_prune_opens_nobody_whose_group_was_made_anew(machine: Machine) -> None:
    """Renamed and made anew, or removed and made anew: it left no group, and stays as it is."""
    open_minded(machine)
    ready(machine)
    keys = {name: jail(machine, name) for name in ("ann", "bob")}
    machine.sh("groupmod -n old sftponly; sftpjail apply", check=False)
    machine.run("groupadd", "-g", "4242", "sftponly")
    done = machine.run("sftpjail", "apply", "--prune", check=False)
    assert done.code == 1 and "ann is not pruned: it left no group" in done.err, done
    for name in keys:
        closed(machine, name)
    said = machine.run("sftpjail", "check", check=False).out
    assert "sftpjail adopt ann" in said and "--prune" not in said, said
    machine.run("sftpjail", "adopt", "ann")
    works(machine, "ann", keys["ann"])
    machine.sh("sftpjail remove bob; groupdel sftponly; groupadd -g 4242 strangers")
    machine.sh("usermod -aG strangers ann; usermod -aG strangers bob; sftpjail apply", check=False)
    closed(machine, "ann")
    done = machine.run("sftpjail", "apply", check=False)
    anew = "groupadd sftponly && sftpjail setup && sftpjail adopt ann"
    assert f"if strangers is another group, to make sftponly anew: {anew}" in done.err, done
    machine.sh(f"rm -r /home/ann/.ssh; {anew}")
    works(machine, "ann", keys["ann"])
    assert state(machine, "bob") == "", "who was never jailed is not"
    machine.sh("groupdel sftponly; groupdel strangers; groupadd -g 5000 sftponly")
    assert machine.run("sftpjail", "apply", "--prune", check=False).code == 1
    said = machine.run("sftpjail", "check", check=False).out
    assert "sftpjail adopt ann" in said and "--prune" not in said, said
    machine.run("sftpjail", "adopt", "ann")
    works(machine, "ann", keys["ann"])
