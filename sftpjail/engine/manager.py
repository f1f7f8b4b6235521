"""Load plugins and fire hooks.

Bundled plugins are registered as a stranger's are, only without a search. Hooks are called in
pluggy's order: who was registered last comes first; tryfirst=True before, trylast=True after.
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
from ..errors import SftpJailError, denied
from ..escapes import Advice
from ..model import Bind, Fact, Problem
from ..paths import LIB
from . import hookspecs
from .blame import checked, veto, words
from .plan import OURS, Event

if TYPE_CHECKING:
    from ..config import Config
    from ..host import Host
    from ..model import Account

# The same names stand in setup.cfg as entry points; here they save the search through all
# installed packages. In this order they are asked.
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
            error in `failures`: for commands that change nothing.

    Raises:
        SftpJailError: a plugin that the configuration names is missing or does not
            load; says which.
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
        found = strangers() if names else {}
        for name in names:
            try:
                self._load(name, found)
            except SftpJailError as error:
                if not tolerant:
                    raise
                self.failures.append(error)

    def _load(self, name: str, found: dict[str, Any]) -> None:
        if name in (*BUNDLED, OURS):
            # What bears such a name passes for ours, in dry runs and in errors.
            what = f"plugin {name} cannot be loaded: the name is one of sftpjail's own"
            raise SftpJailError(what, self._disallow(name))
        if name not in found:
            raise self._missing(name, found)
        try:
            plugin = found[name].load()
        except (Exception, SystemExit) as error:
            what = f"plugin {name} does not load: {words(error)}"
            raise SftpJailError(what, self._disallow(name)) from error
        self.register(plugin, name)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin.

        Raises:
            SftpJailError: it has something that is no hook, or a hook that cannot be called.
        """
        try:
            self._refuse_wrappers(plugin, name)
            self.plugins.register(plugin, name)
            self.plugins.check_pending()
        except (Exception, SystemExit) as error:
            if self.plugins.has_plugin(name):
                self.plugins.unregister(name=name)  # none of its hooks stays behind
            if isinstance(error, SftpJailError):
                raise
            raise SftpJailError(f"plugin {name}: {words(error)}", self._disallow(name)) from error

    def _refuse_wrappers(self, plugin: object, name: str) -> None:
        """Refuse a hook that wants to be called around the others.

        Each is called by itself, so that what it returns has its plugin's name.
        """
        for hook in dir(plugin):
            options = dict(self.plugins.parse_hookimpl_opts(plugin, hook) or ())
            if options.get("hookwrapper") or options.get("wrapper"):
                raise SftpJailError(
                    f"plugin {name}: {hook} is a hook wrapper, and sftpjail has none: return the"
                    " actions from a plain hook, with tryfirst=True or trylast=True for its place",
                    self._disallow(name),
                )

    def _missing(self, name: str, found: dict[str, Any]) -> SftpJailError:
        """Return that a plugin is not installed, and which one was probably meant."""
        from difflib import get_close_matches  # late: plugins are installed, as a rule

        allowed = self.config.plugins_allow
        who = "the configuration" if name in allowed else f"{LIB}/plugins.d"
        what = f"plugin {name} is allowed by {who} and not installed"
        others = [other for other in found if other not in allowed]
        meant = get_close_matches(name, others, 1) if name in allowed else []
        if not meant:
            return SftpJailError(what, self._disallow(name))
        return SftpJailError(f"{what}; {meant[0]} is", _edit_allow(name, meant[0]))

    def _disallow(self, name: str) -> str:
        """Return the command that takes a plugin out of `allow`, or its package's leave away."""
        if name not in self.config.plugins_allow:
            return f"rm {shlex.quote(f'{LIB}/plugins.d/{name}')}"
        return _edit_allow(name)

    def is_stranger(self, name: str) -> bool:
        """Return whether a plugin is not one of ours."""
        return name not in BUNDLED

    def fire(self, event: Event, host: Host) -> list[tuple[str, list[Action]]]:
        """Fire one event and return each plugin's name with its actions, in the order of the calls.

        Raises:
            SftpJailError: a plugin vetoes, or breaks; an error that is not its veto
                names the plugin.
        """
        fired = self.each(event.hook, host, **event.arguments())
        return [(name, list(actions)) for name, actions in fired]

    def binds(self, account: Account, host: Host) -> list[Bind]:
        """Return what the plugins show in every jail like this account's."""
        return [
            bind for _, binds in self.each("on_jail_binds", host, account=account) for bind in binds
        ]

    def problems(self, account: Account | None, host: Host) -> list[Problem]:
        """Return what the plugins find wrong with a jail, or with the host.

        A plugin that breaks is such a thing.
        """
        results = self.each("on_check", host, tolerant=True, account=account)
        return [problem for _, found in results for problem in found]

    def facts(self, account: Account, host: Host) -> list[Fact]:
        """Return what the plugins have to explain about an account.

        One that breaks has a fact about that.
        """
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
            tolerant: a judgement is wanted, and an error is one as well.
            arguments: the hook's own.

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
                wanted = [_confession(hook, name, error)]
            if wanted:
                results.append((name, wanted))
        return results

    def _implementations(self, hook: str) -> list[Any]:
        """Return the functions of a hook in the order in which pluggy would call them.

        Each is called by itself, so that each result and each error has its plugin's name.
        """
        return [*reversed(getattr(self.plugins.hook, hook).get_hookimpls())]

    def _call(self, implementation: Any, hook: str, arguments: dict[str, Any]) -> Sequence[Any]:
        name = implementation.plugin_name
        stranger = self.is_stranger(name)
        try:
            wanted = implementation.function(*(arguments[a] for a in implementation.argnames))
            return checked(name, hook, wanted, ours=not stranger)
        except SftpJailError as error:
            if not stranger:
                raise
            raise veto(name, error) from error
        except (Exception, SystemExit) as error:
            if denied(error) and not stranger:  # nothing of it is wrong
                raise SftpJailError(denied(error)) from error
            raise SftpJailError(f"plugin {name}: {hook} broke: {words(error)}") from error

    def tell(self, hook: str, **arguments: Any) -> list[str]:
        """Fire on_applied or on_failed; return the failures, which nobody may raise any more."""
        failures = []
        for implementation in self._implementations(hook):
            try:
                implementation.function(*(arguments[a] for a in implementation.argnames))
            except (Exception, SystemExit) as error:
                failures.append(
                    f"plugin {implementation.plugin_name}: {hook} broke: {words(error)}"
                )
        return failures


def _confession(hook: str, name: str, error: SftpJailError) -> Problem | Fact:
    if hook == "on_explain":
        return Fact(name, "?", error.message, "", bad=True)
    return Problem.of(error, f"what plugin {name} judges is not known")


# What may stand in a command for sed(1); any other name is for the administrator's editor.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


def _edit_allow(old: str, new: str = "") -> str:
    """Return what takes a plugin out of `allow` in [plugins], or has another one in its place.

    A whole word of that line alone: a name may be a part of another one, and a plugin's own section
    may have an `allow` too.
    """
    if not all(_PLAIN.fullmatch(name) for name in (old, new or old)):
        return Advice(f"edit allow in [plugins] of {PATH}")
    word = old.replace(".", r"\.")
    put = rf"\1{new}\2" if new else r"\1\4"
    script = (
        r"/^ *\[plugins\]/,/^ *\[/{",
        "/^ *allow *=/{",
        rf"s/([=,] *){word} *((,) *|(#)|$)/{put}/",
        "}}",
    )
    return shlex.join(("sed", "-Ei", *chain.from_iterable(("-e", line) for line in script), PATH))


def strangers() -> dict[str, Any]:
    """Return the entry points of the group `sftpjail` that are not ours, by name.

    Slow: it reads every package.
    """
    from importlib.metadata import entry_points

    return {
        e.name: e for e in entry_points(group="sftpjail") if not e.value.startswith("sftpjail.")
    }
