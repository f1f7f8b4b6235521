"""Whether sshd and PAM let an account in at all.

This plugin only reports: such restrictions are the administrator's to change.
"""

from __future__ import annotations

import re
import time
from fnmatch import fnmatchcase
from shlex import quote

from .. import Account, Fact, Problem, hookimpl
from ..config import keyfile
from ..escapes import Advice
from ..host import Host
from ..model import Shadow, number
from ..openssh.pam_stack import stack
from ..openssh.repair import basic, change_line, comment_out
from ..openssh.settings import Settings, effective

NOLOGIN = ("/etc/nologin", "/run/nologin")
DAY = 86400  # seconds
_FIRST = "s/[[:alpha:]]\\+[[:space:]=]*/&"  # a sed(1) command that inserts a word after the keyword
# Settings that give access other than by the account's key file.
OTHER_KEYS = ("authorizedkeyscommand", "trustedusercakeys")


def _denied(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return which of AllowUsers, DenyUsers, AllowGroups and DenyGroups keeps an account out.

    The client's address is unknown, so a pattern with @HOST is ignored if it denies, and counts if
    it allows.
    """
    name, groups = account.name, host.groups_of(account.name)
    problems = []
    for keyword, called, names in (
        ("denyusers", "DenyUsers", (name,)),
        ("denygroups", "DenyGroups", groups),
    ):
        for pattern in found.words(keyword):
            if any(fnmatchcase(one, pattern) for one in names):
                fix = _without(pattern, keyword, found, host)
                problems.append(_kept_out(f"{called} {pattern}", keyword, name, found, fix))
    allowed = [word.partition("@")[0] for word in found.words("allowusers")]
    if allowed and not any(fnmatchcase(name, pattern) for pattern in allowed):
        fix = change_line(found.origins["allowusers"], f"{_FIRST}{name} /", host)
        problems.append(_kept_out(f"AllowUsers without {name}", "allowusers", name, found, fix))
    patterns = found.words("allowgroups")
    if patterns and not any(
        fnmatchcase(group, pattern) for group in groups for pattern in patterns
    ):
        fix = _let_in(account, found, host)
        problems.append(
            _kept_out(f"AllowGroups without a group of {name}", "allowgroups", name, found, fix)
        )
    return problems


def _let_in(account: Account, found: Settings, host: Host) -> str:
    """Return the command, or advice, that adds the profile's group to AllowGroups."""
    if account.profile is None or not account.profile.group:
        where = found.where("allowgroups")
        return Advice(f"add a group of {account.name} to AllowGroups ({where})")
    edit = f"{_FIRST}{account.profile.group} /"
    return change_line(found.origins["allowgroups"], edit, host)


def _kept_out(what: str, keyword: str, name: str, found: Settings, fix: str) -> Problem:
    what = f"{what} ({found.where(keyword)}) keeps {name} out"
    return Problem(what, "sshd refuses every login of the account", fix)


def _without(pattern: str, keyword: str, found: Settings, host: Host) -> str:
    """Return the command that removes a word from a list.

    If it is the only word, the line goes too, since an empty list is an error.
    """
    for place in found.places.get(keyword, ()):
        line = host.text(place[0]).split("\n")[place[1] - 1].split("#")[0].strip()
        words = [word.strip('"') for word in re.split(r"[\s=]+", line)][1:]
        if words == [pattern]:
            return comment_out([place], host)
        if pattern in words:
            end = "\\([[:space:]]\\|$\\)"
            return change_line(place, f's/[[:space:]=]"\\?{basic(pattern)}"\\?{end}/ \\1/', host)
    return "sshd -T"


def _usable_password(shadow: Shadow, found: Settings) -> bool:
    return shadow.password[:1] not in ("", "!", "*", "x") and "yes" in (
        found.get("passwordauthentication"),
        found.get("kbdinteractiveauthentication"),
    )


def _can(method: str, found: Settings) -> bool:
    """Return whether an account with a key but no password can complete a method.

    What PAM will ask for is unknown.
    """
    return method.startswith("publickey") or (
        method.startswith("keyboard-interactive") and found.get("usepam") == "yes"
    )


def _methods(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return why no session opens, or why the account's key is of no use."""
    if found.get("maxsessions") == "0" and "maxsessions" in found.origins:
        what = f"MaxSessions 0 ({found.where('maxsessions')}) allows {account.name} no session"
        return [Problem(what, "SFTP is one", comment_out([found.origins["maxsessions"]], host))]
    path = keyfile(account.name)
    if (
        host.is_dir(path)
        or not host.text(path).strip()
        or _usable_password(host.shadow(account.name), found)
    ):
        return []
    lists = [chain.split(",") for chain in found.words("authenticationmethods") if chain != "any"]
    if found.get("pubkeyauthentication") == "no":
        keyword, why = "pubkeyauthentication", "sshd takes no key at all"
    elif lists and not any(all(_can(method, found) for method in chain) for chain in lists):
        keyword, why = (
            "authenticationmethods",
            "every list of methods wants something that it has not: a password, say",
        )
    else:
        return []
    if keyword not in found.origins:
        return []
    what = (
        f"{keyword} {found.get(keyword)} ({found.where(keyword)}) "
        f"makes the keys of {account.name} useless"
    )
    return [Problem(what, why, comment_out([found.origins[keyword]], host))]


def _aging(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return what shadow(5)'s dates forbid, by the rules of pam_unix (check_shadow_expiry)."""
    if not account.local:
        return []
    shadow, today, name = host.shadow(account.name), int(time.time() // DAY), quote(account.name)
    changed, maximum, expire = map(_day, (shadow.changed, shadow.maximum, shadow.expire))
    if 0 <= expire < today and host.origin(account.name).closed:
        return []  # done by us; see jails/closing.py
    what = why = fix = ""
    if 0 <= expire < today:
        what = f"the account {account.name} expired on {_date(expire)}"
        why, fix = "sshd refuses every login of it", f"usermod -e '' {name}"
    elif found.get("usepam") != "yes":
        if shadow.password.startswith("!"):
            what = f"the password of {account.name} is locked, and sshd runs with UsePAM no"
            why = "without PAM sshd takes a locked account for a closed one"
            fix = f"usermod -p '*' {name}"
    elif changed == 0:
        what = f"{account.name} must change its password first (chage -d 0)"
        why = "there is no terminal to do it, so that PAM closes key logins too"
        fix = f"chage -d $(date +%F) {name}"
    elif changed > 0 and maximum >= 0 and changed + maximum < today:
        since = _date(changed + maximum)
        what = f"the password of {account.name} is too old since {since} (chage -M {maximum})"
        why, fix = "PAM closes key logins too", f"chage -M -1 {name}"
    return [Problem(what, why, fix)] if what else []


def _day(field: str) -> int:
    """Return a field of shadow(5) in days, or -1 if it is empty or not a number."""
    day = number(field)
    return -1 if day is None else day


def _date(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY))


def _pam(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return why sshd's PAM stack rejects an account. Only pam_shells is checked."""
    if found.get("usepam") != "yes":
        return []
    modules = {rule.module: rule for rule in stack(host, found.get("pamservicename") or "sshd")}
    rule = modules.get("pam_shells.so")
    shells = {line.strip() for line in host.text("/etc/shells").split("\n")}
    if rule and account.shell not in shells:
        what = (
            f"the shell {account.shell or '/bin/sh'} of {account.name} is not in /etc/shells, "
            f"and {rule.where} asks"
        )
        return [
            Problem(
                what, "pam_shells refuses the login", f"echo {quote(account.shell)} >>/etc/shells"
            )
        ]
    return []


def _nologin(host: Host) -> list[Problem]:
    return [
        Problem(
            f"{path} is there", "it closes the host to everybody but root: nologin(5)", f"rm {path}"
        )
        for path in NOLOGIN
        if host.lstat(path) is not None
    ]


def _no_way_in(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return the problem of having no password and no key, if sshd has no other key source."""
    path = keyfile(account.name)
    if host.is_dir(path):
        return []  # reported elsewhere
    lines = [
        line for line in host.text(path).split("\n") if line.strip() and not line.startswith("#")
    ]
    elsewhere = any(found.get(keyword) not in ("", "none") for keyword in OTHER_KEYS)
    elsewhere = elsewhere or found.words("authorizedkeysfile") != [f"{path.rpartition('/')[0]}/%u"]
    if (
        lines
        or elsewhere
        or not account.local
        or _usable_password(host.shadow(account.name), found)
    ):
        return []
    what = f"{account.name} has no key in {path} and no password"
    advice = f"give it a key: sftpjail key add {quote(account.name)} FILE"
    return [Problem(what, "nobody can log in", advice=advice)]


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    if account is None:
        return _nologin(host)
    sample = account.name if host.thorough or account.profile is None else _sample(account, host)
    found = effective(host, sample)
    return [
        *_denied(account, host, found),
        *_methods(account, host, found),
        *_aging(account, host, found),
        *_pam(account, host, found),
        *_no_way_in(account, host, found),
    ]


def _sample(account: Account, host: Host) -> str:
    """Return an account to represent its profile, if asking for each would take too long."""
    assert account.profile is not None
    members = host.group_members(account.profile.group) if account.profile.group else ()
    return members[0] if members else account.name


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    shadow = host.shadow(account.name)
    found = effective(host, account.name)
    groups = ", ".join(host.groups_of(account.name))
    facts = [
        Fact("account", "uid, groups", f"{account.uid}, {groups}"),
        Fact("account", "home", account.home),
        Fact("account", "shell", account.shell or "none"),
        Fact("account", "source", "/etc/passwd" if account.local else "name service"),
    ]
    if account.local:
        expires = number(shadow.expire)
        kind = {"!": "locked", "*": "impossible", "": "empty"}.get(shadow.password[:1], "set")
        facts += [
            Fact("account", "password", kind),
            Fact("account", "expires", "never" if expires is None else _date(expires)),
        ]
    if found.get("usepam") == "yes":
        service = found.get("pamservicename") or "sshd"
        modules = dict.fromkeys(
            rule.module for rule in stack(host, service) if rule.kind in ("account", "auth")
        )
        facts.append(
            Fact("account", f"PAM, {service}", ", ".join(m.removesuffix(".so") for m in modules))
        )
    return facts
