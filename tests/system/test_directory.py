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
