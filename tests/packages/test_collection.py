"""The collection's package: the release's own Ansible installs sftpjail by it, and it goes without a trace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from builds import Build
from hosts import APT, Debian
from machine import Machine

PLACE = "/usr/share/ansible/collections/ansible_collections"
KEY = "/root/keys/alice"


@pytest.fixture
def machine(clean: str) -> Iterator[Machine]:
    with Machine(root=clean) as machine:
        yield machine


def play(machine: Machine, package: str, key: str, *options: str) -> tuple[str, dict[str, int]]:
    """Run the role on the machine itself; return what it said, and the numbers of its recap."""
    variables = {
        "sftpjail_package_file": package,
        "sftpjail_config": {"logs": {"backend": "none"}},
        "sftpjail_accounts": [{"name": "alice", "keys": [key]}],
    }
    role = [{"role": "sftpjail.sftpjail.sftpjail", "vars": variables}]
    book = [{"hosts": "localhost", "gather_facts": False, "roles": role}]
    machine.write("/root/play.json", json.dumps(book))
    argv = ("ansible-playbook", "-i", "localhost,", "-c", "local", *options, "/root/play.json")
    out = machine.run(*argv, check=False, timeout=300).out
    recap = re.search(r"(?m)^localhost +: (.*)$", out)
    assert recap, out
    return out, {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap[1])}


@pytest.mark.debian
def test_the_role_of_the_package(machine: Machine, built: Build) -> None:
    host = Debian(machine)
    # What the role's package recommends is not here, and there is no network.
    machine.write("/etc/apt/apt.conf.d/90tests", 'APT::Install-Recommends "false";\n')
    host.prepare(built.deb)
    machine.start_sshd()
    machine.run(*APT, "install", "python3-apt")  # for check mode Ansible does not install it
    host.install(built.collection)
    listed = machine.run("ansible-galaxy", "collection", "list", "sftpjail.sftpjail").out
    assert re.search(r"(?m)^sftpjail\.sftpjail +\d+\.\d+\.\d+ *$", listed), listed
    verify = ("ansible-galaxy", "collection", "verify", "--offline", "sftpjail.sftpjail")
    said = machine.run(*verify, check=False)
    assert said.code == 0 and "Successfully verified" in said.out, said
    assert "missing: disable" in machine.run("ansible-doc", "sftpjail.sftpjail.accounts").out

    machine.keygen("alice")
    package, key = host.put(built.deb), machine.read(f"{KEY}.pub").strip()
    shown, numbers = play(machine, package, key, "--check", "--diff")
    assert not numbers["failed"] and not machine.exists("/usr/bin/sftpjail"), shown
    first, numbers = play(machine, package, key)
    assert not numbers["failed"] and numbers["changed"] >= 3, first
    assert machine.sftp("alice", KEY, ["put /etc/hostname proof"]).code == 0
    again, numbers = play(machine, package, key)
    assert not numbers["failed"] and not numbers["changed"], again

    machine.run(*APT, "purge", "ansible-collection-sftpjail")
    assert not machine.exists(PLACE)
    assert machine.sftp("alice", KEY, ["ls proof"]).code == 0
