"""The addresses from which an account may log in.

A profile's addresses are in its own Match block (openssh/match_blocks.py). Those of a single
account are in a list in the format of access.conf(5). pam_access(8) reads the list at each login,
by a rule that `setup` writes. So it applies to keys, passwords and certificates alike, and sshd's
configuration does not change. The rule applies only to the accounts in a second list.

If sshd runs with "UsePAM no" or uses another PAM service (PAMServiceName), setup writes a Match
block instead. It also does so with "UseDNS yes", because sshd then gives PAM not the address, but a
name that the owner of the address has chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SftpJailError
from ..formats.tagged_lines import Read, Style
from ..host import Host
from ..model import Account, Fact, Problem
from ..openssh.match_blocks import DROPIN, ELSEWHERE, MAIN, elsewhere
from ..openssh.pam_session import LIMITS, SERVICES
from ..openssh.pam_stack import is_asked
from ..openssh.settings import effective, usual_connection
from ..paths import ADDRESSES, LIMITED
from .closing import why_spared

if TYPE_CHECKING:
    from ..actions import Action

SSHD = "/etc/pam.d/sshd"
LOOPBACK = "127.0.0.1"
# Names that have a special meaning for pam_access(8).
_WORDS = ("all", "except", "local", "none")


def listed(host: Host) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses of the accounts in the present list, by name."""
    lines = host.tagged(ADDRESSES, Style.USER)
    return Read(lines, _read)


def _read(lines: tuple[str, ...]) -> tuple[str, ...]:
    from ..formats.access_list import addresses_of  # late: useradd waits

    return addresses_of(lines[0])


def planned(host: Host) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses in the list that the current plan makes."""
    if host.limited is None:
        return listed(host)
    return host.limited


def limits(account: Account, host: Host) -> list[tuple[str, ...]]:
    """Return the lists of addresses that apply to an account. Each of them must match."""
    own = listed(host).get(account.name, ())
    if account.profile:
        profile = account.profile.addresses
    else:
        profile = ()
    found = []
    if profile:
        found = [profile]
    if account.name in listed(host):
        return [*found, own]
    return found


def admits(account: Account, address: str, host: Host) -> bool:
    """Return whether an account may come from an address."""
    return all(_in_one(address, one) for one in limits(account, host))


def _in_one(address: str, networks: tuple[str, ...]) -> bool:
    from ipaddress import ip_address, ip_network

    found = ip_address(address)
    try:
        return any(found in ip_network(network) for network in networks)
    except ValueError:  # somebody has edited the list
        return False


def example(account: Account, host: Host) -> str:
    """Return an address from which an account may come, the loopback address if possible, or ""."""
    from ipaddress import ip_network

    found = limits(account, host)
    if all(_in_one(LOOPBACK, one) for one in found):
        return LOOPBACK
    for network in (network for one in found for network in one):
        try:
            # Of two networks, one contains the other, or they are disjoint.
            address = str(ip_network(network)[0])
        except ValueError:
            continue
        if admits(account, address, host):
            return address
    return ""


def limit(account: Account, addresses: tuple[str, ...], host: Host) -> list[Action]:
    """Return the actions that limit an account to some addresses, or allow any address.

    Args:
        account: the account.
        addresses: see `model.networks`; none for any.
        host: the facts.

    Raises:
        SftpJailError: it must not be shut out, or its name has a special meaning for pam_access(8).
    """
    name = account.name
    if addresses and (reserved := why_spared(account, host)):
        raise SftpJailError(f"{name} is not limited: {reserved}")
    if addresses and (name.lower() in _WORDS or "@" in name):
        advice = "give its profile the addresses: `addresses` in sftpjail.conf(5)"
        raise SftpJailError(f"{name} is not an account's name to pam_access(8)", advice=advice)
    return _set(name, addresses, closing=bool(addresses))


def _set(name: str, addresses: tuple[str, ...], closing: bool) -> list[Action]:
    from ..actions import Phase, SetLines  # late: list needs no actions
    from ..formats.access_list import access_line  # late: useradd waits

    lines = (access_line(name, addresses),) if addresses else ()
    names = (name,) if addresses else ()
    when = Phase.CLOSING if closing else Phase.OPENING
    return [
        SetLines(ADDRESSES, name, lines, Style.USER, when=when),
        SetLines(LIMITED, name, names, Style.LINE, when=when),
    ]


def forget(name: str, host: Host) -> list[Action]:
    """Return the actions that remove an account from the list."""
    if name not in listed(host):
        return []
    return _set(name, (), closing=False)


def rename(old: str, new: str, host: Host) -> list[Action]:
    """Return the actions that move the addresses of an account to its new name."""
    own = listed(host).get(old, ())
    if not own or old == new:
        return []
    gone = []
    if not host.account(old):
        gone = _set(old, (), closing=True)
    return [*_set(new, own, closing=True), *gone]


def _by_pam(host: Host) -> bool:
    """Return whether PAM can check addresses: sshd uses it, and gives it the address itself."""
    return is_asked(host) and effective(host, "root").get("usedns") != "yes"


def match_blocks(host: Host) -> list[str]:
    """Return the Match blocks for the accounts in the list, if PAM cannot check addresses."""
    found = planned(host)
    if not found or _by_pam(host):
        return []
    return [line for name, own in sorted(found.items()) for line in elsewhere(f"User {name}", own)]


def _has_rules(host: Host) -> bool:
    return all(rule in host.text(SSHD).split("\n") for rule in LIMITS)


def is_enforced(host: Host) -> bool:
    """Return whether PAM reads the list at each login, or sshd's Match blocks contain all of it."""
    if _by_pam(host):
        named = host.tagged(LIMITED, Style.LINE)
        return _has_rules(host) and all(name in named for name in listed(host))
    files = host.text(DROPIN) + host.text(MAIN)
    blocks = [elsewhere(f"User {name}", own) for name, own in listed(host).items()]
    return all("\n".join(block) in files for block in blocks)


def asks_another(host: Host) -> list[str]:
    """Return the accounts in the list for which sshd uses a PAM service that does not read it.

    An administrator's Match block sets PAMServiceName for them. Our services include `sshd`.
    """
    if not _by_pam(host):
        return []
    read = ("", "sshd", *SERVICES.values())
    names = sorted(name for name in listed(host) if host.account(name))
    return [name for name in names if effective(host, name).get("pamservicename") not in read]


def needs_setup(changed: Mapping[str, tuple[str, ...]], host: Host) -> bool:
    """Return whether a change of the list takes effect only after `setup`."""
    if changed == listed(host):
        return False
    return not _by_pam(host) or bool(changed) != _has_rules(host)


def refused_there(account: Account, host: Host, address: str) -> tuple[list[Fact], list[Problem]]:
    """Ask sshd whether it refuses an account that comes from an address.

    Args:
        account: the account.
        host: the facts.
        address: the client's address.

    Returns:
        if so, a fact and a problem that say it.
    """
    from ..openssh.connections import from_address  # late: useradd waits

    try:
        there = from_address(address, usual_connection(host))
        found = effective(host, account.name, there)
    except SftpJailError:  # a problem of its own, which is reported elsewhere
        return [], []
    if ELSEWHERE not in found.words("denyusers"):
        return [], []
    profile = account.profile
    where = "other addresses"
    if profile and profile.addresses:
        where = " ".join(profile.addresses)
    what = f"sshd does not let {account.name} in from {address}"
    note = found.where("denyusers")
    problem = Problem(
        what, f"it may only come from {where}", advice=f"see {note}", about=account.name
    )
    return [Fact("session", f"sshd, from {address}", "refuses it", note, bad=True)], [problem]
