"""Several hosts on one network, and the control node that drives them with Ansible: the machine that runs the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from machine import SANDBOX, Machine

PROJECT = SANDBOX.parents[1]
COLLECTION = PROJECT / "build/ansible_collections/sftpjail/sftpjail"
NETWORK = "10.77.0"  # in a network namespace of the tests' own
PORT = 2222
CLIENT = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "LogLevel=ERROR",
    "ConnectTimeout=5",
)


@dataclass(frozen=True)
class Play:
    """What a run of ansible-playbook said."""

    code: int
    out: str

    def recap(self, host: str) -> dict[str, int]:
        """Return the numbers of a host's line in the recap: ok, changed, unreachable, failed and so on."""
        found = re.search(rf"(?m)^{host} +: (.*)$", self.out)
        assert found, self.out
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", found[1])}


@dataclass
class Fleet:
    """Hosts by name, in order, each a machine with an address; and where the control node keeps its files."""

    directory: Path
    installed: Path
    hosts: dict[str, Machine] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        subprocess.run(["make", "-C", PROJECT, "ansible"], check=True, capture_output=True)
        key = self.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        _ip("link", "add", "fleet", "type", "bridge")
        self._stack.callback(_ip, "link", "del", "fleet")
        _ip("address", "add", f"{NETWORK}.1/24", "dev", "fleet")
        _ip("link", "set", "fleet", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, root: str) -> Machine:
        """Start a host, with a real sshd that lets the control node in, and nothing of ours set up."""
        machine = self._stack.enter_context(Machine(layer=self.installed, root=root))
        number = 11 + len(self.hosts)
        self.hosts[name] = machine
        outside = f"host{number}"
        inside = ("type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        _ip("link", "add", outside, *inside)
        _ip("link", "set", outside, "master", "fleet", "up")
        machine.run("ip", "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.write("/root/.ssh/authorized_keys", self.public_key + "\n", 0o600)
        machine.start_sshd()
        return machine

    @property
    def public_key(self) -> str:
        return (self.directory / "key.pub").read_text().strip()

    def address(self, name: str) -> str:
        return f"{NETWORK}.{11 + list(self.hosts).index(name)}"

    def inventory(self, **more: str) -> Path:
        """Write the inventory: the hosts, and MORE of them by their addresses."""
        addresses = {name: self.address(name) for name in self.hosts} | more
        hosts = {name: {"ansible_host": address} for name, address in addresses.items()}
        options = " ".join(f"-o {option}" for option in CLIENT)
        variables = {
            "ansible_user": "root",
            "ansible_port": PORT,
            "ansible_ssh_private_key_file": str(self.directory / "key"),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        path = self.directory / "inventory.json"
        path.write_text(json.dumps({"sftp": {"hosts": hosts, "vars": variables}}))
        return path

    def play(self, tasks: object, *options: str, **more: str) -> Play:
        """Run a play: a whole one, or the tasks of one on all hosts; MORE hosts as for `inventory`."""
        return self.finish(self.start(tasks, *options, **more))

    def start(self, tasks: object, *options: str, **more: str) -> subprocess.Popen[str]:
        """Begin what `play` does."""
        path = self.directory / "play.json"
        if isinstance(tasks, list):
            plays = tasks if "hosts" in tasks[0] else [_on_all(tasks)]
            path.write_text(json.dumps(plays))
        book = str(path) if isinstance(tasks, list) else str(tasks)
        argv = ["ansible-playbook", "-i", str(self.inventory(**more)), *options, book]
        environment = {
            **os.environ,
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "build"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_TIMEOUT": "5",
        }
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=self.directory,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> Play:
        """Wait for a play to end. What it printed is shown with a test that fails, and by -rP."""
        out, _ = process.communicate(timeout=600)
        print(out)
        return Play(process.returncode, out)

    def sftp(self, name: str, user: str, *batch: str) -> subprocess.CompletedProcess[str]:
        """A real login from the control node."""
        words = [word for option in CLIENT for word in ("-o", option)]
        argv = ["sftp", "-F", "none", "-i", str(self.directory / "key"), *words, "-b", "-"]
        argv += ["-P", str(PORT), f"{user}@{self.address(name)}"]
        return subprocess.run(
            argv, input="\n".join(batch) + "\n", capture_output=True, text=True, check=False
        )


@contextmanager
def fleet(directory: Path, installed: Path, roots: Sequence[str]) -> Iterator[Fleet]:
    """Hosts named host1, host2 and so on, each a copy of a root."""
    with Fleet(directory, installed) as made:
        for number, root in enumerate(roots, 1):
            made.add(f"host{number}", root)
        yield made


def _on_all(tasks: list[object]) -> dict[str, object]:
    return {"hosts": "sftp", "gather_facts": False, "tasks": tasks}


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)
