"""python3 -m sftpjail.testing PLUGIN: does a plugin keep the rules? 0 it does, 1 it does not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import Config
from ..errors import SftpJailError
from ..errors.escapes import one_line
from .conformance import Report, judge, load


def main(argv: Sequence[str] | None = None) -> int:
    """Judge one plugin, and print each problem in one line.

    Args:
        argv: the words of the command line; those of the process by default.

    Returns:
        0 it conforms, 1 it does not. argparse exits with 2 where the words make no sense.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m sftpjail.testing", description="Does a plugin keep the rules?"
    )
    parser.add_argument("plugin", metavar="PLUGIN", help="its name, its module, or its .py file")
    parser.add_argument(
        "settings", nargs="*", metavar="NAME=VALUE", help="of its section in [plugins]"
    )
    given = parser.parse_args(argv)
    wrong = [word for word in given.settings if "=" not in word]
    if wrong:
        parser.error(f"{wrong[0]!r} is not NAME=VALUE")
    if given.plugin.endswith(".py"):
        name = Path(given.plugin).stem
    else:
        name = given.plugin
    settings = dict(word.split("=", 1) for word in given.settings)
    try:
        report = judge(load(given.plugin), name, Config(settings={name: settings}))
    except SftpJailError as error:
        report = Report([error.message], {})
    for problem in report.problems:
        print(one_line(f"{name}: {problem}"))
    if report.problems:
        return 1
    for hook, seen in sorted(report.tried.items()):
        print(one_line(f"{name}: {hook}: {seen}"))
    print(f"{name}: keeps the rules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
