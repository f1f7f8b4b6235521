"""The keys of an account, and the events that add and migrate keys."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote

from ..config import keyfile
from ..engine.engine import Engine
from ..engine.plan import Event, OnKeyAdd, OnKeyMigrate
from ..errors import Absent, SftpJailError
from ..errors.escapes import shown, some
from ..host import Host
from ..model import Account, Key, Problem, normal
from ..openssh import public_keys
from ..openssh.match_blocks import DROPIN
from ..openssh.settings import PROBE, effective
from ..openssh.sshd import ask_sshd, spec
from ..paths import KEYS_DIR

SHOWN = 8  # bad lines of a file to report
_OLD = (".ssh/authorized_keys", "%h/.ssh/authorized_keys")


def read_keys(texts: dict[str, str], host: Host) -> list[Key]:
    """Return the keys in all texts.

    One bad line refuses all of them, so that nobody overlooks it.

    Args:
        texts: by source, a path or "-".
        host: runs ssh-keygen.

    Raises:
        SftpJailError: a line is not a key, or a key may not be used for a jail.
    """
    keys: dict[str, Key] = {}
    for source, text in texts.items():
        found, problems = public_keys.read(
            text, host, "standard input" if source == "-" else source
        )
        if problems:
            more = []
            if len(problems) > SHOWN:
                more = [f"and {len(problems) - SHOWN} more"]
            raise SftpJailError("no key was added: " + "; ".join([*problems[:SHOWN], *more]))
        if not found:
            raise SftpJailError(f"{source} has no key")
        for key in found:
            keys.setdefault(public_keys.blob(key), key)
    return list(keys.values())


def present(account: Account, host: Host) -> dict[str, Key]:
    """Return the keys in the account's file, by their blob. Broken lines are skipped."""
    return keys_in(host.text(keyfile(account.name)), host)


def keys_in(text: str, host: Host) -> dict[str, Key]:
    """Return the keys in the text of such a file, as `present` does."""
    lines = text.split("\n")
    (entries,) = public_keys.survey([text], host)
    # Keep each line exactly as it is in the file, to find it again.
    return {
        public_keys.blob(e.key): replace(e.key, line=lines[e.number - 1]) for e in entries if e.key
    }


def chosen_keys(
    account: Account, words: Sequence[str], handed_in: Mapping[str, str], host: Host
) -> list[Key]:
    """Return the keys of an account that WORDS name, each once.

    Args:
        account: the account.
        words: fingerprints, comments, keys, or names of files in `handed_in`.
        handed_in: the text of each file, in a form that `key add` accepts.
        host: runs ssh-keygen.

    Raises:
        Absent: the account does not have that key; lists the keys that it has.
        SftpJailError: several keys have the same comment.
    """
    keys = present(account, host)
    chosen: dict[str, Key] = {}
    for word in words:
        named = [
            blob for blob, key in keys.items() if word in (key.fingerprint, key.comment, key.line)
        ]
        if len(named) > 1:
            raise _ambiguous(account, word, [keys[blob] for blob in named])
        if not named:
            text = handed_in.get(word, word if public_keys.looks_like_key(word) else "")
            named = _blobs(text, host)
        if not named or not keys.keys() >= set(named):
            raise _absent(account, word, list(keys.values()))
        chosen |= {blob: keys[blob] for blob in named}
    return list(chosen.values())


def _blobs(text: str, host: Host) -> list[str]:
    """Return the blobs of all keys in a text, including keys that no jail may have."""
    (entries,) = public_keys.survey([public_keys.convert(text, host)], host)
    return [public_keys.blob(entry.key) for entry in entries if entry.key]


def _ambiguous(account: Account, word: str, keys: Sequence[Key]) -> SftpJailError:
    return SftpJailError(
        f"{account.name} has {len(keys)} keys called {word!r}; no key was removed",
        choices=tuple(
            (
                f"to remove the one of type {key.type} and {key.bits} bits",
                f"sftpjail key remove {quote(account.name)} {key.fingerprint}",
            )
            for key in keys[:SHOWN]
        ),
    )


def _absent(account: Account, word: str, keys: Sequence[Key]) -> Absent:
    named = some((f"{key.fingerprint} {shown(key.comment)}".rstrip() for key in keys), SHOWN)
    return Absent(
        f"{account.name} does not have the key {word!r}; no key was removed",
        advice=f"its keys: {named}" if keys else "it has no keys",
    )


def add_events(account: Account, keys: list[Key], host: Host) -> list[OnKeyAdd]:
    """Return the events that add the keys that the account does not have yet.

    Raises:
        SftpJailError: it has one of them with other options.
    """
    there = present(account, host)
    for key in keys:
        known = there.get(public_keys.blob(key))
        if known and known.options != key.options:
            raise SftpJailError(
                f"{account.name} has the key {key.fingerprint} already, with other options",
                choices=(
                    (
                        "to add it again with the new options; until then it lets nobody in",
                        f"sftpjail key remove {quote(account.name)} {key.fingerprint}",
                    ),
                ),
            )
    return [OnKeyAdd(account, key) for key in keys if public_keys.blob(key) not in there]


def old_place(account: Account) -> str:
    """Return the default path of the account's key file in its home."""
    return f"{account.home.rstrip('/')}/.ssh/authorized_keys"


def migrate_events(account: Account, engine: Engine) -> tuple[list[Event], list[str]]:
    """Return the events that move an account's keys, and why others have to stay behind.

    Raises:
        SftpJailError: the old file cannot be read safely.
    """
    path = old_place(account)
    data = engine.host.owned.read(path, account.uid, account.home)
    if data is None:
        return [], []
    keys, problems = public_keys.read(data.decode("utf-8", "surrogateescape"), engine.host, path)
    events: list[Event] = [*add_events(account, keys, engine.host)]
    if account.profile is not None and not problems:
        events.append(OnKeyMigrate(account, path))
    return events, problems


def left_elsewhere(account: Account, engine: Engine) -> list[Problem]:
    """Return which key files that sshd reads for ordinary accounts do not count in a jail.

    Those are all but the one that `migrate_events` takes along: they may be an administrator's, who
    decides. Nothing is said of an account that has keys for its jail already.

    Args:
        account: that gets a jail.
        engine: with the facts.
    """
    host = engine.host
    if engine.config.scope != "jails" or host.lstat(keyfile(account.name)) is not None:
        return []
    try:
        patterns = effective(host, PROBE).words("authorizedkeysfile")
    except SftpJailError:  # sshd refuses its configuration, so no jail is made
        return []
    others = [pattern for pattern in patterns if pattern not in (*_OLD, "none")]
    paths = (normal(posixpath.join(account.home, account.expand(pattern))) for pattern in others)
    problems = []
    for path in paths:
        found = host.lstat(path)
        if found is None or not found.st_size:
            continue
        what = f"the keys of {account.name} in {path} do not count in its jail"
        add = f"sftpjail key add {quote(account.name)} {quote(path)}"
        then = f"look at that file, then run {add}"
        problems.append(Problem(what, "", advice=then, about=account.name))
    return problems


class FirstKeys:
    """The keys that accounts take along when they get their first jail.

    Until then, sshd used the key file in the home of an ordinary account. Afterwards, a jailed user
    controls that file and it is ignored, unless an administrator runs `key migrate`.

    Args:
        engine: with the facts.
        accounts: the accounts that get their first jail, with their profiles.

    `events` has the events that take the keys along, by name. `said` describes them in words.
    `behind` has the problems of keys that stay behind.
    """

    def __init__(self, engine: Engine, accounts: Iterable[Account]) -> None:
        self.events: dict[str, list[Event]] = {}
        self.said: dict[str, str] = {}
        self.behind: list[Problem] = []
        host = engine.host
        for account in accounts if engine.config.scope == "jails" else ():
            self.behind += left_elsewhere(account, engine)
            try:
                if not _brings_keys(account, host) or not _are_read(host):
                    continue
                why = _others_file(account, host) or _not_in_force(account, host)
            except SftpJailError as error:  # one unreadable home must not stop the others
                why = error.message
            if why:
                self._leave(account, why)
            else:
                self._take(account, engine)

    def _take(self, account: Account, engine: Engine) -> None:
        name, place = account.name, old_place(account)
        try:
            events, problems = migrate_events(account, engine)
        except SftpJailError as error:
            self._leave(account, error.message)
            return
        added = [event for event in events if isinstance(event, OnKeyAdd)]
        if added:
            self.events[name] = events
            many = f"{len(added)} key{'s' * (len(added) != 1)}"
            self.said[name] = f"{name}: {many} of {place} taken along"
        for words in problems:
            self._leave(account, words)

    def _leave(self, account: Account, why: str) -> None:
        what = f"not all keys in {old_place(account)} were taken along: {why}"
        then = f"look at that file, then run sftpjail key migrate {quote(account.name)}"
        self.behind.append(Problem(what, "", advice=then, about=account.name))


def _brings_keys(account: Account, host: Host) -> bool:
    """Return whether an account has a key file in its home, and none in KEYS_DIR."""
    there = host.lstat(old_place(account)) is not None and host.lstat(keyfile(account.name)) is None
    return there and account.exists


def _are_read(host: Host) -> bool:
    """Return whether sshd reads the key files in the homes of ordinary accounts."""
    try:
        return not set(_OLD).isdisjoint(effective(host, PROBE).words("authorizedkeysfile"))
    except SftpJailError:  # sshd refuses its configuration, so setup fails too
        return False


def _not_in_force(account: Account, host: Host) -> str:
    """Return why sshd did not use the keys in a home, or will not use the file we write, or "".

    Match blocks other than ours may name other key files for this account.
    """
    word, ours = "authorizedkeysfile", f"{KEYS_DIR}/%u"
    now, ordinary = effective(host, account.name), effective(host, PROBE)
    # Either our block applies to it now, or the same lines as to everybody.
    alike = now.words(word) == [ours] or now.origins.get(word) == ordinary.origins.get(word)
    answer = ask_sshd(host, "-T", "-C", spec(account.name), files={DROPIN: None})
    lines = (line.split() for line in answer.out.splitlines())
    before = {path for line in lines if line[:1] == [word] for path in line[1:]}
    if alike and not before.isdisjoint(_OLD):
        return ""
    return "another Match block of sshd's says where its keys are"


def _others_file(account: Account, host: Host) -> str:
    """Return why a key file in a home may not be the account's own, or ""."""
    found = host.lstat(old_place(account))
    if found is None or found.st_uid != account.uid or account.uid == 0:
        return "the file is not the account's own"
    names = host.people.accounts_with_home_around(host.realpath(account.home))[1]
    others = [name for name in names if host.accounts[name].uid != account.uid]
    if others:
        return f"its home is or holds the home of {others[0]} too"
    if host.records.is_set_up and host.is_dir(account.jail) and not host.flaw(account.jail):
        return "its jail was there before, and may have been in use"
    return ""
