"""Metrics for Prometheus: figures about the jails of a host, and counters from its logs."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from ..config import Metrics
from ..engine.engine import Engine
from ..errors import SftpJailError, denied
from ..errors.escapes import shown
from ..formats.exposition import Family, Sample
from ..jails import quota
from ..jails.membership import members
from ..jails.states import WORDS, States
from ..model import SEVERITIES, Account, Key, Problem
from ..openssh.public_keys import expiry
from ..operations.diagnosis import judge
from ..operations.export import key_lines, key_text
from ..paths import COUNTED
from ..system import metrics as kept
from ..system.logged_in import sessions
from ..transferlog import totals
from ..transferlog.records import Login, Transfer
from ..transferlog.since import Since

SERVICE = "sftpjail.service"
DIRECTIONS = ("upload", "download")
_COUNTS_FROM = (
    "Counted from the first run of `sftpjail metrics` on; begins at 0 again where an account was"
    " no longer jailed, or /var/lib/sftpjail/metrics was lost. What the log daemon dropped, or"
    " removed before it was read, is missing."
)


@dataclass
class Collected:
    """The metric families, and what is missing.

    Args:
        problems: why a collector failed; sftpjail_collector_success says which.
    """

    families: list[Family] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counted: totals.Totals = field(default_factory=totals.Totals)


class Collector:
    """Makes metric families from the facts.

    Args:
        engine: with the facts.
        wanted: which metrics.
        counted: how far the logs were counted; it is updated.
    """

    def __init__(self, engine: Engine, wanted: Metrics, counted: totals.Totals) -> None:
        self._engine, self._wanted, self._counted = engine, wanted, counted
        self._config, self._host = engine.config, engine.host
        self._jails = members(engine.config, engine.host)

    def collect(self) -> Collected:
        """Return the metrics. A collector that fails is left out and reported as failed."""
        parts: dict[str, Callable[[], Iterator[Family]]] = {
            "jails": self._of_jails,
            "sessions": self._of_sessions,
            "keys": self._of_keys,
            "quotas": self._of_quotas,
            "transfers": self._of_transfers,
            "logins": self._of_logins,
            "apply": self._of_apply,
        }
        if self._config.logs.backend == "none":
            del parts["transfers"]  # not wanted
        if self._wanted.check:
            parts["check"] = self._of_check
        found, success = Collected(counted=self._counted), list[Sample]()
        for name, part in parts.items():
            try:
                found.families += part()
                failed = ""
            except (SftpJailError, OSError) as error:
                failed = denied(error) or str(error)
                what = f"no metrics of {name}: {failed}"
                found.problems.append(Problem(what, "", severity="advice"))
            success.append(Sample(int(not failed), (("collector", name),)))
        told = "Whether these metrics could be collected (1) or not (0)."
        found.families.append(Family("sftpjail_collector_success", "gauge", told, success))
        return found

    def _of_jails(self) -> Iterator[Family]:
        states = States(self._config, self._host)
        counts = Counter(states.of(account).word for account in self._jails.values())
        samples = [Sample(counts[word], (("state", word),)) for word in WORDS]
        yield Family("sftpjail_jails", "gauge", "Jails by state, as in sftpjail list.", samples)

    def _of_sessions(self) -> Iterator[Family]:
        uids = {account.uid for account in self._jails.values()}
        count = sum(one.uid in uids for one in sessions())
        yield _gauge("sessions", "Sessions in jails now, as in sftpjail who.", count)

    def _of_keys(self) -> Iterator[Family]:
        found = [(at, account.name, key) for account, key in self._limited() if (at := expiry(key))]
        help_ = "When sshd refuses a key, by its expiry-time=; keys without one have no series."
        if self._wanted.accounts:
            samples = {
                (("user", name), ("key", key.comment), ("fingerprint", key.fingerprint)): at
                for at, name, key in found
            }
            each = [Sample(at, labels) for labels, at in samples.items()]
        else:
            help_ = (
                "When sshd refuses the next key, by its expiry-time=; no series if none has one."
            )
            coming = [at for at, _, _ in found if at > time.time()]
            each = []
            if coming:
                each = [Sample(min(coming))]
        yield Family("sftpjail_key_expiry_timestamp_seconds", "gauge", help_, each)

    def _limited(self) -> Iterator[tuple[Account, Key]]:
        """Yield the keys that may have an expiry: ssh-keygen need not see all."""
        texts = {name: key_text(name, self._host)[0] for name in self._jails}
        names = [name for name, text in texts.items() if "expiry-time" in text.lower()]
        for name, (keys, _) in zip(names, key_lines(names, self._host), strict=True):
            for one in keys:
                yield self._jails[name], one.raw

    def _of_quotas(self) -> Iterator[Family]:
        found = {name: quota.use(account, self._host) for name, account in self._jails.items()}
        uses = {name: one for name, one in found.items() if one}
        if not uses:
            return
        parts: tuple[tuple[str, str, dict[str, int]], ...] = (
            ("bytes", "How much may be stored", {n: one.size for n, one in uses.items()}),
            ("used_bytes", "How much is stored", {n: one.used or 0 for n, one in uses.items()}),
        )
        for name, told, numbers in parts:
            each = [Sample(count, (("user", user),)) for user, count in numbers.items()]
            if self._wanted.accounts:
                samples = each
            else:
                samples = [Sample(sum(numbers.values()))]
            help_ = f"{told} by accounts that have a quota, as in sftpjail list."
            yield Family(f"sftpjail_quota_{name}", "gauge", help_, samples)

    def _of_check(self) -> Iterator[Family]:
        counts = Counter(problem.severity for problem in judge(self._engine, []))
        samples = [Sample(counts[word], (("severity", word),)) for word in SEVERITIES]
        yield Family("sftpjail_problems", "gauge", "Problems, as in sftpjail check.", samples)
        now = int(time.time())
        yield _gauge("check_timestamp_seconds", "When problems were last looked for.", now)

    def _of_apply(self) -> Iterator[Family]:
        """Yield what systemd knows of the last run of a unit; nothing without systemd."""
        if not self._host.systemd:
            return
        asked = "ExecMainExitTimestamp", "ExecMainStatus"
        words = ["systemctl", "show", "--timestamp=unix", *(f"--property={one}" for one in asked)]
        answer = self._host.ask([*words, SERVICE])
        said = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line)
        at = re.fullmatch(r"@(\d+)", said.get(asked[0], ""))
        if not at or not said.get(asked[1], "").isdigit():
            return  # it has not run since boot
        yield _gauge("apply_timestamp_seconds", f"When {SERVICE} last ended.", int(at[1]))
        yield _gauge(
            "apply_exit_code", "The exit code of that run of sftpjail apply.", int(said[asked[1]])
        )

    # -- counters ----------------------------------------------------------------------------------

    def _of_transfers(self) -> Iterator[Family]:
        count, owners = deepcopy(self._counted.transfers), _Owners(self._jails)
        since = Since(self._host, count.place)
        for batch in since.transfers(self._config):
            for one in batch:
                # Everybody on a host may write to its log: see transferlog/parser.py.
                if isinstance(one, Transfer) and one.verified and (name := owners.of(one.user)):
                    count.add(name, [one.written, one.read])
        self._done(count, since)
        self._counted.transfers = count
        help_ = (
            "Bytes of the files that sessions in jails have closed, as the log of transfers tells."
            f" {_COUNTS_FROM} Accounts that share a uid are counted as one of them."
        )
        name = "sftpjail_transfer_bytes_total"
        yield Family(name, "counter", help_, self._samples(count, DIRECTIONS))
        yield self._gaps("transfer_log", count)

    def _of_logins(self) -> Iterator[Family]:
        count, owners = deepcopy(self._counted.logins), _Owners(self._jails)
        since = Since(self._host, count.place)
        for batch in since.logins():
            for one in batch:
                if isinstance(one, Login) and one.failed and (name := owners.of(one.user)):
                    count.add(name, [1])
        self._done(count, since)
        self._counted.logins = count
        help_ = f"Logins of jailed accounts that failed, as sshd's own lines tell. {_COUNTS_FROM}"
        yield Family("sftpjail_failed_logins_total", "counter", help_, self._samples(count, ("",)))
        yield self._gaps("login_log", count)

    def _done(self, count: totals.Count, since: Since) -> None:
        count.place, count.gaps = since.place, count.gaps + since.lost
        gone = [name for name in count.sums if name not in self._jails]
        silent = [name for name in gone if self._host.people.is_silent(name)]
        count.keep({*self._jails, *silent})

    def _samples(self, count: totals.Count, directions: Collection[str]) -> list[Sample]:
        """Return the sums of all jailed accounts, including those without any transfers."""
        none = [0] * len(directions)
        each: Mapping[tuple[tuple[str, str], ...], list[int]] = {(): count.every or none}
        if self._wanted.accounts:
            each = {(("user", name),): count.sums.get(name, none) for name in self._jails}
        return [
            Sample(number, (*labels, *((("direction", word),) if word else ())))
            for labels, numbers in each.items()
            for word, number in zip(directions, numbers, strict=True)
        ]

    @staticmethod
    def _gaps(log: str, count: totals.Count) -> Family:
        told = "How often the place up to which that log was counted was lost."
        return Family(f"sftpjail_{log}_gaps_total", "counter", told, [Sample(count.gaps)])


class _Owners:
    """Finds the account of a name in the log. One account stands for all that share its uid."""

    def __init__(self, jails: Mapping[str, Account]) -> None:
        first = dict[int, str]()
        for name, account in sorted(jails.items()):
            first.setdefault(account.uid, name)
        self._owners = {name: first[account.uid] for name, account in jails.items()}

    def of(self, name: str | None) -> str | None:
        """Return the account, or None where it is not jailed."""
        return self._owners.get(name or "")


def _gauge(name: str, told: str, value: int) -> Family:
    return Family(f"sftpjail_{name}", "gauge", told, [Sample(value)])


def counted(engine: Engine) -> totals.Totals:
    """Return how far the logs were counted, and the sums."""
    return totals.read(engine.host.text(COUNTED))


def keep(found: Collected, file: str) -> list[Problem]:
    """Write down how far the logs were counted.

    Args:
        found: the metrics.
        file: what was written for node_exporter as the configuration says, or "".

    Returns:
        What an earlier configuration has left and could not be removed.
    """
    problems = []
    if file and found.counted.file not in ("", file):
        try:
            kept.withdraw(found.counted.file)
        except SftpJailError as error:
            what = f"{shown(found.counted.file)} is still there, but is no longer updated"
            problems.append(Problem(what, error.message, severity="advice"))
    found.counted.file = file or found.counted.file
    kept.keep_counted(totals.as_text(found.counted))
    return problems
