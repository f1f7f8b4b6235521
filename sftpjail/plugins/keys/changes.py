"""Keys outside the home: /etc/ssh/authorized_keys/USER.

There the user cannot change them and sshd can read them.
"""

from __future__ import annotations

import posixpath

from ... import (
    Account,
    Key,
    MakeDir,
    Remove,
    Rename,
    SetLines,
    SetOwner,
    SftpJailError,
    Style,
    hookimpl,
)
from ...actions import Action
from ...config import Config, keyfile
from ...host import Host
from ...jails.membership import jailed
from ...model import inside
from ...openssh.sshd import spec
from ...paths import ASIDE, KEYS_DIR
from .permissions import loose_mode, unreadable


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    # sshd reads the file as the user, so the directory must be open to everybody
    # and writable by root alone.
    directory: list[Action] = [MakeDir(KEYS_DIR)]
    if config.scope == "jails":
        return directory
    said = host.ask_sshd("-T", "-C", spec("root")).out
    patterns = next(
        (
            p
            for k, _, p in (line.partition(" ") for line in said.splitlines())
            if k == "authorizedkeysfile"
        ),
        "",
    )
    if patterns == f"{KEYS_DIR}/%u":
        return directory  # switched already; what was revoked since must not come back from a home
    return directory + [
        action
        for account in host.accounts.values()
        for action in _copies(account, patterns.split(), host)
    ]


def _copies(account: Account, patterns: list[str], host: Host) -> list[Action]:
    """Return what puts the account's present key files into the new place too.

    Every line goes there as it stands.
    """
    lines: dict[str, None] = {}
    for pattern in patterns:
        if pattern == "none":
            continue
        path = posixpath.join(account.home, account.expand(pattern))
        text = host.read_owned(path, account.uid, account.home) or b""
        lines |= dict.fromkeys(text.decode("utf-8", "surrogateescape").split("\n"))
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    return [SetLines(keyfile(account.name), line, (line,), Style.LINE, own=True) for line in wanted]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    # Nobody will be there to keep a later account from inheriting the keys of one
    # that is closed now.
    closed = (
        keyfile(name) for name in jailed(config, host) if keyfile(name) in host.origin(name).made
    )
    ours = (path for path in host.origin("").made if inside(path, KEYS_DIR))
    return [
        *(Remove(path, ours=True) for path in closed),
        *(Remove(path) for path in ours),
        Remove(KEYS_DIR),
    ]


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    # A key file of ours that sshd would not read, or that others could change, is fixed;
    # an administrator's is told.
    path = keyfile(account.name)
    if path in host.origin(account.name).made and (
        loose_mode(path, account, host) or unreadable(path, account, host)
    ):
        return [SetOwner(path, 0, 0, 0o644, remember=False)]
    return []


@hookimpl
def on_key_add(account: Account, key: Key, host: Host) -> list[Action]:
    directory: list[Action] = [] if host.is_dir(KEYS_DIR) else [MakeDir(KEYS_DIR)]
    return [
        *directory,
        SetLines(keyfile(account.name), key.line, (key.line,), Style.LINE, own=True),
    ]


@hookimpl
def on_key_remove(account: Account, key: Key) -> list[Action]:
    return [SetLines(keyfile(account.name), key.line, (), Style.LINE, own=True)]


@hookimpl
def on_key_migrate(account: Account, path: str, host: Host) -> list[Action]:
    profile = account.profile
    if profile and (
        account.name in profile.match_user or host.in_group(account.name, profile.group)
    ):
        # Until sshd looks in the new place, the old one is the user's only way in.
        answer = host.ask_sshd("-T", "-C", spec(account.name))
        if f"authorizedkeysfile {KEYS_DIR}/%u" not in answer.out.splitlines():
            raise SftpJailError(
                f"sshd does not read {keyfile(account.name)} yet; {path} stays", "sftpjail setup"
            )
    return [Rename(path, f"{path}.sftpjail")]


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host, config: Config) -> list[Action]:
    # A later account of the same name must not inherit the keys. userdel may still refuse after its
    # pre hook, though, so they stay until the account is gone; and where sshd reads everybody's
    # keys here, until then in any case.
    path = keyfile(account.name)
    if not account.exists:
        return [Remove(path, ours=True)]
    if deleted:
        return []
    back: list[Action] = [
        Rename(now, before, early=True)
        for now, before in host.origin(account.name).renamed.items()
        if not now.startswith(ASIDE)
        and host.lstat(before) is None  # whatever the user put there since stays, and so does ours
    ]
    # A file that was there before us stays, though sshd reads it no more.
    return back if config.scope == "everyone" else [Remove(path), *back]
