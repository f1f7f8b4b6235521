"""How an account is shut out and let in again, without editing sshd's configuration.

An account with a line in shadow(5) is expired. This blocks keys, passwords and certificates:
pam_unix enforces it with UsePAM, and sshd itself without (auth.c, allowed_user). Any other
account is put on a list. `setup` writes a PAM rule that reads the list, at the top of sshd's
stack. If sshd runs with "UsePAM no" or uses another PAM service (PAMServiceName), setup and apply
write a Match block instead.

The account's record has the reason, the command, and the previous expiry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING

from ..errors import SftpJailError
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Account, Closed, components, normal, number
from ..openssh.pam_session import CLOSED, denied
from ..openssh.pam_stack import is_asked
from ..openssh.settings import effective
from ..paths import HOST_RECORD
from .guards import administrator, is_namesake, why_not
from .homes import home_problem
from .membership import is_valid, lost

if TYPE_CHECKING:
    from ..actions import Action

DAY = 86400  # seconds
EXPIRED = "1"  # 2 January 1970; shadow(5) advises against 0
JAIL = "jail"  # a value of Closed.until
DISABLE = "disable"  # a value of Closed.by: at an administrator's request
SSHD = "/etc/pam.d/sshd"


def why_spared(account: Account, host: Host) -> str:
    """Return why an account must not be shut out, or "".

    Root and the invoking user are exempt even if their jail was forced.
    """
    if account.uid == 0 or (account.exists and account.name in host.invoker):
        return administrator(account, host)
    return why_not(account, host)


def _is_past(expire: str) -> bool:
    """Return whether a shadow(5) expiry date has passed for pam_unix and for sshd; see `is_out`."""
    day = number(expire)
    return day is not None and day < time.time() // DAY


def _listed(host: Host) -> Collection[str]:
    """Return the names currently on the list."""
    return host.tagged(CLOSED, Style.LINE)


def is_shut(account: Account, host: Host) -> bool:
    """Return whether an account is expired or on the list, for whatever reason."""
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
    return f"it expired on {date_of(host.expiry(account.name))}"


def is_disabled(account: Account, host: Host) -> bool:
    """Return whether `disable` shuts an account out."""
    closed = host.origin(account.name).closed
    return closed is not None and closed.by == DISABLE and is_shut(account, host)


def today() -> str:
    """Return the date in UTC, as shadow(5) counts days."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time()))


def is_out(date: str, uses_pam: Callable[[], bool]) -> bool:
    """Return whether an account with an expiry date is shut out today.

    On the day itself pam_unix refuses it (check_shadow_expiry), and sshd without PAM lets it in
    (auth-shadow.c).

    Args:
        date: the expiry date (YYYY-MM-DD), or "" for none.
        uses_pam: whether sshd asks PAM about the account; called on the day alone.
    """
    now = today()
    return date != "" and (date < now or (date == now and uses_pam()))


def uses_pam(host: Host) -> bool:
    """Return whether sshd asks PAM, or would if its configuration were valid."""
    try:
        return effective(host, "root").get("usepam") == "yes"
    except SftpJailError:
        return True


def _is_over(closed: Closed) -> bool:
    """Return whether a plan that can make the jail of a closed account lets the account in."""
    return closed.until == JAIL or (closed.until != "" and closed.until <= today())


def period(closed: Closed) -> str:
    """Return a phrase that says since when and until when an account is shut out, or ""."""
    words = []
    if closed.since:
        words = [f"since {closed.since}"]
    if closed.until not in ("", JAIL):
        words.append(f"until {closed.until}")
    return " ".join(words)


def former_expiry(account: Account, host: Host) -> str | None:
    """Return an account's expiry before it was shut out, or None if that date has passed."""
    now = host.expiry(account.name)
    closed = None
    if is_shut(account, host):
        closed = host.origin(account.name).closed
    if closed is not None:
        return closed.expire
    if host.people.has_shadow(account.name) and not _is_past(now):
        return now
    return None


def close(account: Account, why: str, by: str, host: Host, until: str = JAIL) -> list[Action]:
    """Return the actions that shut an account out, ahead of all others in the plan.

    Protected accounts (see `spared`) yield none. An expiry date that has passed is kept, and so is
    a closure that is permanent or until a later date.

    Args:
        account: the account.
        why, by, until: see `model.Closed`.
        host: the facts.

    Raises:
        SftpJailError: it has no line in shadow(5), and nothing reads the list yet.
    """
    if why_spared(account, host):
        return []
    kept = None
    if is_shut(account, host):
        kept = host.origin(account.name).closed
    if kept is not None and not _is_over(kept) and (kept.until == "" or until == JAIL):
        return []
    if kept is not None and (kept.why, kept.until) == (why, until):
        by = kept.by
    return _shut_out(account, Closed(why, by, until, former_expiry(account, host)), host)


def disable(account: Account, why: str, until: str, host: Host) -> list[Action]:
    """Return the actions that shut an account out at an administrator's request.

    Args:
        account: the account, with its profile.
        why: the reason in words; "" keeps the present one.
        until: the date (YYYY-MM-DD) from which it is let in again; "" means only by `enable`.
        host: the facts.

    Raises:
        SftpJailError: it may not be shut out, or as `close`.
    """
    reserved = why_spared(account, host)
    if reserved:
        raise SftpJailError(f"{account.name} is not shut out: {reserved}")
    closed = None
    if is_disabled(account, host):
        closed = host.origin(account.name).closed
    why = why or (closed.why if closed else "an administrator has disabled it")
    since = closed.since if closed else today()
    former = former_expiry(account, host)
    return _shut_out(account, Closed(why, DISABLE, until, former, since), host)


def expire(account: Account, date: str, host: Host) -> list[Action]:
    """Return the action that sets the expiry date of an account.

    If it is shut out now, the date is set when it is let in again.

    Args:
        account: the account, with its profile.
        date: the day (YYYY-MM-DD) from which it is shut out, as of shadow(5); "" for no end.
        host: the facts.

    Raises:
        SftpJailError: it may not be shut out, or has no line in shadow(5).
    """
    from ..actions import CloseAccount, SetExpiry  # late: list needs no actions

    name, reserved = account.name, why_spared(account, host)
    if reserved and date:
        raise SftpJailError(f"{name} does not expire: {reserved}")
    if not host.people.has_shadow(name):
        advice = f"give it an expiry where it comes from; or run sftpjail disable {quote(name)}"
        raise SftpJailError(f"{name} has no line in /etc/shadow to expire by", advice=advice)
    days = ""
    if date:
        days = days_of(date)
    closed = host.origin(name).closed
    if closed is None or not is_shut(account, host):
        return [SetExpiry(name, expire=days)]
    # It may have been shut out by an expiry date that has passed.
    now = None
    if host.expiry(name) != EXPIRED:
        now = EXPIRED
    return [CloseAccount(name, expire=now, closed=replace(closed, expire=days))]


def expiry(account: Account, host: Host) -> str:
    """Return the expiry date (YYYY-MM-DD) of an account, or the one it gets when let in, or ""."""
    closed, now = host.origin(account.name).closed, host.expiry(account.name)
    ours = closed is not None and closed.expire is not None and now == EXPIRED
    return date_of(closed.expire or "" if closed and ours else now)


def known_expiry(account: Account, host: Host) -> str:
    """Return the same, "" where the account's record is damaged, as its state says."""
    try:
        return expiry(account, host)
    except SftpJailError:
        return ""


def date_of(days: str) -> str:
    """Return an expiry date of shadow(5) as YYYY-MM-DD, or "" for none."""
    day = number(days)
    if day is None:
        return ""
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY))


def days_of(date: str) -> str:
    """Return a date YYYY-MM-DD in the form of shadow(5), the reverse of `date_of`."""
    from datetime import date as calendar  # late: no hook of useradd needs it

    return str((calendar.fromisoformat(date) - calendar(1970, 1, 1)).days)


def _shut_out(account: Account, closed: Closed, host: Host) -> list[Action]:
    """Return the actions of `close` and `disable`."""
    from ..actions import CloseAccount, Phase, SetLines  # late: list needs no actions

    name = account.name
    expirable = host.people.has_shadow(name)
    expire = None if not expirable or _is_past(host.expiry(name)) else EXPIRED
    actions: list[Action] = [CloseAccount(name, expire=expire, closed=closed)]
    if expirable:
        return actions
    if not _is_read(host):
        raise SftpJailError(
            f"{name} cannot be shut out: sshd and PAM do not read {CLOSED}", "sftpjail setup"
        )
    return [*actions, SetLines(CLOSED, name, (name,), Style.LINE, when=Phase.CLOSING)]


def reopen(account: Account, host: Host, whoever: bool = False) -> list[Action]:
    """Return the actions that let an account in again, after all others in the plan.

    An expiry date that was set in the meantime is kept. If somebody else has let the account in,
    the record loses what no longer holds, so that a later closure of theirs is not taken for ours.

    Args:
        account: an account that we shut out.
        host: the facts.
        whoever: also let in an account that was shut out permanently or until a later date.
    """
    from ..actions import OpenAccount  # late: list needs no actions

    name, closed = account.name, host.origin(account.name).closed
    if closed is None or not (whoever or _is_over(closed) or not is_shut(account, host)):
        return []
    expire = closed.expire if host.expiry(name) == EXPIRED else None
    return [OpenAccount(name, expire=expire), *forget(name, host)]


def forget(name: str, host: Host) -> list[Action]:
    """Return the action that removes a name from the list."""
    from ..actions import Phase, SetLines  # late: list needs no actions

    if name not in _listed(host):
        return []
    return [SetLines(CLOSED, name, (), Style.LINE, when=Phase.OPENING)]


def lets_in(account: Account, host: Host) -> bool:
    """Return whether sshd would admit an account whose jail cannot be made.

    sshd refuses a chroot that is missing, or that others than root can change. It therefore admits
    the account to a valid chroot that is not its own: with `chroot = %h`, a home that belongs to
    the system or to another user; or the jail of another uid. It also admits an account without a
    jail to which no Match block applies. An account that has a jail keeps it, unless its group has
    another name now.

    Args:
        account: with its profile.
        host: the facts.

    Raises:
        SftpJailError: a record is damaged, or sshd refuses its configuration.
    """
    profile = account.profile
    if profile is None or not account.exists or not _is_component(account.name):
        return False
    if is_namesake(account, host):
        return True
    if host.lstat(HOST_RECORD) is None:
        return False  # this host is not set up, so nobody expects a jail
    if lost(account, host):
        return True
    if host.preparing:
        chroot = profile.chroot
    else:
        chroot = effective(host, account.name).get("chrootdirectory")
    if chroot in ("", "none"):
        origin = host.origin(account.name)
        return not origin.is_of_jail or origin.closed is not None
    return admits(account, chroot, host)


def admits(account: Account, chroot: str, host: Host) -> bool:
    """Return whether sshd accepts a chroot that is the account's home and must not be a jail.

    Args:
        account: with its profile.
        chroot: sshd's ChrootDirectory, before %h and %u are replaced.
        host: the facts.
    """
    if chroot != "%h" or not home_problem(account, host.realpath(account.home), host):
        return False
    return not any(
        host.stat(part) is None or host.flaw(part) for part in components(normal(account.home))
    )


def _is_component(name: str) -> bool:
    """Return whether a record can have this name. winbind has names such as "CORP/bob"."""
    return "/" not in name and name not in (".", "..")


def _is_read(host: Host) -> bool:
    """Return whether the list takes effect, now or once the current plan is carried out."""
    return host.preparing or (denied(CLOSED) in host.text(SSHD).split("\n") and is_asked(host))


def on_list(host: Host) -> list[str]:
    """Return the names on the list, as of the current plan."""
    if host.listed is None:
        names = _listed(host)
    else:
        names = host.listed
    return sorted(name for name in names if is_valid(name))


def needs_rule(host: Host) -> bool:
    """Return whether PAM must read the list, because accounts may lack a line in shadow(5)."""
    return host.people.has_nonlocal_accounts or bool(on_list(host))


def match_block(host: Host) -> list[str]:
    """Return the Match block that denies the listed accounts if PAM does not read the list."""
    names = on_list(host)
    if names and not is_asked(host):
        return [f"Match User {','.join(names)}", "    DenyUsers *"]
    return []


def list_with(account: Account, host: Host, *, shut: bool) -> frozenset[str] | None:
    """Return the list with or without one account, if sshd's configuration contains it; else None.

    It does if sshd does not use the PAM service sshd and the account has no line in shadow(5).
    """
    if host.people.has_shadow(account.name) or is_asked(host):
        return None
    names = frozenset(_listed(host))
    if shut:
        return names | {account.name}
    return names - {account.name}


def own_expiry(account: Account, host: Host) -> str:
    """Return the date on which an account has expired without our doing, or ""."""
    date = expiry(account, host)
    if is_out(date, lambda: uses_pam(host)):
        return date
    return ""


def list_after(
    opened: Iterable[Account], closed: Iterable[Account], host: Host
) -> frozenset[str] | None:
    """Return the list after some accounts are let in and others shut out; None if unchanged."""
    now = frozenset(_listed(host))
    off = {account.name for account in opened if account.name in now and reopen(account, host)}
    on = {account.name for account in closed if not host.people.has_shadow(account.name)}
    after = (now - off) | on
    if after == now:
        return None
    return after
