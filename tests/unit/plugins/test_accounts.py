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
from sftpjail.actions import Phase, SetExpiry
from sftpjail.config import Config
from sftpjail.errors.escapes import Choice
from sftpjail.formats.origin_record import render_origin
from sftpjail.jails.addresses import admits, example
from sftpjail.jails.closing import today
from sftpjail.model import Account, Closed, Origin
from sftpjail.openssh.pam_session import CLOSED
from sftpjail.openssh.settings import Settings
from sftpjail.paths import ADDRESSES, CONNECTIONS, KEEP, LIMITED

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
    ask = {"account": account, "deleted": False}
    kept = SetAccount("ann", home="/srv/sftp/ann/files")
    assert kept not in fire("accounts", "on_user_remove", tree.host(), **ask), "done already"
    tree.people[:] = [line.replace("/home/ann", "/files") for line in tree.people]
    assert kept in fire("accounts", "on_user_remove", tree.host(), **ask)


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


def test_on_user_disable_and_on_user_enable(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/shadow", "ann:*:1:0:9:7::30000:\n")
    given = {"account": ann(), "why": "left", "until": "2099-12-31"}
    shut = Closed("left", "disable", "2099-12-31", "30000", today())
    assert fire("accounts", "on_user_enable", tree.host(), account=ann()) == []
    assert fire("accounts", "on_user_disable", tree.host(), **given) == [
        CloseAccount("ann", expire="1", closed=shut)
    ]
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    tree.write(RECORD, render_origin(Origin(closed=replace(shut, since="2026-01-01"))))
    host = tree.host()
    assert not any(
        a.pending(host, "ann") for a in fire("accounts", "on_user_disable", host, **given)
    )
    kept = fire("accounts", "on_user_disable", host, account=ann(), why="", until="")
    assert kept == [
        CloseAccount("ann", closed=Closed("left", "disable", "", "30000", "2026-01-01"))
    ]
    # Its jail is made and cannot be made, and neither opens it.
    made = fire("accounts", "on_user_create", host, account=ann())
    assert not any(isinstance(action, OpenAccount) for action in made)
    assert fire("accounts", "on_user_close", host, account=ann(), why="no jail", by="apply") == []
    assert fire("accounts", "on_check", host, account=ann()) == []
    assert fire("accounts", "on_explain", host, account=ann()) == [
        Fact("account", "disabled", "left", "since 2026-01-01 until 2099-12-31", True)
    ]
    with pytest.raises(SftpJailError, match="ann is disabled .left., and would be let in"):
        fire("accounts", "on_user_remove", host, account=ann(), deleted=False)
    back = OpenAccount("ann", expire="30000")
    assert fire("accounts", "on_user_enable", host, account=ann()) == [back]
    # The day has come.
    tree.write(RECORD, render_origin(Origin(closed=replace(shut, until=today()))))
    assert back in fire("accounts", "on_user_create", tree.host(), account=ann())
    close = fire("accounts", "on_user_close", tree.host(), account=ann(), why="no jail", by="apply")
    assert close == [CloseAccount("ann", closed=Closed("no jail", "apply", "jail", "30000"))]


def test_on_user_enable_while_the_group_has_another_name(tree: Tree, fire: Fire) -> None:
    """As `undo` of disable fires it alone: sshd would let it in without a jail."""
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    shut = Closed("left", "disable", "", "", today())
    record = Origin(("/srv/sftp/ann",), closed=shut, uid=1001, group="sftponly", gid=4500)
    tree.write(RECORD, render_origin(record))
    assert fire("accounts", "on_user_enable", tree.host(), account=ann()) != []
    tree.group_lines[:] = [one for one in tree.group_lines if not one.startswith("sftponly:")]
    tree.group("sftp2", 4500, "ann")
    with pytest.raises(SftpJailError, match="the group sftponly is called sftp2 now"):
        fire("accounts", "on_user_enable", tree.host(), account=ann())


def test_on_user_expire_of_who_is_let_in_and_who_is_shut_out(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/shadow", SHADOW)
    given = {"account": ann(), "date": "2052-02-20"}
    assert fire("accounts", "on_user_expire", tree.host(), **given) == [
        SetExpiry("ann", expire="30000")
    ]
    never = {"account": ann(), "date": ""}
    assert fire("accounts", "on_user_expire", tree.host(), **never) == [SetExpiry("ann", expire="")]
    shut = Closed("left", "disable", "", "1234", "2026-01-01")
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    tree.write(RECORD, render_origin(Origin(closed=shut)))
    assert fire("accounts", "on_user_expire", tree.host(), **given) == [
        CloseAccount("ann", closed=replace(shut, expire="30000"))
    ]
    # It had expired by itself when it was disabled, and that date alone must not shut it out.
    tree.write("/etc/shadow", "ann:*:1:0:9:7::20000:\n")
    tree.write(RECORD, render_origin(Origin(closed=replace(shut, expire=None))))
    assert fire("accounts", "on_user_expire", tree.host(), **given) == [
        CloseAccount("ann", expire="1", closed=replace(shut, expire="30000"))
    ]
    with pytest.raises(SftpJailError, match="bob has no line in /etc/shadow to expire by"):
        fire("accounts", "on_user_expire", tree.host(), account=ann(name="bob"), date="")


def test_root_is_not_disabled(tree: Tree, fire: Fire) -> None:
    with pytest.raises(SftpJailError, match="ann is not shut out: "):
        fire("accounts", "on_user_disable", tree.host(), account=ann(uid=0), why="", until="")


def closed(reason: str, why: str, command: str) -> Problem:
    """What is said of an account that somebody closed on purpose."""
    choices = (Choice("to let it in again", command),)
    what = f"ann is closed: {reason}"
    return Problem(what, why, severity="advice", choices=choices, hides=True)


def test_whom_teardown_shut_out_only_an_administrator_lets_in(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/shadow", "ann:*:1:0:9:7::1:\n")
    tree.write(RECORD, render_origin(Origin(closed=taken("30000"))))
    made = fire("accounts", "on_user_create", tree.host(), account=ann())
    assert not any(isinstance(action, OpenAccount) for action in made)
    assert fire("accounts", "on_check", tree.host(), account=ann()) == [
        closed("its jail was taken away", "by teardown", "usermod -e 30000 ann")
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
        closed(
            "its name is in /etc/sftpjail/closed",
            "no record says why",
            "sed -i '/^ann$/d' /etc/sftpjail/closed",
        )
    ]
    gone = ann(uid=-1)
    off = SetLines("/etc/sftpjail/closed", "ann", (), Style.LINE, when=Phase.OPENING)
    assert fire("accounts", "on_user_remove", tree.host(), account=gone, deleted=True) == [off]


def test_on_user_rename_keeps_the_list_of_who_is_shut_out(tree: Tree, fire: Fire) -> None:
    def listed(name: str, *line: str) -> SetLines:
        return SetLines(CLOSED, name, line, Style.LINE, when=Phase.CLOSING)

    tree.write(CLOSED, "joe\nbob\n")
    rename = lambda old: fire("accounts", "on_user_rename", tree.host(), account=ann(), old=old)  # noqa: E731
    assert rename("joe") == [listed("ann", "ann"), listed("joe")]
    assert rename("bob") == [listed("ann", "ann")], "somebody else is bob, and shut out"
    assert rename("ann") == rename("eve") == []


def test_on_user_limit_is_a_line_of_the_list(tree: Tree, fire: Fire) -> None:
    given = {"account": ann(), "addresses": ("192.0.2.0/24", "::1")}
    line = "-:ann:ALL EXCEPT 192.0.2.0/24 ::1"
    assert fire("accounts", "on_user_limit", tree.host(), **given) == [
        SetLines(ADDRESSES, "ann", (line,), Style.USER, when=Phase.CLOSING),
        SetLines(LIMITED, "ann", ("ann",), Style.LINE, when=Phase.CLOSING),
    ]
    tree.write(ADDRESSES, f"{line}\n")
    tree.write(LIMITED, "ann\n")
    gone = [
        SetLines(ADDRESSES, "ann", (), Style.USER, when=Phase.OPENING),
        SetLines(LIMITED, "ann", (), Style.LINE, when=Phase.OPENING),
    ]
    anywhere = {"account": ann(), "addresses": ()}
    assert fire("accounts", "on_user_limit", tree.host(), **anywhere) == gone
    removed = fire("accounts", "on_user_remove", tree.host(), account=ann(uid=-1), deleted=True)
    assert removed == gone
    renamed = fire("accounts", "on_user_rename", tree.host(), account=ann(name="eve"), old="ann")
    assert SetLines(LIMITED, "eve", ("eve",), Style.LINE, when=Phase.CLOSING) in renamed
    assert example(ann(), tree.host()) == "192.0.2.0"
    assert not admits(ann(), "127.0.0.1", tree.host()) and admits(ann(), "::1", tree.host())
    for name in ("ann@corp", "ALL"):
        with pytest.raises(SftpJailError, match="is not an account's name to"):
            fire("accounts", "on_user_limit", tree.host(), **given | {"account": ann(name=name)})
    with pytest.raises(SftpJailError, match="ann is not limited: "):
        fire("accounts", "on_user_limit", tree.host(), **given | {"account": ann(uid=0)})


def test_on_user_keep_is_a_line_of_the_list(tree: Tree, fire: Fire) -> None:
    marked = SetLines(KEEP, "ann", ("user ann keep",), Style.USER)
    assert fire("accounts", "on_user_keep", tree.host(), account=ann(), keep=True) == [marked]
    assert fire("accounts", "on_user_keep", tree.host(), account=ann(), keep=False) == []
    tree.write(KEEP, "user ann keep\n")
    gone = SetLines(KEEP, "ann", (), Style.USER)
    assert fire("accounts", "on_user_keep", tree.host(), account=ann(), keep=False) == [gone]
    renamed = fire("accounts", "on_user_rename", tree.host(), account=ann(name="eve"), old="ann")
    assert SetLines(KEEP, "eve", ("user eve keep",), Style.USER) in renamed
    assert gone in fire("accounts", "on_user_remove", tree.host(), account=ann(), deleted=False)
    tree.write("/etc/shadow", "ann:*:19000:0:99999:7:::\n")
    assert gone in fire("accounts", "on_teardown", tree.host())


def test_on_user_connections_is_a_line_of_the_list(tree: Tree, fire: Fire) -> None:
    session = Profile("sftponly", mounts="session")
    given = {"account": ann(profile=session), "most": 2}
    set_to = SetLines(CONNECTIONS, "ann", ("user ann 2",), Style.USER)
    assert fire("accounts", "on_user_connections", tree.host(), **given) == [set_to]
    tree.write(CONNECTIONS, "user ann 2\n")
    gone = SetLines(CONNECTIONS, "ann", (), Style.USER)
    as_profile = given | {"most": 0}
    assert fire("accounts", "on_user_connections", tree.host(), **as_profile) == [gone]
    renamed = fire("accounts", "on_user_rename", tree.host(), account=ann(name="eve"), old="ann")
    assert SetLines(CONNECTIONS, "eve", ("user eve 2",), Style.USER) in renamed
    with pytest.raises(SftpJailError, match="nothing counts the sessions of ann"):
        fire("accounts", "on_user_connections", tree.host(), account=ann(), most=2)


def test_a_group_with_the_gid_of_a_jail_group(tree: Tree, fire: Fire) -> None:
    gid = next(line for line in tree.group_lines if line.startswith("sftponly:")).split(":")[2]
    tree.group("later", int(gid), "bob")
    (problem,) = fire("accounts", "on_check", tree.host(), account=None)
    assert problem.what == f"the group later has the gid of sftponly ({gid}) too"
    assert problem.severity == "advice"
    bob = ann(name="bob", uid=1002, gid=1002, home="/home/bob")
    with pytest.raises(SftpJailError, match="bob is in later, which has the gid") as caught:
        fire("accounts", "on_user_remove", tree.host(), account=bob, deleted=False)
    (choice,) = caught.value.choices
    assert choice.command == "gpasswd -d bob later && sftpjail remove bob"
