"""From where an account may log in: by its profile, and by its own list."""

from __future__ import annotations

import json

import pytest
from machine import Machine, changes
from steps import (
    CONFIG,
    QUIET,
    again,
    by_password,
    jail,
    previewed,
    ready,
    refused,
    settings,
    snapshot,
)

PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\ntrusted_ca = /etc/ssh/ca.pub\n"
LIST = "/etc/sftpjail/addresses"
SIX = "2001:db8:1::5"


def comes(machine: Machine, user: str, key: str, source: str) -> bool:
    """Whether a login from one of this host's addresses succeeds."""
    target = f"{user}@[{source}]" if ":" in source else f"{user}@127.0.0.1"
    options = [*machine._client(key, "-P"), f"-oBindAddress={source}"]
    done = machine.run("sftp", "-b", "-", *options, target, input="pwd\n", check=False)
    assert done.code in (0, 255), done
    return done.code == 0


def hosts(machine: Machine, pam: str, config: str) -> tuple[str, str]:
    """A host with ann, who has a key, a password and a certificate; returns key and certificate."""
    machine.sh("ssh-keygen -q -t ed25519 -N '' -f /root/ca; cp /root/ca.pub /etc/ssh/ca.pub")
    # pam_access(8) asks getaddrinfo(3), which knows no IPv4 where a host has IPv6 addresses alone.
    for address in (f"{SIX}/128", "2001:db8:2::5/128", "192.0.2.9/32"):
        machine.run("ip", "addr", "add", address, "dev", "lo")
    lines = f"UsePAM {pam}\nPasswordAuthentication yes\n{machine.patience()}"
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", lines)
    ready(machine, config)
    key = jail(machine, "ann")
    machine.sh(
        "useradd -m -G sftponly bob; useradd -m eve; printf '%s:pw\\n' ann bob eve | chpasswd"
    )
    ticket = machine.keygen("ticket")
    machine.run("ssh-keygen", "-q", "-s", "/root/ca", "-I", "x", "-n", "ann", f"{ticket}.pub")
    return key, ticket


@pytest.mark.halved
@pytest.mark.parametrize("pam", ["yes", "no"])
def test_an_account_comes_from_its_addresses_alone(machine: Machine, pam: str) -> None:
    key, ticket = hosts(machine, pam, PROFILE)
    before, stack = snapshot(machine), machine.read("/etc/pam.d/sshd")
    shown = previewed(machine, "sftpjail", "set", "ann", "--from", "127.0.0.2")
    assert "+-:ann:ALL EXCEPT 127.0.0.2" in shown, shown
    wanted = f"127.0.0.2,127.0.1.0/24,{SIX}"
    done = machine.run("sftpjail", "set", "ann", "--from", wanted)
    where = f"127.0.0.2 127.0.1.0/24 {SIX}"
    assert f"ann is let in from {where} only" in done.out, done
    again(machine, "sftpjail", "set", "ann", "--from", wanted)
    again(machine, "sftpjail", "apply")
    for way in (key, ticket):
        assert comes(machine, "ann", way, "127.0.0.2") and comes(machine, "ann", way, "127.0.1.9")
        assert not comes(machine, "ann", way, "127.0.0.1")
    assert comes(machine, "ann", key, SIX) and not comes(machine, "ann", key, "2001:db8:2::5")
    assert by_password(machine, "ann", "BindAddress=127.0.0.2") == 0 != by_password(machine, "ann")
    assert by_password(machine, "bob") == 0 == by_password(machine, "bob", "BindAddress=127.0.0.2")
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"
    (found, _) = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    assert found["addresses"] == where.split() and found["state"] == "ok"
    assert f"from\t{where}\n" in machine.run("sftpjail", "show", "ann").out
    facts = json.loads(machine.run("sftpjail", "--json", "explain", "ann").out)["facts"]
    assert where in [fact["value"] for fact in facts if fact["name"] == "let in from"]
    said = machine.run("sftpjail", "explain", "ann", "--from", "127.0.0.1", check=False)
    assert said.code == 3 and "not let ann in from 127.0.0.1" in said.out, said
    assert "ok" in machine.run("sftpjail", "test", "ann").out
    assert "ann is let in from" in machine.run("sftpjail", "history", "ann").out
    # Another name, and another network.
    machine.run("sftpjail", "set", "ann", "--from", "127.0.0.0/30")
    assert comes(machine, "ann", key, "127.0.0.1") and not comes(machine, "ann", key, "127.0.1.9")
    # What would let it in from more is asked for.
    words = refused(machine, "sftpjail", "undo", code=2)
    assert f"it reopens access: ann can log in from {where}" in words, words
    machine.run("sftpjail", "undo", "--yes")
    assert comes(machine, "ann", key, SIX)
    # Somebody has taken away what reads the list.
    dropin = "/etc/ssh/sshd_config.d/10-sftpjail.conf"
    place = "/etc/pam.d/sshd" if pam == "yes" else dropin
    machine.sh(
        f"sed -i '/accessfile=.etc.sftpjail/d; /User ann Address/,+1d' {place}; kill -HUP $(cat /run/sshd.pid)"
    )
    said = machine.run("sftpjail", "check", check=False)
    assert "ann can log in from any address" in said.out + said.err, said
    machine.run("sftpjail", "setup")
    assert not comes(machine, "ann", key, "127.0.0.1")
    # PAM is told a name, which the owner of the address has chosen.
    if pam == "yes":
        machine.sh("printf '127.0.0.1 zone\n127.0.0.2 zone\n' >>/etc/hosts")
        machine.sh(
            "echo 'UseDNS yes' >>/etc/ssh/sshd_config.d/00-test.conf; kill -HUP $(cat /run/sshd.pid)"
        )
        said = machine.run("sftpjail", "check", check=False)
        assert "ann can log in from any address" in said.out + said.err, said
        machine.run("sftpjail", "setup")
        assert comes(machine, "ann", key, "127.0.0.2")
        assert not comes(machine, "ann", key, "127.0.0.1")
    machine.run("sftpjail", "set", "ann", "--from", "any")
    assert comes(machine, "ann", key, "127.0.0.1")
    assert machine.read("/etc/pam.d/sshd") == stack
    left = changes(before, snapshot(machine))
    assert not {
        path
        for path in left
        if not path.startswith(
            ("/var/lib/sftpjail", "/etc/passwd", "/etc/hosts", "/etc/ssh/sshd_config.d/00")
        )
    }, left
    said = machine.run("sftpjail", "undo").err
    assert "left as it is" not in said and not comes(machine, "ann", key, "127.0.0.3"), said
    # It goes with the account.
    machine.run("sftpjail", "set", "ann", "--from", "127.0.0.2")
    machine.run("userdel", "ann")
    assert not machine.exists(LIST)
    machine.run("sftpjail", "apply")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


@pytest.mark.halved
@pytest.mark.parametrize("pam", ["yes", "no"])
def test_members_come_from_the_addresses_of_their_profile(machine: Machine, pam: str) -> None:
    config = f"{PROFILE}addresses = 127.0.0.2, 127.0.1.0/24, 2001:db8:1::/48\n"
    key, ticket = hosts(machine, pam, config)
    machine.sh("mkdir -p /home/eve/.ssh; cp /root/keys/ann.pub /home/eve/.ssh/authorized_keys")
    for way in (key, ticket):
        assert comes(machine, "ann", way, "127.0.1.9") and not comes(
            machine, "ann", way, "127.0.0.1"
        )
    assert comes(machine, "ann", key, SIX) and not comes(machine, "ann", key, "2001:db8:2::5")
    assert by_password(machine, "ann", "BindAddress=127.0.0.2") == 0 != by_password(machine, "ann")
    assert comes(machine, "eve", key, "127.0.0.1") and comes(machine, "eve", key, SIX)
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"
    again(machine, "sftpjail", "apply")
    assert {
        one["state"] for one in json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    } == {"ok"}
    assert "ok" in machine.run("sftpjail", "test", "ann").out
    assert machine.run("sftpjail", "explain", "ann").code == 0
    said = machine.run("sftpjail", "explain", "ann", "--from", "127.0.0.1", check=False)
    assert said.code == 3 and "sshd does not let ann in from 127.0.0.1" in said.out, said
    # Both have to let it in.
    machine.run("sftpjail", "set", "ann", "--from", "127.0.0.2,127.0.0.1")
    assert comes(machine, "ann", key, "127.0.0.2")
    assert not comes(machine, "ann", key, "127.0.0.1") and not comes(
        machine, "ann", key, "127.0.1.9"
    )
    machine.run("sftpjail", "set", "ann", "--from", "192.0.2.1")
    said = machine.run("sftpjail", "check", check=False)
    assert "ann can log in from no address" in said.out + said.err, said
    machine.run("sftpjail", "set", "ann", "--from", "any")
    machine.write(CONFIG, PROFILE)
    machine.run("sftpjail", "setup")
    assert comes(machine, "ann", key, "127.0.0.1")
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert "denyusers" not in settings(machine, "eve")


@pytest.mark.halved
def test_the_first_profile_decides_and_bad_addresses_say_why(machine: Machine) -> None:
    ready(
        machine,
        f"{QUIET}[profiles]\n[[one]]\nmatch_user = ann,\n[[two]]\naddresses = 127.0.0.2,\n"
        "[[three]]\ngroup = three\naddresses = 127.0.0.3,\n",
    )
    key = jail_in(machine, "ann", "two,three")
    other = jail_in(machine, "bob", "two,three")
    assert comes(machine, "ann", key, "127.0.0.1")
    assert [comes(machine, "bob", other, f"127.0.0.{n}") for n in (1, 2, 3)] == [False, True, False]
    for bad, why in {
        "192.0.2.7/24": "the network is 192.0.2.0/24",
        "192.0.2.*": "names and patterns are not",
        "!192.0.2.7": "names and patterns are not",
        "example.com": "names and patterns are not",
        "192.0.2.0/255.255.255.0": "names and patterns are not",
        "192.0.2.0/33": "neither an address nor a network",
        "::ffff:192.0.2.7": "write 192.0.2.7",
        "": "--from needs an address",
    }.items():
        assert why in refused(machine, "sftpjail", "set", "bob", "--from", bad, code=2)
    machine.run("sftpjail", "add", "kim", "--profile", "three", "--from", "127.0.0.3,127.0.0.1")
    assert "-:kim:ALL EXCEPT 127.0.0.3 127.0.0.1" in machine.read(LIST)
    machine.run("sftpjail", "undo", "--force")
    assert not machine.exists(LIST)
    machine.write(CONFIG, f"{PROFILE}addresses = 192.0.2.7/24,\n")
    assert "the network is 192.0.2.0/24" in refused(machine, "sftpjail", "setup", code=2)


def jail_in(machine: Machine, name: str, groups: str) -> str:
    machine.run("useradd", "-m", "-G", groups, name)
    key = machine.keygen(name)
    machine.run("sftpjail", "key", "add", name, f"{key}.pub")
    return key
