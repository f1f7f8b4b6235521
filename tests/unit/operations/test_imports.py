"""What an import writes into sftpjail.conf."""

from __future__ import annotations

import pytest

from sftpjail.config import parse
from sftpjail.model import Profile
from sftpjail.operations.imports import section, with_profiles

FULL = Profile(
    "one",
    group="",
    match_user=("ann", "ben"),
    chroot="%h",
    home="none",
    shell="",
    umask="027",
    start="/web",
    read_only=True,
    deny=("remove",),
    sshd_options=("AuthenticationMethods publickey,password", 'Banner "/etc/a b"'),
)


def test_a_profile_is_read_as_it_was_written() -> None:
    text = with_profiles("", ["", *section(FULL)], anew=True)
    assert parse(text).profiles == (FULL,)
    assert "mounts = fstab" in section(FULL)


@pytest.mark.parametrize(
    ("text", "anew", "names"),
    [
        ("", True, ["one"]),
        ("", False, ["sftponly", "one"]),
        ("[logs]\nlevel = INFO\n", True, ["one"]),
        ("[logs]\nlevel = INFO\n", False, ["sftponly", "one"]),
        ("[profiles]\n# [[two]]\n[logs]\nlevel = INFO\n", False, ["sftponly", "one"]),
        ("# a\n[profiles]\n[[two]]\nchroot = %h\n", False, ["two", "one"]),
        ("[profiles]\n[[two]]\n\n# more\n[ logs ]\nlevel = INFO\n", False, ["two", "one"]),
        ("# a\n[profiles]\n\n# b\n[[two]]\nchroot = %h\n[logs]\nlevel = INFO\n", True, ["one"]),
    ],
)
def test_profiles_come_last(text: str, anew: bool, names: list[str]) -> None:
    new = with_profiles(text, list(section(FULL)), anew)
    assert [profile.name for profile in parse(new).profiles] == names
    assert anew or parse(new).profiles[:-1] == parse(text).profiles
    assert parse(new).logs == parse(text).logs
    assert text.startswith("# a") == new.startswith("# a")
