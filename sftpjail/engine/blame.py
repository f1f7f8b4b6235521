"""Check what plugins return, and name the plugin in every error that it causes.

Bundled plugins are not named. A third-party plugin is named whatever it breaks, and wherever.
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

# The item types of the hooks that do not return actions.
RESULTS: dict[str, type] = {"on_jail_binds": Bind, "on_check": Problem, "on_explain": Fact}
_PATHS = ("path", "to", "source", "target")
_LIMITS = {"uid": 0xFFFFFFFE, "gid": 0xFFFFFFFE, "mode": 0o7777}


@contextlib.contextmanager
def naming(plugin: str, what: str) -> Iterator[None]:
    """Name a third-party plugin in every error.

    Args:
        plugin: its name.
        what: the hook or the action, for errors other than SftpJailError.

    Raises:
        SftpJailError: replaces any error, but not Ctrl-C and signals.
    """
    try:
        yield
    except SftpJailError as error:
        name(plugin, error)
        raise
    except (Exception, SystemExit) as error:
        raise SftpJailError(f"plugin {plugin}: {what} broke: {words(error)}") from error


def _kinds(kinds: Iterable[type[Action]]) -> Iterator[type[Action]]:
    for kind in kinds:
        yield kind
        yield from _kinds(kind.__subclasses__())


# Plugins may return exactly these. A class derived from one could do anything.
VOCABULARY = tuple(
    kind
    for kind in _kinds(Action.__subclasses__())
    if kind.__module__.startswith("sftpjail.actions")
)


def name(plugin: str, error: SftpJailError) -> None:
    """Put a plugin's name in front of an error, once."""
    if not error.message.startswith(f"plugin {plugin}: "):
        error.message = f"plugin {plugin}: {error.message}"


def veto(plugin: str, error: SftpJailError) -> SftpJailError:
    """Return a third-party plugin's veto as a plain SftpJailError.

    A class of its own could have another exit code, or lack attributes.
    """
    message = getattr(error, "message", None) or words(error)
    try:
        plain = SftpJailError(
            message,
            getattr(error, "fix", ""),
            choices=getattr(error, "choices", ()),
            advice=getattr(error, "advice", ""),
            why=getattr(error, "why", ""),
        )
    except Exception:  # a class of its own with invalid attributes
        plain = SftpJailError(words(error))
    name(plugin, plain)
    return plain


def words(error: BaseException) -> str:
    """Return an error's class and message, or only the class if formatting the message fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def title(action: object) -> str:
    """Return a short title of an action: its kind and its subject."""
    with contextlib.suppress(Exception):
        if isinstance(action, Action):
            return f"{type(action).__name__} {' '.join(action.key[1:])}"
    return type(action).__name__


def checked(plugin: str, hook: str, returned: object, ours: bool) -> Sequence[Any]:
    """Return a hook's result after checking its type and, for third-party plugins, its values.

    Args:
        plugin: the plugin's name.
        hook: the hook's name.
        returned: the result.
        ours: the plugin is bundled, so the type checker has checked its values.

    Raises:
        SftpJailError: the hook may not return this; names the plugin.
    """
    if returned is None:
        return ()
    wanted = RESULTS.get(hook, Action)
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise _wrong(plugin, hook, returned, f"no list of {wanted.__name__}")
    for item in returned:
        good = (
            type(item) in VOCABULARY if wanted is Action and not ours else isinstance(item, wanted)
        )
        if not good:
            what = "action of sftpjail's" if wanted is Action else wanted.__name__
            raise _wrong(plugin, hook, item, f"no {what}")
        problem = "" if ours else _flaw(item)
        if problem:
            raise SftpJailError(
                f"plugin {plugin}: {hook} returned {type(item).__name__} with {problem}"
            )
    return returned


def _wrong(plugin: str, hook: str, returned: object, what: str) -> SftpJailError:
    # Shortened, because it may be huge.
    shown = reprlib.repr(returned)
    return SftpJailError(f"plugin {plugin}: {hook} returned {shown}, which is {what}")


def _flaw(item: Any) -> str:
    """Return which field of an action has an invalid value, and why, or ""."""
    hints = _hints(type(item))  # type: ignore[arg-type]  # cache wants it hashable; a class is
    for field in fields(item):
        value = getattr(item, field.name)
        if not _fits(value, hints[field.name]):
            wanted = getattr(hints[field.name], "__name__", "") or str(hints[field.name])
            return f"{field.name}={reprlib.repr(value)}, which is no {wanted}"
        if isinstance(value, str) and not _encodes(value):
            return f"{field.name}={value!r:.80}, which no file can hold"
        problem = _limited(item, field.name, value)
        if problem:
            return f"{field.name}={reprlib.repr(value)}, {problem}"
    return ""


def _limited(item: object, field: str, value: Any) -> str:
    """Return why a value of the right type is invalid, or ""."""
    if field in _PATHS:
        good = value.startswith("/") and "\0" not in value and ".." not in value.split("/")
        return "" if good else "which is no absolute path without .."
    if field in _LIMITS:
        good = 0 <= value <= _LIMITS[field]
        return "" if good else f"which is not within 0 and {_LIMITS[field]}"
    if isinstance(item, SetLines) and field in ("tag", "lines"):
        lines = [value] if field == "tag" else value
        return "of which one has a line break" if any("\n" in line for line in lines) else ""
    return ""


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value has the type of a field. Only types used in actions are supported."""
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
    try:
        str.encode(text, "utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
