"""The script that runs before sshd: what it edits, what it leaves, and which sshd it asks."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from fakes import Tree
from fakesshd import sshd

from sftpjail.plugins.sshd import guard

__all__ = ["sshd"]

pytestmark = pytest.mark.real_program

BLOCK = "Match Group sftponly\n    PAMServiceName sftpjail-session\n    ForceCommand x\n"
SHUT = BLOCK.replace("PAMS", "# sshd refused: PAMS").replace("ion\n", "ion\n    DenyUsers *\n")
# Refuses the word in a Match block while there is a file "refuses", as OpenSSH 10.4 does.
OTHER = """\
#!/bin/sh
[ -e {root}/refuses ] || exit 0
for file in {root}/ssh/sshd_config.d/10-sftpjail.conf {root}/ssh/sshd_config "$2"; do
    number=$(grep -n '^ *{word}' "$file" 2>&1 | head -n 1 | cut -d: -f1)
    case $number in [0-9]*) echo "$file line $number: Directive '{word}' is not allowed"; exit 255 ;; esac
done
"""


class Etc:
    def __init__(self, root: Path, tree: Tree) -> None:
        self.root, self.dropin = root, root / "ssh/sshd_config.d/10-sftpjail.conf"
        self.dropin.parent.mkdir(parents=True)
        (root / "ssh/sshd_config").write_text("Include x\n")
        self.dropin.write_text(BLOCK)
        text = guard._script(tree.host())
        text = text.replace("/etc/ssh", f"{root}/ssh").replace("/run/", f"{root}/")
        self.text = text.replace("set -- ''\n", f"set -- {shlex.quote(str(root / 'sshd'))}\n")
        self.blames("PAMServiceName")

    def blames(self, word: str) -> None:
        (self.root / "sshd").write_text(OTHER.format(root=self.root, word=word))
        (self.root / "sshd").chmod(0o755)

    def run(self, refuses: bool) -> str:
        mark = self.root / "refuses"
        mark.touch() if refuses else mark.unlink(missing_ok=True)
        subprocess.run(["sh", "-c", self.text], check=True)
        names = {path.name for path in self.root.rglob("*") if "sftpjail-guard" in path.name}
        assert not names, "nothing is left over"
        return self.dropin.read_text()


@pytest.fixture
def etc(tmp_path: Path, tree: Tree) -> Etc:
    return Etc(tmp_path, tree)


def test_the_line_goes_and_comes_back(etc: Etc) -> None:
    assert etc.run(refuses=False) == BLOCK
    assert etc.run(refuses=True) == SHUT == etc.run(refuses=True)
    assert etc.run(refuses=False) == BLOCK


def test_what_sshd_says_of_another_line_is_not_ours_to_repair(etc: Etc) -> None:
    etc.blames("ForceCommand")
    assert etc.run(refuses=True) == BLOCK


def test_links_and_the_files_of_others_stay(etc: Etc) -> None:
    real, other = etc.root / "real.conf", etc.dropin.with_name("10-sftpjail.conf.new")
    etc.dropin.rename(real)
    etc.dropin.symlink_to(real)
    other.write_text("an administrator's")
    (etc.root / ".sftpjail-guard.abc").write_text("left by one that was killed")
    assert etc.run(refuses=True) == SHUT
    assert etc.dropin.is_symlink() and other.read_text() == "an administrator's"
