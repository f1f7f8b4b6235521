"""Jails by hand: what a profile can say, and what it cannot."""

from __future__ import annotations

import pytest
from fakes import Tree
from fakesshd import sshd
from golden import BIND, MAIN, Sshd

from sftpjail import Profile
from sftpjail.config import Config
from sftpjail.jails.handmade import Command, _Lacking, _parsed, find_handmade

__all__ = ["sshd"]
BLOCK = "    ChrootDirectory /srv/%u\n    ForceCommand internal-sftp\n"


@pytest.mark.parametrize(
    ("value", "command"),
    [
        ("internal-sftp", Command()),
        ('"internal-sftp -u 22"', Command(umask="022")),
        ("internal-sftp -d /x -u 0027 -R", Command(start="/x", umask="027", read_only=True)),
        ("internal-sftp -fauth -l VERBOSE", Command(facility="AUTH", level="VERBOSE")),
        ("internal-sftp -P remove,rmdir -d /%u", Command(start="/%u", deny=("remove", "rmdir"))),
    ],
)
def test_what_forcecommand_says(value: str, command: Command) -> None:
    assert _parsed(value) == command


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/usr/lib/openssh/sftp-server", "a jail's is internal-sftp"),
        ("internal-sftp -d upload", "-d upload"),
        ("internal-sftp -d %d", "no token but %u"),
        ("internal-sftp -u 1777", "-u 1777"),
        ("internal-sftp -p open", "-p of internal-sftp"),
        ("internal-sftp -e", "-e of internal-sftp"),
        ("internal-sftp x", "x of internal-sftp"),
        ("internal-sftp -z", "-z"),
        ("internal-sftp '", "ForceCommand"),
        ("", "a jail's is internal-sftp"),
        ("internal-sftp -f AUTH -l INFO -u 022 -d /x -R -R", "9 words"),
    ],
)
def test_what_no_profile_says(value: str, says: str) -> None:
    with pytest.raises(_Lacking, match=says):
        _parsed(value)


def problems(tree: Tree, text: str) -> list[str]:
    """What import says of the one block of a configuration, where sftponly and bob have profiles."""
    tree.group("web", 600)
    tree.group("sftponly", 500)
    tree.write(MAIN, text)
    others = Profile("users", group="", match_user=("bob",))
    (found,) = find_handmade(tree.host(), Config(profiles=(BIND, others)))
    assert bool(found.profiles) != bool(found.problems)
    return [problem.removeprefix(f"{MAIN}:") for problem in found.problems]


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "    AllowTcpForwarding no\n",
        "    AllowTcpForwarding no\n    AllowTcpForwarding yes\n",
        '    AuthorizedKeysCommand none\n    Banner "it is"\n',
    ],
)
def test_a_block_that_a_profile_can_say(tree: Tree, sshd: Sshd, lines: str) -> None:
    assert problems(tree, f"Match Group web\n{BLOCK}{lines}") == []


@pytest.mark.parametrize(
    ("head", "lines", "says"),
    [
        ("Group web Address 10.0.0.1", "", "1: a profile applies to a group or to users by name"),
        ("Address 10.0.0.1", "", "1: a profile applies to a group or to users by name"),
        ("Group w*", "", "1: a profile applies to names; w* is a pattern"),
        ("Group nobodys", "", "1: there is no group nobodys"),
        ("Group sftponly", "", "1: the group sftponly has the profile sftponly already"),
        ("User bob", "", "1: bob is in match_user of a profile already"),
        ("Group web", "    AllowTcpForwarding yes\n", "4: AllowTcpForwarding yes: every jail"),
        ("Group web", "    Subsystem sftp internal-sftp\n", "4: a profile cannot have Subsystem"),
        ("Group web", '    Banner "it\'s"\n', "4: Banner has both kinds of quotes"),
    ],
)
def test_a_block_that_no_profile_can_say(
    tree: Tree, sshd: Sshd, head: str, lines: str, says: str
) -> None:
    first, *more = problems(tree, f"Match {head}\n{BLOCK}{lines}")
    assert first.startswith(says) and not more


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Match Group web\n    ChrootDirectory /srv/%u\n", "1: without ForceCommand"),
        (f"Match Group web\n{BLOCK}".replace("/%u", ""), "2: the chroot /srv is one directory"),
        (f"Match Group web\n{BLOCK}".replace("%u", "%u/x"), "2: a profile's chroot is %h or"),
        (f"{BLOCK}".replace("    ", ""), "1: this chroot is in no Match block"),
    ],
)
def test_a_chroot_that_no_profile_has(tree: Tree, sshd: Sshd, text: str, says: str) -> None:
    assert problems(tree, text)[0].startswith(says)
