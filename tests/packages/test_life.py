"""A package's life on a clean system: installed, used, upgraded, removed, installed again, purged."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import OLD, Build
from hosts import Arch, Debian, Host, accounts, everything
from machine import Machine, changes

pytestmark = [pytest.mark.debian, pytest.mark.arch]

KEY = "/root/keys/a"


def sftp(machine: Machine, *batch: str) -> subprocess.Popen[str]:
    """A session that stays open, as a client's does over an upgrade."""
    client = machine.argv("sftp", "-b", "-", *machine._client(KEY, "-P"), "a@127.0.0.1")
    process = subprocess.Popen(
        client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdin and process.stdout
    process.stdin.write("".join(f"{line}\n" for line in batch))
    process.stdin.flush()
    return process


def lands_at_home(machine: Machine) -> None:
    done = machine.sftp("a", KEY, ["pwd", "put /etc/hostname up", "rm up"])
    assert done.code == 0 and "working directory: /home/a" in done.out, done


def is_closed(machine: Machine, name: str = "a") -> None:
    """No way in: not by a key in either place, for files or a command."""
    assert machine.sftp(name, KEY, ["pwd"]).code == 255
    assert machine.ssh(name, KEY, "id").code == 255


class Useradds:
    """Somebody who makes and deletes accounts, one after the other, while packages come; each must go well."""

    SCRIPT = """
    n=0
    while [ -e /run/more ]; do
        n=$((n + 1))
        useradd -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 many$n || echo "useradd $n: $?"
        userdel many$n || echo "userdel $n: $?"
    done
    echo "$n done"
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> Useradds:
        self.machine.run("touch", "/run/more")
        argv = self.machine.argv("sh", "-c", self.SCRIPT)
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.run("rm", "/run/more")
        said = self.process.communicate(timeout=30)[0]
        assert re.fullmatch(r"\d+ done\n", said), said


def an_account(machine: Machine) -> None:
    machine.run("useradd", "-m", "passing")
    machine.run("userdel", "-r", "passing")


@pytest.fixture
def machine(clean: str) -> Iterator[Machine]:
    with Machine(root=clean) as machine:
        yield machine


@pytest.fixture
def host(clean: str, machine: Machine) -> Host:
    return Arch(machine) if clean == "host" else Debian(machine)


def package(host: Host, build: Build) -> Path:
    return build.arch if isinstance(host, Arch) else build.deb


def test_a_whole_life(machine: Machine, host: Host, built: Build, previous: Build) -> None:
    old, new = package(host, previous), package(host, built)
    host.prepare(new)
    machine.start_sshd()
    machine.run("useradd", "-m", "-s", "/bin/sh", "root2")
    machine.run("userdel", "-r", "root2")
    before, people = everything(machine), accounts(machine, "a", "sftponly")

    with Useradds(machine):
        said = host.install(old)
        assert "this host is ready for jails" in said.out, str(said)
        assert OLD in machine.run("sftpjail", "--version").out
        machine.run("useradd", "-m", "-G", "sftponly", "a")
        machine.keygen("a")
        machine.run("sftpjail", "key", "add", "a", f"{KEY}.pub")
        lands_at_home(machine)

        session = sftp(machine, "put /etc/hostname first")
        machine.append("/etc/sftpjail/sftpjail.conf", "# mine\n")
        machine.wait_for("/home/a/first")
        said = host.install(new)
        assert "Traceback" not in said.out + said.err
        assert session.stdin
        session.stdin.write("put /etc/hostname second\n")
        out = session.communicate(timeout=30)[0]
        assert session.returncode == 0, out
        assert machine.read("/home/a/second") == machine.read("/home/a/first")
        assert OLD not in machine.run("sftpjail", "--version").out
        assert machine.read("/etc/sftpjail/sftpjail.conf").endswith("# mine\n"), "an edit is kept"
        machine.run("rm", "-f", "/etc/sftpjail/sftpjail.conf.pacnew")
        assert "as it was" not in machine.read("/etc/shadow-maint/useradd-post.d/sftpjail"), (
            "setup was renewed"
        )
        assert not machine.sh("find /usr -path '*/sftpjail/gone*'").out
        lands_at_home(machine)

        said = host.remove()
    an_account(machine)
    assert "the jails stay closed" in said.out + said.err
    assert not machine.exists("/etc/shadow-maint") and not machine.exists("/usr/bin/sftpjail")
    lands_at_home(machine)
    assert machine.ssh("a", KEY, "id").code, "still jailed"
    machine.run("useradd", "-m", "-G", "sftponly", "late")
    assert not machine.exists("/srv/sftp/late")
    machine.run("userdel", "-r", "late")

    with Useradds(machine):
        host.install(new)
    if isinstance(host, Arch):  # which puts an edited file aside, and says so
        machine.sh("cd /etc/sftpjail && mv sftpjail.conf.pacsave sftpjail.conf")
    assert machine.read("/etc/sftpjail/sftpjail.conf").endswith("# mine\n")
    lands_at_home(machine)
    assert machine.exists("/etc/shadow-maint/useradd-post.d/sftpjail")
    assert machine.run("sftpjail", "show", "a").code == 0
    host.purge()
    an_account(machine)
    is_closed(machine)

    after = everything(machine)
    mine = {
        path: change
        for path, change in changes(before, after).items()
        if not path.startswith("/home/a")
    }
    assert mine == {}
    assert accounts(machine, "a", "sftponly") == people, "a group that has members stays"


def test_purge_without_accounts_leaves_nothing(machine: Machine, host: Host, built: Build) -> None:
    host.prepare(package(host, built))
    before, people = everything(machine), accounts(machine)
    host.install(package(host, built))
    host.purge()
    assert changes(before, everything(machine)) == {}
    assert accounts(machine) == people


def test_useradd_works_while_hooks_come_and_go(machine: Machine, host: Host, built: Build) -> None:
    """It fails if a script goes that it has seen and not run yet (shadow, run_part.c)."""
    host.prepare(package(host, built))
    host.install(package(host, built))
    with Useradds(machine):
        machine.sh(
            "for n in $(seq 15); do sftpjail teardown --keep-jails; sftpjail setup; done",
            timeout=300,
        )


def test_an_installation_where_sshd_is_broken(machine: Machine, host: Host, built: Build) -> None:
    host.prepare(package(host, built))
    machine.append("/etc/ssh/sshd_config", "Nonsense yes\n")
    before, people = everything(machine), accounts(machine)
    said = host.install(package(host, built))
    assert "this host is not set up" in said.out + said.err and "Nonsense" in said.out + said.err
    assert machine.run("getent", "group", "sftponly", check=False).code, (
        "setup alone makes the group"
    )
    machine.run("useradd", "-m", "somebody")
    machine.run("sed", "-i", "/Nonsense/d", "/etc/ssh/sshd_config")
    assert "ready" in machine.run("sftpjail", "setup").out
    machine.run("userdel", "-r", "somebody")
    host.purge()
    left = changes(before, everything(machine))
    assert list(left) == ["/etc/ssh/sshd_config"]
    assert accounts(machine) == people, "the group too"


def test_it_starts_with_few_modules_all_compiled(
    machine: Machine, host: Host, built: Build
) -> None:
    host.prepare(package(host, built))
    host.install(package(host, built))

    def modules(*argv: str) -> set[str]:
        said = machine.run("python3", "-IS", "-X", "importtime", *argv).err
        return set(re.findall(r"(?m)^import time: .*\| +([\w.]+)$", said))

    found = modules("/usr/bin/sftpjail", "--version")
    ours = {name for name in found if name.split(".")[0] == "sftpjail"}
    assert "sftpjail.cli.main" in ours and len(ours) <= 8, sorted(ours)
    slow = {"configobj", "dataclasses", "inspect", "json", "logging", "pathlib", "pluggy"}
    assert not found & {*slow, "rich", "shutil", "subprocess", "tempfile"}, sorted(found)

    start = re.search(r'(?m)^ *sys.path.append\("(.*)"\)', machine.read("/usr/bin/sftpjail"))
    assert start
    compiled = f"""
import importlib.util as util, os, sys
sys.path.append({start[1]!r})
for name in {sorted(ours)!r}:
    source = util.find_spec(name).origin
    assert os.path.exists(util.cache_from_source(source)), source
"""
    machine.run("python3", "-IB", "-c", compiled)
