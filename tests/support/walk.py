"""A walk through what happens to a host: configurations, commands, and what administrators do without us.

After each step everything is applied, and whatever was done is planned again: nothing may be left.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import replace

from played import Stage

from sftpjail.config import Config, keyfile
from sftpjail.engine.convergence import planned_again
from sftpjail.engine.engine import Engine
from sftpjail.engine.plan import Event, OnKeyAdd, OnKeyRemove, OnMount, OnSetup, OnUnmount, Plan
from sftpjail.errors import SftpJailError
from sftpjail.jails.leftovers import leftovers
from sftpjail.jails.membership import find, jailed
from sftpjail.model import Account, Key, Profile, inside
from sftpjail.operations.apply import plan_with_setup
from sftpjail.operations.events import create_events, remove_events
from sftpjail.operations.mounts import make_bind
from sftpjail.operations.renames import next_renaming

# A link leads from the second to the first, and from the third to itself.
CHROOTS = ("/srv/sftp/%u", "/srv/jails/%u", "/srv/other/%u", "%h")
KEYS = {name: Key(f"ssh-ed25519 AAAAgood{name} {name}", "", 0, "") for name in ("one", "two")}
# What may happen, and with what.
STEPS = {
    "chroot": CHROOTS,
    "home": ("bind", "inside"),
    "mounts": ("fstab", "session"),
    "mount": ("/web", "/pics", "/web/deep"),
    "umount": ("/web", "/pics", "/web/deep"),
    "add_key": tuple(KEYS),
    "remove_key": tuple(KEYS),
    "join": ("",),
    "leave": ("",),
    "remove": ("",),
    "rename": ("ann", "zoe"),
    "usermod_home": ("/home/ann", "/home/new", "/srv/home"),
    "prune": ("",),
    "delete_jail": ("",),
    "unmount_all": ("",),
    "nothing": ("",),
}


class Left(AssertionError):
    """Something is left to do after a plan was carried out."""


class Walk:
    """One walk.

    Args:
        stage: a host that is set up, with the jail of ann.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage, self.tree, self.name = stage, stage.tree, "ann"
        self.steps: list[str] = []
        for path in ("/srv/web/deep", "/srv/pics"):
            self.tree.directory(path)
        for home in ("/home/new", "/srv/home"):
            self.tree.directory(home, 0o755, (1001, 1001))
        self.tree.link("/srv/jails", "/srv/sftp")
        self.profile = Profile("sftponly")

    def take(self, step: str, value: str) -> None:
        """Let something happen, and then everything be applied.

        Raises:
            Left: something is left to do then.
        """
        self.steps.append(f"{step} {value}")
        with contextlib.suppress(SftpJailError):  # refused, and nothing was done
            getattr(self, f"_{step}")(value)
        self._apply()

    def _engine(self) -> Engine:
        self.stage.config = replace(Config(), profiles=(self.profile,))
        return self.stage.engine()

    def _account(self, engine: Engine) -> Account:
        return find(self.name, engine.config, engine.host)

    def _do(self, events: Iterable[Event]) -> None:
        engine = self._engine()
        self._carry_out(engine.plan(events))

    def _carry_out(self, plan: Plan) -> None:
        self.stage.play(plan)
        self.stage.reload()
        fresh, left = planned_again(self._engine(), plan)
        if left:
            said = [line for step in left for line in step.diff(fresh.host)]
            raise Left(f"after {'; '.join(self.steps)}: {said}")

    def _apply(self) -> None:
        """Be `sftpjail apply`, and have nothing to do the second time."""
        while (turn := next_renaming(self._engine())) is not None:
            self._do(turn.events)
        for time in (1, 2):
            engine = self._engine()
            accounts = list(jailed(engine.config, engine.host).values())
            plan, _ = plan_with_setup(engine, [OnSetup()], accounts, [])
            if time == 2 and plan:
                raise Left(f"after {'; '.join(self.steps)}: {plan.diff(engine.host)}")
            self._carry_out(plan)

    # -- what may happen ---------------------------------------------------------------------------

    def _chroot(self, value: str) -> None:
        home = "bind" if value == "%h" else self.profile.home
        self.profile = replace(self.profile, chroot=value, home=home)

    def _home(self, value: str) -> None:
        if not self.profile.in_home:
            self.profile = replace(self.profile, home=value)

    def _mounts(self, value: str) -> None:
        self.profile = replace(self.profile, mounts=value)

    def _mount(self, value: str) -> None:
        account = self._account(self._engine())
        if account.profile:
            bind = make_bind(account, f"/srv{value}", value, read_only=False, under_home=True)
            self._do([OnMount(account, bind)])

    def _umount(self, value: str) -> None:
        engine = self._engine()
        account = self._account(engine)
        binds = engine.host.binds(self.name)
        found = [bind for bind in binds if bind.target == account.jail + value]
        above = [bind for bind in binds if found and inside(bind.target, found[0].target)]
        if len(above) == 1:  # as the command asks
            self._do([OnUnmount(account, found[0])])

    def _add_key(self, value: str) -> None:
        self._do([OnKeyAdd(self._account(self._engine()), KEYS[value])])

    def _remove_key(self, value: str) -> None:
        self._do([OnKeyRemove(self._account(self._engine()), KEYS[value])])

    def _join(self, _: str) -> None:
        if not self._account(self._engine()).profile:
            self.tree.join("sftponly", self.name)

    def _leave(self, _: str) -> None:
        self.tree.leave("sftponly", self.name)

    def _remove(self, _: str) -> None:
        engine = self._engine()
        account = self._account(engine)
        if account.profile:
            self._do(remove_events(account, engine.host, deleted=False))

    def _rename(self, value: str) -> None:
        """Be `usermod -l`."""
        for lines in (self.tree.people, self.tree.group_lines):
            lines[:] = [
                line.replace(self.name, value)
                if ":/home" not in line
                else line.replace(f"{self.name}:", f"{value}:", 1)
                for line in lines
            ]
        shadow = self.tree.host().text("/etc/shadow")
        self.tree.write("/etc/shadow", shadow.replace(f"{self.name}:", f"{value}:"), 0o640)
        self.name = value

    def _usermod_home(self, value: str) -> None:
        fields = [line.split(":") for line in self.tree.people]
        for line in fields:
            if line[0] == self.name and line[5] != "/files":
                line[5] = value
        self.tree.people[:] = [":".join(line) for line in fields]

    def _prune(self, _: str) -> None:
        engine = self._engine()
        jails = jailed(engine.config, engine.host)
        for account in leftovers(engine.config, engine.host, jails).values():
            self._do(remove_events(account, engine.host, deleted=False))

    def _delete_jail(self, _: str) -> None:
        """Be an administrator who deletes directories, but nothing that is mounted."""
        engine = self._engine()
        account = self._account(engine)
        if account.profile and not account.profile.in_home:
            real = engine.host.realpath(account.jail)
            if not any(inside(point, real) for point in engine.host.mounts):
                shutil.rmtree(self.tree.root / real.lstrip("/"), ignore_errors=True)

    def _unmount_all(self, _: str) -> None:
        """Be `umount -a`, for our mounts."""
        for target, _source in list(self.tree.points):
            self.tree.unbind(target)

    def _nothing(self, _: str) -> None:
        """The timer has come."""


def keys_of(walk: Walk) -> str:
    """Return the key file of the account that walks."""
    return walk.tree.host().text(keyfile(walk.name))


def events_of(walk: Walk) -> list[Event]:
    """Return the events of its jail."""
    engine = walk._engine()
    return create_events(walk._account(engine), engine.host, engine.manager)
