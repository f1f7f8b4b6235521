"""The Match blocks.

sshd itself is asked, before and after, whether members are jailed and others see no change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

from ... import Account, Check, Notify, Profile, SftpJailError, hookimpl
from ...actions import Action
from ...config import Config
from ...host import Host
from ...jails.membership import is_valid, jailed
from ...openssh.match_blocks import DIRECTORY, DROPIN, MAIN, block, settings
from ...openssh.sshd import spec
from .candidate import (
    GLOBAL_KEYS,
    SUBSYSTEM,
    ask,
    candidate,
    changes_of,
    encoded,
    lacks,
    value_of,
    without_us,
)

OTHERS = 20  # of the accounts outside the jails so many are compared before and after


def _others(host: Host, jails: dict[str, Account]) -> list[str]:
    """Return whom we compare before and after: root, those with a shell, then anybody, none jailed.

    Nor those whom our present blocks jail by name: if they are in no profile any more, they were
    let go; see _released.
    """
    live = (
        host.text(DROPIN)
        + host.text(MAIN).partition("# BEGIN sftpjail sftpjail")[2].partition("# END sftpjail")[0]
    )
    named = {
        name for names in re.findall(r"(?m)^Match User (\S+)$", live) for name in names.split(",")
    }
    ordered = sorted(
        host.accounts.values(),
        key=lambda a: (a.uid != 0, a.shell.endswith(("nologin", "false")), a.uid),
    )
    names = [
        account.name
        for account in ordered
        if account.name not in named and account.name not in jails
    ]
    return [name for name in names if is_valid(name)][:OTHERS]


def _strangers(
    host: Host, files: dict[str, str | None], names: list[str], intended: tuple[str, ...]
) -> list[Action]:
    """Return the checks that nobody outside notices.

    They are asked of the candidate now, and of the live files once they are live.

    Raises:
        SftpJailError: sshd would tell somebody outside other settings than before.
    """
    sshd = host.which("sshd")
    checks: list[Action] = []
    for name in names:
        before = ask(host, name, {})
        after = ask(host, name, encoded(files))
        kept = [
            [line for line in said.splitlines() if not line.startswith(intended)]
            for said in (before, after)
        ]
        if kept[0] != kept[1]:
            changed = next(
                line for line in [*kept[1], *kept[0]] if kept[0].count(line) != kept[1].count(line)
            )
            raise SftpJailError(
                f"{name} is not jailed and must see no change, but would get: {changed}", "sshd -T"
            )
        why = f"{name} is not jailed and must see no change"
        checks.append(Check((sshd, "-T", "-C", spec(name)), why, prints=before, ignoring=intended))
    return checks


def _released(
    host: Host, config: Config, files: dict[str, str | None], jails: dict[str, Account]
) -> list[str]:
    """Return whom sshd jails now and would jail no more, because the configuration has changed."""
    staged = encoded(files)
    names = [
        name for name in host.recorded() if name not in jails and host.account(name) is not None
    ]
    return [
        name
        for name in names[:OTHERS]
        if value_of(ask(host, name, {}), "chrootdirectory") not in ("", "none")
        and value_of(ask(host, name, staged), "chrootdirectory") in ("", "none")
    ]


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    files = candidate(host, config)
    changes = changes_of(host, files)
    for lack in lacks(host, config, files):
        raise SftpJailError(
            f"sshd would not jail the members of {lack.profile.group or lack.profile.name}: "
            f"{lack}, something above our Match block wins",
            f"grep -in -A9 ^match {MAIN} {DIRECTORY}/*.conf",
        )
    if not any(action.pending(host, "") for action in changes):
        return []
    answer = host.ask_sshd("-t", files=encoded(files))
    if answer.code != 0:
        raise SftpJailError(f"sshd would refuse the configuration: {answer.words}", "sshd -t")
    jails = jailed(config, host)
    _refuse_release(_released(host, config, files, jails))
    now = "\n".join(host.text(path) for path in files)
    new = "\n".join(text or "" for text in files.values())
    # What the configuration itself changes for everybody, or no longer changes.
    intended = tuple(
        keyword
        for keyword, line in (("subsystem", SUBSYSTEM), ("authorizedkeysfile", GLOBAL_KEYS))
        if f"\n{line}" in now or f"\n{line}" in new
    )
    return [
        *changes,
        Check((host.which("sshd"), "-t"), "sshd must accept the configuration", "sshd -t"),
        *_strangers(host, files, _others(host, jails), intended),
        *_live_checks(host, config, jails),
        Notify("sshd"),
    ]


def _refuse_release(names: Sequence[str]) -> None:
    """Refuse a configuration that would let accounts out of their jails."""
    if not names:
        return
    raise SftpJailError(
        f"{', '.join(names)}: jailed until now, "
        "in no profile of the configuration any more, so open after this",
        choices=tuple(
            (f"to make {name} an ordinary account", f"sftpjail remove {quote(name)}")
            for name in names[:8]
        ),
        advice="put them into a group that has a profile",
    )


def _live_checks(host: Host, config: Config, jails: dict[str, Account]) -> list[Action]:
    """Return one check for a member of each profile that has one."""
    samples = {a.profile.name: a for a in reversed(list(jails.values())) if a.profile}
    return [
        Check(
            (host.which("sshd"), "-T", "-C", spec(name)),
            f"{name} must be jailed",
            f"grep -in -A9 ^match {MAIN} {DIRECTORY}/*.conf",
            lines=tuple(settings(account.profile, config, host)),
        )
        for name, account in ((a.name, a) for a in samples.values())
        if account.profile
    ]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    files: dict[str, str | None] = {DROPIN: None, MAIN: without_us(host.text(MAIN))}
    changes = changes_of(host, files)
    if not any(action.pending(host, "") for action in changes):
        return []
    if not host.which("sshd"):
        return changes  # nobody is left to ask
    intended = ("subsystem", "authorizedkeysfile")
    checks = _strangers(host, files, _others(host, jailed(config, host)), intended)
    return [*changes, *checks, Notify("sshd")]


def is_written(profile: Profile, host: Host, config: Config) -> bool:
    """Return whether a Match block of the profile stands in our files as it is to be."""
    lines = "\n".join(f"    {line}" for line in block(profile, config, host))
    return lines in host.text(DROPIN) or lines in host.text(MAIN)


@hookimpl
def on_user_create(account: Account, host: Host, config: Config) -> None:
    # By its text and not by asking sshd: useradd waits for us. `setup` and `check` ask.
    assert account.profile is not None
    if not host.preparing and not is_written(account.profile, host, config):
        raise SftpJailError(
            f"sshd does not jail {account.name} as profile {account.profile.name} says: "
            "no Match block, or an old one",
            "sftpjail setup",
        )
