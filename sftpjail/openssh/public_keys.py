"""Public keys as users submit them: OpenSSH, RFC 4716 or PKCS8.

ssh-keygen(1) reads the keys; only their options are judged here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import SftpJailError, UsageError
from ..host import Host
from ..model import Key, free_text, frozen

MAX_BYTES = 1 << 20  # for each source of keys: about 10,000 keys
MAX_LINES = 20_000  # for each source, including blank lines and comments

LIVE_TEST = "sftpjail test --live"  # the comment of a key that a test puts in force
_TYPE = re.compile(r"(sk-)?(ssh|ecdsa)-[A-Za-z0-9@.-]+(?=[ \t])")
_FOREIGN = {
    "---- BEGIN SSH2 PUBLIC KEY ----": "RFC4716",
    "-----BEGIN PUBLIC KEY-----": "PKCS8",
    "-----BEGIN RSA PUBLIC KEY-----": "PEM",
}
_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")  # the byte order mark, as it is decoded here
DSA = "DSA keys are 1024 bits and sshd no longer takes them"
_SHUTTING = {
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "no-x11-forwarding",
}
_HARMLESS = {"restrict", "from", "expiry-time", "verify-required", "no-touch-required", *_SHUTTING}
_OPENING = {option.removeprefix("no-") for option in _SHUTTING}
_OPENING |= {"command", "environment", "permitlisten", "permitopen", "principals", "tunnel"}
_KNOWN = {"cert-authority", *_HARMLESS, *_OPENING}
_WHY = {
    "command": "ForceCommand decides what runs in a jail",
    "environment": "it would set variables for the session",
    "cert-authority": "it would let in every key that its owner signs",
    "principals": "it goes with cert-authority",
}


_TIME = re.compile(r'"([0-9]{8}|[0-9]{12}|[0-9]{14})(Z|UTC)?"', re.IGNORECASE)


def looks_like_key(text: str) -> bool:
    """Return whether TEXT is a key line as it stands in a .pub file, whatever ssh-keygen thinks."""
    return bool(_TYPE.match(text.lstrip()))


def split_options(line: str) -> tuple[tuple[str, ...], str]:
    """Split a line of authorized_keys into its options and the rest.

    See sshd(8), AUTHORIZED_KEYS FILE FORMAT.

    Raises:
        SftpJailError: unbalanced quotes.
    """
    if _TYPE.match(line):
        return (), line.strip(" \t")
    options: list[str] = []
    current, quoted, escaped = "", False, False
    for index, character in enumerate(line):
        if character in " \t" and not quoted:
            return tuple([*options, current] if current else options), line[index:].strip(" \t")
        if character == "," and not quoted:
            options.append(current)
            current = ""
            continue
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and not escaped
        current += character
    raise SftpJailError(f"not a public key: {line[:40]!r}")


def refused(options: tuple[str, ...]) -> str:
    """Return why a key with these options is refused, or ""."""
    for option in options:
        name = option.partition("=")[0].lower()
        if name not in _HARMLESS:
            return f"option {name}: {_WHY.get(name, 'it could open what the jail shuts')}"
    names = [option.partition("=")[0].lower() for option in options]
    if names.count("from") > 1:
        return "option from: sshd takes no key that has it twice"
    if None in _ends(options):
        return "option expiry-time: sshd takes no such time"
    return ""


def strange_option(options: tuple[str, ...]) -> str:
    """Return the first option that sshd does not know, or "".

    sshd ignores such a line (auth-options.c).
    """
    return next(
        (option for option in options if option.partition("=")[0].lower() not in _KNOWN), ""
    )


def convert(text: str, host: Host) -> str:
    """Convert keys from another format to OpenSSH lines.

    Raises:
        SftpJailError: ssh-keygen cannot read it, or it is a private key.
    """
    _refuse_windows(text)
    # Not \s, which goes on from every line through all the empty ones below it.
    if re.search(
        r"(?m)^[ \t\r]*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----", text.removeprefix("\ufeff")
    ):
        raise SftpJailError(
            "that is a private key, which stays with its owner",
            advice="its public half is what ssh-keygen -y -f FILE prints",
        )
    text = text.removeprefix("\ufeff")
    head = text.lstrip()
    kind = next((kind for begin, kind in _FOREIGN.items() if head.startswith(begin)), "")
    if not kind:
        return text
    answer = host.ask(["ssh-keygen", "-i", "-m", kind, "-f", "/dev/stdin"], stdin=head)
    if answer.failed:
        raise SftpJailError(f"ssh-keygen cannot read this {kind} key: {answer.words}")
    # Only this format has a comment, and ssh-keygen drops it.
    comment = re.search(r'(?mi)^Comment:\s*"?([^"\r\n]*)', head)
    return f"{answer.out.strip()} {comment[1] if comment else ''}".strip() + "\n"


def _refuse_windows(text: str) -> None:
    """Refuse two forms that Windows' programs write, with the way to the one that is wanted.

    Raises:
        SftpJailError: it is UTF-16, or a private key of PuTTY's.
    """
    if text.startswith(_UTF16) or "s\0s\0h\0" in text[:64]:
        raise SftpJailError(
            "the text is UTF-16, as PowerShell writes it, and no key file",
            advice="iconv -f UTF-16 -t UTF-8 FILE | sftpjail key add USER -",
        )
    if text.lstrip("\ufeff \t\r\n").startswith("PuTTY-User-Key-File-"):
        raise SftpJailError(
            "that is a private key of PuTTY's, which stays with its owner",
            advice="its public half is what puttygen FILE -O public-openssh prints, "
            "and what PuTTYgen shows for pasting into authorized_keys",
        )


@frozen
class Entry:
    """A line of a key file that is not a comment: its key, or what is wrong with it."""

    number: int
    text: str
    key: Key | None = None
    problem: str = ""


# Nobody's key. It stands behind those that are asked about, so that an answer about it says that
# ssh-keygen has come to their end, and did not die before: no key is taken for a bad line then.
_LAST = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + 43 * "A"


def survey(texts: Sequence[str], host: Host) -> list[list[Entry]]:
    """Read any number of key files with a single ssh-keygen.

    Bad lines do not affect the others in a file.

    Args:
        texts: the files' contents.
        host: runs ssh-keygen.

    Returns:
        The entries of each text, in order.

    Raises:
        SftpJailError: ssh-keygen has not read all: which lines are keys is not known.
    """
    lines = [list(_lines(text)) for text in texts]
    every = [line for own in lines for line in own]
    # We set the comment, so that each answer can be matched with its line.
    given = "".join(f"{line.kind} {line.blob} {n}\n" for n, line in enumerate(every) if line.blob)
    said: dict[int, re.Match[str]] = {}
    if given:
        answer = host.ask(["ssh-keygen", "-l", "-f", "-"], stdin=f"{given}{_LAST} {len(every)}\n")
        found = re.finditer(r"(?m)^(\d+) (\S+) (\d+) \(", answer.out)
        said = {int(line[3]): line for line in found}
        if len(every) not in said:
            raise SftpJailError(f"ssh-keygen has not read all keys: {answer.words}")
    entries = iter([_entry(line, said.get(n)) for n, line in enumerate(every)])
    return [[next(entries) for _ in own] for own in lines]


class _Line(NamedTuple):
    """The parts of a line in a key file."""

    number: int
    text: str
    options: tuple[str, ...]
    kind: str
    blob: str
    comment: str


def _lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            options, rest = split_options(line)
        except SftpJailError:
            options, rest = (), ""
        kind, blob, comment, *_ = *re.split("[ \t]+", rest, maxsplit=2), "", ""
        yield _Line(number, line, options, kind, blob, comment)


def _entry(line: _Line, said: re.Match[str] | None) -> Entry:
    """Return the entry for a line, given ssh-keygen's answer, if any."""
    if said:
        bits, fingerprint = int(said[1]), said[2]
        key = Key(line.text, line.kind, bits, fingerprint, line.comment, line.options)
        return Entry(line.number, line.text, key)
    problem = "it is not a public key that ssh-keygen can read"
    if line.kind == "ssh-dss" and line.blob:
        problem = DSA  # recent versions of ssh-keygen cannot read these at all
    return Entry(line.number, line.text, problem=problem)


def unfit(key: Key) -> str:
    """Return why a key is refused, or ""."""
    if key.type == "ssh-dss":
        return DSA
    if key.type == "ssh-rsa" and key.bits < 2048:
        return f"RSA with {key.bits} bits is too weak; at least 2048 are required"
    if "-cert-" in key.type:
        return "it is a certificate and not a key"
    return refused(key.options)


def read(text: str, host: Host, source: str) -> tuple[list[Key], list[str]]:
    """Return the acceptable keys in a text, and why the others are refused.

    Args:
        text: the content of a file or of standard input.
        host: runs ssh-keygen.
        source: the name of the text in messages.

    Raises:
        SftpJailError: it is a private key, a foreign format that ssh-keygen cannot read,
            or has too many lines.
    """
    if text.count("\n") > MAX_LINES:
        raise SftpJailError(f"{source} has more than {MAX_LINES} lines")
    keys, problems = [], []
    for entry in survey([convert(text, host)], host)[0]:
        reason = _why_not(entry)
        if entry.key and not reason:
            keys.append(tidy(entry.key))
        else:
            problems.append(f"{source}, line {entry.number}: {reason}")
    if len(problems) > 5:  # not a key file
        problems = [*problems[:5], f"{source}: {len(problems) - 5} more lines like these"]
    return keys, problems


def read_many(texts: Sequence[str], host: Host) -> list[tuple[list[Key], list[str]]]:
    """As `read`, of any number of texts in OpenSSH's own format, by a single ssh-keygen.

    Args:
        texts: a key a line.
        host: runs ssh-keygen.

    Returns:
        Of each text its keys, and why the others are refused, without the name of a source.
    """
    answers = []
    for entries in survey(texts, host):
        reasons = [(entry, _why_not(entry)) for entry in entries]
        keys = [tidy(entry.key) for entry, why in reasons if entry.key and not why]
        answers.append((keys, [why for _, why in reasons if why]))
    return answers


def _why_not(entry: Entry) -> str:
    """Return why a line may not be copied to a jail's key file, or ""."""
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in entry.text):
        return "the key line has a control character"
    if entry.key:
        return unfit(entry.key)
    return f"{entry.problem}: {entry.text[:40]!r}"


def tidy(key: Key) -> Key:
    """Return the key with its line normalized: one space between the parts."""
    return _with(key, key.options, key.comment)


def _with(key: Key, options: tuple[str, ...], comment: str) -> Key:
    line = " ".join(filter(None, (",".join(options), blob(key), comment)))
    return replace(key, line=line, options=options, comment=comment)


def renamed(key: Key, name: str) -> Key:
    """Return a key with another comment.

    Raises:
        UsageError: it is none that a line can have, or too long.
    """
    if free_text(name, "the name of a key") != name or name != name.strip():
        raise UsageError(
            f"a key cannot be called {name!r}: it must be one line without surrounding blanks"
        )
    return _with(key, key.options, name)


def limited(key: Key, addresses: str = "", last_day: str = "") -> Key:
    """Return a key that lets in from some addresses only, or until a day.

    See from= and expiry-time= in sshd(8), AUTHORIZED_KEYS FILE FORMAT.

    Args:
        key: without such an option.
        addresses: patterns of names and addresses, and networks, separated by commas.
        last_day: YYYY-MM-DD, in the time of the host.

    Raises:
        UsageError: sshd would not take that, or the key has the option already.
    """
    options = {option.partition("=")[0].lower() for option in key.options}
    added = {}
    if addresses:
        _check_addresses(addresses)
        added["from"] = addresses
    if last_day:
        from datetime import date, timedelta  # late: no hook needs it

        try:
            end = date.fromisoformat(last_day) + timedelta(days=1)
        except OverflowError:
            raise UsageError(f"{last_day} is the last day of the calendar") from None
        added["expiry-time"] = f"{end:%Y%m%d}"
    twice = options & added.keys()
    if twice:
        raise UsageError(f"the key {key.fingerprint} has the option {min(twice)}= already")
    more = tuple(f'{name}="{value}"' for name, value in added.items())
    return _with(key, (*key.options, *more), key.comment)


def ended(key: Key, last_day: str) -> Key:
    """Return a key that lets in until a day, or as it is if its own end comes before.

    A line whose end sshd does not understand lets nobody in, and stays as it is.

    Args:
        key: with or without an expiry-time=.
        last_day: YYYY-MM-DD, in the time of the host.
    """
    own = _ends(key.options)
    rest = tuple(option for option in key.options if not _is_end(option))
    new = limited(_with(key, rest, key.comment), last_day=last_day)
    if None in own or (own and (expiry(key) or 0) <= (expiry(new) or 0)):
        return key
    return new


def expiry(key: Key) -> int | None:
    """Return when sshd refuses a key by its expiry-time= in epoch seconds, None without one.

    Of several, the first that comes counts.
    """
    return min((end for end in _ends(key.options) if end is not None), default=None)


def _is_end(option: str) -> bool:
    return option.lower().startswith("expiry-time=")


def _ends(options: Sequence[str]) -> list[int | None]:
    """Return the epoch seconds of each expiry-time=, None where sshd takes no such time.

    In the time of the host, or with Z or UTC in that: sshd(8), and parse_absolute_time in misc.c.
    """
    return [_moment(option.partition("=")[2]) for option in options if _is_end(option)]


def _moment(value: str) -> int | None:
    import calendar

    found = _TIME.fullmatch(value)
    if not found:
        return None
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(found[1])]
    try:
        when = time.strptime(found[1], form)
        if found[2]:
            return calendar.timegm(when)
        return int(time.mktime(when))
    except (ValueError, OverflowError):
        return None


def _check_addresses(text: str) -> None:
    """Refuse what sshd would take for no pattern list (match_host_and_ip in match.c).

    Raises:
        UsageError: names the word.
    """
    from ipaddress import ip_network  # late: no hook needs it

    words = text.split(",")
    for word in words:
        try:
            good = bool(re.fullmatch(r"!?[A-Za-z0-9.:*?_/-]+", word))
            if good and "/" in word:
                good = bool(re.fullmatch(r"[^/]+/[0-9]{1,3}", word))  # sshd knows no netmask
                ip_network(word.removeprefix("!"))
        except ValueError:  # no network, or one with bits of a host
            good = False
        if not good:
            raise UsageError(f"{word!r} is not an address, a network or a pattern of names")
    if all(word.startswith("!") for word in words):
        raise UsageError(f"{text} lets nobody in: all of it is excluded")


def blob(key: Key) -> str:
    """Return the encoded key alone; lines with the same one have the same key."""
    return " ".join(key.line.lstrip(" \t\r")[len(",".join(key.options)) :].split()[:2])


def has_lapsed(key: Key, at: float) -> bool:
    """Return whether sshd no longer takes a key at a moment, by its expiry-time; see sshd(8).

    Args:
        key: as its line has it.
        at: epoch seconds.
    """
    return _is_over(key.options, at)


def line_has_lapsed(line: str, at: float) -> bool:
    """Return the same of a line of authorized_keys, which ssh-keygen(1) has not read.

    Raises:
        SftpJailError: unbalanced quotes.
    """
    return _is_over(split_options(line)[0], at)


def _is_over(options: Sequence[str], at: float) -> bool:
    return any(end is not None and end < at for end in _ends(options))
