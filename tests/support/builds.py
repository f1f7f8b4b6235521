"""The packages under test: built once in each run, from a copy of the checkout, with a version before it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
OLD = "0.0.1"


@dataclass(frozen=True)
class Build:
    """What one `make` left in build/."""

    directory: Path

    def find(self, pattern: str) -> Path:
        (found,) = self.directory.glob(pattern)
        return found

    @property
    def deb(self) -> Path:
        return self.find("debian/sftpjail_*.deb")

    @property
    def collection(self) -> Path:
        """The Debian package for the machine that runs Ansible."""
        return self.find("debian/ansible-collection-sftpjail_*.deb")

    @property
    def version(self) -> str:
        """The Debian package's."""
        return self.deb.name.split("_")[1]

    @property
    def changes(self) -> Path:
        return self.find("debian/*.changes")

    @property
    def arch(self) -> Path:
        return self.find("arch/*.pkg.tar.zst")


def make(checkout: Path, target: str, env: Mapping[str, str] | None = None) -> Build:
    """Build in a copy of the checkout; `env` is what differs from builder to builder."""
    done = subprocess.run(
        ["make", "-C", checkout, target],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Build(checkout / "build")


def copy(umask: int = 0o022) -> Path:
    """Return a copy of the checkout, in a place that makepkg's user can reach, as a clone under that umask has it."""
    directory = Path(tempfile.mkdtemp(prefix="sftpjail-", dir="/var/tmp"))
    directory.chmod(0o755)
    ignored = shutil.ignore_patterns(".git", "build", "__pycache__", ".*_cache", ".scratch")
    shutil.copytree(PROJECT, directory / "sftpjail", ignore=ignored)
    for path in (directory / "sftpjail").rglob("*"):
        path.chmod((0o777 if path.is_dir() or os.access(path, os.X_OK) else 0o666) & ~umask)
    return directory / "sftpjail"


def older(checkout: Path) -> Path:
    """Make a checkout one of an earlier release: other texts in what setup writes, a file and a setting that go."""
    for path in ("sftpjail/__init__.py", "packaging/arch/PKGBUILD"):
        _edit(checkout / path, r"\b0\.1\.0\b", OLD)
    _edit(checkout / "packaging/debian/changelog", r"\(0\.1\.0", f"({OLD}")
    _edit(checkout / "hooks/useradd-post", r"\Z", "# as it was\n")
    _edit(checkout / "packaging/sftpjail.conf", r"\Z", "# as it was\n")
    (checkout / "sftpjail/gone.py").write_text('"""Not in the next release."""\n')
    return checkout


def _edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count, f"{pattern} is not in {path}"
    path.write_text(text)
