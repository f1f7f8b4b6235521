"""Keys: what is taken in and what is not, real logins with what was, and nobody locked out by a migration."""

from __future__ import annotations

import re
import time

import pytest
from machine import Machine, changes
from steps import QUIET, again, jail, ready, refused, settings, shut, snapshot, works

pytestmark = pytest.mark.halved

KEYS = "/etc/ssh/authorized_keys"
# No ssh-keygen of today makes DSA keys; this one has numbers of the right sizes.
DSA = (
    "ssh-dss AAAAB3NzaC1kc3MAAACBAM1EfjW4ttj+RC49Q3IE5S2yIhpYAIoFpsRkcVnDJMmFm4EOdm7J0oZjyoKN1fSzsuSwbOYHQceofOQs"
    "ghgHLow1v5ktyenGFmEudpamzswbeOUQYXMR2KPCzm9EftTVex4v64lBTDQ8ECfE0cOGu8TNYT4w2PFq35G3WEoiZbH1AAAAFQDmw/M5GiuP"
    "H/H9QqKXVdTBOpApMQAAAIBlF5BV88ZK93WokpTCzXiaOAIIqa1F8j07GhHfWH/SgDurbDmNiDSKfu2NFPBtP+9wGWagw4HojzjAyP2HEri8"
    "B283h7nReeBsD9T1+BMMQjdzDt+vvWf5YZaZz+GYitnwbBRKAltBP4qaAh6mSKfdBoOeuQW25uMH1L7cUUMRkwAAAIAzamPHMJn99auZJUrp"
    "AeNc1H04DYH5wfZsDzRZ95sXru+6kfyANGi2thCp9/knD064szOo5URt1FUrgva+PtwKHvKk8EvgPbDcJXS9uUBn7f4XUzChHUWaL5eNhxmZ"
    "nj+kbWdT7BSMtI5zykfqkKjw1muCnmqKxLoFgFl17S+J2Q== dsa@old"
)


def two(machine: Machine) -> str:
    """A ready host with alice, who has no key yet."""
    ready(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    return machine.keygen("one")


def add(machine: Machine, *sources: str, input: str | None = None) -> None:
    machine.run("sftpjail", "key", "add", "alice", *sources, input=input)


def test_from_files_and_standard_input(machine: Machine) -> None:
    one = two(machine)
    second, third = machine.keygen("second"), machine.keygen("third")
    public = {name: machine.read(f"/root/keys/{name}.pub") for name in ("one", "second", "third")}
    add(machine, f"{one}.pub", "-", input=f"# two of them\n\n{public['second']}{public['third']}")
    for key in (one, second, third):
        works(machine, "alice", key)
    assert machine.mode(f"{KEYS}/alice") == "root:root 644"
    again(machine, "sftpjail", "key", "add", "alice", f"{one}.pub", f"{second}.pub", f"{one}.pub")
    machine.write("/root/renamed", f"{' '.join(public['one'].split()[:2])} another comment\r\n")
    again(machine, "sftpjail", "key", "add", "alice", "/root/renamed")

    listed = machine.run("sftpjail", "key", "list", "alice").out
    prints = [
        machine.run("ssh-keygen", "-l", "-f", f"/root/keys/{name}.pub").out.split()[1]
        for name in public
    ]
    assert all(fingerprint in listed for fingerprint in prints) and "second" in listed
    machine.run("sftpjail", "key", "remove", "alice", prints[0], "third")
    refused(machine, "sftpjail", "key", "remove", "alice", prints[0], says="does not have the key")
    shut(machine, "alice", one)
    shut(machine, "alice", third)
    works(machine, "alice", second)


def test_a_name_an_end_an_address_and_a_replacement(machine: Machine) -> None:
    one = two(machine)
    second, third = machine.keygen("second"), machine.keygen("third")
    words = ["--from", "127.0.0.0/8,::1", "--expires", "2099-12-31"]
    machine.run("sftpjail", "key", "add", "alice", f"{one}.pub", "--name", "the first", *words)
    assert 'from="127.0.0.0/8,::1",expiry-time="21000101" ssh-' in machine.read(f"{KEYS}/alice")
    works(machine, "alice", one)
    add(machine, f"{third}.pub", "--from", "192.0.2.1")
    shut(machine, "alice", third)
    for wrong in ("127.0.0.1/8", 'a"b', "!127.0.0.1", ""):
        given = ["--from", f"{wrong},"] if not wrong else ["--from", wrong]
        refused(machine, "sftpjail", "key", "add", "alice", f"{second}.pub", *given, code=2)
    done = machine.run(
        *("sftpjail", "key", "replace", "alice", "the first", f"{second}.pub"), check=False
    )
    assert done.code == 0, done
    works(machine, "alice", second)
    shut(machine, "alice", one)
    machine.run("sftpjail", "key", "replace", "--overlap", "7d", "alice", "second", f"{one}.pub")
    works(machine, "alice", one)
    works(machine, "alice", second)
    assert machine.read(f"{KEYS}/alice").count("expiry-time=") == 1
    said = machine.run("sftpjail", "history", "alice").out.splitlines()[-1]
    last = time.strftime("%Y-%m-%d", time.localtime(time.time() + 7 * 86400))
    assert re.search(rf"can still log in with SHA256:\S+ second until {last}", said), said
    assert "can no longer" not in said and "one until" not in said, said
    # The same again, and for longer: a key that is on its way out does not last longer.
    for overlap in ("7d", "12w"):
        words = ["key", "replace", "--overlap", overlap, "alice", "second", f"{one}.pub"]
        again(machine, "sftpjail", *words)
    ends = re.search(r'expiry-time="\d+"', machine.read(f"{KEYS}/alice"))
    machine.run("sftpjail", "key", "replace", "--overlap", "1", *words[-3:])
    assert ends and ends[0] not in machine.read(f"{KEYS}/alice")
    works(machine, "alice", second)
    machine.sh(f"sed -i 's/expiry-time=\"[0-9]*/expiry-time=\"20010101/' {KEYS}/alice")
    shut(machine, "alice", second)
    # What sshd would not take is refused, and of what it no longer takes it is said.
    line = machine.read(f"{third}.pub")
    machine.run("sftpjail", "key", "remove", "alice", f"{third}.pub")
    for options in ('from="::1",from="127.0.0.1"', 'expiry-time="31.12.2099"'):
        said = refused(machine, "sftpjail", "key", "add", "alice", "-", input=f"{options} {line}")
        assert "sshd takes no" in said, said
    old = f'expiry-time="200101010000UTC" {line}'
    done = machine.run("sftpjail", "key", "add", "alice", "-", input=old)
    assert "which sshd has refused since 2001-01-01" in done.out, done
    shut(machine, "alice", third)


def test_other_formats_and_types(machine: Machine) -> None:
    two(machine)
    for kind, *bits in (("rsa", "-b", "2048"), ("ecdsa", "-b", "521")):
        key = f"/root/keys/{kind}"
        machine.run(
            "ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", f"{kind} of alice", "-f", key
        )
    for kind, form in (("rsa", "RFC4716"), ("ecdsa", "PKCS8")):
        machine.write(
            "/root/foreign",
            machine.run("ssh-keygen", "-e", "-m", form, "-f", f"/root/keys/{kind}.pub").out,
        )
        add(machine, "/root/foreign")
        works(machine, "alice", f"/root/keys/{kind}")
        again(machine, "sftpjail", "key", "add", "alice", f"/root/keys/{kind}.pub")


def test_what_is_refused(machine: Machine) -> None:
    key = machine.read(f"{two(machine)}.pub")
    machine.run("ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", "/root/keys/weak")
    weak, private = machine.read("/root/keys/weak.pub"), machine.read("/root/keys/one")
    for text, says in (
        (weak, "1024 bits is too weak"),
        (DSA, "DSA"),
        (f'command="sh" {key}', "option command"),
        (f'environment="LD_PRELOAD=x" {key}', "option environment"),
        (f"cert-authority {key}", "option cert-authority"),
        (f'permitopen="h:1" {key}', "option permitopen"),
        (f'no-pty,PORT-FORWARDING,from="*" {key}', "option port-forwarding"),
        (f'from="* {key}', "not a public key"),
        (key.replace("AAAA", "AAAB", 1), "not a public key"),
        (f"{key}{weak}", "line 2"),
        (private, "private"),
        ("", "no key"),
        ("root:x:0:0\n", "not a public key"),
        (key.replace("one", "a\x1bb"), "control character"),
    ):
        said = refused(machine, "sftpjail", "key", "add", "alice", "-", input=text, says=says)
        assert "PRIVATE KEY-----\nb3" not in said
    refused(
        machine, "sftpjail", "key", "add", "alice", "/root/none.pub", says="/root/none.pub", code=2
    )
    refused(machine, "sftpjail", "key", "add", "bob", "-", input=key, says="no account bob")
    machine.run("useradd", "-m", "bob")
    refused(machine, "sftpjail", "key", "add", "bob", "-", input=key, says="not jailed")


def test_options_are_kept_and_work(machine: Machine) -> None:
    one = two(machine)
    lines = {
        "here": f'from="127.0.0.1",restrict {machine.read(f"{one}.pub")}',
        "elsewhere": f'from="192.0.2.1" {machine.read(machine.keygen("elsewhere") + ".pub")}',
        "expired": f'expiry-time="20200101" {machine.read(machine.keygen("expired") + ".pub")}',
        "lasting": f'expiry-time="20990101",no-pty {machine.read(machine.keygen("lasting") + ".pub")}',
    }
    add(machine, "-", input="".join(lines.values()))
    assert sorted(machine.read(f"{KEYS}/alice").splitlines()) == sorted(
        line.strip() for line in lines.values()
    )
    works(machine, "alice", one)
    works(machine, "alice", "/root/keys/lasting")
    shut(machine, "alice", "/root/keys/elsewhere")
    shut(machine, "alice", "/root/keys/expired")
    for words in (("key", "list"), ("show",), ("explain",)):
        said = machine.run("sftpjail", *words, "alice").out
        assert said.count("(expired)") == 1, said
    refused(machine, "sftpjail", "key", "add", "alice", f"{one}.pub", says="with other options")
    machine.run("sftpjail", "key", "remove", "alice", "expired", "elsewhere")
    assert len(machine.read(f"{KEYS}/alice").splitlines()) == 2


COUNTED = """#!/bin/sh
echo >>/root/started
exec /usr/bin/ssh-keygen.real "$@"
"""
MANY = """
import base64, os
for n in range(10_000):
    data = b"\\0\\0\\0\\x0bssh-ed25519\\0\\0\\0 " + os.urandom(32)
    print("ssh-ed25519", base64.b64encode(data).decode(), f"user{n:05}@laptop.org")
"""


def test_a_large_file_costs_one_ssh_keygen(machine: Machine) -> None:
    """Where they are added, with add, and where a home's are taken along; for what is there one more."""
    two(machine)
    for place in ("many", "others", "home"):
        machine.write(f"/root/{place}", machine.run("python3", "-c", MANY).out)
    size = int(machine.run("stat", "-c", "%s", "/root/many").out)
    assert 1_000_000 < size < 1 << 20
    machine.run("mv", "/usr/bin/ssh-keygen", "/usr/bin/ssh-keygen.real")
    machine.write("/usr/bin/ssh-keygen", COUNTED, 0o755)

    def started(*argv: str) -> int:
        machine.write("/root/started", "")
        machine.run(*argv)
        return machine.read("/root/started").count("\n")

    assert started("sftpjail", "key", "add", "alice", "/root/many") == 1
    assert machine.read(f"{KEYS}/alice") == machine.read("/root/many")
    assert started("sftpjail", "key", "list", "alice") == 1
    assert started("sftpjail", "key", "add", "alice", "/root/many") == 1 + 1
    assert started("sftpjail", "add", "bob", "--key", "/root/others") == 1
    assert machine.read(f"{KEYS}/bob") == machine.read("/root/others")
    machine.sh("useradd -m eve; install -d -o eve /home/eve/.ssh")
    machine.sh("install -o eve -m 600 /root/home /home/eve/.ssh/authorized_keys")
    assert started("sftpjail", "adopt", "eve") == 1
    assert machine.read(f"{KEYS}/eve") == machine.read("/root/home")


def test_a_source_is_read_before_the_lock_and_never_without_end(machine: Machine) -> None:
    two(machine)
    machine.sh("mkfifo /root/fifo; head -c 2M /dev/zero >/root/large; ln -s /dev/zero /root/link")
    machine.write("/root/lines", "#\n" * 30_000)
    for source, says in (
        ("/dev/zero", "/dev/zero: it is a device"),
        ("/root/link", "it is a device"),
        ("/dev/tty", "/dev/tty: "),
        ("/root/fifo", "it is a named pipe"),
        ("/root", "it is a directory"),
        ("/root/large", "more than 1048576 bytes"),
    ):
        refused(machine, "sftpjail", "key", "add", "alice", source, says=says, code=2, timeout=10)
        refused(machine, "sftpjail", "add", "bob", "--key", source, says=says, code=2, timeout=10)
    refused(
        machine,
        "sftpjail",
        "key",
        "add",
        "alice",
        "/root/lines",
        says="more than 20000 lines",
        timeout=10,
    )
    endless = "sftpjail key add alice - </dev/zero"
    refused(
        machine,
        "sh",
        "-c",
        endless,
        says="standard input: it has more than 1048576 bytes",
        code=2,
        timeout=10,
    )
    assert not machine.exists(f"{KEYS}/bob")
    # What the shell makes of <(ssh-add -L), a file by a relative path, and standard input by its
    # other name.
    for number, command in enumerate(("<(cat -)", "now", "/dev/stdin")):
        own = machine.read(f"{machine.keygen(f'k{number}')}.pub")
        machine.write("/root/now", own)
        machine.run("bash", "-c", f"cd /root && sftpjail key add alice {command}", input=own)
        assert own in machine.read(f"{KEYS}/alice")
    # Who waits for a source holds no lock.
    last = machine.keygen("last")
    slow = "sftpjail key add alice <(sleep 20) & waiting=$!; sleep 0.5"
    machine.run(
        "bash",
        "-ec",
        f"{slow}; timeout 10 sftpjail key add alice {last}.pub; kill $waiting",
        timeout=30,
    )
    assert machine.read(f"{last}.pub") in machine.read(f"{KEYS}/alice")


# -- migrate -------------------------------------------------------------------------------------


def with_key_at_home(machine: Machine, user: str, *options: str) -> str:
    machine.run("useradd", "-m", "-s", "/bin/sh", *options, user)
    key = machine.keygen(user)
    machine.write(f"/home/{user}/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o600)
    machine.run("chown", "-R", f"{user}:", f"/home/{user}/.ssh")
    return key


def test_migrate(machine: Machine) -> None:
    ready(machine)
    keys = {
        user: with_key_at_home(machine, user, "-G", "sftponly") for user in ("one", "two", "three")
    }
    shut(machine, "one", keys["one"])
    machine.run("sftpjail", "key", "migrate", "one")
    works(machine, "one", keys["one"])
    machine.run("sftpjail", "key", "migrate", "--all")
    for user, key in keys.items():
        works(machine, user, key)
        assert not machine.exists(f"/home/{user}/.ssh/authorized_keys")
    again(machine, "sftpjail", "key", "migrate", "--all")
    machine.run("sftpjail", "remove", "two")
    assert (
        machine.ssh("two", keys["two"], "id -un").out == "two\n"
    )  # an ordinary account, with the shell it had
    assert machine.read("/home/two/.ssh/authorized_keys") == machine.read("/root/keys/two.pub")
    refused(machine, "sftpjail", "key", "migrate", says="USER, or --all", code=2)


def test_links_and_pipes_in_a_home_lead_nowhere(machine: Machine) -> None:
    ready(machine)
    traps = {
        "link": "ln -sf /etc/shadow .ssh/authorized_keys",
        "hardlink": "ln -f /etc/shadow .ssh/authorized_keys",
        "fifo": "mkfifo .ssh/authorized_keys",
        "directory": "rm -r .ssh; ln -s /root/keys .ssh; cp /root/keys/link.pub /root/keys/authorized_keys",
        "device": "mknod .ssh/authorized_keys c 1 5",
        "big": "head -c 3M /dev/zero >.ssh/authorized_keys",
        "other": "cp /root/keys/link.pub .ssh/authorized_keys; chown games .ssh/authorized_keys",
    }
    for user in traps:
        machine.keygen(user)
    for user, trap in traps.items():
        machine.run("useradd", "-m", "-G", "sftponly", user)
        machine.sh(f"cd /home/{user}; install -d -o {user} .ssh; {trap}")
        said = refused(machine, "sftpjail", "key", "migrate", user, timeout=20)
        assert "root:" not in said and "$y$" not in said, said
        assert not machine.exists(f"{KEYS}/{user}")
    machine.run("rm", "-rf", *(f"/home/{user}/.ssh" for user in traps))


def test_a_later_account_of_that_name_inherits_nothing(machine: Machine) -> None:
    """Also where no hook heard of the end of the first."""
    ready(machine)
    key = jail(machine, "alice")
    machine.sh(
        "for f in passwd shadow group gshadow; do sed -i /^alice:/d /etc/$f; sed -i s/:alice$/:/ /etc/$f; done"
    )
    machine.run("rm", "-rf", "/home/alice")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    shut(machine, "alice", key)


# -- scope = everyone ----------------------------------------------------------------------------


def test_scope_everyone(machine: Machine) -> None:
    """The recipe's global form: root and another log in at every stage, and teardown gives back every byte."""
    machine.append("/etc/ssh/sshd_config", "PermitRootLogin prohibit-password\n")
    root, bob = machine.keygen("root"), with_key_at_home(machine, "bob")
    machine.write("/root/.ssh/authorized_keys", f"# root's\n{machine.read(f'{root}.pub')}", 0o600)
    second = machine.keygen("second")
    machine.write("/home/bob/.ssh/authorized_keys2", machine.read(f"{second}.pub"), 0o600)
    machine.run("chown", "bob:", "/home/bob/.ssh/authorized_keys2")
    machine.start_sshd()
    before = snapshot(machine)

    def log_in(*bobs: str) -> None:
        assert machine.ssh("root", root, "id -un").out == "root\n"
        for key in bobs:
            assert machine.ssh("bob", key, "id -un").out == "bob\n"

    log_in(bob, second)
    machine.write("/etc/sftpjail/sftpjail.conf", f"{QUIET}[keys]\nscope = everyone\n")
    machine.run("sftpjail", "setup")
    assert f"authorizedkeysfile {KEYS}/%u" in settings(machine, "bob")
    log_in(bob, second)
    again(machine, "sftpjail", "setup")
    works(machine, "alice", jail(machine, "alice"))
    third = machine.keygen("third")
    machine.run("sftpjail", "key", "add", "bob", f"{third}.pub")
    machine.run("sftpjail", "key", "remove", "bob", "second")
    machine.run("sftpjail", "setup")
    log_in(bob, third)
    assert (
        machine.ssh("bob", second, "id").code == 255
    )  # what was revoked does not come back from the home

    machine.run("sftpjail", "adopt", "bob")
    works(machine, "bob", bob)
    machine.run("sftpjail", "remove", "bob")
    log_in(bob, third)
    machine.run("sftpjail", "key", "remove", "bob", "third")
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    log_in(bob, second)
    left = changes(before, snapshot(machine))
    assert [path for path in left if path != "/etc/sftpjail/sftpjail.conf"] == []
