"""Which keys in the key files work, and why others do not."""

from __future__ import annotations

import posixpath
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from shlex import quote

from ... import Account, Fact, Key, Problem
from ...config import keyfile
from ...errors.escapes import Advice, Choice, shown
from ...formats import fixes
from ...host import Host
from ...jails.former_names import account_with_recorded_uid
from ...openssh.public_keys import LIVE_TEST, Entry, has_lapsed, strange_option, survey, unfit
from ...openssh.repair import basic
from ...openssh.settings import Settings, effective
from ...paths import KEYS_DIR
from . import revoked, sources
from .permissions import loose_mode, unreadable


@lru_cache(maxsize=64)
def _some_entries(host: Host, name: str) -> dict[str, list[Entry]]:
    """Return the entries of an account's key file, or of all key files if NAME is ""."""
    files = [name] if name else host.listdir(KEYS_DIR)
    names = [
        file
        for file in files
        if (found := host.stat(keyfile(file))) and stat.S_ISREG(found.st_mode)
    ]
    return dict(zip(names, survey([host.text(keyfile(name)) for name in names], host), strict=True))


def _entries(account: Account, host: Host) -> list[Entry]:
    """Return the entries of an account's key file.

    When many accounts are checked, a single ssh-keygen reads all files.
    """
    return _some_entries(host, account.name if host.thorough else "").get(account.name, [])


def _bad_lines(account: Account, entries: list[Entry], host: Host) -> list[Problem]:
    """Return the lines that are not keys, or the problem of the file as a whole."""
    path = keyfile(account.name)
    foreign = _foreign(path, host)
    if foreign:
        return [foreign]
    problems = []
    faulty = {entry.number for entry in entries if entry.problem}
    lines = host.text(path).split("\n")
    for number in sorted(faulty):
        if number not in faulty:
            continue
        wrapped = _wrapped(number, lines, faulty, host)
        if wrapped:
            last, glue = wrapped
            faulty -= set(range(number, last + 1))
            what = f"lines {number} to {last} of {path} are one key, wrapped"
            fix = f"sed -i '{number}{{{'N;' * (last - number)}s/\\r*\\n/{glue}/g}}' {path}"
        else:
            what = f"line {number} of {path} is not a public key"
            fix = f"sed -i '{number}s/^/#/' {path}"
        problems.append(Problem(what, "sshd skips it", fix))
    return problems[::-1]  # last line first, because joining lines renumbers those below


def _foreign(path: str, host: Host) -> Problem | None:
    """Return the problem of a key file in another format than sshd's."""
    text, why = host.text(path), "key logins with it fail"
    if text.startswith("\ufeff"):
        what = f"{path} begins with a byte order mark, so its first line is no key"
        return Problem(what, why, f"sed -i '1s/^\\xef\\xbb\\xbf//' {path}")
    convert = ""
    if (host.read(path) or b"")[:2] in (b"\xff\xfe", b"\xfe\xff"):
        what = f"{path} is in UTF-16, as Windows saves a text, so it holds no key"
        convert = f"iconv -f utf-16 -t utf-8 {path}"
    elif text.lstrip().startswith("---- BEGIN SSH2 PUBLIC KEY"):
        form = "the format of RFC 4716 (PuTTY, ssh-keygen -e)"
        what = f"{path} holds a key in {form}, which sshd does not read"
        convert = f"ssh-keygen -i -f {path}"
    if not convert:
        return None
    fix = f"{convert} >{path}.new && cp {path}.new {path} && rm {path}.new"
    return Problem(what, why, fix)


def _wrapped(
    number: int, lines: Sequence[str], faulty: Collection[int], host: Host
) -> tuple[int, str] | None:
    """Return the last line of a key that a mail program has wrapped, and how to join its lines.

    Args:
        number: its first line.
        lines: the lines of the file.
        faulty: the numbers of the lines that are not keys by themselves.
        host: the facts.
    """
    for last in range(number + 1, min(number + 5, len(lines)) + 1):
        if last not in faulty:
            return None
        for glue in ("", " "):
            joined = glue.join(line.strip() for line in lines[number - 1 : last])
            key = survey([joined], host)[0][0].key
            if key and not unfit(key):
                return last, glue
    return None


def _expired(key: Key) -> str:
    """Return since when sshd refuses a key by its expiry-time=, or "" (sshd(8))."""
    given = [option for option in key.options if option.lower().startswith("expiry-time=")]
    if not given or not has_lapsed(key, time.time()):
        return ""
    return given[0].partition("=")[2].strip('"')


def _of_tests(account: Account, keys: Sequence[Key]) -> list[Problem]:
    """Return the keys that `test --live` could not take out, and that sshd refuses by now."""
    why = "the test was killed, and sshd has refused the key since it expired"
    return [
        Problem(
            f"a key of an earlier {LIVE_TEST} is left: {key.fingerprint}",
            why,
            f"sftpjail key remove {quote(account.name)} {key.fingerprint}",
            severity="advice",
        )
        for key in keys
        if key.comment == LIVE_TEST and _expired(key)
    ]


def _useless(key: Key, found: Settings, host: Host) -> str:
    """Return why sshd would not accept a valid key, or ""."""
    if _expired(key):
        return f"expired on {_expired(key)[:8]}"
    if not set(_algorithms(key)) & set(found.get("pubkeyacceptedalgorithms").split(",")):
        return (
            f"{key.type} is not in PubkeyAcceptedAlgorithms "
            f"({found.where('pubkeyacceptedalgorithms')})"
        )
    path = revoked.list_of(found)
    if path and revoked.is_revoked(key, path, host):
        return f"revoked in {path}"
    return ""


def _usable(account: Account, entries: list[Entry], host: Host) -> list[Problem]:
    """Return why sshd would accept none of the keys, or what is wrong with one of them."""
    keys = [entry.key for entry in entries if entry.key]
    path, problems = keyfile(account.name), []
    for number, key in ((entry.number, entry.key) for entry in entries if entry.key):
        strange = strange_option(key.options)
        if strange:
            what = f"line {number} of {path} has the option {strange}, which sshd does not know"
            edit = f"{number}s/\\(^\\|,\\){basic(strange)}\\([ ,]\\)/\\2/; {number}s/^[ ,]//"
            problems.append(Problem(what, "it skips the key", f"sed -i {quote(edit)} {path}"))
        elif unfit(key):
            what = f"the key {key.fingerprint} of {account.name} may not open a jail: {unfit(key)}"
            fix = f"sftpjail key remove {account.name} {key.fingerprint}"
            problems.append(Problem(what, f"it stands in {path} all the same", fix))
    problems += _of_tests(account, keys)
    if not host.thorough or not keys:
        return problems
    found = effective(host, account.name)
    flaw = revoked.flaw(keys, found, host)
    if flaw:
        return [*problems, flaw]
    reasons = [_useless(key, found, host) for key in keys]
    if all(reasons):
        cure = f"give it another key: sftpjail key add {account.name} FILE"
        what = f"no key of {account.name} is good: " + "; ".join(dict.fromkeys(reasons))
        choices = _accepting(account, keys, reasons, found, host)
        why = f"sshd takes none of those in {path}"
        problems.append(Problem(what, why, choices=choices, advice=cure))
    return problems


def _accepting(
    account: Account, keys: Sequence[Key], reasons: Sequence[str], found: Settings, host: Host
) -> tuple[Choice, ...]:
    """Return the choice to have a profile accept its keys, whatever the whole host accepts."""
    from ...openssh.profile_edit import set_option  # late: useradd waits for everything else

    if account.profile is None or not found.is_set("pubkeyacceptedalgorithms"):
        return ()
    if not all("PubkeyAccepted" in reason for reason in reasons):
        return ()
    types = ",".join(dict.fromkeys(_algorithms(key)[0] for key in keys))
    now = found.get("pubkeyacceptedalgorithms")
    command = set_option(account.profile, f"PubkeyAcceptedAlgorithms {now},{types}", host)
    label = f"to have profile {account.profile.name} accept {types} all the same"
    if isinstance(command, Advice):
        return ()
    return (Choice(label, command),)


def _elsewhere(account: Account, host: Host, entries: Sequence[Entry] = ()) -> list[Problem]:
    """Return the problems of other key sources; none when many accounts are checked."""
    if not host.thorough or account.profile is None:
        return []
    has_keys = any(entry.key for entry in entries)
    return [*sources.problems(account, effective(host, account.name), has_keys, host)]


def _algorithms(key: Key) -> tuple[str, ...]:
    """Return a key's signature algorithms, as in PubkeyAcceptedAlgorithms (sshd_config(5))."""
    if key.type == "ssh-rsa":
        return ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
    return (key.type,)


def _nobodys(host: Host) -> list[Problem]:
    """Return the key files that no account has. They are put out of use, and not deleted."""
    why = "a later account of that name would inherit its keys"
    problems = []
    for name in host.listdir(KEYS_DIR):
        path = f"{KEYS_DIR}/{name}"
        if name.startswith(".") or not host.people.is_gone(name) or host.is_dir(path):
            continue
        if account_with_recorded_uid(name, host) is None:
            problems.append(Problem(f"{path} belongs to no account", why, fixes.hide(path, host)))
    return problems


def find_problems(account: Account | None, host: Host) -> list[Problem]:
    if account is None:
        return _nobodys(host)
    path = keyfile(account.name)
    found = host.stat(path)
    if found is None:
        return _elsewhere(account, host)
    if not stat.S_ISREG(found.st_mode):
        advice: str = fixes.advice(path, host)
        if move := fixes.aside(path, host):
            advice = f"give it a key: {move} && sftpjail key add {account.name} FILE"
        return [Problem(f"{path} is not a file", "sshd finds no key there", advice=advice)]
    wrong = loose_mode(path, account, host) or unreadable(path, account, host)
    entries = _entries(account, host)
    inside = [*_bad_lines(account, entries, host), *_usable(account, entries, host)]
    return [
        *filter(None, [wrong]),
        *_if_safe(inside, path, host),
        *_elsewhere(account, host, entries),
    ]


def _if_safe(problems: list[Problem], path: str, host: Host) -> list[Problem]:
    """Return problems about a key file, without commands if others could replace the file."""
    if host.trusted_path(path) == path:
        return problems
    advice = fixes.advice(path, host)
    return [
        Problem(problem.what, problem.why, advice) if path in problem.fix else problem
        for problem in problems
    ]


def list_facts(account: Account, host: Host) -> list[Fact]:
    found = effective(host, account.name)
    facts = []
    for pattern in found.words("authorizedkeysfile"):
        facts += _file_facts(account, pattern, host)
    said = sources.commanded(account, found, host)
    if said:
        note = said.problem or "good"
        facts.append(Fact("keys", "command", " ".join(said.argv), note, bool(said.problem)))
        facts += _listed(said.entries)
    facts += _certificate_facts(account, found, host)
    for keyword in ("authorizedkeyscommand", "authorizedprincipalscommand", "revokedkeys"):
        told = keyword == "authorizedkeyscommand" and said
        if not told and found.get(keyword) not in ("", "none"):
            where = posixpath.basename(found.where(keyword))
            facts.append(Fact("keys", keyword, found.get(keyword), where))
    return facts


def _file_facts(account: Account, pattern: str, host: Host) -> list[Fact]:
    """Return the facts about one word of AuthorizedKeysFile."""
    path = posixpath.join(account.home, account.expand(pattern))
    there = host.stat(path)
    if pattern == "none" or there is None or not stat.S_ISREG(there.st_mode):
        note = "is not a file"
        if there is None:
            note = "is not there"
        return [Fact("keys", "file", path, note, bool(there))]
    wrong, entries = unreadable(path, account, host), []
    if path == keyfile(account.name):
        wrong = loose_mode(path, account, host) or wrong
        entries = _entries(account, host)
    note = "good"
    if wrong:
        note = "sshd would not use it"
    return [Fact("keys", "file", path, note, bool(wrong)), *_listed(entries)]


def _certificate_facts(account: Account, found: Settings, host: Host) -> list[Fact]:
    """Return whose certificates sshd accepts for an account, and with which principals."""
    ca = found.get("trustedusercakeys")
    if ca in ("", "none"):
        return []
    where = posixpath.basename(found.where("trustedusercakeys"))
    path, names = sources.principals_file(account, found), [account.name]
    if path:
        names = [line for line in host.text(path).split("\n") if line.strip()]
    return [
        Fact("keys", "authorities", ca, where),
        *_listed(survey([host.text(ca)], host)[0]),
        Fact("keys", "principals", ", ".join(names), path or "the name itself"),
    ]


def _listed(entries: Iterable[Entry]) -> list[Fact]:
    facts = []
    for entry in entries:
        if entry.key:
            comment = entry.key.comment and shown(entry.key.comment)
            note = " ".join(filter(None, (comment, ",".join(entry.key.options))))
            ended = has_lapsed(entry.key, time.time())
            if ended:
                note += " (expired)"
            facts.append(Fact("keys", entry.key.type, entry.key.fingerprint, note, ended, 1))
        else:
            facts.append(
                Fact("keys", f"line {entry.number}", shown(entry.text[:30]), entry.problem, True, 1)
            )
    return facts
