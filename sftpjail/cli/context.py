"""What all commands share: arguments, the engine with its lock, and the output of results."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import syslog
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .. import config as configuration
from ..config import Config
from ..errors import SftpJailError, denied
from ..errors.escapes import one_line, some
from ..host import Host
from ..model import Problem
from ..system import arrivals, process_state, streams
from ..system.syslog import tell

if TYPE_CHECKING:
    from ..engine.engine import Engine, Stage
    from ..engine.plan import Event, Plan

# Makes the parser of one command from its name and description.
Command = Callable[[str, str], argparse.ArgumentParser]


@dataclass
class Context:
    """One run of the program.

    Args:
        arguments: from argparse.
        answers: what --json prints besides the plan.
        loaded: the configuration, if it has been read already or another one is to be used.
    """

    arguments: argparse.Namespace
    answers: dict[str, Any] = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)
    # What was reported of a change, and why it did not reach its reader.
    told: list[str] = field(default_factory=list)
    lost: OSError | None = None
    loaded: Config | None = None

    @property
    def committed(self) -> bool:
        """Whether a change of the host was committed."""
        return any(engine.commits for engine in self.engines)

    @property
    def dry_run(self) -> bool:
        """Whether changes are only shown."""
        return bool(self.arguments.dry_run)

    @property
    def json(self) -> bool:
        """Whether output is for programs."""
        return bool(self.arguments.json)

    @property
    def command(self) -> str:
        """The command for the history, such as "key add" or "hook useradd-post"."""
        event = getattr(self.arguments, "event", "")
        return f"{self.arguments.command} {event}".strip()

    def config(self) -> Config:
        """Return the configuration, with `auto` decided for this host. Raises UsageError."""
        return _decided(configuration.load(self.arguments.config), Host(), ask=False)

    def facts(self) -> tuple[Config, Host]:
        """Return the configuration and the facts, for a command that reads and asks no plugin.

        No engine is loaded, and no plugin unless the configuration names one: if that does not
        load, it is reported, as by other commands.

        Raises:
            SftpJailError: as `engine`.
        """
        config = self._begun()
        if config.plugins_allow or config.plugins_packaged:
            from ..engine.manager import Manager  # late: few hosts have such plugins

            self.warn(Manager(config, tolerant=True).failures)
        host = Host()
        return _decided(config, host, ask=True), host

    def _begun(self) -> Config:
        """Return the configuration, once root may ask about the accounts that are named."""
        if os.geteuid() != 0:
            raise SftpJailError("only root may do this", f"sudo {shlex.join(sys.argv)}")
        self._wait_for_accounts()
        return self.loaded or configuration.load(self.arguments.config)

    @contextlib.contextmanager
    def engine(
        self,
        reading: bool = False,
        timeout: float = 60.0,
        tolerant: bool | None = None,
        arrived: str = "",
    ) -> Iterator[Engine]:
        """Yield an engine, with the lock held unless this run only reads.

        Args:
            reading: the command changes nothing.
            timeout: seconds to wait for the lock.
            tolerant: go on without a plugin that does not load, which the command reports; see
                `Manager`. None means: if the command only reads, and the plugin is reported here.
            arrived: an account that another program has just made; see `locked`.

        Raises:
            SftpJailError: not root, the lock is held, or the account is still being created.
        """
        from ..engine.engine import locked  # late: `facts` does without it

        config = self._begun()
        willing = reading if tolerant is None else tolerant
        only_looks = self.dry_run or reading
        with locked(config, only_looks, timeout, willing, arrived, self.command) as engine:
            # A hook uses what was decided before, so that useradd need not wait for sshd.
            ask = self.arguments.command != "hook"
            engine.config = engine.manager.config = _decided(config, engine.host, ask)
            self.engines.append(engine)
            self.warn(engine.notices)
            if not only_looks:
                self.warn(process_state.restrictions())
            self.warn(engine.manager.failures if tolerant is None else ())
            if not only_looks and self.arguments.command != "hook":
                engine = self._resumed(engine)
            yield engine

    def _resumed(self, engine: Engine) -> Engine:
        """Restore jails after a userdel that stopped, and return an engine with the facts then."""
        from ..system import departures  # late: useradd's hook does not need it

        if not departures.stopped():
            return engine
        from ..operations.departures import resume

        self.warn(resume(engine))
        return engine.on(engine.host.anew())

    def _wait_for_accounts(self) -> None:
        """Wait for the waiters of the accounts that this command names, but for no others.

        Raises:
            SftpJailError: one is still being created.
        """
        given = self.arguments
        if given.command == "hook":
            return
        for name in filter(None, (getattr(given, "user", ""), *getattr(given, "users", ()))):
            arrival = arrivals.wait_for(name)
            if arrival:
                raise SftpJailError(
                    f"{name} is still being created, by pid {arrival.pid}",
                    advice=f"when it has ended, try again; see ps -fp {arrival.pid}",
                )

    def carry_out(
        self, engine: Engine, events: Iterable[Event], done: str | Sequence[str], nothing: str = ""
    ) -> Plan:
        """Plan the events, show or apply the plan, and report it.

        Args:
            engine: from `engine`.
            events: what is to happen.
            done: the line or lines to print when it is done.
            nothing: what to print after "nothing to do".

        Raises:
            SftpJailError: see `Engine.plan` and `Engine.apply`.
        """
        return self.finish(engine, engine.plan(events), done, nothing)

    def finish(
        self, engine: Engine, plan: Plan, done: str | Sequence[str], nothing: str = ""
    ) -> Plan:
        """Show or apply a plan; see `carry_out`."""
        self.answers["actions"] = [*self.answers.get("actions", []), *plan.describe()]
        self.answers.setdefault("notices", [])
        if self.dry_run:
            self.say(plan.diff(engine.host) or [nothing or "nothing to do"])
            return plan
        self.report(plan, self.apply(engine, plan), done, nothing, told=True)
        return plan

    @staticmethod
    def apply(engine: Engine, plan: Plan, *further: Stage) -> list[str]:
        """Apply a plan, and wait until the sshds that it has told to do so reread their files.

        Meanwhile they refuse connections. Arguments, result and errors are those of `Engine.apply`.
        """
        from ..actions import Notify  # late: what only reads needs no engine

        notices = engine.apply(plan, *further)
        actions = [step.action for step in plan.steps]
        if any(isinstance(action, Notify) and action.service == "sshd" for action in actions):
            from ..operations.daemons import wait_until_read  # late: few changes tell sshd

            wait_until_read()
        return notices

    def report(
        self,
        plan: Plan,
        notices: list[str],
        done: str | Sequence[str],
        nothing: str = "",
        told: bool = False,
    ) -> None:
        """Report what an applied plan did.

        Args:
            plan: the plan.
            notices: the result of `Engine.apply`.
            done: the line or lines to print if something was changed.
            nothing: what to print after "nothing to do".
            told: `answers` already has the plan's actions.
        """
        if not told:
            self.answers["actions"] = plan.describe()
        self.told += [*([done] if isinstance(done, str) else done), *notices]
        self.answers["notices"] = [*self.answers.get("notices", []), *map(one_line, notices)]
        if plan:
            self.say([done] if isinstance(done, str) else done)
        else:
            self.say([f"nothing to do: {nothing}" if nothing else "nothing to do"])
        self.warn(notices)

    def say(self, lines: Iterable[str]) -> None:
        """Print lines for a person, each escaped to one line.

        With --json, nothing is printed here; see `close`.
        """
        if not self.json:
            for line in lines:
                self._print(printable(line))

    def _print(self, text: str) -> None:
        """Print to standard output. A closed output does not stop a change."""
        try:
            print(text)
        except OSError as error:
            if not self.committed:
                raise
            self.lost = error
            streams.silence(1)

    def warn(self, problems: Iterable[str | SftpJailError | Problem]) -> None:
        """Print problems to standard error, each in one line, with their remedies below.

        Texts are escaped, so that none can look like a line of ours.
        """
        for problem in map(_as_problem, problems):
            whose = ""
            if problem.about:
                whose = f"{whom(problem)}: "
            print_problem(replace(problem, what=whose + problem.what))

    def answer_problems(self, problems: Iterable[str | SftpJailError | Problem]) -> None:
        """Warn about problems, and include them in the answer of --json."""
        found = [_as_problem(problem) for problem in problems]
        self.answers["problems"] = [problem.describe() for problem in found]
        self.warn(found)

    def look_after(
        self,
        look: Callable[[], Iterable[str | SftpJailError | Problem]],
        known: Iterable[str | SftpJailError | Problem] = (),
    ) -> None:
        """Report the problems found after a change.

        If looking for them fails, for example because no program can be started, the change has
        still succeeded: this is reported as a problem, and the exit code stays.

        Args:
            look: returns the problems.
            known: those that were found before, which are reported with them.
        """
        found: list[str | SftpJailError | Problem]
        try:
            found = [*look()]
        except (SftpJailError, OSError) as error:
            why = denied(error) or str(error)
            found = [Problem(f"cannot check whether all can be used: {why}", "", severity="advice")]
        self.answer_problems([*known, *found])

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], yielding: Sequence[int] = ()
    ) -> None:
        """Print a table: drawn on a terminal, tab-separated otherwise. Print nothing without rows.

        Args:
            columns: their headings.
            rows: their cells.
            yielding: see `terminal.table`.
        """
        if self.json or not rows:
            return
        cells = [[one_line(cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            for line in cells:
                self._print("\t".join(line))
            return
        from . import drawing, terminal  # late: only a terminal needs it

        headed = [columns, *cells] if any(columns) else cells
        lines = terminal.table(headed, max(terminal.width(), terminal.NARROWEST), yielding)
        if any(columns):
            lines[0] = drawing.picture(
                lambda console: console.print(drawing.cell(lines[0], "bold"), soft_wrap=True)
            )
        self.draw("\n".join(lines))

    def draw(self, picture: str) -> None:
        """Print a picture for a person, in which every text of others is already escaped."""
        self._print(picture)

    def close(self, code: int) -> int:
        """Print the object of --json, and return the exit code."""
        if self.json:
            import json  # late: few want it

            actions = self.answers.get("actions")
            changed = {}
            if actions is not None:
                changed = {
                    "changed": bool(actions) and not self.dry_run,
                    "dry_run": self.dry_run,
                }
            answer = {"command": self.arguments.command} | changed | self.answers
            self._print(json.dumps(answer, indent=1))
        return code


def _decided(config: Config, host: Host, ask: bool) -> Config:
    """Return a configuration with each `auto` decided for this host; see `auto_mounts.decided`."""
    if not _left_to_setup(config):
        return config
    from ..openssh.match_blocks import as_recorded

    config = as_recorded(config, host)
    if not _left_to_setup(config):
        return config
    from ..openssh.auto_mounts import decided  # late: useradd waits, and setup has decided

    return decided(config, host, ask)


def _left_to_setup(config: Config) -> bool:
    """Return whether where a profile's mounts are is not known yet."""
    return any(profile.mounts == "auto" for profile in config.profiles)


def whom(problem: Problem) -> str:
    """Return the accounts that a problem concerns, at most three of them by name."""
    names = problem.concerns
    if len(names) < 2:
        return problem.about
    return some(names, 3)


def title(problem: Problem) -> str:
    """Return what is wrong and why it matters, marked if it is only advice."""
    if problem.severity == "advice":
        what = f"advice: {problem.what}"
    else:
        what = problem.what
    if problem.why:
        return f"{what} ({problem.why})"
    return what


def remedies(problem: Problem) -> list[str]:
    """Return the lines below a problem: the command that fixes it, its choices and its advice."""
    lines = [f"  fix: {problem.fix}"] if problem.fix else []
    lines += [f"  choice: {choice.label}: {choice.command}" for choice in problem.choices]
    if problem.advice:
        return [*lines, f"  advice: {problem.advice}"]
    return lines


def _as_problem(problem: str | SftpJailError | Problem) -> Problem:
    if isinstance(problem, SftpJailError):
        return Problem.of(problem)
    if isinstance(problem, str):
        return Problem(problem, "")
    return problem


def print_problem(problem: Problem) -> None:
    """Print an error or a warning to standard error, with its remedies below.

    Only this function prints errors and warnings.
    """
    lines = [f"sftpjail: {one_line(title(problem))}", *map(one_line, remedies(problem))]
    try:
        for line in lines:
            print(line, file=sys.stderr, flush=True)
    except OSError:
        streams.silence(2)
        for line in lines:
            tell(syslog.LOG_ERR, line)


def printable(text: str) -> str:
    """Return TEXT escaped to one line without terminal control characters; tabs stay."""
    return "\t".join(map(one_line, text.split("\t")))


def local_time(at: int | None) -> str:
    """Return a time in epoch seconds in the form for people, or "-" for none."""
    if at is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
