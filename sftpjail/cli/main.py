"""The command line: argparse's tree, exit codes, and how an error is said."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import SftpJailError, UsageError

if TYPE_CHECKING:
    from ..model import Problem


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, advice=f"see {self.prog} --help")


MODULES = (
    "host",
    "plugins",
    "check",
    "explain",
    "selftest",
    "log",
    "accounts",
    "keys",
    "mounts",
    "hook",
)


def build_parser(modules: Sequence[str] = MODULES) -> argparse.ArgumentParser:
    """Return the tree of commands and options; the manual is tested against the whole.

    Args:
        modules: whose commands; useradd waits for `hook`, which needs no other.
    """
    common = _Parser(add_help=False)
    # Good before and after the command;
    # SUPPRESS keeps the later, unset one from hiding the earlier.
    for option, text in (
        ("--dry-run", "show what would change, and change nothing"),
        ("--json", "print one JSON object, for programs"),
        ("--debug", "show a traceback with an error"),
    ):
        common.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=text)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="use this configuration instead of /etc/sftpjail/sftpjail.conf",
    )
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
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of one command.

    What stands behind `--` is in `options`, and is for useradd.

    Raises:
        UsageError: they make no sense.
    """
    from .. import config

    # Cut here, because Python 3.11's argparse does not find those words
    # when an option stands before them.
    words, options = list(argv), []
    if "--" in words:
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = build_parser(("hook",) if words[:1] == ["hook"] else MODULES)
    arguments, unknown = parser.parse_known_args(words)
    command = arguments.command
    if unknown:
        advice = f"see sftpjail {command} --help"
        if command == "add":
            advice = "options for useradd go after --"
        raise UsageError(f"{command} does not know {' '.join(unknown)}", advice=advice)
    if options and command not in ("add", "enter"):
        parser.error(f"{command} takes nothing after --: {' '.join(options)}")
    arguments.options = options
    arguments.command = " ".join(filter(None, (command, getattr(arguments, "verb", ""))))
    defaults = {"dry_run": False, "json": False, "debug": False, "config": config.PATH}
    for name, value in defaults.items():
        setattr(arguments, name, getattr(arguments, name, value))
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: without the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 failed and rolled back, 2 usage, 3 problems found,
        4 rollback incomplete, 130 stopped.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
    except SystemExit:  # argparse has printed its help
        if _is_told():
            raise
        return 1
    return code if _is_told() else 1


def _is_told() -> bool:
    """Bring what was printed to its reader; return whether there is one.

    Python would try, and complain, after us.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        from ..system import stdio

        stdio.silence_output()
        if not isinstance(error, BrokenPipeError):  # who has read enough needs no error
            print(f"sftpjail: cannot write the output: {error.strerror}", file=sys.stderr)
        return False
    return True


def _run(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:  # without the price of building all commands
        print(f"sftpjail {__version__}")
        return 0
    from ..system import stdio
    from ..system.signals import signals_raise
    from .context import Context

    stdio.start_process()
    arguments = None
    try:
        arguments = parse(argv)
        with signals_raise():
            return int(arguments.run(Context(arguments)))
    except BrokenPipeError:
        stdio.silence_output()
        return 1
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, OSError) and not _is_told():
            return 1
        if arguments and arguments.debug and isinstance(error, Exception):
            raise
        return _tell(error, arguments, argv)


def _tell(error: BaseException, arguments: argparse.Namespace | None, argv: Sequence[str]) -> int:
    """Say an error, with --json on standard output too.

    Args:
        error: what ended the command.
        arguments: None if that is what is wrong.
        argv: the words of the command line.

    Returns:
        The exit code.
    """
    from .context import print_problem

    problem, code = _problem(error)
    given = argv[: argv.index("--")] if "--" in argv else argv
    command = (
        arguments.command
        if arguments
        else next((word for word in given if not word.startswith("-")), "")
    )
    if arguments.json if arguments else "--json" in given:
        print(json.dumps({"command": command, "error": problem.describe()}, indent=1))
    print_problem(problem)
    return code


def _problem(error: BaseException) -> tuple[Problem, int]:
    """Return what an error is to a user, and the exit code."""
    from ..model import Problem

    if isinstance(error, SftpJailError):
        return Problem.of(error, about=error.owner), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return Problem(str(error) or "stopped", ""), 130
    what = f"a bug: {type(error).__name__}: {error}"
    return Problem(what, "", advice="run it again with --debug, and report it"), 1
