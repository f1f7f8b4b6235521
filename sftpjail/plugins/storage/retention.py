"""Directories that lose their old files, by lines of tmpfiles.d(5)."""

from __future__ import annotations

from shlex import quote

from ... import Account, Bind, Fact, Problem, Remove, SftpJailError
from ...actions import Action
from ...errors.escapes import Choice, counted
from ...formats.retention import ages_of, setting
from ...formats.tagged_lines import Style
from ...host import Host
from ...jails import retention
from ...paths import RETENTION


def on_user_create(account: Account, host: Host) -> list[Action]:
    wanted = retention.ages(account.name, host)
    return retention.store(account.name, retention.block(account, wanted, host), host)


def on_user_retention(
    account: Account, ages: tuple[tuple[str, int], ...], host: Host
) -> list[Action]:
    wanted, known = dict(ages), retention.ages(account.name, host)
    new = [directory for directory in wanted if directory not in known]
    if new:
        retention.refuse_host(host)
    for directory in new:
        reason = retention.refusal(account, directory, host)
        if reason:
            what = f"will not delete old files of {account.name} in {directory}: {reason}"
            raise SftpJailError(what, advice=_HELP)
    return retention.store(account.name, retention.block(account, wanted, host), host)


_HELP = (
    "give a directory of the account's own, which no other jail shows, in one that only root can "
    "write in: its home, or the source of one of its mounts"
)


def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    if deleted and account.exists:  # userdel may still refuse
        return []
    return _lines(account.name, (), host)


def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    lines = host.tagged(RETENTION, Style.BLOCK).get(old, ())
    if not lines or old == account.name:
        return []
    # The paths are those of before; on_user_create, which follows, finds them anew.
    kept = tuple(setting(*age) for age in retention.ages(old, host).items())
    gone = []
    if not host.account(old):
        gone = _lines(old, (), host)
    return [*_lines(account.name, kept, host), *gone]


def on_teardown(host: Host) -> list[Action]:
    names = host.tagged(RETENTION, Style.BLOCK)  # our file is removed with its last line
    return [act for name in names for act in _lines(name, (), host)] or [Remove(RETENTION)]


def on_detach(host: Host) -> list[Action]:
    """Nobody judges any longer whether the files may go, so they stay."""
    found = host.tagged(RETENTION, Style.BLOCK).items()
    kept = {name: tuple(setting(*age) for age in ages_of(lines).items()) for name, lines in found}
    return [act for name, lines in kept.items() for act in _lines(name, lines, host)]


def _lines(name: str, lines: tuple[str, ...], host: Host) -> list[Action]:
    if name not in host.tagged(RETENTION, Style.BLOCK) and not lines:
        return []
    return retention.store(name, lines, host)


def on_mount(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Refuse to show a new jail what another account's retention deletes."""
    if bind.role != "mount":
        return []
    known = any(bind.source == other.source for other in host.binds(account.name))
    name = ""
    if not known:
        name = retention.whose(bind.source, host)
    if name and name != account.name:
        raise SftpJailError(
            f"will not show {bind.source} to {account.name}: old files there are deleted, "
            f"as they are only those of {name}",
            advice=f"sftpjail show {quote(name)} lists what is deleted; "
            f"sftpjail set {quote(name)} --retention DIRECTORY=never ends it",
        )
    return []


def on_check(account: Account, host: Host) -> list[Problem]:
    found = (_of(account, *age, host) for age in retention.ages(account.name, host).items())
    return [problem for problem in found if problem]


def judge_host(host: Host) -> list[Problem]:
    if host.systemd:
        return []
    return [
        Problem(
            f"nothing runs systemd-tmpfiles --clean here, so that {RETENTION} deletes nothing",
            "systemd is not what runs this host",
            severity="advice",
            advice="have cron(8) run systemd-tmpfiles --clean once a day",
        )
    ]


def _of(account: Account, directory: str, days: int, host: Host) -> Problem | None:
    """Return that the old files of a directory may not be deleted, or how many would be now."""
    end = f"sftpjail set {quote(account.name)} --retention {quote(f'{directory}=never')}"
    reason = retention.refusal(account, directory, host)
    if reason:
        return Problem(
            f"the old files of {account.name} in {directory} must not be deleted: {reason}",
            "they stay from the next sftpjail apply on",
            choices=(Choice("to keep all files there", end),),
        )
    count, whole = retention.old_files(account, directory, days, host)
    if not count:
        return None
    number, verb = counted(count, "file"), "is" if count == 1 else "are"
    if not whole:
        number = f"at least {number}"
    return Problem(
        f"{number} of {account.name} in {directory} {verb} older than {days} days and will be "
        "deleted",
        "by systemd-tmpfiles-clean.timer, as --retention says",
        severity="advice",
        choices=(Choice("to keep all files there", end),),
    )


def on_explain(account: Account, host: Host) -> list[Fact]:
    facts = []
    for directory, days in sorted(retention.ages(account.name, host).items()):
        reason = retention.refusal(account, directory, host)
        path = retention.place(account, directory, host)
        if reason:
            note = f"nothing is deleted: {reason}"
        else:
            note = f"{path}, by {RETENTION}"
        facts.append(Fact("retention", directory, f"{days} days", note, bool(reason)))
    return facts
