"""Words for the shells' completions: `sftpjail --complete KIND [USER]`, one word a line.

This is not a command for people. It changes nothing, takes no lock, does not need root, and prints
nothing if it fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import config as configuration
from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..jails.membership import is_valid, jailed
from ..model import Account
from ..operations.keys import present


def words(asked: Sequence[str]) -> list[str]:
    """Return the possible words for an argument.

    Args:
        asked: one of `jails`, `accounts` (which could be adopted), `profiles`, `mounts` and `keys`,
            and for the last two the user.
    """
    kind, user = (*asked, "", "")[:2]
    try:
        config, host = configuration.load(configuration.PATH), Host()
        if kind == "profiles":
            return [profile.name for profile in config.profiles]
        jails = _jails(config, host)
        if kind == "jails":
            return sorted(jails)
        if kind == "accounts":
            names = (name for name in host.accounts if name not in jails and is_valid(name))
            return sorted(name for name in names if not host.is_system(host.accounts[name]))
        if user not in jails:
            return []
        return _of_jail(kind, jails[user], host)
    except (SftpJailError, OSError):
        return []


def _jails(config: Config, host: Host) -> dict[str, Account]:
    """Return the jailed accounts; for users other than root only those of public files."""
    try:
        return jailed(config, host)
    except SftpJailError:  # only root can read our records of a directory service's accounts
        found = {}
        for name, account in host.accounts.items():
            groups = host.people.groups_of(name, thorough=False)
            profiles = (
                one for one in config.profiles if name in one.match_user or one.group in groups
            )
            profile = next(profiles, None)
            if profile is not None and is_valid(name):
                found[name] = Account(name, account.uid, account.gid, account.home, profile=profile)
        return found


def _of_jail(kind: str, account: Account, host: Host) -> list[str]:
    if kind == "keys":
        return [key.fingerprint for key in present(account, host).values()]
    if kind == "mounts":
        binds = host.binds(account.name)
    else:
        binds = ()
    targets = [bind.target.removeprefix(account.jail) for bind in binds if bind.role == "mount"]
    return [target for target in targets if target.isprintable()]
