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

# What stands where, by what the argument is called, or by its command too. sftpjail itself says
# which words there are (sftpjail/cli/words.py).
KINDS = {"USER": "jails", "P": "profiles", "DST": "mounts", "KEY": "keys"}
OTHER = {
    ("add", "USER"): "",
    ("adopt", "USER"): "accounts",
    ("mount", "DST"): "",
    ("hook", "USER"): "",
}

# bash takes a word with a colon, as a fingerprint is, for three, and shtab's function breaks words
# at spaces. So what depends on the user is completed here, where no word is expanded.
BASH = r"""
_sftpjail_jails() { compgen -W "$(command sftpjail --complete jails 2>/dev/null)" -- "$1"; }
_sftpjail_accounts() { compgen -W "$(command sftpjail --complete accounts 2>/dev/null)" -- "$1"; }
_sftpjail_profiles() { compgen -W "$(command sftpjail --complete profiles 2>/dev/null)" -- "$1"; }
_sftpjail_mounts() { :; }
_sftpjail_keys() { :; }
_sftpjail() {
    local words=() plain=() word before='' kind='' user='' prefix n
    for ((n = 0; n <= COMP_CWORD; n++)); do
        word=${COMP_WORDS[n]}
        if [[ $n != 0 && ($before == *: || $word == :*) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        before=$word
    done
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) current=${words[-1]}
    before=
    for word in "${words[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* || $before == --config ]] || plain+=("$word")
        before=$word
    done
    if [[ ${plain[0]} == umount && ${#plain[@]} == 2 ]]; then
        kind=mounts user=${plain[1]}
    elif [[ "${plain[*]:0:2}" == 'key remove' && ${#plain[@]} -gt 2 ]]; then
        kind=keys user=${plain[2]}
    fi
    if [[ -z $kind || $current == -* ]]; then
        _shtab_sftpjail
    else
        COMPREPLY=()
        while IFS= read -r word; do
            if [[ $word == "$current"* || $(printf %q "$word") == "$current"* ]]; then
                COMPREPLY+=("$word")
            fi
        done < <(command sftpjail --complete "$kind" "$user" 2>/dev/null)
    fi
    if [[ $current == *:* ]]; then
        prefix=${current%"${current##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}
"""
ZSH = r"""
_sftpjail_words() {
    local -a found
    found=(${(f)"$(command sftpjail --complete "$@" 2>/dev/null)"})
    compadd -a found
}
_sftpjail_jails() { _sftpjail_words jails }
_sftpjail_accounts() { _sftpjail_words accounts }
_sftpjail_profiles() { _sftpjail_words profiles }
_sftpjail_user() {
    local -a plain
    plain=(${words[1,CURRENT-1]:#-*})
    while [[ $#plain -gt 1 && $plain[1] != (umount|remove) ]]; do shift plain; done
    print -r -- $plain[2]
}
_sftpjail_mounts() { _sftpjail_words mounts "$(_sftpjail_user)" }
_sftpjail_keys() { _sftpjail_words keys "$(_sftpjail_user)" }
"""
FISH = r"""
# The words of a kind; for mounts and keys the user stands behind umount or remove.
function __sftpjail_words
    set -l words (string match -v -- '-*' (commandline -opc))
    set -l at (contains -i -- umount $words; or contains -i -- remove $words)
    set -l user ''
    test -n "$at"; and set user $words[(math $at + 1)]
    command -q sftpjail; and command sftpjail --complete $argv[1] $user 2>/dev/null
end
# Whether so many words without options stand before the cursor, or with "more" at least so many.
function __sftpjail_place
    set -l words (string match -v -- '-*' (commandline -opc))[2..]
    test (count $words) = $argv[1]; or test (count $words) -gt $argv[1] -a "$argv[2]" = more
end
"""
PREAMBLE = {"bash": BASH, "zsh": ZSH}
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
    lines += FISH.strip().split("\n")
    for path, parser in parsers(tree):
        at = " ".join(("__sftpjail_at", *path))
        start = f"complete -c sftpjail -n {quoted(at)}"
        place = len(path)
        for action in parser._actions:
            takes = getattr(action, "complete", {}).get("fish", "")
            values = f" -a {quoted(takes if '/' in takes else f'({takes})')}" if takes else ""
            if isinstance(action, argparse._SubParsersAction):
                here = f"complete -c sftpjail -n '{at}; and __sftpjail_place {place}'"
                for choice in action._choices_actions:
                    lines.append(f"{here} -a {choice.dest} -d {quoted(choice.help or '')}")
            elif action.option_strings:
                names = " ".join(
                    f"-l {o[2:]}" if o.startswith("--") else f"-s {o[1:]}"
                    for o in action.option_strings
                )
                needs = "" if action.nargs == 0 else " -r"
                about = quoted((action.help or "").replace("%%", "%"))
                lines.append(f"{start} {names}{needs}{values} -d {about}")
            else:
                more = " more" if action.nargs in ("*", "+") else ""
                here = f"complete -c sftpjail -n '{at}; and __sftpjail_place {place}{more}'"
                place += 1
                if action.choices:
                    lines.append(f"{here} -a {quoted(' '.join(action.choices))}")
                elif takes:
                    lines.append(here + values)
    return "\n".join(lines) + "\n"


def main(shell: str) -> None:
    tree = build_parser()
    files = shtab.FILE | {"fish": "__fish_complete_path"}
    for path, parser in parsers(tree):
        for action in parser._actions:
            kind = OTHER.get((*path[:1], action.metavar), KINDS.get(action.metavar, ""))
            if action.metavar in ("FILE", "SRC"):
                action.complete = files
            elif kind:
                ask = f"_sftpjail_{kind}"
                action.complete = {"bash": ask, "zsh": ask, "fish": f"__sftpjail_words {kind}"}
    if shell == "fish":
        print(fish(tree), end="")
    else:
        text = shtab.complete(tree, shell=shell, preamble=PREAMBLE)
        for old, new in MENDED.items():
            text = text.replace(old, new)
        text = text.replace("-F _shtab_sftpjail sftpjail", "-F _sftpjail sftpjail")
        print(text)


main(sys.argv[1])
