"""Load plugins and fire hooks.

Bundled plugins are registered as a stranger's are, only without a search.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

import pluggy

from ..actions import Action
from ..config import PATH
from ..errors import SftpJailError
from ..model import Bind, Fact, Problem
from ..paths import LIB
from . import hookspecs
from .plan import Event

if TYPE_CHECKING:
    from ..config import Config
    from ..host import Host
    from ..model import Account

# The same names stand in setup.cfg as entry points; here they save the search through all
# installed packages.
BUNDLED = (
    "user_manager",
    "accounts",
    "chroot",
    "keys",
    "login",
    "sshd",
    "pam",
    "mounts",
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
        config: which third-party plugins are allowed and which bundled ones are off.
        tolerant: go on without a plugin that is missing or does not load, and keep its
            error in `failures`.

    Raises:
        SftpJailError: a plugin that the configuration names is missing or does not
            load; says which.
    """

    def __init__(self, config: Config, tolerant: bool = False) -> None:
        self.config = config
        self.failures: list[SftpJailError] = []
        self.plugins = pluggy.PluginManager("sftpjail")
        self.plugins.add_hookspecs(hookspecs)
        for name in BUNDLED:
            if name not in config.plugins_disable:
                self.plugins.register(importlib.import_module(f"sftpjail.plugins.{name}"), name)
        packaged = [name for name in config.plugins_packaged if name not in config.plugins_disable]
        self._load_strangers(list(dict.fromkeys((*config.plugins_allow, *packaged))), tolerant)
        try:
            self.plugins.check_pending()
        except pluggy.PluginValidationError as error:
            raise SftpJailError(f"plugin {self.plugins.get_name(error.plugin)}: {error}") from error

    def _load_strangers(self, names: Sequence[str], tolerant: bool) -> None:
        found = strangers() if names else {}
        for name in names:
            try:
                self._load(name, found)
            except SftpJailError as error:
                if not tolerant:
                    raise
                self.failures.append(error)

    def _load(self, name: str, found: dict[str, Any]) -> None:
        if name not in found:
            who = "the configuration" if name in self.config.plugins_allow else f"{LIB}/plugins.d"
            raise SftpJailError(
                f"plugin {name} is allowed by {who} and not installed", self._disallow(name)
            )
        try:
            self.plugins.register(found[name].load(), name)
        except Exception as error:
            what = f"plugin {name} does not load: {type(error).__name__}: {error}"
            raise SftpJailError(what, self._disallow(name)) from error

    def _disallow(self, name: str) -> str:
        """Return the command that takes a plugin out of `allow`, or its package's leave away.

        `allow` stands in [plugins].
        """
        if name not in self.config.plugins_allow:
            return f"rm {quote(f'{LIB}/plugins.d/{name}')}"
        return (
            "sed -i '/^\\[plugins\\]/,/^\\[[^[]/"
            f"s/^\\( *allow *=.*\\)\\b{name}\\b,\\? */\\1/' {PATH}"
        )

    def fire(self, event: Event, host: Host) -> list[tuple[str, list[Action]]]:
        """Fire one event and return each plugin's name with its actions, in order of registration.

        Raises:
            SftpJailError: a plugin vetoes, or breaks; an error that is not its veto
                names the plugin.
        """
        arguments = dict(event.arguments)
        if event.hook not in ("on_setup", "on_teardown", "on_detach"):
            arguments["account"] = event.account
        return [
            (name, list(actions)) for name, actions in self._each(event.hook, host, **arguments)
        ]

    def binds(self, account: Account, host: Host) -> list[Bind]:
        """Return what the plugins show in every jail like this account's."""
        return [
            bind for _, binds in self._each("jail_binds", host, account=account) for bind in binds
        ]

    def problems(self, account: Account | None, host: Host) -> list[Problem]:
        """Return what the plugins find wrong with a jail, or with the host.

        A plugin that breaks is such a thing.
        """
        results = self._each("on_check", host, tolerant=True, account=account)
        return [problem for _, found in results for problem in found]

    def facts(self, account: Account, host: Host) -> list[Fact]:
        """Return what the plugins have to explain about an account.

        One that breaks has a fact about that.
        """
        return [
            fact
            for _, facts in self._each("on_explain", host, tolerant=True, account=account)
            for fact in facts
        ]

    def _each(
        self, hook: str, host: Host, tolerant: bool = False, **arguments: Any
    ) -> list[tuple[str, Sequence[Any]]]:
        """Call each plugin's hook.

        Where a judgement is wanted (tolerant), an error is one as well.
        """
        arguments |= {"host": host, "config": self.config}
        results: list[tuple[str, Sequence[Any]]] = []
        # Called one by one, so that each result and each error has its plugin's name.
        for implementation in getattr(self.plugins.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                wanted = self._call(implementation, hook, arguments)
            except SftpJailError as error:
                if not tolerant:
                    raise
                wanted = [_confession(hook, name, error)]
            if wanted:
                results.append((name, wanted))
        return results

    def _call(
        self, implementation: Any, hook: str, arguments: dict[str, Any]
    ) -> Sequence[Any] | None:
        name = implementation.plugin_name
        try:
            wanted: Sequence[Any] | None = implementation.function(
                *(arguments[a] for a in implementation.argnames)
            )
        except SftpJailError as error:
            if name not in BUNDLED:
                error.message = f"plugin {name}: {error.message}"
            raise
        except (Exception, SystemExit) as error:
            raise SftpJailError(
                f"plugin {name}: {hook} broke: {type(error).__name__}: {error}"
            ) from error
        listed = isinstance(wanted, Sequence) and all(
            isinstance(i, Action | Bind | Fact | Problem) for i in wanted
        )
        if wanted and not listed:
            raise SftpJailError(
                f"plugin {name}: {hook} returned something else than it should: {wanted!r:.80}"
            )
        return wanted

    def tell(self, hook: str, **arguments: Any) -> list[str]:
        """Fire on_applied or on_failed; return the failures, which nobody may raise any more."""
        failures = []
        for implementation in getattr(self.plugins.hook, hook).get_hookimpls():
            try:
                implementation.function(*(arguments[a] for a in implementation.argnames))
            except Exception as error:
                failures.append(f"plugin {implementation.plugin_name}: {hook} broke: {error}")
        return failures


def _confession(hook: str, name: str, error: SftpJailError) -> Problem | Fact:
    if hook == "on_explain":
        return Fact(name, "?", error.message, "", bad=True)
    return Problem.of(error, f"what plugin {name} judges is not known")


def strangers() -> dict[str, Any]:
    """Return the entry points of the group `sftpjail` that are not ours, by name.

    Slow: it reads every package.
    """
    from importlib.metadata import entry_points

    return {
        e.name: e for e in entry_points(group="sftpjail") if not e.value.startswith("sftpjail.")
    }
