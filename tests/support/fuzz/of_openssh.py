"""Targets: what sshd, ssh-keygen and PAM say, the keys that users send, and the commands that are made of it."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Sequence

from target import BETWEEN, Target, host_of, one_line, parts, refusing

from sftpjail import config
from sftpjail.errors import SftpJailError
from sftpjail.model import Account, Problem
from sftpjail.openssh import (
    auto_mounts,
    chroot_path,
    connections,
    handmade,
    match_blocks,
    pam_stack,
    public_keys,
    repair,
    settings,
)
from sftpjail.operations import imports
from sftpjail.plugins.keys import revoked
from sftpjail.system.programs import Answer

MAIN = "/etc/ssh/sshd_config"


def _command(text: str | None) -> None:
    """A printed command has no line break, whatever the names in it are."""
    if text and text.isprintable():
        one_line(text)


def sshd_words(data: bytes) -> None:
    code, out, err, main = parts(data, 4)
    answer = Answer(len(code) % 2, out, err)
    host = host_of({MAIN: main}, lambda argv, stdin: answer)
    found = refusing(settings.effective, host, "ann")
    if found is not None:
        for keyword in (*found.values, *found.origins):
            found.get(keyword), found.words(keyword), found.where(keyword)
        for place in found.origins.values():
            repair.match_line((MAIN, place[1]), host)
    for connection in refusing(connections.connections, host) or []:
        assert "\n" not in connections.peculiar(connection)
    for criteria in err.split("\n"):
        for kind, patterns in connections.conditions(criteria):
            assert kind == kind.lower()
            example = connections._example(patterns, kind)
            assert not example or any(
                connections._matches(p, example) or p for p in patterns.split(",")
            )


def by_hand(data: bytes) -> None:
    text, note = parts(data, 2)
    found = handmade.blocks(text, MAIN)
    for block in found:
        assert all(option.name == option.keyword.lower() for option in block.options)
        str(block), block.heading, block.option("chrootdirectory")
    note = note.replace("\n", " ")
    changed = text
    for block in found[1:]:
        changed = handmade.comment_out(changed, block.lines, note)
    marked = handmade.NOTE in text or handmade.MARK in text
    assert marked or handmade.uncomment_blocks(changed) == text
    for block in found[:0:-1]:
        changed = handmade.uncomment(changed, block.lines, note)
    assert marked or changed == text


def more_profiles(data: bytes) -> None:
    (text,) = parts(data, 1)
    new = imports.with_profiles(text, ["[[z]]", "umask = 027"], anew=False)
    left = new.split("\n")
    assert all(line in left for line in text.split("\n") if line.strip())
    try:
        before = config.parse(text).profiles
    except SftpJailError:
        return
    with contextlib.suppress(SftpJailError):  # as where there is a [[z]] already
        assert config.parse(new).profiles[-1].umask == "027"
        assert len(config.parse(new).profiles) <= len(before) + 1


def broken_lines(data: bytes) -> None:
    words, main = parts(data, 2)
    contents = {MAIN: main, "/etc/ssh/sshd_config.d/x.conf": main[::-1]}
    for pid in ({}, {"sshd": 7}):
        # The second host has a directory that is somebody else's.
        host = host_of(
            contents, about={"/etc/ssh/sshd_config.d": (stat.S_IFDIR | 0o755, 5)} if pid else {}
        )
        host.daemons.pids = pid
        _command(refusing(repair.broken_line, words, host))
        repair.reload_command(host), repair.unit(host)
    place = (MAIN, 1 + main.count("\n") // 2)
    assert "\n" not in repair.match_line(place, host)
    if not re.search(r"[+?{}|()]", words):  # which a basic expression takes literally
        assert re.fullmatch(repair.basic(words), words)
    _command(repair.change_line(place, "s/a/b/", host))
    numbers = [int(n[:6]) for n in re.findall(r"[0-9]+", words)]
    _command(repair.comment_out([(MAIN, n) for n in numbers or [1]], host))


def _keygen(argv: Sequence[str], stdin: str, more: str) -> Answer:
    """As ssh-keygen: a line for each key that begins as keys do, and whatever the input adds."""
    if "-i" in argv:
        return Answer(len(more) % 2, "ssh-rsa AAAAB3 x", more)
    lines = [line.split(" ") for line in stdin.split("\n")]
    good = (line for line in lines if len(line) == 3 and line[1].startswith("AAAA"))
    sizes = ((1024 if len(blob) < 5 else 3072, blob, number) for _, blob, number in good)
    said = (f"{bits} SHA256:{blob[:43]} {number} (X)\n" for bits, blob, number in sizes)
    return Answer(0, "".join(said) + more, "")


def keys(data: bytes) -> None:
    text, more = parts(data, 2)
    host = host_of({}, lambda argv, stdin: _keygen(argv, stdin, more))
    for line in text.split("\n")[:50]:
        options = refusing(public_keys.split_options, line)
        if options is not None:
            public_keys.refused(options[0]), public_keys.strange_option(options[0])
    if refusing(public_keys.survey, [text, more], host) is None:
        raise AssertionError("a survey refuses nothing")
    # Only what ssh-keygen really says may make a key of ours.
    honest = host_of({}, lambda argv, stdin: _keygen(argv, stdin, ""))
    found = refusing(public_keys.read, text, honest, "standard input")
    for key in found[0] if found else ():
        assert not set(key.line) & set("\n\r\0\x0b\x0c\x1b"), key.line
        assert public_keys.unfit(key) == "" == public_keys.refused(key.options)
        assert public_keys.split_options(key.line)[0] == key.options, key
        again = public_keys.read(key.line, honest, "again")
        assert again == ([key], []), (key, again)
    assert len(found[1] if found else ()) <= 6


def revoked_keys(data: bytes) -> None:
    text, more = parts(data, 2)
    path = "/etc/ssh/revoked"

    def flaw(content: str) -> Problem | None:
        host = host_of({path: content}, lambda argv, stdin: _keygen(argv, stdin, ""))
        return revoked._bad_lines(content, path, path, host)

    assert flaw("".join(f"# {line}\n" for line in more.split("\n"))) is None
    problem = flaw(text)
    if problem is None:
        return
    one_line(problem.what)
    for choice in problem.choices:  # which leaves nothing at which sshd would stop
        one_line(choice.command)
        lines = text.split("\n")
        for number in re.findall(r"([0-9]+)s/", choice.command):
            lines[int(number) - 1] = f"#{lines[int(number) - 1]}"
        assert flaw("\n".join(lines)) is None


def pam(data: bytes) -> None:
    texts = parts(data, 3)
    names = ("sshd", "common-auth", "other")
    host = host_of({f"/etc/pam.d/{name}": text for name, text in zip(names, texts, strict=True)})
    rules = pam_stack.stack.__wrapped__(host, "sshd")
    # Each file is read at most once for each line that includes it, and never inside itself.
    assert len(rules) <= (1 + data.count(b"\n")) ** 3
    for rule in rules:
        path, _, line = rule.where.rpartition(":")
        assert path.startswith("/etc/pam.d/") and line.isdigit()
        assert all(words and not words.isspace() for words in rule.arguments)


def configuration(data: bytes) -> None:
    (text,) = parts(data, 1)
    found = refusing(config.parse, text)
    if found is None:
        return
    assert found == config.parse(text) and found.profiles
    if not any(profile.name == "" for profile in found.profiles):
        assert found.profile("") == found.profiles[0]
    refusing(found.profile, "no such")
    host = host_of({"/etc/nsswitch.conf": "passwd: files sss\n" if len(text) % 2 else ""})
    found = auto_mounts.decided(found, host, ask=False)
    lines = refusing(lambda: list(match_blocks.match_blocks(found, host)))
    for line in lines or ():
        one_line(line)
        assert line.startswith(("Match User ", "Match Group ", "    ")), line
        assert not line.startswith("    ") or not re.match(r"(?i)\s*(match|include)\b", line)
    for profile in found.profiles if lines else ():
        for setting in match_blocks.settings(profile, found, host):
            assert setting.split(" ")[0].islower()


def chroot(data: bytes) -> None:
    path, modes, name = parts(data, 3)
    path = "/" + path.strip("/").replace("\0", "")
    mode = sum(map(ord, modes)) & 0o7777
    kind = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, 0)[len(modes) % 4]
    about = {path: (kind | mode, len(name) % 3)} if kind else {}
    host = host_of({"/etc/passwd": ""}, about=about)
    _command(refusing(chroot_path.path_fix, path, host))
    _command(chroot_path.new_home(Account(name, 1000, 1000, path, "/bin/sh"), host))


_ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq"
_SSHD = BETWEEN.join(
    (
        "",
        "usepam yes\nallowusers ann\nallowusers bob\nforcecommand internal-sftp",
        f"debug3: {MAIN}:2 setting UsePAM yes\ndebug2: parse_server_config_depth: config reprocess config len 1\n"
        "debug3: checking match for 'User bob,eve' user ann host localhost\n"
        "debug3: checking match for 'Host *.example.com,!a.example.com LocalPort=22 Address 10.0.0.0/8,!10.0.0.0' user ann\n"
        f"debug3: {MAIN}:3 setting DSAAuthentication no",
        "UsePAM yes\nMatch User bob\nX11Forwarding no\n",
    )
)
_CONFIG = """\
[sshd]
subsystem = internal-sftp
[mounts]
allow = /srv/web, /srv/data
[logs]
backend = rsyslog
level = INFO
[history]
keep = 12
[plugins]
allow = a, b
[[welcome]]
text = hello
[profiles]
[[sftponly]]
umask = 027
start = /files
deny = remove, rmdir
read_only = yes
[[inner]]
group = inside
home = inside
mounts = session
sshd_options = AllowAgentForwarding no, MaxSessions 2
[[homes]]
chroot = %h
match_user = ann, bob
keys_command = /usr/bin/keys %u
trusted_ca = /etc/ssh/ca.pub
principals = /etc/ssh/principals/%u
"""

OPENSSH = (
    Target(
        "the words of sshd about an account",
        ("openssh/settings.py", "openssh/connections.py"),
        sshd_words,
        (
            _SSHD,
            BETWEEN.join(
                (
                    "1",
                    "",
                    f"{MAIN} line 3: Bad configuration option: x\ndebug1: y",
                    "Match all\nx y\nMatch user b\n",
                )
            ),
            _SSHD.replace("10.0.0.0/8,!10.0.0.0", "192.168.*,::1,fe80:*"),
            _SSHD.replace("User bob,eve", "all canonical final RDomain x"),
        ),
        (
            "debug3: ",
            " setting ",
            "checking match for '",
            "' user ",
            "config reprocess",
            "!",
            "*",
            "/8",
            "::",
            BETWEEN,
            "=",
        ),
    ),
    Target(
        "sftpjail.conf that gets a profile",
        ("operations/imports.py",),
        more_profiles,
        ("", "# a\n[logs]\nlevel = INFO\n[profiles]\n[[a]]\n\n# b\n[mounts]\n", "[ profiles ]"),
        ("[profiles]", "[[a]]", "[", "# ", "group = b"),
        ("with_profiles",),
    ),
    Target(
        "Match blocks by hand",
        ("openssh/handmade.py",),
        by_hand,
        (
            "Port 22\nMatch Group a # b\n ChrootDirectory=%h\n\n# BEGIN sftpjail x\nMatch all\n# END sftpjail x\n",
            f'Match User "a b",c\r\n#sftpjail-import# X y\nForceCommand "internal-sftp # x"{BETWEEN}note',
        ),
        ("Match ", "#sftpjail-import# ", "#sftpjail-import: ", "# BEGIN sftpjail ", "=", '"', "#"),
    ),
    Target(
        "the lines that sshd rejects",
        ("openssh/repair.py",),
        broken_lines,
        (
            BETWEEN.join(
                (
                    f"{MAIN}: line 2: Bad option / {MAIN} line 4: x",
                    "a\nMatch user b\n x y\n\nMatch all\n z\n",
                )
            ),
            BETWEEN.join(("Permissions 0644 for '/etc/ssh/key' are too open", "")),
            BETWEEN.join(("/etc/ssh/sshd_config.d/x.conf: line 1: Deprecated option X", "x")),
            BETWEEN.join(("nothing 99 3 4 5", "a\n" * 9)),
            BETWEEN.join(
                (f"{MAIN}: line 1: x / {MAIN}: line 2: y / {MAIN}: line 4: z", "a\nb\nc\nd")
            ),
            BETWEEN.join(("/tmp/it's: line 1: x", "a")),
        ),
        (f"{MAIN}: line ", " / ", "line 99999", "Match ", "'", "Permissions 0644 for '/", "\n"),
    ),
    Target(
        "revoked keys",
        ("plugins/keys/revoked.py",),
        revoked_keys,
        (
            f"{_ED} ann@home\n# comment\n\n  \nssh-rsa AAAA short\n",
            f"\r\nno key\ncert-authority {_ED}\n{_ED}{BETWEEN}x\n{_ED}",
            "nothing\n" * 30,
        ),
        (f"{_ED} ", "#", " ", "\t", "\r", "ssh-rsa ", "restrict ", "\n"),
        ("_bad_lines",),
    ),
    Target(
        "public keys",
        ("openssh/public_keys.py",),
        keys,
        (
            f'{_ED} ann@home\n# comment\n\nfrom="10.0.0.0/8,::1",restrict {_ED}  two words \n',
            'command="x" ssh-rsa AAAA\nssh-dss AAAA x\nexpiry-time="2027" ssh-rsa-cert-v01@openssh.com AAAAB y\r\n',
            '---- BEGIN SSH2 PUBLIC KEY ----\nComment: "ann"\nAAAAB3\n---- END SSH2 PUBLIC KEY ----\n',
            f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BETWEEN}1",
            f"-----BEGIN PUBLIC KEY-----\nAAAA\n{BETWEEN}no",
            f'a="\\"b",c {_ED}\nx y "z\n{_ED}\x07{BETWEEN}256 SHA256:x 0 (X)\n1024 SHA256:y 1 (RSA)\n',
            "nothing\n" * 9,
            "ssh-rsa AAAA x\nssh-dss AAAA x\nssh-rsa-cert-v01@openssh.com AAAA y\necdsa-sha2-nistp256 AAAAE z",
        ),
        (
            f"{_ED} ",
            '"',
            "\\",
            ",",
            " ",
            "\t",
            "restrict",
            'from="',
            "cert-authority ",
            "ssh-rsa AAAA",
            "sk-",
            "\ufeff",
            "\r",
            "\n",
        ),
    ),
    Target(
        "stacks of PAM",
        ("openssh/pam_stack.py",),
        pam,
        (
            BETWEEN.join(
                (
                    "# c\n@include common-auth\naccount required pam_nologin.so\nsession [success=ok default=bad] pam_x.so a b # c\n",
                    "auth [success=1] pam_unix.so nullok\n-session optional /lib/pam_y.so\nauth include other\n",
                    "auth substack sshd\nauth required \\\n pam_z.so\n",
                )
            ),
        ),
        (
            "@include ",
            "include",
            "substack",
            "sshd",
            "common-auth",
            "other",
            "[",
            "]",
            "\\\n",
            "#",
            "-",
            "auth ",
        ),
    ),
    Target(
        "sftpjail.conf, and the Match blocks of it",
        ("config.py", "openssh/match_blocks.py"),
        configuration,
        (
            "",
            _CONFIG,
            "[profiles]\n[[a]]\n[[b]]\ngroup = a\n",
            "[profiles]\n[[a]]\nchroot = /srv/%u\nhome = inside\nsshd_options = Match all\n",
            "[profiles]\nx = 1\n[[a]]\nprincipals = /x\n[plugins]\n[[x]]\n[[[y]]]\na = b\n",
            "[logs]\nfile = relative\nfacility = LOCAL3\n[nothing]\n",
            "[logs]\nbackend = none\n[profiles]\n[[a]]\nmatch_user = x\nchroot = %h\n[[b]]\nstart = /x\n",
            "[logs]\nfile = /var/log/a b\n",
            "[sshd]\nsubsystem = x\n[history]\nkeep = -1\n",
            *(
                f"[profiles]\n[[a]]\n{line}\n"
                for line in (
                    *(
                        "files = a/b",
                        "umask = 9",
                        "keys_command = /x \x7f",
                        "principals = /x",
                        "deny = x, y",
                    ),
                    *(
                        "sshd_options = Match all",
                        "sshd_options = x",
                        "chroot = /x",
                        "chroot = /a//b/%u",
                        "chroot = /a b/%u",
                    ),
                    *(
                        "chroot = %h\nhome = inside",
                        "mounts = session\nhome = inside",
                        "group = -x",
                        "umask = 022\nread_only = yes",
                    ),
                    "start = /x\nread_only = yes\ndeny = remove\numask = 027",
                )
            ),
        ),
        (
            *("[profiles]\n", "[[", "]]", " = ", ", ", "'''", '"', "%u", "%h", "/", "\n"),
            *(
                f"{name} = "
                for name in (
                    "group",
                    "match_user",
                    "chroot",
                    "home",
                    "files",
                    "shell",
                    "umask",
                    "start",
                    "deny",
                )
            ),
            *(
                "sshd_options = ",
                "keys_command = /x y",
                "trusted_ca = ",
                "principals = ",
                "read_only = ",
                "mounts = session",
            ),
        ),
        (
            *("parse", "_section", "_build", "_absolute", "_profile", "_check_*", "Config.*"),
            *("match_blocks", "block", "_own", "settings", "force_command"),
        ),
    ),
    Target(
        "components of a chroot's path",
        ("openssh/chroot_path.py",),
        chroot,
        tuple(
            BETWEEN.join(("srv/sftp/it's", mode, name))
            for mode in ("\x12", "ab", "abc", "\xff\xff\xff\xffzzzz", "")
            for name in ("ann", "b'b", "")
        ),
        ("'", "\n", " ", "$(x)", "..", "\x12\0\0\0"),
    ),
)
