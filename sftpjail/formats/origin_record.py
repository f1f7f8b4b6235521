"""The origin records in /var/lib/sftpjail: what was there before us, as JSON."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
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
        return Origin(
            made=tuple(map(_text, record.get("made", ()))),
            was=_texts(record.get("was", {})),
            owners={
                _text(name): (_id(uid), _id(gid), _id(mode))
                for name, (uid, gid, mode) in record.get("owners", {}).items()
            },
            renamed=_texts(record.get("renamed", {})),
            forced=bool(record.get("forced")),
            uid=int(record.get("uid", -1)),
            kept=tuple(map(_text, record.get("kept", ()))),
            closed=_closed(record.get("closed")),
            group=_text(record.get("group", "")),
            gid=int(record.get("gid", -1)),
        )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        directory, name = posixpath.split(path)
        raise SftpJailError(
            f"{path} is damaged: {error}",
            f"mv -nT {quote(path)} {quote(f'{directory}/.{name}.damaged')}",
        ) from error


def _text(found: object) -> str:
    if not isinstance(found, str) or "\0" in found:
        raise ValueError(f"{found!r} is not something that sftpjail writes")
    # JSON can say what no name on a disk is: half a surrogate pair that is no byte of one.
    found.encode("utf-8", "surrogateescape")
    return found


def _texts(found: Mapping[object, object]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in dict(found).items()}


def _id(found: str) -> int:
    if not 0 <= int(found) < 1 << 32:
        raise ValueError(f"{found!r} is not something that sftpjail writes")
    return int(found)


def _closed(found: object) -> Closed | None:
    """Return what a record says of an account that is shut out; records before it say nothing.

    Raises:
        ValueError: sftpjail never writes that.
    """
    if found is None:
        return None
    fields = {}
    if isinstance(found, dict):
        fields = dict(found)
    if "why" not in fields:
        raise ValueError("it does not say why the account is closed")
    words = {name: _text(fields.get(name, "")) for name in ("why", "by", "until", "since")}
    expire = fields.get("expire")
    return Closed(expire=None if expire is None else _text(expire), **words)


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
        words = {name: value for name, value in vars(origin.closed).items() if value is not None}
        kept["closed"] = {name: value for name, value in words.items() if value or name != "since"}
    if origin.uid >= 0:
        kept["uid"] = origin.uid
    if origin.group:
        kept |= {"group": origin.group, "gid": origin.gid}
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"
