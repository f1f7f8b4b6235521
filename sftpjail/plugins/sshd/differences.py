"""Where sshd's settings for a member differ from its profile's, and whose line is to blame."""

from __future__ import annotations

from ... import Account, Problem
from ...config import Config
from ...host import Host
from ...openssh.match_blocks import DROPIN, MAIN, WORDS, settings
from ...openssh.repair import except_for, match_line
from ...openssh.settings import Settings, Staged, effective
from .candidate import is_written, where_from

PENDING = "setup is pending: the configuration has changed since it ran, or our Match block has"


def differing(
    account: Account, connection: str, host: Host, config: Config, files: Staged = ()
) -> list[Problem]:
    """Return where sshd's settings for a member differ in one kind of connection.

    Args:
        account: with its profile.
        connection: see `connections`.
        host: the facts.
        config: the configuration.
        files: see `effective`.
    """
    assert account.profile is not None
    found = effective(host, account.name, connection, staged=files)
    blamed: dict[str, list[str]] = {}
    for line in settings(account.profile, config, host):
        keyword, _, wanted = line.partition(" ")
        if found.get(keyword) != wanted:
            foreign = in_foreign_match(keyword, found, host)
            blamed.setdefault(found.origins[keyword][0] if foreign else "", []).append(keyword)
    problems = []
    for path, keywords in sorted(blamed.items(), key=lambda item: not item[0]):  # setup comes last
        now = ", ".join(
            f"{keyword} {found.get(keyword) or 'unset'}" for keyword in keywords
        ) + where_from(connection)
        if not path:
            what = (
                f"sshd does not jail {account.name} as profile {account.profile.name} says: {now}"
            )
            why = PENDING
            if is_written(account.profile, host, config):
                why = "sshd does not read our Match block"
            if host.openssh < (10, 4) and len(found.get("forcecommand").split()) > WORDS:
                dropped = " ".join(found.get("forcecommand").split()[WORDS:])
                why = f"sshd drops everything after the {WORDS}th word of ForceCommand: {dropped}"
            problems.append(Problem(what, why, "sftpjail setup"))
            continue
        places = [found.origins[keyword] for keyword in keywords]
        match = match_line(places[0], host) or "its global part"
        what = (
            f"{path} takes {account.name} out of its jail's settings: "
            f"{now} ({match}, line {places[0][1]})"
        )
        why = "it comes before our Match block, and the first value wins"
        problems.append(Problem(what, why, except_for(places, account, host)))
    return problems


def in_foreign_match(keyword: str, found: Settings, host: Host) -> bool:
    """Return whether a setting comes from a foreign Match block.

    A global line never overrides ours, and commenting it out would affect other accounts.
    """
    place = found.origins.get(keyword)
    if place is None or place[0] == DROPIN or not match_line(place, host):
        return False
    above = "\n".join(host.text(place[0]).split("\n")[: place[1]])
    return place[0] != MAIN or "# BEGIN sftpjail sftpjail" not in above
