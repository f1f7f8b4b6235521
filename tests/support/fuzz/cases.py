"""Hostile command lines, events for the hooks, and environments as PAM hands them over: what never succeeds."""

from __future__ import annotations

import random
from typing import Any

PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# In Latin-1, as processes.py takes them: bytes that are not UTF-8, line breaks, what a terminal obeys, words of ours.
WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "\n",
        "a\nb",
        "\xff\xfe",
        "\x1b[2K",
        "\xe2\x80\xae",
        "\x7f",
        "%s%n",
        "$(id)",
        "`id`",
        ";id",
    ),
    *(
        "../../etc/shadow",
        "/etc/shadow",
        "/dev/null",
        "/proc/self/mem",
        "/",
        "//",
        "~root",
        "*",
        "a" * 300,
        "x/" * 3000,
    ),
    *(
        "\n  fix: rm -rf /",
        "sftpjail: ok",
        "-1",
        "9" * 40,
        "0x10",
        "1e9",
        "NaN",
        "=",
        ":",
        "a:b:c:d",
        "user@",
        ".hidden",
    ),
    *(
        "--no-such",
        "-x",
        "--json=1",
        "--config=",
        "--config=/etc/shadow",
        "--dry-runn",
        "\xc0\x80",
        "nobody-there",
        "A" * 100_000,
    ),
)
# With {} for a hostile word. None can succeed in changing something: there is no such account, file or option.
COMMANDS = (
    *(
        "add {}",
        "adopt {}",
        "remove {}",
        "remove {} --delete-account",
        "show {}",
        "list {}",
        "setup {}",
        "teardown {}",
    ),
    *(
        "key add {} {}",
        "key add alice {}",
        "key remove alice {}",
        "key list {}",
        "key migrate {}",
        "key {}",
        "key {} alice",
    ),
    *(
        "mount alice /nonexistent/{} {}",
        "mount {} /srv {}",
        "mount {}",
        "umount alice {}",
        "umount {} /web",
        "check {}",
    ),
    *(
        "explain {}",
        "explain {} {}",
        "apply {} {}",
        "log {}",
        "log --since {}",
        "history {}",
        "history --head {} --verify",
    ),
    *(
        "history --limit {}",
        "undo {}",
        "undo {} --yes",
        "enter {} id",
        "plugins {}",
        "{}",
        "{} {}",
        "{} {} {}",
    ),
    *(
        "hook {} alice",
        "hook {} {}",
        "--config {} check",
        "--config {} list",
        "adopt bob --profile {}",
        "add eve --profile {} --key {}",
    ),
    *(
        "add {} -- {}",
        "list -- {}",
        "test {}",
        "disable {}",
        "--debug {}x",
        "list --json {}",
        "add eve --mount {} --key {}",
    ),
)
OPTIONS = ("--json", "--dry-run", "--json --dry-run", "--config /etc/sftpjail/sftpjail.conf")
EVENTS = (
    "useradd-post",
    "adduser-post",
    "adduser-local",
    "userdel-pre",
    "userdel-post",
    "pam-session",
)
HOOKS = ("useradd-post", "userdel-pre", "userdel-post")
PAM = ("PAM_USER", "PAM_TYPE", "PAM_SERVICE", "PAM_RHOST", "PAM_TTY", "PAM_RUSER")


def _case(argv: list[str], env: dict[str, str] | None = None, stdin: str = "") -> dict[str, Any]:
    # The kernel takes no NUL, and no word longer than 128 KiB.
    return {"argv": argv, "env": PATH | (env or {}), "stdin": stdin}


def command_line(chance: random.Random) -> dict[str, Any]:
    """A command with hostile words, options before, in and behind it, and something on standard input."""
    words: list[str] = []
    for word in chance.choice(COMMANDS).split(" "):
        hostile = chance.choice(WORDS)
        words.append(word.replace("{}", hostile) if word != "{}" else hostile)
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randint(0, len(words))
        words[at:at] = chance.choice(OPTIONS).split(" ")
    return _case(["/usr/bin/sftpjail", *words], stdin=json_of(chance))


def json_of(chance: random.Random) -> str:
    """A text that is JSON, or is meant to be."""
    user = '"' + chance.choice(WORDS)[:50].replace('"', "") + '"'
    nested = "[" * 20_000
    forms = (
        f'{{"user": {user}}}',
        nested,
        '{"user": 1e999}',
        "null",
        user,
        '{"event": ' * 500,
        "\0\xff",
        "",
    )
    return chance.choice(forms)


def hook(chance: random.Random) -> dict[str, Any]:
    """An event of a name that is nobody's, from our own hook or straight, with JSON where nobody reads it."""
    name = chance.choice(WORDS)
    env = {
        chance.choice(
            ("SUBJECT", "ACTION", "SFTPJAIL_JOINS", "IFS", "LC_ALL", "TZ")
        ): chance.choice(WORDS)[:1000]
    }
    env["SUBJECT"] = name[:4000]
    if chance.random() < 0.3:
        place = f"/etc/shadow-maint/{chance.choice(HOOKS[:2]).replace('-', '-')}.d/sftpjail"
        return _case([place], env, json_of(chance))
    options = chance.choice(([], ["--json"], ["--json", "--dry-run"]))
    event = chance.choice(EVENTS)
    return _case(["/usr/bin/sftpjail", "hook", *options, event, name], env, json_of(chance))


def session(chance: random.Random) -> dict[str, Any]:
    """The script of PAM, with variables that a client or another module may have set."""
    env = {name: chance.choice(WORDS)[:60_000] for name in PAM if chance.random() < 0.7}
    if chance.random() < 0.6:
        env["PAM_TYPE"] = "open_session"
    env |= {
        chance.choice(("PYTHONPATH", "LD_PRELOAD", "IFS", "LANG", "TMPDIR")): chance.choice(WORDS)[
            :1000
        ]
    }
    kind = chance.choice(
        (["session"], ["fstab"], ["session"], [chance.choice(WORDS)], [], ["session", "x"])
    )
    return _case(["/etc/sftpjail/pam-session", *kind], env, json_of(chance))


KINDS = {"command line": command_line, "hook": hook, "PAM": session}
