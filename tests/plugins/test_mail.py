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
def test_postfix(tree: Tree, fire: Fire, programs: Programs, allowed: str, places: str, open_: bool) -> None:
    tree.write("/usr/sbin/postconf", "", 0o755)
    programs.answer("-h", "allow_mail_to_commands", "forward_path", out=f"{allowed}\n{places}\n")
    found = fire("mail", "on_check", tree.host(), account=None)
    assert [finding.what for finding in found] == ["Postfix runs the commands of a ~/.forward"] * open_
    assert all("allow_mail_to_commands = alias" in finding.mend for finding in found)
    assert fire("mail", "on_check", tree.host(), Config(profiles=(INSIDE,)), account=None) == []
    assert fire("mail", "on_check", tree.host(), account=ann()) == []


@pytest.mark.parametrize("forbids", ["no_forbid_pipe", "forbid_pipe", ""])
def test_exim(tree: Tree, fire: Fire, programs: Programs, forbids: str) -> None:
    tree.write("/usr/sbin/exim4", "", 0o755)
    programs.answer("-bP", "router", "userforward", out=f"allow_filter\nfile = $home/.forward\n{forbids}\n")
    found = fire("mail", "on_check", tree.host(), account=None)
    assert [finding.what for finding in found] == ["Exim runs the commands of a ~/.forward"] * (forbids[:3] == "no_")


def test_no_mail_server(tree: Tree, fire: Fire, programs: Programs) -> None:
    assert fire("mail", "on_check", tree.host(), account=None) == [] and programs.asked == []
