"""Keys outside the home: /etc/ssh/authorized_keys/USER.

There sshd can read them, and users cannot change them.
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
from ...actions import Action, Move
from ...config import Config, keyfile
from ...formats import fixes
from ...host import Host
from ...jails.away import refuse_unmounted
from ...jails.membership import jailed
from ...model import inside
from ...openssh.sshd import ask_sshd, spec
from ...paths import ASIDE, KEYS_DIR, SEEN
from .permissions import loose_mode, unreadable


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    # sshd reads the file as the user, so the directory must be readable by everybody and
    # writable by root alone.
    directory: list[Action] = [MakeDir(KEYS_DIR)]
    found = host.lstat(KEYS_DIR)
    if found and KEYS_DIR in host.origin("").made and host.flaw(KEYS_DIR):
        directory = [SetOwner(KEYS_DIR, 0, 0, 0o755, remember=False)]
    directory.append(MakeDir(SEEN, 0o700))
    if config.scope == "jails":
        return directory
    said = ask_sshd(host, "-T", "-C", spec("root")).out
    patterns = next(
        (
            p
            for k, _, p in (line.partition(" ") for line in said.splitlines())
            if k == "authorizedkeysfile"
        ),
        "",
    )
    if patterns == f"{KEYS_DIR}/%u":
        return directory  # switched already; keys that were revoked since then must not return
    return directory + [
        action
        for account in host.accounts.values()
        for action in _copies(account, patterns.split(), host)
    ]


def _copies(account: Account, patterns: list[str], host: Host) -> list[Action]:
    """Return the actions that copy an account's key files to the new place, line by line."""
    lines: dict[str, None] = {}
    for pattern in patterns:
        if pattern == "none":
            continue
        path = posixpath.join(account.home, account.expand(pattern))
        text = host.owned.read(path, account.uid, account.home) or b""
        lines |= dict.fromkeys(text.decode("utf-8", "surrogateescape").split("\n"))
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    return [SetLines(keyfile(account.name), line, (line,), Style.LINE, own=True) for line in wanted]


@hookimpl
def on_teardown(host: Host, config: Config) -> list[Action]:
    # After teardown nothing would prevent a later account from inheriting the keys of one that is
    # closed now.
    closed = (
        keyfile(name) for name in jailed(config, host) if keyfile(name) in host.origin(name).made
    )
    ours = (path for path in host.origin("").made if inside(path, KEYS_DIR))
    names = []
    if host.is_dir(SEEN):
        names = host.listdir(SEEN)
    seen = [f"{SEEN}/{name}" for name in names if not name.startswith(".")]
    return [
        *(Remove(path, ours=True) for path in (*closed, *seen)),
        *(Remove(path) for path in ours),
        Remove(KEYS_DIR),
    ]


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    # Our own key file is fixed if sshd would not read it, or if others could change it. An
    # administrator's is left to `check`.
    path = keyfile(account.name)
    if path in host.origin(account.name).made and (
        loose_mode(path, account, host) or unreadable(path, account, host)
    ):
        return [SetOwner(path, 0, 0, 0o644, remember=False)]
    seen = f"{SEEN}/{account.uid}"
    if host.lstat(seen) is None or account.name in host.records.recorded:
        return []
    sole = len(host.people.names_of(account.uid)) == 1
    return [Remove(seen, ours=True)] if sole else []  # of who had the uid before


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    before, now = keyfile(old), keyfile(account.name)
    if old == account.name or host.lstat(before) is None:
        return []
    if host.lstat(now) is not None:
        what = f"{account.name} has keys in {now}, and under its former name in {before}"
        files = {before: now, now: before}
        hide = {kept: fixes.hide(other, host) for kept, other in files.items()}
        if not all(hide.values()):
            raise SftpJailError(what, advice=fixes.advice(now, host))
        choices = [
            (f"if those in {path} are to count", f"{command} && sftpjail apply")
            for path, command in hide.items()
        ]
        raise SftpJailError(what, choices=choices)
    return [Move(before, now)]


@hookimpl
def on_key_add(account: Account, key: Key, host: Host) -> list[Action]:
    refuse_unmounted(KEYS_DIR, host)  # below the mount point the key would soon be out of sight
    add = SetLines(keyfile(account.name), key.line, (key.line,), Style.LINE, own=True)
    if host.is_dir(KEYS_DIR):
        return [add]
    return [MakeDir(KEYS_DIR), add]


@hookimpl
def on_key_remove(account: Account, key: Key) -> list[Action]:
    return [SetLines(keyfile(account.name), key.line, (), Style.LINE, own=True)]


@hookimpl
def on_key_migrate(account: Account, path: str, host: Host) -> list[Action]:
    profile = account.profile
    # What `setup` writes in the same change is proven by itself.
    if (
        not host.preparing
        and profile
        and (account.name in profile.match_user or host.in_group(account.name, profile.group))
    ):
        # Until sshd reads the new place, the old file is the user's only way in.
        answer = ask_sshd(host, "-T", "-C", spec(account.name))
        if f"authorizedkeysfile {KEYS_DIR}/%u" not in answer.out.splitlines():
            raise SftpJailError(
                f"sshd does not read {keyfile(account.name)} yet; {path} stays", "sftpjail setup"
            )
    return [Rename(path, f"{path}.sftpjail")]


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host, config: Config) -> list[Action]:
    # A later account of the same name must not inherit the keys. They stay until the account is
    # gone, though: userdel may still fail after its pre hook, and with `scope = all` sshd reads
    # every account's keys here.
    path = keyfile(account.name)
    if not account.exists:
        return [Remove(path, ours=True)]
    if deleted:
        return []
    back: list[Action] = [
        Rename(now, before, early=True)
        for now, before in host.origin(account.name).renamed.items()
        if not now.startswith(ASIDE)
        and host.lstat(before) is None  # if the user has made a new one since, both stay
    ]
    # A file that existed before us stays, though sshd no longer reads it.
    if config.scope == "everyone":
        return back
    return [Remove(path), *back]
