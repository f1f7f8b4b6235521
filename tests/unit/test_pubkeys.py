"""Public keys: options split as sshd does, and what may open a jail."""

from __future__ import annotations

import pytest
from fakes import FakeHost, Programs
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail import pubkeys
from sftpjail.errors import SftpJailError
from sftpjail.model import Key
from sftpjail.programs import Answer

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIJDG"
ED = f"ssh-ed25519 {BLOB}"


@pytest.fixture
def host(programs: Programs) -> FakeHost:
    def keygen(argv: list[str], stdin: str) -> Answer:
        if "-i" in argv:
            return Answer(0, f"{ED}\n", "") if "good" in stdin else Answer(1, "", "uudecode failed")
        kind = stdin.split(" ", maxsplit=1)[0]
        bits = {"ssh-rsa": 1024 if "weak" in stdin else 3072, "ssh-dss": 1024}.get(kind, 256)
        if len(stdin.split()) < 2 or not stdin.split()[1].startswith("AAAA"):
            return Answer(255, "", "(stdin) is not a public key file.")
        return Answer(0, f"{bits} SHA256:{stdin.split()[1][-6:]} no comment ({kind})\n", "")

    programs.answer_by("ssh-keygen", keygen)
    return FakeHost("/nonexistent")


name = st.sampled_from(["from", "restrict", "command", "environment", "expiry-time", "x-y@z"])
quoted = st.text(
    st.sampled_from('ab ,=#\t"') | st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\\")
)
option = st.one_of(
    name,
    st.tuples(name, quoted).map(lambda p: f'{p[0]}="{p[1]}"'.replace('"', '\\"').replace('=\\"', '="', 1)[:-2] + '"'),
)


@given(options=st.lists(option, min_size=1, max_size=4), gap=st.sampled_from([" ", "\t", "  "]))
@example(options=['command="echo \\"a, b\\" # c"', "restrict"], gap=" ")
@example(options=['from="10.0.0.0/8,!10.1.*"'], gap="\t")
def test_options_are_split_where_sshd_splits_them(options: list[str], gap: str) -> None:
    assert pubkeys.split_options(",".join(options) + gap + ED + " me, too") == (tuple(options), f"{ED} me, too")


@given(line=st.text() | st.text(st.sampled_from('ab ,="\\\tssh-rsa')))
def test_any_line_is_split_or_refused_and_nothing_is_lost(line: str) -> None:
    try:
        options, rest = pubkeys.split_options(line)
    except SftpJailError:
        return
    assert line.startswith(",".join(options)) and line.strip(" \t").endswith(rest)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", "ssh-rsa"])
def test_a_line_without_options(kind: str) -> None:
    assert pubkeys.split_options(f"{kind} {BLOB} a,b") == ((), f"{kind} {BLOB} a,b")


@pytest.mark.parametrize("line", ['from="10.0.0.1 ssh-ed25519 AAAA', "justaword", ""])
def test_an_open_quote_or_a_lone_word_is_no_key(line: str) -> None:
    with pytest.raises(SftpJailError, match="not a public key"):
        pubkeys.split_options(line)


def test_parse_line(host: FakeHost) -> None:
    key = pubkeys.parse_line(f'  restrict,from="a, b" {ED}  me at home \r', host)
    assert key == Key(
        f'restrict,from="a, b" {ED} me at home',
        "ssh-ed25519",
        256,
        "SHA256:5AAAAI"[:7] + BLOB[-6:],
        "me at home",
        ("restrict", 'from="a, b"'),
    )
    assert pubkeys.blob(key) == ED == pubkeys.blob(pubkeys.parse_line(ED, host))


@pytest.mark.parametrize(
    "text", ["ssh-ed25519", "ssh-ed25519 rubbish", "hello world", "\x1b[2J ssh-ed25519 AAAA", "a\x00b"]
)
def test_what_is_no_key(host: FakeHost, text: str) -> None:
    with pytest.raises(SftpJailError):
        pubkeys.parse_line(text, host)


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
    said = pubkeys.unfit(pubkeys.parse_line(line, host))
    assert said == "" if not reason else reason in said


def test_a_private_key_is_refused_before_anything_reads_it(host: FakeHost, programs: Programs) -> None:
    for kind in ("OPENSSH ", "RSA ", ""):
        with pytest.raises(SftpJailError, match="private key") as caught:
            pubkeys.read(f"{ED}\n-----BEGIN {kind}PRIVATE KEY-----\nsecret\n", host, "id")
        assert "secret" not in caught.value.message
    assert programs.asked == []


def test_foreign_formats(host: FakeHost) -> None:
    rfc = '---- BEGIN SSH2 PUBLIC KEY ----\r\nComment: "ann\'s key"\r\ngood\r\n---- END SSH2 PUBLIC KEY ----\r\n'
    keys, problems = pubkeys.read(rfc, host, "x")
    assert problems == [] and [key.line for key in keys] == [f"{ED} ann's key"]
    keys, _ = pubkeys.read("\ufeff-----BEGIN PUBLIC KEY-----\ngood\n-----END PUBLIC KEY-----\n", host, "x")
    assert [key.line for key in keys] == [ED]
    with pytest.raises(SftpJailError, match="cannot read this PKCS8 key: uudecode failed"):
        pubkeys.read("-----BEGIN PUBLIC KEY-----\nbad\n", host, "x")


def test_read_says_which_line_is_wrong_and_why(host: FakeHost) -> None:
    text = f"# comment\n\n{ED} one\r\nrubbish here\nssh-dss {BLOB}\n  {ED} two\n"
    keys, problems = pubkeys.read(text, host, "file")
    assert [key.comment for key in keys] == ["one", "two"]
    assert [problem.partition(":")[0] for problem in problems] == ["file, line 4", "file, line 5"]


@given(comment=st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1))
def test_a_key_line_stays_one_line_and_parses_again(comment: str) -> None:
    host = FakeHost("/nonexistent")
    host._answers = _Always()  # type: ignore[assignment]
    key = pubkeys.parse_line(f"restrict {ED} {comment}", host)
    assert "\n" not in key.line
    assert pubkeys.parse_line(key.line, host) == key


class _Always(dict[object, Answer]):
    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: object) -> Answer:
        return Answer(0, "256 SHA256:abc no comment (ED25519)\n", "")
