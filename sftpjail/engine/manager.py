"""Load plugins and fire hooks.

Bundled plugins are registered like third-party ones, but without a search. Hooks are called in
pluggy's order: the plugin registered last comes first, tryfirst=True before, trylast=True after.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import pluggy

from ..actions import Action
from ..config import PATH
from ..errors import SftpJailError, denied, did_you_mean
from ..errors.escapes import Advice
from ..model import Bind, Fact, Problem
from ..paths import LIB
from . import hookspecs
from .blame import checked, described, veto
from .plan import OURS, Event

if TYPE_CHECKING:
    from ..config import Config
    from ..host import Host
    from ..model import Account

# These names are also entry points in setup.cfg; this list saves searching all installed packages.
# Plugins are called in this order.
BUNDLED = (
    "user_manager",
    "accounts",
    "chroot",
    "keys",
    "login",
    "sshd",
    "pam",
    "mounts",
    "storage",
    "logs",
    "mail",
    "home_files",
    "activity",
    "entry",
    "scripts",
)


class Manager:
    """The loaded plugins.

    Args:
        config: names the allowed third-party plugins and the disabled bundled ones.
        tolerant: for commands that change nothing: if a plugin is missing or does not load, go on
            without it and keep the error in `failures`.

    Raises:
        SftpJailError: a plugin that the configuration names is missing or does not load.
    """

    def __init__(self, config: Config, tolerant: bool = False) -> None:
        self.config = config
        self.failures: list[SftpJailError] = []
        self.plugins = pluggy.PluginManager("sftpjail")
        self.plugins.add_hookspecs(hookspecs)
        for name in reversed(BUNDLED):
            if name not in config.plugins_disable:
                self.plugins.register(importlib.import_module(f"sftpjail.plugins.{name}"), name)
        packaged = [name for name in config.plugins_packaged if name not in config.plugins_disable]
        self._load_strangers(list(dict.fromkeys((*config.plugins_allow, *packaged))), tolerant)

    def _load_strangers(self, names: Sequence[str], tolerant: bool) -> None:
        found = {}
        if names:
            found = strangers()
        for name in names:
            try:
                self._load(name, found)
            except SftpJailError as error:
                if not tolerant:
                    raise
                self.failures.append(error)

    def _load(self, name: str, found: dict[str, Any]) -> None:
        if name in (*BUNDLED, OURS):
            # Dry runs and errors would present it as a bundled plugin.
            what = f"plugin {name} cannot be loaded: the name is one of sftpjail's own"
            raise SftpJailError(what, self._disallow(name))
        if name not in found:
            raise self._missing(name, found)
        try:
            plugin = found[name].load()
        except (Exception, SystemExit) as error:
            what = f"plugin {name} does not load: {described(error)}"
            raise SftpJailError(what, self._disallow(name)) from error
        self.register(plugin, name)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin.

        Raises:
            SftpJailError: it has an unknown hook, or one that cannot be called.
        """
        try:
            self._refuse_wrappers(plugin, name)
            self.plugins.register(plugin, name)
            self.plugins.check_pending()
        except (Exception, SystemExit) as error:
            if self.plugins.has_plugin(name):
                self.plugins.unregister(name=name)  # keep none of its hooks
            if isinstance(error, SftpJailError):
                raise
            raise SftpJailError(
                f"plugin {name}: {described(error)}", self._disallow(name)
            ) from error

    def _refuse_wrappers(self, plugin: object, name: str) -> None:
        """Refuse hook wrappers. Hooks are called one by one, to know each result's plugin."""
        for hook in dir(plugin):
            options = dict(self.plugins.parse_hookimpl_opts(plugin, hook) or ())
            if options.get("hookwrapper") or options.get("wrapper"):
                raise SftpJailError(
                    f"plugin {name}: {hook} is a hook wrapper, which sftpjail does not support:"
                    " return the actions from a plain hook, with tryfirst=True or trylast=True",
                    self._disallow(name),
                )

    def _missing(self, name: str, found: dict[str, Any]) -> SftpJailError:
        """Return the error that a plugin is not installed, and which one was probably meant."""
        from difflib import get_close_matches  # late: rarely needed

        allowed = self.config.plugins_allow
        if name in allowed:
            who = "the configuration"
        else:
            who = f"{LIB}/plugins.d"
        what = f"plugin {name} is allowed by {who} and not installed"
        others = [other for other in found if other not in allowed]
        meant = []
        if name in allowed:
            meant = get_close_matches(name, others, 1)
        if not meant:
            return SftpJailError(what, self._disallow(name))
        return SftpJailError(f"{what}; {meant[0]} is", _edit_allow(name, meant[0]))

    def _disallow(self, name: str) -> str:
        """Return the command that removes a plugin from `allow`, or the file of its package."""
        if name not in self.config.plugins_allow:
            return f"rm {shlex.quote(f'{LIB}/plugins.d/{name}')}"
        return _edit_allow(name)

    def is_stranger(self, name: str) -> bool:
        """Return whether a plugin is a third-party one."""
        return name not in BUNDLED

    def fire(self, event: Event, host: Host) -> list[tuple[str, list[Action]]]:
        """Fire one event and return each plugin's name with its actions, in the order of the calls.

        Raises:
            SftpJailError: a plugin vetoes the event, or fails. The error of a failure names the
                plugin.
        """
        fired = self.each(event.hook, host, **event.arguments())
        return [(name, list(actions)) for name, actions in fired]

    def binds(self, account: Account, host: Host) -> list[Bind]:
        """Return the binds that the plugins want in this account's jail."""
        return [
            bind for _, binds in self.each("on_jail_binds", host, account=account) for bind in binds
        ]

    def problems(self, account: Account | None, host: Host) -> list[Problem]:
        """Return the problems that the plugins find with a jail, or with the host.

        A plugin that fails is a problem too.
        """
        results = self.each("on_check", host, tolerant=True, account=account)
        return [problem for _, found in results for problem in found]

    def facts(self, account: Account, host: Host) -> list[Fact]:
        """Return the plugins' facts about an account. The failure of a plugin is a fact too."""
        return [
            fact
            for _, facts in self.each("on_explain", host, tolerant=True, account=account)
            for fact in facts
        ]

    def each(
        self, hook: str, host: Host, tolerant: bool = False, **arguments: Any
    ) -> list[tuple[str, Sequence[Any]]]:
        """Call each plugin's hook; return the plugins' names with what they returned.

        Args:
            hook: its name.
            host: the facts.
            tolerant: return an error as a problem or fact instead of raising it.
            arguments: the hook's own arguments.

        Raises:
            SftpJailError: see `fire`.
        """
        arguments |= {"host": host, "config": self.config}
        results: list[tuple[str, Sequence[Any]]] = []
        for implementation in self._implementations(hook):
            name = implementation.plugin_name
            try:
                wanted = self._call(implementation, hook, arguments)
            except SftpJailError as error:
                if not tolerant:
                    raise
                wanted = [_error_as_answer(hook, name, error)]
            if wanted:
                results.append((name, wanted))
        return results

    def _implementations(self, hook: str) -> list[Any]:
        """Return the functions of a hook in the order in which pluggy would call them.

        They are called one by one, to know the plugin of each result and each error.
        """
        return [*reversed(getattr(self.plugins.hook, hook).get_hookimpls())]

    def _call(self, implementation: Any, hook: str, arguments: dict[str, Any]) -> Sequence[Any]:
        name = implementation.plugin_name
        stranger = self.is_stranger(name)
        try:
            wanted = implementation.function(*[arguments[a] for a in implementation.argnames])
            return checked(name, hook, wanted, ours=not stranger)
        except SftpJailError as error:
            if not stranger:
                raise
            raise veto(name, error) from error
        except (Exception, SystemExit) as error:
            if denied(error) and not stranger:  # not the plugin's fault
                raise SftpJailError(denied(error)) from error
            raise SftpJailError(f"plugin {name}: {hook} broke: {described(error)}") from error

    def has(self, hook: str) -> bool:
        """Return whether a plugin has a hook."""
        return bool(self._implementations(hook))

    def tell(self, hook: str, **arguments: Any) -> list[str]:
        """Fire a hook that plans nothing; return failures as texts, since it is too late to raise.

        Those are on_applied and on_failed, and the hooks of what happens in jails.
        """
        failures = []
        for implementation in self._implementations(hook):
            try:
                implementation.function(*(arguments[a] for a in implementation.argnames))
            except (Exception, SystemExit) as error:
                failures.append(
                    f"plugin {implementation.plugin_name}: {hook} broke: {described(error)}"
                )
        return failures


def _error_as_answer(hook: str, name: str, error: SftpJailError) -> Problem | Fact:
    if hook == "on_explain":
        return Fact(name, "?", error.message, "", bad=True)
    return Problem.of(error, f"what plugin {name} judges is not known")


# The names that are safe in a sed(1) script. For others, the administrator is asked to edit.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


def _edit_allow(old: str, new: str = "") -> str:
    """Return the command that removes or replaces a plugin in `allow` of [plugins].

    It matches whole words in that line only: a name may be a part of another one, and a plugin's
    own section may have an `allow` too.
    """
    if not all(_PLAIN.fullmatch(name) for name in (old, new or old)):
        return Advice(f"edit allow in [plugins] of {PATH}")
    word = old.replace(".", r"\.")
    put = r"\1\4"
    if new:
        put = rf"\1{new}\2"
    script = (
        r"/^ *\[plugins\]/,/^ *\[/{",
        "/^ *allow *=/{",
        rf"s/([=,] *){word} *((,) *|(#)|$)/{put}/",
        "}}",
    )
    return shlex.join(("sed", "-Ei", *chain.from_iterable(("-e", line) for line in script), PATH))


def unknown_disabled(config: Config) -> dict[str, str]:
    """Return the names in `disable` of [plugins] that no plugin has, and what to say of each.

    A name that was mistyped disables nothing, and must be said: its plugin runs.
    """
    names = [name for name in config.plugins_disable if name not in BUNDLED]
    if not names:
        return {}
    known = [*BUNDLED, *strangers()]
    return {
        name: f"there is no plugin {name} to disable{did_you_mean(name, known)}"
        for name in names
        if name not in known
    }


def strangers() -> dict[str, Any]:
    """Return the entry points of the group `sftpjail` that are not ours, by name.

    This is slow, because it reads the metadata of every package.
    """
    from importlib.metadata import entry_points

    return {
        e.name: e for e in entry_points(group="sftpjail") if not e.value.startswith("sftpjail.")
    }
