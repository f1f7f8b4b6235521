"""Save and restore all lines of an account or group in passwd(5), shadow(5) and related files.

This undoes useradd(8), userdel(8) and groupdel(8), even if they failed or were killed halfway. None
of these programs can undo a part of another, or restore dates, hash and order.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import SftpJailError
from ..errors.escapes import look_at, some
from ..formats.digest import sha256
from ..model import number
from . import files
from .locks import passwd_locked

ETC = "/etc"
# passwd(5) is written last when an account is restored, and first when it is removed.
_FILES = ("subuid", "subgid", "gshadow", "group", "shadow", "passwd")
# Likewise for a group: gshadow(5) alone gives its members no rights.
_GROUP_FILES = ("gshadow", "group")
# Where the fields are that usermod(8) changes, besides the uid.
_PLACES = {
    "uid": ("passwd", 2),
    "group": ("passwd", 3),
    "comment": ("passwd", 4),
    "home": ("passwd", 5),
    "shell": ("passwd", 6),
    "expire": ("shadow", 7),
}
_OF_PASSWD, _OF_SHADOW = 7, 9  # fields of a line
# The fields that list members, and in gshadow(5) also administrators.
_LISTS = {"group": (3,), "gshadow": (2, 3)}

Lines = dict[str, dict[str, Any]]


def read_lines(name: str) -> Lines:
    """Return the lines of an account and those that list it, by file, in a form for JSON."""
    there = [file for file in _FILES if os.path.exists(f"{ETC}/{file}")]
    return {file: _lines_of(name, file, _read(file)) for file in there}


def read_fields(name: str) -> dict[str, str]:
    """Return the present values of the fields of an account that usermod(8) changes.

    They are those of `SetAccount`, and "uid". There is none where passwd(5) has no such account,
    and no "expire" where shadow(5) has none.
    """
    return _fields_of([name], _read("passwd"), _read("shadow")).get(name, {})


def _fields_of(
    names: Collection[str], passwd: Sequence[str], shadow: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return the same by name, of the accounts that there are. The first line of a name counts."""
    found: dict[str, dict[str, str]] = {}
    for file, lines, most in (("passwd", passwd, 6), ("shadow", shadow, 7)):
        places = {field: at for field, (where, at) in _PLACES.items() if where == file}
        seen = set[str]()
        for line in lines:
            fields = line.split(":")
            name = fields[0]
            if name in names and name not in seen and len(fields) > most:
                seen.add(name)
                if file == "passwd" or name in found:
                    values = {field: fields[at] for field, at in places.items()}
                    found[name] = found.get(name, {}) | values
    return found


def edit_fields(
    names: Collection[str], change: Callable[[dict[str, dict[str, str]]], None]
) -> None:
    """Change fields of many accounts, with the account files locked. Each is written once.

    Args:
        names: the accounts.
        change: gets the present values by name, as from `read_fields`, and changes them in place.
            An error of it leaves both files as they are.

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    wanted = frozenset(names)
    with _changing_accounts():
        old = {file: _read(file) for file in ("passwd", "shadow")}
        now = _fields_of(wanted, old["passwd"], old["shadow"])
        before = {name: dict(fields) for name, fields in now.items()}
        change(now)
        for file, lines in old.items():
            values = {
                name: dict(_given(file, fields, before[name]))
                for name, fields in now.items()
                if fields != before[name]
            }
            # A name's first whole line is what counts; a completed one would count instead.
            if file == "shadow":
                count, least = (_OF_SHADOW, 7)
            else:
                count, least = (_OF_PASSWD, 6)
            new = [
                _with_fields(line, values.pop(_first(line), {}), count)
                if line.count(":") >= least
                else line
                for line in lines
            ]
            _write(file, lines, new)
            # Of a run that was killed between the two steps of a write.
            files.unlink(files.stage_name(f"{ETC}/{file}"))


def _given(
    file: str, fields: Mapping[str, str], before: Mapping[str, str]
) -> Iterator[tuple[int, str]]:
    """Yield the index and value of each field of a file that is to be another one."""
    for field, value in fields.items():
        where, at = _PLACES[field]
        if where == file and value != before.get(field):
            yield at, value


def read_group(name: str) -> Lines:
    """Return the lines of a group, by file, in a form for JSON."""
    there = [file for file in _GROUP_FILES if os.path.exists(f"{ETC}/{file}")]
    return {file: {"own": _own(name, _read(file))} for file in there}


def left_lines(names: Collection[str]) -> dict[str, Lines]:
    """Return `read_lines` by name, for the accounts that have a line or are listed in one."""
    wanted, found = frozenset(names), dict[str, Lines]()
    for file in _FILES:
        for line in _read(file):
            fields = line.split(":")
            listed = (name for at in _LISTS.get(file, ()) for name in _at(fields, at).split(","))
            for name in wanted.intersection((fields[0], *listed)):
                if name not in found:
                    found[name] = read_lines(name)
    return found


def group_lines(names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the lines of some groups by file and name."""
    return {
        file: {_first(line): line for line in _read(file) if _first(line) in names}
        for file in _GROUP_FILES
    }


def take_away(
    made: Mapping[str, Sequence[str]],
    before: Mapping[str, Lines],
    joined: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """Undo the creation of many accounts. Each file is written once.

    Args:
        made: by name, the uid, gid, home and shell that each was made with.
        before: from `left_lines`, before they were made.
        joined: from `group_lines`, of the groups that they joined. systemd-sysusers(8) sorts the
            members, whose former order comes back unless there are others by now.

    Returns:
        the names that now belong to other accounts, whose lines stay.

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    with _changing_accounts():
        others = others_of(made)
        gone = made.keys() - before.keys() - others
        for file in reversed(_FILES):
            old = _read(file)
            kept = [_without(line, gone, file) for line in old if _first(line) not in gone]
            was = (joined or {}).get(file, {})
            _write(file, old, [_in_order(line, was.get(_first(line), line), file) for line in kept])
    for name in made.keys() & before.keys() - others:
        put_back(name, before[name])
    return sorted(others)


def read_all(names: Collection[str]) -> Lines:
    """Return the lines of many accounts and those that list any of them, as `read_lines` does."""
    wanted, found = frozenset(names), Lines()
    for file in (file for file in _FILES if os.path.exists(f"{ETC}/{file}")):
        lines = _read(file)
        own = [
            {"after": _first(lines[at - 1]) if at else "", "at": at, "line": line}
            for at, line in enumerate(lines)
            if _first(line) in wanted
        ]
        others = (line for line in lines if _first(line) not in wanted)
        listing = (line for line in others if _without(line, wanted, file) != line)
        found[file] = {"own": own, "listed": {_first(line): line for line in listing}}
    return found


def of_each(every: Lines) -> dict[str, Lines]:
    """Return by name what `read_all` has of each account.

    A line that lists it lists nobody else there: a thousand accounts have a thousand members.
    """
    names = dict.fromkeys(_first(own["line"]) for own in every["passwd"]["own"])
    found: dict[str, Lines] = {
        name: {file: {"own": [], "listed": {}} for file in every} for name in names
    }
    for file, lines in every.items():
        for own in lines["own"]:
            if _first(own["line"]) in names:
                found[_first(own["line"])][file]["own"].append(own)
        for group, line in lines["listed"].items():
            fields = line.split(":")
            places = [at for at in _LISTS.get(file, ()) if at < len(fields)]
            members = {at: set(fields[at].split(",")) for at in places}
            empty = dict.fromkeys(places, "")
            for name in names.keys() & set[str]().union(*members.values()):
                alone = empty | {at: name for at in places if name in members[at]}
                found[name][file]["listed"][group] = _with_fields(line, alone, len(fields))
    return found


def take_out(uids: Mapping[str, int]) -> None:
    """Delete accounts, each with the group of its name. Each file is written once.

    Args:
        uids: by name, the uid that each must have.

    Raises:
        SftpJailError: one is another by now, a file cannot be changed, or another program has it
            locked; of these nothing is deleted.
    """
    with _changing_accounts():
        now = {fields[0]: number(fields[2]) for fields in reversed(_fields("passwd"))}
        other = sorted(name for name, uid in uids.items() if now.get(name) != uid)
        if other:
            words = f"somebody has removed or changed these accounts: {some(other, 8)}"
            raise SftpJailError(words, advice="try again")
        for file in reversed(_FILES):
            if os.path.exists(f"{ETC}/{file}"):
                old = _read(file)
                kept = [_without(line, uids, file) for line in old if _first(line) not in uids]
                _write(file, old, kept)


def bring_back(before: Lines) -> list[str]:
    """Undo `take_out`, also one that was cut short. Each file is written once.

    Args:
        before: from `read_all`.

    Returns:
        the names that now belong to other accounts, whose lines stay.

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    was = {_first(own["line"]): own["line"] for own in reversed(before["passwd"]["own"])}
    with _changing_accounts():
        now = {_first(line): line for line in reversed(_read("passwd"))}
        others = {name for name, line in was.items() if now.get(name, line) != line}
        back = was.keys() - others
        for file in _FILES:
            if file in before and os.path.exists(f"{ETC}/{file}"):
                _bring_back(file, before[file], back)
            # Of a run that was killed between the two steps of a write.
            files.unlink(files.stage_name(f"{ETC}/{file}"))
    return sorted(others)


def _bring_back(file: str, before: Mapping[str, Any], names: Collection[str]) -> None:
    old, listed = _read(file), before["listed"]
    there = {_first(line) for line in old}
    kept = [_listing_again(line, names, listed.get(_first(line), ""), file) for line in old]
    place = -1
    for own in before["own"]:
        name = _first(own["line"])
        if name in names and name not in there:
            place = max(_place(own, kept), place + 1)
            kept.insert(place, own["line"])
    _write(file, old, kept)


def _listing_again(line: str, names: Collection[str], before: str, file: str) -> str:
    """Return a line of a group with those of the accounts that the line BEFORE lists."""
    if not before or line == before:
        return line
    if _without(line, names, file) == _without(before, names, file):
        return before
    fields, was = line.split(":"), before.split(":")
    for at in _LISTS[file]:
        if at < min(len(was), len(fields)):
            have = frozenset(fields[at].split(","))
            more = [one for one in was[at].split(",") if one in names and one not in have]
            fields[at] = ",".join(filter(None, (fields[at], *more)))
    return ":".join(fields)


def others_of(made: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names that belong to accounts other than those we made; see `take_away`."""
    return {
        name
        for name, *fields in (line.split(":") for line in _read("passwd"))
        if name in made and [*fields[1:3], *fields[4:6]] != [*made[name]]
    }


def refuse_taken(names: Collection[str]) -> None:
    """Refuse new accounts if somebody else has made one of them meanwhile.

    Raises:
        SftpJailError: this is so, or another program has passwd(5) locked.
    """
    with _locked_accounts():
        taken = sorted({_first(line) for line in _read("passwd")}.intersection(names))
    if taken:
        raise SftpJailError(
            f"somebody else has just made these accounts: {some(taken, 8)}",
            advice="try again",
        )


def set_shadow(values: Mapping[str, Mapping[int, str]]) -> None:
    """Set fields of shadow(5) for many accounts. The file is written once.

    Args:
        values: by name, the fields by their index in the line; 0 is the name.

    Raises:
        SftpJailError: the file cannot be changed, or another program has it locked.
    """
    with _changing_accounts():
        old = _read("shadow")
        kept = [_with_fields(line, values.get(_first(line), {})) for line in old]
        _write("shadow", old, kept)


def put_passwords_back(before: Mapping[str, Sequence[str]], given: Mapping[str, str]) -> list[str]:
    """Restore passwords, unless they have been changed again since we set them.

    Args:
        before: by name, the fields of shadow(5) for the password and the day of its last change.
        given: by name, the digest of the password that we have set; see `digest`.

    Returns:
        the accounts whose password was changed again, and stays.

    Raises:
        SftpJailError: the file cannot be changed, or another program has it locked.
    """
    with _changing_accounts():
        old = _read("shadow")
        now = {_first(line): _at(line.split(":"), 1) for line in old}
        there = [name for name in before if name in now and now[name] != before[name][0]]
        others = [name for name in there if digest(now[name]) != given.get(name)]
        back = {name: before[name] for name in there if name not in others}
        values = {name: dict(enumerate(fields, start=1)) for name, fields in back.items()}
        _write("shadow", old, [_with_fields(line, values.get(_first(line), {})) for line in old])
    return others


def digest(password: str) -> str:
    """Return a digest of a field of shadow(5), to compare it without storing it."""
    return sha256(password.encode("utf-8", "surrogateescape")).hexdigest()


def _with_fields(line: str, values: Mapping[int, str], count: int = _OF_SHADOW) -> str:
    """Return a line with other fields, of which it has COUNT then: nine in shadow(5)."""
    if not values:
        return line
    fields = line.split(":")
    fields += [""] * (count - len(fields))
    for at, value in values.items():
        fields[at] = value
    return ":".join(fields)


def _at(fields: Sequence[str], at: int) -> str:
    if at < len(fields):
        return fields[at]
    return ""


def _lines_of(name: str, file: str, lines: list[str]) -> dict[str, Any]:
    listed = {_first(line): line for line in lines if _lists(line, name, file)}
    return {"own": _own(name, lines), "listed": listed}


def _own(name: str, lines: list[str]) -> list[dict[str, Any]]:
    return [
        {"after": _first(lines[at - 1]) if at else "", "at": at, "line": line}
        for at, line in enumerate(lines)
        if _first(line) == name
    ]


def without_hashes(found: Lines) -> Lines:
    """Return lines without password hashes: accounts that had one are locked."""
    for file, lines in found.items():
        if file in ("subuid", "subgid"):
            continue
        none = r"x?|[*!]+"
        if file in ("passwd", "shadow"):
            none = r"x|[*!]+"
        lines["own"] = [own | {"line": _locked(own["line"], none)} for own in lines["own"]]
        lines["listed"] = {group: _locked(line, none) for group, line in lines["listed"].items()}
    return found


def _locked(line: str, none: str) -> str:
    """Return a line with "!" as its password, unless NONE already matches the password."""
    fields = line.split(":")
    if len(fields) > 1 and not re.fullmatch(none, fields[1]):
        fields[1] = "!"
    return ":".join(fields)


def in_the_way(name: str, before: Mapping[str, Any]) -> str:
    """Return why a deleted account cannot be restored, or "".

    Args:
        name: the account.
        before: from `read_lines`, before it was deleted.
    """
    own = {file: [o["line"].split(":") for o in before[file]["own"]] for file in before}
    uids = {fields[2] for fields in own.get("passwd", ())}
    for fields in _fields("passwd"):
        if fields[0] == name:
            return f"there is an account {name} again"
        if fields[2] in uids:
            return f"its uid {fields[2]} belongs to {fields[0]} now"
    gids = {fields[2] for fields in own.get("group", ())}
    for fields in _fields("group"):
        if gids and fields[0] == name:
            return f"there is a group {name} again"
        if fields[2] in gids:
            return f"the gid {fields[2]} of its group belongs to {fields[0]} now"
    known = gids | {fields[2] for fields in _fields("group")}
    missing = {fields[3] for fields in own.get("passwd", ())} - known
    if missing:
        return f"there is no group with its gid {missing.pop()} any more"
    return next(
        filter(None, (_taken(file, own.get(file, ())) for file in ("subuid", "subgid"))), ""
    )


def _fields(file: str) -> list[list[str]]:
    found = [line.split(":") for line in _read(file)]
    return [fields for fields in found if len(fields) > 2]


def _taken(file: str, ranges: Iterable[Sequence[str]]) -> str:
    """Return a sentence that names who now has subordinate ids (subuid(5)) in RANGES, or ""."""
    wanted = [_range(fields) for fields in ranges]
    for fields in _fields(file):
        first, last = _range(fields)
        if any(first <= b and a <= last for a, b in wanted):
            return f"its range in /etc/{file} belongs to {fields[0]} now"
    return ""


def _range(fields: Sequence[str]) -> tuple[int, int]:
    first = number(fields[1]) or 0
    return first, first + (number(fields[2]) or 0) - 1


def stands(name: str, before: Lines) -> bool:
    """Return whether passwd(5) has the same account as before. Other files may differ."""
    old = [own["line"] for own in before.get("passwd", {"own": []})["own"]]
    return bool(old) and [own["line"] for own in _own(name, _read("passwd"))] == old


def is_another(name: str, before: Lines) -> bool:
    """Return whether the account has lines in passwd(5) or shadow(5) that differ from before."""
    now = read_lines(name)
    return any(
        own["line"] not in [old["line"] for old in before.get(file, {"own": []})["own"]]
        for file in ("passwd", "shadow")
        for own in now.get(file, {"own": []})["own"]
    )


def put_back(name: str, before: Lines, only_new: bool = False) -> None:
    """Restore the lines and memberships of an account. Lines of other accounts stay.

    Args:
        name: the account.
        before: from `read_lines`; if it has no lines of the account, the account is removed.
        only_new: refuse if the name, uid or gid is in use now; see `in_the_way`.

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    comes = bool(before.get("passwd", {}).get("own"))
    with _changing_accounts():
        if only_new and (why := in_the_way(name, before)):
            raise SftpJailError(f"the account {name} cannot come back: {why}")
        for file in _FILES if comes else reversed(_FILES):
            if file in before and os.path.exists(f"{ETC}/{file}"):
                _edit(file, name, before[file])


def put_group_back(name: str, before: Lines) -> str:
    """Restore the lines of a group. Lines of other groups stay.

    Args:
        name: the group.
        before: from `read_group`, before the change.

    Returns:
        why it cannot be restored, if so, and nothing was changed; or "".

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    with _changing_accounts():
        why = _group_in_the_way(name, before)
        if why:
            return why
        for file in _GROUP_FILES:
            if file in before and os.path.exists(f"{ETC}/{file}"):
                _edit(file, name, before[file])
    return ""


def _group_in_the_way(name: str, before: Lines) -> str:
    """Return why a deleted group cannot be restored, or ""."""
    own = [line["line"].split(":") for line in before.get("group", {"own": []})["own"]]
    gids = {fields[2] for fields in own if len(fields) > 2}
    for fields in _fields("group"):
        if fields[0] == name and fields not in own:
            return f"there is another group {name} by now"
        if fields[0] != name and fields[2] in gids:
            return f"the gid {fields[2]} of the group {name} belongs to {fields[0]} by now"
    return ""


@contextlib.contextmanager
def _locked_accounts() -> Iterator[None]:
    """Make useradd(8) and related programs wait.

    Raises:
        SftpJailError: one of them does not end.
    """
    with passwd_locked() as still:
        if not still:
            raise SftpJailError(
                "another program has locked /etc/passwd", look_at("fuser -v /etc/.pwd.lock")
            )
        yield


@contextlib.contextmanager
def _changing_accounts() -> Iterator[None]:
    """Make the same programs wait while files are replaced, whose names are on disk at the end.

    Raises:
        SftpJailError: one of them does not end.
    """
    with _locked_accounts():
        yield
        files.sync_dirs({ETC})


def _edit(file: str, name: str, before: dict[str, Any]) -> None:
    old = _read(file)
    kept = [line for line in old if _first(line) != name]
    if "listed" in before:
        listed = before["listed"]
        kept = [_listing(line, name, listed.get(_first(line), ""), file) for line in kept]
    place = -1
    for own in before["own"]:
        # Keep their order: if two lines have the same name, the first one counts.
        place = max(_place(own, kept), place + 1)
        kept.insert(place, own["line"])
    _write(file, old, kept)


def _write(file: str, old: Sequence[str], lines: Sequence[str]) -> None:
    """Write a file if its lines differ from OLD."""
    path = f"{ETC}/{file}"
    if lines != old:
        content = "\n".join(lines).encode("utf-8", "surrogateescape")
        files.write_staged(path, content, like=True, mode=0, uid=0, gid=0)
        files.move(files.stage_name(path), path)


def _place(own: Mapping[str, Any], lines: list[str]) -> int:
    """Return the index for a restored line: below its former neighbour, or else at the end."""
    after, at = own["after"], own.get("at", 0)  # an earlier version kept no number
    if 0 < at <= len(lines) and _first(lines[at - 1]) == after:
        return int(at)  # the number tells apart neighbours of the same name, such as blank lines
    if not after:
        return 0
    places = (at + 1 for at, line in enumerate(lines) if _first(line) == after)
    return next(places, len(lines) - (lines[-1:] == [""]))


def _listing(line: str, name: str, before: str, file: str) -> str:
    """Return a line of a group with the account's membership as in the line BEFORE."""
    if line == before or not (before or _lists(line, name, file)):
        return line
    if before and _without(line, (name,), file) == _without(before, (name,), file):
        return before  # at its old position among the members
    fields, was = _without(line, (name,), file).split(":"), before.split(":")
    for at in _LISTS[file]:
        # Another program may have cut the line short.
        if at < min(len(was), len(fields)) and name in was[at].split(","):
            fields[at] = f"{fields[at]},{name}".lstrip(",")
    return ":".join(fields)


def _without(line: str, names: Collection[str], file: str) -> str:
    fields = line.split(":")
    for at in _LISTS.get(file, ()):
        if at < len(fields):
            fields[at] = ",".join(one for one in fields[at].split(",") if one not in names)
    return ":".join(fields)


def _in_order(line: str, before: str, file: str) -> str:
    """Return BEFORE where it differs from a line in the order of members alone, else the line."""
    if _sorted(line, file) == _sorted(before, file):
        return before
    return line


def _sorted(line: str, file: str) -> list[str]:
    fields = line.split(":")
    for at in _LISTS.get(file, ()):
        if at < len(fields):
            fields[at] = ",".join(sorted(fields[at].split(",")))
    return fields


def _lists(line: str, name: str, file: str) -> bool:
    return _first(line) != name and _without(line, (name,), file) != line


def _first(line: str) -> str:
    return line.partition(":")[0]


def _read(file: str) -> list[str]:
    """Return the lines of a file; the last one is empty if the file ends with a newline."""
    return (files.read_file(f"{ETC}/{file}") or b"").decode("utf-8", "surrogateescape").split("\n")
