"""The directory that other tests use: accounts from LDAP, through nslcd or SSSD, and their logins without a jail."""

from __future__ import annotations

import json

import pytest
from directory import Directory
from machine import Machine, changes
from steps import doors, mounted, refused, shut, snapshot, works

from sftpjail.formats.user_managers import DROPIN, script

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
    machine.sh(
        "install -d -o ida -g people /home/ida; ! grep -q ida /etc/passwd /etc/group /etc/shadow"
    )
    return key


def test_names(machine: Machine, directory: Directory, ida: str) -> None:
    assert (
        machine.run("getent", "passwd", "ida").out == "ida:*:20010:20000:ida:/home/ida:/bin/bash\n"
    )
    assert machine.run("getent", "passwd", "20010").out.startswith("ida:")
    assert machine.run("id", "-Gn", "ida").out == "people extra\n"
    assert machine.run("getent", "group", "extra").out in (
        "extra:*:20001:ida,otto\n",
        "extra:*:20001:otto,ida\n",
    )
    assert machine.run("getent", "passwd", "nobody-there", check=False).code == 2
    assert machine.run("useradd", "ida", check=False).code == 9  # it is taken


def test_a_local_group_takes_them(machine: Machine, directory: Directory, ida: str) -> None:
    machine.run("groupadd", "local")
    machine.run("gpasswd", "-a", "ida", "local")
    assert machine.run("id", "-Gn", "ida").out.split() == ["people", "local", "extra"]


def test_come_and_gone(machine: Machine, directory: Directory, ida: str) -> None:
    directory.add_person(
        "otto", 20011, gid=PEOPLE, home="/home/people/otto", shell="/usr/sbin/nologin"
    )
    assert (
        "otto:/home/people/otto:/usr/sbin/nologin\n" in machine.run("getent", "passwd", "otto").out
    )
    directory.delete_person("otto")
    directory.delete_member("extra", "ida")
    directory.forget()
    assert machine.run("getent", "passwd", "otto", check=False).code == 2
    assert machine.run("id", "-Gn", "ida").out == "people\n"


def test_a_key_from_the_directory(machine: Machine, directory: Directory, ida: str) -> None:
    machine.start_sshd(
        f"-oAuthorizedKeysCommand={directory.keys_command}", "-oAuthorizedKeysCommandUser=nobody"
    )
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
    machine.start_sshd(
        f"-oAuthorizedKeysCommand={directory.keys_command}", "-oAuthorizedKeysCommandUser=nobody"
    )
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
        assert (
            directory.look_up("ida")
            == directory.look_up("extra", "group")
            == "No such file or directory"
        )
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


def test_who_cannot_be_asked_is_in_no_group(
    machine: Machine, directory: Directory, ida: str
) -> None:
    """sshd takes groups that nobody answers for as groups that the account is not in: a Match Group does not hold."""
    machine.run("useradd", "-m", "otto")
    machine.write(
        "/etc/ssh/sshd_config.d/jail.conf", "Match Group extra\n    ForceCommand echo jailed\n"
    )
    machine.start_sshd("-oAuthorizedKeysFile=/root/keys/ida.pub", "-oStrictModes=no")
    machine.sh("chmod 755 /root /root/keys; chmod 644 /root/keys/ida.pub")
    named = (
        "otto" if directory.client == "nslcd" else "ida"
    )  # SSSD has no groups for who is in /etc/passwd
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


# --- jails of people whom no useradd ever made

OTHERS = ("/var/lib/ldap", "/var/lib/sss")  # their files change when they are asked
CONFIG = """
[profiles]
[[dirusers]]
mounts = {mounts}
home = {home}
keys_command = {command}
"""


def jails(directory: Directory, mounts: str, home: str = "bind") -> Machine:
    """A host that is set up for the members of a group of the directory."""
    directory.add_group("dirusers", 20002, "ida")
    return jails_of_local(directory, mounts, home)


def jails_of_local(directory: Directory, mounts: str = "session", home: str = "bind") -> Machine:
    """A host that is set up for the members of the group dirusers, wherever that is."""
    machine = directory.machine
    command = directory.keys_command.removesuffix(" %u")
    machine.write(
        "/etc/sftpjail/sftpjail.conf", CONFIG.format(mounts=mounts, home=home, command=command)
    )
    machine.start_sshd()
    machine.start_rsyslog()
    machine.run("sftpjail", "setup")
    machine.restart_rsyslog()
    return machine


@pytest.fixture
def stranger(directory: Directory) -> str:
    """The key of Ida, of whom this host has never heard."""
    key = directory.machine.keygen("ida")
    directory.add_group("people", PEOPLE)
    directory.add_person("ida", 20010, gid=PEOPLE, keys=[directory.machine.read(f"{key}.pub")])
    return key


@pytest.mark.parametrize(
    ("mounts", "home"), [("session", "bind"), ("session", "inside"), ("fstab", "bind")]
)
def test_first_login(
    machine: Machine, directory: Directory, stranger: str, mounts: str, home: str
) -> None:
    """By a key of the directory, in one attempt; and then all that a jail can."""
    jails(directory, mounts, home)
    assert machine.run("sftpjail", "list").out == ""
    works(machine, "ida", stranger, "put /etc/hostname up")
    machine.wait_for("/var/log/sftp.log", r'close "/home/ida/up" bytes read 0 written \d')
    assert "put" in machine.run("sftpjail", "log", "ida").out
    assert doors(machine, "ida", stranger) == []
    place = "/home/ida" if home == "bind" else "/srv/sftp/ida/home/ida"
    assert machine.mode(place).startswith("ida:people 7") and machine.exists(f"{place}/up")
    assert machine.exists("/home/ida/.profile") == (home == "bind"), (
        "a home of its own has a skeleton"
    )
    live = ["/srv/sftp/ida/dev", "/srv/sftp/ida/home/ida"] if mounts == "fstab" else []
    assert mounted(machine) == live
    tested = machine.run("sftpjail", "test", "ida")
    assert "ida: 18 of 18 ok\n" in tested.out, tested
    machine.write("/srv/web/page", "page\n")
    machine.run("sftpjail", "mount", "ida", "/srv/web", "/web")
    works(machine, "ida", stranger, "get /web/page /tmp/page")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    assert machine.run("sftpjail", "list").out.startswith("ida\tdirusers\t/srv/sftp/ida\t0\t")
    explained = machine.run("sftpjail", "explain", "ida").out
    assert "name service" in explained and "SHA256:" in explained, explained
    before = snapshot(machine)
    assert "nothing to do" in machine.run("sftpjail", "apply").out
    assert [
        path for path in changes(before, snapshot(machine)) if not path.startswith(OTHERS)
    ] == []


def test_a_certificate_opens_a_jail(machine: Machine, directory: Directory) -> None:
    """And principals say whose."""
    directory.add_group("people", PEOPLE)
    directory.add_group("dirusers", 20002, "ida")
    directory.add_person("ida", 20010, gid=PEOPLE)
    ca, key, other = machine.keygen("ca"), machine.keygen("certified"), machine.keygen("other")
    machine.run("install", "-m", "644", f"{ca}.pub", "/etc/ssh/ca.pub")
    machine.write(
        "/etc/sftpjail/sftpjail.conf",
        "[logs]\nbackend = none\n[profiles]\n[[dirusers]]\nmounts = session\ntrusted_ca = /etc/ssh/ca.pub\n"
        "principals = /etc/ssh/principals/%u\n",
    )
    machine.start_sshd()
    machine.run("sftpjail", "setup")
    machine.run(
        "ssh-keygen", "-q", "-s", ca, "-I", "one", "-n", "customer-7", "-V", "+1h", f"{key}.pub"
    )
    machine.run(
        "ssh-keygen", "-q", "-s", ca, "-I", "two", "-n", "customer-8", "-V", "+1h", f"{other}.pub"
    )
    shut(machine, "ida", key)
    said = machine.run("sftpjail", "explain", "ida", check=False)
    assert "/etc/ssh/principals/ida names no principal for ida" in " ".join(said.out.split()), said
    machine.write("/etc/ssh/principals/ida", "customer-7\n", 0o644)
    works(machine, "ida", key)
    shut(machine, "ida", other)
    explained = machine.run("sftpjail", "explain", "ida").out
    assert "customer-7" in explained and "authorities" in explained
    assert "ida: 18 of 18 ok\n" in machine.run("sftpjail", "test", "ida").out
    machine.run("sftpjail", "disable", "ida", "--reason", "left")
    assert "ida" in machine.read("/etc/sftpjail/closed").split()
    shut(machine, "ida", key)
    assert machine.run("sftpjail", "list").out.endswith("\tdisabled\n")
    machine.run("sftpjail", "enable", "ida")
    works(machine, "ida", key)


def test_with_the_directory_down_nobody_gets_out(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    """Also not by a key that its owner has put into the home, where sshd would look if it knew nothing of the group."""
    jails(directory, "session")
    machine.run("useradd", "-m", "-s", "/bin/sh", "bob")
    bob = machine.keygen("bob")
    for name in ("bob", "lars"):
        machine.run("useradd", "-m", "-s", "/bin/sh", name, check=False)
        machine.write(f"/home/{name}/.ssh/authorized_keys", machine.read(f"{bob}.pub"), 0o644)
    directory.add_member("dirusers", "lars")
    directory.forget()
    works(machine, "ida", stranger, "mkdir .ssh", f"put {stranger}.pub .ssh/authorized_keys")
    if (
        directory.client == "nslcd"
    ):  # SSSD gives local users no group of the directory, so lars is no prisoner there
        machine.run("sftpjail", "key", "add", "lars", f"{bob}.pub")
        machine.run("sftpjail", "adopt", "lars")
        works(machine, "lars", bob)
    machine.run("sftpjail", "apply")
    before = snapshot(machine)
    for down, up in (
        (directory.stop_server, directory.start_server),
        (directory.stop_client, directory.start_client),
    ):
        directory.forget()
        down()
        assert (
            machine.ssh("ida", stranger, "id").code == 255
            or machine.sftp("ida", stranger, "ls /etc").code
        )
        assert "uid=" not in machine.ssh("ida", stranger, "id").out
        if directory.client == "nslcd":
            assert "uid=" not in machine.ssh("lars", bob, "id").out, (
                "sshd saw no group, and PAM did not let him pass"
            )
        assert "uid=" in machine.ssh("bob", bob, "id").out
        done = machine.run("sftpjail", "apply", "--prune", check=False)
        left = changes(before, snapshot(machine))
        assert [path for path in left if not path.startswith(OTHERS)] == [], done
        if directory.client == "nslcd":
            assert done.code == 1 and "does not answer" in done.err, done
            said = machine.run("sftpjail", "check", check=False)
            assert said.code == 3 and "does not answer" in said.out, said
            refused(machine, "sftpjail", "remove", "ida", says="does not answer")
            refused(
                machine,
                "sftpjail",
                "teardown",
                "--close-accounts",
                says="it is not known who is still jailed",
            )
        up()
        works(machine, "ida", stranger)


def test_teardown_lets_nobody_out_who_has_never_been_here(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    """By their group or their primary group: nothing on this host says their names."""
    jails(directory, "session")
    before = snapshot(machine)

    def refuses(says: str, *options: str) -> None:
        done = machine.run("sftpjail", "teardown", *options, check=False)
        assert done.code == 1 and says in done.err, done
        assert [
            path for path in changes(before, snapshot(machine)) if not path.startswith(OTHERS)
        ] == []

    refuses("has ida in dirusers", "--close-accounts")
    directory.delete_member("dirusers", "ida")
    directory.add_person("pia", 20012, gid=20002)
    directory.forget()
    refuses("has pia in dirusers" if directory.client == "nslcd" else "has its members in dirusers")
    directory.stop_server()
    directory.forget()
    refuses("it is not known who is still jailed" if directory.client == "nslcd" else "in dirusers")
    directory.start_server()
    directory.delete_person("pia")
    directory.delete_group("dirusers")
    directory.forget()
    assert "as it was" in machine.run("sftpjail", "teardown").out


def test_who_disappears_is_listed_and_pruned(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    jails(directory, "session")
    other = machine.keygen("otto")
    directory.add_person("otto", 20011, gid=PEOPLE, keys=[machine.read(f"{other}.pub")])
    directory.add_member("dirusers", "otto")
    directory.forget()
    works(machine, "ida", stranger)
    works(machine, "otto", other, "put /etc/hostname up")
    directory.delete_person("otto")
    directory.forget()
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and "otto: left something of a jail behind" in said.out, said
    machine.run("sftpjail", "apply", "--prune")
    assert not machine.exists("/etc/sftpjail/mounts/otto") and not machine.exists("/srv/sftp/otto")
    assert machine.exists("/home/otto/up"), "data stays"
    works(machine, "ida", stranger)
    directory.delete_person("ida")
    directory.forget()
    done = machine.run("sftpjail", "apply", "--prune", check=False)
    assert done.code == 1 and "sftpjail remove ida" in done.err, done
    assert machine.exists("/etc/sftpjail/mounts/ida"), (
        "nobody of the directory is left to tell that it is there at all"
    )
    machine.run("sftpjail", "remove", "ida")
    assert not machine.exists("/etc/sftpjail/mounts/ida")


def test_nothing_lists_the_directory(machine: Machine, directory: Directory, stranger: str) -> None:
    jails(directory, "session")
    directory.add_many(10_000, gid=PEOPLE, members_of="dirusers")
    directory.forget()
    works(machine, "ida", stranger)
    for command in (("list",), ("check",), ("apply",), ("explain", "ida")):
        directory.searches()
        machine.run("sftpjail", *command, check=False)
        entries = directory.searches()
        assert max((search.found for search in entries), default=0) <= 3, (command, entries[:5])
        assert len(entries) < 200, (command, len(entries))


def test_whose_user_manager_is_denied_is_known_without_directory(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    """By what systemd runs before it starts one: 1 refuses. Whoever is no member is never refused."""
    jails(directory, "session")
    works(machine, "ida", stranger)
    directory.add_person("otto", 20011, gid=PEOPLE)
    machine.run("useradd", "-m", "-u", "4711", "bob")
    text = script(machine.read(DROPIN))
    expected = {20010: 1, 20011: 0, 4711: 0, 4712: 0}

    def decided() -> dict[int, int]:
        return {
            uid: machine.run("sh", "-c", text.replace("%i", str(uid)), check=False).code
            for uid in expected
        }

    assert decided() == expected
    for down, up in (
        (directory.stop_server, directory.start_server),
        (directory.stop_client, directory.start_client),
    ):
        directory.forget()
        down()
        assert decided() == expected
        up()


def test_members_of_userdb_get_no_user_manager(machine: Machine, directory: Directory) -> None:
    """Accounts of nss-systemd(8), in a group of the directory service: erin is a member, frank is not."""
    jails(directory, "session")
    for name, uid, gid in (("erin", 4242, 20002), ("frank", 4243, 100)):
        record = {"userName": name, "uid": uid, "gid": gid, "homeDirectory": f"/home/{name}"}
        machine.write(f"/etc/userdb/{name}.user", json.dumps(record))
        machine.run("ln", "-s", f"{name}.user", f"/etc/userdb/{uid}.user")
    machine.sh("sed -Ei 's/^(passwd|group):.*/& systemd/' /etc/nsswitch.conf")
    assert (
        "dirusers" in machine.run("id", "-Gn", "4242").out
        and machine.run("id", "-nu", "4243").out == "frank\n"
    )
    text = script(machine.read(DROPIN))
    decided = {
        uid: machine.run("sh", "-c", text.replace("%i", uid), check=False).code
        for uid in ("4242", "4243")
    }
    assert decided == {"4242": 1, "4243": 0}


def states(machine: Machine) -> dict[str, str]:
    """What `list` says of each jail."""
    found = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return {one["user"]: one["state"] for one in found}


def sees_the_host(machine: Machine, name: str, key: str) -> bool:
    return "uid=" in machine.ssh(name, key, "id").out


def test_a_local_group_with_the_gid_of_a_directorys(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    """sshd knows the gid by the local name alone, so that the directory's group jails nobody."""
    jails(directory, "session")
    works(machine, "ida", stranger)
    assert states(machine) == {"ida": "ok"}
    machine.run("groupadd", "-o", "-g", "20002", "crew")
    directory.forget()
    assert machine.run("id", "-Gn", "ida").out.split() == ["people", "crew"]
    assert states(machine) == {"ida": "open"}
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3, done
    assert "the group crew has the gid of dirusers (20002), and comes before it" in done.out, done
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "shut out until this is fixed: the group crew" in done.err, done
    assert not sees_the_host(machine, "ida", stranger)
    shut(machine, "ida", stranger)
    assert states(machine) == {"ida": "closed"}
    machine.run("groupdel", "crew")
    directory.forget()
    machine.run("sftpjail", "apply")
    works(machine, "ida", stranger)
    machine.run("sftpjail", "check")


def test_a_directorys_group_with_the_gid_of_a_local_one(
    machine: Machine, directory: Directory, stranger: str
) -> None:
    """Who is in it is in the jail group, for sshd and for us; `check` says so."""
    directory.add_group("eng", 20002, "ida", "bob")
    machine.sh("groupadd -o -g 20002 dirusers; useradd -m bob; useradd -m carl")
    jails_of_local(directory)
    done = machine.run("sftpjail", "teardown", check=False)
    assert done.code == 1 and "has ida in dirusers" in done.err, done
    works(machine, "ida", stranger)
    assert states(machine)["ida"] == "ok"
    key = machine.keygen("bob")
    for name in ("bob", "carl"):
        machine.sh(
            f"install -d -o {name} /home/{name}/.ssh;"
            f"install -o {name} {key}.pub /home/{name}/.ssh/authorized_keys"
        )
    machine.run("sftpjail", "apply")
    of_bob = "dirusers" in machine.run("id", "-Gn", "bob").out.split()
    assert ("bob" in states(machine)) == of_bob, "sshd jails him where the service says so"
    assert sees_the_host(machine, "bob", key) == (not of_bob)
    assert "carl" not in states(machine)
    said = machine.run("sftpjail", "check", check=False).out
    assert "the group eng has the gid of dirusers (20002) too" in said, said
    if of_bob:
        done = machine.run("sftpjail", "remove", "bob", check=False)
        assert done.code == 1 and "bob is in eng of a directory service" in done.err, done
