"""accounts: groups, shells, and the home of `home = inside`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Tree
from golden import HOME, INSIDE, Fire, ann

from sftpjail import (
    CloseAccount,
    Fact,
    OpenAccount,
    Problem,
    Profile,
    SetAccount,
    SetGroup,
    SetLines,
    SftpJailError,
    Style,
)
from sftpjail.actions import Phase
from sftpjail.config import Config
from sftpjail.formats.origin_record import render_origin
from sftpjail.model import Account, Closed, Origin
from sftpjail.openssh.settings import Settings

NOLOGIN = "/usr/sbin/nologin"
SHADOW = "ann:*:1:0:9:7:::\n"
RECORD = "/var/lib/sftpjail/accounts/ann"


def taken(expire: str | None) -> Closed:
    """What teardown says of whom it shuts out."""
    return Closed("its jail was taken away", "teardown", "", expire)


def test_on_setup_makes_each_group(tree: Tree, fire: Fire) -> None:
    config = Config(
        profiles=(
            Profile("one", "one"),
            Profile("users", "", match_user=("ann",)),
            Profile("two", "two"),
        )
    )
    assert fire("accounts", "on_setup", tree.host(), config) == [SetGroup("one"), SetGroup("two")]


def test_on_teardown_removes_our_group_and_closes_its_members(tree: Tree, fire: Fire) -> None:
    tree.account("admin", 1003)
    tree.group_lines.remove("sudo:x:27:admin")
    tree.group("sudo", 27, "admin")
    tree.group("other", 501, "admin", "bob")
    tree.write("/var/lib/sftpjail/host", '{"made": ["/srv/sftp", "group:sftponly"]}')
    tree.write("/etc/shadow", "ann:*:1:0:9:7:::\nbob:*:1:0:9:7::30000:\nadmin:*:1:0:9:7:::\n")
    config = Config(profiles=(Profile("sftponly"), Profile("other", "other")))
    assert fire("accounts", "on_teardown", tree.host(), config) == [
        SetGroup("sftponly", present=False),
        CloseAccount("ann", expire="1", closed=taken(expire="")),
        CloseAccount("bob", expire="1", closed=taken(expire="30000")),
    ]


def test_on_teardown_closes_a_forced_jail_of_an_administrator(tree: Tree, fire: Fire) -> None:
    tree.group_lines.remove("sudo:x:27:admin")
    tree.group("sudo", 27, "ann")
    assert fire("accounts", "on_teardown", tree.host()) == []
    tree.write("/var/lib/sftpjail/accounts/ann", '{"forced": true}')
    with pytest.raises(SftpJailError, match="ann has no line in /etc/shadow") as caught:
        fire("accounts", "on_teardown", tree.host())
    assert caught.value.fix == "usermod -e 1 ann"
    tree.write("/etc/shadow", SHADOW)
    assert fire("accounts", "on_teardown", tree.host()) == [
        CloseAccount("ann", expire="1", closed=taken(expire=""))
    ]


def test_on_teardown_refuses_what_it_cannot_close(
    tree: Tree, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"ann": replace(ann(Profile("sftponly")), local=False)}
    monkeypatch.setattr("sftpjail.plugins.accounts.jailed", lambda config, host: away)
    with pytest.raises(
        SftpJailError, match="ann comes from a directory service, so it cannot be closed here"
    ):
        fire("accounts", "on_teardown", tree.host())


@pytest.mark.parametrize("profile", [HOME, Profile("sftponly")])
def test_on_user_create_joins_the_group_and_sets_the_shell(
    tree: Tree, fire: Fire, profile: Profile
) -> None:
    assert fire("accounts", "on_user_create", tree.host(), account=ann(profile)) == [
        SetAccount("ann", add_groups=("sftponly",)),
        SetAccount("ann", shell=NOLOGIN),
    ]


def test_on_user_create_leaves_shells_alone_if_told_so(tree: Tree, fire: Fire) -> None:
    profile = Profile("p", "", match_user=("ann",), shell="")
    assert fire("accounts", "on_user_create", tree.host(), account=ann(profile)) == []


def test_on_user_create_turns_the_home_inside(tree: Tree, fire: Fire) -> None:
    assert SetAccount("ann", home="/files") in fire(
        "accounts", "on_user_create", tree.host(), account=ann(INSIDE)
    )


def test_on_user_create_refuses_a_home_that_the_host_has_too(tree: Tree, fire: Fire) -> None:
    tree.directory("/files")
    with pytest.raises(SftpJailError, match="this host has a /files too") as caught:
        fire("accounts", "on_user_create", tree.host(), account=ann(INSIDE))
    assert "`files` of profile sftponly" in caught.value.advice


def test_on_user_create_touches_no_account_of_a_directory(tree: Tree, fire: Fire) -> None:
    assert fire("accounts", "on_user_create", tree.host(), account=ann(local=False)) == []


def test_on_user_remove_gives_back_what_was(tree: Tree, fire: Fire) -> None:
    tree.write("/var/lib/sftpjail/accounts/ann", '{"was": {"shell": "/bin/zsh", "expire": ""}}')
    assert fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=False) == [
        SetAccount("ann", shell="/bin/zsh", expire=""),
        SetAccount("ann", remove_groups=("sftponly",)),
    ]


def test_on_user_remove_gives_a_deleted_account_nothing_back(tree: Tree, fire: Fire) -> None:
    assert fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=True) == []
    gone = Account("gone", -1, -1, "/nonexistent/gone", profile=Profile("sftponly"), local=False)
    assert fire("accounts", "on_user_remove", tree.host(), account=gone, deleted=False) == []


def test_on_user_remove_keeps_files_of_a_home_inside_reachable(tree: Tree, fire: Fire) -> None:
    account = ann(INSIDE, home="/files")
    assert SetAccount("ann", home="/srv/sftp/ann/files") in fire(
        "accounts", "on_user_remove", tree.host(), account=account, deleted=False
    )


def test_on_user_remove_refuses_a_primary_group_and_match_user(tree: Tree, fire: Fire) -> None:
    with pytest.raises(SftpJailError, match="primary group of ann") as caught:
        fire("accounts", "on_user_remove", tree.host(), account=ann(gid=500), deleted=False)
    assert caught.value.advice.endswith(": usermod -g GROUP ann && sftpjail remove ann")
    profile = replace(Profile("p"), group="", match_user=("ann",))
    with pytest.raises(SftpJailError, match="match_user of profile p") as caught:
        fire("accounts", "on_user_remove", tree.host(), account=ann(profile), deleted=False)
    assert "sftpjail setup" in caught.value.advice


def test_on_user_remove_takes_one_out_of_every_profiles_group(tree: Tree, fire: Fire) -> None:
    tree.group("second", 501, "ann")
    tree.group("third", 502, "bob")
    profiles = (
        Profile("p", "sftponly"),
        Profile("q", "second"),
        Profile("r", "third"),
        Profile("s", "missing"),
    )
    given = {"account": ann(), "deleted": False}
    assert fire("accounts", "on_user_remove", tree.host(), Config(profiles=profiles), **given) == [
        SetAccount("ann", remove_groups=("sftponly", "second"))
    ]
    given["account"] = ann(gid=502)
    with pytest.raises(SftpJailError, match="third is the primary group of ann") as caught:
        fire("accounts", "on_user_remove", tree.host(), Config(profiles=profiles), **given)
    assert caught.value.advice.endswith(": usermod -g GROUP ann && sftpjail remove ann")


def test_on_check_of_an_account_in_two_profiles_groups(tree: Tree, fire: Fire) -> None:
    tree.group("second", 501, "ann", "bob")
    tree.group("third", 502, "ann")
    config = Config(
        profiles=(Profile("p", "sftponly"), Profile("q", "second"), Profile("r", "third"))
    )
    assert fire("accounts", "on_check", tree.host(), config, account=ann()) == [
        Problem(
            "ann is in the groups of 3 profiles: sftponly, second, third",
            "only the first one counts",
            "gpasswd -d ann second && gpasswd -d ann third",
        )
    ]
    assert fire("accounts", "on_check", tree.host(), config, account=ann(name="bob")) == []
    assert fire("accounts", "on_check", tree.host(), config, account=None) == []


# -- closing and opening: see closing.py, and unit/test_closing.py


def test_on_user_close_and_what_opens_again(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/shadow", SHADOW)
    shut = Closed("its home is /etc", "apply", "jail", "")
    given = {"account": ann(), "why": "its home is /etc", "by": "apply"}
    assert fire("accounts", "on_user_close", tree.host(), **given) == [
        CloseAccount("ann", expire="1", closed=shut)
    ]
    tree.write(RECORD, render_origin(Origin(closed=shut)))
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    host = tree.host()
    assert not any(
        action.pending(host, "ann") for action in fire("accounts", "on_user_close", host, **given)
    )
    back = OpenAccount("ann", expire="")
    assert back in fire("accounts", "on_user_create", tree.host(), account=ann())
    assert back in fire("accounts", "on_user_create", tree.host(), account=ann(local=False))
    assert back in fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=False)
    assert fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=True) == []


def test_whom_teardown_shut_out_only_an_administrator_lets_in(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    tree.write(RECORD, render_origin(Origin(closed=taken("30000"))))
    made = fire("accounts", "on_user_create", tree.host(), account=ann())
    assert not any(isinstance(action, OpenAccount) for action in made)
    assert fire("accounts", "on_check", tree.host(), account=ann()) == [
        Problem("ann is closed: its jail was taken away", "by teardown", "usermod -e 30000 ann")
    ]
    assert fire("accounts", "on_explain", tree.host(), account=ann()) == [
        Fact("account", "closed", "its jail was taken away", "by teardown", True)
    ]
    assert fire("login", "_aging", tree.host(), account=ann(), found=Settings({}, {}, ())) == []
    removed = fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=False)
    assert OpenAccount("ann", expire="30000") in removed


def test_a_name_on_the_list_that_no_record_speaks_of(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/sftpjail/closed", "ann\n")
    assert fire("accounts", "on_check", tree.host(), account=ann()) == [
        Problem(
            "ann is closed: its name is in /etc/sftpjail/closed",
            "no record says why",
            "sed -i '/^ann$/d' /etc/sftpjail/closed",
        )
    ]
    gone = ann(uid=-1)
    off = SetLines("/etc/sftpjail/closed", "ann", (), Style.LINE, when=Phase.OPENING)
    assert fire("accounts", "on_user_remove", tree.host(), account=gone, deleted=True) == [off]
