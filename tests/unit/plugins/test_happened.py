"""The hooks of what happens in jails: they hear of it, plan nothing, and their failures are told."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from sftpjail import SftpJailError, TransferEvent, hookimpl
from sftpjail.config import Config
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.model import EVENT_KINDS, EventKind
from sftpjail.testing import hand

FILE = {"host_path": "/home/ann/x"}
HOOKS: tuple[tuple[str, EventKind, dict[str, Any]], ...] = (
    ("on_upload", "upload", FILE | {"file": 3}),
    ("on_upload_failed", "upload-failed", FILE),
    ("on_download", "download", FILE),
    ("on_rename", "rename", FILE | {"host_to": "/home/ann/y"}),
    ("on_delete", "delete", FILE),
    ("on_session_start", "session-start", {}),
    ("on_session_end", "session-end", {}),
    ("on_gap", "gap", {}),
)


def module(**hooks: Any) -> ModuleType:
    """A plugin; pluggy 1.0 wants one that can be a key."""
    made = ModuleType("plugin")
    vars(made).update(hooks)
    return made


def event(kind: EventKind) -> TransferEvent:
    return TransferEvent("1-a", kind, 5, "ann", path="/home/ann/x")


@pytest.mark.parametrize(("hook", "kind", "arguments"), HOOKS)
def test_each_is_heard_by_its_own_hook(
    hook: str, kind: EventKind, arguments: dict[str, Any]
) -> None:
    heard = []

    def listen(event: TransferEvent, **about: Any) -> None:
        heard.append((event, about))

    names = ", ".join(("event", *arguments))
    given = ", ".join(f"{name}={name}" for name in arguments)
    made: dict[str, Any] = {"listen": listen}
    exec(f"def {hook}({names}): listen(event, {given})", made)
    plugin = module(**{hook: hookimpl(made[hook])})
    about = {"host_path": "/home/ann/x", "host_to": "/home/ann/y", "file": 3}
    assert hand(plugin, event(kind), **about) == []  # type: ignore[arg-type]
    assert heard == [(event(kind), arguments)]


def test_there_is_a_hook_for_each_kind_of_event() -> None:
    manager = Manager(Config(plugins_disable=BUNDLED))
    assert [
        kind for kind in EVENT_KINDS if not hasattr(manager.plugins.hook, event(kind).hook)
    ] == []
    assert not any(manager.has(event(kind).hook) for kind in EVENT_KINDS)


def test_what_a_hook_raises_or_returns_is_no_error_of_ours() -> None:
    def on_gap(event: TransferEvent) -> object:
        raise RuntimeError(event.id)

    def on_delete() -> object:
        return ["nonsense"]

    plugin = module(on_gap=hookimpl(on_gap), on_delete=hookimpl(on_delete))
    assert hand(plugin, event("gap")) == ["plugin plugin: on_gap broke: RuntimeError: 1-a"]
    assert hand(plugin, event("delete")) == []
    with pytest.raises(SftpJailError, match="plugin has no on_upload"):
        hand(plugin, event("upload"))
