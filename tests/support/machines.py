"""The machines that system, safety and package tests run in; machine.py says what a Machine is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from directory import Directory
from domain import Domain
from machine import CONFIG, SANDBOX, Machine, with_mounts

PROJECT = SANDBOX.parents[1]


@pytest.fixture(scope="session")
def sandbox() -> Path:
    """The path of tests/sandbox, where it works."""
    try:
        attempt = subprocess.run(
            [SANDBOX, "true"], check=False, capture_output=True, text=True, timeout=60
        )
    except OSError as error:
        pytest.skip(str(error))
    if attempt.returncode:
        pytest.skip(attempt.stderr.strip().splitlines()[-1])
    if not shutil.which("sshd", path="/usr/sbin:/usr/bin"):
        pytest.skip("no sshd here: run tests/run system, or apt-get install openssh-server")
    return SANDBOX


@pytest.fixture(scope="session")
def installed(sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what `make install` installs, to be laid over machines: cheaper than an installation for each."""
    layer = tmp_path_factory.mktemp("installed")
    layer.chmod(0o755)
    make = ["make", "-C", str(PROJECT), "install", "prefix=/usr", f"DESTDIR={layer}"]
    done = subprocess.run(make, check=False, capture_output=True, text=True, umask=0o022)
    assert done.returncode == 0, done.stdout + done.stderr
    for package in layer.glob("usr/lib/python3*/*-packages"):
        subprocess.run(
            ["/usr/bin/python3", "-m", "compileall", "-q", "-s", layer, package], check=True
        )
    config = layer / CONFIG.lstrip("/")
    config.write_text(with_mounts(config.read_text(), "fstab"))
    return layer


@pytest.fixture
def machine(installed: Path) -> Iterator[Machine]:
    """A fresh machine with sftpjail installed, and nothing of it set up or running.

    Most tests are about mounts in fstab, or about something else and quicker with them, so that a
    sftpjail.conf that does not say gets `mounts = fstab`. The default is what `steps.as_shipped`
    leaves, and what tests of the story, the packages and the upgrade have.
    """
    with Machine(layer=installed, mounts="fstab") as machine:
        yield machine


@pytest.fixture
def bare_machine(sandbox: Path) -> Iterator[Machine]:
    """A fresh machine that has never seen sftpjail."""
    with Machine() as machine:
        yield machine


@pytest.fixture
def booted(installed: Path) -> Iterator[Machine]:
    """Like `machine`, but booted: systemd, journald, ssh on port 22 and the root's log daemon run. Mark it `booted`."""
    with Machine(boot=True, layer=installed, mounts="fstab") as machine:
        yield machine


@pytest.fixture
def directory(machine: Machine) -> Directory:
    """The directory of `machine`, up and empty. Mark it `directory`."""
    directory = Directory(machine)
    directory.start()
    return directory


@pytest.fixture
def domain(machine: Machine) -> Domain:
    """A domain of Active Directory with its controller, and `machine`, which has not joined it. Mark it `samba`."""
    domain = Domain(machine)
    domain.start()
    return domain
