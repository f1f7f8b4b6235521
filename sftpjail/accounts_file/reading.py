"""The readers: which form a file has, and what it says of which accounts."""

from __future__ import annotations

import csv
import io
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import SftpJailError, UsageError, did_you_mean
from ..errors.escapes import shown
from ..model import frozen
from .entry import FIELDS, Entry, Fault, Row, entry_of, without_hashes
from .formulas import plain

FORMATS = ("configobj", "json", "csv")
_HELP = "see sftpjail-accounts(5)"
_SECTION = re.compile(r"\s*(\[[\[\s]*)([^\[\]]*?)\s*\]")
_QUOTED = re.compile(r"(Invalid line) \(.*\)", re.DOTALL)
_SETTING = re.compile(r"\s*([A-Za-z_]+)\s*=")
_BLANK = re.compile(r"[ \t\r\n]*")
_COLUMNS = "its columns are: " + ", ".join(FIELDS)


@frozen
class AccountsFile:
    """What a file says: of each account that has no fault, and the faults of the others."""

    path: str
    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def has_hashes(self) -> bool:
        """Whether it has the hash of a password."""
        return any(entry.password for entry in self.entries)

    def errors(self) -> dict[str, SftpJailError]:
        """Return the first fault of each account as an error, by name or line."""
        found: dict[str, SftpJailError] = {}
        for fault in self.faults:
            found.setdefault(fault.name or f"line {fault.line}", UsageError(fault.words(self.path)))
        return found

    def placed(self, name: str, error: SftpJailError) -> SftpJailError:
        """Add the line and the name of an account to an error about it, and return it."""
        line = next((entry.line for entry in self.entries if entry.name == name), 0)
        if line and not error.message.startswith(f"{self.path}, line "):
            words = f"{self.path}, line {line}: {name}: {error.message}"
            error.message = without_hashes(words)
        return error


def form_of(text: str) -> str:
    """Return the form of a file by how it begins: one of FORMATS; "" for names alone."""
    lines = (line.strip() for line in re.split("\r\n|[\r\n]", text.removeprefix("\ufeff")))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if first.startswith("{"):
        return "json"
    if first.startswith("["):
        return "configobj"
    columns = [column.strip(' \t"').lower() for column in re.split("[,;\t]", first)]
    if len(columns) > 1 and "name" in columns:
        return "csv"
    return ""


def read(text: str, form: str, path: str) -> AccountsFile:
    """Return what an accounts file says.

    Args:
        text: its content.
        form: one of FORMATS.
        path: for errors.

    Raises:
        UsageError: it is not of that form, or has a column that is none of ours.
    """
    text = text.removeprefix("\ufeff")
    rows = {"configobj": _configobj, "json": _json, "csv": _csv}[form](text, path)
    entries, faults = list[Entry](), list[Fault]()
    for row in rows:
        entry, wrong = entry_of(row)
        faults += wrong
        if entry:
            entries.append(entry)
    entries, twice = _without_twins(entries)
    return AccountsFile(path, tuple(entries), (*faults, *twice))


def _without_twins(entries: Iterable[Entry]) -> tuple[list[Entry], list[Fault]]:
    """Return the entries whose name and uid no other has, and the faults of the others."""
    faults: list[Fault] = []
    names: dict[str, Entry] = {}
    uids: dict[int, Entry] = {}
    bad: set[str] = set()
    for entry in entries:
        first = names.setdefault(entry.name, entry)
        if first is not entry:
            what = f"{entry.name} stands in line {first.line} already"
            faults.append(Fault(entry.line, entry.name, "name", what))
            bad.add(entry.name)
            continue
        if entry.uid is None:
            continue
        other = uids.setdefault(entry.uid, entry)
        if other is not entry:
            what = f"{entry.uid} is the uid of {other.name} in line {other.line} already"
            faults.append(Fault(entry.line, entry.name, "uid", what))
            bad |= {entry.name, other.name}
    return [entry for name, entry in names.items() if name not in bad], faults


def _refuse(path: str, line: int, what: str) -> UsageError:
    return UsageError(without_hashes(f"{path}, line {line}: {what}"), advice=_HELP)


def _refuse_unknown(path: str, line: int, names: Iterable[Any], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            what = f"there is no field {shown(str(name))}{did_you_mean(str(name), known)}"
            raise UsageError(without_hashes(f"{path}, line {line}: {what}"), advice=_COLUMNS)


def _configobj(text: str, path: str) -> Iterator[Row]:
    from configobj import ConfigObj, ConfigObjError  # late: only this form needs it

    lines = re.split("\r\n|[\r\n]", text)
    try:
        found = ConfigObj(lines, interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        words = str(error).rpartition(" at line ")[0] or str(error)
        words = _QUOTED.sub(r"\1: no [ACCOUNT], and no FIELD = VALUE", words)  # it may be a secret
        raise _refuse(path, error.line_number or 1, words.rstrip(".")) from error
    places = _places(lines)
    if found.scalars:
        where = places.get("", {})
        what = f"{shown(found.scalars[0])} is above the first [ACCOUNT]"
        raise _refuse(path, where.get(found.scalars[0], 1), what)
    for name in found.sections:
        section, where = found[name], places.get(name, {})
        line = where.get("", 1)
        for key in (*section.scalars, *section.sections):
            _refuse_unknown(path, where.get(key, line), [key], FIELDS[1:])
        for key in section.sections:
            raise _refuse(path, where.get(key, line), f"{key} is a value and no section")
        yield Row(line, name, dict(section), where)


def _places(lines: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the line of each section, as that of "", and of each setting in it.

    ConfigObj does not keep them.
    """
    found: dict[str, dict[str, int]] = {"": {}}
    here, quote = found[""], ""
    for number, line in enumerate(lines, 1):
        if not quote:
            section, setting = _SECTION.match(line), _SETTING.match(line)
            name = ""
            if section:
                name = section[2].strip("\"'")
            if section and section[1].count("[") > 1:
                here.setdefault(name, number)
            elif section:
                here = found.setdefault(name, {})
                here.setdefault("", number)
            elif setting:
                here.setdefault(setting[1], number)
        for mark in re.findall("\"\"\"|'''", line.partition("=")[2] if not quote else line):
            if not quote or quote == mark:
                quote = "" if quote else mark
    return found


class _Twice(Exception):
    """A name stands twice in an object of JSON."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _json(text: str, path: str) -> Iterator[Row]:
    """Read `{"accounts": [{…}, …]}`, an account at a time, so that its line is known."""
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_number)
    line_of = _Lines(text)
    at = 0
    try:
        at = _after(text, at, "{")
        key, at = decoder.raw_decode(text, at)
        if key != "accounts":
            raise ValueError('it is not {"accounts": [...]}')
        at = _after(text, _after(text, at, ":"), "[")
        more = not text.startswith("]", at)
        while more:
            begin = at
            account, at = decoder.raw_decode(text, at)
            yield _row(account, text[begin:at], begin, line_of, path)
            at = _blank(text, at)
            more = text.startswith(",", at)
            if more:
                at = _after(text, at, ",")
        at = _after(text, _after(text, at, "]"), "}")
        if at != len(text):
            raise ValueError("there is more after its end")
    except json.JSONDecodeError as error:
        raise _refuse(path, error.lineno, error.msg) from error
    except _Twice as error:
        what = f"{shown(str(error))} occurs twice in one account"
        raise _refuse(path, line_of(at), what) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            what = "it is nested too deeply"
        else:
            what = str(error)
        raise _refuse(path, line_of(at), what) from error


class _Lines:
    """Finds the line of a place in a text."""

    def __init__(self, text: str) -> None:
        self._breaks = [at for at, character in enumerate(text) if character == "\n"]

    def __call__(self, at: int) -> int:
        return bisect_left(self._breaks, at) + 1


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    if found:
        return found.end()
    return at


def _after(text: str, at: int, mark: str) -> int:
    """Return the place behind a mark, and behind the blanks around it."""
    at = _blank(text, at)
    if not text.startswith(mark, at):
        raise json.JSONDecodeError(f"{mark} is missing", text, at)
    return _blank(text, at + len(mark))


def _row(account: Any, text: str, begin: int, line_of: _Lines, path: str) -> Row:
    line = line_of(begin)
    if not isinstance(account, dict):
        raise ValueError("an account is an object: {...}")
    lines = {key: line_of(begin + max(text.find(json.dumps(key)), 0)) for key in account}
    for key in account:
        _refuse_unknown(path, lines[key], [key], FIELDS)
    name = account.pop("name", None)
    return Row(line, name, account, lines)


def _csv(text: str, path: str) -> Iterator[Row]:
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # many keys are one cell
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            begin, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, begin, path)
                continue
            if len(cells) != len(header):
                what = f"it has {len(cells)} cells, and the header has {len(header)}"
                raise _refuse(path, begin, what)
            values = dict(zip(header, map(plain, cells), strict=True))
            yield Row(begin, values.pop("name").strip(), values)
    except csv.Error as error:
        raise _refuse(path, line, str(error)) from error
    if not header:
        raise _refuse(path, 1, "it has no header")


def _header(cells: Sequence[str], line: int, path: str) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    other = next((mark for mark in (";", "\t") if any(mark in name for name in names)), "")
    if other:
        mark = "tabs"
        if other == ";":
            mark = "semicolons"
        raise _refuse(path, line, f"its columns are separated by {mark}; save it with commas")
    _refuse_unknown(path, line, names, FIELDS)
    if "name" not in names:
        raise _refuse(path, line, "there is no column name")
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise _refuse(path, line, f"the column {twice} occurs twice")
    return names
