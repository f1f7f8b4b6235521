"""Another package brings a hook script and a plugin: both take effect, and go, without a command of anybody's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import Build
from hosts import Arch, Debian
from machine import Machine

PLUGIN = """
from sftpjail import WriteFile, hookimpl

@hookimpl
def on_setup():
    return [WriteFile("/etc/hello", "made by a plugin\\n")]
"""
SCRIPT = '#!/bin/sh\necho "$SFTPJAIL_USER" >>/run/hello\n'


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def stage(directory: Path, python: str) -> Path:
    files = {
        f"{python}/sftpjail_hello.py": PLUGIN,
        f"{python}/sftpjail_hello-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: sftpjail-hello\nVersion: 1\n",
        f"{python}/sftpjail_hello-1.dist-info/entry_points.txt": "[sftpjail]\nhello = sftpjail_hello\n",
        "usr/lib/sftpjail/plugins.d/hello": "",
        "usr/lib/sftpjail/hooks/user-create.d/hello": SCRIPT,
    }
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() or text_of(path) == SCRIPT else 0o644)
    return directory


def text_of(path: Path) -> str:
    return path.read_text()


def check(machine: Machine, install: list[str], remove: list[str]) -> None:
    said = machine.run(*install)
    assert "Traceback" not in said.out + said.err
    assert machine.read("/etc/hello") == "made by a plugin\n"
    assert "hello\tpackaged\ton_setup" in machine.run("sftpjail", "plugins").out
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    assert machine.read("/run/hello") == "alice\n"
    said = machine.run(*remove)
    assert "Traceback" not in said.out + said.err
    assert "hello" not in machine.run("sftpjail", "plugins").out
    machine.run("useradd", "-m", "-G", "sftponly", "bob")
    assert machine.read("/run/hello") == "alice\n"


@pytest.mark.debian
def test_dpkg_triggers(machine: Machine, built: Build, tmp_path: Path) -> None:
    Debian(machine).install(built.deb)
    directory = stage(tmp_path / "hello", "usr/lib/python3/dist-packages")
    (directory / "DEBIAN").mkdir()
    control = "Package: sftpjail-hello\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    (directory / "DEBIAN/control").write_text(control)
    package = tmp_path / "hello.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", directory, package], check=True)
    path = Debian(machine).put(package)
    check(machine, ["dpkg", "-i", path], ["dpkg", "--purge", "sftpjail-hello"])


@pytest.mark.arch
def test_alpm_hook(machine: Machine, built: Build, tmp_path: Path) -> None:
    said = Arch(machine).install(built.arch)
    assert "Updating SFTP jails" not in said.out, "of our own package"
    directory = stage(tmp_path / "hello", "usr/lib/python3.13/site-packages")
    (directory / ".PKGINFO").write_text(
        "pkgname = sftpjail-hello\npkgver = 1-1\narch = any\nsize = 1\n"
    )
    package = tmp_path / "hello-1-1-any.pkg.tar.zst"
    owner = ["--uid", "0", "--gid", "0"]
    subprocess.run(
        ["bsdtar", "--zstd", *owner, "-cf", package, "-C", directory, ".PKGINFO", "usr"], check=True
    )
    shutil.copy(package, f"/proc/{machine.pid}/root/run/")
    install = ["pacman", "-U", "--noconfirm", f"/run/{package.name}"]
    check(machine, install, ["pacman", "-R", "--noconfirm", "sftpjail-hello"])
