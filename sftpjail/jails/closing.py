"""How an account is shut out and let in again, without editing sshd's configuration.

An account with a line in shadow(5) is expired. This blocks keys, passwords and certificates:
pam_unix enforces it with UsePAM, and sshd itself without (auth.c, allowed_user). Any other
account is put on a list. `setup` writes a PAM rule that reads the list, at the top of sshd's
stack. Where sshd runs with "UsePAM no", setup and apply write a Match block instead.

The account's record has the reason, the command, and the previous expiry.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from ..actions import Action, CloseAccount, OpenAccount, Phase, SetLines
from ..errors import SftpJailError
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Account, Closed, components, normal, number
from ..openssh.pam_session import CLOSED, denied
from ..openssh.settings import effective
from ..paths import HOST_RECORD
from .guards import administrator, home_flaw, is_namesake, why_not
from .membership import is_valid

DAY = 86400  # seconds
EXPIRED = "1"  # 2 January 1970; shadow(5) advises against 0
JAIL = "jail"  # a value of Closed.until
SSHD = "/etc/pam.d/sshd"


def spared(account: Account, host: Host) -> str:
    """Return why an account must not be shut out, or "".

    Root and the invoking user are exempt even if their jail was forced.
    """
    if account.uid == 0 or (account.exists and account.name in host.invoker):
        return administrator(account, host)
    return why_not(account, host)


def _is_past(expire: str) -> bool:
    """Return whether a shadow(5) expiry date has passed, by the rule of pam_unix and sshd."""
    day = number(expire)
    return day is not None and day < time.time() // DAY


def _listed(host: Host) -> Collection[str]:
    """Return the names currently on the list."""
    return host.tagged(CLOSED, Style.LINE)


def is_shut(account: Account, host: Host) -> bool:
    """Return whether an account is expired or on the list, whoever did it."""
    return account.name in _listed(host) or _is_past(host.expiry(account.name))


def reason(account: Account, host: Host) -> str:
    """Return why an account is shut out, or "" if it is not."""
    if not is_shut(account, host):
        return ""
    closed = host.origin(account.name).closed
    if closed is not None:
        return closed.why
    if account.name in _listed(host):
        return f"its name is in {CLOSED}"
    day = number(host.expiry(account.name)) or 0
    return f"it expired on {time.strftime('%Y-%m-%d', time.gmtime(day * DAY))}"


def former_expiry(account: Account, host: Host) -> str | None:
    """Return an account's expiry before it was shut out, or None if that date has passed."""
    now = host.expiry(account.name)
    closed = host.origin(account.name).closed if is_shut(account, host) else None
    if closed is not None:
        return closed.expire
    return now if host.people.has_shadow(account.name) and not _is_past(now) else None


def close(account: Account, why: str, by: str, host: Host, until: str = JAIL) -> list[Action]:
    """Return the actions that shut an account out, ahead of all others in the plan.

    Protected accounts (see `spared`) yield none. An expiry that has passed is kept, and so is a
    permanent closure.

    Args:
        account: the account.
        why, by, until: see `model.Closed`.
        host: the facts.

    Raises:
        SftpJailError: it has no line in shadow(5), and nothing reads the list yet.
    """
    if spared(account, host):
        return []
    name, now = account.name, host.expiry(account.name)
    kept = host.origin(name).closed if is_shut(account, host) else None
    if kept is not None and kept.until == "":
        return []
    expirable = host.people.has_shadow(name)
    former = former_expiry(account, host)
    if kept is not None and (kept.why, kept.until) == (why, until):
        by = kept.by
    expire = None if not expirable or _is_past(now) else EXPIRED
    actions: list[Action] = [
        CloseAccount(name, expire=expire, closed=Closed(why, by, until, former))
    ]
    if expirable:
        return actions
    if not _is_read(host):
        raise SftpJailError(
            f"{name} cannot be shut out: sshd and PAM do not read {CLOSED}", "sftpjail setup"
        )
    return [*actions, SetLines(CLOSED, name, (name,), Style.LINE, when=Phase.CLOSING)]


def reopen(account: Account, host: Host, whoever: bool = False) -> list[Action]:
    """Return the actions that let an account in again, after all others in the plan.

    An expiry that was set in the meantime is kept.

    Args:
        account: an account that we shut out.
        host: the facts.
        whoever: include an account that was shut out permanently.
    """
    name, closed = account.name, host.origin(account.name).closed
    if closed is None or (closed.until != JAIL and not whoever):
        return []
    expire = closed.expire if host.expiry(name) == EXPIRED else None
    return [OpenAccount(name, expire=expire), *forget(name, host)]


def forget(name: str, host: Host) -> list[Action]:
    """Return the action that takes a name off the list."""
    return (
        [SetLines(CLOSED, name, (), Style.LINE, when=Phase.OPENING)]
        if name in _listed(host)
        else []
    )


def lets_in(account: Account, host: Host) -> bool:
    """Return whether sshd would admit an account whose jail cannot be made.

    sshd refuses a chroot that is missing, or that others than root can change. It therefore admits
    the account to a valid chroot that is not its own: with `chroot = %h`, a home that belongs to
    the system or to somebody else; or the jail of another uid. It also admits an account without
    a jail for which no Match block applies. An account that has a jail keeps it.

    Args:
        account: with its profile.
        host: the facts.

    Raises:
        SftpJailError: a record is damaged, or sshd refuses its configuration.
    """
    profile = account.profile
    if profile is None or not account.exists:
        return False
    if is_namesake(account, host):
        return True
    if host.lstat(HOST_RECORD) is None:
        return False  # nobody has been promised a jail on this host
    chroot = (
        profile.chroot if host.preparing else effective(host, account.name).get("chrootdirectory")
    )
    if chroot in ("", "none"):
        return (
            account.name not in host.records.recorded()
            or host.origin(account.name).closed is not None
        )
    if (
        chroot != "%h"
        or _is_own(account, host)
        or not home_flaw(account, host.realpath(account.home), host)
    ):
        return False
    return not any(
        host.stat(part) is None or host.flaw(part) for part in components(normal(account.home))
    )


def _is_own(account: Account, host: Host) -> bool:
    """Return whether a home is already the account's jail.

    If so, it remains one, whoever else lives there by now.
    """
    origin, files = host.origin(account.name), host.lstat(account.files)
    recorded = host.realpath(account.home) in (*origin.made, *origin.owners)
    return recorded or (files is not None and files.st_uid == account.uid)


def _uses_pam(host: Host) -> bool:
    return effective(host, "root").get("usepam") == "yes"


def _is_read(host: Host) -> bool:
    """Return whether the list takes effect, now or once the current plan is carried out."""
    return host.preparing or (denied(CLOSED) in host.text(SSHD).split("\n") and _uses_pam(host))


def on_list(host: Host) -> list[str]:
    """Return the names on the list, as of the current plan."""
    names = _listed(host) if host.listed is None else host.listed
    return sorted(name for name in names if is_valid(name))


def needs_rule(host: Host) -> bool:
    """Return whether PAM must read the list, because accounts may lack a line in shadow(5)."""
    return host.people.has_strangers or bool(on_list(host))


def match_block(host: Host) -> list[str]:
    """Return the Match block that denies the listed accounts where sshd does not use PAM."""
    names = on_list(host)
    return (
        [f"Match User {','.join(names)}", "    DenyUsers *"]
        if names and not _uses_pam(host)
        else []
    )


def list_after(
    opened: Iterable[Account], closed: Iterable[Account], host: Host
) -> frozenset[str] | None:
    """Return the list after some accounts are let in and others shut out; None if unchanged."""
    now = frozenset(_listed(host))
    off = {account.name for account in opened if account.name in now and reopen(account, host)}
    on = {account.name for account in closed if not host.people.has_shadow(account.name)}
    after = (now - off) | on
    return None if after == now else after
