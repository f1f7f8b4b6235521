"""sshd: what check finds wrong with the Match blocks and the daemon, and what explain shows of them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from fakes import Programs, Tree
from golden import BIND, DROPIN, GOLDEN, MAIN, Fire, Sshd, ann

from sftpjail import Account, Choice, Fact, Problem, Profile
from sftpjail.config import Config
from sftpjail.jails.states import State, States
from sftpjail.openssh import stale
from sftpjail.openssh.settings import effective
from sftpjail.plugins.sshd import writers
from sftpjail.plugins.sshd.differences import PENDING
from sftpjail.system.confinement import Confinement
from sftpjail.system.listeners import Listener

ADMIN = "/etc/ssh/sshd_config.d/00-admin.conf"
RELOAD = "kill -HUP 7"
SHADOWED = "it comes before our Match block, and the first value wins"


@pytest.fixture(autouse=True)
def good(tree: Tree, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is set up, and an sshd that runs, which will not do by itself what it has not done."""
    monkeypatch.setattr(stale, "GRACE", 0)
    tree.write(DROPIN, GOLDEN)
    tree.write("/run/sshd.pid", "7\n")
    reload(tree)


def reload(tree: Tree) -> None:
    os.utime(tree.root / "run/sshd.pid", (2**31, 2**31))


def test_on_check_of_a_good_host(tree: Tree, fire: Fire) -> None:
    assert fire("sshd", "on_check", tree.host(), account=None) == []
    assert fire("sshd", "on_check", tree.host(), account=ann()) == []


# -- the host ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (("PermitTunnel no", "PermitTunnel yes"), "permittunnel no"),
        (
            ("    ForceCommand internal-sftp -fAUTH -lVERBOSE\n", ""),
            "forcecommand internal-sftp -fAUTH -lVERBOSE",
        ),
        (("Match Group sftponly", "Match Group other"), "chrootdirectory /srv/sftp/%u"),
    ],
)
def test_on_check_tells_of_a_block_that_was_changed(
    tree: Tree, fire: Fire, change: tuple[str, str], missing: str
) -> None:
    tree.write(DROPIN, GOLDEN.replace(*change))
    reload(tree)
    assert fire("sshd", "on_check", tree.host(), account=None) == [
        Problem(
            f"sshd does not jail the members of profile sftponly: {missing} is not in force",
            "the jail is open",
            "sftpjail setup",
            severity="open",
        )
    ]


@pytest.mark.parametrize(
    "change",
    [{"read_only": True}, {"deny": ("remove",)}, {"umask": "027"}, {"chroot": "/jails/%u"}],
)
def test_on_check_after_an_edit_of_the_configuration(
    tree: Tree, fire: Fire, change: dict[str, Any]
) -> None:
    profile = replace(BIND, **change)
    for account in (None, ann(profile)):
        (problem,) = fire(
            "sshd", "on_check", tree.host(), Config(profiles=(profile,)), account=account
        )
        assert (problem.why, problem.fix) == (PENDING, "sftpjail setup")


def test_on_check_of_a_new_profile_is_of_an_open_jail(tree: Tree, fire: Fire) -> None:
    config = Config(profiles=(Profile("new", "new"), BIND))
    (problem,) = fire("sshd", "on_check", tree.host(), config, account=None)
    assert (problem.why, problem.fix) == ("the jail is open", "sftpjail setup")
    assert "the members of profile new: chrootdirectory" in problem.what


def test_on_check_names_the_open_door_first(tree: Tree, fire: Fire) -> None:
    text = GOLDEN.replace("-lVERBOSE", "-lINFO").replace("PermitTTY no", "PermitTTY yes")
    tree.write(DROPIN, text)
    reload(tree)
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert "permittty no is not in force" in problem.what and problem.why == "the jail is open"


def test_on_check_of_a_line_above_that_opens_nothing(tree: Tree, fire: Fire) -> None:
    tree.write(ADMIN, "Match Group sftponly\n    ForceCommand internal-sftp -R\n")
    reload(tree)
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert problem.why == "the jail holds, but not all of its settings" and problem.fix.startswith(
        "sed -i '2s"
    )


def test_on_check_of_a_block_that_is_not_read(tree: Tree, fire: Fire) -> None:
    text = (tree.root / MAIN.lstrip("/")).read_text()
    tree.write(MAIN, text.replace("Include", "#Include"))
    (problem,) = fire("sshd", "on_check", tree.host(), account=ann())
    assert (problem.why, problem.fix) == ("sshd does not read our Match block", "sftpjail setup")


def test_on_check_blames_the_line_above_ours(tree: Tree, fire: Fire) -> None:
    tree.write(ADMIN, "# mine\nMatch Group sftponly\n    AllowTcpForwarding yes\n")
    reload(tree)
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert "allowtcpforwarding no is not in force" in problem.what
    assert problem.fix == f"sed -i '3s/^/#/' {ADMIN} && {RELOAD}"


@pytest.mark.parametrize("account", [None, ann()], ids=["host", "jail"])
def test_on_check_frees_setup_of_the_line_that_stops_it(
    tree: Tree, fire: Fire, account: Account | None
) -> None:
    """Where our block is gone, too, `setup` is refused until another one is out of its way."""
    tree.write(DROPIN, "")
    tree.write(ADMIN, "Match Group sftponly\n    X11Forwarding yes\n")
    reload(tree)
    fixes = [problem.fix for problem in fire("sshd", "on_check", tree.host(), account=account)]
    assert fixes[0] == f"sed -i '2s/^/#/' {ADMIN} && {RELOAD}"
    assert fixes[1:] == ["sftpjail setup"] * (account is not None)


def test_on_check_looks_at_users_and_groups_of_each_profile(tree: Tree, fire: Fire) -> None:
    config = Config(profiles=(BIND, Profile("two", "two", match_user=("bob",))))
    assert [f.what for f in fire("sshd", "on_check", tree.host(), config, account=None)] == [
        "sshd does not jail the members of profile two: chrootdirectory /srv/sftp/%u is not in force",
        "sshd does not jail the members of profile two: chrootdirectory /srv/sftp/%u is not in force",
    ]


def test_on_check_of_a_configuration_that_sshd_refuses(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    sshd.broken = f"{MAIN}: line 3: Bad configuration option: Usepram\n{MAIN}: terminating, 1 bad configuration options"
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert "Usepram" in problem.what and problem.fix == f"sed -i '3s/^/#/' {MAIN} && {RELOAD}"


def test_on_check_misses_the_subsystem(tree: Tree, fire: Fire) -> None:
    text = (tree.root / MAIN.lstrip("/")).read_text()
    tree.write(MAIN, text.replace("Subsystem", "#Subsystem"))
    reload(tree)
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert problem.what == "sshd has no line Subsystem sftp" and problem.fix == "sftpjail setup"


def test_on_check_tells_of_a_daemon_that_does_not_run(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    tree.pids = {}
    assert fire("sshd", "on_check", tree.host(), account=None) == [
        Problem(
            "sshd does not run",
            "nobody can log in",
            "install -d -m 755 /run/sshd && /usr/sbin/sshd",
        )
    ]
    tree.directory("/run/systemd/system")
    tree.write("/usr/lib/systemd/system/ssh.service", "")
    programs.answer("systemctl", "show")
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert problem.fix == "systemctl start ssh"


def test_on_check_of_an_sshd_started_for_each_connection(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    tree.pids = {}
    tree.directory("/run/systemd/system")
    tree.write("/usr/lib/systemd/system/ssh.service", "")
    unit = "ssh@sftpjail.service"
    socket = "Id=ssh.socket\nTriggers=\nAccept=yes\nActiveState=active\nListen=[::]:22 (Stream)\n"
    command = "{ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -i $SSHD_OPTS ; ignore_errors=yes ; }"
    files = "EnvironmentFiles=/etc/default/ssh (ignore_errors=yes)"
    programs.answer("--type=socket", out=socket)
    programs.answer("systemctl", "show", out=f"Id={unit}\nExecStart={command}\n{files}\n")
    assert fire("sshd", "on_check", tree.host(), account=None) == []
    tree.write("/etc/default/ssh", "# for sshd\nSSHD_OPTS=\"-f /etc/ssh/other -o 'UseDNS no'\"\n")
    tree.write("/etc/ssh/other", "")
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    name = "sshd on port 22 (started by ssh@.service, -f /etc/ssh/other)"
    assert problem.what.startswith(f"{name} does not jail the members of profile sftponly")
    assert problem.severity == "open"


@pytest.mark.parametrize("path", [MAIN, DROPIN, "/etc/ssh/sshd_config.d/99-empty.conf"])
def test_on_check_tells_of_a_daemon_that_has_not_read_its_files(
    tree: Tree, fire: Fire, path: str
) -> None:
    os.utime(tree.root / "run/sshd.pid", (2**31 - 1000, 2**31 - 1000))
    if not (tree.root / path.lstrip("/")).exists():
        tree.write(path, "# nothing\n")
    for directory in ("etc/ssh/sshd_config.d", path.lstrip("/")):
        os.utime(tree.root / directory, (2**31 - 2000, 2**31 - 2000))
    assert fire("sshd", "on_check", tree.host(), account=None) == []
    os.utime(tree.root / path.lstrip("/"), (2**31, 2**31))
    what = f"sshd has not read {path} since it was changed"
    tree.write("/etc/shadow", "ann:$y$hash:19000:0:99999:7:::\n")
    assert States(Config(), tree.host()).of(ann()) == State("unknown", what)
    assert fire("sshd", "on_check", tree.host(), account=None) == [
        Problem(
            what,
            "it still does what the old configuration says",
            RELOAD,
            severity="open",
        )
    ]


def second(tree: Tree, text: str, *options: tuple[str, str]) -> None:
    """Another sshd, on port 2222, with a file of its own."""
    tree.write("/etc/ssh/other", text)
    first = Listener(7, "/usr/sbin/sshd", (("D", ""),), (("0.0.0.0", 22),))
    given = (("f", "/etc/ssh/other"), *options)
    tree.listening = [first, Listener(8, "/usr/sbin/sshd", given, (("::", 2222),), began=2**31)]


def test_on_check_judges_another_daemon(tree: Tree, fire: Fire) -> None:
    second(tree, "Subsystem sftp internal-sftp\n")
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    name = "sshd on port 2222 (pid 8, -f /etc/ssh/other)"
    assert problem.what.startswith(f"{name} does not jail the members of profile sftponly: ")
    assert problem.severity == "open" and not problem.fix
    assert problem.choices == (
        Choice(
            "to jail them there too",
            f"sed -i '1i Include {DROPIN}' /etc/ssh/other && kill -HUP 8",
        ),
        Choice(
            "to keep them out there",
            "sed -i '1i DenyGroups sftponly' /etc/ssh/other && kill -HUP 8",
        ),
    )
    assert fire("sshd", "on_check", tree.host(), account=ann()) == [problem]


@pytest.mark.parametrize(
    "text",
    ["AllowUsers root\n", "DenyGroups sftp*\n", f"Include {DROPIN}\n", "AllowGroups wheel\n"],
)
def test_on_check_of_another_daemon_that_does_no_harm(tree: Tree, fire: Fire, text: str) -> None:
    second(tree, text)
    assert fire("sshd", "on_check", tree.host(), account=None) == []
    assert fire("sshd", "on_check", tree.host(), account=ann()) == []


def test_on_check_of_a_daemon_that_cannot_be_asked(tree: Tree, fire: Fire) -> None:
    second(tree, "", ("o", ""))
    assert tree.listening
    tree.listening[1] = tree.listening[1]._replace(options=None)
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    what = "whether sshd on port 2222 (pid 8) jails anybody is not known: "
    assert problem.what == f"{what}its command line cannot be read from /proc"
    assert problem.severity == "broken" and problem.advice
    assert fire("sshd", "on_check", tree.host(), account=ann()) == [problem]


def test_a_jail_is_not_ok_where_a_daemon_cannot_be_asked(tree: Tree) -> None:
    second(tree, "AllowUsers root\n")
    tree.write("/etc/shadow", "ann:$y$hash:19000:0:99999:7:::\n")
    for path in ("/srv/sftp/ann", "/home/ann"):
        tree.directory(path)
    bare = replace(ann(), profile=Profile("sftponly", home="none"))
    assert States(Config(), tree.host()).of(bare).word == "ok"
    assert tree.listening
    tree.listening[1] = tree.listening[1]._replace(options=None)
    found = States(Config(), tree.host()).of(bare)
    why = "whether sshd on port 2222 (pid 8) jails it is not known: its command line cannot be read"
    assert (found.word, found.why) == ("unknown", f"{why} from /proc")


def test_on_check_of_files_that_others_can_change(tree: Tree, fire: Fire) -> None:
    """Whoever can write in one of them opens every jail."""

    def found(path: str, mode: int, owner: int = 0) -> list[tuple[str, str, str]]:
        place = tree.root / path.lstrip("/")
        before = place.stat().st_mode & 0o7777
        place.chmod(mode)
        tree.owners = {path: (owner, owner)}
        problems = fire("sshd", "on_check", tree.host(), account=None)
        place.chmod(before)
        return [(one.severity, one.what, one.fix) for one in problems]

    said = "{} can be changed by others than root (owner {}, mode {})".format
    assert found(MAIN, 0o666) == [("open", said(MAIN, 0, "0666"), f"chmod go-w {MAIN} && {RELOAD}")]
    assert found(MAIN, 0o644, 1002) == [
        ("open", said(MAIN, 1002, "0644"), f"chown root:root {MAIN} && {RELOAD}")
    ]
    directory = "/etc/ssh/sshd_config.d"
    assert found(directory, 0o777) == [
        ("open", said(directory, 0, "0777"), f"chmod go-w {directory} && {RELOAD}")
    ]
    assert found(MAIN, 0o664) == [], "the group is root's"


def test_what_prints_no_command_for_where_somebody_works(tree: Tree) -> None:
    """A command for the directory would take it from them, or break it for everybody."""
    second(tree, "AllowUsers root\n")
    assert tree.listening
    found = tree.listening[1]
    for config, mode, owner, problems in (
        ("/home/zoe/sshd", 0o700, 1002, 1),
        ("/var/tmp/sshd", 0o1777, 0, 0),  # of root's file there nobody can make another
        ("/srv/app/sshd", 0o777, 0, 1),
    ):
        tree.write(config, GOLDEN)
        directory = config.rpartition("/")[0]
        (tree.root / directory.lstrip("/")).chmod(mode)
        tree.owners = {directory: (owner, owner)}
        tree.listening[1] = found._replace(options=(("f", config),))
        said = [one for one in writers.find_problems(tree.host()) if directory in one.what]
        assert len(said) == problems, (config, said)
        assert all(one.severity == "open" and one.advice and not one.fix for one in said)


def test_on_check_of_a_link_to_what_others_can_change(tree: Tree, fire: Fire) -> None:
    tree.write("/home/bob/text", GOLDEN)
    tree.owners = {"/home/bob": (1002, 1002), "/home/bob/text": (1002, 1002)}
    (tree.root / DROPIN.lstrip("/")).unlink()
    (tree.root / DROPIN.lstrip("/")).symlink_to(tree.root / "home/bob/text")
    (problem,) = [
        one for one in fire("sshd", "on_check", tree.host(), account=None) if "leads" in one.what
    ]
    assert problem.what == f"{DROPIN} leads to /home/bob/text, which others than root can change"
    assert (problem.severity, problem.fix) == ("open", f"rm {DROPIN} && sftpjail setup")


def test_on_check_of_what_a_sandbox_forbids(tree: Tree, fire: Fire) -> None:
    tree.listening = [Listener(7, "/usr/sbin/sshd", (), (("::", 22),), "ssh.service")]
    host = tree.host()
    host.daemons.confined = {7: Confinement((7, 18))}
    found = fire("sshd", "on_check", host, account=ann())
    assert [(problem.what.partition("runs ")[2], problem.severity) for problem in found] == [
        ("without CAP_SETUID, so every login in a jail ends", "broken"),
        ("without CAP_SYS_CHROOT, so every login in a jail ends", "broken"),
    ]
    assert "systemctl edit ssh.service" in found[0].advice


def test_on_check_where_sshd_writes_no_pid_file(tree: Tree, fire: Fire) -> None:
    """Whether it was told to read its configuration leaves no trace then, which is said."""
    (tree.root / "run/sshd.pid").unlink()
    (problem,) = fire("sshd", "on_check", tree.host(), account=None)
    assert problem.what.startswith("whether sshd has read ") and problem.severity == "advice"
    assert problem.what.endswith(" is not known") and RELOAD in problem.advice


# -- a jail --------------------------------------------------------------------------------------


def test_on_check_names_the_file_the_match_and_every_line(tree: Tree, fire: Fire) -> None:
    tree.write(
        ADMIN,
        "Match User ann,bob\n    AllowTcpForwarding yes\n    Banner none\n    ChrootDirectory none\n",
    )
    assert fire("sshd", "on_check", tree.host(), account=ann()) == [
        Problem(
            f"{ADMIN} takes ann out of its jail's settings: chrootdirectory none, allowtcpforwarding yes "
            "(Match User ann,bob, line 4)",
            SHADOWED,
            rf"sed -i '1s/[[:space:]]*\(#.*\)\?$/ Group *,!sftponly/' {ADMIN} && {RELOAD}",
        )
    ]


def test_on_check_has_a_problem_for_each_file(tree: Tree, fire: Fire) -> None:
    other = "/etc/ssh/sshd_config.d/05-other.conf"
    tree.write(ADMIN, "Match User ann\n    PermitTTY yes\n")
    tree.write(other, "Match Group sftponly\n    ForceCommand /bin/sh\n")
    problems = fire("sshd", "on_check", tree.host(), account=ann())
    assert {problem.fix for problem in problems} == {
        f"sed -i '2s/^/#/' {ADMIN} && {RELOAD}",
        f"sed -i '2s/^/#/' {other} && {RELOAD}",
    }


def test_on_check_of_a_block_that_is_not_there_is_setups(tree: Tree, fire: Fire) -> None:
    tree.write(DROPIN, "")
    (problem,) = fire("sshd", "on_check", tree.host(), account=ann())
    assert problem.what.startswith(
        "sshd does not jail ann as profile sftponly says: chrootdirectory none, "
    )
    assert problem.fix == "sftpjail setup"


def test_a_global_line_is_never_to_blame(tree: Tree, fire: Fire) -> None:
    # It beats no Match block, and to take it out would change everybody's login.
    tree.write(DROPIN, GOLDEN.replace("    X11Forwarding no\n", ""))
    reload(tree)
    for account in (ann(), None):
        (problem,) = fire("sshd", "on_check", tree.host(), account=account)
        assert "x11forwarding" in problem.what and problem.fix == "sftpjail setup"


def test_on_check_of_a_tenth_word(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    tree.write(DROPIN, GOLDEN.replace("-lVERBOSE", "-l VERBOSE -u 0027 -d /up -R -P remove"))
    host = tree.host()
    (problem,) = fire("sshd", "on_check", host, account=ann())
    assert problem.why == "sshd drops everything after the 9th word of ForceCommand: -P remove"
    assert problem.fix == "sftpjail setup"
    sshd.version = "OpenSSH_10.4p1"
    (problem,) = fire("sshd", "on_check", tree.host(), account=ann())
    assert "word" not in problem.why


def test_on_check_of_our_block_at_the_end_of_sshd_config(tree: Tree, fire: Fire) -> None:
    # Where nothing includes the directory; a line of the block that was changed by hand is ours to
    # fix.
    block = GOLDEN.partition("\n")[2]
    (tree.root / DROPIN.lstrip("/")).unlink()
    text = (
        f"Subsystem sftp internal-sftp\n# BEGIN sftpjail sftpjail\n{block}# END sftpjail sftpjail\n"
    )
    tree.write(MAIN, text)
    assert fire("sshd", "on_check", tree.host(), account=ann()) == []
    tree.write(MAIN, text.replace("PermitTTY no", "PermitTTY yes"))
    assert [f.fix for f in fire("sshd", "on_check", tree.host(), account=ann())] == [
        "sftpjail setup"
    ]
    tree.write(MAIN, "Match User ann\n    PermitTTY yes\n" + text.partition("\n")[2])
    assert [f.fix for f in fire("sshd", "on_check", tree.host(), account=ann())] == [
        f"sed -i '2s/^/#/' {MAIN} && {RELOAD}"
    ]


@pytest.mark.parametrize(
    ("criteria", "asked"),
    [
        ("User bob,eve", False),
        ("User bob,a*", True),
        ("User ann", True),
        ("Group wheel", False),
        ("Group sftp*", True),
        ("Address 10.0.0.0/8", False),
        ("Host *.example.com Group ann", True),
        ("all", False),
    ],
)
def test_on_check_of_many_asks_only_whom_a_foreign_match_means(
    tree: Tree, fire: Fire, programs: Programs, criteria: str, asked: bool
) -> None:
    tree.write(ADMIN, f"Match {criteria}\n    Banner none\n")
    host = tree.host().for_many_accounts()
    fire("sshd", "on_check", host, account=ann())
    assert any("user=ann," in word for argv in programs.asked for word in argv) == asked


def test_on_check_of_many_asks_once_for_all(tree: Tree, fire: Fire, programs: Programs) -> None:
    host = tree.host().for_many_accounts()
    for number in range(100):
        assert fire("sshd", "on_check", host, account=ann(name=f"user{number}")) == []
    assert len(programs.asked) == 1


# -- explain -------------------------------------------------------------------------------------


def test_on_explain_shows_the_match_and_where_settings_stand(tree: Tree, fire: Fire) -> None:
    tree.write(ADMIN, "Match User ann\n    PermitTTY yes\n")
    facts = fire("sshd", "on_explain", tree.host(), account=ann())
    assert facts[0] == Fact("sshd", "Match Group sftponly", "", "10-sftpjail.conf:3")
    assert Fact("sshd", "chrootdirectory", "/srv/sftp/%u", "10-sftpjail.conf:3", depth=1) in facts
    assert Fact("sshd", "permittty", "yes", "00-admin.conf:2, wanted no", True, 1) in facts
    assert [fact for fact in facts if fact.depth == 0][1:6] == [
        Fact("sshd", "authenticationmethods", "any", "default"),
        Fact("sshd", "pubkeyauthentication", "yes", "default"),
        Fact("sshd", "passwordauthentication", "yes", "default"),
        Fact("sshd", "usepam", "yes", "sshd_config:2"),
        Fact("sshd", "subsystem", "sftp /usr/lib/openssh/sftp-server", "sshd_config:4"),
    ]


def test_on_explain_of_an_account_that_no_block_holds(tree: Tree, fire: Fire) -> None:
    facts = fire("sshd", "on_explain", tree.host(), account=ann(None, name="bob"))
    assert facts[0] == Fact("sshd", "no Match block with a chroot", "", "default", True)
    assert not [fact for fact in facts if fact.depth]


@pytest.mark.parametrize(
    ("version", "profile", "hazards"),
    [
        ("OpenSSH_9.2p1", BIND, ["9 words", "X11 and agent"]),
        ("OpenSSH_10.0p2", BIND, ["9 words", "PermitTunnel"]),
        ("OpenSSH_10.4p1", BIND, []),
        ("OpenSSH_10.6p1", replace(BIND, umask="0027"), ["umask"]),
        ("OpenSSH_9.2p1", None, ["9 words", "X11 and agent"]),
    ],
)
def test_on_explain_names_the_hazards_of_the_version(
    tree: Tree, fire: Fire, sshd: Sshd, version: str, profile: Profile | None, hazards: list[str]
) -> None:
    sshd.version = version
    facts = fire("sshd", "on_explain", tree.host(), account=ann(profile))
    number = version.removeprefix("OpenSSH_").partition("p")[0]
    (at,) = [n for n, fact in enumerate(facts) if fact.name == "OpenSSH"]
    assert facts[at] == Fact("sshd", "OpenSSH", number)
    assert len(facts[at + 1 :]) == len(hazards)
    for fact, words in zip(facts[at + 1 :], hazards, strict=True):
        assert fact.name == "" and fact.value.startswith("It ") and words in fact.value


def test_facts_and_problems_are_of_one_question(tree: Tree, fire: Fire, programs: Programs) -> None:
    host = tree.host()
    fire("sshd", "on_check", host, account=ann())
    fire("sshd", "on_explain", host, account=ann())
    assert effective(host, "ann").get("chrootdirectory") == "/srv/sftp/%u"
    assert sum("-ddd" in argv for argv in programs.asked) == 1
