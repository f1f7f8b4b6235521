"""The directory that other tests use: accounts from LDAP, through nslcd or SSSD, and their logins without a jail."""

from __future__ import annotations

import pytest
from directory import Directory
from machine import Machine

pytestmark = pytest.mark.directory

PEOPLE, EXTRA = 20000, 20001


@pytest.fixture
def ida(directory: Directory) -> str:
    """The key of Ida, who is in the directory; her home is there, and nothing of her in /etc."""
    machine = directory.machine
    key = machine.keygen("ida")
    directory.add_group("people", PEOPLE)
    directory.add_group("extra", EXTRA, "ida", "otto")
    directory.add_person("ida", 20010, gid=PEOPLE, keys=[machine.read(f"{key}.pub")])
    machine.sh("install -d -o ida -g people /home/ida; ! grep -q ida /etc/passwd /etc/group /etc/shadow")
    return key


def test_names(machine: Machine, directory: Directory, ida: str) -> None:
    assert machine.run("getent", "passwd", "ida").out == "ida:*:20010:20000:ida:/home/ida:/bin/bash\n"
    assert machine.run("getent", "passwd", "20010").out.startswith("ida:")
    assert machine.run("id", "-Gn", "ida").out == "people extra\n"
    assert machine.run("getent", "group", "extra").out in ("extra:*:20001:ida,otto\n", "extra:*:20001:otto,ida\n")
    assert machine.run("getent", "passwd", "nobody-there", check=False).code == 2
    assert machine.run("useradd", "ida", check=False).code == 9  # it is taken


def test_a_local_group_takes_them(machine: Machine, directory: Directory, ida: str) -> None:
    machine.run("groupadd", "local")
    machine.run("gpasswd", "-a", "ida", "local")
    assert machine.run("id", "-Gn", "ida").out.split() == ["people", "local", "extra"]


def test_come_and_gone(machine: Machine, directory: Directory, ida: str) -> None:
    directory.add_person("otto", 20011, gid=PEOPLE, home="/home/people/otto", shell="/usr/sbin/nologin")
    assert "otto:/home/people/otto:/usr/sbin/nologin\n" in machine.run("getent", "passwd", "otto").out
    directory.delete_person("otto")
    directory.delete_member("extra", "ida")
    directory.forget()
    assert machine.run("getent", "passwd", "otto", check=False).code == 2
    assert machine.run("id", "-Gn", "ida").out == "people\n"


def test_a_key_from_the_directory(machine: Machine, directory: Directory, ida: str) -> None:
    machine.start_sshd(f"-oAuthorizedKeysCommand={directory.keys_command}", "-oAuthorizedKeysCommandUser=nobody")
    done = machine.sftp("ida", ida, ["put /etc/hostname proof", "pwd"])
    assert done.code == 0 and "/home/ida" in done.out, done
    assert machine.mode("/home/ida/proof").startswith("ida:people ")
    assert machine.ssh("ida", ida, "id", "-un").out == "ida\n"

    other = machine.keygen("other")
    assert machine.sftp("ida", other, "pwd").code == 255
    directory.set_keys("ida", machine.read(f"{other}.pub"))
    directory.forget()
    assert machine.sftp("ida", other, "pwd").code == 0
    assert machine.sftp("ida", ida, "pwd").code == 255


def test_a_certificate(machine: Machine, directory: Directory, ida: str) -> None:
    ca, key = machine.keygen("ca"), machine.keygen("certified")
    machine.run("ssh-keygen", "-q", "-s", ca, "-I", "ida's", "-n", "ida", "-V", "+1h", f"{key}.pub")
    machine.start_sshd(f"-oTrustedUserCAKeys={ca}.pub")
    done = machine.sftp("ida", key, "pwd")
    assert done.code == 0 and "/home/ida" in done.out, done
    assert machine.sftp("ida", ida, "pwd").code == 255  # nobody asked the directory for a key


def test_down_and_up_again(machine: Machine, directory: Directory, ida: str) -> None:
    machine.start_sshd(f"-oAuthorizedKeysCommand={directory.keys_command}", "-oAuthorizedKeysCommandUser=nobody")
    for down, up in (
        (directory.stop_server, directory.start_server),
        (directory.freeze_server, directory.thaw_server),
        (directory.stop_client, directory.start_client),
    ):
        directory.add_person("never-seen", 20020, gid=PEOPLE, keys=[machine.read(f"{ida}.pub")])
        down()
        assert machine.sftp("never-seen", ida, "pwd").code == 255, down
        assert machine.run("getent", "passwd", "root").code == 0
        up()
        assert machine.sftp("ida", ida, "pwd").code == 0, up
        directory.delete_person("never-seen")


def test_gone_is_not_down(machine: Machine, directory: Directory, ida: str) -> None:
    """What tells a deleted account from one that cannot be asked for, and where nothing does."""
    directory.stop()
    directory.start_server()
    directory.start_client(**({"memcache_timeout": "0"} if directory.client == "sssd" else {}))
    assert directory.look_up("ida") == directory.look_up("extra", "group") == "found"
    assert directory.look_up("nix") == directory.look_up("nix", "group") == "not found"
    directory.add_person("unseen", 20011, gid=PEOPLE)
    directory.stop_server()
    if directory.client == "nslcd":
        assert directory.look_up("ida") == directory.look_up("extra", "group") == "No such file or directory"
    else:  # it has the seen ones for ever, and denies the others
        assert directory.look_up("ida") == directory.look_up("extra", "group") == "found"
        assert directory.look_up("unseen") == "not found"
    directory.stop_client()
    assert (
        directory.look_up("ida")
        == {"nslcd": "No such file or directory", "sssd": "Connection refused"}[directory.client]
    )
    assert machine.run("getent", "passwd", "ida", check=False).code == 2
    assert machine.run("id", "ida", check=False).err == "id: \u2018ida\u2019: no such user\n"


def test_sssd_says_whether_it_is_online(machine: Machine) -> None:
    directory = Directory(machine)
    if directory.client == "nslcd":
        return  # it needs no such thing
    directory.start(infopipe=True)
    assert directory.look_up("nix") == "not found" and directory.online()
    directory.stop_server()
    assert directory.look_up("nix2") == "not found" and not directory.online()
    directory.start_server()
    assert directory.online()
    directory.freeze_server()
    assert directory.look_up("nix3") == "not found" and not directory.online()
    directory.stop_client()
    assert not directory.online()


def test_who_cannot_be_asked_is_in_no_group(machine: Machine, directory: Directory, ida: str) -> None:
    """sshd takes groups that nobody answers for as groups that the account is not in: a Match Group does not hold."""
    machine.run("useradd", "-m", "otto")
    machine.write("/etc/ssh/sshd_config.d/jail.conf", "Match Group extra\n    ForceCommand echo jailed\n")
    machine.start_sshd("-oAuthorizedKeysFile=/root/keys/ida.pub", "-oStrictModes=no")
    machine.sh("chmod 755 /root /root/keys; chmod 644 /root/keys/ida.pub")
    named = "otto" if directory.client == "nslcd" else "ida"  # SSSD has no groups for who is in /etc/passwd
    assert machine.ssh(named, ida, "echo free").out == "jailed\n"
    if directory.client == "sssd":
        directory.stop_client()
        machine.sh("rm -f /var/lib/sss/db/* /var/lib/sss/mc/*")
        directory.start_client()
        machine.run("getent", "passwd", "ida")  # as ls -l does
    directory.stop_server()
    assert machine.ssh(named, ida, "echo free").out == "free\n"
    machine.append("/etc/ssh/sshd_config.d/jail.conf", "Match all\n    AllowGroups root extra\n")
    machine.restart_sshd("-oAuthorizedKeysFile=/root/keys/ida.pub", "-oStrictModes=no")
    assert machine.ssh(named, ida, "echo free").code == 255


def test_many(machine: Machine, directory: Directory, ida: str) -> None:
    directory.add_many(10_000, gid=PEOPLE, members_of="extra")
    directory.forget()
    directory.searches()
    assert machine.run("id", "-Gn", "many9999").out == "people extra\n"
    asked = directory.searches()
    assert asked and max(search.found for search in asked) <= 2, asked
    if directory.client == "nslcd":  # the only one that lists everybody for whom asks
        assert machine.run("getent", "passwd").out.count("\nmany") == 10_000
        assert max(search.found for search in directory.searches()) > 10_000
    else:
        assert "many" not in machine.run("getent", "passwd").out
