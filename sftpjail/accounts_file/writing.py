"""The writers: what `reading` reads again as the same."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ..errors import SftpJailError, UsageError
from ..errors.escapes import some
from .entry import FIELDS, Entry, age_text, mount_text, values_of
from .formulas import guarded
from .reading import read

_SHOWN = 8
_HEADING = "# Accounts of sftpjail; see sftpjail-accounts(5)."


def write(entries: Sequence[Entry], form: str) -> str:
    """Return the text of an accounts file.

    Args:
        entries: the accounts.
        form: as in `reading.FORMATS`.

    Raises:
        SftpJailError: that form cannot hold a value.
    """
    return {"configobj": _configobj, "json": _json, "csv": _csv}[form](entries)


def _json(entries: Sequence[Entry]) -> str:
    return json.dumps({"accounts": [values_of(entry) for entry in entries]}, indent=1) + "\n"


def _cell(key: str, value: Any, entry: Entry) -> str:
    """Return a value as a text; keys, mounts and ages have a line each."""
    if key == "mounts":
        return "\n".join(map(mount_text, entry.mounts or ()))
    if key == "retention":
        return "\n".join(age_text(*age) for age in entry.retention or ())
    if isinstance(value, list):
        return "\n".join(value)
    if isinstance(value, bool):
        if value:
            return "yes"
        return "no"
    return str(value)


def _csv(entries: Sequence[Entry]) -> str:
    rows = [values_of(entry) for entry in entries]
    columns = [key for key in FIELDS if key == "name" or any(key in row for row in rows)]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for entry, row in zip(entries, rows, strict=True):
        cells = [_cell(key, row[key], entry) if key in row else "" for key in columns]
        writer.writerow(map(guarded, cells))
    return out.getvalue()


def _configobj(entries: Sequence[Entry]) -> str:
    text = _sections(entries)
    if text and _says(text, entries):
        return text
    odd = [entry.name for entry in entries if not _says(_sections([entry]), [entry])]
    raise SftpJailError(
        f"a value of {some(odd, _SHOWN)} has quotes that ConfigObj cannot hold, "
        "such as three in a row",
        advice="give --format json",
    )


def _sections(entries: Sequence[Entry]) -> str:
    """Return the text of sections, or "" where ConfigObj refuses to write it."""
    from configobj import ConfigObj, ConfigObjError  # late: only this form needs it

    found = ConfigObj(interpolation=False)
    for entry in entries:
        row = values_of(entry)
        name = row.pop("name")
        found[name] = {key: _cell(key, value, entry) for key, value in row.items()}
    with contextlib.suppress(ConfigObjError):
        return "\n".join([_HEADING, *found.write(), ""])
    return ""


def _says(text: str, entries: Sequence[Entry]) -> bool:
    """Return whether a text is read as the same: ConfigObj writes what it does not read."""
    try:
        found = read(text, "configobj", "")
    except UsageError:
        return False
    return [values_of(entry) for entry in found.entries] == [values_of(entry) for entry in entries]
