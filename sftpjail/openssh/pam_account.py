"""Whether PAM's account rules let an account in: pam_access(8), pam_shells(8) and the like.

sshd asks them at each login (auth-pam.c, do_pam_account), and so do we: PAM itself, and no reader
of ours of its rules.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import SftpJailError
from ..host import Host
from ..model import Account, Fact, Problem, number
from .pam_stack import stack
from .settings import effective

PROGRAM = str(Path(__file__).parents[1] / "system" / "pam_account.py")
LOOPBACK = "127.0.0.1"
# What shadow(5) decides, which is judged by itself: PAM_NEW_AUTHTOK_REQD and PAM_ACCT_EXPIRED.
_OF_SHADOW = (12, 13)


def account_rules(account: Account, host: Host, address: str) -> tuple[list[Fact], list[Problem]]:
    """Ask PAM whether an account may log in, as sshd will.

    A rule may note that it was asked: pam_faillock(8) forgets the failures of who may.

    Args:
        account: that exists here.
        host: the facts.
        address: the client's.

    Returns:
        What they say, and the problem that it is, if it is one.
    """
    try:
        found = effective(host, account.name)
    except SftpJailError:  # a problem by itself, which others report
        return [Fact("session", "PAM", "unknown", "sshd refuses its configuration", bad=True)], []
    if found.get("usepam") != "yes":
        return [Fact("session", "PAM", "sshd does not use it", found.where("usepam"))], []
    service = found.get("pamservicename") or "sshd"
    try:
        answer = host.ask([sys.executable, "-I", "-S", PROGRAM, service, account.name, address])
    except SftpJailError as error:  # a module that waits for ever
        return [Fact("session", "PAM", "unknown", error.message, bad=True)], []
    code, _, words = answer.out.strip().partition(" ")
    if answer.code != 0 or number(code) is None:
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
            advice=f"one of these rules decides so: {rules}",
            about=account.name,
        )
    ]
