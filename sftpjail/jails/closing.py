"""One way to shut an account out, and to let it in again. It never edits sshd's configuration.

An account with a line in shadow(5) is expired: that closes keys, passwords and certificates,
with UsePAM by pam_unix's account rule, without by sshd itself (auth.c, allowed_user). Any
other's name is put on a list, which a rule of PAM's reads that `setup` has written, first in
sshd's stack. Only where sshd runs with UsePAM no is that list a Match block, which setup and
apply write, and no hook does.

Why, and by which command, stands in the account's record, with the expiry that it had before.
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
EXPIRED = "1"  # the second day of 1970; shadow(5) warns of 0
JAIL = "jail"  # of Closed.until
SSHD = "/etc/pam.d/sshd"


def spared(account: Account, host: Host) -> str:
    """Return why an account is never shut out, or "".

    Root and whoever runs us are not, even where somebody has forced a jail on them.
    """
    if account.uid == 0 or (account.exists and account.name in host.invoker):
        return administrator(account, host)
    return why_not(account, host)


def _is_past(expire: str) -> bool:
    """Return whether the expiry of a shadow(5) line is over, as pam_unix and sshd see it."""
    day = number(expire)
    return day is not None and day < time.time() // DAY


def _listed(host: Host) -> Collection[str]:
    """Return who is on the list now."""
    return host.tagged(CLOSED, Style.LINE)


def is_shut(account: Account, host: Host) -> bool:
    """Return whether an account is shut out, by us or by somebody else in the same way."""
    return account.name in _listed(host) or _is_past(host.expiry(account.name))


def reason(account: Account, host: Host) -> str:
    """Return in words why an account is shut out, or "" where it is not."""
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
    """Return the expiry that an account has, or had before we shut it out; None if that is over."""
    now = host.expiry(account.name)
    closed = host.origin(account.name).closed if is_shut(account, host) else None
    if closed is not None:
        return closed.expire
    return now if host.has_shadow(account.name) and not _is_past(now) else None


def close(account: Account, why: str, by: str, host: Host, until: str = JAIL) -> list[Action]:
    """Return what shuts an account out before anything else is done.

    Nothing for whom the guard rails protect. An expiry that is over stays as it is, and who was
    shut out for good stays so.

    Args:
        account: whom.
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
    expirable = host.has_shadow(name)
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
    """Return what lets an account in again that we shut out, when all else is done.

    An expiry that somebody has set since then stays.

    Args:
        account: whom.
        host: the facts.
        whoever: also one that would not be let in again by itself.
    """
    name, closed = account.name, host.origin(account.name).closed
    if closed is None or (closed.until != JAIL and not whoever):
        return []
    expire = closed.expire if host.expiry(name) == EXPIRED else None
    return [OpenAccount(name, expire=expire), *forget(name, host)]


def forget(name: str, host: Host) -> list[Action]:
    """Return what takes a name off the list."""
    return (
        [SetLines(CLOSED, name, (), Style.LINE, when=Phase.OPENING)]
        if name in _listed(host)
        else []
    )


def lets_in(account: Account, host: Host) -> bool:
    """Return whether sshd would let an account in whose jail cannot be made.

    It refuses a chroot that is missing or not root's alone, so that it lets in where there is a
    good one that is not this account's own: a home that is the system's or another's
    (`chroot = %h`), the jail of another uid; and where no Match block is meant for the account, of
    one that has never had a jail. Who has one keeps it.

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
        return account.name not in host.recorded() or host.origin(account.name).closed is not None
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
    """Return whether a home is an account's jail already.

    Whoever else lives there by now, it keeps that.
    """
    origin, files = host.origin(account.name), host.lstat(account.files)
    recorded = host.realpath(account.home) in (*origin.made, *origin.owners)
    return recorded or (files is not None and files.st_uid == account.uid)


def _uses_pam(host: Host) -> bool:
    return effective(host, "root").get("usepam") == "yes"


def _is_read(host: Host) -> bool:
    """Return whether the list keeps anybody out, now or once the plan being made is carried out."""
    return host.preparing or (denied(CLOSED) in host.text(SSHD).split("\n") and _uses_pam(host))


def on_list(host: Host) -> list[str]:
    """Return the names that are on the list, or will be once the plan being made is carried out."""
    names = _listed(host) if host.listed is None else host.listed
    return sorted(name for name in names if is_valid(name))


def needs_rule(host: Host) -> bool:
    """Return whether PAM is to read the list: where an account may have no line in shadow(5)."""
    return host.has_strangers or bool(on_list(host))


def match_block(host: Host) -> list[str]:
    """Return the Match block that keeps those on the list out where sshd asks no PAM."""
    names = on_list(host)
    return (
        [f"Match User {','.join(names)}", "    DenyUsers *"]
        if names and not _uses_pam(host)
        else []
    )


def list_after(
    opened: Iterable[Account], closed: Iterable[Account], host: Host
) -> frozenset[str] | None:
    """Return who will be on the list when these are let in and shut out, as far as they are.

    None for no change.
    """
    now = frozenset(_listed(host))
    off = {account.name for account in opened if account.name in now and reopen(account, host)}
    on = {account.name for account in closed if not host.has_shadow(account.name)}
    after = (now - off) | on
    return None if after == now else after
