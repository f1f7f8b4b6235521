"""The list of revoked keys, RevokedKeys of sshd_config(5): which keys are in it, and its flaws.

It is a text of public keys, or a KRL (ssh-keygen(1)). If sshd cannot read it to its end, it takes a
key that it has not found in it for revoked (authfile.c, sshkey_check_revoked).
"""

from __future__ import annotations

from ... import Key, Problem
from ...errors.escapes import Choice, shown, some
from ...formats import fixes
from ...host import Host
from ...openssh.public_keys import blob, survey
from ...openssh.settings import Settings

_KRL = b"SSHKRL\n\0"
_WHY = "sshd then takes no key"
_BACK = "put it back from a backup"
_MOST = 20  # lines that a command comments out


def list_of(found: Settings) -> str:
    """Return the path of the list that sshd reads, or ""."""
    path = found.get("revokedkeys")
    if path == "none":
        return ""
    return path


def is_revoked(key: Key, path: str, host: Host) -> bool:
    """Return whether a list has a key. One that cannot be read has none: see `flaw`."""
    data = _data(path, host)
    if not data.startswith(_KRL):
        entries = survey([data.decode("utf-8", "surrogateescape")], host)[0]
        return any(entry.key and blob(entry.key) == blob(key) for entry in entries)
    return "REVOKED" in _asked(key, path, host)


def flaw(keys: list[Key], found: Settings, host: Host) -> Problem | None:
    """Return why sshd takes no key at all: its list of revoked ones is missing or damaged.

    Args:
        keys: those that an account has, one at least.
        found: the settings of sshd for it.
        host: the facts.
    """
    path = list_of(found)
    if not path or not found.is_set("revokedkeys"):
        return None
    place = f"{shown(path)} of RevokedKeys ({found.where('revokedkeys')})"
    if host.stat(path) is None:
        # An empty one would let in who was in it.
        command = fixes.on(path, host, "install -m 644 /dev/null {}")
        choice = Choice("if no key was in it", command)
        return Problem(f"the file {place} is missing", _WHY, choices=(choice,), advice=_BACK)
    if host.is_dir(path):
        return Problem(f"{place} is a directory, and no list of keys", _WHY, advice=_BACK)
    data = _data(path, host)
    if not data.startswith(_KRL):
        return _bad_lines(data.decode("utf-8", "surrogateescape"), path, place, host)
    said = _asked(keys[0], path, host)
    if "REVOKED" in said or ": ok" in said:
        return None
    words = ["no KRL", *(line.strip() for line in said.splitlines() if line.strip())]
    return Problem(f"{place} is damaged: {words[-1]}", _WHY, advice=_BACK)


def _data(path: str, host: Host) -> bytes:
    if host.is_dir(path):
        return b""
    return host.read(path) or b""


def _asked(key: Key, path: str, host: Host) -> str:
    """Return what ssh-keygen says of a key and a KRL: REVOKED, ok, or that it cannot read that."""
    answer = host.ask(["ssh-keygen", "-Q", "-f", path, "/dev/stdin"], stdin=f"{blob(key)}\n")
    return answer.out + answer.err


def _bad_lines(text: str, path: str, place: str, host: Host) -> Problem | None:
    """Return the lines at which sshd stops reading a text (authfile.c, sshkey_in_file).

    It skips a blank line, a comment, and an RSA key that is too short, and nothing else.
    """
    known = {entry.number: entry.key for entry in survey([text], host)[0]}
    bad = []
    for number, line in enumerate(text.split("\n"), 1):
        line, key = line.lstrip(" \t"), known.get(number)
        if line and not line.startswith(("#", "ssh-rsa ")) and not (key and not key.options):
            bad.append(number)
    if not bad:
        return None
    command = ""
    if len(bad) <= _MOST:
        edit = "; ".join(f"{number}s/^/#/" for number in bad)
        command = fixes.on(path, host, f"sed -i '{edit}' {{}}")
    what = f"line {bad[0]} of {place} is no key"
    if len(bad) > 1:
        what = f"lines {some(map(str, bad), 8)} of {place} are no key"
    return Problem(
        what,
        _WHY,
        choices=(Choice("if no revoked key is meant there", command),),
        advice="write the keys that are meant there anew, one a line, without options",
    )
