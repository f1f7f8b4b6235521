"""Hashes of passwords: crypt(3) makes and judges them, chpasswd(8) writes them.

A password and its hash reach programs by standard input only, never by a command line.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from ..errors import SftpJailError
from . import programs
from .accounts import JOINS

NONE = "*"  # of an account without a password; "!" would lock it, and sshd without PAM its keys
# Of libxcrypt; the second where it lacks what no new program uses.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
_GOOD = (0, 4)  # of crypt_checksalt(3): as it should be, and one that is no longer preferred


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "crypt_checksalt"):
            library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
            return library
    raise SftpJailError("this host has no libxcrypt, which makes the hashes of passwords")


def hashed(password: str) -> str:
    """Return the hash of a password, by the method that this host prefers: crypt(5).

    Raises:
        SftpJailError: there is no libcrypt, or it refuses the password.
    """
    library = _library()
    salt = library.crypt_gensalt(None, 0, None, 0)
    found = salt and library.crypt(password.encode("utf-8", "surrogateescape"), salt)
    if not found or found.startswith(b"*"):
        raise SftpJailError("crypt(3) takes no such password", advice="a shorter one may do")
    return str(found.decode("ascii"))


def is_hash(text: str) -> bool:
    """Return whether crypt(3) of this host can compare a password with a hash.

    The oldest method, of 13 characters without a mark, is taken for none: it is a word as well.

    Raises:
        SftpJailError: there is no libcrypt.
    """
    if not text.startswith("$") or not text.isascii() or not text.isprintable():
        return False
    if set(text) & set(" :;*!\\"):  # crypt(5)
        return False
    # The setting alone is no hash, as of a line that was cut.
    return _library().crypt_checksalt(text.encode()) in _GOOD and len(text.split("$")[-1]) > 20


def write(passwords: Iterable[tuple[str, str]]) -> None:
    """Give accounts hashes, all by one chpasswd(8).

    Args:
        passwords: the accounts' names, and what shadow(5) is to have.

    Raises:
        SftpJailError: it refused.
    """
    text = "".join(f"{name}:{password}\n" for name, password in passwords)
    answer = programs.run(["chpasswd", "--encrypted"], text, env={JOINS: ""}, timeout=300.0)
    if answer.code != 0:
        # It names lines by their numbers; another one may repeat what it was given.
        words = answer.words if "$" not in answer.words else f"exit code {answer.code}"
        raise SftpJailError(f"chpasswd failed: {words}")
