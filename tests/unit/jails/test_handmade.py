"""Jails by hand: what a profile can say, and what it cannot."""

from __future__ import annotations

import pytest

from sftpjail.jails.handmade import Command, _Lacking, _parsed


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
