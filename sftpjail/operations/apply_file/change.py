"""The changes of an account in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...accounts_file.entry import Entry, shown_values
from ...errors.escapes import counted, shown
from ...model import frozen


@frozen
class Change:
    """The change of one account.

    `kind` is new, changed, unchanged or disabled (because FILE does not list it). `lines` say in
    words what changes. `password` is what is shown of a password: "(set)", "(changed)" or "none",
    or "" if it is not managed.
    """

    name: str
    kind: str
    before: Entry | None
    after: Entry
    lines: tuple[str, ...] = ()
    password: tuple[str, str] = ("", "")

    def describe(self) -> dict[str, Any]:
        """Return the change for --json, without password hashes."""
        before = None
        if self.before is not None:
            before = shown_values(self.before, self.password[0])
        after = shown_values(self.after, self.password[1])
        return {"user": self.name, "change": self.kind, "before": before, "after": after}


def password_word(password: str) -> str:
    """Return what is shown of a password hash; "" means no password."""
    if password:
        return "(set)"
    return "none"


def creation(entry: Entry, password: str) -> Change:
    """Return the change of a new account, with what is shown of its password, "" for nothing."""
    line = f"+ {entry.name}: {', '.join(_features(entry, password))}"
    return Change(entry.name, "new", None, entry, (line,), ("", password))


def _features(entry: Entry, password: str) -> Iterator[str]:
    yield f"uid {entry.uid}"
    yield f"profile {entry.profile}"
    yield counted(len(entry.keys or ()), "key")
    yield counted(len(entry.mounts or ()), "mount")
    if password:
        yield f"password {password}"
    if entry.expires:
        yield f"expires {entry.expires}"
    if entry.quota:
        yield f"quota {entry.quota}"
    yield from (f"{shown(directory)} for {days}d" for directory, days in entry.retention or ())
    if entry.disabled:
        yield "disabled"


def differences(before: Entry, after: Entry) -> Iterator[str]:
    """Yield the other changes in words, without keys, mounts and password."""
    if before.comment != after.comment:
        yield f"comment {shown(before.comment or '')} -> {shown(after.comment or '')}"
    if before.expires != after.expires:
        yield f"expires {before.expires or 'never'} -> {after.expires or 'never'}"
    if before.quota != after.quota:
        yield f"quota {before.quota or 'profile'} -> {after.quota or 'profile'}"
    had, has = (dict(entry.retention or ()) for entry in (before, after))
    for directory in sorted(had.keys() | has.keys()):
        old, new = (f"{ages[directory]}d" if directory in ages else "never" for ages in (had, has))
        if old != new:
            yield f"retention of {shown(directory)} {old} -> {new}"
    if after.disabled and (before.reason, before.until) != (after.reason, after.until):
        until = ""
        if after.until:
            until = f", until {after.until}"
        yield f"disabled: {shown(after.reason)}{until}"
    elif before.disabled != after.disabled:
        if before.disabled:
            yield "enabled"
        else:
            yield "disabled"
