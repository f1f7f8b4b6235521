"""What a profile says to sshd."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.config import Config, Logs
from sftpjail.errors import SftpJailError
from sftpjail.model import REQUESTS, Profile
from sftpjail.openssh import match_blocks
from sftpjail.openssh.sshd import spec

HOST = FakeHost("/nonexistent")
BIND, HOME = Profile("sftponly"), Profile("sftponly", chroot="%h")


@pytest.mark.parametrize(
    ("profile", "logs", "command"),
    [
        (BIND, Logs(), "internal-sftp -fAUTH -lVERBOSE"),
        (BIND, Logs("none"), "internal-sftp"),
        (HOME, Logs("none"), "internal-sftp -d/files"),
        (replace(HOME, home="none"), Logs("none"), "internal-sftp"),
        (
            replace(BIND, umask="027", start="/up/%u"),
            Logs("auto", "/x", "LOCAL3", "INFO"),
            "internal-sftp -fLOCAL3 -lINFO -u0027 -d/up/%u",
        ),
        (
            replace(HOME, files="in", read_only=True, deny=("remove", "rmdir")),
            Logs("none"),
            "internal-sftp -d/in -R -Premove,rmdir",
        ),
        (replace(HOME, start="/"), Logs("none"), "internal-sftp -d/"),
    ],
)
def test_force_command_is_glued_and_within_nine_words(
    profile: Profile, logs: Logs, command: str
) -> None:
    assert match_blocks.force_command(profile, Config(logs=logs)) == command
    everything = replace(
        profile, umask="0027", start="/a", read_only=True, deny=("remove", "rename")
    )
    assert len(match_blocks.force_command(everything, Config()).split()) <= 9


@given(
    deny=st.lists(st.sampled_from(sorted(REQUESTS)), unique=True).map(tuple),
    umask=st.sampled_from(["", "027", "0077"]),
    start=st.sampled_from(["", "/", "/up/%u"]),
    read_only=st.booleans(),
    base=st.sampled_from([BIND, HOME]),
)
def test_no_profile_has_words_that_sshd_drops(
    deny: tuple[str, ...], umask: str, start: str, read_only: bool, base: Profile
) -> None:
    profile = replace(base, deny=deny, umask=umask, start=start, read_only=read_only)
    words = match_blocks.force_command(profile, Config()).split()
    assert len(words) <= match_blocks.WORDS and words[0] == "internal-sftp"
    assert all(word.startswith("-") for word in words[1:]), "an option of two words"


def test_a_tenth_word_is_refused() -> None:
    with pytest.raises(SftpJailError, match="profile p: ForceCommand has more than the 9 words"):
        match_blocks.force_command(Profile("p", start="/a b c d e f g h"), Config())


def test_a_block_shuts_every_door_by_name() -> None:
    lines = match_blocks.block(replace(BIND, sshd_options=("MaxSessions 2",)), Config(), HOST)
    assert lines[:3] == [
        "ChrootDirectory /srv/sftp/%u",
        "ForceCommand internal-sftp -fAUTH -lVERBOSE",
        "AuthorizedKeysFile /etc/ssh/authorized_keys/%u",
    ]
    assert lines[3:-1] == [
        "DisableForwarding yes",
        "AllowTcpForwarding no",
        "AllowStreamLocalForwarding no",
        "AllowAgentForwarding no",
        "X11Forwarding no",
        "PermitTunnel no",
        "PermitTTY no",
        "PermitUserRC no",
    ]
    assert lines[-1] == "MaxSessions 2"


def test_users_come_before_groups() -> None:
    both = Profile("both", "two", match_user=("dan",))
    config = Config(profiles=(BIND, Profile("late", "", match_user=("bob", "eve")), both))
    lines = [
        line for line in match_blocks.match_blocks(config, HOST) if not line.startswith("    ")
    ]
    assert lines == [
        "Match User bob,eve",
        "Match User dan",
        "Match Group sftponly",
        "Match Group two",
    ]


def test_settings_are_written_as_sshd_prints_them() -> None:
    said = list(
        match_blocks.settings(replace(BIND, sshd_options=("MaxSessions 2",)), Config(), HOST)
    )
    assert said[0] == "chrootdirectory /srv/sftp/%u" and "allowstreamlocalforwarding no" in said
    assert len(said) == 11 and not any("axsessions" in line for line in said), (
        "options of the administrator's"
    )


def test_a_connection_has_every_field_that_match_may_ask_for() -> None:
    # `Match LocalPort 22` is an error of sshd -T where the connection has no lport, in 9.2 and
    # 10.0.
    fields = dict(pair.split("=") for pair in spec("ann").split(","))
    assert fields["user"] == "ann" and set(fields) == {
        *("user", "host", "addr", "laddr", "lport", "rdomain"),
    }


def test_address_blocks_are_about_nobody_of_an_earlier_profile() -> None:
    profiles = (
        Profile("one", "one", match_user=("ann", "bob")),
        Profile("two", "two", match_user=("bob", "eve"), addresses=("10.0.0.0/8",)),
        Profile("three", "three", addresses=("::1", "192.0.2.7")),
    )
    assert list(match_blocks.address_blocks(Config(profiles=profiles))) == [
        "Match User eve Address *,!10.0.0.0/8",
        "    DenyUsers *@*",
        "Match Group two,!one User *,!ann,!bob,!eve Address *,!10.0.0.0/8",
        "    DenyUsers *@*",
        "Match Group three,!one,!two User *,!ann,!bob,!eve Address *,!::1,!192.0.2.7",
        "    DenyUsers *@*",
    ]


@pytest.mark.parametrize("because", ["", "sshd runs with UsePAM no"])
@pytest.mark.parametrize(("passwords", "methods"), [("yes", "publickey,password"), ("host", "")])
def test_former_methods_are_those_of_the_block(
    tree: Tree, because: str, passwords: str, methods: str
) -> None:
    given = replace(BIND, passwords=passwords, authentication_methods=methods)
    given = replace(given, mounts_because=because)
    old, before = Config(profiles=(given,)), Config(profiles=(BIND,))
    tree.write(match_blocks.DROPIN, "\n".join(match_blocks.match_blocks(old, HOST)) + "\n")
    new = replace(given, passwords="no", authentication_methods="publickey", umask="027")
    found = match_blocks.with_former_methods(Config(profiles=(new,)), tree.host())
    assert found.profiles == (replace(given, umask="027"),)
    tree.write(match_blocks.DROPIN, "Match Group others\n    ChrootDirectory /x\n")
    assert match_blocks.with_former_methods(before, tree.host()) == before, "none that is ours"


def test_the_profiles_in_force_are_those_of_our_blocks(tree: Tree) -> None:
    """Wherever the blocks are, and those about addresses alone jail nobody."""
    block = (
        "Match Group sftponly Address *,!10.0.0.0/8\n    DenyUsers *@*\n"
        "Match User eve,dan\n    # mounts = auto: fstab, why\n    ChrootDirectory %h\n"
        "Match Group sftponly\n    ChrootDirectory /srv/sftp/%u\n    PermitTTY no\n"
    )
    users, group = Profile("eve,dan", "", ("eve", "dan"), "%h"), Profile("sftponly", "sftponly")
    assert match_blocks.profiles_in_force(tree.host()) == ()
    tree.write(match_blocks.DROPIN, block)
    assert match_blocks.profiles_in_force(tree.host()) == (users, group)
    (tree.root / match_blocks.DROPIN.lstrip("/")).unlink()
    other = "Match Group other\n    ChrootDirectory /other\n"
    tree.write(
        match_blocks.MAIN, f"{other}# BEGIN sftpjail sftpjail\n{block}# END sftpjail sftpjail\n"
    )
    assert match_blocks.profiles_in_force(tree.host()) == (users, group)
