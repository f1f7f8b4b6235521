"""Keys in a home are taken along when the account gets its first jail, and never later."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import CONFIG, QUIET, ready, shut, works

pytestmark = pytest.mark.halved


def ordinary(machine: Machine, name: str, *options: str) -> str:
    """An account that logs in with a key in its home; the key's path is returned."""
    key = machine.keygen(name)
    machine.run("useradd", "-m", *options, name)
    home = f"/home/{name}/.ssh"
    machine.sh(f"install -d -m 700 -o {name} -g {name} {home}")
    machine.sh(f"install -m 600 -o {name} -g {name} {key}.pub {home}/authorized_keys")
    return key


def test_a_first_jail_takes_keys_along_and_no_later_one_does(machine: Machine) -> None:
    machine.write(CONFIG, QUIET)
    machine.run("groupadd", "sftponly")
    ann = ordinary(machine, "ann", "-G", "sftponly")
    machine.start_sshd()
    done = machine.run("sftpjail", "setup")
    taken = "ann: 1 key of /home/ann/.ssh/authorized_keys taken along\n"
    assert taken in done.out, done
    works(machine, "ann", ann)
    assert machine.exists("/home/ann/.ssh/authorized_keys.sftpjail")
    # Somebody joins the group, whom no hook has.
    ben = ordinary(machine, "ben")
    assert machine.sftp("ben", ben, ["pwd"]).code == 0
    machine.run("usermod", "-aG", "sftponly", "ben")
    assert "1 key of /home/ben/.ssh" in machine.run("sftpjail", "apply").out
    works(machine, "ben", ben)
    # What a jailed user uploads lets nobody in.
    eve = machine.keygen("eve")
    batch = ["cd .ssh", f"put {eve}.pub authorized_keys"]
    assert machine.sftp("ben", ben, batch, check=True)
    done = machine.run("sftpjail", "apply")
    assert "taken along" not in done.out + done.err, done
    shut(machine, "ben", eve)
    machine.run("sftpjail", "remove", "ann")
    assert machine.ssh("ann", ann, "true").code == 0
    assert not machine.exists("/etc/ssh/authorized_keys/ann")


def test_keys_that_are_somebody_elses_word_stay(machine: Machine) -> None:
    block = "Match User eve\n    AuthorizedKeysFile /etc/ssh/others/%u"
    machine.append("/etc/ssh/sshd_config", block)
    ready(machine)
    key, eve = ordinary(machine, "ann"), ordinary(machine, "eve")
    ordinary(machine, "ben")
    shut(machine, "eve", eve)  # sshd has never read her own file
    machine.sh("chown root /home/ann/.ssh/authorized_keys; chmod g+w /home/ben/.ssh")
    before = machine.read("/home/ann/.ssh/authorized_keys")
    machine.sh("for name in ann ben eve; do usermod -aG sftponly $name; done")
    done = machine.run("sftpjail", "apply")
    assert (
        "eve: not all keys in /home/eve/.ssh/authorized_keys were taken along: another" in done.err
    )
    shut(machine, "eve", eve)
    for words in ("the file is not the account's own", "others can write /home/ben/.ssh"):
        assert words in done.err, done
    assert machine.read("/home/ann/.ssh/authorized_keys") == before
    shut(machine, "ann", key)


def test_keys_in_other_places_are_named(machine: Machine) -> None:
    """Whose they are an administrator knows; without a word their users would be locked out."""
    other = "/etc/ssh/keys/%u .ssh/authorized_keys .ssh/authorized_keys2"
    machine.append("/etc/ssh/sshd_config.d/00-test.conf", f"AuthorizedKeysFile {other}\n")
    machine.append("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    machine.write(CONFIG, QUIET)
    machine.run("groupadd", "sftponly")
    ann = ordinary(machine, "ann", "-G", "sftponly")
    machine.sh("cd /home/ann/.ssh; mv authorized_keys authorized_keys2; install -d /etc/ssh/keys")
    machine.start_sshd()
    done = machine.run("sftpjail", "setup", check=False)
    assert "the keys of ann in /home/ann/.ssh/authorized_keys2 do not count" in done.err, done
    shut(machine, "ann", ann)
    machine.sh(done.err.partition("then run ")[2].partition("\n")[0])
    works(machine, "ann", ann)
    assert "do not count" not in machine.run("sftpjail", "apply").err
    for name, command in (("ben", "adopt ben"), ("eve", "apply")):
        key = machine.keygen(name)
        machine.sh(f"useradd -m {name}; cp {key}.pub /etc/ssh/keys/{name}")
        assert machine.sftp(name, key, ["pwd"]).code == 0
        if command == "apply":
            machine.run("usermod", "-aG", "sftponly", name)
        done = machine.run("sftpjail", *command.split(), check=False)
        assert f"the keys of {name} in /etc/ssh/keys/{name} do not count in its jail" in done.err
        machine.sh(done.err.partition("then run ")[2].partition("\n")[0])
        works(machine, name, key)
