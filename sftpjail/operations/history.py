"""The part of the history that may be shown. The data for an undo has keys and may not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..engine.history import Entry, undone_by

SHOWN = ("id", "time", "who", "command", "users", "what", "actions")


def shown(entries: Iterable[Entry], user: str = "", since: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the transactions in the form of `--json`.

    Args:
        entries: the oldest first.
        user: only those about this account, which may no longer exist; "" for all.
        since: in epoch seconds.
    """
    known = list(entries)
    undone = undone_by(known)
    for entry in known:
        if entry["time"] < since or (user and user not in entry["users"]):
            continue
        about = {name: entry[name] for name in SHOWN}
        for part in ("what", "actions"):
            about[part] = [item for item in about[part] if user in ("", item["account"])]
        about["undoes"] = entry.get("reverts")
        about["undone_by"] = undone.get(entry["id"])
        yield about


def in_words(about: dict[str, Any]) -> str:
    """Return one line that says what a transaction did."""
    words = [f"{item['account']} {item['what']}".lstrip() for item in about["what"][:_MOST]]
    if not words:
        words = [f"{item['action']} {' '.join(item['about'])}" for item in about["actions"][:_MOST]]
    more = max(len(about["what"]), len(words)) - len(words)
    if more:
        words.append(f"and {more} more")
    marks = []
    if about["undoes"]:
        marks = [f"undoes {about['undoes']}"]
    if about["undone_by"]:
        marks.append(f"undone by {about['undone_by']}")
    return "; ".join(words) + (f" ({', '.join(marks)})" if marks else "")


_MOST = 4
