"""Whom a change of a profile's login methods would shut out."""

from __future__ import annotations

from shlex import quote

from ... import Account, Profile, SftpJailError
from ...config import Config, keyfile
from ...errors.escapes import some
from ...host import Host
from ...jails.closing import is_shut
from ...jails.states import OTHER_KEYS, has_key
from ...openssh.admission import way_in
from ...openssh.settings import Settings, usual_connection
from .candidate import ask, encoded


def refuse_to_shut_out(
    profiles: list[Profile],
    jails: dict[str, Account],
    files: dict[str, str | None],
    host: Host,
    config: Config,
) -> None:
    """Refuse profiles by which members could no longer log in, unless an administrator agrees.

    Args:
        profiles: those whose Match block changes.
        jails: who is jailed, by name.
        files: see `candidate`.
        host, config: the facts.

    Raises:
        SftpJailError: it names them.
    """
    if config.agreed:
        return
    for profile in profiles:
        members = [account for account in jails.values() if account.profile == profile]
        names = _shut_out(members, files, host)
        if names:
            key = f"sftpjail key add {quote(names[0])} FILE"
            raise SftpJailError(
                f"{some(names, 8)} could no longer log in: "
                f"the methods of profile {profile.name} want what they do not have",
                choices=(("to shut them out", "sftpjail setup --yes"),),
                advice=f"give each a key or a password first: {key}",
            )


def _shut_out(members: list[Account], files: dict[str, str | None], host: Host) -> list[str]:
    """Return which members of one profile can log in now, and could not afterwards."""
    if not members:
        return []
    name, there = members[0].name, usual_connection(host)  # sshd treats them alike
    before, after = (_settings(ask(host, name, staged, there)) for staged in ({}, encoded(files)))
    found = []
    for account in members:
        password = not account.local or host.shadow(account.name).password.startswith("$")
        now, then = (
            way_in(said, key=_has_key(account, said, host), password=password)
            for said in (before, after)
        )
        if now and not then and not is_shut(account, host):
            found.append(account.name)
    return found


def _settings(said: str) -> Settings:
    values: dict[str, tuple[str, ...]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        values[keyword] = (*values.get(keyword, ()), value)
    return Settings(values, {}, ())


def _has_key(account: Account, found: Settings, host: Host) -> bool:
    """Return whether an account has a key, or may have one that only a program knows of.

    Those in its home come along when it is jailed for the first time.
    """
    if any(found.get(keyword) not in ("", "none") for keyword in OTHER_KEYS):
        return True
    places = [keyfile(account.name)]
    if not host.records.is_set_up or account.name not in host.records.recorded:
        places.append(f"{account.home}/.ssh/authorized_keys")
    return any(has_key(line) for path in places for line in host.text(path).split("\n"))
