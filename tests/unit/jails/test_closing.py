"""closing: who is shut out and how, what opens again, and where a jail that cannot be made leaves a door."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fakes import FakeHost, Programs, Tree

from sftpjail import CloseAccount, OpenAccount, Profile, SetLines, SftpJailError, Style
from sftpjail.actions import Phase
from sftpjail.formats.origin_record import parse_origin, render_origin
from sftpjail.jails.closing import (
    close,
    date_of,
    is_out,
    is_shut,
    lets_in,
    list_after,
    match_block,
    needs_rule,
    reason,
    reopen,
)
from sftpjail.model import Account, Closed, Origin

ANN = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))
HOME = Profile("sftponly", chroot="%h")
LIST = "/etc/sftpjail/closed"
RECORD = "/var/lib/sftpjail/accounts/ann"
TODAY = 20_000  # 2024-10-04, in days since 1970
DENY = "[success=ignore ignore=ignore default=bad]"
RULE = f"account {DENY} pam_listfile.so item=user sense=deny file={LIST} onerr=succeed quiet"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A host that is set up, with ann in the group and bob not, on a certain day."""
    monkeypatch.setattr(time, "time", lambda: TODAY * 86400.0 + 3600)
    tree = Tree(tmp_path)
    tree.account("ann", 1001)
    tree.account("bob", 1002)
    tree.group("sftponly", 500, "ann")
    tree.write("/var/lib/sftpjail/host", "{}\n")
    return tree


def sshd(tree: Tree, programs: Programs, chroot: str) -> None:
    tree.program("sshd")
    programs.plans.clear()
    programs.answer("-T", out=f"chrootdirectory {chroot}\n")


def shadow(tree: Tree, expire: str) -> FakeHost:
    tree.write("/etc/shadow", f"ann:*:1:0:9:7::{expire}:\n")
    return tree.host()


@pytest.mark.parametrize("before", ["", str(TODAY), str(TODAY + 400), "junk"])
def test_expiry_is_set_and_comes_back(tree: Tree, before: str) -> None:
    (action,) = close(ANN, "no jail", "apply", shadow(tree, before))
    assert action == CloseAccount(
        "ann", expire="1", closed=Closed("no jail", "apply", "jail", before)
    )
    assert action.phase < Phase.UNMOUNT
    tree.write(RECORD, render_origin(Origin(closed=action.closed)))
    (back,) = reopen(ANN, shadow(tree, "1"))
    assert back == OpenAccount("ann", expire=before) and Phase.GIVING < back.phase < Phase.NOTICES


@pytest.mark.parametrize("before", ["0", "1", str(TODAY - 1)])
def test_expiry_that_is_over_stays(tree: Tree, before: str) -> None:
    (action,) = close(ANN, "no jail", "apply", shadow(tree, before))
    assert action == CloseAccount("ann", closed=Closed("no jail", "apply", "jail", None))
    tree.write(RECORD, render_origin(Origin(closed=action.closed)))
    assert reopen(ANN, tree.host()) == [OpenAccount("ann")]


def test_expiry_that_somebody_has_set_since_stays(tree: Tree) -> None:
    tree.write(RECORD, render_origin(Origin(closed=Closed("no jail", "apply", "jail", ""))))
    assert reopen(ANN, shadow(tree, "30000")) == [OpenAccount("ann")]
    # And closed once more, that is the one to come back.
    (action,) = close(ANN, "no jail", "apply", shadow(tree, "30000"))
    assert action == CloseAccount(
        "ann", expire="1", closed=Closed("no jail", "apply", "jail", "30000")
    )


def test_whom_somebody_else_has_let_in_is_no_longer_ours(tree: Tree) -> None:
    closed = Closed("on leave", "disable", "2099-12-31", "", "2026-01-01")
    tree.write(RECORD, render_origin(Origin(closed=closed)))
    assert reopen(ANN, shadow(tree, "1")) == []
    assert reopen(ANN, shadow(tree, "")) == [OpenAccount("ann")]


@pytest.mark.parametrize(
    ("days", "out"), [(-1, (True, True)), (0, (True, False)), (1, (False,) * 2)]
)
@pytest.mark.usefixtures("tree")
def test_the_day_of_an_expiry_is_out_with_pam_alone(days: int, out: tuple[bool, bool]) -> None:
    date = date_of(str(TODAY + days))
    assert (is_out(date, lambda: True), is_out(date, lambda: False)) == out
    assert not is_out("", lambda: True)


def test_who_is_shut_out_is_so_once(tree: Tree) -> None:
    kept = Closed("no jail", "setup", "jail", "30000")
    tree.write(RECORD, render_origin(Origin(closed=kept)))
    (action,) = close(ANN, "no jail", "apply", shadow(tree, "1"))
    assert action == CloseAccount("ann", closed=kept) and not action.pending(tree.host(), "ann")
    (action,) = close(ANN, "another reason", "apply", shadow(tree, "1"))
    assert action == CloseAccount("ann", closed=Closed("another reason", "apply", "jail", "30000"))
    tree.write(RECORD, render_origin(Origin(closed=Closed("left us", "teardown", "", "30000"))))
    assert close(ANN, "no jail", "apply", shadow(tree, "1")) == [] == reopen(ANN, shadow(tree, "1"))
    assert reopen(ANN, shadow(tree, "1"), whoever=True) == [OpenAccount("ann", expire="30000")]


def test_without_a_line_in_shadow_it_is_the_list(tree: Tree, programs: Programs) -> None:
    programs.answer("-T", out="usepam yes\n")
    tree.program("sshd")
    with pytest.raises(SftpJailError, match="ann cannot be shut out") as caught:
        close(ANN, "no jail", "useradd-post", tree.host())
    assert caught.value.fix == "sftpjail setup"
    tree.write("/etc/pam.d/sshd", f"# BEGIN sftpjail session\n{RULE}\n# END sftpjail session\n")
    record, line = close(ANN, "no jail", "useradd-post", tree.host())
    assert record == CloseAccount("ann", closed=Closed("no jail", "useradd-post", "jail", None))
    assert line == SetLines(LIST, "ann", ("ann",), Style.LINE, when=Phase.CLOSING)
    tree.write(LIST, "yves\nann\n")
    tree.write(RECORD, render_origin(Origin(closed=Closed("no jail", "useradd-post", "jail"))))
    host = tree.host()
    assert is_shut(ANN, host) and reason(ANN, host) == "no jail"
    off = SetLines(LIST, "ann", (), Style.LINE, when=Phase.OPENING)
    assert reopen(ANN, host) == [OpenAccount("ann"), off]
    assert list_after([ANN], [], host) == {"yves"} and list_after([], [ANN], host) is None


@pytest.mark.parametrize("found", ["usepam no\n", "usepam yes\npamservicename other\n"])
def test_without_pam_the_list_is_a_match_block(tree: Tree, programs: Programs, found: str) -> None:
    programs.answer("-T", out=found)
    tree.program("sshd")
    assert match_block(tree.host()) == [] and not needs_rule(tree.host())
    tree.write(LIST, "# who\nann\n*\nzoe\n")
    tree.write("/etc/pam.d/sshd", f"{RULE}\n")
    host = tree.host()
    assert match_block(host) == ["Match User ann,zoe", "    DenyUsers *"] and needs_rule(host)
    with pytest.raises(SftpJailError, match="cannot be shut out"):
        close(Account("yves", 1003, 1003, "/home/yves"), "no jail", "pam-session", host)
    host = host.for_plan(False, frozenset({"yves"}))
    assert match_block(host)[0] == "Match User yves"
    host = host.for_plan(True, host.listed)
    assert len(close(Account("yves", 1003, 1003, "/home/yves"), "no jail", "apply", host)) == 2


def test_whom_the_guard_rails_protect_is_never_shut_out(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.account("admin", 1003)
    tree.account("daemon", 7)
    monkeypatch.setenv("SUDO_USER", "ann")
    tree.write(RECORD, render_origin(Origin(forced=True)))
    host = shadow(tree, "")
    root = Account("toor", 0, 0, "/root", forced=True)
    for account in (ANN, root, host.accounts["admin"], host.accounts["daemon"]):
        assert close(account, "no jail", "apply", host) == [], account
    assert close(host.accounts["bob"], "no jail", "apply", _read(host)) != []


def _read(host: FakeHost) -> FakeHost:
    return host.for_plan(True)


def test_where_sshd_refuses_by_itself_nobody_is_shut_out(tree: Tree, programs: Programs) -> None:
    tree.directory("/srv/sftp/ann")
    sshd(tree, programs, "/srv/sftp/%u")
    assert not lets_in(ANN, tree.host())
    assert not lets_in(Account("ann", 1001, 1001, "/etc", profile=HOME), tree.host()), (
        "as the files are, not as wished"
    )
    sshd(tree, programs, "%h")
    assert not lets_in(Account("ann", 1001, 1001, "/home/ann", profile=HOME), tree.host()), (
        "its home is its own"
    )
    assert not lets_in(Account("ann", 1001, 1001, "/nowhere", profile=HOME), tree.host())


def test_where_sshd_would_let_in(tree: Tree, programs: Programs) -> None:
    sshd(tree, programs, "%h")
    assert lets_in(Account("ann", 1001, 1001, "/etc", profile=Profile("sftponly")), tree.host())
    for home in ("/etc", "/", "/home"):
        account = Account("ann", 1001, 1001, home, profile=HOME)
        assert lets_in(account, tree.host()), home
    tree.owners["/home/bob"] = (0, 0)  # bob's jail
    assert lets_in(Account("ann", 1001, 1001, "/home/bob", profile=HOME), tree.host())
    tree.owners["/home/bob"] = (1002, 1002)
    assert not lets_in(Account("ann", 1001, 1001, "/home/bob", profile=HOME), tree.host()), (
        "sshd refuses the chroot"
    )
    bob = Account("bob", 1002, 1002, "/home/bob", profile=HOME)
    tree.owners["/home/bob"] = (0, 0)
    tree.account("carl", 1004, home="/home/bob/x")
    tree.owners["/home/bob/x"] = (0, 0)
    assert lets_in(bob, tree.host()), "who of the two it is for nobody knows"
    tree.directory("/home/bob/files", owner=(1002, 1002))
    assert not lets_in(bob, tree.host()) and lets_in(
        Account("ann", 1001, 1001, "/home/bob", profile=HOME), tree.host()
    )
    (tree.root / "home/bob/files").rmdir()
    tree.write(
        RECORD.replace("ann", "bob"), '{"uid": 1002, "owners": {"/home/bob": [1002, 1002, 493]}}'
    )
    assert not lets_in(bob, tree.host()), "he had it before"
    tree.write(RECORD, '{"uid": 1000}')
    assert lets_in(ANN, tree.host()), "another uid's jail"


def test_a_group_that_no_match_block_names(tree: Tree, programs: Programs) -> None:
    sshd(tree, programs, "none")
    assert lets_in(ANN, tree.host())
    host = tree.host().for_plan(True)
    assert not lets_in(ANN, host), "setup writes it"
    tree.write(RECORD, '{"uid": 1001, "made": ["/srv/sftp/ann"]}')
    assert not lets_in(ANN, tree.host()), "who could log in goes on to"
    tree.write(RECORD, '{"made": ["/srv/sftp/ann"]}')
    assert lets_in(ANN, tree.host()), "what a deleted account of that name has left"
    tree.write(
        RECORD,
        render_origin(Origin(uid=1001, closed=Closed("no jail", "useradd-post", "jail", ""))),
    )
    assert lets_in(ANN, tree.host()), "a record of nothing but that"
    (tree.root / "var/lib/sftpjail/host").unlink()
    assert not lets_in(ANN, tree.host()), "this host is not set up"


def test_records_without_it_and_damaged_ones() -> None:
    assert parse_origin("r", '{"uid": 7, "was": {"expire": ""}}').closed is None
    for closed in (Closed("a", "b", "jail", "30000"), Closed("a", "b"), Closed("a", "b", "", "")):
        assert parse_origin("r", render_origin(Origin(closed=closed))).closed == closed
    for text in (
        '{"closed": 1}',
        '{"closed": {}}',
        '{"closed": {"why": 1}}',
        '{"closed": {"why": "x\\u0000"}}',
    ):
        with pytest.raises(SftpJailError, match="is damaged"):
            parse_origin("/r", text)
