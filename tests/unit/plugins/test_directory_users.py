"""Accounts of a directory: their homes, groups that must not be hidden, and where their keys come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, Programs, Tree
from golden import BIND, HOME, INSIDE, Fire, ann

from sftpjail import Bind, GiveDir, MakeDir, Remove, SetGroup, SftpJailError, WriteFile
from sftpjail.config import Config
from sftpjail.host.accounts import People
from sftpjail.openssh.settings import Settings
from sftpjail.plugins.keys.sources import commanded, principals_file, problems
from sftpjail.system.programs import Answer

ZOE = replace(ann(), name="zoe", uid=20010, gid=20000, home="/home/people/zoe", local=False)


@pytest.fixture(autouse=True)
def base(tree: Tree) -> None:
    tree.directory("/srv/sftp")


def test_a_home_that_nobody_has_made_is_made_with_its_skeleton(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/skel/.profile", "# hello\n", 0o640)
    tree.write("/etc/skel/.config/x", "x\n")
    tree.directory("/etc/skel/.config", 0o750)
    tree.link("/etc/skel/link", "/etc/passwd")
    actions = fire("chroot", "on_user_create", tree.host(), account=ZOE)
    assert actions[1:] == [
        MakeDir("/home/people"),
        MakeDir("/home/people/zoe", 0o700),
        MakeDir("/home/people/zoe/.config", 0o750, 20010, 20000),
        WriteFile("/home/people/zoe/.config/x", "x\n", 0o644, 20010, 20000),
        WriteFile("/home/people/zoe/.profile", "# hello\n", 0o640, 20010, 20000),
        GiveDir("/home/people/zoe", 20010, 20000, 0o700),
    ]
    assert fire("chroot", "on_jail_binds", tree.host(), account=ZOE) == [
        Bind("/home/people/zoe", "/srv/sftp/zoe/home/people/zoe", role="home")
    ]
    tree.directory("/home/people/zoe", 0o700, (20010, 20000))
    assert fire("chroot", "on_user_create", tree.host(), account=ZOE) == [MakeDir("/srv/sftp/zoe")]


@pytest.mark.parametrize(
    ("home", "words"),
    [("/etc/zoe", "is a directory of the system"), ("/srv", ""), ("/", "/ holds /proc")],
)
def test_a_home_of_the_system_is_not_made(tree: Tree, fire: Fire, home: str, words: str) -> None:
    account = replace(ZOE, home=home)
    if words:
        with pytest.raises(SftpJailError, match=words):
            fire("chroot", "on_user_create", tree.host(), account=account)
    else:
        assert fire("chroot", "on_user_create", tree.host(), account=account) == [
            MakeDir("/srv/sftp/zoe")
        ]


def test_a_home_in_a_jail_is_nobodys(tree: Tree, fire: Fire) -> None:
    account = replace(ZOE, home="/srv/sftp/bob/files")
    bind = Bind(account.home, f"/srv/sftp/zoe{account.home}", role="home")
    with pytest.raises(SftpJailError, match="lies in /srv/sftp"):
        fire("mounts", "on_mount", tree.host(), account=account, bind=bind)


def test_a_home_inside_is_where_the_directory_says(tree: Tree, fire: Fire) -> None:
    account = replace(ZOE, profile=INSIDE)
    jail = "/srv/sftp/zoe"
    assert fire("chroot", "on_user_create", tree.host(), account=account) == [
        MakeDir(jail),
        MakeDir(f"{jail}/home"),
        MakeDir(f"{jail}/home/people"),
        MakeDir(f"{jail}/home/people/zoe", 0o700, 20010, 20000),
    ]
    assert replace(account, home="/").files == f"{jail}/files"
    removed = fire("chroot", "on_user_remove", tree.host(), account=account, deleted=False)
    assert (
        Remove(f"{jail}/home/people/zoe", directory=True) in removed
        and Remove(f"{jail}/home", directory=True) in removed
    )


def test_a_home_that_becomes_the_jail(tree: Tree, fire: Fire) -> None:
    account = replace(ZOE, profile=HOME)
    assert fire("chroot", "on_user_create", tree.host(), account=account) == [
        MakeDir("/home/people"),
        MakeDir("/home/people/zoe"),
        MakeDir("/home/people/zoe/files", 0o700, 20010, 20000),
    ]


def test_a_directorys_group_is_never_hidden_by_one_of_ours(
    tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(profiles=(replace(BIND, group="dirusers"),))
    assert fire("accounts", "on_setup", tree.host(), config) == [SetGroup("dirusers")]
    tree.write("/etc/nsswitch.conf", "passwd: files ldap\n")
    assert fire("accounts", "on_setup", tree.host(), config) == [SetGroup("dirusers")], (
        "the first setup, and it answers"
    )
    tree.write("/var/lib/sftpjail/host", '{"made": ["/srv/sftp"]}\n')
    with pytest.raises(SftpJailError, match="is the directory service .ldap. down"):
        fire("accounts", "on_setup", tree.host(), config)
    tree.write("/var/lib/sftpjail/host", '{"made": ["group:dirusers"]}\n')
    assert fire("accounts", "on_setup", tree.host(), config) == [SetGroup("dirusers")], (
        "it was ours"
    )
    monkeypatch.setattr(People, "is_silent_group", lambda self, name: True)
    tree.write("/var/lib/sftpjail/host", "{}\n")
    with pytest.raises(SftpJailError, match="there is no group dirusers"):
        fire("accounts", "on_setup", tree.host(), config)


# -- keys ----------------------------------------------------------------------------------------

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl zoe"


def settings(**values: str) -> Settings:
    places = dict.fromkeys(values, (("/etc/ssh/sshd_config", 7),))
    return Settings({keyword: (value,) for keyword, value in values.items()}, places, ())


def command(value: str) -> Settings:
    return settings(authorizedkeyscommand=value, authorizedkeyscommanduser="nobody")


@pytest.fixture
def host(tree: Tree, programs: Programs) -> FakeHost:
    tree.write("/usr/bin/keys", "#!/bin/sh\n", 0o755)
    tree.account("nobody", 65534, make_home=False)
    programs.answer("ssh-keygen", out="256 SHA256:abc 0 (ED25519)\n256 SHA256:end 1 (ED25519)\n")
    return tree.host()


@pytest.mark.parametrize(
    ("value", "argv"),
    [
        ("/usr/bin/keys", ("/usr/bin/keys", "zoe")),
        ("/usr/bin/keys -u %u %% %U", ("/usr/bin/keys", "-u", "zoe", "%", "20010")),
        ("/usr/bin/keys fixed", ("/usr/bin/keys", "fixed")),
    ],
)
def test_the_command_runs_as_sshd_would_run_it(
    host: FakeHost, programs: Programs, value: str, argv: tuple[str, ...]
) -> None:
    programs.answer("setpriv", out=f"{KEY}\n")
    said = commanded(ZOE, command(value), host)
    assert said and said.argv == argv and not said.problem and len(said.entries) == 1
    assert ("--reuid=65534" in programs.asked[0]) and programs.asked[0][-len(argv) :] == argv


def test_what_depends_on_the_connection_is_not_guessed(host: FakeHost) -> None:
    assert commanded(ZOE, command("/usr/bin/keys %u %f"), host) is None
    assert (
        commanded(ZOE, command("none"), host) is None and commanded(ZOE, settings(), host) is None
    )


def test_a_command_that_only_sshd_can_split_is_left_to_it(host: FakeHost) -> None:
    assert commanded(ZOE, command("/usr/bin/keys it's"), host) is None


def test_the_command_may_run_as_the_account_itself(
    host: FakeHost, tree: Tree, programs: Programs
) -> None:
    programs.answer("setpriv", out="")
    tree.account("zoe", 20010, 20000, make_home=False)
    found = settings(authorizedkeyscommand="/usr/bin/keys", authorizedkeyscommanduser="%u")
    said = commanded(ZOE, found, tree.host())
    assert said and not said.problem and "--reuid=20010" in programs.asked[0]


def test_problems_about_a_command(host: FakeHost, tree: Tree, programs: Programs) -> None:
    programs.answer_by("setpriv", lambda argv, _: Answer(1, "", "no server"))
    (problem,) = problems(ZOE, command("/usr/bin/keys"), False, host)
    assert (
        "it fails: no server" in problem.what
        and problem.fix == "setsid -w runuser -u nobody -- /usr/bin/keys zoe"
    )
    assert list(problems(ZOE, command("/usr/bin/keys"), True, host)) == [], "it has a key in a file"
    tree.write("/usr/bin/keys", "", 0o644)
    (problem,) = problems(ZOE, command("/usr/bin/keys"), True, tree.host())
    assert problem.fix == "chmod 755 /usr/bin/keys"
    tree.write("/usr/bin/keys", "", 0o775)
    (problem,) = problems(ZOE, command("/usr/bin/keys"), True, tree.host())
    assert "chmod go-w /usr/bin/keys" in problem.fix
    (problem,) = problems(ZOE, command("/usr/bin/none"), True, tree.host())
    assert "is not there" in problem.what


def test_problems_about_certificates(host: FakeHost, tree: Tree, programs: Programs) -> None:
    found = settings(
        trustedusercakeys="/etc/ssh/ca.pub", authorizedprincipalsfile="/etc/ssh/principals/%u"
    )
    assert principals_file(ZOE, found) == "/etc/ssh/principals/zoe"
    assert principals_file(ZOE, settings(trustedusercakeys="none")) == ""
    whats = [problem.what for problem in problems(ZOE, found, False, tree.host())]
    assert "holds no key of an authority" in whats[0] and "names no principal for zoe" in whats[1]
    tree.write("/etc/ssh/ca.pub", f"{KEY}\n")
    tree.write("/etc/ssh/principals/zoe", "# comment\ncustomer-7\n")
    assert list(problems(ZOE, found, False, tree.host())) == []
