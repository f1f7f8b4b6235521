"""Whether a plugin keeps the rules: its hooks are fired on a made host, twice, and undone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..engine.engine import Engine
from ..engine.plan import (
    Event,
    OnDetach,
    OnKeyAdd,
    OnKeyMigrate,
    OnKeyRemove,
    OnMount,
    OnSetup,
    OnTeardown,
    OnUnmount,
    OnUserClose,
    OnUserConfine,
    OnUserConnections,
    OnUserCreate,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRemove,
    OnUserRename,
    OnUserRetention,
    Plan,
)
from ..errors import SftpJailError
from ..model import Account, Bind, Key, frozen
from ..paths import STATE
from .guard import ChangeAttempted, watching
from .made import Tree
from .play import engine, play

KEY = Key("ssh-ed25519 AAAA ann@laptop", "ssh-ed25519", 256, "SHA256:made", "ann@laptop")


@frozen
class Trial:
    """An event, the one that comes after it when it is repeated, and the one that undoes it."""

    first: Event
    again: Event
    undo: Event


@dataclass
class Report:
    """In what a plugin breaks the rules, and what was seen of each of its hooks, a line each."""

    problems: list[str]
    tried: dict[str, str]


def judge(
    plugin: object,
    name: str = "plugin",
    config: Config | None = None,
    made: Callable[[], Tree] | None = None,
) -> Report:
    """Return whether a plugin keeps the rules.

    Args:
        plugin: a module or an object with hooks.
        name: the plugin's, by which its settings are found.
        config: with its settings.
        made: makes the host with the account ann; `standard` by default.
    """
    config = config or Config()
    make = made or standard
    try:
        engine(plugin, make(), config, name)
    except SftpJailError as error:
        return Report([error.message], {})
    found: list[str] = []
    tried: dict[str, str] = {}
    for trial in _trials(config):
        found += _Judge(plugin, name, config, make(), tried).trial(trial)
    for event in _single(config):
        found += _Judge(plugin, name, config, make(), tried).single(event)
    found += _Judge(plugin, name, config, make(), tried).questions(ann(config))
    return Report(list(dict.fromkeys(found)), tried)


def standard() -> Tree:
    """Return a host that is set up: sshd, the group sftponly, and in it ann, who has a jail."""
    return Tree.of(
        {
            "groups": {"sftponly": 900},
            "accounts": {"ann": {"uid": 1001, "groups": ["sftponly"]}, "bob": {"uid": 1002}},
            "files": {
                "/srv/sftp/ann/": {},
                "/srv/sftp/ann/home/ann/": {},
                "/srv/web/": {},
                "/etc/sftpjail/": {},
                "/etc/ssh/authorized_keys/": {},
                "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
                "/etc/shells": "/bin/sh\n/bin/bash\n",
                # No record says that they are ours, so that their last line would not take them.
                "/etc/sftpjail/addresses": "",
                "/etc/sftpjail/connections": "",
                "/etc/sftpjail/limited": "",
                "/etc/sftpjail/quotas": "",
                "/etc/shadow": {
                    "content": "ann:*:19000:0:99999:7:::\nbob:*:19000:0:99999:7:::\n",
                    "mode": 0o640,
                },
                f"{STATE}/accounts/": {"mode": 0o700},
            },
        }
    )


def ann(config: Config) -> Account:
    """Return the account of the trials."""
    return Account("ann", 1001, 1001, "/home/ann", "/bin/bash", config.profiles[0])


def _trials(config: Config) -> Iterator[Trial]:
    who = ann(config)
    bind = Bind("/srv/web", f"{who.jail}/web")
    yield Trial(OnSetup(), OnSetup(), OnTeardown())
    create = OnUserCreate(who, new=True)
    yield Trial(create, replace(create, new=False), OnUserRemove(who, deleted=False))
    yield Trial(OnMount(who, bind), OnMount(who, bind), OnUnmount(who, bind))
    yield Trial(OnKeyAdd(who, KEY), OnKeyAdd(who, KEY), OnKeyRemove(who, KEY))
    disable = OnUserDisable(who, "the contract has ended", "2099-12-31")
    yield Trial(disable, disable, OnUserEnable(who))
    expire = OnUserExpire(who, "2099-12-31")
    yield Trial(expire, expire, OnUserExpire(who, ""))
    few = OnUserConnections(who, 2)
    yield Trial(few, few, OnUserConnections(who, 0))
    yield Trial(OnUserKeep(who, True), OnUserKeep(who, True), OnUserKeep(who, False))
    yield Trial(OnUserQuota(who, 0), OnUserQuota(who, 0), OnUserQuota(who, None))
    ages = OnUserRetention(who, (("/home/ann", 30),))
    yield Trial(ages, ages, OnUserRetention(who, ()))
    limit = OnUserLimit(who, ("192.0.2.0/24", "2001:db8::/32"))
    yield Trial(limit, limit, OnUserLimit(who, ()))


def _single(config: Config) -> Iterator[Event]:
    """Yield the events that nothing undoes, and those that come for what was never there."""
    who = ann(config)
    bind = Bind("/srv/web", f"{who.jail}/web")
    yield OnDetach()
    yield OnTeardown()
    yield OnUserCreate(replace(who, home="/home/later"), new=True)  # as under useradd without -m
    yield OnUserRemove(replace(who, uid=-1), deleted=True)
    yield OnUserClose(who, "its jail cannot be made", "apply")
    yield OnUserRename(who, "anna")
    yield OnUserConfine(who)
    yield OnKeyRemove(who, KEY)
    yield OnKeyMigrate(who, "/home/ann/.ssh/authorized_keys")
    yield OnUnmount(who, bind, live_only=True)


class _Judge:
    """One plugin on one host."""

    def __init__(
        self, plugin: object, name: str, config: Config, tree: Tree, tried: dict[str, str]
    ) -> None:
        self.plugin, self.name, self.config, self.tree = plugin, name, config, tree
        self.tried = tried
        self.found: list[str] = []

    def trial(self, trial: Trial) -> list[str]:
        """Fire, let it happen, fire again, undo; return what is wrong with that."""
        before = self._seen()
        plan = self._plan(trial.first)
        if plan is None or not plan:
            return self.found
        again = None
        if self._play(trial.first, plan):
            again = self._plan(trial.again)
        if again is None:
            return self.found
        self._left(f"{trial.first.hook} does not converge: done once, it still wants", again)
        undone = self._plan(trial.undo)
        if undone is None or not self._play(trial.undo, undone):
            return self.found
        for about in self._differences(before):
            self.found.append(f"{trial.undo.hook} does not undo {trial.first.hook}: {about}")
        last = self._plan(trial.undo)
        if last is not None:
            self._left(f"{trial.undo.hook} does not converge: done once, it still wants", last)
        return self.found

    def single(self, event: Event) -> list[str]:
        """Fire, let it happen, fire again; return what is wrong with that."""
        plan = self._plan(event)
        if plan:
            again = None
            if self._play(event, plan):
                again = self._plan(event)
            if again is not None:
                self._left(f"{event.hook} does not converge: done once, it still wants", again)
        return self.found

    def questions(self, who: Account) -> list[str]:
        """Ask the hooks that want no change; return what is wrong with that."""
        asked: list[tuple[str, dict[str, Any]]] = [
            ("on_jail_binds", {"account": who}),
            ("on_check", {"account": who}),
            ("on_check", {"account": None}),
            ("on_explain", {"account": who}),
            ("on_explain", {"account": replace(who, profile=None)}),
        ]
        for hook, arguments in asked:
            self._guarded(hook, functools.partial(_ask, hook, arguments))
        about: dict[str, Any] = {"event": "on_setup", "account": None, "plan": Plan([OnSetup()])}
        made = engine(self.plugin, self.tree, self.config, self.name)
        self.found += made.manager.tell("on_applied", **about)
        self.found += made.manager.tell("on_failed", **about, error=SftpJailError("no"))
        return self.found

    def _plan(self, event: Event) -> Plan | None:
        """Return the plan for an event, None where there is none to go on with."""
        plan: Plan | None = self._guarded(event.hook, lambda made: made.plan([event]))
        same: Plan | None = self._guarded(event.hook, lambda made: made.plan([event]))
        if plan is not None and same is not None and plan.steps != same.steps:
            self.found.append(
                f"{event.hook} is not idempotent: asked twice, it wants other actions"
            )
        if plan:
            lines = self._guarded(event.hook, lambda made: plan.diff(made.host))
            self.tried[event.hook] = "; ".join(lines or ["wants what no dry run shows"])
        return plan

    def _play(self, event: Event, plan: Plan) -> bool:
        """Let a plan happen; return whether it could."""
        try:
            play(plan, self.tree)
        except SftpJailError as error:
            self.found.append(f"{event.hook} wants what cannot be done: {error.message}")
            return False
        return True

    def _guarded(self, hook: str, ask: Callable[[Engine], Any]) -> Any:
        """Return what a question brings; None where it breaks a rule, or is a veto."""
        made, before = engine(self.plugin, self.tree, self.config, self.name), self._seen()
        try:
            with watching() as touched:
                try:
                    answer = ask(made)
                except SftpJailError as error:
                    answer = None
                    self.tried[hook] = f"refuses: {error.message}"
                    if " broke: " in error.message or " returned " in error.message:
                        self.found.append(error.message.removeprefix(f"plugin {self.name}: "))
        except ChangeAttempted:
            answer = None
        for change in touched:
            self.found.append(f"{hook} changes something by itself: {self._place(change)}")
        if not touched:
            for about in self._differences(before):
                self.found.append(f"{hook} changes something by itself: {about}")
        return answer

    def _place(self, change: str) -> str:
        return change.replace(str(self.tree.root), "")

    def _left(self, words: str, plan: Plan) -> None:
        own = [step for step in plan.steps if step.plugin == self.name]
        if own:
            lines = [line for step in own for line in step.diff(self.tree.host())]
            self.found.append(f"{words}: {lines[0] if lines else own[0].action}")

    def _seen(self) -> dict[str, object]:
        """Return the host without our records."""
        seen = self.tree.snapshot()
        return {name: what for name, what in seen.items() if not name.startswith(STATE)}

    def _differences(self, before: dict[str, object]) -> Iterator[str]:
        now = self._seen()
        for name in sorted(before.keys() | now.keys()):
            if name not in now:
                yield f"{name} is gone"
            elif name not in before:
                yield f"{name} is left"
            elif before[name] != now[name]:
                yield f"{name} is not as it was"


def _ask(hook: str, arguments: dict[str, Any], made: Engine) -> object:
    return made.manager.each(hook, made.host, **arguments)


def load(name: str) -> object:
    """Return a plugin by its name, its module's dotted name, or its file.

    Raises:
        SftpJailError: there is none.
    """
    from importlib import import_module, util

    from ..engine.blame import described
    from ..engine.manager import BUNDLED, strangers

    try:
        if name in BUNDLED:
            return import_module(f"sftpjail.plugins.{name}")
        if name.endswith(".py"):
            spec = util.spec_from_file_location(Path(name).stem, name)
            assert spec and spec.loader
            module = util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        installed = strangers()
        if name in installed:
            return installed[name].load()
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise SftpJailError(f"plugin {name} does not load: {described(error)}") from error
