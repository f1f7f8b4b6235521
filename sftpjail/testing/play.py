"""Let plans happen on a made host: what a transaction would do is played on its files."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from functools import singledispatch
from typing import Any

from ..actions import (
    Action,
    MakeDir,
    Mount,
    Remove,
    Rename,
    SetAccount,
    SetGroup,
    SetOwner,
    Unmount,
    WriteFile,
)
from ..config import Config
from ..engine.engine import Engine
from ..engine.manager import BUNDLED, Manager
from ..engine.plan import Event, Plan
from ..errors import SftpJailError
from ..model import TransferEvent
from ..paths import STATE
from .made import MadeHost, Tree


def engine(
    plugin: object, tree: Tree, config: Config | None = None, name: str = "plugin"
) -> Engine:
    """Return an engine with one plugin alone.

    Args:
        plugin: a module or an object with hooks.
        tree: the host.
        config: its settings; the default ones else.
        name: the plugin's.

    Raises:
        SftpJailError: it is no plugin, as `Manager.register` says.
    """
    alone = replace(config or Config(), plugins_disable=BUNDLED, plugins_allow=())
    manager = Manager(alone)
    manager.register(plugin, name)
    return Engine(config or Config(), tree.host(), manager)


def fire(
    plugin: object, event: Event, tree: Tree, config: Config | None = None, name: str = "plugin"
) -> list[Action]:
    """Return what a plugin wants at one event.

    Args:
        plugin, tree, config, name: as in `engine`.
        event: as OnUserCreate(account, new=True).

    Raises:
        SftpJailError: the plugin vetoes, or breaks.
    """
    made = engine(plugin, tree, config, name)
    return [action for _, actions in made.manager.fire(event, made.host) for action in actions]


def hand(
    plugin: object,
    event: TransferEvent,
    host_path: str = "",
    host_to: str = "",
    file: int = -1,
    config: Config | None = None,
    name: str = "plugin",
) -> list[str]:
    """Hand a plugin what happened in a jail, as `sftpjail watch` does; return its failures.

    Its hook is really called, in this process.

    Args:
        plugin, config, name: as in `engine`.
        event: as TransferEvent("1-a", "upload", 0, "ann", path="/home/ann/x").
        host_path, host_to, file: as the hook gets them.

    Raises:
        SftpJailError: it is no plugin, or has no hook for this event.
    """
    config = config or Config()
    manager = Manager(replace(config, plugins_disable=BUNDLED, plugins_allow=()))
    manager.register(plugin, name)
    hook = event.hook
    if not manager.has(hook):
        raise SftpJailError(f"plugin {name} has no {hook}")
    about = {"host_path": host_path, "host_to": host_to, "file": file}
    return manager.tell(hook, event=event, config=config, **about)


def text(plan: Plan, tree: Tree) -> list[str]:
    """Return a plan as a dry run's lines."""
    return plan.diff(tree.host())


def apply(
    plugin: object, events: Iterable[Event], tree: Tree, config: Config | None = None
) -> Plan:
    """Plan events for one plugin, let the plan happen on a made host, and return it.

    Args:
        plugin, tree, config: as in `engine`.
        events: what is to happen.

    Raises:
        SftpJailError: the plugin vetoes, or breaks.
    """
    made = engine(plugin, tree, config)
    plan = made.plan(events)
    play(plan, tree)
    return plan


def play(plan: Plan, tree: Tree) -> None:
    """Let a plan happen. Programs do not run, and daemons hear nothing."""
    host = tree.host()
    if plan and not host.is_dir(STATE):
        tree.directory(STATE, 0o700)  # as the journal makes it
    for step in plan.steps:
        happen(step.action, tree, host)


@singledispatch
def happen(action: Action, tree: Tree, host: MadeHost) -> None:
    """Let one action happen; those that are not below leave no trace on a made host."""


@happen.register
def _make_dir(action: MakeDir, tree: Tree, host: MadeHost) -> None:
    _reach(action.path, host)
    tree.directory(action.path, action.mode, (action.uid, action.gid))


def _reach(path: str, host: MadeHost) -> None:
    if not host.is_dir(posixpath.dirname(path)):
        raise SftpJailError(f"cannot reach {path}: there is no {posixpath.dirname(path)}")


@happen.register
def _set_owner(action: SetOwner, tree: Tree, host: MadeHost) -> None:
    (tree.root / action.path.lstrip("/")).chmod(action.mode)
    tree.owners[action.path] = action.uid, action.gid


@happen.register
def _write_file(action: WriteFile, tree: Tree, host: MadeHost) -> None:
    content = action.result(host)
    path = tree.root / action.path.lstrip("/")
    if content is None:
        path.unlink(missing_ok=True)
    elif action.keep and path.exists():
        path.write_bytes(content)
    else:
        _reach(action.path, host)
        tree.write(action.path, content, action.mode)
        tree.owners[action.path] = action.uid, action.gid


@happen.register
def _remove(action: Remove, tree: Tree, host: MadeHost) -> None:
    path = tree.root / action.path.lstrip("/")
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    tree.owners.pop(action.path, None)


@happen.register
def _rename(action: Rename, tree: Tree, host: MadeHost) -> None:
    (tree.root / action.path.lstrip("/")).rename(tree.root / action.to.lstrip("/"))


@happen.register
def _set_group(action: SetGroup, tree: Tree, host: MadeHost) -> None:
    if action.present:
        taken = {line.split(":")[2] for line in tree.group_lines}
        tree.group(action.name, next(gid for gid in range(500, 60000) if str(gid) not in taken))
    else:
        tree.group_lines = [x for x in tree.group_lines if not x.startswith(f"{action.name}:")]


@happen.register
def _set_account(action: SetAccount, tree: Tree, host: MadeHost) -> None:
    join, leave = action.group_changes(host)
    for group in join:
        tree.join(group, action.name)
    for group in leave:
        tree.leave(group, action.name)
    places: dict[str, Any] = {"group": 3, "home": 5, "shell": 6}
    fields = {places[name]: v for name, v in action.fields().items() if name in places}
    tree.people = [_changed(line, action.name, fields) for line in tree.people]
    if action.expire is not None:
        shadow = host.text("/etc/shadow").split("\n")
        new = [_changed(line, action.name, {7: action.expire}) for line in shadow]
        tree.write("/etc/shadow", "\n".join(new), 0o640)


def _changed(line: str, name: str, fields: dict[int, str]) -> str:
    """Return a line of passwd(5) or shadow(5) with other fields, if it is the account's."""
    if not line.startswith(f"{name}:"):
        return line
    return ":".join(fields.get(number, field) for number, field in enumerate(line.split(":")))


@happen.register
def _mount(action: Mount, tree: Tree, host: MadeHost) -> None:
    options = ",".join(option for option in action.options if option != "bind")
    tree.bind(action.source, host.mount_tables.place(action.target), options)


@happen.register
def _unmount(action: Unmount, tree: Tree, host: MadeHost) -> None:
    tree.unbind(host.mount_tables.place(action.target))
