"""Hosts with a package manager: what an administrator does with sftpjail on each distribution."""

from __future__ import annotations

import shutil
from pathlib import Path

from machine import Machine, Result

APT = (
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-qq",
    "--yes",
    "--no-install-recommends",
)
APT += ("-o", "Dpkg::Options::=--force-confold")  # what unattended upgrades do
# What belongs to the machine and not to us; the package manager's own memory of what was there,
# above all.
ASIDE = (
    *(
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/tmp",
        "/src",
        "/root",
        "/roots",
        "/etc/*-",
        "/etc/.pwd.lock",
        "*/__pycache__",
    ),
    *(
        "/var/log",
        "/var/cache",
        "/var/lib/apt",
        "/var/lib/dpkg",
        "/var/lib/pacman",
        "/var/lib/systemd",
        "/var/tmp",
    ),
    *(
        "/etc/mtab",
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/subuid",
        "/etc/subgid",
    ),
)


class Debian:
    """apt and dpkg."""

    can_purge = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def put(self, package: Path) -> str:
        """Copy a package to the host, and return its path there."""
        shutil.copy(package, f"/proc/{self.machine.pid}/root/run/{package.name}")
        return f"/run/{package.name}"

    def prepare(self, package: Path) -> None:
        """Install what the package depends on, from that release alone and without a network."""
        needs = self.machine.run("dpkg-deb", "-f", self.put(package), "Depends").out.strip()
        self.machine.run(*APT, "satisfy", needs, timeout=300)

    def install(self, package: Path) -> Result:
        return self.machine.run(*APT, "install", self.put(package), timeout=300)

    def remove(self) -> Result:
        return self.machine.run(*APT, "remove", "sftpjail")

    def purge(self) -> Result:
        return self.machine.run(*APT, "purge", "sftpjail")


class Arch:
    """pacman, in the stand-in for Arch: it knows nothing of Debian's packages there, so it is told what they bring."""

    can_purge = False
    BRINGS = (
        "openssh=10",
        "python=3.13",
        "python-configobj=5.0.9",
        "python-pluggy=1.5",
        "python-rich=13.9",
    )
    BRINGS += ("shadow=4.17", "util-linux=2.41")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    put = Debian.put

    def prepare(self, package: Path) -> None:
        """Nothing: the stand-in has it all."""

    def install(self, package: Path) -> Result:
        assumed = [f"--assume-installed={brought}" for brought in self.BRINGS]
        return self.machine.run("pacman", "-U", "--noconfirm", *assumed, self.put(package))

    def remove(self) -> Result:
        return self.machine.run("pacman", "-R", "--noconfirm", "sftpjail")

    def purge(self) -> Result:
        """As its message at removal says; first the package, if it is still there."""
        if self.machine.run("pacman", "-Q", "sftpjail", check=False).code == 0:
            self.machine.run("pacman", "-Rn", "--noconfirm", "sftpjail")
        return self.machine.run("sh", "/var/lib/sftpjail/program/maintainer", "purge")


Host = Debian | Arch


def everything(machine: Machine) -> dict[str, tuple[object, ...]]:
    """The whole root, but for what is not ours; accounts are compared by `accounts`."""
    return machine.listing("/", exclude=ASIDE)


def accounts(machine: Machine, *aside: str) -> dict[str, list[str]]:
    """passwd and its kin, without some names."""
    files = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
    texts = {name: machine.read(f"/etc/{name}").splitlines() for name in files}
    return {
        name: [line for line in lines if line.split(":")[0] not in aside]
        for name, lines in texts.items()
    }
