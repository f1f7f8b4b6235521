"""What `mounts = auto` is on a host: decided once, and what was decided holds."""

from __future__ import annotations

import pytest
from fakes import Tree
from fakesshd import Sshd, sshd

from sftpjail.config import Config, parse
from sftpjail.model import Profile
from sftpjail.openssh import auto_mounts
from sftpjail.openssh.match_blocks import AUTO, DROPIN, MAIN, UNSAID, match_blocks

__all__ = ["sshd"]

CONFIG = parse("[profiles]\n[[sftponly]]\nmounts = auto\nmatch_user = bob,\ngroup = sftponly\n")
BLOCK = "Match Group sftponly\n    {}\n    ChrootDirectory /srv/sftp/%u\nMatch Group other\n"
LINE = "/home/ann /srv/sftp/ann/home/ann none bind,x-sftpjail.user=ann 0 0\n"


@pytest.fixture(autouse=True)
def new(tree: Tree, sshd: Sshd) -> None:
    """An OpenSSH that takes everything, and nothing of ours."""
    tree.program("sshd")
    tree.write(MAIN, "UsePAM yes\n")
    sshd.version = "OpenSSH_10.0p2, OpenSSL"


def found(tree: Tree, ask: bool = True) -> tuple[str, str]:
    (profile,) = auto_mounts.decided(CONFIG, tree.host(), ask).profiles
    return profile.mounts, profile.mounts_because


def test_who_says_which_gets_it(tree: Tree) -> None:
    for mounts in ("fstab", "session"):
        said = Config(profiles=(Profile("sftponly", mounts=mounts),))
        assert auto_mounts.decided(said, tree.host(), ask=True) == said


def test_a_new_host_has_session_mounts_if_sshd_takes_them(tree: Tree, sshd: Sshd) -> None:
    assert found(tree) == ("session", auto_mounts.PROVED)
    assert found(tree, ask=False) == ("fstab", auto_mounts.UNDECIDED)
    tree.write("/etc/pam.d/sshd", "auth required pam_env.so user_readenv=1\n")
    where = "/etc/pam.d/sshd:1 lets users set the environment of PAM's programs"
    assert found(tree) == ("fstab", where)
    tree.write(MAIN, "UsePAM no\n")
    assert found(tree) == ("fstab", "sshd runs with UsePAM no")
    sshd.refuses, sshd.version = "PAMServiceName", "OpenSSH_10.4p1, OpenSSL"
    assert found(tree) == ("fstab", "OpenSSH 10.4 takes no PAMServiceName in a Match block")
    sshd.broken = "line 3: what?"
    assert found(tree)[0] == "fstab"


def test_a_host_with_jails_in_fstab_keeps_them_there(tree: Tree) -> None:
    tree.write("/etc/fstab", LINE)
    assert found(tree) == ("fstab", "jails of this host have their mounts there")


@pytest.mark.parametrize(
    ("lines", "kind", "because"),
    [
        (f"{AUTO}fstab, it was old", "fstab", "it was old"),
        (f"{AUTO}session, tried", "session", "tried"),
        (f"{AUTO}session", "fstab", UNSAID),
        (f"{AUTO}nothing, tried", "fstab", UNSAID),
        ("PAMServiceName sftpjail-session", "session", UNSAID),
        ("PAMServiceName sftpjail", "fstab", UNSAID),
        ("", "fstab", UNSAID),
    ],
)
def test_what_was_decided_holds(tree: Tree, lines: str, kind: str, because: str) -> None:
    """In the drop-in or in sshd_config, whatever sshd takes by now, and fstab has."""
    tree.write(DROPIN, BLOCK.format(lines))
    assert found(tree) == found(tree, ask=False) == (kind, because)
    tree.write(DROPIN, "")
    marked = f"# BEGIN sftpjail sftpjail\n{BLOCK.format(lines)}# END sftpjail sftpjail\n"
    tree.write(MAIN, f"UsePAM yes\n{marked}")
    assert found(tree) == (kind, because)
    tree.write(MAIN, "UsePAM yes\n" + BLOCK.format(f"{AUTO}fstab, by hand"))
    assert found(tree)[1] == auto_mounts.PROVED, "an administrator's own block is none of ours"


def test_what_setup_writes_is_what_the_next_one_reads(tree: Tree) -> None:
    decided = auto_mounts.decided(CONFIG, tree.host(), ask=True)
    lines = list(match_blocks(decided, tree.host()))
    assert lines.count(f"    {AUTO}session, {auto_mounts.PROVED}") == 2, "of bob, and of the group"
    tree.write(DROPIN, "\n".join(lines))
    assert auto_mounts.decided(CONFIG, tree.host(), ask=False) == decided
    assert found(tree) == ("session", auto_mounts.PROVED)
    tree.write(DROPIN, BLOCK.format("X11Forwarding no"))
    old = auto_mounts.decided(CONFIG, tree.host(), ask=True)
    assert not [line for line in match_blocks(old, tree.host()) if AUTO in line]


def test_the_way_out_names_the_setting(tree: Tree, sshd: Sshd) -> None:
    sshd.version = "OpenSSH_10.4p1, OpenSSL"
    path = "/etc/sftpjail/sftpjail.conf"
    tree.write(path, "[profiles]\n[[sftponly]]\nmounts = auto\n")
    tree.write(DROPIN, BLOCK.format(f"{AUTO}session, tried"))
    (profile,) = auto_mounts.decided(parse(tree.host().text(path)), tree.host(), ask=True).profiles
    error = auto_mounts.refused((profile,), tree.host())
    assert error.message.startswith("OpenSSH 10.4 takes no PAMServiceName in a Match block")
    (choice,) = error.choices
    assert choice.command == f"sed -i '3c mounts = fstab' {path} && sftpjail setup"


def test_files_without_a_record_are_known(tree: Tree) -> None:
    """As after a restore of /etc alone."""
    assert not auto_mounts.has_lost_records(CONFIG, tree.host())
    tree.write(DROPIN, BLOCK.format("X11Forwarding no"))
    assert auto_mounts.has_lost_records(CONFIG, tree.host())
    tree.write("/var/lib/sftpjail/host", f'{{"made": ["{DROPIN}"]}}')
    assert not auto_mounts.has_lost_records(CONFIG, tree.host())
