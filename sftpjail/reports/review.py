"""Who can get in, how, since when, and when that was last used; and who has been away for long.

Everything is read once for all accounts: the log of logins, the history, the key files with a
single ssh-keygen, and sshd's settings for each kind of account.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from ..engine.engine import Engine
from ..engine.history import History
from ..errors import SftpJailError
from ..host import Host
from ..jails import keeping
from ..jails.closing import DAY, is_disabled, list_after, own_expiry, why_spared
from ..jails.renames import refuse_other
from ..jails.states import LoginMethods, State, States
from ..model import Account, Key, frozen
from ..openssh.pam_stack import is_asked
from ..operations import last_used
from ..operations.export import key_lines
from ..operations.last_used import Records, Uses
from ..paths import HISTORY
from ..system.logged_in import owner, sessions
from .grants import Grants, grants


@frozen
class Reviewed:
    """The review of one account.

    Args:
        account: with its profile.
        state: as `list` shows it.
        ways: how else than by keys it could log in, or None if sshd cannot be asked.
        keys: those in its key file.
        granted: its grants in the history.
        uses: the last uses of its keys and other methods.
        sessions: how many are open.
        active: the latest time that counts as use, in epoch seconds, or None if unknown.
        by: what happened then: "session", "login", "creation", "enable" or "records"; "" if
            unknown.
        idle: whole days since then, or None.
        keep: whether `review --disable` skips it.
    """

    account: Account
    state: State
    methods: LoginMethods | None
    keys: tuple[Key, ...]
    granted: Grants
    uses: Uses
    sessions: int
    active: int | None
    by: str
    idle: int | None
    keep: bool

    @property
    def last(self) -> tuple[str, int, str] | None:
        """The key's fingerprint or the method, time and address of the last login, if known."""
        found = max(self.uses.items(), key=lambda item: item[1], default=None)
        return found and (found[0], found[1][0], found[1][1])

    def is_inactive(self, days: int) -> bool:
        """Return whether it has not been used for this many days. Unknown is not inactive."""
        return self.idle is not None and self.idle >= days


@frozen
class Review:
    """The review of accounts at a given time, in epoch seconds."""

    now: int
    records: Records
    accounts: list[Reviewed]

    @property
    def unlogged(self) -> list[str]:
        """The accounts whose logins do not come to the log that we read."""
        if self.records.by_pam or self.records.since is None:
            return []
        return [one.account.name for one in self.accounts if one.methods and not one.methods.logged]


def review(engine: Engine, accounts: Sequence[Account]) -> Review:
    """Return the review of jailed accounts.

    Args:
        engine: with the facts.
        accounts: each with its profile.
    """
    config, host, now = engine.config, engine.host, int(time.time())
    records = last_used.read(config, host)
    granted = grants(History(host.files.root + HISTORY).entries())
    keys = key_lines([account.name for account in accounts], host)
    states, kept, going = States(config, host), keeping.listed(host), _going_on(accounts)
    found = []
    for account, (lines, _) in zip(accounts, keys, strict=True):
        name = account.name
        mine = granted.get(name, Grants())
        # A line of the log has a name, which can be that of an earlier account too.
        uses = _since(mine.after, records.of(account.uid))
        # A forged line can only spare an account; an old record must not disable one.
        newest = _since(mine.after, records.newest_of(account.uid))
        methods = _ways(states, account)
        known = records.by_pam or (methods is not None and methods.logged)
        since = None
        if known:
            since = records.since
        active, by = _activity(mine, newest, since, now if going[name] else None)
        one = Reviewed(
            account,
            states.of(account),
            methods,
            tuple(line.key for line in lines),
            mine,
            uses,
            going[name],
            active,
            by,
            None if active is None else max(now - active, 0) // DAY,
            name in kept,
        )
        found.append(one)
    return Review(now, records, found)


def _going_on(accounts: Sequence[Account]) -> Counter[str]:
    """Return the number of running sessions of each account."""
    names: dict[int, list[str]] = {}
    for account in accounts:
        names.setdefault(account.uid, []).append(account.name)
    return Counter(owner(session, names) for session in sessions())


def _since(moment: int, uses: Uses) -> Uses:
    return {key: use for key, use in uses.items() if use[0] >= moment}


def _ways(states: States, account: Account) -> LoginMethods | None:
    try:
        return states.methods(account)
    except SftpJailError:  # its state says why
        return None


def _activity(
    granted: Grants, uses: Uses, since: int | None, session: int | None
) -> tuple[int | None, str]:
    """Return the latest time that counts as use, and the kind of use.

    The time is None if logins are not known, unless a session is running.

    Args:
        granted, uses: of the account.
        since: when the known logins begin, or None.
        session: now, if a session is open.
    """
    if session is not None:
        return session, "session"
    if since is None:
        return None, ""
    moments = [(since, "records")]
    if granted.made:
        moments.append((granted.made.at, "creation"))
    if granted.opened:
        moments.append((granted.opened.at, "enable"))
    moments += [(use[0], "login") for use in uses.values()]
    # An account is often let in the moment it is created; then "creation" is clearer.
    return max(moments, key=lambda moment: moment[0])


def refuse_young(found: Review, days: int) -> None:
    """Refuse to disable accounts if logins are not known for this many days.

    Raises:
        SftpJailError: says since when logins are known.
    """
    since = found.records.since
    if since is None:
        why = found.records.why or "nothing records logins"
        raise SftpJailError(
            f"nobody is disabled: when accounts were last used is not known: {why}",
            advice="see review in sftpjail(8) for what records logins",
        )
    if found.now - since < days * DAY:
        old = max(found.now - since, 0) // DAY
        raise SftpJailError(
            f"nobody is disabled: logins are known since {date(since)} only, and not for {days} "
            f"{'day' if days == 1 else 'days'} (now: {old})",
            advice=f"wait until {date(since + days * DAY)}, or give fewer days",
        )


def date(at: int) -> str:
    """Return the local date (YYYY-MM-DD) of a time, or its number if no calendar has it."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return str(at)


def to_disable(
    found: Review, days: int, host: Host
) -> tuple[list[Reviewed], list[tuple[str, str]]]:
    """Return the accounts to disable, and those that are skipped, each with the reason.

    Accounts that an administrator has shut out, and those that have expired, are in neither.

    Args:
        found: the review.
        days: see `Reviewed.is_inactive`.
        host: the facts.
    """
    chosen, skipped = list[Reviewed](), list[tuple[str, str]]()
    for one in found.accounts:
        if not one.is_inactive(days):
            continue
        try:
            if is_disabled(one.account, host) or own_expiry(one.account, host):
                continue
            if one.keep:
                why = "it is marked by set --keep-active"
            else:
                why = why_spared(one.account, host)
            if not why:
                refuse_other(one.account, host)
        except SftpJailError as error:
            why = error.message
        if why:
            skipped.append((one.account.name, why))
        else:
            chosen.append(one)
    return chosen, skipped


def list_of(accounts: Sequence[Account], host: Host) -> frozenset[str] | None:
    """Return the future list of disabled accounts, or None if sshd's files have no such list."""
    if is_asked(host):
        return None
    return list_after((), accounts, host)
