"""What becomes of jails when their profile, their group or sshd's configuration changes: nobody's files are hidden or
handed on, and no jail opens in silence.
"""

from __future__ import annotations

import re

import pytest
from machine import Machine
from steps import (
    CONFIG,
    QUIET,
    again,
    fstab,
    jail,
    mounted,
    open_with_key,
    ready,
    refused,
    shut,
    works,
)

pytestmark = pytest.mark.halved

INSIDE = f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\n"
BIND = f"{QUIET}[profiles]\n[[sftponly]]\n"


def hint(said: str) -> str:
    return said.partition("  fix: ")[2].split("\n")[0]


def test_a_home_that_is_inside_is_never_looked_for_on_the_host(machine: Machine) -> None:
    """/files of the host would be one and the same directory in all of these jails."""
    ready(machine, INSIDE)
    for name in ("acme", "bcorp"):
        machine.run("sftpjail", "add", name)
        works(machine, name, open_with_key(machine, name), "put /etc/hostname of-" + name)
    machine.run("sftpjail", "mount", "acme", "/srv", "/nothing", check=False)
    for text in (BIND, f"{BIND}chroot = %h\n"):
        machine.write(CONFIG, text)
        machine.run("sftpjail", "setup", check=False)
        done = machine.run("sftpjail", "apply", check=False)
        assert done.code == 1 and "the home of acme, /files, is /srv/sftp/acme/files" in done.err, (
            done
        )
    machine.write(CONFIG, BIND)
    machine.run("sftpjail", "setup", check=False)
    done = machine.run("sftpjail", "check", check=False)
    assert "mkhomedir_helper acme" in done.out and "usermod -d /home/acme acme" in done.out, done
    for name in ("acme", "bcorp"):
        machine.sh(
            f"usermod -d /home/{name} {name} && mkhomedir_helper {name} && sftpjail apply",
            check=False,
        )
    assert not machine.exists("/files")
    for name in ("acme", "bcorp"):
        done = works(machine, name, f"/root/keys/{name}", "ls -1 /files")
        assert f"directory: /home/{name}" in done.out and f"/files/of-{name}" in done.out
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"


def test_files_move_with_the_jail_or_are_told_of(machine: Machine) -> None:
    ready(machine, INSIDE)
    machine.run("sftpjail", "add", "acme")
    key = open_with_key(machine, "acme")
    works(machine, "acme", key, "put /etc/hostname mine")
    machine.write(CONFIG, f"{INSIDE}chroot = /srv/other/%u\n")
    machine.run("sftpjail", "setup", check=False)
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "the files of acme are in /srv/sftp/acme/files" in done.err, done
    machine.sh(hint(done.err))
    works(machine, "acme", key, "ls mine")

    machine.run("useradd", "-m", "bob")
    machine.run("install", "-o", "bob", "/etc/hostname", "/home/bob/report")
    machine.run("sftpjail", "adopt", "bob")
    done = machine.run("sftpjail", "check", "bob", check=False)
    assert "report in /home/bob, where bob was at home, is not in its jail" in done.out, done
    machine.sh(
        next(line for line in done.out.split("\n") if "runuser" in line).partition("fix: ")[2]
    )
    works(machine, "bob", open_with_key(machine, "bob"), "ls report")
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"


def test_nobody_inherits_a_deleted_accounts_files(machine: Machine) -> None:
    """Not with the same uid either, which useradd gives again."""
    ready(machine, INSIDE)
    machine.run("useradd", "-u", "4000", "-G", "sftponly", "drop")
    works(machine, "drop", open_with_key(machine, "drop"), "put /etc/hostname secret")
    machine.run("userdel", "drop")
    assert machine.mode("/srv/sftp/drop/files") == "root:root 700"
    machine.run("useradd", "-u", "4000", "-G", "sftponly", "drop")
    refused(machine, "sftpjail", "apply", says="perhaps to an earlier account of that name")
    assert machine.exists("/srv/sftp/drop/files/secret")


def test_an_account_is_let_go_from_match_user(machine: Machine) -> None:
    machine.run("useradd", "-m", "mira")
    machine.sh("printf 'X11Forwarding yes\\n' >/etc/ssh/sshd_config.d/20-x.conf")
    ready(machine, f"{BIND}[[m]]\nmatch_user = mira,\n")
    machine.write(CONFIG, BIND)
    refused(machine, "sftpjail", "setup", says="sftpjail remove mira")
    machine.run("sftpjail", "remove", "mira")
    assert "ready" in machine.run("sftpjail", "setup").out
    machine.run("sftpjail", "teardown")


def test_a_jail_is_shut_for_every_connection(machine: Machine) -> None:
    """Not only for those to port 22 of this host."""
    ready(machine)
    jail(machine, "alice")
    for line in ("Match LocalPort 2222", "Match Address 10.0.0.0/8,!10.1.0.0/16"):
        machine.write("/etc/ssh/sshd_config.d/05-port.conf", f"{line}\n    ChrootDirectory none\n")
        done = machine.run("sftpjail", "check", check=False)
        assert (
            done.code == 3
            and "chrootdirectory /srv/sftp/%u is not in force for connections with " in done.out
        ), done
        machine.sh(
            re.findall("fix: (sed -i .* /etc/ssh/sshd_config.d/05-port.conf.*)", done.out)[0]
        )
        assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
        machine.run("rm", "/etc/ssh/sshd_config.d/05-port.conf")
    machine.write(
        "/etc/ssh/sshd_config.d/05-port.conf",
        "Match User alice Address 192.168.*\n    ForceCommand none\n",
    )
    done = machine.run("sftpjail", "check", check=False)
    assert (
        done.code == 3 and "forcecommand none for connections with addr 192.168.1.1" in done.out
    ), done
    machine.run("rm", "/etc/ssh/sshd_config.d/05-port.conf")
    machine.run("sftpjail", "remove", "alice")
    machine.run("sftpjail", "teardown")
    machine.run(
        "sed",
        "-i",
        "/^Include/d; $ a Match Address 127.0.0.1\\nInclude /etc/ssh/sshd_config.d/*.conf",
        "/etc/ssh/sshd_config",
    )
    refused(
        machine,
        "sftpjail",
        "setup",
        says="for connections with host stranger.invalid, addr 192.0.2.77",
    )


def test_a_group_that_got_another_name(machine: Machine) -> None:
    """A new and empty one of the old name would hide that nobody is in it any more."""
    ready(machine)
    key = jail(machine, "alice")
    machine.run("groupmod", "-n", "sftp2", "sftponly")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "the group sftponly is called sftp2 now" in done.err, done
    done = machine.run("sftpjail", "check", "--fix", check=False)
    assert machine.run("getent", "group", "sftponly", check=False).code == 2
    assert "groupmod -n sftponly sftp2 && sftpjail apply" in done.out, done
    assert "--prune" not in done.out, done
    machine.sh("groupmod -n sftponly sftp2 && sftpjail apply")
    works(machine, "alice", key)
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


def test_removal_tells_of_keys_that_count_again(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.sh(
        "install -d -o alice /home/alice/.ssh; cp /root/keys/alice.pub /home/alice/.ssh/authorized_keys"
    )
    said = machine.run("sftpjail", "remove", "alice")
    assert "logs in with the keys in /home/alice/.ssh/authorized_keys" in said.err, said


def test_adopting_opens_no_account_to_third_parties(machine: Machine) -> None:
    """sshd would not take keys that others could have written: no more do we."""
    ready(machine)
    machine.run("useradd", "-m", "bob")
    key = machine.keygen("carl")
    machine.sh(
        "install -d -o bob /home/bob/.ssh; install -o bob -m 666 /root/keys/carl.pub /home/bob/.ssh/authorized_keys"
    )
    refused(
        machine, "sftpjail", "adopt", "bob", says="others can write /home/bob/.ssh/authorized_keys"
    )
    shut(machine, "bob", key)


def test_a_jail_by_another_name_of_its_path_stays(machine: Machine) -> None:
    """The mounts of the old name once went, and nobody got in."""
    ready(machine)
    key = jail(machine, "ann")
    machine.sh("mkdir /srv/web && echo hello >/srv/web/file && ln -s sftp /srv/jails")
    machine.run("sftpjail", "mount", "ann", "/srv/web", "/web")
    before = mounted(machine)
    machine.write(CONFIG, f"{BIND}chroot = /srv/jails/%u\n")
    machine.run("sftpjail", "setup")
    works(machine, "ann", key, "ls /web/file")
    assert mounted(machine) == before
    targets = [line.split()[1] for line in fstab(machine, "ann")]
    assert sorted(targets) == ["/srv/jails/ann/home/ann", "/srv/jails/ann/web"]
    again(machine, "sftpjail", "apply")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    machine.run("sftpjail", "umount", "ann", "/web")
    machine.run("sftpjail", "remove", "ann")
    assert machine.run("ls", "-A", "/srv/sftp").out == "" and fstab(machine, "ann") == []


def test_a_moved_home_leaves_nothing_of_a_jail_behind(machine: Machine) -> None:
    """What is needed for the new home's mount stays ours while the old one's goes."""
    ready(machine)
    key = jail(machine, "ann")
    machine.run("usermod", "-m", "-d", "/home/new", "ann")
    machine.run("sftpjail", "apply")
    assert "directory: /home/new" in works(machine, "ann", key).out
    machine.run("sftpjail", "remove", "ann")
    assert machine.run("ls", "-A", "/srv/sftp").out == "" and fstab(machine, "ann") == []


ITCH = """\
import time
from sftpjail import WriteFile, hookimpl

@hookimpl
def on_user_create(account):
    return [WriteFile(account.jail + "/WHEN", str(time.time_ns()))]
"""


def test_a_plugin_that_is_never_done_is_left_out_by_name(machine: Machine) -> None:
    where = "import site; print(site.getsitepackages()[0])"
    packages = machine.run("python3", "-I", "-c", where).out.strip()
    machine.write(f"{packages}/itch.dist-info/entry_points.txt", "[sftpjail]\nitch = itch\n")
    about = "Metadata-Version: 2.1\nName: itch\nVersion: 1\n"
    machine.write(f"{packages}/itch.dist-info/METADATA", about)
    machine.write(f"{packages}/itch.py", ITCH)
    ready(machine, f"{QUIET}[plugins]\nallow = itch\n")
    key = jail(machine, "ann")
    assert not machine.exists("/srv/sftp/ann/WHEN")
    works(machine, "ann", key)
    done = machine.run("sftpjail", "apply")
    assert "plugin itch does not converge" in done.err and "was left out" in done.err, done
