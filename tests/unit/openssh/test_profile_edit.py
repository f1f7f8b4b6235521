"""Commands that change a profile: run for real on a file, they give what the configuration then has."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Tree

from sftpjail.config import PATH, parse
from sftpjail.errors.escapes import Advice
from sftpjail.model import Profile
from sftpjail.openssh.profile_edit import set_option, set_shell

pytestmark = pytest.mark.real_program  # sh, sed
OPTION = "MaxSessions 10"


def after(command: str, text: str, tmp_path: Path) -> str:
    """What a command makes of a configuration."""
    file = tmp_path / "sftpjail.conf"
    file.write_text(text)
    edit, _, then = command.rpartition(" && ")
    assert then in ("sftpjail setup", "sftpjail apply")
    subprocess.run(["sh", "-ec", edit.replace(PATH, str(file))], check=True)
    return file.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n[logs]\nbackend = none\n",
        "[logs]\nbackend = none",
        "[profiles]\n[[sftponly]]\n",
        "[profiles]\n  [[ sftponly ]]   # the customers\n    umask = 027\n[[other]]\nstart = /x\n",
        '[profiles]\n[[sftponly]]\nsshd_options = "Banner none", "LogLevel INFO"\n[logs]\n',
        "[profiles]\n[[other]]\n[[sftponly]]\nsshd_options = Banner none,\n",
    ],
)
def test_a_profile_gets_an_option_and_keeps_the_rest(tree: Tree, tmp_path: Path, text: str) -> None:
    tree.write(PATH, text)
    before = parse(text)
    profile = before.profile("sftponly")
    now = parse(after(set_option(profile, OPTION, tree.host()), text, tmp_path))
    wanted = replace(profile, sshd_options=(*profile.sshd_options, OPTION))
    assert now == replace(
        before, profiles=tuple(wanted if one == profile else one for one in before.profiles)
    )


@pytest.mark.parametrize(
    "text",
    [
        "[profiles]\n[[sftponly]]\nsshd_options = MaxSessions 0,\n",
        '[profiles]\n[[sftponly]]\nsshd_options = "Banner none", # but why\n',
        '[profiles]\n[[sftponly]]\nsshd_options = """Banner none""",\n"""\n',
        "[profiles]\n[[other]]\n",
    ],
)
def test_what_cannot_be_edited_is_written_by_hand(tree: Tree, text: str) -> None:
    tree.write(PATH, text)
    profile = Profile("sftponly", "sftponly")
    if "MaxSessions" in text:
        profile = replace(profile, sshd_options=("MaxSessions 0",))
    said = set_option(profile, OPTION, tree.host())
    assert isinstance(said, Advice) and PATH in said and OPTION in said


def test_a_shell_is_replaced(tree: Tree, tmp_path: Path) -> None:
    text = "[profiles]\n[[sftponly]]\nshell = /bin/false\numask = 027\n"
    tree.write(PATH, text)
    profile = parse(text).profiles[0]
    now = parse(after(set_shell(profile, "/bin/sh", tree.host()), text, tmp_path))
    assert now.profiles == (replace(profile, shell="/bin/sh"),)
