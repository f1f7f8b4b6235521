"""When and from where an account's keys were last used: a file for each uid, a line for each key.

This is a cache that may be lost, and it never blocks a login: there is no fsync and no error, and
the process that writes at a login ends itself after a second, while nobody waits for it. `setup`
makes the directory. If there is none, as after a teardown, nothing is recorded.

login_step.py contains this text and compiles it only in that process; see program() in
openssh/pam_session.py.
"""

from __future__ import annotations

import os

from ..paths import SEEN

SELDOM = 60  # seconds before a key's line is written again
LONGEST = 1 << 20  # bytes to read of a file
TRIES = 500  # attempts to lock the files, 10 ms apart
MOST = 2000  # lines to keep in a file, the newest ones


def uses(text: str) -> dict[str, tuple[int, str, int]]:
    """Return the time in epoch seconds, address and port of the last use of each key.

    A key is named by its fingerprint. Other methods are named `password`, `certificate` and so on.
    """
    found = {}
    for line in text.split("\n"):
        fields = line.split(" ")
        if len(fields) == 4 and all(fields) and is_number(fields[1]) and is_number(fields[3]):
            found[fields[0]] = (int(fields[1]), fields[2], int(fields[3]))
    return found


def is_number(text: str) -> bool:
    """Return whether TEXT is a number of at most eleven digits."""
    return text.isascii() and text.isdigit() and len(text) < 12


def as_text(known: dict[str, tuple[int, str, int]]) -> str:
    """Return the text that `uses` parses."""
    return "".join(f"{name} {at} {place} {port}\n" for name, (at, place, port) in known.items())


def read_uses(uid: int) -> dict[str, tuple[int, str, int]]:
    """Return the recorded uses of a uid, or none if they cannot be read."""
    try:
        with open(f"{SEEN}/{uid}", encoding="utf-8", errors="surrogateescape") as handle:
            return uses(handle.read(LONGEST))
    except OSError:
        return {}


def record_uses(uid: int, new: dict[str, tuple[int, str, int]], seldom: int = 0) -> None:
    """Record the uses that are newer than the recorded ones.

    Args:
        uid: the account's.
        new: in the form that `uses` returns.
        seldom: seconds by which a use must be newer.

    Raises:
        OSError: it cannot be written.
    """
    directory = os.open(SEEN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(directory)
        known = read_uses(uid)
        newer = {
            name: use
            for name, use in new.items()
            if name not in known or use[0] >= known[name][0] + max(seldom, 1)
        }
        if newer:
            with open(f"{SEEN}/new", "w", encoding="utf-8", errors="surrogateescape") as handle:
                latest = sorted((known | newer).items(), key=lambda item: item[1][0])
                handle.write(as_text(dict(latest[-MOST:])))
            os.rename(f"{SEEN}/new", f"{SEEN}/{uid}")
    finally:
        os.close(directory)


def _lock(directory: int) -> None:
    """Lock a directory until it is closed, waiting for up to five seconds. Raises OSError."""
    import fcntl
    import time

    for _ in range(TRIES):
        try:
            return fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
    raise BlockingIOError("another program has locked it")


def keep_note(path: str, text: str) -> None:
    """Write a file in SEEN. Raises OSError."""
    with open(f"{path}.new", "w", encoding="ascii") as handle:
        handle.write(text)
    os.rename(f"{path}.new", path)


def fingerprint(blob: str) -> str:
    """Return the fingerprint of a key as ssh-keygen prints it, or "" if it is not a key."""
    import binascii

    try:
        digest = _sha256(binascii.a2b_base64(blob))
    except ValueError:
        return ""
    return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")


def _sha256(data: bytes) -> bytes:
    """Return a SHA-256 digest, from a small C module of Python's that imports no other."""
    for name in ("_sha2", "_sha256", "hashlib"):  # since 3.12, before 3.12, always
        try:
            digest: bytes = __import__(name).sha256(data).digest()
        except ImportError:
            continue
        return digest
    return b""


def used(auth_info: str) -> list[str]:
    """Return the keys or other methods that authenticated a session.

    Args:
        auth_info: SSH_AUTH_INFO_0, with one method a line; see ExposeAuthInfo in sshd_config(5).
    """
    found = []
    for line in auth_info.split("\n"):
        method, kind, blob = [*line.split(" "), "", ""][:3]
        if "-cert-" in kind:
            found.append("certificate")
        elif method == "publickey":
            found.append(fingerprint(blob))
        else:
            found.append(method.partition("/")[0])
    return [name for name in found if name]


def note_login(environment: dict[str, str]) -> None:
    """Record the login of the session that is being opened, unless it is a test without a network.

    Args:
        environment: that of pam_exec(8).

    Raises:
        OSError: it cannot be written.
        KeyError: there is no such account.
    """
    import pwd
    import time

    connection = environment.get("SSH_CONNECTION", "").split(" ")
    names = used(environment.get("SSH_AUTH_INFO_0", ""))
    if len(connection) != 4 or connection[0] == "UNKNOWN" or not is_number(connection[1]):
        return
    use = (int(time.time()), connection[0], int(connection[1]))
    record_uses(pwd.getpwnam(environment["PAM_USER"]).pw_uid, dict.fromkeys(names, use), SELDOM)
