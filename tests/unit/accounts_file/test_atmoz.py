"""users.conf of the container atmoz/sftp, as its README writes it."""

from __future__ import annotations

import pytest

from sftpjail.accounts_file.atmoz import User, read_users

CONF = """\
# comment
foo:123:1001:100
bar:$1$salt$hash:e:1002:100:upload,in/box

baz::1003
qux:
only
"""


def test_each_line_is_a_user() -> None:
    users, faults = read_users("\ufeff" + CONF.replace("\n", "\r\n"))
    assert faults == [] and users == [
        User(2, "foo", "123", False, 1001, 100),
        User(3, "bar", "$1$salt$hash", True, 1002, 100, ("upload", "in/box")),
        User(5, "baz", "", False, 1003),
        User(6, "qux"),
        User(7, "only"),
    ]
    assert "123" not in repr(users[0]) and "hash'" not in repr(users[1])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-x:1", "FILE, line 1: name: '-x' is not a valid account name"),
        ("a:b:x", "FILE, line 1: uid: it is not a number"),
        ("a:b:e:1:x", "FILE, line 1: gid: it is not a number"),
        ("a:b:1:1:../x", "FILE, line 1: directories: one of them does not lie in the home"),
        ("a:b:$1$salt$hashhash", "FILE, line 1: uid: it is not a number"),
        ("$1$salt$hashhash:b", "FILE, line 1: name: '(hash)' is not a valid"),
        ("a:b:1:1:x:y", "FILE, line 1: it has more fields"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: str, says: str) -> None:
    users, (fault,) = read_users(line)
    assert users == [] and fault.words("FILE").startswith(says)
