"""What runs for an account outside its jail: crontabs, at jobs, processes and the like.

sshd's chroot confines only the sessions that it opens. It does not confine earlier processes, or
what cron(8), atd(8), incrond(8) and systemd start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from shlex import quote

from ..errors import SftpJailError
from ..errors.escapes import some
from ..host import Host
from ..model import Account, frozen
from ..paths import LINGER
from ..system.processes import OutsideProcess

# What `adopt --keep` accepts, in the order in which it is shown.
KINDS = ("cron", "at", "incron", "linger", "processes", "units")
# The user-writable part of systemd's user unit search path (systemd.unit(5)).
_SHOWN = 4  # jobs, units or processes that are named
UNITS = (".config/systemd/user", ".local/share/systemd/user")


@frozen
class Work:
    """One kind of activity outside a jail.

    Args:
        kind: one of KINDS.
        words: a description.
        paths: the files that cause it.
        processes: the running processes.
    """

    kind: str
    words: str
    paths: tuple[str, ...] = ()
    processes: tuple[OutsideProcess, ...] = ()


def found(account: Account, host: Host, jailed: bool, new: bool = False) -> list[Work]:
    """Return an account's activity outside its jail, in the order of KINDS.

    The sources are the spool directories, /proc and the home directory.

    Args:
        account: the account.
        host: the facts.
        jailed: it is jailed already. If not, its user units count even while no manager runs, and
            logins that have begun, which sshd will finish without the jail.
        new: useradd has just created it, so it cannot have processes, and /proc is not searched.
    """
    name, works = account.name, list[Work]()
    if name in host.jobs.crontabs:
        works.append(
            Work("cron", f"a crontab ({host.jobs.crontabs[name]})", (host.jobs.crontabs[name],))
        )
    if account.uid > 0:
        jobs = host.jobs.at_jobs.get(account.uid, ())
    else:
        jobs = ()
    if jobs:
        words = f"{len(jobs)} at job{'s' * (len(jobs) != 1)} ({some(jobs, _SHOWN)})"
        works.append(Work("at", words, jobs))
    if name in host.jobs.incron_tables:
        path = host.jobs.incron_tables[name]
        works.append(Work("incron", f"an incron table ({path})", (path,)))
    if host.jobs.lingers(name):
        works.append(Work("linger", "lingering user services (loginctl)", (f"{LINGER}/{name}",)))
    running = []
    if not new:
        running = [process for process in host.jobs.outside(account.uid) if process.own]
    if not jailed and not new:
        running += host.jobs.unfinished_logins(name, account.uid)
    if running:
        works.append(of_processes(running))
    if jailed and not host.jobs.has_manager(account.uid):
        units = []
    else:
        units = _units(account, host)
    if units:
        works.append(Work("units", f"user units ({some(units, _SHOWN)})"))
    return works


def of_processes(running: Sequence[OutsideProcess]) -> Work:
    """Describe running processes as one Work."""
    listed = some((f"{process.pid} {process.name}" for process in running), _SHOWN)
    words = f"{len(running)} process{'es' * (len(running) != 1)} ({listed})"
    return Work("processes", words, processes=tuple(running))


def _units(account: Account, host: Host) -> list[str]:
    """Return the directories in the home that contain user units, or links to them."""
    places = (f"{account.home.rstrip('/')}/{place}" for place in UNITS)
    return [place for place in places if host.owned.names(place)]


def kept(account: Account, host: Host) -> tuple[str, ...]:
    """Return the KINDS that an administrator has accepted."""
    if account.kept is None:
        return host.origin(account.name).kept
    return account.kept


def unwanted(account: Account, host: Host, jailed: bool, new: bool = False) -> list[Work]:
    """Return the activity outside the jail that no administrator has accepted; see `found`."""
    accepted = kept(account, host)
    return [work for work in found(account, host, jailed, new) if work.kind not in accepted]


def listed(works: Iterable[Work]) -> str:
    """Return the descriptions, separated by commas."""
    return ", ".join(work.words for work in works)


def namesakes(account: Account, host: Host) -> list[str]:
    """Return the other accounts with the same uid.

    Processes and at jobs of these accounts cannot be told apart.
    """
    return [
        name
        for name, other in host.accounts.items()
        if other.uid == account.uid and name != account.name
    ]


def refuse_shared(account: Account, works: Collection[Work], host: Host) -> None:
    """Refuse to end processes or jobs that may belong to another account.

    Raises:
        SftpJailError: the uid is root's, or several accounts have it.
    """
    kinds = [work.kind for work in works if work.kind in ("at", "processes")]
    if account.uid == 0:
        others = ["root"]
    else:
        others = namesakes(account, host)
    if kinds and others:
        raise SftpJailError(
            f"{account.name} has the uid {account.uid} of {others[0]}: "
            f"it is not known whose these are: {listed(works)}",
            f"sftpjail adopt --close --keep {','.join(kinds)} {quote(account.name)}",
        )


def reports(
    accounts: Iterable[Account],
    host: Host,
    new: bool = False,
    newcomers: Collection[str] = (),
) -> list[SftpJailError]:
    """Return warnings about newly jailed accounts with activity outside their jails.

    `adopt` refuses such accounts; other ways into a jail only warn.

    Args:
        accounts: the newly jailed accounts.
        host: the facts.
        new: see `found`.
        newcomers: the accounts that have become members just now. Of these, logins that have
            begun count too.
    """
    warnings = []
    sshd = None
    if len(newcomers) > 1:
        sshd = host.jobs.sshd_processes()
    for account in accounts:
        works = unwanted(account, host, True, new)
        begun = []
        if account.name in newcomers:
            begun = host.jobs.unfinished_logins(account.name, account.uid, sshd)
        if begun and "processes" not in kept(account, host):
            works.append(of_processes(begun))
        if works:
            words = (
                f"{account.name} is jailed, but outside of its jail it still has {listed(works)}"
            )
            warnings.append(SftpJailError(words, f"sftpjail adopt --close {quote(account.name)}"))
    return warnings
