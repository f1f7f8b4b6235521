"""login: whether sshd and PAM let an account in at all."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fakes import Tree
from golden import Fire, Sshd, ann

from sftpjail import Fact, Problem
from sftpjail.errors.escapes import Choice

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
    ("lines", "command"),
    [
        (["DenyUsers ann"], f"sed -i '5s/^/#/' {MAIN}"),
        (
            ["DenyUsers eve ann bob"],
            rf"""sed -i '5s/[[:space:]=]"\?ann"\?\([[:space:]]\|$\)/ \1/' {MAIN}""",
        ),
    ],
)
def test_on_check_of_who_is_denied_by_name(
    tree: Tree, fire: Fire, lines: list[str], command: str
) -> None:
    main(tree, *lines)
    (problem,) = check(tree, fire)
    assert problem.what == f"ann is closed: DenyUsers ann ({MAIN}:5)"
    assert problem.severity == "advice" and problem.hides, "somebody wanted that"
    assert problem.choices == (Choice("to let it in again", f"{command} && {RELOAD}"),)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("DenyUsers a*", "DenyUsers a*"),
        ("DenyUsers *", "DenyUsers *"),
        ("DenyUsers eve a?n", "DenyUsers a?n"),
        ("DenyGroups wheel sftp*", "DenyGroups sftp*"),
        ("DenyGroups ann", "DenyGroups ann"),
    ],
)
def test_on_check_leaves_a_pattern_that_is_about_others(
    tree: Tree, fire: Fire, line: str, pattern: str
) -> None:
    main(tree, line)
    (problem,) = check(tree, fire)
    assert problem.what == f"{pattern} ({MAIN}:5) keeps it out"
    assert (problem.fix, problem.choices) == ("", ()) and "about others too" in problem.advice


def test_on_check_opens_the_group_of_the_jails(tree: Tree, fire: Fire) -> None:
    main(tree, "DenyGroups sftponly")
    (problem,) = check(tree, fire)
    assert problem.fix == f"sed -i '5s/^/#/' {MAIN} && {RELOAD}"


def test_on_check_edits_the_line_that_denies(tree: Tree, fire: Fire) -> None:
    main(tree, "DenyUsers eve", "DenyUsers bob ann")
    (problem,) = check(tree, fire)
    assert (
        problem.choices[0].command
        == rf"""sed -i '6s/[[:space:]=]"\?ann"\?\([[:space:]]\|$\)/ \1/' {MAIN} && {RELOAD}"""
    )


@pytest.mark.parametrize(
    ("line", "what", "word"),
    [
        ("AllowUsers bob eve", "AllowUsers without ann", "ann"),
        ("AllowUsers root@10.0.0.1", "AllowUsers without ann", "ann"),
        ("AllowGroups sudo", "AllowGroups without its groups", "sftponly"),
    ],
)
def test_on_check_tells_of_a_list_that_does_not_allow(
    tree: Tree, fire: Fire, line: str, what: str, word: str
) -> None:
    main(tree, line)
    (problem,) = check(tree, fire)
    assert problem.what == f"{what} ({MAIN}:5) keeps it out"
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


OPTION = (
    "printf '%s\\n' '[profiles]' '[[sftponly]]' 'sshd_options = \"{}\",'"
    " >>/etc/sftpjail/sftpjail.conf && sftpjail setup"
)


def test_on_check_of_a_host_that_takes_no_key(tree: Tree, fire: Fire) -> None:
    """The whole host keeps what it has: the profile gets a setting of its own."""
    main(tree, "PubkeyAuthentication no")
    (problem,) = check(tree, fire)
    assert problem.what == f"PubkeyAuthentication no ({MAIN}:5) makes keys useless"
    assert problem.fix == OPTION.format("PubkeyAuthentication yes")
    main(tree, "MaxSessions 0")
    (problem,) = check(tree, fire)
    assert problem.fix == OPTION.format("MaxSessions 10")
    main(tree, "Match User ann", "MaxSessions 0")
    (problem,) = check(tree, fire)
    assert problem.fix == f"sed -i '8s/^/#/' {MAIN} && {RELOAD}", "nothing of ours would beat it"


def test_on_check_of_methods_that_take_no_key_alone(tree: Tree, fire: Fire) -> None:
    """Who asks for less than the host does is a person."""
    main(tree, "AuthenticationMethods password")
    (problem,) = check(tree, fire)
    assert problem.what == (f"AuthenticationMethods password ({MAIN}:5) makes a key alone useless")
    assert problem.fix == ""
    assert [choice.command for choice in problem.choices] == [
        OPTION.format("AuthenticationMethods publickey")
    ]


@pytest.mark.parametrize("line", ["PubkeyAuthentication no", "AuthenticationMethods password"])
def test_on_check_of_a_password_beside_the_key(tree: Tree, fire: Fire, line: str) -> None:
    main(tree, line)
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


def test_on_check_of_the_day_of_an_expiry(tree: Tree, fire: Fire) -> None:
    """pam_unix refuses it on that day already; sshd alone does so from the next one."""
    shadow(tree, f"ann:*:19000:0:99999:7::{TODAY}:")
    (problem,) = check(tree, fire)
    assert problem.what == "ann is closed: it expired on 2024-10-04" and problem.hides
    tree.write(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n")
    assert check(tree, fire) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            f"ann:*:19000:0:99999:7::{TODAY - 1}:",
            Problem(
                "ann is closed: it expired on 2024-10-03",
                "sshd refuses every login of it; whoever did that wanted it",
                choices=(Choice("to let it in again", "usermod -e '' ann"),),
                severity="advice",
                hides=True,
            ),
        ),
        (
            "ann:*:19000:0:99999:7::1:",
            Problem(
                "ann is closed: it expired on 1970-01-02",
                "sshd refuses every login of it; whoever did that wanted it",
                choices=(Choice("to let it in again", "usermod -e '' ann"),),
                severity="advice",
                hides=True,
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
        f"ann:*:19000:0:99999:7::{TODAY + 1}:",
        f"ann:*:{TODAY - 90}:0:90:7:::",
        "ann:!:19000:0:99999:7:::",  # locked: keys go on to work with PAM
        "ann:*::0:90:7:::",
        "ann:*:19000::::::",
        "ann:*:nonsense:0:x:7::y:",
        "ann:*:19000:0:99999:7:::\nbob:*:0:0:99999:7::1:",
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
    (closed,) = check(tree, fire)
    assert [choice.command for choice in closed.choices] == ["usermod -e '' ann"]
    shadow(tree, "ann:!$y$j9T$hash:0:0:1:7:::")
    (locked,) = check(tree, fire)
    assert [choice.command for choice in locked.choices] == ["usermod -U ann"], "it keeps its hash"


# -- PAM -----------------------------------------------------------------------------------------


def test_on_check_of_pam_shells(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/pam.d/sshd", "@include common-auth\n")
    tree.write("/etc/pam.d/common-auth", "auth required pam_unix.so\nauth required pam_shells.so\n")
    assert check(tree, fire, shell="/usr/sbin/nologin") == [
        Problem(
            "the shell /usr/sbin/nologin of ann is not in /etc/shells, and /etc/pam.d/common-auth:2 asks",
            "pam_shells refuses the login",
            choices=(
                Choice(
                    "to give the members of profile sftponly /bin/sh",
                    "printf '%s\\n' '[profiles]' '[[sftponly]]' 'shell = /bin/sh'"
                    " >>/etc/sftpjail/sftpjail.conf && sftpjail apply",
                ),
            ),
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
            f"{path} is there",
            "it closes the host to everybody but root: nologin(5)",
            choices=(Choice("to open the host to everybody again", f"rm {path}"),),
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
    (problem,) = check(tree, fire)
    assert problem.what == f"PasswordAuthentication no ({MAIN}:5) makes the password of ann useless"
    (choice,) = problem.choices
    assert choice.command.endswith("sftpjail setup") and "passwords = yes" in choice.command
    assert problem.advice == "or give it a key: sftpjail key add ann FILE"


def test_on_check_of_an_account_without_a_line_in_shadow(tree: Tree, fire: Fire) -> None:
    shadow(tree, "bob:*:19000:0:99999:7:::")
    (problem,) = check(tree, fire)
    assert problem.what == "ann has no line in /etc/shadow"
    assert problem.fix == "usermod -p '*' ann"
    assert check(tree, fire, local=False) == []


@pytest.mark.parametrize(
    ("module", "able"),
    [
        ("pam_oath.so", True),
        ("pam_env.so", False),
        ("pam_localuser.so", False),
        ("pam_exec.so quiet /usr/bin/timeout 30 /etc/sftpjail/pam-session name", False),
    ],
)
def test_on_check_of_keyboard_interactive(tree: Tree, fire: Fire, module: str, able: bool) -> None:
    """Where PAM asks for a password and nothing else, who has none cannot answer."""
    main(tree, "AuthenticationMethods publickey,keyboard-interactive")
    tree.write("/etc/pam.d/sshd", f"auth required {module}\nauth required pam_unix.so\n")
    assert bool(check(tree, fire)) != able


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
