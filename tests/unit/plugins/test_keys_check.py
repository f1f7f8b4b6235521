"""keys: what check finds wrong with a key file, and what explain shows of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from fakes import Programs, Tree
from golden import Fire, Sshd, ann

from sftpjail import Fact, Problem, SetOwner
from sftpjail.config import keyfile
from sftpjail.errors.escapes import Choice
from sftpjail.plugins.keys.permissions import loose_mode
from sftpjail.system.programs import Answer

DIRECTORY = "/etc/ssh/authorized_keys"
FILE = f"{DIRECTORY}/ann"
ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJDG"
PRINT = "SHA256:AAIJDG"
MAIN = "/etc/ssh/sshd_config"
RELOAD = "kill -HUP 7"


def keygen(argv: Sequence[str], stdin: str) -> Answer:
    """Be ssh-keygen -l: a blob of 28 characters or more is a key, named by its last six."""
    found = re.findall(r"(?m)^(ssh-\w+|ecdsa-\S+) (AAAA[A-Za-z0-9+/]{20,})(?: (.*))?$", stdin)
    bits = {"ssh-rsa": 3072}
    said = [
        f"{1024 if 'weak' in b else bits.get(k, 256)} SHA256:{b[-6:]} {c or 'no comment'} (X)\n"
        for k, b, c in found
    ]
    return Answer(0 if said else 255, "".join(said), "")


@pytest.fixture(autouse=True)
def good(tree: Tree, sshd: Sshd, programs: Programs) -> None:
    """A host where sshd reads ann's one key."""
    programs.answer_by("ssh-keygen", keygen)
    tree.write(
        "/etc/ssh/sshd_config.d/10-sftpjail.conf",
        f"Match Group sftponly\n    AuthorizedKeysFile {DIRECTORY}/%u\n",
    )
    tree.write(FILE, f"{ED} ann\n")


def main(tree: Tree, *lines: str) -> None:
    """Add lines to sshd_config, from line 5 on."""
    text = (tree.root / MAIN.lstrip("/")).read_text()
    tree.write(MAIN, text + "".join(f"{line}\n" for line in lines))


def check(tree: Tree, fire: Fire, text: str = "") -> list[Problem]:
    if text:
        tree.write(FILE, text)
    found: list[Problem] = fire("keys", "on_check", tree.host(), account=ann())
    return found


def test_on_check_of_a_good_file_none_and_the_host(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    assert check(tree, fire) == []
    assert fire("keys", "on_check", tree.host(), account=None) == []
    (tree.root / FILE.lstrip("/")).unlink()
    programs.asked.clear()
    assert check(tree, fire) == [], "whether there is another way in is login's affair"
    assert {argv[0].rpartition("/")[2] for argv in programs.asked} == {"sshd"}, (
        "which other sources of keys there are"
    )


def test_on_check_tells_of_a_file_without_account(tree: Tree, fire: Fire) -> None:
    for name in ("gone", "two words", ".gone.sftpjail-old~"):
        tree.write(f"{DIRECTORY}/{name}", "")
    why = "a later account of that name would inherit its keys"
    assert fire("keys", "on_check", tree.host(), account=None) == [
        Problem(
            f"{DIRECTORY}/gone belongs to no account",
            why,
            f"mv -nT {DIRECTORY}/gone {DIRECTORY}/.gone.old",
        ),
        Problem(
            f"{DIRECTORY}/two words belongs to no account",
            why,
            f"mv -nT '{DIRECTORY}/two words' '{DIRECTORY}/.two words.old'",
        ),
    ]


# -- owner and mode ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "owner", "why", "fix"),
    [
        (FILE, 0o644, (1001, 1001), "the user could let others in", f"chown root:root {FILE}"),
        (FILE, 0o664, (0, 0), "sshd ignores the keys", f"chmod go-w {FILE}"),
        (
            FILE,
            0o666,
            (1001, 0),
            "sshd ignores the keys",
            f"chown root:root {FILE} && chmod go-w {FILE}",
        ),
        (DIRECTORY, 0o775, (0, 0), "sshd ignores the keys", f"chmod go-w {DIRECTORY}"),
        ("/etc/ssh", 0o757, (0, 0), "sshd ignores the keys", "chmod go-w /etc/ssh"),
    ],
)
def test_on_check_of_what_others_can_change(
    tree: Tree, fire: Fire, path: str, mode: int, owner: tuple[int, int], why: str, fix: str
) -> None:
    (tree.root / path.lstrip("/")).chmod(mode)
    tree.owners[path] = owner
    about = f"owner {owner[0]}, mode {mode:04o}"
    assert check(tree, fire) == [
        Problem(f"{path} can be changed by others than root ({about})", why, fix)
    ]


def test_on_check_of_what_another_user_owns(tree: Tree, fire: Fire) -> None:
    tree.owners[DIRECTORY] = (1002, 1002)
    (problem,) = check(tree, fire)
    assert problem.fix == f"chown root:root {DIRECTORY}"


@pytest.mark.parametrize(
    ("path", "mode", "what", "fix"),
    [
        (FILE, 0o600, "its mode 0600 forbids it", f"chmod a+r {FILE}"),
        (DIRECTORY, 0o700, f"the mode of {DIRECTORY} forbids it (0700)", f"chmod a+x {DIRECTORY}"),
        ("/etc/ssh", 0o750, "the mode of /etc/ssh forbids it (0750)", "chmod a+x /etc/ssh"),
    ],
)
def test_on_check_of_what_sshd_cannot_read_as_the_user(
    tree: Tree, fire: Fire, path: str, mode: int, what: str, fix: str
) -> None:
    for shown in (DIRECTORY, "/etc/ssh", "/etc"):
        tree.owners[shown] = (0, 0)
    tree.owners[FILE] = (0, 0)
    tree.host()
    (tree.root / path.lstrip("/")).chmod(mode)
    try:
        assert check(tree, fire)[0] == Problem(
            f"sshd cannot read {FILE} as ann: {what}", "key logins fail", fix
        )
    finally:
        (tree.root / path.lstrip("/")).chmod(0o755)


def test_on_check_of_a_file_that_the_users_group_may_read(tree: Tree, fire: Fire) -> None:
    # root:ann 0640 is unusual and works.
    tree.write(FILE, f"{ED} ann\n", 0o640)
    tree.owners[FILE] = (0, 1001)
    assert check(tree, fire) == []


@pytest.mark.parametrize(
    ("mode", "owner"), [(0o664, (0, 0)), (0o600, (0, 0)), (0o644, (1001, 1001))]
)
def test_on_user_create_fixes_a_key_file_of_ours(
    tree: Tree, fire: Fire, mode: int, owner: tuple[int, int]
) -> None:
    (tree.root / FILE.lstrip("/")).chmod(mode)
    tree.owners[FILE] = owner
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == [], (
        "it is an administrator's"
    )
    tree.write("/var/lib/sftpjail/accounts/ann", f'{{"made": ["{FILE}"]}}')
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == [
        SetOwner(FILE, 0, 0, 0o644, remember=False)
    ]


def test_on_user_create_of_a_good_key_file(tree: Tree, fire: Fire) -> None:
    tree.write("/var/lib/sftpjail/accounts/ann", f'{{"made": ["{FILE}"]}}')
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == []
    (tree.root / FILE.lstrip("/")).unlink()
    assert fire("keys", "on_user_create", tree.host(), account=ann()) == []


# -- lines ---------------------------------------------------------------------------------------


def test_on_check_tells_of_a_bad_line_in_the_middle(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire, f"{ED} one\nssh-ed25519 AAAArubbish\n# comment\n{ED}2 two\n") == [
        Problem(
            f"line 2 of {FILE} is not a public key", "sshd skips it", f"sed -i '2s/^/#/' {FILE}"
        )
    ]


def test_no_fix_of_one_line_moves_another(tree: Tree, fire: Fire) -> None:
    # Each command must be right whichever were run before it.
    wrapped = f"{ED[:30]}\n{ED[30:]} x"
    problems = check(tree, fire, f"bad\n{ED} one\n{wrapped}\nworse\n{ED}2 two\nworst\n")
    assert [problem.fix for problem in problems] == [
        f"sed -i '7s/^/#/' {FILE}",
        f"sed -i '5s/^/#/' {FILE}",
        f"sed -i '3{{N;s/\\r*\\n//g}}' {FILE}",
        f"sed -i '1s/^/#/' {FILE}",
    ]


@pytest.mark.parametrize("cuts", [(20,), (20, 30), (15, 22, 30)])
def test_on_check_joins_a_key_that_a_mail_program_has_wrapped(
    tree: Tree, fire: Fire, cuts: tuple[int, ...]
) -> None:
    line = f"{ED} ann at home"
    bounds = [0, *cuts, len(line)]
    wrapped = "\n".join(line[a:b] for a, b in pairwise(bounds))
    last = 2 + len(cuts)
    commands = {1: "2{N;s/\\r*\\n//g}", 2: "2{N;N;s/\\r*\\n//g}", 3: "2{N;N;N;s/\\r*\\n//g}"}
    assert check(tree, fire, f"{ED}1 one\n{wrapped}\n{ED}2 two\n") == [
        Problem(
            f"lines 2 to {last} of {FILE} are one key, wrapped",
            "sshd skips it",
            f"sed -i '{commands[len(cuts)]}' {FILE}",
        )
    ]


def test_a_good_key_between_bad_lines_is_left_alone(tree: Tree, fire: Fire) -> None:
    # "junk KEY more" would read as a key with the option junk.
    problems = check(tree, fire, f"junk\n{ED} good\nmore\n")
    assert [problem.fix for problem in problems] == [
        f"sed -i '3s/^/#/' {FILE}",
        f"sed -i '1s/^/#/' {FILE}",
    ]
    problems = check(tree, fire, f"junk\n{ED[:30]}\n{ED[30:]}\n")
    assert [problem.fix for problem in problems] == [
        f"sed -i '2{{N;s/\\r*\\n//g}}' {FILE}",
        f"sed -i '1s/^/#/' {FILE}",
    ]


def test_on_check_joins_a_key_that_was_wrapped_at_a_blank(tree: Tree, fire: Fire) -> None:
    (problem,) = check(tree, fire, f"{ED}1 one\n{ED.replace(' ', chr(10))} ann\n")
    assert problem.what == f"lines 2 to 3 of {FILE} are one key, wrapped"
    assert problem.fix == f"sed -i '2{{N;s/\\r*\\n/ /g}}' {FILE}"


def test_on_check_of_a_byte_order_mark(tree: Tree, fire: Fire) -> None:
    (problem,) = check(tree, fire, f"\ufeff{ED} ann\n")
    assert problem.what == f"{FILE} begins with a byte order mark, so its first line is no key"
    assert problem.fix == rf"sed -i '1s/^\xef\xbb\xbf//' {FILE}"


# -- keys that sshd would not take ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'command="sh" {ED}', "option command"),
        (f"cert-authority {ED}", "option cert-authority"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgweak", "1024 bits"),
    ],
)
def test_on_check_of_a_key_that_may_not_open_a_jail(
    tree: Tree, fire: Fire, line: str, reason: str
) -> None:
    (problem,) = check(tree, fire, f"{line} x\n")
    assert "may not open a jail" in problem.what and reason in problem.what
    assert re.fullmatch(r"sftpjail key remove ann SHA256:\S+", problem.fix)


@pytest.mark.parametrize("option", ["20200101", "20200101Z", "202001010000", "20200101000000Z"])
def test_on_check_of_a_key_that_has_expired(tree: Tree, fire: Fire, option: str) -> None:
    assert check(tree, fire, f'expiry-time="{option}" {ED} ann\n') == [
        Problem(
            "no key of ann is good: expired on 20200101",
            f"sshd takes none of those in {FILE}",
            advice="give it another key: sftpjail key add ann FILE",
        )
    ]
    assert check(tree, fire, f'expiry-time="{option}" {ED} ann\n{ED}2 good\n') == [], (
        "there is another"
    )
    assert check(tree, fire, f'expiry-time="99990101" {ED} ann\n') == []


def test_on_check_of_algorithms_that_sshd_does_not_take(tree: Tree, fire: Fire) -> None:
    main(tree, "PubkeyAcceptedAlgorithms rsa-sha2-512")
    assert check(tree, fire) == [
        Problem(
            f"no key of ann is good: ssh-ed25519 is not in PubkeyAcceptedAlgorithms ({MAIN}:5)",
            f"sshd takes none of those in {FILE}",
            choices=(
                Choice(
                    "to have profile sftponly accept ssh-ed25519 all the same",
                    "printf '%s\\n' '[profiles]' '[[sftponly]]' 'sshd_options = "
                    '"PubkeyAcceptedAlgorithms rsa-sha2-512,ssh-ed25519",\''
                    " >>/etc/sftpjail/sftpjail.conf && sftpjail setup",
                ),
            ),
            advice="give it another key: sftpjail key add ann FILE",
        )
    ]
    rsa = ED.replace("ssh-ed25519", "ssh-rsa")
    assert check(tree, fire, f"{rsa} ann\n") == [], "an RSA key signs with SHA-2"


REVOKED = "no key of ann is good: revoked in /etc/ssh/revoked"
DAMAGED = f"/etc/ssh/revoked of RevokedKeys ({MAIN}:5) is damaged: "


@pytest.mark.parametrize(
    ("said", "code", "whats"),
    [
        ("/dev/stdin (/dev/stdin): REVOKED\n", 1, [REVOKED]),
        ("/dev/stdin (/dev/stdin): ok\n", 0, []),
        (
            "Invalid KRL file /etc/ssh/revoked: bad signature\n",
            255,
            [f"{DAMAGED}Invalid KRL file /etc/ssh/revoked: bad signature"],
        ),
    ],
)
def test_on_check_of_keys_that_a_krl_revokes(
    tree: Tree, fire: Fire, programs: Programs, said: str, code: int, whats: list[str]
) -> None:
    programs.plans.insert(0, (lambda argv, _: "-Q" in argv, Answer(code, said, "")))
    main(tree, "RevokedKeys /etc/ssh/revoked")
    tree.write("/etc/ssh/revoked", b"SSHKRL\n\0\0\0\0\1")
    problems = check(tree, fire)
    assert [problem.what for problem in problems] == whats
    assert [argv for argv in programs.asked if "-Q" in argv] == [
        ("ssh-keygen", "-Q", "-f", "/etc/ssh/revoked", "/dev/stdin")
    ]
    cure = "give it another key: sftpjail key add ann FILE"
    advice = [cure if what == REVOKED else "put it back from a backup" for what in whats]
    assert [problem.advice for problem in problems] == advice


def test_on_check_of_keys_that_a_list_revokes(tree: Tree, fire: Fire) -> None:
    # sshd takes a text of public keys as well: sshd_config(5), RevokedKeys.
    main(tree, "RevokedKeys /etc/ssh/revoked")
    tree.write("/etc/ssh/revoked", f"# lost laptop\n{ED}X other\n")
    assert check(tree, fire) == []
    tree.write("/etc/ssh/revoked", f"# lost laptop\n{ED} whatever comment\n")
    assert [problem.what for problem in check(tree, fire)] == [REVOKED]
    assert check(tree, fire, f"{ED} lost\n{ED}2 other\n") == [], "there is another"


def test_on_check_of_a_list_that_is_missing(tree: Tree, fire: Fire) -> None:
    main(tree, "RevokedKeys /etc/ssh/revoked")
    (problem,) = check(tree, fire)
    assert problem.what == f"the file /etc/ssh/revoked of RevokedKeys ({MAIN}:5) is missing"
    (choice,) = problem.choices
    assert (choice.label, choice.command) == (
        "if no key was in it",
        "install -m 644 /dev/null /etc/ssh/revoked",
    )


@pytest.mark.parametrize(
    ("text", "lines", "edit"),
    [
        ("# lost\n\n \t# more\nssh-rsa AAAAshort too short\n", "", ""),
        ("not a key\n", "line 1", "1s/^/#/"),
        (f"{ED}X one\n\r\nno-pty {ED}Y two\n", "lines 2, 3", "2s/^/#/; 3s/^/#/"),
        ("x\n" * 21, "lines 1, 2, 3, 4, 5, 6, 7, 8 and 13 more", ""),
    ],
)
def test_on_check_of_a_list_of_revoked_keys_that_is_damaged(
    tree: Tree, fire: Fire, text: str, lines: str, edit: str
) -> None:
    main(tree, "RevokedKeys /etc/ssh/revoked")
    tree.write("/etc/ssh/revoked", text)
    found = check(tree, fire)
    verb = "are" if lines.startswith("lines") else "is"
    place = f"/etc/ssh/revoked of RevokedKeys ({MAIN}:5)"
    assert [one.what for one in found] == [f"{lines} of {place} {verb} no key"] * bool(lines)
    commands = [choice.command for one in found for choice in one.choices]
    assert commands == [f"sed -i '{edit}' /etc/ssh/revoked"] * bool(edit)


def test_on_check_of_a_list_that_is_a_directory(tree: Tree, fire: Fire) -> None:
    main(tree, "RevokedKeys /etc/ssh/revoked")
    tree.directory("/etc/ssh/revoked")
    (problem,) = check(tree, fire)
    assert problem.what.endswith(" is a directory, and no list of keys")


def test_on_check_of_a_directory_in_the_way(tree: Tree, fire: Fire) -> None:
    (tree.root / FILE.lstrip("/")).unlink()
    tree.directory(FILE)
    (problem,) = check(tree, fire)
    assert problem.what == f"{FILE} is not a file"
    assert problem.advice == (
        f"give it a key: mv -nT {FILE} {FILE}.old && sftpjail key add ann FILE"
    )
    facts = fire("keys", "on_explain", tree.host(), account=ann())
    assert facts == [Fact("keys", "file", FILE, "is not a file", True)]


def test_on_check_of_a_key_in_a_foreign_format(tree: Tree, fire: Fire) -> None:
    text = "---- BEGIN SSH2 PUBLIC KEY ----\nComment: x\nAAAAC3Nza\n---- END SSH2 PUBLIC KEY ----\n"
    (problem,) = check(tree, fire, text)
    assert "RFC 4716" in problem.what
    assert (
        problem.fix
        == f"ssh-keygen -i -f {FILE} >{FILE}.new && cp {FILE}.new {FILE} && rm {FILE}.new"
    )


def test_on_check_of_many_asks_ssh_keygen_once_and_sshd_never(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    for number in range(50):
        tree.account(f"user{number}", 2000 + number, make_home=False)
        tree.write(keyfile(f"user{number}"), f"{ED}{number:02} x\n" if number != 7 else "bad\n")
    host = tree.host().for_many_accounts()
    programs.asked.clear()
    found = [
        fire("keys", "on_check", host, account=ann(name=f"user{number}", uid=2000 + number))
        for number in range(50)
    ]
    assert [n for n, problems in enumerate(found) if problems] == [7]
    assert [argv[0] for argv in programs.asked] == ["ssh-keygen"]


# -- explain -------------------------------------------------------------------------------------


def test_on_explain_lists_files_and_keys(tree: Tree, fire: Fire) -> None:
    tree.write(FILE, f'restrict,from="10.0.0.0/8" {ED} ann at home\n{"bad " * 20}\n{ED}2\n')
    assert fire("keys", "on_explain", tree.host(), account=ann()) == [
        Fact("keys", "file", FILE, "good"),
        Fact("keys", "ssh-ed25519", PRINT, '"ann at home" restrict,from="10.0.0.0/8"', depth=1),
        Fact(
            "keys",
            "line 2",
            f'"{("bad " * 20)[:30]}"',
            "it is not a public key that ssh-keygen can read",
            True,
            1,
        ),
        Fact("keys", "ssh-ed25519", "SHA256:AIJDG2", "", depth=1),
    ]


def test_on_explain_of_a_file_that_sshd_would_not_use(tree: Tree, fire: Fire) -> None:
    (tree.root / FILE.lstrip("/")).chmod(0o666)
    facts = fire("keys", "on_explain", tree.host(), account=ann())
    assert facts[0] == Fact("keys", "file", FILE, "sshd would not use it", True)


def test_on_explain_follows_the_patterns_of_sshd(tree: Tree, fire: Fire) -> None:
    tree.write("/home/bob/.ssh/authorized_keys", f"{ED} bob\n")
    facts = fire(
        "keys", "on_explain", tree.host(), account=ann(None, name="bob", uid=1002, home="/home/bob")
    )
    assert facts == [
        Fact("keys", "file", "/home/bob/.ssh/authorized_keys", "good"),
        Fact("keys", "file", "/home/bob/.ssh/authorized_keys2", "is not there"),
    ]


def test_on_explain_names_other_sources(tree: Tree, fire: Fire) -> None:
    main(
        tree,
        "AuthorizedKeysCommand /usr/bin/keys %u",
        "TrustedUserCAKeys /etc/ssh/ca.pub",
        "RevokedKeys none",
    )
    facts = fire("keys", "on_explain", tree.host(), account=ann())
    assert facts[-3:] == [
        Fact("keys", "command", "/usr/bin/keys ann", "/usr/bin/keys is not there", True),
        Fact("keys", "authorities", "/etc/ssh/ca.pub", "sshd_config:6"),
        Fact("keys", "principals", "ann", "the name itself"),
    ]


def test_on_check_of_a_file_in_utf_16(tree: Tree, fire: Fire) -> None:
    (tree.root / FILE.lstrip("/")).write_bytes(f"{ED} ann\n".encode("utf-16"))
    (problem,) = check(tree, fire)
    assert "UTF-16" in problem.what
    assert (
        problem.fix
        == f"iconv -f utf-16 -t utf-8 {FILE} >{FILE}.new && cp {FILE}.new {FILE} && rm {FILE}.new"
    )


@pytest.mark.parametrize(
    "options", ["no-forwarding", "restrict,no-forwarding", "no-forwarding,restrict"]
)
def test_on_check_of_an_option_that_sshd_does_not_know(
    tree: Tree, fire: Fire, options: str
) -> None:
    (problem,) = check(tree, fire, f"# hers\n{options} {ED} ann\n")
    assert (
        problem.what == f"line 2 of {FILE} has the option no-forwarding, which sshd does not know"
    )
    assert problem.fix == f"sed -i '2s/\\(^\\|,\\)no-forwarding\\([ ,]\\)/\\2/; 2s/^[ ,]//' {FILE}"


def test_on_check_of_an_option_that_opens_something(tree: Tree, fire: Fire) -> None:
    (problem,) = check(tree, fire, f'environment="A=b" {ED} ann\n')
    assert problem.fix == f"sftpjail key remove ann {PRINT}"


@pytest.mark.parametrize("bit", [1 << number for number in range(9)], ids=oct)
@pytest.mark.parametrize("uid", [0, 1001, 1002])
@pytest.mark.parametrize("part", [FILE, DIRECTORY])
def test_a_key_file_is_trusted_bit_by_bit(tree: Tree, part: str, bit: int, uid: int) -> None:
    tree.write(FILE, f"{ED} ann\n", 0o600)
    tree.host()
    (tree.root / part[1:]).chmod((0o700 if part == DIRECTORY else 0o600) | bit)
    tree.owners[part] = (uid, 0)
    found = loose_mode(FILE, ann(), tree.host())
    own = uid == 0 or (uid == 1001 and part == DIRECTORY)
    assert (found is None) == (own and not bit & 0o022)
    assert found is None or found.what.startswith(f"{part} can be changed by others than root (")
