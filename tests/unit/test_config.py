"""sftpjail.conf(5): what is accepted, what is refused, and that an error says where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpjail import config
from sftpjail.config import UNSAID, Config, Events, Logs, Metrics, load, parse
from sftpjail.errors import UsageError
from sftpjail.model import Profile

PACKAGED = Path(__file__).parents[2] / "packaging/sftpjail.conf"


def profile(lines: str, name: str = "jail") -> Profile:
    return parse(f"[profiles]\n[[{name}]]\n{lines}\n").profiles[0]


def test_the_packaged_file_is_the_default() -> None:
    assert parse(PACKAGED.read_text()) == Config((UNSAID,))


def test_an_empty_file_is_the_default() -> None:
    assert parse("") == parse("[profiles]\n[sshd]\n[logs]\n") == Config((UNSAID,))


def test_only_the_default_file_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "missing.conf")
    with pytest.raises(UsageError, match="missing.conf"):
        load(missing)
    monkeypatch.setattr(config, "PATH", missing)
    assert load(missing) == Config((UNSAID,))


def test_root_obeys_no_file_that_others_could_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sftpjail.conf"
    path.write_text("[sshd]\nsubsystem = internal-sftp\n")
    path.chmod(0o664)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UsageError, match="can be changed by others than root") as caught:
        load(str(path))
    assert caught.value.fix == "", "others can exchange it, so that no command on it is safe"
    # Of the file alone another owner is told, and the way to it is root's alone.
    monkeypatch.setattr(os, "fstat", lambda _: path.stat())
    with pytest.raises(UsageError) as caught:
        load("/etc/passwd")
    assert caught.value.fix == "chown root /etc/passwd && chmod go-w /etc/passwd"


def test_unreadable_bytes_and_directories(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"[logs]\nfile = /var/log/\xe9\n")
    for name in ("latin", ""):
        with pytest.raises(UsageError, match="cannot read the configuration"):
            load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[sshd]\nsubsystem = internal-sftp", {"subsystem": "internal-sftp"}),
        ("[keys]\nscope = everyone", {"scope": "everyone"}),
        ("[mounts]\nallow = /srv/a, /srv/b/", {"allow_sources": ("/srv/a", "/srv/b")}),
        ("[mounts]\nallow = /srv/a", {"allow_sources": ("/srv/a",)}),
        (
            "[logs]\nbackend = none\nfile = /x\nfacility = LOCAL7\nlevel = DEBUG3",
            {"logs": Logs("none", "/x", "LOCAL7", "DEBUG3")},
        ),
        (
            "[metrics]\nfile = /x/y.prom\naccounts = no\ncheck = no",
            {"metrics": Metrics("/x/y.prom", False, False)},
        ),
        (
            "[events]\nuser = www-data\nworkers = 8\ntimeout = 5\nretries = 0",
            {"events": Events("www-data", 8, 5, 0)},
        ),
        (
            "[plugins]\nallow = quota,\ndisable = logs, keys",
            {"plugins_allow": ("quota",), "plugins_disable": ("logs", "keys")},
        ),
        (
            "[plugins]\n[[quota]]\nsize = 3G\nwhere = /srv",
            {"settings": {"quota": {"size": "3G", "where": "/srv"}}},
        ),
    ],
)
def test_each_key(text: str, expected: dict[str, object]) -> None:
    found = parse(text)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found == Config(**{"profiles": (UNSAID,), **expected})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("group = staff", "group", "staff"),
        ("match_user = ann, bob", "match_user", ("ann", "bob")),
        ("match_user = ann", "match_user", ("ann",)),
        ("chroot = %h", "chroot", "%h"),
        ("chroot = /jails/%u", "chroot", "/jails/%u"),
        ("home = inside", "home", "inside"),
        ("mounts = fstab", "mounts", "fstab"),
        ("files = up.load", "files", "up.load"),
        ("shell = ''", "shell", ""),
        ("shell = /bin/false", "shell", "/bin/false"),
        ("read_only = yes", "read_only", True),
        ("umask = 0027", "umask", "0027"),
        ("umask = 027", "umask", "027"),
        ("start = /upload/%u", "start", "/upload/%u"),
        ("deny = remove, rmdir", "deny", ("remove", "rmdir")),
        (
            "sshd_options = MaxSessions 2, 'AllowUsers ann@10.0.0.0/8'",
            "sshd_options",
            ("MaxSessions 2", "AllowUsers ann@10.0.0.0/8"),
        ),
        ("", "passwords", "host"),
        ("connections = 3", "connections", 3),
        ("quota = 10G", "quota", 10 << 30),
        ("", "quota", 0),
        (
            "addresses = 192.0.2.7, 10.0.0.0/8, 10.0.0.0/8, 2001:DB8:0::/32, ::1/128",
            "addresses",
            ("192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "::1"),
        ),
        ("passwords = no", "passwords", "no"),
        ("authentication_methods = publickey", "authentication_methods", "publickey"),
        ("authentication_methods = any", "authentication_methods", "any"),
        (
            "authentication_methods = 'publickey,password'",
            "authentication_methods",
            "publickey,password",
        ),
        (
            "authentication_methods = publickey,password  publickey,keyboard-interactive:pam",
            "authentication_methods",
            "publickey,password publickey,keyboard-interactive:pam",
        ),
    ],
)
def test_each_key_of_a_profile(line: str, field: str, value: object) -> None:
    assert getattr(profile(line), field) == value


def test_a_profile_without_users_has_the_group_of_its_name() -> None:
    assert profile("").group == "jail"
    assert profile("match_user = ann").group == ""


def test_profiles_keep_their_order_and_are_found_by_name() -> None:
    found = parse("[profiles]\n[[b]]\n[[a]]\n")
    assert [p.name for p in found.profiles] == ["b", "a"]
    assert found.profile("").name == "b" and found.profile("a").name == "a"
    with pytest.raises(UsageError, match="'c'.* has b, a"):
        found.profile("c")


WRONG = [
    ("[sshd]\nsubsystem = other", ("[sshd]", "subsystem", "other")),
    ("[keys]\nscope = all", ("[keys]", "scope", "all")),
    ("[mounts]\nallow = srv/web", ("[mounts]", "allow", "srv/web")),
    ("[logs]\nbackend = syslogd", ("[logs]", "backend", "syslogd")),
    ("[logs]\nfile = var/log/x", ("[logs]", "file", "var/log/x")),
    ("[logs]\nfile = '/var/log/x\x1b'", ("[logs]", "file")),
    ("[logs]\nfacility = MAIL", ("[logs]", "facility", "MAIL")),
    ("[logs]\nlevel = LOUD", ("[logs]", "level", "LOUD")),
    ("[logs]\ncolour = red", ("[logs]", "colour")),
    ("colour = red", ("colour",)),
    ("[colours]\nred = 1", ("colours",)),
    ("[profiles]\nchroot = /x/%u", ("[profiles]", "chroot")),
    ("[profiles]\n[[a]]\n[[[b]]]\n", ("[[a]]" if False else "a", "b")),
    ("profiles = 3", ("profiles",)),
    ("[profiles]\n[[p]]\nread_only = perhaps", ("[profiles]", "p", "read_only", "perhaps")),
    ("[profiles]\n[[p]]\nhome = bed", ("[profiles]", "p", "home", "bed")),
    ("[profiles]\n[[p]]\nmounts = cloud", ("[profiles]", "p", "mounts", "cloud")),
    ("[profiles]\n[[p]]\ncolour = red", ("[profiles]", "p", "colour")),
    ("[profiles]\n[[p]]\ngroup = 'a b'", ("[profiles]", "p", "'a b'", "group")),
    ("[profiles]\n[[p]]\nmatch_user = ann, '*'", ("[profiles]", "p", "'*'", "account")),
    ("[profiles]\n[[p]]\nmatch_user = '!ann'", ("[profiles]", "p", "'!ann'")),
    ("[profiles]\n[[p]]\nchroot = /", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = /%u", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = /srv/jail", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = /srv/%u/x", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = srv/%u", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = /srv/../%u", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = //srv/%u", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = '/srv/a b/%u'", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = '/srv/a#b/%u'", ("[profiles]", "p", "chroot")),
    ("[profiles]\n[[p]]\nchroot = %h\nhome = inside", ("[profiles]", "p", "home = inside")),
    ("[profiles]\n[[p]]\nfiles = a/b", ("[profiles]", "p", "files")),
    ("[profiles]\n[[p]]\nfiles = ..", ("[profiles]", "p", "files")),
    ("[profiles]\n[[p]]\nfiles = ''", ("[profiles]", "p", "files")),
    ("[profiles]\n[[p]]\nshell = false", ("[profiles]", "p", "shell")),
    ("[profiles]\n[[p]]\nshell = '/bin/a b'", ("[profiles]", "p", "shell")),
    ("[profiles]\n[[p]]\nshell = '/bin/a:b'", ("[profiles]", "p", "shell")),
    ("[profiles]\n[[p]]\numask = 8", ("[profiles]", "p", "umask")),
    ("[profiles]\n[[p]]\numask = 00027", ("[profiles]", "p", "umask")),
    ("[profiles]\n[[p]]\nstart = upload", ("[profiles]", "p", "start")),
    ("[profiles]\n[[p]]\nstart = '/a b'", ("[profiles]", "p", "start")),
    ("[profiles]\n[[p]]\ndeny = remove, explode", ("[profiles]", "p", "deny", "explode")),
    (
        "[profiles]\n[[p]]\nsshd_options = 'Match User ann'",
        ("[profiles]", "p", "sshd_options", "Match"),
    ),
    (
        "[profiles]\n[[p]]\nsshd_options = 'include /etc/x'",
        ("[profiles]", "p", "sshd_options", "include"),
    ),
    ("[profiles]\n[[p]]\nsshd_options = Alone", ("[profiles]", "p", "sshd_options", "Alone")),
    ("[profiles]\n[[p]]\naddresses = 10.0.0.1/8", ("p", "addresses: ", "is 10.0.0.0/8")),
    ("[profiles]\n[[p]]\naddresses = '10.0.0.*'", ("p", "addresses: ", "patterns are not")),
    ("[profiles]\n[[p]]\naddresses = 10.0.0", ("p", "addresses: ", "nor a network")),
    ("[profiles]\n[[p]]\naddresses = ::ffff:1.2.3.4", ("p", "addresses: ", "write 1.2.3.4")),
    ("[profiles]\n[[p]]\nconnections = -1", ("[profiles]", "p", "connections", "-1")),
    ("[profiles]\n[[p]]\nquota = lots", ("[profiles]", "p", "quota", "not a size")),
    ("[profiles]\n[[p]]\nquota = 9K", ("[profiles]", "p", "quota", "at least 1M")),
    ("[profiles]\n[[p]]\npasswords = maybe", ("[profiles]", "p", "passwords", "maybe")),
    ("[profiles]\n[[p]]\nauthentication_methods = key", ("p", "no method 'key'", "publickey")),
    ("[profiles]\n[[p]]\nauthentication_methods = any publickey", ("p", "no method 'any'")),
    ("[profiles]\n[[p]]\nauthentication_methods = 'publickey,,password'", ("p", "no method ''")),
    (
        "[profiles]\n[[p]]\npasswords = no\nauthentication_methods = publickey,password",
        ("p", "passwords = no takes none"),
    ),
    ("[profiles]\n[['../x']]\n", ("'../x'",)),
    ("[profiles]\n[[a]]\ngroup = g\n[[b]]\ngroup = g\n", ("[profiles]", "group")),
    ("[profiles\n", ()),
    ("[a]\n[a]\n", ()),
    ("[logs]\nlevel = 'INFO\n", ()),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[repr(text)[1:50] for text, _ in WRONG])
def test_an_error_says_file_section_and_key(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "/tmp/my.conf")
    assert caught.value.message.startswith("/tmp/my.conf")
    for word in words:
        assert word in caught.value.message
    assert caught.value.exit_code == 2


KEYS = [
    "group",
    "chroot",
    "home",
    "match_user",
    "deny",
    "umask",
    "start",
    "read_only",
    "sshd_options",
    "shell",
    "files",
]
values = st.sampled_from(
    [
        "%h",
        "/srv/%u",
        "/srv",
        "srv/%u",
        "/srv/%u/x",
        "/a b/%u",
        "'/a#b/%u'",
        '"/a\'b/%u"',
        "/a\\b/%u",
        "'/a\"b/%u'",
        "MaxSessions 2, 'Banner none'",
        "''",
        "'",
        '"',
        ",",
        "a,b",
        "'''",
        "bind",
        "inside",
        "%(x)s",
        "$x",
        "[x]",
        "",
        "\\",
    ]
)
lines = st.one_of(
    st.sampled_from(
        [
            "[sshd]",
            "[logs]",
            "[profiles]",
            "[[p]]",
            "[[q]]",
            "[plugins]",
            "[[[x]]]",
            "[",
            "[[]]",
            "# x",
            "=",
        ]
    ),
    st.tuples(
        st.sampled_from([*KEYS, "subsystem", "allow", "backend", "file", "x", "__many__"]),
        values | st.text(max_size=12),
    ).map(" = ".join),
    st.text(max_size=20),
)


@given(text=st.lists(lines, max_size=12).map("\n".join) | st.text())
@example(text="[profiles]\np = 3")
@example(text="profiles = a")
@example(text="[plugins]\nquota = 3\n[[quota]]\nx = 1, 2\n")
@example(text="[plugins]\n[[quota]]\n[[[deeper]]]\nx = 1\n")
@example(text="[profiles]\n[[__many__]]\n")
@example(text="[[x]]")
@example(text="[profiles]\n[[p]]\nchroot = a, b")
@example(text="[logs]\nfile = a, b")
def test_random_text_is_a_configuration_or_a_usage_error(text: str) -> None:
    try:
        found = parse(text)
    except UsageError:
        return
    assert found.profiles
    for one in found.profiles:
        assert one.in_home or (one.chroot.startswith("/") and one.chroot.endswith("/%u"))
        assert not any(c in one.chroot for c in " \n\t\"'#\\")
        assert all("\n" not in option for option in one.sshd_options)
        assert all(
            isinstance(value, str)
            for section in found.settings.values()
            for value in section.values()
        )


BITS = [1 << number for number in range(12)]


@pytest.mark.parametrize("bit", BITS, ids=oct)
@pytest.mark.parametrize("uid", [0, 1, 1000])
def test_a_configuration_is_roots_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bit: int, uid: int
) -> None:
    path = tmp_path / "sftpjail.conf"
    path.write_text("")
    found = path.stat()
    seen = os.stat_result((0o100600 | bit, *found[1:4], uid, *found[5:10]))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fstat", lambda _: seen)
    if uid or bit in (0o020, 0o002):
        with pytest.raises(UsageError, match="can be changed by others than root"):
            load(str(path))
    else:
        assert load(str(path)) == Config((UNSAID,))


@pytest.mark.parametrize("bit", BITS, ids=oct)
@pytest.mark.parametrize("uid", [0, 1])
def test_a_command_is_only_for_what_root_alone_can_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bit: int, uid: int
) -> None:
    real = os.lstat
    played = {"/etc": os.stat_result((0o040700 | bit, 0, 0, 0, uid, 0, 0, 0, 0, 0))}
    monkeypatch.setattr(os, "lstat", lambda path: played.get(path) or real(path))
    safe = uid == 0 and bit not in (0o020, 0o002)
    assert config._leads_only_there("/etc/passwd") == safe
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert not config._leads_only_there(str(tmp_path / "link"))
    assert not config._leads_only_there("passwd")


@pytest.mark.parametrize(
    ("chroot", "good"),
    [
        ("/j/%u", True),
        ("/j/k-1/%u", True),
        ("/j/x%u", False),
        ("/%u/%u", False),
        ("/j%h/%u", False),
        ("/j/%u/x", False),
        ("j/%u", False),
        ("/%u", False),
        ("/a b/%u", False),
        ("/a//b/%u", False),
        ("/a/../b/%u", False),
    ],
)
def test_a_chroot_is_a_directory_of_jails(chroot: str, good: bool) -> None:
    text = f"[profiles]\n[[p]]\nchroot = '{chroot}'\n"
    if good:
        assert parse(text).profiles[0].chroot == chroot
    else:
        with pytest.raises(UsageError, match="chroot = "):
            parse(text)


@pytest.mark.parametrize("option", ["Match all", "MATCH all", "include /x", "Subsystem x y"])
def test_no_option_ends_its_match_block(option: str) -> None:
    with pytest.raises(UsageError, match="cannot stand in a Match block"):
        parse(f"[profiles]\n[[p]]\nsshd_options = {option}\n")
    good = f"{option.split()[0]}ing yes"
    assert parse(f"[profiles]\n[[p]]\nsshd_options = {good}\n").profiles[0].sshd_options == (good,)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[logs]\nbackand = none", "; did you mean backend?"),
        ("[profile]", "; did you mean profiles?"),
        ("[profiles]\n[[web]]\nread-only = yes", "; did you mean read_only?"),
        ("[profiles]\n[[web]]\nzzz = yes", ""),
    ],
)
def test_the_setting_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown setting") as caught:
        parse(text)
    assert caught.value.message.partition("; ")[1:] == (meant[:2], meant[2:])


def test_the_profile_that_was_meant() -> None:
    with pytest.raises(UsageError, match="has sftponly; did you mean sftponly"):
        Config().profile("sftpony")


@pytest.mark.parametrize("file", ["x.prom", "/etc/passwd", "/x/.prom", '"/a\tb.prom"'])
def test_a_file_for_metrics_is_one_that_node_exporter_reads(file: str) -> None:
    with pytest.raises(UsageError, match=r"\[metrics\] file"):
        parse(f"[metrics]\nfile = {file}\n")


@pytest.mark.parametrize("line", ["user = ../x", "workers = 0", "timeout = 0", "retries = -1"])
def test_events_have_limits_and_a_valid_user(line: str) -> None:
    with pytest.raises(UsageError, match=r"\[events\]"):
        parse(f"[events]\n{line}\n")
