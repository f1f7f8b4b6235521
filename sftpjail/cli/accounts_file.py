"""apply FILE and export: accounts as a file."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from shlex import join

from ..accounts_file.entry import shown_values, without_hashes
from ..accounts_file.reading import FORMATS, AccountsFile, form_of, read
from ..accounts_file.writing import write
from ..engine.engine import Engine
from ..errors import SftpJailError, UsageError, unreadable
from ..errors.escapes import counted, some
from ..formats import fixes
from ..host import Host
from ..jails.membership import find_jailed, jailed
from ..model import Problem, frozen, valid_name
from ..operations.apply import PATIENCE
from ..operations.apply_file.change import Change
from ..operations.apply_file.comparison import Comparison, any_shut
from ..operations.apply_file.stages import Stages
from ..operations.export import known, readable
from ..system.files import is_there
from ..system.scratch import new_file
from .context import Command, Context, printable
from .progress import progress_bar

_STDIN = ("-", "/dev/stdin")
_MOST = 256 << 20  # bytes: more than a million accounts
_SHOWN = 8
_NO_NAMES = "a list has a name in each line; how other files begin is in sftpjail-accounts(5)"


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("export", "write the jailed accounts as a file that apply reads")
    parser.add_argument("users", metavar="USER", nargs="*", help="default: all")
    parser.add_argument("--format", choices=FORMATS, default="configobj", help="default: configobj")
    parser.add_argument(
        "--output", metavar="FILE", help="a new file, root's alone; default: standard output"
    )
    parser.add_argument(
        "--secrets", action="store_true", help="with the hashes of passwords; never on a terminal"
    )
    parser.set_defaults(run=export)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `apply` that are for a file of accounts."""
    parser.add_argument("--format", choices=FORMATS, help="of FILE; default: as it begins")
    parser.add_argument(
        "--missing", choices=("disable",), help="shut out the jailed accounts that FILE lacks"
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="leave out accounts that cannot be as FILE wants, instead of doing nothing",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="shut out, let in again and, with --prune, un-jail without asking",
    )


def refuse_options(given: argparse.Namespace) -> None:
    """Refuse these options if there is no file of accounts. Raises UsageError.

    --yes is for --prune as well.
    """
    for option in ("format", "missing", "keep_going", "yes"):
        if getattr(given, option) and not (option == "yes" and given.prune):
            words = f"--{option.replace('_', '-')} is for a file of accounts"
            if option == "yes":
                words += " and for --prune"
            advice = "a list of names is one with the header name, and --format csv"
            raise UsageError(words, advice=advice if given.file is not None else "give FILE")


@frozen
class Source:
    """The file given to `apply`: its text and form, and in words, who else can read it."""

    path: str
    text: str
    form: str
    exposed: str = ""

    def names(self) -> list[str]:
        """Return the names in a file that has only names. Raises UsageError."""
        lines = (line.strip() for line in self.text.removeprefix("\ufeff").split("\n"))
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise UsageError(f"{self.path} has no name of an account")
        try:
            return [valid_name(line) for line in found]
        except UsageError as error:
            words = without_hashes(f"{self.path}: {error.message}")
            raise UsageError(words, advice=_NO_NAMES) from None


def read_accounts(path: str, form: str | None) -> Source:
    """Return a file of accounts or names, or standard input for `-`.

    Call this before the lock is taken, because it may wait for a person.

    Args:
        path: the file.
        form: the value of `--format`; None detects the form from its beginning.

    Raises:
        SftpJailError: it cannot be read, is empty or too large, or others than root can write it.
    """
    if not path:
        raise UsageError("the name of FILE is empty")
    shown = path
    if path in _STDIN:
        shown = "standard input"
    try:
        if path in _STDIN:
            fd = sys.stdin.fileno()
        else:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(fd, "rb", closefd=path not in _STDIN) as handle:
            found = os.fstat(fd)
            data = handle.read(_MOST + 1)
    except OSError as error:
        raise unreadable(shown, error) from error
    if len(data) > _MOST:
        raise UsageError(f"{shown} has more than {_MOST >> 20} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(shown, error) from error
    writer = _other(found, stat.S_IWGRP, stat.S_IWOTH)
    if writer:
        raise _too_open(path, f"{shown} says who gets in, and {writer} can write it")
    if not text.strip(" \t\r\n\ufeff"):
        raise UsageError(f"{shown} is empty")
    reader = _other(found, stat.S_IRGRP, stat.S_IROTH)
    return Source(shown, text, form or form_of(text), reader)


def _other(found: os.stat_result, of_group: int, of_others: int) -> str:
    """Return in words who besides root has the permissions of some mode bits on a file, or ""."""
    if not stat.S_ISREG(found.st_mode):
        return ""
    if found.st_uid != 0:
        return f"uid {found.st_uid}"
    if found.st_mode & of_others:
        return "everybody"
    if found.st_mode & of_group:
        return f"the group {found.st_gid}"
    return ""


def _too_open(path: str, words: str) -> SftpJailError:
    """Return the error that others than root have a permission on FILE."""
    if path in _STDIN:
        return SftpJailError(words, advice="give a file of root's with mode 600")
    path, host = os.path.abspath(path), Host()
    return SftpJailError(words, fixes.on_or_why(path, host, "chown 0:0 {}", "chmod 600 {}"))


def apply_file(context: Context, source: Source) -> int:
    """Bring the accounts in a file to the state that it describes, all of them or none."""
    given = context.arguments
    if given.missing and given.keep_going:
        raise UsageError("--missing and --keep-going exclude each other")
    file = read(source.text, source.form, source.path)
    if file.has_hashes and source.exposed:
        words = f"{source.path} has password hashes, and {source.exposed} can read it"
        raise _too_open(given.file, words)
    if given.missing and not file.entries:
        raise UsageError(f"{source.path} lists no account, and --missing would shut out everybody")
    _refuse(file.errors(), given)
    agreed = _ask(context, file)
    with context.engine() as engine:
        return _apply(context, file, engine, agreed)


def _refuse(errors: dict[str, SftpJailError], given: argparse.Namespace) -> None:
    """Refuse the whole file because of some accounts, unless --keep-going is given.

    Raises:
        SftpJailError: names the first few.
    """
    if not errors or given.keep_going:
        return
    every = list(errors.values())
    if len(every) == 1:
        raise every[0].saying(f"nothing was changed: {every[0].message}")
    words = some((error.message for error in every), _SHOWN, "; ")
    usage = all(isinstance(error, UsageError) for error in every)
    kind = SftpJailError
    if usage:
        kind = UsageError
    raise kind(f"nothing was changed: {words}", advice="correct that, or give --keep-going")


def _ask(context: Context, file: AccountsFile) -> frozenset[str] | None:
    """Ask for confirmation if accounts would be let in or shut out.

    This happens before the lock is taken, so that no useradd waits for a person at a terminal.

    Returns:
        what was confirmed; None confirms everything.

    Raises:
        UsageError: it was not confirmed.
    """
    given = context.arguments
    if given.yes or context.dry_run:
        return None
    with context.engine(reading=True, tolerant=False) as engine:
        if not (given.missing or any_shut(file, engine)):
            return frozenset()
        doing = Comparison(file, engine, bool(given.missing)).opens_or_shuts
    if not doing:
        return frozenset()
    words = some(doing, _SHOWN, "; ")
    if sys.stdin.isatty() and sys.stdout.isatty() and not context.json:
        print(f"{printable(words)}. Go on? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return frozenset(doing)
        raise UsageError("nothing was changed")
    command = ["sftpjail", "apply", "--yes"]
    if given.missing:
        command += ["--missing", given.missing]
    if given.format:
        command += ["--format", given.format]
    if given.keep_going:
        command.append("--keep-going")
    words = f"confirmation is needed: {words}"
    if given.file in _STDIN:
        raise UsageError(words, advice="give --yes")
    raise UsageError(words, choices=(("to do that", join([*command, given.file])),))


def _apply(
    context: Context, file: AccountsFile, engine: Engine, agreed: frozenset[str] | None
) -> int:
    """Plan and apply. With --keep-going, accounts that fail are left out, and the rest is done."""
    given, failed, tries = context.arguments, dict[str, SftpJailError](), 0
    if not engine.host.records.is_set_up:
        raise SftpJailError("this host is not set up", "sftpjail setup")
    while True:
        compared = Comparison(file, engine, bool(given.missing), failed)
        if given.keep_going or context.dry_run:
            plan = Stages(compared).preview()
            for name, error in plan.errors.items():
                compared.fail(name, error)
            if compared.errors.keys() - failed.keys() and given.keep_going:
                failed |= compared.errors  # nothing is done for these accounts
                continue
        _refuse(compared.errors, given)
        if agreed is not None and not agreed.issuperset(compared.opens_or_shuts):
            raise SftpJailError("more would be shut out or let in than was confirmed; try again")
        if context.dry_run:
            context.answers |= {"actions": plan.describe(), "notices": []}
            return _close(context, file, compared)
        try:
            _carry_out(context, file, engine, compared)
            return _close(context, file, compared)
        except SftpJailError as error:
            names = {change.name for change in compared.changes}
            failing = file.placed(error.owner, error)
            if not given.keep_going or error.owner not in names - failed.keys():
                raise
            tries += 1
            if tries > PATIENCE:
                raise
            failed[error.owner] = failing
            engine = engine.on(engine.host.anew())


def _carry_out(context: Context, file: AccountsFile, engine: Engine, compared: Comparison) -> None:
    with progress_bar(context) as engine.progress:
        engine.progress("planning", 0, 0)
        stages = Stages(compared)
        plan = stages.first()
        notices = context.apply(engine, plan, *stages.further())
    count = counted(len(compared.changes), "account")
    context.report(plan, notices, _done(compared), f"{count} checked, all is as {file.path} says")


def _done(compared: Comparison) -> list[str]:
    """Return sentences that say what was done."""
    lines = []
    kinds = {"new": "made", "changed": "changed", "disabled": "shut out", "unchanged": "checked"}
    for kind, verb in kinds.items():
        names = [change.name for change in compared.changes if change.kind == kind]
        if names:
            lines.append(f"{verb} {counted(len(names), 'account')}: {some(names, _SHOWN)}")
    return lines


def _close(context: Context, file: AccountsFile, compared: Comparison) -> int:
    """Print the rest of the report, and return the exit code."""
    if context.dry_run:
        lines = [line for change in compared.changes for line in change.lines]
        context.say(lines or ["nothing to do"])
    if context.json:
        context.answers["accounts"] = list(map(Change.describe, compared.changes))
    names = {entry.name for entry in file.entries} | {fault.name for fault in file.faults}
    problems = [
        Problem.of(error, about=name if name in names else "")
        for name, error in compared.errors.items()
    ]
    notes = [Problem(words, "", severity="advice") for words in compared.draft.notices]
    context.answer_problems([*problems, *notes])
    return context.close(1 if problems else 0)


def export(context: Context) -> int:
    """Write the jailed accounts of this host."""
    given = context.arguments
    if given.output == "":
        raise UsageError("the name of --output is empty")
    if given.secrets and not given.output and (sys.stdout.isatty() or context.json):
        where = "shown on a terminal"
        if context.json:
            where = "part of --json's answer"
        raise UsageError(f"password hashes are not {where}", advice="give --output FILE")
    with context.engine(reading=True) as engine:
        every = jailed(engine.config, engine.host)
        names = dict.fromkeys(given.users) or sorted(every)
        accounts = [
            every.get(name) or find_jailed(name, engine.config, engine.host) for name in names
        ]
        damaged = dict[str, SftpJailError]()
        found = known(accounts, engine.host, damaged, given.secrets)
    entries, notes = readable(found)
    problems = [Problem.of(error, "it is left out", about=n) for n, error in damaged.items()]
    text = write(entries, given.format)
    if given.output:
        _write_new(given.output, text, context)
    elif not context.json:
        sys.stdout.write(text)
        sys.stdout.flush()
    context.answers["accounts"] = [
        {"user": entry.name} | shown_values(entry, "") for entry in entries
    ]
    context.answer_problems([*problems, *notes])
    return context.close(1 if problems else 0)


def _write_new(path: str, text: str, context: Context) -> None:
    """Write a new file that only root can read. Raises UsageError."""
    try:
        path = os.path.abspath(path)
    except OSError as error:
        raise unreadable("the working directory", error) from error
    if is_there(path):
        raise UsageError(f"{path} exists already", advice="give another name")
    if not context.dry_run:
        new_file(path, text.encode("utf-8", "surrogateescape"), 0o600)
