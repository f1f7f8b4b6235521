"""What a host does for an account beside its logins, outside of any jail.

That is crontabs, at jobs, processes and the like.

sshd's chroot holds sessions that it opens later. It holds nothing that was there before, nor what
cron(8), atd(8), incrond(8) and systemd start by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from ..errors import SftpJailError
from ..host import Host
from ..model import Account
from ..paths import LINGER
from ..system.processes import Outsider

# What `adopt --keep` accepts, in the order in which it is shown.
KINDS = ("cron", "at", "incron", "linger", "processes", "units")
# Where users put units: systemd.unit(5), user unit search path. The rest of that list is root's.
UNITS = (".config/systemd/user", ".local/share/systemd/user")


@dataclass(frozen=True)
class Work:
    """One kind of what goes on outside of a jail.

    Which of KINDS, in words, and the files that say so.
    """

    kind: str
    words: str
    paths: tuple[str, ...] = ()
    processes: tuple[Outsider, ...] = ()


def found(account: Account, host: Host, jailed: bool, new: bool = False) -> list[Work]:
    """Return what goes on outside of the jail of an account, in the order of KINDS.

    It is what spools, /proc and home say.

    Args:
        account: whose.
        host: the facts.
        jailed: it is in its jail already; until then its user units count as well,
            which a manager would start.
        new: useradd has just made it: nothing can run,
            and useradd is not to wait for a look at every process.
    """
    name, works = account.name, list[Work]()
    if name in host.crontabs:
        works.append(Work("cron", f"a crontab ({host.crontabs[name]})", (host.crontabs[name],)))
    jobs = host.at_jobs.get(account.uid, ()) if account.uid > 0 else ()
    if jobs:
        words = f"{len(jobs)} at job{'s' * (len(jobs) != 1)} ({_some(jobs)})"
        works.append(Work("at", words, jobs))
    if name in host.incron_tables:
        path = host.incron_tables[name]
        works.append(Work("incron", f"an incron table ({path})", (path,)))
    if host.lingers(name):
        works.append(Work("linger", "lingering user services (loginctl)", (f"{LINGER}/{name}",)))
    running = [] if new else [process for process in host.outside(account.uid) if process.own]
    if running:
        works.append(of_processes(running))
    units = [] if jailed and not host.has_manager(account.uid) else _units(account, host)
    if units:
        works.append(Work("units", f"user units ({_some(units)})"))
    return works


def of_processes(running: Sequence[Outsider]) -> Work:
    """Return the work that processes do."""
    listed = _some(f"{process.pid} {process.name}" for process in running)
    words = f"{len(running)} process{'es' * (len(running) != 1)} ({listed})"
    return Work("processes", words, processes=tuple(running))


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def _units(account: Account, host: Host) -> list[str]:
    """Return the directories of a home that have user units or links to some."""
    places = (f"{account.home.rstrip('/')}/{place}" for place in UNITS)
    return [place for place in places if host.list_owned(place)]


def kept(account: Account, host: Host) -> tuple[str, ...]:
    """Return which of KINDS an administrator lets go on."""
    return host.origin(account.name).kept if account.kept is None else account.kept


def unwanted(account: Account, host: Host, jailed: bool, new: bool = False) -> list[Work]:
    """Return what goes on outside of the jail of an account though nobody has accepted it.

    See `found`.
    """
    accepted = kept(account, host)
    return [work for work in found(account, host, jailed, new) if work.kind not in accepted]


def listed(works: Iterable[Work]) -> str:
    """Return works in words."""
    return ", ".join(work.words for work in works)


def namesakes(account: Account, host: Host) -> list[str]:
    """Return the other accounts that have the same uid.

    Whose a process or an at job is, nobody can tell.
    """
    return [
        name
        for name, other in host.accounts.items()
        if other.uid == account.uid and name != account.name
    ]


def refuse_shared(account: Account, works: Collection[Work], host: Host) -> None:
    """Refuse to end what may be another account's.

    Raises:
        SftpJailError: the uid is root's, or several accounts have it.
    """
    kinds = [work.kind for work in works if work.kind in ("at", "processes")]
    others = ["root"] if account.uid == 0 else namesakes(account, host)
    if kinds and others:
        raise SftpJailError(
            f"{account.name} has the uid {account.uid} of {others[0]}: "
            f"it is not known whose these are: {listed(works)}",
            f"sftpjail adopt --close --keep {','.join(kinds)} {quote(account.name)}",
        )


def reports(accounts: Iterable[Account], host: Host, new: bool = False) -> list[SftpJailError]:
    """Return what to warn of when something else than `adopt`, which refuses, jailed accounts.

    Args:
        accounts: that were just jailed.
        host: the facts.
        new: see `found`.
    """
    warnings = []
    for account in accounts:
        works = unwanted(account, host, True, new)
        if works:
            words = (
                f"{account.name} is jailed, but outside of its jail it still has {listed(works)}"
            )
            warnings.append(SftpJailError(words, f"sftpjail adopt --close {quote(account.name)}"))
    return warnings
