"""mail: a mail server that runs commands of a ~/.forward; what the real ones print was seen on Debian 13."""

from __future__ import annotations

import pytest
from fakes import Programs, Tree
from golden import INSIDE, Fire, ann

from sftpjail.config import Config

FORWARD = "$home/.forward${recipient_delimiter}${extension}, $home/.forward"


@pytest.mark.parametrize(
    ("allowed", "places", "open_"),
    [("alias, forward", FORWARD, True), ("alias", FORWARD, False), ("forward", "", False)],
)
def test_postfix(
    tree: Tree, fire: Fire, programs: Programs, allowed: str, places: str, open_: bool
) -> None:
    tree.write("/usr/sbin/postconf", "", 0o755)
    programs.answer("-h", "allow_mail_to_commands", "forward_path", out=f"{allowed}\n{places}\n")
    programs.answer("-h", "mailbox_command", out="\n")
    found = fire("mail", "on_check", tree.host(), account=None)
    assert [problem.what for problem in found] == [
        "Postfix runs the commands of a ~/.forward"
    ] * open_
    assert all(
        "allow_mail_to_commands = alias" in problem.advice and not problem.fix for problem in found
    )
    assert fire("mail", "on_check", tree.host(), Config(profiles=(INSIDE,)), account=None) == []
    assert fire("mail", "on_check", tree.host(), account=ann()) == []


@pytest.mark.parametrize("forbids", ["no_forbid_pipe", "forbid_pipe", ""])
def test_exim(tree: Tree, fire: Fire, programs: Programs, forbids: str) -> None:
    tree.write("/usr/sbin/exim4", "", 0o755)
    programs.answer(
        "-bP", "router", "userforward", out=f"allow_filter\nfile = $home/.forward\n{forbids}\n"
    )
    found = fire("mail", "on_check", tree.host(), account=None)
    assert [problem.what for problem in found] == ["Exim runs the commands of a ~/.forward"] * (
        forbids[:3] == "no_"
    )


@pytest.mark.parametrize("agent", ["procmail", "maildrop"])
def test_delivery_agents(tree: Tree, fire: Fire, programs: Programs, agent: str) -> None:
    file = {"procmail": ".procmailrc", "maildrop": ".mailfilter"}[agent]
    tree.write("/usr/sbin/postconf", "", 0o755)
    programs.answer("-h", "allow_mail_to_commands", "forward_path", out="alias\n\n")
    programs.answer("-h", "mailbox_command", out=f"/usr/bin/{agent} -a x\n")
    found = fire("mail", "on_check", tree.host(), account=None)
    what = f"delivers by {agent}, which runs the commands of a ~/{file}"
    assert [problem.what for problem in found] == [f"Postfix {what} (mailbox_command)"]


def test_exim_delivers_by_an_agent_that_is_installed(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    tree.write("/usr/sbin/exim4", "", 0o755)
    programs.answer("-bP", "router", "userforward", out="forbid_pipe\n")
    needs = "require_files = ${local_part_data}:${if exists{/etc/procmailrc}{/etc/procmailrc}{${home}/.procmailrc}}"
    programs.answer(
        "-bP", "router", "procmail", out=f"driver = accept\n{needs}:+/usr/bin/procmail\n"
    )
    assert fire("mail", "on_check", tree.host(), account=None) == []
    tree.write("/usr/bin/procmail", "", 0o755)
    found = fire("mail", "on_check", tree.host(), account=None)
    assert [problem.what for problem in found] == [
        "Exim delivers by procmail, which runs the commands of a ~/.procmailrc (router procmail)"
    ]


def test_no_mail_server(tree: Tree, fire: Fire, programs: Programs) -> None:
    assert fire("mail", "on_check", tree.host(), account=None) == [] and programs.asked == []
