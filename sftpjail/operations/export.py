"""The jailed accounts of a host in the form of a file of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..accounts_file.entry import Entry, MountWanted, misread
from ..config import keyfile
from ..errors import SftpJailError
from ..host import Host
from ..jails import quota, retention
from ..jails.closing import expiry, is_disabled
from ..jails.owners import named
from ..model import Account, Key, exact_size, frozen
from ..openssh import public_keys

# The values of fields that are left out.
_SINGLE: dict[str, Any] = {
    "comment": None,
    "password": None,
    "expires": None,
    "reason": "",
    "until": "",
    "quota": None,
    "retention": None,
}


@frozen
class KeyLine:
    """A key of an account, as in its file and as `key add` would write it."""

    raw: Key
    key: Key


@frozen
class Known:
    """An account: its entry, the entry's keys, and why `apply` would refuse part of it."""

    account: Account
    entry: Entry
    keys: tuple[KeyLine, ...] = ()
    unfit: tuple[str, ...] = ()


def key_text(name: str, host: Host) -> tuple[str, str]:
    """Return the text of an account's key file, and why it cannot be read, or "".

    Whatever lies there, a directory, say, does not keep the other accounts from being looked at.
    """
    try:
        return host.text(keyfile(name)), ""
    except SftpJailError as error:
        return "", error.message


def key_lines(names: Sequence[str], host: Host) -> list[tuple[tuple[KeyLine, ...], list[str]]]:
    """Return the keys in the files of accounts, and what is wrong in each file.

    One ssh-keygen reads them all.

    Args:
        names: the accounts, which need not exist.
        host: the facts.
    """
    files = [key_text(name, host) for name in names]
    answers = []
    every = public_keys.survey([text for text, _ in files], host)
    for name, (whole, unread), entries in zip(names, files, every, strict=True):
        path, text = keyfile(name), whole.split("\n")
        found, wrong = [], list(filter(None, [unread]))
        for entry in entries:
            if entry.key is None:
                wrong.append(f"line {entry.number} of {path} is left out: {entry.problem}")
                continue
            raw = Key(**{**vars(entry.key), "line": text[entry.number - 1]})
            found.append(KeyLine(raw, public_keys.tidy(entry.key)))
            why = public_keys.unfit(entry.key)
            if why:
                wrong.append(f"line {entry.number} of {path} will be refused: {why}")
        answers.append((tuple(found), wrong))
    return answers


def known(
    accounts: Iterable[Account], host: Host, errors: dict[str, SftpJailError], secrets: bool = False
) -> list[Known]:
    """Return accounts as they are.

    Args:
        accounts: jailed, each with its profile.
        host: the facts.
        errors: gets by name why an account is left out: its record or its mounts are damaged.
        secrets: include their password hashes.
    """
    every, there = list(accounts), list[Known]()
    keys = key_lines([account.name for account in every], host)
    for account, (found, wrong) in zip(every, keys, strict=True):
        try:
            entry = _entry(account, found, host, secrets)
        except SftpJailError as error:
            error.owner = account.name
            errors[account.name] = error
        else:
            there.append(Known(account, entry, found, tuple(wrong)))
    return there


def readable(known: Iterable[Known]) -> tuple[list[Entry], list[str]]:
    """Return the entries without values that no file can hold, and notes about those values.

    So one odd account does not prevent the others from being written.
    """
    entries, lacks = list[Entry](), list[str]()
    uids: dict[int | None, str] = {}
    for one in known:
        entry, words = _readable(one.entry)
        first = uids.setdefault(entry.uid, entry.name)
        if first != entry.name:
            entry = replace(entry, uid=None)
            words.append(f"its uid is left out: it is that of {first} too")
        entries.append(entry)
        lacks += [f"{entry.name}: {word}" for word in (*one.unfit, *words)]
    return entries, lacks


def _readable(entry: Entry) -> tuple[Entry, list[str]]:
    words = []
    for key, nothing in _SINGLE.items():
        why = misread(entry, key)
        if why:
            entry = replace(entry, **{key: nothing})
            words.append(f"its {key} is left out: {why}")
    keys = {key: misread(replace(entry, keys=(key,)), "keys") for key in entry.keys or ()}
    mounts = {
        mount: misread(replace(entry, mounts=(mount,)), "mounts") for mount in entry.mounts or ()
    }
    words += [f"a key is left out: {why}" for why in keys.values() if why]
    words += [f"a mount is left out: {why}" for why in mounts.values() if why]
    return replace(
        entry,
        keys=tuple(key for key, why in keys.items() if not why),
        mounts=tuple(mount for mount, why in mounts.items() if not why),
    ), words


def _entry(account: Account, keys: Sequence[KeyLine], host: Host, secrets: bool) -> Entry:
    name = account.name
    closed = None
    if is_disabled(account, host):
        closed = host.origin(name).closed
    binds = [bind for bind in host.binds(name) if bind.is_asked_for]
    return Entry(
        name,
        uid=account.uid,
        comment=host.comment(name) if account.local else None,
        profile=account.profile.name if account.profile else "",
        password=hash_of(host.shadow(name).password) if secrets and account.local else None,
        keys=tuple(line.key.line for line in keys),
        mounts=tuple(
            MountWanted(
                bind.source,
                bind.target.removeprefix(account.jail),
                bind.read_only,
                named(bind.owner, host) if bind.owner else "",
                "" if bind.group is None else host.people.group_label(bind.group),
            )
            for bind in sorted(binds, key=lambda bind: bind.target)
        ),
        expires=expiry(account, host),
        disabled=closed is not None,
        reason=closed.why if closed else "",
        until=closed.until if closed else "",
        quota=_quota(name, host),
        retention=tuple(sorted(retention.ages(name, host).items())),
    )


def _quota(name: str, host: Host) -> str:
    """Return the quota that an account has of its own, as a file has it."""
    size = quota.own(name, host)
    if size is None:
        return ""
    if not size:
        return "none"
    return exact_size(size)


def hash_of(field: str) -> str:
    """Return the hash in a password field of shadow(5), or "" if it has none."""
    if len(field.lstrip("!*x")) > 1:
        return field
    return ""
