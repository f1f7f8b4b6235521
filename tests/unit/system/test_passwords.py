"""What is a hash of a password, by this host's own crypt(3)."""

from __future__ import annotations

import pytest

from sftpjail.actions import SetPasswords
from sftpjail.system.passwords import hashed, is_hash

SHA512 = f"$6$saltsalt${'a' * 86}"


def test_what_crypt_makes_is_a_hash() -> None:
    found = hashed("päss word")
    assert found.startswith("$") and "word" not in found and is_hash(found)
    assert hashed("päss word") != found, "each has a salt of its own"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (SHA512, True),
        (f"$6$rounds=5000$saltsalt${'a' * 86}", True),
        ("$6$saltsalt$", False),
        ("$6$", False),
        ("$nothing$saltsalt$aaaaaaaaaaaaaaaaaaaaaaaaaaaa", False),
        ("password", False),
        ("abJnggxhB/yWI", False),
        ("", False),
        ("!", False),
        ("*", False),
        (f"!{SHA512}", False),
        (f"{SHA512}:0", False),
        (f"{SHA512}\nroot:{SHA512}", False),
        (f"$6$säl${'a' * 86}", False),
    ],
)
def test_a_hash_is_what_crypt_can_compare(text: str, good: bool) -> None:
    assert is_hash(text) == good


def test_an_action_does_not_show_its_hash() -> None:
    assert SHA512 not in repr(SetPasswords((("ann", SHA512),)))
