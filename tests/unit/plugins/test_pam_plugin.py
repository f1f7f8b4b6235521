"""pam: the services and rules by which a session gets its mounts, and the proof that all can still log in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import Programs, Tree
from golden import BIND, Fire, ann

from sftpjail import (
    Check,
    Fact,
    MakeDir,
    Profile,
    Remove,
    SetLines,
    SftpJailError,
    Style,
    WriteFile,
)
from sftpjail.actions import Phase
from sftpjail.config import Config
from sftpjail.openssh.pam_session import MARK, PROGRAM, SCRIPT, program, script, service
from sftpjail.openssh.pam_session import rules as rules_of
from sftpjail.paths import GATE
from sftpjail.system.programs import Answer

SESSION = replace(BIND, mounts="session")
CONFIG = Config(profiles=(SESSION,))
DENY = "[success=ignore ignore=ignore default=bad]"
LISTED = f"account {DENY} pam_listfile.so item=user sense=deny file=/etc/sftpjail/closed onerr=succeed quiet"
NAMED = (
    "auth [success=1 default=ignore] pam_localuser.so",
    f"auth {DENY} pam_exec.so quiet /usr/bin/timeout 30 /etc/sftpjail/pam-session name",
    "account [success=1 default=ignore] pam_localuser.so",
    f"account {DENY} pam_exec.so quiet /usr/bin/timeout 30 /etc/sftpjail/pam-session name",
)
OK = "who is jailed: ok\nwho is not: ok\n"


@pytest.fixture(autouse=True)
def installed(tree: Tree) -> None:
    tree.write("/etc/pam.d/sshd", "session include common-session\n")
    tree.program("sshd")


@pytest.fixture
def version(programs: Programs) -> Programs:
    """A host with UsePAM on which everybody can log in; which OpenSSH it has is up to the test."""
    programs.answer("-T", out="usepam yes\n")
    programs.answer_by("prove-login", lambda argv, _: Answer(0, OK, ""))
    return programs


def new(programs: Programs) -> None:
    programs.answer("-V", err="OpenSSH_10.0p2, OpenSSL\n")


def old(programs: Programs) -> None:
    programs.answer("-V", err="OpenSSH_9.2p1, OpenSSL\n")


def rules(actions: list[object]) -> list[str]:
    (lines,) = [a for a in actions if isinstance(a, SetLines)]
    assert (lines.path, lines.tag, lines.style) == ("/etc/pam.d/sshd", "session", Style.TOP)
    return list(lines.lines)


def test_on_setup_gives_new_sshds_jails_a_service(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    actions = fire("pam", "on_setup", tree.host(), CONFIG)
    (service,) = [
        a for a in actions if isinstance(a, WriteFile) and a.path == "/etc/pam.d/sftpjail-session"
    ]
    assert service.content.splitlines()[1:] == [
        "session required pam_namespace.so mount_private",
        f"session required pam_exec.so quiet type=open_session /usr/bin/timeout 30 {SCRIPT} session",
        "auth include sshd",
        "account include sshd",
        "password include sshd",
        "session include sshd",
    ], "before anything that takes an environment from the user"
    assert rules(actions) == [], "nobody else's stack is touched"
    assert Remove("/etc/pam.d/sftpjail") in actions
    assert {MakeDir("/etc/sftpjail/mounts"), MakeDir(MARK, 0o700)} <= {
        a for a in actions if isinstance(a, MakeDir)
    }
    files = [action for action in actions if isinstance(action, WriteFile)]
    assert files[-2:] == [WriteFile(PROGRAM, program()), WriteFile(SCRIPT, script(), mode=0o755)]
    (proof,) = [a for a in actions if isinstance(a, Check)]
    assert proof.argv == (
        "/usr/lib/sftpjail/entry/prove-login",
        "sftpjail-probe",
        "sftponly",
        "session",
    )
    assert proof.lines == ("who is jailed: ok", "who is not: ok")
    assert {SCRIPT, "/etc/pam.d/sftpjail-session", "/etc/ssh/sshd_config"} <= set(proof.candidate)


def test_on_setup_marks_rules_for_an_old_sshd(tree: Tree, fire: Fire, version: Programs) -> None:
    old(version)
    actions = fire("pam", "on_setup", tree.host(), CONFIG)
    assert rules(actions) == [
        "session [success=2 auth_err=ignore default=2] pam_succeed_if.so quiet user notingroup sftponly",
        "session required pam_namespace.so mount_private",
        f"session required pam_exec.so quiet type=open_session /usr/bin/timeout 30 {SCRIPT} session",
    ]
    assert not [
        a for a in actions if isinstance(a, WriteFile) and a.path.startswith("/etc/pam.d/sftpjail")
    ]


def test_rules_of_a_profile_pass_by_whom_an_earlier_one_has(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    """As with Match: users before groups, the first one wins; and the last jump ends exactly at the end."""
    old(version)
    profiles = (
        Profile("plain", group="plain"),
        replace(SESSION, name="a", group="a"),
        Profile("vip", group="", match_user=("x", "y"), mounts="session"),
        Profile("last", group="last"),
    )
    lines = rules(fire("pam", "on_setup", tree.host(), Config(profiles=profiles)))
    assert [line.partition(" /usr")[0].removeprefix("session ") for line in lines] == [
        "[success=3 auth_err=ignore default=3] pam_succeed_if.so quiet user notin x:y",
        "required pam_namespace.so mount_private",
        "required pam_exec.so quiet type=open_session",
        "[success=4 default=ignore] pam_permit.so",
        "[success=3 default=ignore] pam_succeed_if.so quiet user ingroup plain",
        "[success=2 auth_err=ignore default=2] pam_succeed_if.so quiet user notingroup a",
        "required pam_namespace.so mount_private",
        "required pam_exec.so quiet type=open_session",
    ]


def test_on_setup_touches_no_pam_without_need(tree: Tree, fire: Fire) -> None:
    actions = fire("pam", "on_setup", tree.host())
    harmless = (
        SetLines("/etc/pam.d/sshd", "session", (), Style.TOP),
        WriteFile(PROGRAM, program()),
        WriteFile(SCRIPT, script(), mode=0o755),
    )
    assert [a for a in actions if not isinstance(a, Remove)] == [*harmless]
    assert not any(a.pending(tree.host(), "") for a in actions if not isinstance(a, WriteFile))


def test_a_directory_needs_the_script_but_no_namespace(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    tree.write(
        "/etc/nsswitch.conf", "group: files\npasswd: files systemd [NOTFOUND=continue] sss # sss\n"
    )
    actions = fire("pam", "on_setup", tree.host())
    (service,) = [
        a for a in actions if isinstance(a, WriteFile) and a.path == "/etc/pam.d/sftpjail"
    ]
    assert service.content.splitlines()[1:3] == [rules_of("fstab")[0], "auth include sshd"]
    assert (
        "pam_namespace" not in service.content
        and Remove("/etc/security/namespace.d/sftpjail.conf") in actions
    )


def test_on_setup_makes_no_stack_of_our_rules_alone(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    old(version)
    (tree.root / "etc/pam.d/sshd").unlink()
    with pytest.raises(SftpJailError, match="would keep everybody out"):
        fire("pam", "on_setup", tree.host(), CONFIG)


def test_on_setup_wants_use_pam(tree: Tree, fire: Fire, programs: Programs) -> None:
    old(programs)
    programs.answer("-T", out="usepam no\n")
    with pytest.raises(SftpJailError, match="UsePAM no"):
        fire("pam", "on_setup", tree.host(), CONFIG)


def test_on_setup_wants_the_service_sshd_for_a_directory(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    new(programs)
    programs.answer("-T", out="usepam yes\npamservicename other\n")
    tree.write("/etc/nsswitch.conf", "passwd: files sss\n")
    with pytest.raises(SftpJailError, match="sshd asks for other"):
        fire("pam", "on_setup", tree.host(), CONFIG)


@pytest.mark.parametrize(
    "line",
    ["auth required pam_env.so user_readenv=1", "session required pam_env.so user_readenv=1"],
)
def test_on_setup_wants_no_environment_of_the_users_before_ours(
    tree: Tree, fire: Fire, version: Programs, line: str
) -> None:
    old(version)
    tree.write("/etc/pam.d/sshd", f"# sshd\n{line}\n")
    if line.startswith("session"):
        fire("pam", "on_setup", tree.host(), CONFIG)  # ours come before it
        tree.write("/etc/pam.d/sshd", f"{line}\n")
    with pytest.raises(SftpJailError, match="lets users set the environment"):
        fire("pam", "on_setup", tree.host(), CONFIG)


def test_on_setup_wants_logins_that_can_be_tried(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    new(programs)
    programs.answer("-T", out="usepam yes\n")
    programs.answer_by("prove-login", lambda argv, _: Answer(1, "", "unshare failed"))
    with pytest.raises(SftpJailError, match="cannot be tried: unshare failed"):
        fire("pam", "on_setup", tree.host(), CONFIG)


def test_on_teardown(tree: Tree, fire: Fire) -> None:
    actions = fire("pam", "on_teardown", tree.host())
    assert SetLines("/etc/pam.d/sshd", "session", (), Style.TOP) in actions
    assert {Remove("/etc/pam.d/sftpjail-session"), Remove("/etc/sftpjail/mounts")} <= set(actions)


def test_on_user_create_wants_setup_first(tree: Tree, fire: Fire, version: Programs) -> None:
    new(version)
    with pytest.raises(SftpJailError, match="old or missing rules") as caught:
        fire("pam", "on_user_create", tree.host(), CONFIG, account=ann(SESSION))
    assert caught.value.fix == "sftpjail setup"
    for action in fire("pam", "on_setup", tree.host(), CONFIG):
        if isinstance(action, WriteFile):
            tree.write(action.path, action.content, action.mode)
        elif isinstance(action, MakeDir):
            tree.directory(action.path)
    assert fire("pam", "on_user_create", tree.host(), CONFIG, account=ann(SESSION)) == []
    assert fire("pam", "on_user_create", tree.host(), account=ann()) == []


@pytest.mark.parametrize(
    ("script", "answer", "says"),
    [
        (None, None, f"{SCRIPT} is missing"),
        (0o644, None, f"{SCRIPT} is not executable"),
        (0o755, Answer(124, "", ""), "did not end within 5 seconds"),
        (
            0o755,
            Answer(1, "", "mount: /srv/web: special device /srv/gone does not exist."),
            "/srv/gone does not exist",
        ),
        (0o755, Answer(0, "", ""), ""),
    ],
)
def test_on_check_rehearses(
    tree: Tree, fire: Fire, programs: Programs, script: int | None, answer: Answer | None, says: str
) -> None:
    tree.write("/etc/sftpjail/mounts/ann", "/a /srv/sftp/ann/a none bind,x-sftpjail.user=ann 0 0\n")
    tree.directory("/a")
    tree.directory(MARK)
    if script:
        tree.write(SCRIPT, "#!/bin/sh\n", script)  # one file, as in earlier versions
    if answer:
        programs.answer_by("unshare", lambda argv, _: answer)
    found = fire("pam", "on_check", tree.host(), CONFIG, account=ann(SESSION))
    assert [says in problem.what for problem in found] == ([True] if says else [])


def test_on_check_of_a_script_without_its_module(tree: Tree, fire: Fire) -> None:
    tree.write("/etc/sftpjail/mounts/ann", "")
    tree.directory(MARK)
    tree.write(SCRIPT, script(), 0o755)
    (problem,) = fire("pam", "on_check", tree.host(), CONFIG, account=ann(SESSION))
    assert f"{PROGRAM} is missing" in problem.what


@pytest.mark.parametrize("thorough", [True, False])
def test_on_check_of_a_source_that_is_gone(tree: Tree, fire: Fire, thorough: bool) -> None:
    tree.directory("/srv/sftp/ann")
    tree.write(
        "/etc/sftpjail/mounts/ann",
        "/a /srv/sftp/ann/my\\040web none bind,x-sftpjail.user=ann 0 0\n",
    )
    host = tree.host() if thorough else tree.host().for_many_accounts()
    (problem,) = fire("mounts", "on_check", host, CONFIG, account=ann(SESSION))
    assert problem.why == "PAM closes the sessions of ann: a jail shows all or nothing"
    assert [choice.command for choice in problem.choices] == ["sftpjail umount ann '/my web'"]
    assert fire("pam", "on_check", host, CONFIG, account=ann(SESSION)) == [], "it is told once"


def test_on_check_leaves_other_jails_alone(tree: Tree, fire: Fire) -> None:
    assert fire("pam", "on_check", tree.host(), account=ann()) == []
    assert fire("pam", "on_check", tree.host(), account=None) == []
    host = tree.host().for_many_accounts()
    assert fire("pam", "on_check", host, CONFIG, account=ann(SESSION)) == []


def test_on_explain(tree: Tree, fire: Fire, version: Programs) -> None:
    new(version)
    assert fire("pam", "on_explain", tree.host(), account=ann()) == []
    assert fire("pam", "on_explain", tree.host(), CONFIG, account=ann(SESSION)) == [
        Fact("account", "at login", SCRIPT, "/etc/pam.d/sftpjail-session")
    ]


# -- the gate: who is jailed by what a directory says


@pytest.fixture
def with_directory(tree: Tree) -> Tree:
    tree.write("/etc/nsswitch.conf", "passwd: files ldap\n")
    return tree


def test_a_gate_stands_where_a_directory_is(
    with_directory: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    assert rules(fire("pam", "on_setup", with_directory.host())) == [
        LISTED,
        *NAMED,
        "account [success=1 default=ignore] pam_succeed_if.so quiet service in sftpjail-session:sftpjail",
        f"account {DENY} pam_listfile.so item=user sense=deny file=/etc/sftpjail/directory onerr=succeed quiet",
    ]


@pytest.mark.parametrize(
    ("release", "kind", "test"),
    [
        ("9.7p1", "", "user ingroup sftponly"),
        ("9.8p1", "sftpjail-session", "service in sftpjail-session:sftpjail"),
    ],
)
def test_jails_have_services_from_9_8_on(
    with_directory: Tree, fire: Fire, version: Programs, release: str, kind: str, test: str
) -> None:
    version.answer("-V", err=f"OpenSSH_{release}, OpenSSL\n")
    host = with_directory.host()
    assert service(SESSION, host) == kind
    gate = rules(fire("pam", "on_setup", host, Config(profiles=(BIND,))))[len(NAMED) + 1]
    assert gate == f"account [success=1 default=ignore] pam_succeed_if.so quiet {test}"


def test_the_rule_about_second_names_has_those_of_match_user(
    with_directory: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    config = Config(profiles=(Profile("one", "", match_user=("ida", "ann")),))
    assert rules(fire("pam", "on_setup", with_directory.host(), config))[2] == f"{NAMED[1]} ida:ann"


def test_before_services_the_gate_asks_for_the_groups(
    with_directory: Tree, fire: Fire, version: Programs
) -> None:
    old(version)
    config = Config(profiles=(BIND, Profile("other", group="other")))
    assert rules(fire("pam", "on_setup", with_directory.host(), config))[:8] == [
        LISTED,
        *NAMED,
        "account [success=2 default=ignore] pam_succeed_if.so quiet user ingroup sftponly",
        "account [success=1 default=ignore] pam_succeed_if.so quiet user ingroup other",
        f"account {DENY} pam_listfile.so item=user sense=deny file=/etc/sftpjail/directory onerr=succeed quiet",
    ]


def install(tree: Tree, actions: list[object]) -> None:
    for action in actions:
        if isinstance(action, WriteFile):
            tree.write(action.path, action.content, action.mode)
        elif isinstance(action, SetLines):
            text = "".join(f"{line}\n" for line in action.lines)
            tree.write(
                action.path, f"# BEGIN sftpjail {action.tag}\n{text}# END sftpjail {action.tag}\n"
            )


def test_on_user_create_names_whom_only_the_directory_jails(
    with_directory: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    install(with_directory, fire("pam", "on_setup", with_directory.host()))
    assert fire("pam", "on_user_create", with_directory.host(), account=ann()) == [], (
        "in /etc/group, as everybody sees"
    )
    stranger = ann(name="zoe", local=False)
    gate = SetLines(GATE, "zoe", ("zoe",), Style.LINE)
    assert fire("pam", "on_user_create", with_directory.host(), account=stranger) == [gate]
    with_directory.write(GATE, "zoe\nann\n")
    gone = SetLines(GATE, "ann", (), Style.LINE)
    assert fire("pam", "on_user_create", with_directory.host(), account=ann()) == [gone]


def test_on_user_remove(tree: Tree, fire: Fire) -> None:
    assert fire("pam", "on_user_remove", tree.host(), account=ann()) == []
    tree.write(GATE, "ann\n")
    assert fire("pam", "on_user_remove", tree.host(), account=ann()) == [
        SetLines(GATE, "ann", (), Style.LINE)
    ]


# -- who is shut out and has no line in shadow(5)


def test_the_list_is_read_where_one_may_have_no_shadow_line(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    """By everybody's stack, so with the proof that everybody can still log in."""
    tree.write("/etc/nsswitch.conf", "passwd: files systemd\n")
    actions = fire("pam", "on_setup", tree.host())
    assert rules(actions) == [LISTED]
    (proof,) = [a for a in actions if isinstance(a, Check)]
    assert proof.argv[-1] == "none" and proof.lines == ("who is jailed: ok", "who is not: ok")
    install(tree, [a for a in actions if isinstance(a, SetLines)])
    assert not [a for a in fire("pam", "on_setup", tree.host()) if isinstance(a, Check)], (
        "nothing is to be done"
    )


@pytest.mark.parametrize(
    ("sources", "names", "wanted"), [("files", "", []), ("files", "zoe\n", [LISTED])]
)
def test_the_list_is_not_read_without_need(
    tree: Tree, fire: Fire, version: Programs, sources: str, names: str, wanted: list[str]
) -> None:
    tree.write("/etc/nsswitch.conf", f"passwd: {sources}\n")
    tree.write("/etc/sftpjail/closed", names)
    assert rules(fire("pam", "on_setup", tree.host())) == wanted


def test_without_use_pam_the_rule_needs_no_proof(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    programs.answer("-T", out="usepam no\n")
    tree.write("/etc/nsswitch.conf", "passwd: files systemd\n")
    assert not [a for a in fire("pam", "on_setup", tree.host()) if isinstance(a, Check)]


def test_on_user_create_waits_for_no_rule_about_others(
    tree: Tree, fire: Fire, version: Programs
) -> None:
    new(version)
    tree.write("/etc/nsswitch.conf", "passwd: files\n")
    tree.directory("/etc/sftpjail/mounts")
    install(
        tree,
        [a for a in fire("pam", "on_setup", tree.host(), CONFIG) if not isinstance(a, SetLines)],
    )
    tree.write("/etc/nsswitch.conf", "passwd: files systemd\n")
    assert fire("pam", "on_user_create", tree.host(), CONFIG, account=ann(SESSION)) == []


def test_on_teardown_takes_every_name_off_both_lists(tree: Tree, fire: Fire) -> None:
    tree.write(GATE, "zoe\n")
    tree.write("/etc/sftpjail/closed", "yves\n")
    actions = fire("pam", "on_teardown", tree.host())
    assert SetLines(GATE, "zoe", (), Style.LINE) in actions
    assert SetLines("/etc/sftpjail/closed", "yves", (), Style.LINE, when=Phase.OPENING) in actions
    assert Remove(GATE) not in actions
    tree.write(GATE, "")
    assert Remove(GATE) in fire("pam", "on_teardown", tree.host())
