"""Ask PAM's account rules about one account. This is a separate program: `SERVICE USER ADDRESS`.

A PAM module may do anything to its process, so this process does nothing else. It calls only
pam_acct_mgmt(3): nobody is authenticated, and no session is opened.
"""

from __future__ import annotations

import ctypes
import sys

# /usr/include/security/_pam_types.h
_TTY, _RHOST = 3, 4
_SILENT, _DATA_SILENT = 0x8000, 0x40000000
_RESPONSE = 16  # bytes of a struct pam_response

_Talk = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    """struct pam_conv of pam_conv(3)."""

    _fields_ = (("talk", _Talk), ("data", ctypes.c_void_p))


def _library(name: str) -> ctypes.CDLL:
    library = ctypes.CDLL(name)
    for function in ("pam_strerror", "calloc"):
        if hasattr(library, function):
            getattr(library, function).restype = ctypes.c_void_p
    return library


def ask(service: str, user: str, address: str) -> tuple[int, str]:
    """Return the result of pam_acct_mgmt(3), 0 for a permitted login, and PAM's text for it.

    Args:
        service: the name of the PAM service.
        user: the account.
        address: the client's address for PAM_RHOST; PAM_TTY is as in sshd's auth-pam.c.

    Raises:
        OSError: there is no libpam.
    """
    pam, libc = _library("libpam.so.0"), _library("libc.so.6")

    def talk(count: int, messages: int, responses: object, data: int) -> int:
        # Nobody reads the messages; the module frees what it gets.
        responses[0] = libc.calloc(count, _RESPONSE)  # type: ignore[index]
        return 0

    handle, conversation = ctypes.c_void_p(), _Conversation(_Talk(talk), None)
    code = pam.pam_start(
        service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle)
    )
    if code == 0:
        pam.pam_set_item(handle, _RHOST, address.encode())
        pam.pam_set_item(handle, _TTY, b"ssh")
        code = pam.pam_acct_mgmt(handle, _SILENT)
    words = ctypes.string_at(pam.pam_strerror(handle, code)).decode(errors="replace")
    pam.pam_end(handle, code | _DATA_SILENT)
    return code, words


if __name__ == "__main__":
    print(*ask(*sys.argv[1:]))
