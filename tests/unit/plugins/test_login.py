"""login: whether sshd and PAM let an account in at all."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fakes import Tree
from golden import Fire, Sshd, ann

from sftpjail import Fact, Problem

MAIN, DROPIN = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/10-sftpjail.conf"
KEYS = "/etc/ssh/authorized_keys/ann"
TODAY = 20_000  # 2024-10-04, in days since 1970
RELOAD = "kill -HUP 7"


@pytest.fixture(autouse=True)
def good(tree: Tree, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which ann may log in, on a certain day."""
    monkeypatch.setattr(time, "time", lambda: TODAY * 86400.0 + 3600)
    tree.write(DROPIN, "Match Group sftponly\n    AuthorizedKeysFile /etc/ssh/authorized_keys/%u\n")
    tree.write(KEYS, "ssh-ed25519 AAAA ann\n")
    tree.write("/etc/shells", "# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n")
    shadow(tree, "ann:*:19000:0:99999:7:::")


def shadow(tree: Tree, line: str) -> None:
    tree.write("/etc/shadow", f"root:*:19000:0:99999:7:::\n{line}\n")


def main(tree: Tree, *lines: str) -> None:
    """Add lines to sshd_config, from line 5 on."""
    text = (tree.root / MAIN.lstrip("/")).read_text()
    tree.write(MAIN, text + "".join(f"{line}\n" for line in lines))


def check(tree: Tree, fire: Fire, **changes: Any) -> list[Problem]:
    found: list[Problem] = fire("login", "on_check", tree.host(), account=ann(**changes))
    return found


def test_on_check_of_an_account_that_may_log_in(tree: Tree, fire: Fire) -> None:
    assert check(tree, fire) == []
    assert fire("login", "on_check", tree.host(), account=None) == []


# -- the four lists ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "what", "fix"),
    [
        (["DenyUsers ann"], f"DenyUsers ann ({MAIN}:5)", f"sed -i '5s/^/#/' {MAIN}"),
        (
            ["DenyUsers eve ann bob"],
            f"DenyUsers ann ({MAIN}:5)",
            rf"""sed -i '5s/[[:space:]=]"\?ann"\?\([[:space:]]\|$\)/ \1/' {MAIN}""",
        ),
        (["DenyUsers a*"], f"DenyUsers a* ({MAIN}:5)", f"sed -i '5s/^/#/' {MAIN}"),
        (
            ["DenyUsers eve a?n"],
            f"DenyUsers a?n ({MAIN}:5)",
            rf"""sed -i '5s/[[:space:]=]"\?a?n"\?\([[:space:]]\|$\)/ \1/' {MAIN}""",
        ),
        (
            ["DenyGroups wheel sftp*"],
            f"DenyGroups sftp* ({MAIN}:5)",
            rf"""sed -i '5s/[[:space:]=]"\?sftp\*"\?\([[:space:]]\|$\)/ \1/' {MAIN}""",
        ),
        (["DenyGroups ann"], f"DenyGroups ann ({MAIN}:5)", f"sed -i '5s/^/#/' {MAIN}"),
    ],
)
def test_on_check_tells_of_a_list_that_denies(
    tree: Tree, fire: Fire, lines: list[str], what: str, fix: str
) -> None:
    main(tree, *lines)
    assert check(tree, fire) == [
        Problem(
            f"{what} keeps ann out",
            "sshd refuses every login of the account",
            f"{fix} && {RELOAD}",
        )
    ]


def test_on_check_edits_the_line_that_denies(tree: Tree, fire: Fire) -> None:
    main(tree, "DenyUsers eve", "DenyUsers bob ann")
    (problem,) = check(tree, fire)
    assert (
        problem.fix
        == rf"""sed -i '6s/[[:space:]=]"\?ann"\?\([[:space:]]\|$\)/ \1/' {MAIN} && {RELOAD}"""
    )


@pytest.mark.parametrize(
    ("line", "what", "word"),
    [
        ("AllowUsers bob eve", "AllowUsers without ann", "ann"),
        ("AllowUsers root@10.0.0.1", "AllowUsers without ann", "ann"),
        ("AllowGroups sudo", "AllowGroups without a group of ann", "sftponly"),
    ],
)
def test_on_check_tells_of_a_list_that_does_not_allow(
    tree: Tree, fire: Fire, line: str, what: str, word: str
) -> None:
    main(tree, line)
    (problem,) = check(tree, fire)
    assert problem.what == f"{what} ({MAIN}:5) keeps ann out"
    assert problem.fix.startswith("sed -i '5s/") and f"{word}" in problem.fix
    assert problem.fix.endswith(f" {MAIN} && {RELOAD}")


@pytest.mark.parametrize(
    "line",
    [
        "DenyUsers eve anna",
        "DenyUsers ann@10.0.0.1",
        "AllowUsers a*",
        "AllowUsers bob ann@192.168.0.0/16",
        "AllowGroups sudo sftponly",
        "AllowGroups *",
        "DenyGroups sudo",
    ],
)
def test_on_check_is_silent_about_lists_that_let_the_account_in(
    tree: Tree, fire: Fire, line: str
) -> None:
    # For ann@HOST the client's address decides, which nobody knows here.
    main(tree, line)
    assert check(tree, fire) == []


# -- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "what", "why"),
    [
        ("PubkeyAuthentication no", "pubkeyauthentication no", "sshd takes no key at all"),
        (
            "AuthenticationMethods password",
            "authenticationmethods password",
            "every list of methods wants something that it has not: a password, say",
        ),
    ],
)
def test_on_check_of_methods_that_take_no_key(
    tree: Tree, fire: Fire, line: str, what: str, why: str
) -> None:
    main(tree, line)
    fix = f"sed -i '5s/^/#/' {MAIN} && {RELOAD}"
    (problem,) = check(tree, fire)
    assert problem.what == f"{what} ({MAIN}:5) makes the keys of ann useless" and problem.fix == fix
    assert why in problem.why
    shadow(tree, "ann:$y$j9T$hash:19000:0:99999:7:::")
    assert check(tree, fire) == [], "it has a password"
    shadow(tree, "ann:*:19000:0:99999:7:::")
    tree.write(KEYS, "")
    assert not [problem for problem in check(tree, fire) if "useless" in problem.what], (
        "it has no key"
    )


@pytest.mark.parametrize(
    "line",
    [
        "AuthenticationMethods any",
        "AuthenticationMethods publickey password",
        "PubkeyAuthentication yes",
    ],
)
def test_on_check_of_methods_that_take_a_key(tree: Tree, fire: Fire, line: str) -> None:
    main(tree, line)
    assert check(tree, fire) == []


# -- shadow --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            f"ann:*:19000:0:99999:7::{TODAY - 1}:",
            Problem(
                "the account ann expired on 2024-10-03",
                "sshd refuses every login of it",
                "usermod -e '' ann",
            ),
        ),
        (
            "ann:*:19000:0:99999:7::1:",
            Problem(
                "the account ann expired on 1970-01-02",
                "sshd refuses every login of it",
                "usermod -e '' ann",
            ),
        ),
        (
            "ann:*:0:0:99999:7:::",
            Problem(
                "ann must change its password first (chage -d 0)",
                "there is no terminal to do it, so that PAM closes key logins too",
                "chage -d $(date +%F) ann",
            ),
        ),
        (
            f"ann:*:{TODAY - 91}:0:90:7:::",
            Problem(
                "the password of ann is too old since 2024-10-03 (chage -M 90)",
                "PAM closes key logins too",
                "chage -M -1 ann",
            ),
        ),
    ],
)
def test_on_check_reads_the_dates_of_shadow(
    tree: Tree, fire: Fire, line: str, problem: Problem
) -> None:
    shadow(tree, line)
    assert check(tree, fire) == [problem]
    assert check(tree, fire, local=False) == [], "a directory keeps its own"


@pytest.mark.parametrize(
    "line",
    [
        f"ann:*:19000:0:99999:7::{TODAY}:",  # today it still works
        f"ann:*:{TODAY - 90}:0:90:7:::",
        "ann:!:19000:0:99999:7:::",  # locked: keys go on to work with PAM
        "ann:*::0:90:7:::",
        "ann:*:19000::::::",
        "ann:*:nonsense:0:x:7::y:",
        "bob:*:0:0:99999:7::1:",
    ],
)
def test_on_check_is_silent_about_dates_that_forbid_nothing(
    tree: Tree, fire: Fire, line: str
) -> None:
    shadow(tree, line)
    assert check(tree, fire) == []


def test_on_check_without_pam_sshd_judges_by_itself(tree: Tree, fire: Fire) -> None:
    tree.write(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n")
    shadow(tree, "ann:!:0:0:1:7:::")
    assert check(tree, fire) == [
        Problem(
            "the password of ann is locked, and sshd runs with UsePAM no",
            "without PAM sshd takes a locked account for a closed one",
            "usermod -p '*' ann",
        )
    ]
    shadow(tree, "ann:*:0:0:1:7:::")
    assert check(tree, fire) == [], "the age of a password is PAM's"
    shadow(tree, "ann:*:0:0:1:7::1:")
    assert [problem.fix for problem in check(tree, fire)] == ["usermod -e '' ann"]


# -- PAM -----------------------------------------------------------------------------------------


def test_on_check_of_pam_shells(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/pam.d/sshd", "@include common-auth\n")
    tree.write("/etc/pam.d/common-auth", "auth required pam_unix.so\nauth required pam_shells.so\n")
    assert check(tree, fire, shell="/usr/sbin/nologin") == [
        Problem(
            "the shell /usr/sbin/nologin of ann is not in /etc/shells, and /etc/pam.d/common-auth:2 asks",
            "pam_shells refuses the login",
            "echo /usr/sbin/nologin >>/etc/shells",
        )
    ]
    assert check(tree, fire, shell="/bin/sh") == [] == check(tree, fire, shell="")
    tree.write(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n")
    assert check(tree, fire, shell="/usr/sbin/nologin") == [], "nobody asks PAM"


def test_on_check_of_pam_shells_in_a_service_of_our_own(tree: Tree, fire: Fire) -> None:
    main(tree, "PAMServiceName sftp-only")
    tree.write("/etc/pam.d/sshd", "auth required pam_shells.so\n")
    tree.write("/etc/pam.d/sftp-only", "auth required pam_unix.so\n")
    assert check(tree, fire, shell="/usr/sbin/nologin") == []


@pytest.mark.parametrize("path", ["/etc/nologin", "/run/nologin"])
def test_on_check_of_a_host_that_is_closed(tree: Tree, fire: Fire, path: str) -> None:
    tree.write(path, "maintenance\n")
    assert fire("login", "on_check", tree.host(), account=None) == [
        Problem(
            f"{path} is there", "it closes the host to everybody but root: nologin(5)", f"rm {path}"
        )
    ]


# -- keys or a password --------------------------------------------------------------------------

NO_WAY_IN = Problem(
    f"ann has no key in {KEYS} and no password",
    "nobody can log in",
    advice="give it a key: sftpjail key add ann FILE",
)


@pytest.mark.parametrize("text", ["", "\n  \n", "# ssh-ed25519 AAAA ann\n", None])
def test_on_check_of_an_account_with_nothing_to_log_in_by(
    tree: Tree, fire: Fire, text: str | None
) -> None:
    if text is None:
        (tree.root / KEYS.lstrip("/")).unlink()
    else:
        tree.write(KEYS, text)
    assert check(tree, fire) == [NO_WAY_IN]
    assert check(tree, fire, local=False) == []
    shadow(tree, "ann:$y$j9T$hash:19000:0:99999:7:::")
    assert check(tree, fire) == []
    shadow(tree, "ann:!$y$j9T$hash:19000:0:99999:7:::")
    assert check(tree, fire) == [NO_WAY_IN], "that password is locked"


@pytest.mark.parametrize(
    "line", ["AuthorizedKeysCommand /usr/bin/keys %u", "TrustedUserCAKeys /etc/ssh/ca.pub"]
)
def test_on_check_knows_other_sources_of_keys(tree: Tree, fire: Fire, line: str) -> None:
    tree.write(KEYS, "")
    main(tree, line)
    assert check(tree, fire) == []


def test_on_check_leaves_keys_elsewhere_to_the_match_block(tree: Tree, fire: Fire) -> None:
    tree.write(KEYS, "")
    tree.write(DROPIN, "Match Group sftponly\n    AuthorizedKeysFile /srv/keys/%u\n")
    assert check(tree, fire) == []


def test_on_check_of_a_password_that_sshd_does_not_ask_for(tree: Tree, fire: Fire) -> None:
    tree.write(KEYS, "")
    shadow(tree, "ann:$y$j9T$hash:19000:0:99999:7:::")
    main(tree, "PasswordAuthentication no")
    assert check(tree, fire) == [], "keyboard-interactive asks for it too"
    main(tree, "KbdInteractiveAuthentication no")
    assert check(tree, fire) == [NO_WAY_IN]


# -- explain -------------------------------------------------------------------------------------


def test_on_explain_tells_the_account(tree: Tree, fire: Fire) -> None:
    tree.write(
        "/etc/pam.d/sshd",
        "auth required pam_unix.so\naccount required pam_nologin.so\nsession required pam_env.so\n",
    )
    assert fire("login", "on_explain", tree.host(), account=ann()) == [
        Fact("account", "uid, groups", "1001, ann, sftponly"),
        Fact("account", "home", "/home/ann"),
        Fact("account", "shell", "/bin/bash"),
        Fact("account", "source", "/etc/passwd"),
        Fact("account", "password", "impossible"),
        Fact("account", "expires", "never"),
        Fact("account", "PAM, sshd", "pam_unix, pam_nologin"),
    ]


@pytest.mark.parametrize(
    ("password", "kind"),
    [("!", "locked"), ("!$6$x", "locked"), ("*", "impossible"), ("", "empty"), ("$6$x", "set")],
)
def test_on_explain_never_shows_a_hash(tree: Tree, fire: Fire, password: str, kind: str) -> None:
    shadow(tree, f"ann:{password}:19000:0:99999:7::20100:")
    facts = fire("login", "on_explain", tree.host(), account=ann())
    values = {fact.name: fact.value for fact in facts}
    assert values["password"] == kind and values["expires"] == "2025-01-12"
    assert not any("$6$" in f"{fact}" for fact in facts)


def test_on_explain_of_an_account_of_a_directory(tree: Tree, fire: Fire) -> None:
    tree.write(MAIN, "UsePAM no\n")
    facts = fire("login", "on_explain", tree.host(), account=ann(None, local=False, shell=""))
    assert [(fact.name, fact.value) for fact in facts] == [
        ("uid, groups", "1001, ann, sftponly"),
        ("home", "/home/ann"),
        ("shell", "none"),
        ("source", "name service"),
    ]
