"""Whether PAM's account rules let an account in: pam_access(8), pam_shells(8) and the like.

sshd asks PAM at each login (auth-pam.c, do_pam_account). We ask PAM too, instead of interpreting
its rules.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from shlex import quote

from ..errors import SftpJailError
from ..errors.escapes import some
from ..host import Host
from ..model import Account, Fact, Problem, number
from .pam_stack import stack
from .settings import effective

PROGRAM = str(Path(__file__).parents[1] / "system" / "pam_account.py")
LOOPBACK = "127.0.0.1"
# What shadow(5) decides, which is judged by itself: PAM_NEW_AUTHTOK_REQD and PAM_ACCT_EXPIRED.
_OF_SHADOW = (12, 13)
_LIMITS, _LIMITS_DIR = "/etc/security/limits.conf", "/etc/security/limits.d"
_COUNTS = re.compile(r"\s*[^#\s]\S*\s+(?:hard|soft|-)\s+max(?:sys)?logins\s")


def account_rules(account: Account, host: Host, address: str) -> tuple[list[Fact], list[Problem]]:
    """Ask PAM whether an account may log in, as sshd will.

    This may have an effect: pam_faillock(8) resets the failures of an account that may log in.

    Args:
        account: one that exists here.
        host: the facts.
        address: the client's.

    Returns:
        What the rules say, and the problem, if this is one.
    """
    try:
        found = effective(host, account.name)
    except SftpJailError:  # a problem by itself, which others report
        return [Fact("session", "PAM", "unknown", "sshd refuses its configuration", bad=True)], []
    if found.get("usepam") != "yes":
        return [Fact("session", "PAM", "sshd does not use it", found.where("usepam"))], []
    service = found.get("pamservicename") or "sshd"
    facts, problems = _asked(account, service, host, address)
    return [*facts, *_of_session(account, service, host)], problems


def _asked(
    account: Account, service: str, host: Host, address: str
) -> tuple[list[Fact], list[Problem]]:
    """Return what the account rules of a PAM service say, as `account_rules`."""
    try:
        answer = host.ask([sys.executable, "-I", "-S", PROGRAM, service, account.name, address])
    except SftpJailError as error:  # a module that waits for ever
        return [Fact("session", "PAM", "unknown", error.message, bad=True)], []
    code, _, words = answer.out.strip().partition(" ")
    if answer.failed or number(code) is None:
        return [Fact("session", "PAM", "unknown", answer.words, bad=True)], []
    note = f"account rules of {service}, from {address}"
    if number(code) == 0:
        return [Fact("session", "PAM", "lets it in", note)], []
    facts = [Fact("session", "PAM", words, note, bad=True)]
    if number(code) in _OF_SHADOW:
        return facts, []
    rules = ", ".join(
        f"{rule.module} ({rule.where})" for rule in stack(host, service) if rule.kind == "account"
    )
    return facts, [
        Problem(
            f"PAM does not let {account.name} in from {address}: {words}",
            f"sshd asks the account rules of {service} at each login",
            advice=f"one of these rules decides this: {rules}",
            about=account.name,
        )
    ]


def _of_session(account: Account, service: str, host: Host) -> list[Fact]:
    """Return that something counts logins, whose result is unknown before there is a session."""
    found = []
    for rule in stack(host, service):
        if (rule.kind, rule.module) == ("session", "pam_limits.so"):
            given = (one.removeprefix("conf=") for one in rule.arguments if one.startswith("conf="))
            found += _counted(next(given, ""), host)
    if not found:
        return []
    note = f"{some(found, 3)}; ask by sftpjail test --live {quote(account.name)}"
    return [Fact("session", "PAM, logins at once", "unknown before a login", note)]


def _counted(conf: str, host: Host) -> list[str]:
    """Return the lines of limits.conf(5) that limit logins of anybody, each as FILE:LINE."""
    names = sorted(name for name in host.listdir(_LIMITS_DIR) if name.endswith(".conf"))
    if conf:
        paths = [conf]
    else:
        paths = [_LIMITS, *(f"{_LIMITS_DIR}/{name}" for name in names)]
    return [
        f"{path}:{number}"
        for path in paths
        for number, line in enumerate(host.text(path).split("\n"), 1)
        if _COUNTS.match(line)
    ]
