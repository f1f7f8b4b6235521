"""The origin records in /var/lib/sftpjail: what was there before us, as JSON."""

from __future__ import annotations

import json
import posixpath
from shlex import quote

from ..errors import SftpJailError
from ..model import Closed, Origin


def parse_origin(path: str, text: str) -> Origin:
    """Return the Origin that a record's text holds; the empty one for no text.

    Raises:
        SftpJailError: the record is damaged.
    """
    if not text:
        return Origin()
    try:
        record = json.loads(text)
        owners = {
            name: (int(u), int(g), int(m)) for name, (u, g, m) in record.get("owners", {}).items()
        }
        renamed, was = dict(record.get("renamed", {})), dict(record.get("was", {}))
        made = tuple(record.get("made", ()))
        kept = tuple(record.get("kept", ()))
        words = (*made, *owners, *renamed, *renamed.values(), *was, *was.values(), *kept)
        wrong: list[object] = [word for word in words if not isinstance(word, str) or "\0" in word]
        wrong += [
            owner for owner in owners.values() if not all(0 <= value < 1 << 32 for value in owner)
        ]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is nothing that sftpjail writes")
        uid = int(record.get("uid", -1))
        closed = _closed(record.get("closed"))
        return Origin(made, was, owners, renamed, bool(record.get("forced")), uid, kept, closed)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        folder, name = posixpath.split(path)
        raise SftpJailError(
            f"{path} is damaged: {error}",
            f"mv -nT {quote(path)} {quote(f'{folder}/.{name}.damaged')}",
        ) from error


def _closed(found: object) -> Closed | None:
    """Return what a record says of an account that is shut out; records before it say nothing.

    Raises:
        ValueError: it is nothing that sftpjail writes.
    """
    if found is None:
        return None
    fields = dict(found) if isinstance(found, dict) else {}
    expire = fields.get("expire")
    why, by, until = (fields.get(name, "") for name in ("why", "by", "until"))
    for word in (why, by, until, "" if expire is None else expire):
        if not isinstance(word, str) or "\0" in word:
            raise ValueError(f"{word!r} is nothing that sftpjail writes")
    if "why" not in fields:
        raise ValueError("it does not say why the account is closed")
    return Closed(why, by, until, expire)


def render_origin(origin: Origin) -> str:
    """Return an Origin as the text of its record."""
    record: dict[str, object] = {
        "made": list(origin.made),
        "was": dict(origin.was),
        "owners": dict(origin.owners),
        "renamed": dict(origin.renamed),
        "forced": origin.forced,
        "kept": list(origin.kept),
    }
    kept = {name: value for name, value in record.items() if value}
    if origin.closed is not None:
        pairs = vars(origin.closed).items()
        kept["closed"] = {name: value for name, value in pairs if value is not None}
    if origin.uid >= 0:
        kept["uid"] = origin.uid
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"
