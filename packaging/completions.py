"""Prints the completion for a shell, made from the program's own tree of commands.

usage: python3 packaging/completions.py bash|zsh|fish
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import shtab

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from sftpjail.cli.main import build_parser

USER = {"bash": "_sftpjail_users", "zsh": "_users", "fish": "__fish_complete_users"}
PREAMBLE = {"bash": '_sftpjail_users() { compgen -u -- "$1"; }'}
# shtab 1.5 of Debian 12 handles only the first of several words.
MENDED = {
    'choices_var="${current_action}_choices"': 'choices_var="${current_action}_choices[@]"',
    'choices="${!current_action_choices_var}"': 'choices=("${!current_action_choices_var}")',
    '-W "${current_action_choices}"': '-W "${current_action_choices[*]}"',
}


Parsers = Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]


def parsers(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Parsers:
    """Yield every parser of a tree with the words that lead to it."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, (*path, name))


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish(tree: argparse.ArgumentParser) -> str:
    """Return fish's completion; shtab has one only since 1.8, and Debian 12 and 13 are older."""
    lines = [
        "complete -c sftpjail -f",
        "function __sftpjail_at "
        "# whether the words before the cursor, without options, begin with these",
        "    set -l words (string match -v -- '-*' (commandline -opc))[2..]",
        "    if test (count $argv) = 0",
        "        test (count $words) = 0",
        "    else",
        "        set -l last (count $argv)",
        '        test "$words[1..$last]" = "$argv"',
        "    end",
        "end",
    ]
    for path, parser in parsers(tree):
        start = f"complete -c sftpjail -n {quoted(' '.join(('__sftpjail_at', *path)))}"
        for action in parser._actions:
            takes = getattr(action, "complete", {}).get("fish", "")
            values = f" -a {quoted(takes if '/' in takes else f'({takes})')}" if takes else ""
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    lines.append(f"{start} -a {choice.dest} -d {quoted(choice.help or '')}")
            elif action.option_strings:
                names = " ".join(
                    f"-l {o[2:]}" if o.startswith("--") else f"-s {o[1:]}"
                    for o in action.option_strings
                )
                needs = "" if action.nargs == 0 else " -r"
                about = quoted((action.help or "").replace("%%", "%"))
                lines.append(f"{start} {names}{needs}{values} -d {about}")
            elif action.choices:
                lines.append(f"{start} -a {quoted(' '.join(action.choices))}")
            elif takes:
                lines.append(start + values)
    return "\n".join(lines) + "\n"


def main(shell: str) -> None:
    tree = build_parser()
    for _, parser in parsers(tree):
        for action in parser._actions:
            if action.metavar in ("USER", "FILE", "SRC"):
                files = shtab.FILE | {"fish": "__fish_complete_path"}
                action.complete = USER if action.metavar == "USER" else files
    if shell == "fish":
        print(fish(tree), end="")
    else:
        text = shtab.complete(tree, shell=shell, preamble=PREAMBLE)
        for old, new in MENDED.items():
            text = text.replace(old, new)
        print(text)


main(sys.argv[1])
