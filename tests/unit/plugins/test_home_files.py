"""home_files: PAM modules, sshd and Apache where they obey files that a jailed account can upload."""

from __future__ import annotations

import pytest
from fakes import Tree
from golden import INSIDE, Fire, Sshd

from sftpjail.config import Config

SSHD = "/etc/pam.d/sshd"


@pytest.mark.parametrize(
    ("lines", "says", "advice"),
    [
        (
            "auth required pam_google_authenticator.so nullok\n",
            "reads ~/.google_authenticator",
            True,
        ),
        ("auth required pam_google_authenticator.so secret=/etc/otp/${USER}\n", "", False),
        ("auth required pam_u2f.so cue\n", "reads ~/.config/Yubico/u2f_keys", True),
        ("auth required pam_u2f.so authfile=/etc/u2f\n", "", False),
        ("auth required pam_yubico.so id=1\n", "reads ~/.yubico/authorized_yubikeys", True),
        ("auth sufficient pam_rhosts.so\n", f"pam_rhosts ({SSHD}:1) obeys ~/.rhosts", False),
        ("session required pam_env.so user_readenv=1\n", "", False),
        (
            "session required pam_exec.so /x\nsession required pam_env.so user_readenv=1\n",
            "",
            False,
        ),
        (
            "session required pam_env.so user_readenv=1\nsession optional pam_exec.so /x\n",
            f"pam_exec ({SSHD}:2) runs a program with the variables of ~/.pam_environment",
            False,
        ),
        ("session optional pam_mount.so\n", "luserconf in /etc/security/pam_mount.conf.xml", True),
    ],
)
def test_modules(tree: Tree, fire: Fire, sshd: Sshd, lines: str, says: str, advice: bool) -> None:
    tree.write(SSHD, lines)
    tree.write(
        "/etc/security/pam_mount.conf.xml",
        '<pam_mount>\n<luserconf name=".pam_mount.conf.xml" />\n',
    )
    found = fire("home_files", "on_check", tree.host(), account=None)
    assert [problem.severity == "advice" for problem in found] == [advice] * bool(says)
    assert all(says in problem.what for problem in found)
    assert (
        fire("home_files", "on_check", tree.host(), Config(profiles=(INSIDE,)), account=None) == []
    )


def test_apache(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    assert fire("home_files", "on_check", tree.host(), account=None) == []
    tree.write("/etc/apache2/mods-enabled/userdir.load", "LoadModule\n")
    (problem,) = fire("home_files", "on_check", tree.host(), account=None)
    assert problem.severity == "advice" and "Apache serves ~/public_html" in problem.what


def test_who_may_log_in_by_a_file_of_the_home(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    said = "/etc/ssh/sshd_config:2"
    tree.write(
        "/etc/ssh/sshd_config",
        "UsePAM yes\nHostbasedAuthentication yes\nIgnoreRhosts yes\nIgnoreUserKnownHosts yes\n",
    )
    assert fire("home_files", "on_check", tree.host(), account=None) == []
    tree.write(
        "/etc/ssh/sshd_config",
        "UsePAM yes\nHostbasedAuthentication yes\nGSSAPIAuthentication yes\n",
    )
    rhosts, hosts, login = fire("home_files", "on_check", tree.host(), account=None)
    assert (
        rhosts.what == f"sshd obeys ~/.shosts and ~/.rhosts ({said})" and rhosts.severity == "open"
    )
    assert hosts.what == f"sshd obeys ~/.ssh/known_hosts ({said})" and hosts.severity == "open"
    assert (
        login.what == "sshd obeys ~/.k5login (GSSAPIAuthentication yes, /etc/ssh/sshd_config:3)"
        and login.severity == "advice"
    )


@pytest.mark.parametrize(
    ("authority", "file", "obeyed"),
    [
        ("/etc/ssh/ca.pub", ".ssh/principals", True),
        ("/etc/ssh/ca.pub", "%h/.ssh/principals", True),
        ("/etc/ssh/ca.pub", "/home/%u/principals", True),
        ("/etc/ssh/ca.pub", "/etc/ssh/principals/%u", False),
        ("/etc/ssh/ca.pub", "none", False),
        ("none", ".ssh/principals", False),
    ],
)
def test_principals_in_a_home(
    tree: Tree, fire: Fire, sshd: Sshd, authority: str, file: str, obeyed: bool
) -> None:
    lines = f"UsePAM yes\nTrustedUserCAKeys {authority}\nAuthorizedPrincipalsFile {file}\n"
    tree.write("/etc/ssh/sshd_config", lines)
    found = fire("home_files", "on_check", tree.host(), account=None)
    said = f"sshd obeys {file} of homes (/etc/ssh/sshd_config:3)"
    assert [(problem.what, problem.severity) for problem in found] == [(said, "open")] * obeyed
