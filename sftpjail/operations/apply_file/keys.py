"""Which keys of an account are added, and which are removed."""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.plan import Event, OnKeyAdd, OnKeyRemove
from ...errors import SftpJailError
from ...errors.escapes import shown
from ...model import Account, Key
from ...openssh import public_keys
from ..export import KeyLine


def once(keys: Sequence[Key]) -> list[Key]:
    """Return keys without duplicates. Raises SftpJailError if two of these have other options."""
    found: dict[str, Key] = {}
    for key in keys:
        first = found.setdefault(public_keys.blob(key), key)
        if first.line != key.line:
            raise SftpJailError(f"keys: {key.fingerprint} is listed twice, with differences")
    return list(found.values())


def key_changes(
    account: Account, keys: Sequence[Key], there: Sequence[KeyLine]
) -> tuple[list[Event], list[str]]:
    """Return the events that give an account exactly these keys, and the changes in words.

    A line that means the same stays as it is.
    """
    wanted = {key.line: key for key in keys}
    kept = {one.key.line: one.raw.line for one in there if one.key.line in wanted}
    stays = set(kept.values())
    gone = {one.raw.line: one.raw for one in there if one.raw.line not in stays}
    new = [key for line, key in wanted.items() if line not in kept]
    # Additions come first, so that the account is never without a key.
    events: list[Event] = [OnKeyAdd(account, key) for key in new]
    events += [OnKeyRemove(account, key) for key in gone.values()]
    lines = [f"+ key {_in_words(key)}" for key in new]
    lines += [f"- key {_in_words(key)}" for key in gone.values()]
    return events, lines


def _in_words(key: Key) -> str:
    options = ""
    if key.options:
        options = f" ({','.join(key.options)})"
    return f"{key.fingerprint} {shown(key.comment) if key.comment else ''}".rstrip() + options
