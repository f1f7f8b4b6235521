"""Public keys: options split as sshd does, and what may open a jail."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import FakeHost, Programs
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail.errors import SftpJailError, UsageError
from sftpjail.host import Host
from sftpjail.model import Key
from sftpjail.openssh import public_keys
from sftpjail.system.programs import Answer

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIJDG"
ED = f"ssh-ed25519 {BLOB}"


@pytest.fixture
def host(programs: Programs) -> FakeHost:
    def keygen(argv: list[str], stdin: str) -> Answer:
        if "-i" in argv:
            return Answer(0, f"{ED}\n", "") if "good" in stdin else Answer(1, "", "uudecode failed")
        good = [line.split(None, 2) for line in stdin.split("\n") if re.match(r"\S+ AAAA", line)]
        said = ""
        for kind, blob, *comment in good:
            bits = {"ssh-rsa": 1024 if "weak" in blob else 3072, "ssh-dss": 1024}.get(kind, 256)
            said += f"{bits} SHA256:{blob[-6:]} {''.join(comment) or 'no comment'} ({kind})\n"
        return Answer(0, said, "") if said else Answer(255, "", "(stdin) is not a public key file.")

    programs.answer_by("ssh-keygen", keygen)
    return FakeHost("/nonexistent")


name = st.sampled_from(["from", "restrict", "command", "environment", "expiry-time", "x-y@z"])
quoted = st.text(
    st.sampled_from('ab ,=#\t"')
    | st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\\")
)
option = st.one_of(
    name,
    st.tuples(name, quoted).map(
        lambda p: f'{p[0]}="{p[1]}"'.replace('"', '\\"').replace('=\\"', '="', 1)[:-2] + '"'
    ),
)


@given(options=st.lists(option, min_size=1, max_size=4), gap=st.sampled_from([" ", "\t", "  "]))
@example(options=['command="echo \\"a, b\\" # c"', "restrict"], gap=" ")
@example(options=['from="10.0.0.0/8,!10.1.*"'], gap="\t")
@example(options=['"in quotes, all of it"'], gap=" ")
def test_options_are_split_where_sshd_splits_them(options: list[str], gap: str) -> None:
    assert public_keys.split_options(",".join(options) + gap + ED + " me, too") == (
        tuple(options),
        f"{ED} me, too",
    )


@given(line=st.text() | st.text(st.sampled_from('ab ,="\\\tssh-rsa')))
@example(line="ssh-0 ")
def test_any_line_is_split_or_refused_and_nothing_is_lost(line: str) -> None:
    try:
        options, rest = public_keys.split_options(line)
    except SftpJailError:
        return
    assert line.startswith(",".join(options)) and line.strip(" \t").endswith(rest)


@pytest.mark.parametrize(
    "kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", "ssh-rsa"]
)
def test_a_line_without_options(kind: str) -> None:
    assert public_keys.split_options(f"{kind} {BLOB} a,b") == ((), f"{kind} {BLOB} a,b")


@pytest.mark.parametrize("line", ['from="10.0.0.1 ssh-ed25519 AAAA', "justaword", ""])
def test_an_open_quote_or_a_lone_word_is_no_key(line: str) -> None:
    with pytest.raises(SftpJailError, match="not a public key"):
        public_keys.split_options(line)


def the_key(line: str, host: Host) -> Key:
    ((entry,),) = public_keys.survey([line], host)
    assert entry.key
    return entry.key


def test_a_key_is_written_down_with_one_blank_between_its_parts(host: FakeHost) -> None:
    ((key,), problems) = public_keys.read(f'  restrict,from="a, b" {ED}  me at home \r', host, "x")
    assert problems == []
    assert key == Key(
        f'restrict,from="a, b" {ED} me at home',
        "ssh-ed25519",
        256,
        "SHA256:5AAAAI"[:7] + BLOB[-6:],
        "me at home",
        ("restrict", 'from="a, b"'),
    )
    assert public_keys.blob(key) == ED == public_keys.blob(the_key(ED, host))


@pytest.mark.parametrize(
    "text",
    ["ssh-ed25519", "ssh-ed25519 rubbish", "hello world", "\x1b[2J ssh-ed25519 AAAA", "a\x00b"],
)
def test_what_is_no_key(host: FakeHost, text: str) -> None:
    keys, problems = public_keys.read(text, host, "x")
    assert keys == [] and len(problems) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ED, ""),
        (f"restrict {ED}", ""),
        (f'from="10.0.0.0/8",expiry-time="20300101" {ED}', ""),
        (f"RESTRICT,No-Pty {ED}", ""),
        (f"ssh-rsa {BLOB}", ""),
        (f"ssh-rsa {BLOB}weak", "1024 bits"),
        (f"ssh-dss {BLOB}", "DSA"),
        (f'command="sh" {ED}', "option command"),
        (f'restrict,Command="sh" {ED}', "option command"),
        (f'environment="LD_PRELOAD=x" {ED}', "option environment"),
        (f"cert-authority {ED}", "option cert-authority"),
        (f'principals="root" {ED}', "option principals"),
        (f"pty {ED}", "option pty"),
        (f"port-forwarding {ED}", "option port-forwarding"),
        (f"agent-forwarding {ED}", "option agent-forwarding"),
        (f"user-rc {ED}", "option user-rc"),
        (f'permitopen="*:*" {ED}', "option permitopen"),
        (f'tunnel="0" {ED}', "option tunnel"),
        (f"some-future-option {ED}", "option some-future-option"),
        (f"ssh-ed25519-cert-v01@openssh.com {BLOB}", "certificate"),
    ],
)
def test_fit_and_unfit(host: FakeHost, line: str, reason: str) -> None:
    said = public_keys.unfit(the_key(line, host))
    assert said == "" if not reason else reason in said


def test_a_private_key_is_refused_before_anything_reads_it(
    host: FakeHost, programs: Programs
) -> None:
    for kind in ("OPENSSH ", "RSA ", ""):
        with pytest.raises(SftpJailError, match="private key") as caught:
            public_keys.read(f"{ED}\n-----BEGIN {kind}PRIVATE KEY-----\nsecret\n", host, "id")
        assert "secret" not in caught.value.message
    assert programs.asked == []


def test_foreign_formats(host: FakeHost) -> None:
    rfc = '---- BEGIN SSH2 PUBLIC KEY ----\r\nComment: "ann\'s key"\r\ngood\r\n---- END SSH2 PUBLIC KEY ----\r\n'
    keys, problems = public_keys.read(rfc, host, "x")
    assert problems == [] and [key.line for key in keys] == [f"{ED} ann's key"]
    keys, _ = public_keys.read(
        "\ufeff-----BEGIN PUBLIC KEY-----\ngood\n-----END PUBLIC KEY-----\n", host, "x"
    )
    assert [key.line for key in keys] == [ED]
    with pytest.raises(SftpJailError, match="cannot read this PKCS8 key: uudecode failed"):
        public_keys.read("-----BEGIN PUBLIC KEY-----\nbad\n", host, "x")


def test_read_says_which_line_is_wrong_and_why(host: FakeHost) -> None:
    text = f"# comment\n\n{ED} one\r\nrubbish here\nssh-dss {BLOB}\n  {ED} two\n"
    keys, problems = public_keys.read(text, host, "file")
    assert [key.comment for key in keys] == ["one", "two"]
    assert [problem.partition(":")[0] for problem in problems] == ["file, line 4", "file, line 5"]


@given(comment=st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1))
@example(comment="-----BEGIN PRIVATE KEY-----")
def test_a_key_line_stays_one_line_and_parses_again(comment: str) -> None:
    host = FakeHost("/nonexistent")
    host.programs._answers = _Always()  # type: ignore[assignment]
    ((key,), _) = public_keys.read(f"restrict {ED} {comment}", host, "x")
    assert "\n" not in key.line
    assert public_keys.read(key.line, host, "x") == ([key], [])


class _Always(dict[object, Answer]):
    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: object) -> Answer:
        return Answer(0, "256 SHA256:abc 0 (ED25519)\n256 SHA256:end 1 (ED25519)\n", "")


# -- a whole key file ----------------------------------------------------------------------------


def test_survey_finds_the_good_lines_among_bad_ones(host: FakeHost, programs: Programs) -> None:
    text = f'# comment\n\n{ED} one two\r\nrubbish here\n  restrict,from="a b" {ED}X\nssh-dss\n\t# x\nfrom="open {ED}\n'
    entries = public_keys.survey([text], host)[0]
    assert [(entry.number, bool(entry.key), bool(entry.problem)) for entry in entries] == [
        (3, True, False),
        (4, False, True),
        (5, True, False),
        (6, False, True),
        (8, False, True),
    ]
    one, two = (entry.key for entry in entries if entry.key)
    assert one == Key(f"{ED} one two", "ssh-ed25519", 256, f"SHA256:{BLOB[-6:]}", "one two")
    assert (two.options, two.comment, two.fingerprint) == (
        ("restrict", 'from="a b"'),
        "",
        f"SHA256:{BLOB[-5:]}X",
    )
    assert entries[1].text == "rubbish here"
    assert len(programs.asked) == 1


def test_survey_reads_many_files_with_one_program(host: FakeHost, programs: Programs) -> None:
    texts = [f"{ED}{n:04} user{n}\nbad\n" if n % 2 else "" for n in range(3000)]
    found = public_keys.survey(texts, host)
    assert len(programs.asked) == 1 and len(found) == 3000
    for number, entries in enumerate(found):
        assert [entry.key and entry.key.comment for entry in entries] == (
            [f"user{number}", None] if number % 2 else []
        )
        assert not entries or entries[0].key.fingerprint == f"SHA256:DG{number:04}"  # type: ignore[union-attr]


def test_read_asks_once_for_all_lines_and_refuses_too_many(
    host: FakeHost, programs: Programs
) -> None:
    keys, problems = public_keys.read(
        "".join(f"{ED}{n:05} user{n}\n" for n in range(10_000)), host, "file"
    )
    assert len(keys) == 10_000 and problems == [] and len(programs.asked) == 1
    with pytest.raises(SftpJailError, match="file has more than 20000 lines"):
        public_keys.read("\n" * 20_001, host, "file")
    assert len(programs.asked) == 1


@pytest.mark.parametrize("answer", [Answer(-9, "", ""), Answer(1, "256 SHA256:abc 0 (X)\n", "")])
def test_keys_are_not_bad_because_ssh_keygen_has_died(programs: Programs, answer: Answer) -> None:
    programs.answer_by("ssh-keygen", lambda argv, stdin: answer)
    host = FakeHost("/nonexistent")
    with pytest.raises(SftpJailError, match="ssh-keygen has not read all keys"):
        public_keys.survey([f"{ED} one\n{ED} two\n"], host)


def test_survey_of_nothing(host: FakeHost) -> None:
    assert public_keys.survey([], host) == [] and public_keys.survey(["", "# x\n"], host) == [
        [],
        [],
    ]


GOOD = re.compile(r"ssh-(ed25519|rsa) AAAA[A-Za-z0-9+/]*( .*)?\Z")
some_line = st.one_of(
    st.sampled_from(
        [
            f"{ED} me",
            f"ssh-rsa {BLOB}",
            f'from="x" {ED}',
            f"# {ED}",
            "",
            "AAAA",
            'from="',
            "\ufeff" + ED,
        ]
    ),
    st.text(st.characters(blacklist_characters="\n", blacklist_categories=("Cs",))),
    st.text(st.sampled_from('ab ,="\\\t#ssh-rsa AAAA0123\r')),
    st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"").decode("utf-8", "surrogateescape")),
)


@given(files=st.lists(st.lists(some_line, max_size=8), max_size=4))
def test_survey_reads_any_text_and_counts_right(host: FakeHost, files: list[list[str]]) -> None:
    found = public_keys.survey(["\n".join(lines) for lines in files], host)
    assert len(found) == len(files)
    for lines, entries in zip(files, found, strict=True):
        stripped = {number: line.strip(" \t\r") for number, line in enumerate(lines, 1)}
        counted = [number for number, line in stripped.items() if line and not line.startswith("#")]
        assert [entry.number for entry in entries] == counted
        for entry in entries:
            assert entry.text == stripped[entry.number]
            assert (entry.key is None) == bool(entry.problem)
            assert entry.key or not GOOD.match(entry.text), "a good line was not found"
            assert not entry.key or entry.key.line == entry.text


@given(cuts=st.lists(st.integers(1, len(ED) - 1), min_size=1, max_size=3, unique=True))
def test_a_wrapped_key_is_no_key_until_its_lines_are_joined(
    host: FakeHost, cuts: list[int]
) -> None:
    bounds = [0, *sorted(cuts), len(ED)]
    parts = [ED[start:end] for start, end in pairwise(bounds)]
    (entries,) = public_keys.survey(["\n".join(parts[1:])], host)
    assert not any(entry.key for entry in entries)
    (entries,) = public_keys.survey(["".join(parts)], host)
    assert entries[0].key is not None


# Two keys that ssh-keygen of Debian 12 has made, and their fingerprints.
ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDdUDG+7DV5jME/o+JiI+VezQyrpUIy8ztt7hNw16N4I"
TWO = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDAAqKKBiR7nYCz8MBDge+h/g+RjKYUz6e"
    "SYhuYOfFD7Z3NiVz/rKJBQ4Lj+8aM6/i3uvWBQcVFr4TQhcEc8rck="
)
PRINTS = [
    "SHA256:NQIpcTnu+4fI+rkRd8dbAPwqPJ83vWpJWYgHc/S1ncM",
    "SHA256:peT0YhUGvYC/nkcJhX21QyeB2dOs/RpGMwJBAHKJZqo",
]


@pytest.mark.real_program
def test_survey_asks_the_real_ssh_keygen() -> None:
    first = f"{ONE} 1 2 (ED25519)\nssh-rsa AAAAbroken x\n256 SHA256:forged 3 (ED25519)\nrestrict {TWO} two\n"
    second = f'command="x y" {ONE}\n{TWO[:60]}\n{TWO[60:]}\n1024 35 123456 old\n'
    second += "-----BEGIN PUBLIC KEY-----\nssh-dss AAAAB3NzaC1kc3M=\n"
    found = public_keys.survey([first, second, "nothing"], Host())
    seen = [
        [entry.key and (entry.key.fingerprint, entry.key.bits) for entry in entries]
        for entries in found
    ]
    one, two = (PRINTS[0], 256), (PRINTS[1], 256)
    assert seen == [[one, None, None, two], [one, None, None, None, None, None], [None]]
    assert found[0][0].key and found[0][0].key.comment == "1 2 (ED25519)"


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\x0c"])
def test_only_space_and_tab_part_words_as_for_sshd(host: FakeHost, space: str) -> None:
    (entries,) = public_keys.survey([f"ssh-ed25519{space}{BLOB}"], host)
    assert entries[0].key is None


def test_many_empty_lines_are_no_work(host: FakeHost) -> None:
    """The work grew with their square: root read minutes at a megabyte that any user may leave in a home."""
    empty = "\n" * 19_000 + " " * 900_000
    assert public_keys.read(f"{empty}\n{ED} x", host, "keys")[0][0].comment == "x"
    with pytest.raises(SftpJailError, match="private key"):
        public_keys.read(f"{empty}\n \t-----BEGIN OPENSSH PRIVATE KEY-----", host, "keys")


KEY = Key("ssh-ed25519 AAAA x", "ssh-ed25519", 256, "SHA256:x", "x")


def test_a_key_gets_a_name_addresses_and_an_end() -> None:
    named = public_keys.renamed(KEY, "the first")
    assert (named.line, named.comment) == ("ssh-ed25519 AAAA the first", "the first")
    limited = public_keys.limited(named, "192.0.2.0/24,!*.example.com", "2028-02-29")
    assert limited.line == (
        'from="192.0.2.0/24,!*.example.com",expiry-time="20280301" ssh-ed25519 AAAA the first'
    )
    assert public_keys.blob(limited) == public_keys.blob(KEY)
    with pytest.raises(UsageError, match="the last day of the calendar"):
        public_keys.limited(KEY, last_day="9999-12-31")
    indented = Key('  from="::1" ssh-rsa AAAA', "ssh-rsa", 2048, "SHA256:y", "", ('from="::1"',))
    assert public_keys.blob(indented) == "ssh-rsa AAAA"
    with pytest.raises(UsageError, match="has the option from= already"):
        public_keys.limited(limited, "192.0.2.1")


@pytest.mark.parametrize(
    "addresses",
    [
        "192.0.2.1/24",
        "10.0.0.0/255.0.0.0",
        "*,!10.0.0.0/0.255.255.255",
        "a b",
        'a"',
        "a,",
        "!a,!b",
        "1.2.3.4/33",
        "\u00e4",
    ],
)
def test_what_sshd_would_not_take_is_refused(addresses: str) -> None:
    with pytest.raises(UsageError):
        public_keys.limited(KEY, addresses)


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ((), ('expiry-time="20280301"',)),
        (("restrict", 'expiry-time="20990101"'), ("restrict", 'expiry-time="20280301"')),
        (('Expiry-Time="20200101"', "restrict"), ('Expiry-Time="20200101"', "restrict")),
        (('expiry-time="20990101"', 'expiry-time="202801010000UTC"'), None),
        (('expiry-time="junk"',), None),
        (('expiry-time="20990101"', "expiry-time=20990101"), None),
    ],
)
def test_a_replaced_key_ends_and_never_lasts_longer(
    options: tuple[str, ...], after: tuple[str, ...] | None
) -> None:
    key = replace(KEY, options=options, line=f"{','.join(options)} ssh-ed25519 AAAA x".strip())
    found = public_keys.ended(key, "2028-02-29")
    assert found.options == (options if after is None else after)
    assert public_keys.blob(found) == "ssh-ed25519 AAAA"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (('from="a"', 'From="b"'), "option from: sshd takes no key that has it twice"),
        (('expiry-time="2099"',), "option expiry-time: sshd takes no such time"),
        (('expiry-time="20991301"',), "option expiry-time: sshd takes no such time"),
        (("expiry-time=20990101",), "option expiry-time: sshd takes no such time"),
        (('expiry-time="20990101utc"', 'expiry-time="20990101"', 'from="a"'), ""),
    ],
)
def test_options_of_which_sshd_takes_no_key(options: tuple[str, ...], why: str) -> None:
    assert public_keys.refused(options) == why


@pytest.mark.parametrize("name", [" x", "x\u3000", "a\nb", "a\x1b", "a\x85", "x" * 201])
def test_a_name_is_one_plain_line(name: str) -> None:
    with pytest.raises(UsageError):
        public_keys.renamed(KEY, name)


@pytest.mark.parametrize(
    ("option", "lapsed"),
    [
        ('expiry-time="20260921"', True),
        ('expiry-time="20260922"', False),
        ('expiry-time="202609211413"', True),
        ('Expiry-Time="20260921141320"', False),
        ('expiry-time="20260921141319Z"', True),
        ('expiry-time="20260921141320z"', False),
        ('expiry-time="202609211413UTC"', True),
        ('expiry-time="20260922utc"', False),
        ('from="20260101"', False),
    ],
)
def test_when_sshd_no_longer_takes_a_key(
    option: str, lapsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    key = Key(ED, "ssh-ed25519", 256, "SHA256:x", options=(option,))
    assert public_keys.has_lapsed(key, 1_790_000_000) is lapsed  # 2026-09-21T14:13:20Z
