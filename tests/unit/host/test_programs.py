"""What programs are asked, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sftpjail.host.files import Files
from sftpjail.host.programs import Programs
from sftpjail.system.programs import Answer


class Counting(Programs):
    """Programs that count what they are asked; sshd lies where the test has it."""

    asked: ClassVar[list[str]] = []
    place = ""

    def which(self, program: str) -> str:
        return self.place

    def ask(self, argv: Sequence[str], stdin: str = "") -> Answer:
        self.asked.append(argv[0])
        return Answer(0, "", Path(argv[0]).read_text(encoding="ascii"))


def test_a_version_is_asked_again_only_of_another_file(tmp_path: Path) -> None:
    sshd = tmp_path / "sshd"
    sshd.write_text("OpenSSH_9.2p1")
    Counting.asked, Counting.place = [], str(sshd)
    first = Counting(Files(""))
    assert first.openssh == (9, 2)
    assert first.anew(Files("")).openssh == first.anew(Files("")).openssh == (9, 2)
    assert len(Counting.asked) == 1
    (tmp_path / "new").write_text("OpenSSH_10.0p2")
    (tmp_path / "new").rename(sshd)  # as dpkg(1) does
    assert first.anew(Files("")).openssh == (10, 0)
    assert len(Counting.asked) == 2
