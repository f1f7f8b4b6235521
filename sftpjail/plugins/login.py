"""Whether sshd and PAM let an account in at all.

This plugin only reports: such restrictions are the administrator's to change. What is about one
account, or about the members of its group, can be fixed there. What is about everybody stays as it
is, and the profile gets a setting of its own; who was shut out by name or by a date was shut out on
purpose.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from shlex import quote

from .. import Account, Fact, Problem, hookimpl
from ..config import keyfile
from ..errors.escapes import Advice, Choice, look_at
from ..host import Host
from ..jails.closing import is_out
from ..model import Shadow, number
from ..openssh.match_blocks import DROPIN, ELSEWHERE
from ..openssh.pam_session import SCRIPT
from ..openssh.pam_stack import stack
from ..openssh.repair import basic, change_line, comment_out, except_for, match_line, take_back
from ..openssh.settings import Settings, effective

NOLOGIN = ("/etc/nologin", "/run/nologin")
DAY = 86400  # seconds
_CLOSED = "sshd refuses every login of it; whoever did that wanted it"
_OPEN = "to let it in again"
_FIRST = "s/[[:alpha:]]\\+[[:space:]=]*/&"  # a sed(1) command that inserts a word after the keyword


def _denied(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return which of AllowUsers, DenyUsers, AllowGroups and DenyGroups keeps an account out.

    The client's address is unknown, so a pattern with @HOST is ignored if it denies, and counts if
    it allows.
    """
    from ..openssh.patterns import any_matches  # late: useradd waits for everything else

    name, groups = account.name, host.groups_of(account.name)
    problems = []
    for called, names in (("DenyUsers", (name,)), ("DenyGroups", groups)):
        for pattern in found.words(called.lower()):
            if pattern != ELSEWHERE and any_matches(names, [pattern]):
                problems.append(_denied_by(pattern, called, account, found, host))
    allowed = [word.partition("@")[0] for word in found.words("allowusers")]
    if allowed and not any_matches((name,), allowed):
        place = found.origins.get("allowusers")
        fix = take_back(place, host)
        if place:
            fix = change_line(place, f"{_FIRST}{name} /", host)
        problems.append(_kept_out(f"AllowUsers without {name}", "allowusers", found, fix))
    patterns = found.words("allowgroups")
    if patterns and not any_matches(groups, patterns):
        fix = _let_in(account, found, host)
        problems.append(_kept_out("AllowGroups without its groups", "allowgroups", found, fix))
    return problems


def _denied_by(pattern: str, called: str, account: Account, found: Settings, host: Host) -> Problem:
    """Return the problem of a pattern in DenyUsers or DenyGroups.

    An account's own name stands there on purpose: nothing is wrong with its jail. The group of its
    profile is one of members alone. Any other pattern is about others too.
    """
    profile, keyword = account.profile, called.lower()
    if pattern == account.name and keyword == "denyusers":
        what = f"{account.name} is closed: {called} {pattern} ({found.where(keyword)})"
        choices = (Choice(_OPEN, _without(pattern, keyword, found, host)),)
        return Problem(what, _CLOSED, severity="advice", choices=choices, hides=True)
    if profile and pattern == profile.group and keyword == "denygroups":
        fix = _without(pattern, keyword, found, host)
        return _kept_out(f"{called} {pattern}", keyword, found, fix)
    advice = "it is about others too: take it out of that line when they are to log in as well"
    return _kept_out(f"{called} {pattern}", keyword, found, Advice(advice))


def _let_in(account: Account, found: Settings, host: Host) -> str:
    """Return the command, or advice, that adds the profile's group to AllowGroups."""
    if account.profile is None or not account.profile.group:
        where = found.where("allowgroups")
        return Advice(f"add a group of {account.name} to AllowGroups ({where})")
    place = found.origins.get("allowgroups")
    if place is None:
        return take_back(place, host)
    return change_line(place, f"{_FIRST}{account.profile.group} /", host)


def _kept_out(what: str, keyword: str, found: Settings, fix: str) -> Problem:
    what = f"{what} ({found.where(keyword)}) keeps it out"
    return Problem(what, "sshd refuses every login", fix)


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
    if keyword in found.given:
        return take_back(None, host)
    return look_at("sshd -T")


# Modules that ask for nothing but a password, or for nothing.
_PASSWORDS = frozenset(
    f"pam_{name}.so"
    for name in (
        *("unix", "deny", "permit", "env", "nologin", "faildelay", "faillock", "cap", "shells"),
        *("sss", "ldap", "winbind", "krb5", "systemd_home", "succeed_if", "listfile", "warn"),
        "localuser",
    )
)


def _can(method: str, host: Host, found: Settings) -> bool:
    """Return whether an account with a key but no password can complete a method.

    What else PAM may ask for, such as a code, is unknown.
    """
    if method.startswith("publickey"):
        return True
    if not method.startswith("keyboard-interactive") or found.get("usepam") != "yes":
        return False
    rules = stack(host, found.get("pamservicename") or "sshd")
    # Ours on a host with a directory service asks for nothing either.
    modules = {r.module for r in rules if r.kind == "auth" and SCRIPT not in r.arguments}
    return "pam_unix.so" not in modules or not modules <= _PASSWORDS


def _methods(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return why no session opens, or why the account's key is of no use."""
    if found.get("maxsessions") == "0" and found.is_set("maxsessions"):
        what = f"MaxSessions 0 ({found.where('maxsessions')}) allows no session"
        fix = _own_setting("MaxSessions 10", account, found, host)
        return [Problem(what, "SFTP is one", fix)]
    if not _needs_its_key(account, host, found):
        return []
    if found.get("pubkeyauthentication") == "no" and found.is_set("pubkeyauthentication"):
        what = f"PubkeyAuthentication no ({found.where('pubkeyauthentication')}) makes keys useless"
        fix = _own_setting("PubkeyAuthentication yes", account, found, host)
        return [Problem(what, "sshd takes no key at all", fix)]
    lists = [chain.split(",") for chain in found.words("authenticationmethods") if chain != "any"]
    able = any(all(_can(method, host, found) for method in chain) for chain in lists)
    if not lists or able or not found.is_set("authenticationmethods"):
        return []
    what = (
        f"AuthenticationMethods {found.get('authenticationmethods')} "
        f"({found.where('authenticationmethods')}) makes a key alone useless"
    )
    why = "every list of methods wants something that is not there: a password, say"
    profile = ""
    if account.profile:
        profile = account.profile.name
    choice = Choice(
        f"to let the members of profile {profile} in by a key alone",
        _own_setting("AuthenticationMethods publickey", account, found, host),
    )
    # It asks for less than the host does, so a person decides.
    return [Problem(what, why, choices=(choice,), advice="or give each what is missing")]


def _needs_its_key(account: Account, host: Host, found: Settings) -> bool:
    """Return whether an account has a key, and no password that sshd takes."""
    from ..jails.states import usable_password  # late: useradd waits for everything else

    path = keyfile(account.name)
    has_key = not host.is_dir(path) and bool(host.text(path).strip())
    return has_key and not usable_password(host.shadow(account.name), found)


def _own_setting(option: str, account: Account, found: Settings, host: Host) -> str:
    """Return the command that gives an account's profile a setting of its own, or advice.

    In a Match block of others above ours nothing of ours would beat the line there.
    """
    from ..openssh.profile_edit import set_option  # late: useradd waits for everything else

    if account.profile is None:
        return Advice(f"write `{option}` into a Match block for {account.name}")
    place = found.origins.get(option.split()[0].lower())
    if place and place[0] != DROPIN and match_line(place, host):
        return except_for([place], account, host)
    return set_option(account.profile, option, host)


def _aging(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return what shadow(5)'s dates forbid, by the rules of pam_unix (check_shadow_expiry)."""
    from ..jails.states import lacks_shadow  # late: useradd waits for everything else

    if not account.local:
        return []
    if lacks_shadow(account, host, found):
        what, command = f"{account.name} has no line in /etc/shadow", "usermod -p '*'"
        why = "PAM refuses every login of it"
        return [Problem(what, why, f"{command} {quote(account.name)}")]
    shadow, today = host.shadow(account.name), int(time.time() // DAY)
    expire = _day(shadow.expire)
    if 0 <= expire < today and host.origin(account.name).closed:
        return []  # done by us; see jails/closing.py
    if expire >= 0 and is_out(_date(expire), lambda: found.get("usepam") == "yes"):
        what = f"{account.name} is closed: it expired on {_date(expire)}"
        choices = (Choice(_OPEN, f"usermod -e '' {quote(account.name)}"),)
        return [Problem(what, _CLOSED, severity="advice", choices=choices, hides=True)]
    if found.get("usepam") == "yes":
        return _old_password(account, shadow, today)
    if not shadow.password.startswith("!"):
        return []
    return [_locked(account, shadow)]


def _old_password(account: Account, shadow: Shadow, today: int) -> list[Problem]:
    """Return that a password is to be changed, for which PAM closes logins by key as well."""
    changed, maximum, name = _day(shadow.changed), _day(shadow.maximum), quote(account.name)
    if changed == 0:
        what = f"{account.name} must change its password first (chage -d 0)"
        why = "there is no terminal to do it, so that PAM closes key logins too"
        return [Problem(what, why, f"chage -d $(date +%F) {name}")]
    if changed > 0 and maximum >= 0 and changed + maximum < today:
        since = _date(changed + maximum)
        what = f"the password of {account.name} is too old since {since} (chage -M {maximum})"
        return [Problem(what, "PAM closes key logins too", f"chage -M -1 {name}")]
    return []


def _locked(account: Account, shadow: Shadow) -> Problem:
    """Return the problem of a locked password, of which sshd without PAM takes no key either.

    `passwd -l` keeps the password behind the mark; an account without one has the mark alone.
    """
    what = f"the password of {account.name} is locked, and sshd runs with UsePAM no"
    why, name = "without PAM sshd takes a locked account for a closed one", quote(account.name)
    if not shadow.password.strip("!"):
        return Problem(what, why, f"usermod -p '*' {name}")
    return Problem(what, why, choices=(Choice(_OPEN, f"usermod -U {name}"),))


def _day(field: str) -> int:
    """Return a field of shadow(5) in days, or -1 if it is empty or not a number."""
    day = number(field)
    if day is None:
        return -1
    return day


def _date(day: int) -> str:
    """Return a day as of `_day` as a date, or "never"."""
    if day < 0:
        return "never"
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
        return [_other_shell(what, account, shells, host)]
    return []


def _other_shell(what: str, account: Account, shells: Collection[str], host: Host) -> Problem:
    """Return the problem of a shell that pam_shells(8) refuses.

    In /etc/shells it would be good for every account that has it and every service that asks; so
    the members get one that is there. ForceCommand leaves them SFTP all the same.
    """
    from ..openssh.profile_edit import set_shell  # late: useradd waits for everything else

    why, advice = "pam_shells refuses the login", f"give {account.name} a shell of /etc/shells"
    shell = next((shell for shell in ("/bin/sh", "/bin/bash") if shell in shells), "")
    if not shell or account.profile is None or not account.profile.shell:
        return Problem(what, why, advice=advice)
    command = set_shell(account.profile, shell, host)
    label = f"to give the members of profile {account.profile.name} {shell}"
    return Problem(what, why, choices=(Choice(label, command),))


def _nologin(host: Host) -> list[Problem]:
    why = "it closes the host to everybody but root: nologin(5)"
    there = [path for path in NOLOGIN if host.lstat(path) is not None]
    label = "to open the host to everybody again"
    return [
        Problem(f"{path} is there", why, choices=(Choice(label, f"rm {path}"),)) for path in there
    ]


def _no_way_in(account: Account, host: Host, found: Settings) -> list[Problem]:
    """Return the problem of having no password and no key, if sshd has no other key source."""
    from ..jails.states import OTHER_KEYS, has_password, usable_password

    path = keyfile(account.name)
    if host.is_dir(path):
        return []  # reported elsewhere
    lines = [
        line for line in host.text(path).split("\n") if line.strip() and not line.startswith("#")
    ]
    elsewhere = any(found.get(keyword) not in ("", "none") for keyword in OTHER_KEYS)
    elsewhere = elsewhere or found.words("authorizedkeysfile") != [f"{path.rpartition('/')[0]}/%u"]
    if lines or elsewhere or not account.local or usable_password(host.shadow(account.name), found):
        return []
    advice = f"give it a key: sftpjail key add {quote(account.name)} FILE"
    if has_password(host.shadow(account.name)):
        return [_password_refused(account, path, host, found, advice)]
    what = f"{account.name} has no key in {path} and no password"
    return [Problem(what, "nobody can log in", advice=advice)]


def _password_refused(
    account: Account, path: str, host: Host, found: Settings, advice: str
) -> Problem:
    """Return the problem of a password that sshd does not take, and no key."""
    from ..openssh.profile_edit import set_passwords  # late: useradd waits for everything else

    where = found.where("passwordauthentication")
    what = f"PasswordAuthentication no ({where}) makes the password of {account.name} useless"
    why = f"it has no key in {path}, so nobody can log in"
    place = found.origins.get("passwordauthentication")
    if account.profile is None or (place and place[0] != DROPIN and match_line(place, host)):
        return Problem(what, why, advice=advice)
    command = set_passwords(account.profile, host)
    if isinstance(command, Advice):
        return Problem(what, why, advice=f"{advice}; or {command}")
    label = f"to let the members of profile {account.profile.name} in by password"
    return Problem(what, why, choices=(Choice(label, command),), advice=f"or {advice}")


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    if account is None:
        return _nologin(host)
    if host.thorough or account.profile is None:
        sample = account.name
    else:
        sample = _sample(account, host)
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
    if account.profile.group:
        members = host.group_members(account.profile.group)
    else:
        members = ()
    if members:
        return members[0]
    return account.name


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
        kind = {"!": "locked", "*": "impossible", "": "empty"}.get(shadow.password[:1], "set")
        facts += [
            Fact("account", "password", kind),
            Fact("account", "expires", _date(_day(shadow.expire))),
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
