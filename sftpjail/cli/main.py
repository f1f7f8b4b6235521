"""The command line: argument parsing, exit codes and error output."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import Absent, SftpJailError, UsageError, denied, did_you_mean
from ..system import signals, streams

if TYPE_CHECKING:
    from ..model import Problem
    from .context import Context

_UNWRITABLE = "cannot write the output"
_CHANGED = "what was to be changed is changed, and the report is in syslog"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, advice=f"see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise


# The modules with the commands, and which those are: a command line loads only its own.
COMMANDS = {
    "host": ("setup", "teardown", "apply"),
    "accounts_file": ("export",),
    "imports": ("import",),
    "plugins": ("plugins",),
    "check": ("check",),
    "explain": ("explain",),
    "selftest": ("test",),
    "log": ("log",),
    "metrics": ("metrics",),
    "watch": ("watch", "events"),
    "history": ("history",),
    "undo": ("undo",),
    "accounts": ("add", "adopt", "remove"),
    "listing": ("list", "show"),
    "access": ("disable", "enable", "set", "kick"),
    "who": ("who",),
    "review": ("review",),
    "keys": ("key",),
    "mounts": ("mount", "umount", "enter"),
    "hook": ("hook",),
}


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of all commands and options. A test compares it with the manual.

    Args:
        command: what is called; if it is known, its module's commands alone are there.
    """
    modules = [name for name, commands in COMMANDS.items() if command in commands] or COMMANDS
    common = _Parser(add_help=False)
    _add_common(common)
    parser = _Parser(
        prog="sftpjail", description="Chrooted SFTP accounts on stock OpenSSH.", parents=[common]
    )
    parser.add_argument("--version", action="version", version=f"sftpjail {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in modules:
        import_module(f"sftpjail.cli.{module}").register(
            lambda name, text: commands.add_parser(
                name, help=text, description=text, parents=[common]
            )
        )
    for one in commands.choices.values():
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):  # key add, key list and so on
                for verb in action.choices.values():
                    _add_common(verb)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that are good before and after the command."""
    # SUPPRESS keeps the later, unset one from hiding the earlier.
    for option, text in (
        ("--dry-run", "show what would change, and change nothing"),
        ("--json", "print one JSON object, for programs"),
        ("--debug", "show a traceback with an error"),
    ):
        parser.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=text)
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="use this configuration instead of /etc/sftpjail/sftpjail.conf",
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of one command.

    What follows `--` are arguments and no options. Those of `add` and `enter` are for another
    program, and are in `options`.

    Raises:
        UsageError: they are not valid.
    """
    from .. import config

    # Cut here, because Python 3.11's argparse does not find those words
    # when an option stands before them.
    words, options, called = list(argv), [], _command(argv)
    if "--" in words and called in ("add", "enter"):
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = build_parser(called)
    arguments, unknown = parser.parse_known_args(words)
    command, unknown = arguments.command, [word for word in unknown if word != "--"]
    if unknown:
        advice = f"see sftpjail {command} --help"
        if command == "add":
            advice = "options for useradd go after --"
        first, known = unknown[0].partition("=")[0], _options(parser, words)
        meant = did_you_mean(first, known)
        if first in known:
            meant, advice = "", "options go before --"
        raise UsageError(f"{command} does not know {' '.join(unknown)}{meant}", advice=advice)
    arguments.options = options
    arguments.command = " ".join(filter(None, (command, getattr(arguments, "verb", ""))))
    defaults = {"dry_run": False, "json": False, "debug": False, "config": config.PATH}
    for name, value in defaults.items():
        setattr(arguments, name, getattr(arguments, name, value))
    return arguments


def _command(words: Sequence[str]) -> str:
    """Return the command that a command line names, or ""."""
    values = [
        number + 1
        for number, word in enumerate(words)
        if len(word) > 2 and "--config".startswith(word)  # argparse takes abbreviations
    ]
    named = (word for number, word in enumerate(words) if number not in values)
    return next((word for word in named if not word.startswith("-")), "")


def _options(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the options of the command that some words name, and of its parent commands."""
    found: list[str] = []
    for action in parser._actions:
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            named = next((word for word in words if word in action.choices), "")
            if named:
                found += _options(action.choices[named], words)
    return found


def program() -> NoReturn:
    """Run the command of this process and exit with its exit code. The launcher calls this."""
    gc.set_threshold(50_000)  # ten thousand accounts are many objects, and in no cycles
    try:
        code = _main(sys.argv[1:])
    except (OSError, MemoryError, ImportError) as error:
        if "--debug" in sys.argv:
            raise
        # So little is left that not even the error could be told in the usual way.
        with contextlib.suppress(OSError):
            print(f"sftpjail: {str(error) or 'out of memory'}", file=sys.stderr)
        code = 1
    signals.block_stop_signals()  # a signal would kill Python while it shuts down
    streams.let_go_of_streams()
    # Python's last collections would look at each object once more, a seventh of the time of
    # useradd's hook, to free memory that the kernel frees anyway.
    gc.freeze()
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run one command, and restore the signal handlers.

    Args:
        argv: without the program's name.

    Returns:
        The exit code: 0 done, 1 failed and rolled back, 2 usage, 3 problems found,
        4 rollback incomplete, 130 stopped.
    """
    with signals.handlers_kept():
        return _main(argv)


class _Call:
    """One command line, and the state that is needed to report its end."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = argv
        self.arguments: argparse.Namespace | None = None
        self.context: Context | None = None

    @property
    def committed(self) -> bool:
        """Whether a change of the host was committed."""
        return self.context is not None and self.context.committed


def _main(argv: Sequence[str]) -> int:
    call = _Call(argv)
    try:
        signals.raise_always()
        try:
            code = _run(call)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            code = _ended(error, call)
        signals.ends_with(code)
    except signals.Interrupted as late:  # just before `ends_with`
        code = _ended(late.__context__ or late, call)
    return _close(code, call)


def _run(call: _Call) -> int:
    if list(call.argv) == ["--version"]:  # without the cost of building all commands
        print(f"sftpjail {__version__}")
        return 0
    from ..system import process_state
    from .context import Context

    process_state.start_process()
    # For the completions of the shells: see packaging/completions.py.
    if list(call.argv[:1]) == ["--complete"]:
        from .words import words

        print("".join(f"{word}\n" for word in words(call.argv[1:])), end="")
        return 0
    call.arguments = parse(call.argv)
    call.context = Context(call.arguments)
    return int(call.arguments.run(call.context))


def _ended(error: BaseException, call: _Call) -> int:
    """Report what ended a command, and return the exit code."""
    if isinstance(error, SystemExit):  # argparse has printed its help
        return int(error.code or 0)
    if isinstance(error, OSError) and not call.committed and _is_ours(error):
        return 1
    problem, code = _problem(error, call)
    signals.ends_with(code)
    if call.arguments and call.arguments.debug and isinstance(error, Exception):
        raise error
    _tell(problem, call, isinstance(error, Absent))
    return code


def _is_ours(error: OSError) -> bool:
    """Return whether an error is that our output cannot be written; if so, report it."""
    if not isinstance(error, BrokenPipeError):
        return not _is_told()
    streams.silence(1)
    return True


def _close(code: int, call: _Call) -> int:
    """Flush the output, and return the exit code.

    If a command has changed the host and its output is lost, the output is logged to syslog. The
    exit code stays, because it describes the change.
    """
    told = _is_told(call.committed)
    context = call.context
    if context is None or not context.committed:
        if told:
            return code
        return code or 1
    if told and not context.lost:
        return code
    import syslog

    from ..system.syslog import tell

    for line in context.told:
        tell(syslog.LOG_NOTICE, f"{context.arguments.command}: {line}")
    return code


def _is_told(committed: bool = False) -> bool:
    """Flush the output; return whether that succeeded.

    Otherwise Python would try it at its end, and print an error.

    Args:
        committed: the command has changed the host, and the error must say so.
    """
    try:
        if sys.stdout is not None:  # it is None if the caller has closed it
            sys.stdout.flush()
    except OSError as error:
        from ..model import Problem
        from .context import print_problem

        streams.silence(1)
        if committed:
            print_problem(Problem(f"{_UNWRITABLE}: {error.strerror}; {_CHANGED}", ""))
        elif not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no error
            print_problem(Problem(f"{_UNWRITABLE}: {error.strerror}", ""))
        return False
    return True


def _tell(problem: Problem, call: _Call, absent: bool) -> None:
    """Print an error, with --json also on standard output; ABSENT as in `errors.Absent`."""
    from .context import print_problem

    arguments, argv = call.arguments, call.argv
    given = argv
    if "--" in argv:
        given = argv[: argv.index("--")]
    if arguments:
        command = arguments.command
    else:
        command = _command(given)
    if arguments.json if arguments else "--json" in given:
        import json

        with contextlib.suppress(OSError):  # `_close` finds that too
            answer = {"command": command, "error": problem.describe()}
            print(json.dumps(answer | ({"absent": True} if absent else {}), indent=1))
    print_problem(problem)


def _problem(error: BaseException, call: _Call) -> tuple[Problem, int]:
    """Return the problem to show for an error, and the exit code."""
    from ..model import Problem

    if isinstance(error, SftpJailError):
        return Problem.of(error, about=error.owner), error.exit_code
    if isinstance(error, signals.Interrupted):
        return Problem(f"{error}; {_outcome(error, call)}", ""), 130
    if denied(error):
        from ..system import process_state

        return Problem(denied(error), "", advice="; ".join(process_state.restrictions())), 1
    if isinstance(error, ModuleNotFoundError):  # Python, or what we depend on, is not all there
        return Problem(str(error), ""), 1
    what = f"a bug: {type(error).__name__}: {error}"
    return Problem(what, "", advice="run it again with --debug, and report it"), 1


def _outcome(error: signals.Interrupted, call: _Call) -> str:
    """Return a phrase for the state in which a stopped command left the host."""
    if call.committed:
        return "what it had changed by then stays"
    if error.put_back:
        return "everything was put back"
    return "nothing was changed"
