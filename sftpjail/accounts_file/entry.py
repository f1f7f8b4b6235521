"""One account as a file describes it, and what each of its fields may be.

A field that is None is not managed: whatever the host has of it stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import date
from typing import Any

from ..errors import UsageError
from ..errors.escapes import has_controls, shown
from ..formats.retention import age_of
from ..model import LONGEST_COMMENT, exact_size, free_text, frozen, normal, number, size, valid_name

# In the order of `export`.
FIELDS = (
    "name",
    "uid",
    "comment",
    "profile",
    "password",
    "keys",
    "mounts",
    "expires",
    "disabled",
    "reason",
    "until",
    "quota",
    "retention",
)
# As crypt(5) makes them; passwd -l locks one by the mark before it. Its oldest method has none, and
# what looks so is rather a plain password in the wrong place.
_HASH = re.compile(r"!?\$[A-Za-z0-9./$=,_-]{3,}")
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}
# A hash wherever it stands: in a column beside its own, or in a line that is none.
_HASHED = re.compile(r"!?\$[A-Za-z0-9,=_-]{1,24}\$[A-Za-z0-9./$=,_-]{4,}")
_FIRST_DAY = "1970-01-02"  # of shadow(5): it advises against 0, and -1 is no expiry
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?"
_OWNER = re.compile(f"{_NAME}(?::{_NAME})?")
_MOUNT = re.compile(
    f"([^:]+):([^:]+?)(?::(ro|rw))?(?::as=({_OWNER.pattern})|:group=({_NAME}))?", re.DOTALL
)
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


@frozen
class MountWanted:
    """A directory of the host, and its path inside the jail."""

    source: str
    target: str
    read_only: bool = False
    owner: str = ""
    group: str = ""


@frozen
class Entry:
    """What a file says of one account.

    `line` is where it begins. `profile` is "" where that is not said. `password` is a hash, or ""
    for none; `keys` are lines as in authorized_keys; `expires` is "" for never. `reason` and
    `until` go with `disabled`, and are "" where they are not said. `quota` is a size as of
    `exact_size`, none, or "" for what the profile says. `retention` has the directories that lose
    their old files, as sessions see them and in order, and the age in days.
    """

    name: str
    line: int = 0
    uid: int | None = None
    comment: str | None = None
    profile: str = ""
    password: str | None = field(default=None, repr=False)
    keys: tuple[str, ...] | None = None
    mounts: tuple[MountWanted, ...] | None = None
    expires: str | None = None
    disabled: bool | None = None
    reason: str = ""
    until: str = ""
    quota: str | None = None
    retention: tuple[tuple[str, int], ...] | None = None

    @property
    def quota_bytes(self) -> int | None:
        """Its quota in bytes: 0 for none, None for what the profile says."""
        if not self.quota:
            return None
        if self.quota == "none":
            return 0
        return size(self.quota)


@frozen
class Fault:
    """What is wrong in a file: where, in which account and field, "" for none of these."""

    line: int
    name: str
    field: str
    what: str

    def words(self, path: str) -> str:
        """Return it in words, with the name of the file."""
        where = ": ".join(filter(None, (f"{path}, line {self.line}", self.field)))
        return without_hashes(f"{where}: {self.what}")


@frozen
class Row:
    """The values of one account as they stand in a file, and the lines of its fields."""

    line: int
    name: Any
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)


def without_hashes(text: str) -> str:
    """Return a text of an error without what looks like the hash of a password."""
    return _HASHED.sub("(hash)", text)


class InvalidValue(Exception):
    """A value is none that its field can have."""


def entry_of(row: Row) -> tuple[Entry | None, list[Fault]]:
    """Return what a row says, or None, and what is wrong in it."""
    faults = []
    name = ""
    if isinstance(row.name, str):
        name = str(row.name)
    try:
        valid_name(name)
    except UsageError as error:
        faults.append(Fault(row.line, "", "name", error.message))
        name = ""
    given: dict[str, Any] = {}
    for key, value in row.values.items():
        if value is None:
            continue  # null of JSON: as if it did not stand there
        try:
            given[key] = _READERS[key](value)
        except InvalidValue as wrong:
            faults.append(Fault(row.lines.get(key, row.line), name, key, str(wrong)))
    if faults:
        return None, faults
    if given.get("profile") is None:
        given.pop("profile", None)
    return Entry(name, row.line, **given), []


def _text(value: Any) -> str:
    if isinstance(value, list):
        raise InvalidValue("it is a list; a text with a comma wants quotes")
    if not isinstance(value, str):
        raise InvalidValue("it is not a text")
    if has_controls(value):
        raise InvalidValue(f"{shown(value)} has a control character")
    return _encodable(value)


def _encodable(text: str) -> str:
    """Return a text unless UTF-8 cannot have it, as the half of a character that JSON escapes."""
    if any(0xD800 <= ord(c) < 0xE000 for c in text):
        raise InvalidValue(f"{shown(text)} is not UTF-8")
    return text


def _words(value: Any) -> str:
    """Return a text that others than root will read."""
    text = _text(value)
    if _HASHED.search(text):
        raise InvalidValue(
            "it has the hash of a password, which belongs into the field password alone"
        )
    return text


def _reason(value: Any) -> str:
    text = _words(value)
    try:
        return free_text(text, "it")
    except UsageError as error:
        raise InvalidValue(error.message) from error


def _uid(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _text(value).strip()
    if not text:
        return None
    found = number(text)
    if found is None:
        raise InvalidValue(f"{shown(text)} is not a uid")
    return found


def _comment(value: Any) -> str:
    text = _words(value).strip()
    if ":" in text:
        raise InvalidValue(f"{shown(text)} has a colon, which passwd(5) cannot have")
    if len(text) > LONGEST_COMMENT:
        raise InvalidValue(f"it has {len(text)} characters, and may have {LONGEST_COMMENT}")
    return text


def _profile(value: Any) -> str | None:
    return _text(value).strip() or None


def _password(value: Any) -> str | None:
    """Return a hash, "" for none, or None where that is not said. No message has the value."""
    text = _text(value).strip()
    if text == "none":
        return ""
    if text and not _HASH.fullmatch(text):
        raise InvalidValue("it is neither a hash, such as `openssl passwd -6` prints, nor none")
    return text or None


def _items(value: Any) -> Iterator[Any]:
    """Yield the parts of a list, or the lines of a text; comments and empty ones are none."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            yield item
            continue
        lines = (line.strip() for line in re.split("\r\n|[\r\n]", item))
        yield from (line for line in lines if line and not line.startswith("#"))


def _keys(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _items(value))


def _mounts(value: Any) -> tuple[MountWanted, ...]:
    found = tuple(map(_mount, _items(value)))
    twice = _twice([normal(mount.target) for mount in found])
    if twice is not None:
        raise InvalidValue(f"{shown(twice)} is the place of two mounts")
    return found


def _twice(paths: Sequence[str]) -> str | None:
    return next((path for path in paths if paths.count(path) > 1), None)


def _mount(value: Any) -> MountWanted:
    if isinstance(value, dict):
        return _described_mount(value)
    text = _text(value)
    found = _MOUNT.fullmatch(text)
    if not found:
        form = "SOURCE:TARGET[:ro][:as=OWNER[:GROUP]|:group=GROUP]"
        raise InvalidValue(f"{shown(text)} is not {form}; a colon of a path is \\072")
    source, target = (_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), found[n]) for n in (1, 2))
    whose = found[4] or "", found[5] or ""
    return _judged(MountWanted(source, target, found[3] == "ro", *whose))


def _described_mount(value: dict[str, Any]) -> MountWanted:
    unknown = value.keys() - {"source", "target", "read_only", "as", "group"}
    if unknown:
        raise InvalidValue(f"a mount has no {shown(min(unknown))}")
    paths = [value.get("source"), value.get("target")]
    read_only = value.get("read_only", False)
    if not all(isinstance(path, str) and path for path in paths) or not isinstance(read_only, bool):
        raise InvalidValue("a mount has a source, a target and read_only, which is true or false")
    source, target = (_encodable(str(path)) for path in paths)
    owner = value.get("as") or ""
    if not isinstance(owner, str) or (owner and not _OWNER.fullmatch(owner)):
        raise InvalidValue(
            "as of a mount is OWNER or OWNER:GROUP, the names of an account and a group"
        )
    group = value.get("group") or ""
    if not isinstance(group, str) or (group and not re.fullmatch(_NAME, group)):
        raise InvalidValue("group of a mount is the name of a group")
    return _judged(MountWanted(source, target, read_only, owner, group))


def _judged(mount: MountWanted) -> MountWanted:
    for path in (mount.source, mount.target):
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise InvalidValue(f"{shown(path)} is not a path that begins with / and has no ..")
    if mount.group and (mount.read_only or mount.owner):
        raise InvalidValue("a mount with a group is neither read-only nor has it an owner")
    return mount


def _day(value: Any) -> str:
    text = _text(value).strip()
    if text in ("", "never"):
        return ""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidValue(f"{shown(text)} is not a date of the form YYYY-MM-DD") from None
    if day < _FIRST_DAY:
        raise InvalidValue(f"{day} is before {_FIRST_DAY}, the first day that shadow(5) can have")
    return day


def _quota(value: Any) -> str:
    """Return a size in its one form, none, or "" for that of the profile."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _text(value).strip()
    if text in ("", "profile", "none"):
        if text == "none":
            return text
        return ""
    try:
        return exact_size(size(text))
    except UsageError as error:
        raise InvalidValue(error.message) from error


def _retention(value: Any) -> tuple[tuple[str, int], ...]:
    found = sorted(map(_age, _items(value)))
    twice = _twice([directory for directory, _ in found])
    if twice is not None:
        raise InvalidValue(f"{shown(twice)} has two ages")
    return tuple(found)


def _age(value: Any) -> tuple[str, int]:
    """Return a directory and an age in days."""
    if isinstance(value, dict):
        if value.keys() != {"directory", "days"} or not _is_count(value["days"]):
            raise InvalidValue("retention has a directory and days, which is a number")
        value = f"{_text(value['directory'])}={value['days']}"
    try:
        directory, days = age_of(_text(value))
    except UsageError as error:
        raise InvalidValue(error.message) from error
    if not days:
        raise InvalidValue(f"{shown(directory)}: to keep all files, leave it out")
    return directory, days


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = _text(value).strip().lower()
    if text not in _WORDS:
        raise InvalidValue(f"{shown(text)} is neither yes nor no")
    return _WORDS[text]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "uid": _uid,
    "comment": _comment,
    "profile": _profile,
    "password": _password,
    "keys": _keys,
    "mounts": _mounts,
    "expires": _day,
    "disabled": _yes,
    "reason": _reason,
    "until": _day,
    "quota": _quota,
    "retention": _retention,
}


def values_of(entry: Entry) -> dict[str, Any]:
    """Return the fields of an entry that are managed, as JSON has them; see `entry_of`."""
    found: dict[str, Any] = {"name": entry.name}
    for key in FIELDS[1:]:
        value = getattr(entry, key)
        if value is None or (key in ("profile", "reason", "until") and not value):
            continue
        found[key] = value
    if "password" in found:
        found["password"] = found["password"] or "none"
    if "keys" in found:
        found["keys"] = list(found["keys"])
    if "mounts" in found:
        found["mounts"] = [_values_of_mount(mount) for mount in found["mounts"]]
    if "expires" in found:
        found["expires"] = found["expires"] or "never"
    if "quota" in found:
        found["quota"] = found["quota"] or "profile"
    if "retention" in found:
        ages = found["retention"]
        found["retention"] = [{"directory": place, "days": days} for place, days in ages]
    return found


def shown_values(entry: Entry, password: str) -> dict[str, Any]:
    """Return an account for --json, with what is shown of its password, "" for nothing."""
    values = values_of(replace(entry, password=None))
    del values["name"]
    return values | ({"password": password} if password else {})


def _values_of_mount(mount: MountWanted) -> dict[str, Any]:
    values = dict(vars(mount))
    owner, group = values.pop("owner"), values.pop("group")
    return values | ({"as": owner} if owner else {}) | ({"group": group} if group else {})


def misread(entry: Entry, key: str) -> str:
    """Return why a field of an entry would be refused or read as something else, or ""."""
    value = values_of(entry).get(key)
    if value is None:
        return ""
    try:
        found = _READERS[key](value)
    except InvalidValue as wrong:
        return without_hashes(str(wrong))
    if found == getattr(entry, key):
        return ""
    return f"{shown(str(value))} is read as something else"


def mount_text(mount: MountWanted) -> str:
    """Return a mount as SOURCE:TARGET[:ro][:as=OWNER[:GROUP]|:group=GROUP]."""
    paths = (re.sub(r"[\\:\x00-\x20\x7f]", _octal, path) for path in (mount.source, mount.target))
    owner = [f"as={mount.owner}"] * bool(mount.owner)
    group = [f"group={mount.group}"] * bool(mount.group)
    return ":".join([*paths, *["ro"] * mount.read_only, *owner, *group])


def age_text(directory: str, days: int) -> str:
    """Return after how many days the files in a directory go, as DIRECTORY=AGE."""
    return f"{directory}={days}d"


def _octal(found: re.Match[str]) -> str:
    return f"\\{ord(found[0]):03o}"
