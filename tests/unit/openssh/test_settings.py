"""What sshd makes of an account: captured words of OpenSSH 9.2 (Debian 12) and 10.0 (Debian 13) go in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes import FakeHost, Programs, Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.errors import SftpJailError
from sftpjail.errors.escapes import Advice, look_at
from sftpjail.model import Account, Profile
from sftpjail.openssh import connections
from sftpjail.openssh.daemons import Daemon
from sftpjail.openssh.repair import (
    broken_line,
    change_line,
    comment_out,
    except_for,
    match_line,
    reload_command,
    unit,
)
from sftpjail.openssh.settings import Settings, effective
from sftpjail.openssh.sshd import LOCAL

MAIN, DIRECTORY = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"
ADMIN, DROPIN = f"{DIRECTORY}/00-admin.conf", f"{DIRECTORY}/10-sftpjail.conf"

# The files that were asked about, for user ann, who is in the groups sftponly and staff2.
FILES = {
    MAIN: """\
Include /etc/ssh/sshd_config.d/*.conf
UsePAM yes
AcceptEnv LANG LC_*
AcceptEnv COLORTERM
Subsystem	sftp	/usr/lib/openssh/sftp-server
AllowUsers ann bob
AllowUsers root
x11forwarding=yes
""",
    ADMIN: """\
PasswordAuthentication no
Match User bob,eve
    X11Forwarding no
Match Group staff2 Address 127.0.0.0/8
    Banner /etc/issue
    AllowTcpForwarding yes
""",
    DROPIN: """\
# Made by
Match Group sftponly
    ChrootDirectory /srv/sftp/%u
    ForceCommand internal-sftp -fAUTH -lVERBOSE
    AuthorizedKeysFile /etc/ssh/authorized_keys/%u
    AllowTcpForwarding no
""",
}
OUT = """\
usepam yes
passwordauthentication no
x11forwarding yes
allowtcpforwarding yes
banner /etc/issue
forcecommand internal-sftp -fAUTH -lVERBOSE
chrootdirectory /srv/sftp/%u
authorizedkeysfile /etc/ssh/authorized_keys/%u
allowusers ann
allowusers bob
allowusers root
acceptenv LANG
acceptenv LC_*
acceptenv COLORTERM
subsystem sftp /usr/lib/openssh/sftp-server
"""
# `sshd -T -ddd -C …`, standard error, without the lines about keys and the length of files.
ERR = """\
debug2: load_server_config: filename /etc/ssh/sshd_config
debug2: /etc/ssh/sshd_config line 1: new include /etc/ssh/sshd_config.d/*.conf
debug2: /etc/ssh/sshd_config line 1: including /etc/ssh/sshd_config.d/00-admin.conf
debug3: /etc/ssh/sshd_config.d/00-admin.conf:1 setting PasswordAuthentication no
debug3: checking syntax for 'Match User bob,eve'{line2}
debug3: checking syntax for 'Match Group staff2 Address 127.0.0.0/8'{line4}
debug3: checking syntax for 'Match Group sftponly'{line2}
debug3: /etc/ssh/sshd_config:2 setting UsePAM yes
debug3: /etc/ssh/sshd_config:3 setting AcceptEnv LANG LC_*
debug3: /etc/ssh/sshd_config:4 setting AcceptEnv COLORTERM
debug3: /etc/ssh/sshd_config:5 setting Subsystem sftp	/usr/lib/openssh/sftp-server
debug3: /etc/ssh/sshd_config:6 setting AllowUsers ann bob
debug3: /etc/ssh/sshd_config:7 setting AllowUsers root
debug3: /etc/ssh/sshd_config:8 setting x11forwarding yes
debug1: sshd version {version}
debug2: parse_server_config_depth: config reprocess config len 187
debug3: checking match for 'User bob,eve' user ann host localhost addr 127.0.0.1 laddr (null) lport 0{line2}
debug3: match not found{line2}
debug3: checking match for 'Group staff2 Address 127.0.0.0/8' user ann host localhost addr 127.0.0.1 laddr (null)\
 lport 0{line4}
debug1: user ann matched group list staff2 at line 4
debug1: connection from 127.0.0.1 matched 'Address 127.0.0.0/8' at line 4
debug3: match found{line4}
debug3: /etc/ssh/sshd_config.d/00-admin.conf:5 setting Banner /etc/issue
debug3: /etc/ssh/sshd_config.d/00-admin.conf:6 setting AllowTcpForwarding yes
debug3: checking match for 'Group sftponly' user ann host localhost addr 127.0.0.1 laddr (null) lport 0{line2}
debug1: user ann matched group list sftponly at line 2
debug3: match found{line2}
debug3: /etc/ssh/sshd_config.d/10-sftpjail.conf:3 setting ChrootDirectory /srv/sftp/%u
debug3: /etc/ssh/sshd_config.d/10-sftpjail.conf:4 setting ForceCommand internal-sftp -fAUTH -lVERBOSE
debug3: /etc/ssh/sshd_config.d/10-sftpjail.conf:5 setting AuthorizedKeysFile /etc/ssh/authorized_keys/%u
debug3: /etc/ssh/sshd_config.d/10-sftpjail.conf:6 setting AllowTcpForwarding no
"""
OLD = ERR.format(version="OpenSSH_9.2, OpenSSL 3.0.22 25 Aug 2026", line2="", line4="")
NEW = ERR.format(
    version="OpenSSH_10.0, OpenSSL 3.5.9 29 Sep 2026", line2=" on line 2", line4=" on line 4"
)


@pytest.fixture
def host(tree: Tree) -> FakeHost:
    """A host with sshd and the captured files; nothing of it runs."""
    tree.program("sshd")
    for path, text in FILES.items():
        tree.write(path, text)
    tree.pids = {}
    return tree.host()


@pytest.fixture(params=[OLD, NEW], ids=["9.2", "10.0"])
def found(request: pytest.FixtureRequest, host: FakeHost, programs: Programs) -> Settings:
    programs.answer("/usr/sbin/sshd", out=OUT, err=request.param)
    return effective(host, "ann")


def test_values_are_those_that_sshd_prints(found: Settings) -> None:
    assert (
        found.get("chrootdirectory") == "/srv/sftp/%u"
        and found.get("passwordauthentication") == "no"
    )
    assert found.get("subsystem") == "sftp /usr/lib/openssh/sftp-server"
    assert found.get("nothing") == "" and found.words("nothing") == []
    assert found.words("allowusers") == ["ann", "bob", "root"]
    assert found.words("acceptenv") == ["LANG", "LC_*", "COLORTERM"]
    assert found.words("forcecommand") == ["internal-sftp", "-fAUTH", "-lVERBOSE"]


def test_origins_are_the_lines_that_won(found: Settings) -> None:
    # The Match block of the administrator comes first and wins; a Match beats the global part; =
    # and case are nothing.
    places = {
        "allowtcpforwarding": (ADMIN, 6),
        "banner": (ADMIN, 5),
        "passwordauthentication": (ADMIN, 1),
        "chrootdirectory": (DROPIN, 3),
        "authorizedkeysfile": (DROPIN, 5),
        "usepam": (MAIN, 2),
        "subsystem": (MAIN, 5),
        "x11forwarding": (MAIN, 8),
    }
    assert {keyword: found.origins[keyword] for keyword in places} == places
    assert "pubkeyauthentication" not in found.origins
    # Lists add up over the lines of a part.
    assert found.places["allowusers"] == ((MAIN, 6), (MAIN, 7)) and found.places["acceptenv"] == (
        (MAIN, 3),
        (MAIN, 4),
    )
    assert found.places["allowtcpforwarding"] == ((ADMIN, 6), (DROPIN, 6))
    assert found.where("usepam") == f"{MAIN}:2" and found.where("pubkeyauthentication") == "default"


def test_a_match_block_of_the_main_file_has_its_lines(host: FakeHost, programs: Programs) -> None:
    """In the second pass sshd calls that file "reprocess config"."""
    err = OLD + "debug3: reprocess config:9 setting PermitTTY no\n"
    programs.answer("/usr/sbin/sshd", out=OUT, err=err)
    assert effective(host, "ann").origins["permittty"] == (MAIN, 9)


def test_every_line_names_the_keyword_that_stands_there(found: Settings) -> None:
    assert len(found.origins) > 10
    for keyword, (path, number) in found.origins.items():
        line = FILES[path].split("\n")[number - 1]
        assert line.strip().lower().startswith(keyword)


@pytest.mark.parametrize(
    ("written", "keyword"),
    [
        ("PubkeyAcceptedKeyTypes", "pubkeyacceptedalgorithms"),
        ("ChallengeResponseAuthentication", "kbdinteractiveauthentication"),
        ("DSAAuthentication", "pubkeyauthentication"),
    ],
)
def test_an_old_name_of_a_keyword_is_that_keyword(
    host: FakeHost, programs: Programs, written: str, keyword: str
) -> None:
    programs.answer(
        "/usr/sbin/sshd", out=f"{keyword} no\n", err=f"debug3: {MAIN}:9 setting {written} no\n"
    )
    assert effective(host, "ann").where(keyword) == f"{MAIN}:9"


def test_criteria_are_what_sshd_has_looked_at(found: Settings) -> None:
    assert found.criteria == ("User bob,eve", "Group staff2 Address 127.0.0.0/8", "Group sftponly")


def test_sshd_is_asked_once_for_each_user(host: FakeHost, programs: Programs) -> None:
    programs.answer("/usr/sbin/sshd", out=OUT, err=OLD)
    for name in ("ann", "bob", "ann", "ann"):
        effective(host, name)
    assert [argv[:3] for argv in programs.asked] == [("/usr/sbin/sshd", "-T", "-ddd")] * 2
    assert programs.asked[1][4].startswith("user=bob,host=")


# What sshd says with -ddd of a file that it does not take, by what is wrong in line 4: the same in
# both releases.
REFUSALS = {
    "Usepram yes": "{path}: line 4: Bad configuration option: Usepram\n"
    "{path}: terminating, 1 bad configuration options",
    "UsePAM perhaps": '{path} line 4: unsupported option "perhaps".',
    "PasswordAuthentication": '{path} line 4: no argument after keyword "PasswordAuthentication"\n'
    "{path}: terminating, 1 bad configuration options",
    "UsePAM yes no": "{path} line 4: keyword UsePAM extra arguments at end of line\n"
    "{path}: terminating, 1 bad configuration options",
    "    UsePAM no": "{path} line 4: Directive 'UsePAM' is not allowed within a Match block",
    'Banner "/etc/x': "{path} line 4: invalid quotes\n{path}: terminating, 1 bad configuration options",
    "Port 99999999": "{path} line 4: Badly formatted port number.",
    "Ciphers rot13": "{path} line 4: Bad SSH2 cipher spec 'rot13'.",
}


@pytest.mark.parametrize("line", REFUSALS)
@pytest.mark.parametrize("path", [MAIN, f"{DIRECTORY}/50-bad.conf"])
def test_a_refusal_names_the_command_that_takes_the_line_out(
    host: FakeHost, programs: Programs, path: str, line: str
) -> None:
    said = REFUSALS[line].format(path=path)
    programs.answer("/usr/sbin/sshd", "-t", err=f"{said}\n", code=255)
    programs.answer(
        "/usr/sbin/sshd", err=f"debug2: load_server_config: filename {MAIN}\n{said}\n", code=255
    )
    with pytest.raises(SftpJailError) as caught:
        effective(host, "ann")
    assert caught.value.message == f"sshd refuses its present configuration: {said}".replace(
        "\n", " / "
    )
    assert caught.value.fix == f"sed -i '4s/^/#/' {path} && sshd -t"


def test_all_lines_that_are_wrong_go(host: FakeHost) -> None:
    words = (
        f"{ADMIN}: line 1: Bad configuration option: Usepram / {ADMIN}: line 3: Bad configuration option: Other / "
        f"{ADMIN}: terminating, 2 bad configuration options"
    )
    assert broken_line(words, host) == f"sed -i '1s/^/#/; 3s/^/#/' {ADMIN} && sshd -t"


def test_what_sshd_only_warns_of_stays(host: FakeHost) -> None:
    warning = f"{ADMIN} line 1: Deprecated option UsePrivilegeSeparation"
    assert broken_line(warning, host) == look_at("sshd -t")
    words = f'{warning} / {DROPIN} line 2: unsupported option "perhaps".'
    assert "10-sftpjail" in broken_line(words, host) and ADMIN not in broken_line(words, host)


def test_a_match_line_takes_its_block_along(tree: Tree, host: FakeHost) -> None:
    tree.write(
        ADMIN,
        "Match Grooup x\n  PasswordAuthentication yes\n\n  Banner none\n match all\n  X11Forwarding no\n",
    )
    words = f"Unsupported Match attribute Grooup / {ADMIN} line 1: Bad Match condition"
    assert broken_line(words, host) == f"sed -i '1,2s/^/#/; 4s/^/#/' {ADMIN} && sshd -t"
    tree.write(ADMIN, "UsePAM yes\nMatch Grooup x\n  Banner none\n")
    assert (
        broken_line(words.replace("line 1", "line 2"), host)
        == f"sed -i '2,3s/^/#/' {ADMIN} && sshd -t"
    )


@pytest.mark.parametrize(
    "words",
    [
        "sshd: no hostkeys available -- exiting.",
        "Missing privilege separation directory: /run/sshd",
        f"{DIRECTORY}/with space.conf: terminating, 1 bad configuration options",
        "",
    ],
)
def test_words_without_a_line_leave_it_to_sshd(host: FakeHost, words: str) -> None:
    said = broken_line(words, host)
    assert said == look_at("sshd -t") and isinstance(said, Advice)


def test_comment_out_edits_each_file_once(host: FakeHost) -> None:
    assert comment_out([(ADMIN, 6), (MAIN, 2), (ADMIN, 5), (ADMIN, 6)], host) == (
        f"sed -i '5,6s/^/#/' {ADMIN} && sed -i '2s/^/#/' {MAIN} && sshd -t"
    )
    assert comment_out([(ADMIN, 1), (ADMIN, 3), (ADMIN, 4), (ADMIN, 5)], host) == (
        f"sed -i '1s/^/#/; 3,5s/^/#/' {ADMIN} && sshd -t"
    )
    assert (
        comment_out([("/etc/ssh/my own.conf", 1)], host)
        == "sed -i '1s/^/#/' '/etc/ssh/my own.conf' && sshd -t"
    )


def test_change_line_quotes_for_the_shell(host: FakeHost) -> None:
    assert change_line((MAIN, 6), "s/$/ ann/", host) == f"sed -i '6s/$/ ann/' {MAIN} && sshd -t"


def test_the_way_to_tell_sshd_is_the_hosts(tree: Tree) -> None:
    assert reload_command(tree.host()) == "kill -HUP 7"
    tree.pids = {}
    assert reload_command(tree.host()) == "sshd -t"
    tree.directory("/run/systemd/system")
    assert reload_command(tree.host()) == "systemctl reload-or-try-restart sshd"
    tree.write("/usr/lib/systemd/system/ssh.service", "")
    assert reload_command(tree.host()) == "systemctl reload-or-try-restart ssh"
    assert unit(tree.host()) == "ssh"
    by_hand = Daemon("/usr/sbin/sshd", pid=8, unit="session-1.scope")
    assert reload_command(tree.host(), by_hand) == "kill -HUP 8"
    second = by_hand._replace(unit="second.service")
    told = "systemctl kill -s HUP --kill-who=main second.service"
    assert reload_command(tree.host(), second) == told


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((DROPIN, 6), "Match Group sftponly"),
        ((ADMIN, 3), "Match User bob,eve"),
        ((ADMIN, 6), "Match Group staff2 Address 127.0.0.0/8"),
        ((ADMIN, 1), ""),
        ((MAIN, 8), ""),
        (("/etc/ssh/none", 3), ""),
    ],
)
def test_match_line(host: FakeHost, place: tuple[str, int], line: str) -> None:
    assert match_line(place, host) == line


def test_match_line_sees_any_case_and_no_comment(tree: Tree) -> None:
    tree.write(MAIN, "Matchless yes\n#Match User a\n\t mAtCh   User b\nX11Forwarding no\n")
    assert match_line((MAIN, 4), tree.host()) == "mAtCh   User b"
    assert match_line((MAIN, 2), tree.host()) == ""


@given(words=st.text() | st.text(st.sampled_from("/etc sshdline 0123456789:\n")))
def test_any_words_of_sshd_give_a_command(words: str) -> None:
    command = broken_line(words, FakeHost("/nonexistent"))
    assert isinstance(command, Advice) or command.startswith("sed -i '")


def test_broken_line_of_host_keys_that_anybody_may_read() -> None:
    words = "Permissions 0644 for '/etc/ssh/ssh_host_rsa_key' are too open. / sshd: no hostkeys available -- exiting."
    assert broken_line(words, FakeHost("/nonexistent")) == "chmod 600 /etc/ssh/ssh_host_rsa_key"


@pytest.mark.parametrize(
    ("criteria", "fields"),
    [
        ("User all", {}),
        ("all", {}),
        ("Address 10.0.0.0/8,!10.1.0.0/16", {"addr": "10.0.0.0"}),
        ("address=192.168.*", {"addr": "192.168.1.1"}),
        (
            'invalid-user Address "172.16.?.7" LocalPort 2222',
            {"addr": "172.16.1.7", "lport": "2222"},
        ),
        ("Address 2001:db8:*", {"addr": "2001:db8::1"}),
        ("Address 2001:db8::/32", {"addr": "2001:db8::"}),
        ("Address 192.168.*,!192.168.1.*", {"addr": "192.168.7.7"}),
        ("Address !192.168.0.0/24,192.168.0.0/16", {"addr": "192.168.255.255"}),
        ("Address 10.0.0.1,!10.0.0.0/8", {}),
        ("Host *.example.com User bob", {"host": "1.example.com"}),
        ("LocalAddress 10.0.0.9", {"laddr": "10.0.0.9"}),
        ("RDomain vrf-*", {"rdomain": "vrf-1"}),
        ("rdomain=vrf7 localport=23 user=x", {"rdomain": "vrf7", "lport": "23"}),
    ],
)
def test_connections_that_a_match_line_tells_apart(
    monkeypatch: pytest.MonkeyPatch, criteria: str, fields: dict[str, str]
) -> None:
    monkeypatch.setattr(connections, "effective", lambda *_, **__: Settings({}, {}, (criteria,)))
    found = [
        dict(pair.split("=") for pair in kind.split(","))
        for kind in connections.connections(FakeHost())
    ]
    local = dict(pair.split("=") for pair in LOCAL.split(","))
    assert found[1:-1] == ([local | fields] if fields else []) and found[0] == local
    assert len(found) == 1 or found[-1]["addr"] == "192.0.2.77"


BOTH = ("127.0.0.1 2222", "127.0.0.1 2300")
SEVERAL = (("", 2222), ("0.0.0.0", 2300))


@pytest.mark.parametrize(
    ("places", "lines", "expected"),
    [
        # Nothing tells the places apart: port 22 stands for all of them.
        (SEVERAL, ("Address 10.0.0.1",), {"127.0.0.1 22": {"127.0.0.1", "10.0.0.1"}}),
        # Nobody listens there, so that the line matches nobody.
        (SEVERAL, ("LocalPort 22",), {key: {"127.0.0.1"} for key in BOTH}),
        (SEVERAL, ("LocalPort 22", "Address 10.0.0.1"), {key: {"10.0.0.1"} for key in BOTH}),
        ((("", 22),), ("LocalPort 2222",), {"127.0.0.1 22": {"127.0.0.1"}}),
        ((("", 22),), ("LocalAddress 10.9.9.9",), {"10.9.9.9 22": {"127.0.0.1"}}),
        ((("10.0.0.7", 2222),), ("LocalAddress 10.9.9.9",), {"10.0.0.7 2222": {"127.0.0.1"}}),
        # Nobody listens at all: by the configuration, and by the lines.
        ((), ("LocalPort 2222",), {"127.0.0.1 24": set(), "127.0.0.1 2222": set()}),
    ],
)
def test_connections_are_to_where_sshd_listens(
    monkeypatch: pytest.MonkeyPatch,
    places: tuple[tuple[str, int], ...],
    lines: tuple[str, ...],
    expected: dict[str, set[str]],
) -> None:
    told = Settings({"port": ("24",)}, {}, lines)
    monkeypatch.setattr(connections, "effective", lambda *_, **__: told)
    daemon = Daemon("/usr/sbin/sshd", (), 7, places)
    found: dict[str, set[str]] = {}
    for kind in connections.connections(FakeHost(), daemon=daemon):
        fields = dict(pair.split("=") for pair in kind.split(","))
        found.setdefault(f"{fields['laddr']} {fields['lport']}", set()).add(fields["addr"])
    for place, addresses in expected.items():
        assert found[place] >= addresses, (place, found)
    asked = {place.partition(" ")[2] for place in found}
    assert asked <= {place.partition(" ")[2] for place in expected} | {"47022"}, found
    assert "47022" not in asked or not places or not told.tells_places_apart


@pytest.mark.real_program  # sed
@pytest.mark.parametrize(
    ("match", "after"),
    [
        ("Match User ann", "Match User ann\n#    Banner none\n    PermitTTY yes\n"),
        (
            'match="group"  sftponly',
            'match="group"  sftponly\n#    Banner none\n    PermitTTY yes\n',
        ),
        ("Match all", "Match Group *,!sftponly\n    Banner none\n    PermitTTY yes\n"),
        (
            "Match User ann,bob",
            "Match User ann,bob Group *,!sftponly\n    Banner none\n    PermitTTY yes\n",
        ),
        (
            "Match Group staff2 Address *  # the office",
            "Match Group staff2 Address * Group *,!sftponly\n    Banner none\n    PermitTTY yes\n",
        ),
    ],
)
def test_a_foreign_block_goes_on_for_all_others(
    tree: Tree, tmp_path: Path, match: str, after: str
) -> None:
    text = f"{match}\n    Banner none\n    PermitTTY yes\n"
    tree.write(ADMIN, text)
    ann = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))
    command = except_for([(ADMIN, 2)], ann, tree.host())
    edit, _, reload = command.partition(" && ")
    assert reload == reload_command(tree.host())
    file = tmp_path / "admin.conf"
    file.write_text(text)
    subprocess.run(["sh", "-ec", edit.replace(ADMIN, str(file))], check=True)
    assert file.read_text() == after


def test_a_line_in_no_block_makes_no_exception(tree: Tree) -> None:
    tree.write(ADMIN, "Banner none\n")
    ann = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))
    assert except_for([(ADMIN, 1)], ann, tree.host()) == ""
