"""plugins: list the plugins, their origin and their hooks."""

from __future__ import annotations

from ..engine.manager import BUNDLED, Manager, strangers, unknown_disabled
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("plugins", "list the plugins, with their state and hooks")
    parser.set_defaults(run=plugins)


def plugins(context: Context) -> int:
    """List the plugins: bundled, allowed, and found but not allowed."""
    config = context.config()
    manager = Manager(config, tolerant=True)
    rows: list[tuple[str, str, list[str], str]] = []
    states = dict.fromkeys(config.plugins_packaged, "packaged") | dict.fromkeys(
        config.plugins_allow, "allowed"
    )
    states |= dict.fromkeys(BUNDLED, "bundled")
    for name, plugin in reversed(manager.plugins.list_name_plugin()):
        hooks = [caller.name for caller in manager.plugins.get_hookcallers(plugin) or []]
        rows.append((name, states[name], sorted(hooks), ""))
    unknown = unknown_disabled(config)
    rows += [(name, "disabled", [], unknown.get(name, "")) for name in config.plugins_disable]
    rows += [("", "failed", [], error.message) for error in manager.failures]
    for name, entry in strangers().items():
        if name not in states and name not in config.plugins_disable:
            rows.append((name, "not allowed", [], entry.value))
    context.answers["plugins"] = [
        dict(zip(("name", "state", "hooks", "note"), row, strict=True)) for row in rows
    ]
    shown = [(name or "?", state, ", ".join(hooks) or note) for name, state, hooks, note in rows]
    context.table(("NAME", "STATE", "HOOKS"), shown)
    return context.close(0)
