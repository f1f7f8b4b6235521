"""Commands that change a setting of a profile, in sftpjail.conf(5).

A global setting may be right for everybody else, so a jail gets its own in its profile.
"""

from __future__ import annotations

import re
from dataclasses import replace
from shlex import join, quote

from ..config import PATH, parse
from ..errors import SftpJailError
from ..errors.escapes import Advice
from ..host import Host
from ..model import Profile

MOST = 60  # characters of a value; a longer one is better written in an editor


def set_option(profile: Profile, option: str, host: Host) -> str:
    """Return the command that adds a line to a profile's sshd_options, and sets the host up.

    A value in a Match block overrides the global one, which stays in force for everybody else. If
    the profile already sets the keyword, or its section cannot be edited line by line, advice says
    what to write.

    Args:
        profile: whose members get the setting.
        option: a line of sshd_config(5) that may stand in a Match block.
        host: the facts.
    """
    keywords = [line.split()[0].lower() for line in profile.sshd_options]
    options = (*profile.sshd_options, option)
    changed = replace(profile, sshd_options=options)
    if option.split()[0].lower() in keywords:
        return _by_hand(profile, f"sshd_options = {option},")
    return _command(profile, changed, "sshd_options", f'"{option}",', "sftpjail setup", host)


def set_shell(profile: Profile, shell: str, host: Host) -> str:
    """Return the command that gives the members of a profile another shell."""
    wanted = replace(profile, shell=shell)
    return _command(profile, wanted, "shell", shell, "sftpjail apply", host)


def set_mounts(profile: Profile, mounts: str, host: Host) -> str:
    """Return the command that keeps the mounts of a profile's jails elsewhere."""
    wanted = replace(profile, mounts=mounts, mounts_because="")
    return _command(profile, wanted, "mounts", mounts, "sftpjail setup", host)


def set_passwords(profile: Profile, host: Host) -> str:
    """Return the command that has sshd take passwords of the members of a profile."""
    wanted = replace(profile, passwords="yes")
    return _command(profile, wanted, "passwords", "yes", "sftpjail setup", host)


def set_group(profile: Profile, group: str, host: Host) -> str:
    """Return the command that has a profile jail the members of another group."""
    wanted = replace(profile, group=group)
    return _command(profile, wanted, "group", group, "sftpjail setup", host)


def set_user(profile: Profile, old: str, new: str, host: Host) -> str:
    """Return the command that has a profile jail an account by the name NEW, in place of OLD."""
    users = tuple(new if name == old else name for name in profile.match_user)
    wanted = replace(profile, match_user=users)
    return _command(profile, wanted, "match_user", ", ".join(users), "sftpjail apply", host)


def _command(profile: Profile, wanted: Profile, key: str, value: str, then: str, host: Host) -> str:
    edit = _edit(profile, wanted, key, value, host)
    if edit:
        return f"{edit} && {then}"
    return _by_hand(profile, f"{key} = {value}")


def _by_hand(profile: Profile, line: str) -> Advice:
    return Advice(
        f"write `{line}` into the section of profile {profile.name} in {PATH}, "
        "then run sftpjail setup && sftpjail apply"
    )


def _edit(profile: Profile, wanted: Profile, key: str, value: str, host: Host) -> str:
    """Return the command that sets a key of a profile's section, or adds to a list, or "".

    It is tried on the text first: "" unless what comes of it is the WANTED profile and no other.
    """
    lines = host.text(PATH).split("\n")
    heads = [at for at, text in enumerate(lines) if text.strip().startswith("[")]
    at = next((at for at in heads if _heading(lines[at]) == f"[[{profile.name}]]"), None)
    line = f"{key} = {value}"
    if at is None:
        added = [*([""] if lines[-1] else []), "[profiles]", f"[[{profile.name}]]", line]
        new = [*lines, *added]
        command = f"printf '%s\\n' {join(added)} >>{PATH}"
    else:
        end = next((head for head in heads if head > at), len(lines))
        old = next((n for n in range(at, end) if re.match(rf"\s*{key}\s*=", lines[n])), None)
        if old is None:
            edit, new = _insert(lines, at, line)
        else:
            edit, new = _change(lines, old, line, value)
        command = f"sed -i {quote(edit)} {PATH}"
    try:
        former, profiles = (parse("\n".join(text)).profiles for text in (lines, new))
    except SftpJailError:
        return ""
    if key != "mounts":  # which the file may leave to setup
        said = [one.mounts for one in former if one.name == profile.name]
        wanted = replace(wanted, mounts=(said or [wanted.mounts])[0])
    others = [one for one in former if one.name != profile.name]
    good = wanted in profiles and [one for one in profiles if one != wanted] == others
    good = good and host.trusted_path(PATH) == PATH and len(value) < MOST
    if good:
        return command
    return ""


def _insert(lines: list[str], at: int, line: str) -> tuple[str, list[str]]:
    """Return the sed(1) command that puts a line below another, and what comes of it."""
    return f"{at + 1}a {_literal(line)}", [*lines[: at + 1], line, *lines[at + 1 :]]


def _change(lines: list[str], at: int, line: str, value: str) -> tuple[str, list[str]]:
    """Return the sed(1) command that adds to a list, or replaces a value, and what comes of it."""
    edit, changed = f"{at + 1}c {_literal(line)}", line
    if value.endswith(","):  # as lists have it
        if lines[at].rstrip().endswith(","):
            more = f" {value}"
        else:
            more = f", {value}"
        edit, changed = f"{at + 1}s|$|{_literal(more, '&|')}|", lines[at] + more
    return edit, [*lines[:at], changed, *lines[at + 1 :]]


def _literal(text: str, signs: str = "") -> str:
    """Return TEXT as sed(1) takes it literally; SIGNS are special beside the backslash."""
    return re.sub(rf"[\\{signs}]", r"\\\g<0>", text)


def _heading(line: str) -> str:
    return line.split("#")[0].replace(" ", "").strip()
