"""Check what plugins return, and name the third-party plugin in every error that it causes.

An error of a bundled plugin is our own and names nobody. A third-party plugin is named wherever its
code or one of its actions fails: when it is loaded, in a hook, or later, when the plan is applied.
"""

from __future__ import annotations

import contextlib
import enum
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from ..actions import Action, SetLines
from ..errors import SftpJailError
from ..model import Bind, Fact, Problem

# What the items of a hook's result are, where they are not actions.
RESULTS: dict[str, type] = {"on_jail_binds": Bind, "on_check": Problem, "on_explain": Fact}
# Fields of actions, by name: those that are paths, and the highest value of numbers. To chown(2),
# the uid and gid 0xffffffff mean "no change".
_PATHS = ("path", "to", "source", "target")
_HIGHEST = {"uid": 0xFFFFFFFE, "gid": 0xFFFFFFFE, "mode": 0o7777}


def _with_subclasses(kinds: Iterable[type[Action]]) -> Iterator[type[Action]]:
    for kind in kinds:
        yield kind
        yield from _with_subclasses(kind.__subclasses__())


# Third-party plugins may return exactly these. A class derived from one could do anything.
VOCABULARY = tuple(
    kind
    for kind in _with_subclasses(Action.__subclasses__())
    if kind.__module__.startswith("sftpjail.actions")
)


@contextlib.contextmanager
def naming(plugin: str, what: str) -> Iterator[None]:
    """Name a third-party plugin in every error that is raised within.

    Args:
        plugin: its name.
        what: the hook or the action, for errors other than SftpJailError.

    Raises:
        SftpJailError: instead of any error. Ctrl-C and signals pass.
    """
    try:
        yield
    except SftpJailError as error:
        _put_name(plugin, error)
        raise
    except (Exception, SystemExit) as error:
        raise SftpJailError(f"plugin {plugin}: {what} broke: {described(error)}") from error


def _put_name(plugin: str, error: SftpJailError) -> None:
    """Put a plugin's name in front of an error's message, once."""
    if not error.message.startswith(f"plugin {plugin}: "):
        error.message = f"plugin {plugin}: {error.message}"


def veto(plugin: str, error: SftpJailError) -> SftpJailError:
    """Return a third-party plugin's veto as a plain SftpJailError that names the plugin.

    A plugin may raise a class of its own, which could have another exit status or lack attributes.

    Args:
        plugin: its name.
        error: what its hook has raised.
    """
    message = getattr(error, "message", None) or described(error)
    try:
        plain = SftpJailError(
            message,
            getattr(error, "fix", ""),
            choices=getattr(error, "choices", ()),
            advice=getattr(error, "advice", ""),
            why=getattr(error, "why", ""),
        )
    except Exception:  # one of its attributes is invalid
        plain = SftpJailError(described(error))
    _put_name(plugin, plain)
    return plain


def described(error: BaseException) -> str:
    """Return an error's class and message, or only the class if the message cannot be formatted."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def title(action: object) -> str:
    """Return an action in a few words: its class and what it is about, such as its path."""
    with contextlib.suppress(Exception):
        if isinstance(action, Action):
            return f"{type(action).__name__} {' '.join(action.key[1:])}"
    return type(action).__name__


def checked(plugin: str, hook: str, returned: object, ours: bool) -> Sequence[Any]:
    """Return a hook's result, or () for None, once it has been checked.

    Args:
        plugin: the plugin's name.
        hook: the hook's name.
        returned: the result.
        ours: the plugin is bundled. Then only the types of the items are checked, since mypy has
            checked their values.

    Raises:
        SftpJailError: the hook may not return this; names the plugin.
    """
    if returned is None:
        return ()
    wanted = RESULTS.get(hook, Action)
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise _wrong(plugin, hook, returned, f"no list of {wanted.__name__}")
    for item in returned:
        if not _is_one(item, wanted, ours):
            if wanted is Action:
                what = "action of sftpjail's"
            else:
                what = wanted.__name__
            raise _wrong(plugin, hook, item, f"no {what}")
        flaw = ""
        if not ours:
            flaw = _flaw(item)
        if flaw:
            raise SftpJailError(
                f"plugin {plugin}: {hook} returned {type(item).__name__} with {flaw}"
            )
    return returned


def _is_one(item: object, wanted: type, ours: bool) -> bool:
    if wanted is Action and not ours:
        return type(item) in VOCABULARY
    return isinstance(item, wanted)


def _wrong(plugin: str, hook: str, returned: object, what: str) -> SftpJailError:
    shown = reprlib.repr(returned)  # which shortens it; it may be huge
    return SftpJailError(f"plugin {plugin}: {hook} returned {shown}, which is {what}")


def _flaw(item: Any) -> str:
    """Return the first field of an item with an invalid value, and what is wrong, or ""."""
    hints = _hints(type(item))  # type: ignore[arg-type]  # cache wants it hashable; a class is
    for field in fields(item):
        value, hint = getattr(item, field.name), hints[field.name]
        if not _fits(value, hint):
            wanted = getattr(hint, "__name__", "") or str(hint)
            return f"{field.name}={reprlib.repr(value)}, which is no {wanted}"
        if isinstance(value, str) and not _encodes(value):
            return f"{field.name}={value!r:.80}, which no file can hold"
        why = _why_invalid(item, field.name, value)
        if why:
            return f"{field.name}={reprlib.repr(value)}, {why}"
    return ""


def _why_invalid(item: object, field: str, value: Any) -> str:
    """Return why a value of a field is invalid although it has the right type, or ""."""
    if field in _PATHS:
        good = value.startswith("/") and "\0" not in value and ".." not in value.split("/")
        if good:
            return ""
        return "which is no absolute path without .."
    if field in _HIGHEST:
        good = 0 <= value <= _HIGHEST[field]
        if good:
            return ""
        return f"which is not within 0 and {_HIGHEST[field]}"
    if isinstance(item, SetLines) and field in ("tag", "lines"):
        lines = value
        if field == "tag":
            lines = [value]
        if any("\n" in line for line in lines):
            return "of which one has a line break"
        return ""
    return ""


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value has the type of a field.

    Args:
        value: of the field.
        hint: the type, of those that actions, binds, problems and facts use: classes, unions and
            tuples. As for mypy, an int is a float; unlike mypy, a bool is no number.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool | enum.Enum)
    return isinstance(value, hint)


def _encodes(text: str) -> bool:
    """Return whether a text can be written: a lone surrogate that stands for no byte cannot."""
    try:
        str.encode(text, "utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
