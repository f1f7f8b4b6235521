"""Password hashes: crypt(3) makes and checks them, chpasswd(8) writes them.

Passwords and hashes are passed to programs on standard input, never on a command line.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from ..errors import SftpJailError
from . import programs
from .accounts import JOINS

# For an account without a password. "!" would lock it, and then sshd without PAM refuses its keys.
NONE = "*"
# The names of libxcrypt; the second one is built without obsolete functions.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
_GOOD = (0, 4)  # of crypt_checksalt(3): valid, and valid but no longer preferred


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "crypt_checksalt"):
            library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
            return library
    raise SftpJailError("this host has no libxcrypt, which is needed to hash passwords")


def hashed(password: str) -> str:
    """Return the hash of a password by the host's preferred method (crypt(5)).

    Raises:
        SftpJailError: there is no libcrypt, or it refuses the password.
    """
    library = _library()
    salt = library.crypt_gensalt(None, 0, None, 0)
    found = salt and library.crypt(password.encode("utf-8", "surrogateescape"), salt)
    if not found or found.startswith(b"*"):
        raise SftpJailError("crypt(3) does not accept this password", advice="a shorter one may do")
    return str(found.decode("ascii"))


def is_hash(text: str) -> bool:
    """Return whether crypt(3) of this host can check a password against a hash.

    Hashes of the oldest method (13 characters without a prefix) are not accepted, because they
    could be plain words.

    Raises:
        SftpJailError: there is no libcrypt.
    """
    if not text.startswith("$") or not text.isascii() or not text.isprintable():
        return False
    if set(text) & set(" :;*!\\"):  # crypt(5)
        return False
    # A line that was cut off may have only the setting and no hash.
    return _library().crypt_checksalt(text.encode()) in _GOOD and len(text.split("$")[-1]) > 20


def write(passwords: Iterable[tuple[str, str]]) -> None:
    """Set the password hashes of accounts with one chpasswd(8).

    Args:
        passwords: the accounts' names and their hashes for shadow(5).

    Raises:
        SftpJailError: it refused.
    """
    text = "".join(f"{name}:{password}\n" for name, password in passwords)
    answer = programs.run(["chpasswd", "--encrypted"], text, env={JOINS: ""}, timeout=300.0)
    if answer.failed:
        # chpasswd names lines by number. Another implementation may print its input.
        if "$" not in answer.words:
            words = answer.words
        else:
            words = f"exit code {answer.code}"
        raise SftpJailError(f"chpasswd failed: {words}")
