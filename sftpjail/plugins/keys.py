"""Keys outside the home, where the user cannot change them and sshd can read them: /etc/ssh/authorized_keys/USER."""

from __future__ import annotations

import posixpath

from .. import Account, Finding, Key, MakeDir, Remove, Rename, SetLines, SftpJailError, Style, hookimpl
from ..actions import Action
from ..config import KEYS_DIR, Config, keyfile
from ..host import Host
from ..model import inside


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    # sshd reads the file as the user, so the folder must be open to everybody and writable by root alone.
    folder: list[Action] = [MakeDir(KEYS_DIR)]
    if config.scope == "jails":
        return folder
    said = host.ask_sshd("-T", "-C", "user=root,host=localhost,addr=127.0.0.1").out
    patterns = next(
        (p for k, _, p in (line.partition(" ") for line in said.splitlines()) if k == "authorizedkeysfile"), ""
    )
    if patterns == f"{KEYS_DIR}/%u":
        return folder  # switched already; what was revoked since must not come back from a home
    return folder + [
        action for account in host.accounts.values() for action in _copies(account, patterns.split(), host)
    ]


def _copies(account: Account, patterns: list[str], host: Host) -> list[Action]:
    """Return what puts every line of the account's present key files, as it stands, into the new place too."""
    lines: dict[str, None] = {}
    for pattern in patterns:
        if pattern == "none":
            continue
        text = host.read_owned(posixpath.join(account.home, account.expand(pattern)), account.uid) or b""
        lines |= dict.fromkeys(text.decode("utf-8", "surrogateescape").split("\n"))
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    return [SetLines(keyfile(account.name), line, (line,), Style.LINE, own=True) for line in wanted]


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    return [*(Remove(path) for path in host.origin("").made if inside(path, KEYS_DIR)), Remove(KEYS_DIR)]


@hookimpl
def on_key_add(account: Account, key: Key, host: Host) -> list[Action]:
    folder: list[Action] = [] if host.is_dir(KEYS_DIR) else [MakeDir(KEYS_DIR)]
    return [*folder, SetLines(keyfile(account.name), key.line, (key.line,), Style.LINE, own=True)]


@hookimpl
def on_key_remove(account: Account, key: Key) -> list[Action]:
    return [SetLines(keyfile(account.name), key.line, (), Style.LINE, own=True)]


@hookimpl
def on_key_migrate(account: Account, path: str, host: Host) -> list[Action]:
    profile = account.profile
    if profile and (account.name in profile.match_user or host.in_group(account.name, profile.group)):
        # Until sshd looks in the new place, the old one is the user's only way in.
        answer = host.ask_sshd("-T", "-C", f"user={account.name},host=localhost,addr=127.0.0.1")
        if f"authorizedkeysfile {KEYS_DIR}/%u" not in answer.out.splitlines():
            raise SftpJailError(f"sshd does not read {keyfile(account.name)} yet; {path} stays", "sftpjail setup")
    return [Rename(path, f"{path}.sftpjail")]


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host, config: Config) -> list[Action]:
    # A later account of the same name must not inherit the keys. userdel may still refuse after its pre hook, though,
    # so they stay until the account is gone; and where sshd reads everybody's keys here, until then in any case.
    path = keyfile(account.name)
    if not account.exists:
        return [Remove(path, ours=True)]
    if deleted:
        return []
    back: list[Action] = [
        Rename(now, before)
        for now, before in host.origin(account.name).renamed.items()
        if host.lstat(before) is None  # whatever the user put there since stays, and so does ours
    ]
    # A file that was there before us stays, though sshd reads it no more.
    return back if config.scope == "everyone" else [Remove(path), *back]


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Finding]:
    if account is None:
        return []
    path = keyfile(account.name)
    found = host.lstat(path)
    if found is None:
        return []
    if found.st_uid != 0 or found.st_mode & 0o022:
        return [
            Finding(
                f"{path} can be changed by others than root",
                "sshd ignores it",
                f"chown root:root {path} && chmod 644 {path}",
            )
        ]
    if not found.st_mode & 0o004:
        return [Finding(f"{path} cannot be read by sshd as the user", "key logins fail", f"chmod 644 {path}")]
    return []
