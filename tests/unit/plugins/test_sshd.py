"""sshd: the Match blocks, and that nobody else notices. The sshd here only answers; the real one is in tests/system."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from fakes import Programs, Tree
from golden import BIND, DROPIN, GOLDEN, MAIN, Fire, Sshd, ann

from sftpjail import Check, Notify, Profile, Remove, SftpJailError, WriteFile
from sftpjail.config import Config
from sftpjail.errors import JailUnknown, NotJailed
from sftpjail.system.listeners import Listener


def files(actions: list[object]) -> dict[str, str | None]:
    found: dict[str, str | None] = {a.path: a.content for a in actions if isinstance(a, WriteFile)}
    return found | {a.path: None for a in actions if isinstance(a, Remove)}


def test_on_setup_writes_the_drop_in_and_asks_about_others(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    actions = fire("sshd", "on_setup", tree.host())
    assert files(actions) == {DROPIN: GOLDEN}
    checks = {a.argv[-1].split(",")[0]: a for a in actions if isinstance(a, Check)}
    assert set(checks) == {"-t", "user=root", "user=bob", "user=www-data", "user=ann"}
    assert checks["user=bob"].prints and "x11forwarding yes" in checks["user=bob"].prints
    assert checks["user=bob"].ignoring == ()
    assert (
        "chrootdirectory /srv/sftp/%u" in checks["user=ann"].lines
        and "permittty no" in checks["user=ann"].lines
    )
    assert actions[-1] == Notify("sshd", "reload")


def test_on_setup_a_second_time_wants_nothing(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    tree.write(DROPIN, GOLDEN)
    assert fire("sshd", "on_setup", tree.host()) == []


def test_users_come_before_groups(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    late = Profile(
        "late",
        "",
        match_user=("bob", "eve"),
        chroot="%h",
        read_only=True,
        sshd_options=("MaxSessions 2",),
    )
    text = files(fire("sshd", "on_setup", tree.host(), Config(profiles=(BIND, late))))[DROPIN] or ""
    assert text.index("Match User bob,eve") < text.index("Match Group sftponly")
    block = text.partition("Match User bob,eve\n")[2].partition("Match")[0]
    assert (
        "    ChrootDirectory %h\n    ForceCommand internal-sftp -fAUTH -lVERBOSE -d/files -R\n"
        in block
    )
    assert block.endswith("    PermitUserRC no\n    MaxSessions 2\n")


def test_without_include_the_block_ends_sshd_config(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    main = "UsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
    tree.write(MAIN, main)
    written = files(fire("sshd", "on_setup", tree.host()))
    block = GOLDEN.partition("\n")[2]
    assert written[MAIN] == f"{main}# BEGIN sftpjail sftpjail\n{block}# END sftpjail sftpjail\n"
    assert written[DROPIN] is None
    tree.write(MAIN, written[MAIN] or "")
    actions = fire("sshd", "on_setup", tree.host())
    assert not [action for action in actions if not isinstance(action, Remove)]


def test_a_missing_subsystem_is_added_and_others_may_see_that(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    for main in (
        "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
        "UsePAM yes\nPrintMotd no\n",
    ):
        tree.write(MAIN, main)
        actions = fire("sshd", "on_setup", tree.host())
        assert "Subsystem sftp internal-sftp" in "".join(
            text or "" for text in files(actions).values()
        )
        (bob,) = [a for a in actions if isinstance(a, Check) and "user=bob" in a.argv[-1]]
        assert bob.ignoring == ("subsystem",)


def test_the_recipes_subsystem(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    config = Config(subsystem="internal-sftp")
    written = files(fire("sshd", "on_setup", tree.host(), config))
    assert "#sftpjail# Subsystem sftp /usr/lib/openssh/sftp-server\n" in (written[MAIN] or "")
    assert "\nSubsystem sftp internal-sftp\n" in (written[DROPIN] or "")
    for path, text in written.items():
        tree.write(path, text or "")
    assert fire("sshd", "on_setup", tree.host(), config) == []
    back = files(fire("sshd", "on_teardown", tree.host(), config))
    assert "\nSubsystem sftp /usr/lib/openssh/sftp-server\n" in (
        back[MAIN] or ""
    ) and "#sftpjail#" not in (back[MAIN] or "")


def test_a_subsystem_out_of_reach_is_told(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    tree.write(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\n")
    tree.write("/etc/ssh/sshd_config.d/99-vendor.conf", "Subsystem sftp /usr/lib/sftp-server\n")
    with pytest.raises(SftpJailError, match="cannot be replaced from there"):
        fire("sshd", "on_setup", tree.host(), Config(subsystem="internal-sftp"))


def test_keys_of_everyone(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    actions = fire("sshd", "on_setup", tree.host(), Config(scope="everyone"))
    assert "\nAuthorizedKeysFile /etc/ssh/authorized_keys/%u\nMatch Group" in (
        files(actions)[DROPIN] or ""
    )
    (bob,) = [a for a in actions if isinstance(a, Check) and "user=bob" in a.argv[-1]]
    assert bob.ignoring == ("authorizedkeysfile",)


def test_a_broken_configuration_of_somebody_else(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    sshd.broken = "/etc/ssh/sshd_config: line 3: Bad configuration option: Usepram"
    with pytest.raises(
        SftpJailError, match="refuses its present configuration: .*Usepram"
    ) as caught:
        fire("sshd", "on_setup", tree.host())
    assert caught.value.fix == f"sed -i '3s/^/#/' {MAIN} && kill -HUP 7"


def test_a_candidate_that_sshd_refuses_never_becomes_an_action(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    sshd.refuses = "Nonsense"
    with pytest.raises(SftpJailError, match="Nonsense"):
        fire(
            "sshd",
            "on_setup",
            tree.host(),
            Config(profiles=(replace(BIND, sshd_options=("Nonsense 1",)),)),
        )


@pytest.mark.parametrize(
    "above",
    ["Match Group sftponly\n    ChrootDirectory none\n", "Match all\n    ForceCommand /bin/sh\n"],
)
def test_a_match_block_above_ours_that_would_leave_the_jail_open(
    tree: Tree, fire: Fire, sshd: Sshd, above: str
) -> None:
    tree.write("/etc/ssh/sshd_config.d/00-admin.conf", above)
    with pytest.raises(
        SftpJailError, match="sshd would not jail the members of sftponly"
    ) as caught:
        fire("sshd", "on_setup", tree.host())
    assert not caught.value.fix and "grep " in caught.value.advice


def test_a_profile_that_goes_while_somebody_is_still_in_its_jail(
    tree: Tree, fire: Fire, sshd: Sshd
) -> None:
    tree.write(DROPIN, GOLDEN)
    tree.write("/var/lib/sftpjail/accounts/ann", '{"made": ["/srv/sftp/ann"]}')
    tree.group("other", 501)
    with pytest.raises(SftpJailError, match="ann: jailed until now"):
        fire("sshd", "on_setup", tree.host(), Config(profiles=(Profile("other", "other"),)))


def test_old_and_missing_sshd(tree: Tree, fire: Fire, sshd: Sshd, programs: Programs) -> None:
    sshd.version = "OpenSSH_8.1p1"
    with pytest.raises(SftpJailError, match="older than 8.2"):
        fire("sshd", "on_setup", tree.host())
    (tree.root / "usr/sbin/sshd").unlink()
    with pytest.raises(SftpJailError, match="not installed") as caught:
        fire("sshd", "on_setup", tree.host())
    assert "apt install openssh-server" in caught.value.fix


def test_on_teardown_is_the_way_back(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    before = (tree.root / "etc/ssh/sshd_config").read_text()
    tree.write(DROPIN, GOLDEN)
    actions = fire("sshd", "on_teardown", tree.host())
    assert files(actions) == {DROPIN: None} and Notify("sshd") in actions
    (tree.root / DROPIN.lstrip("/")).unlink()
    assert fire("sshd", "on_teardown", tree.host()) == []
    assert (tree.root / "etc/ssh/sshd_config").read_text() == before


@pytest.mark.parametrize("end", ["", "\n"])
def test_on_teardown_restores_sshd_config_byte_for_byte(
    tree: Tree, fire: Fire, sshd: Sshd, end: str
) -> None:
    main = f"# mine\nUsePAM yes{end}"
    tree.write(MAIN, main)
    tree.write(
        MAIN, files(fire("sshd", "on_setup", tree.host(), Config(scope="everyone")))[MAIN] or ""
    )
    assert files(fire("sshd", "on_teardown", tree.host()))[MAIN] == main


def test_on_user_create_needs_a_setup_of_the_present_profile(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    with pytest.raises(SftpJailError, match="no Match block, or an old one") as caught:
        fire("sshd", "on_user_create", tree.host(), account=ann())
    assert caught.value.fix == "sftpjail setup"
    tree.write(DROPIN, GOLDEN)
    assert fire("sshd", "on_user_create", tree.host(), account=ann()) == []
    with pytest.raises(SftpJailError):
        fire("sshd", "on_user_create", tree.host(), account=ann(replace(BIND, umask="0027")))
    assert programs.asked == [], "useradd waits for this hook"


def test_on_user_create_wants_the_block_of_the_groups_own(tree: Tree, fire: Fire) -> None:
    """The same settings for another group jail nobody of this one."""
    tree.write(DROPIN, GOLDEN)
    with pytest.raises(SftpJailError, match="no Match block, or an old one"):
        fire("sshd", "on_user_create", tree.host(), account=ann(Profile("sftponly", "newcomers")))
    with pytest.raises(SftpJailError, match="no Match block, or an old one"):
        by_name = replace(BIND, match_user=("ann",))
        fire("sshd", "on_user_create", tree.host(), account=ann(by_name))


@pytest.mark.parametrize(
    "main",
    [
        "",
        "Match Group sftponly\n    ChrootDirectory none\nMatch all\n",
        "Match Group sftponly\n    PermitTTY yes\nMatch all\n",
    ],
)
def test_on_user_create_asks_sshd_if_a_file_is_newer(
    tree: Tree, fire: Fire, sshd: Sshd, programs: Programs, main: str
) -> None:
    """Nobody is in a jail only because our file says so."""
    include = "" if not main else "Include /etc/ssh/sshd_config.d/*.conf\n"
    tree.write(DROPIN, GOLDEN)
    os.utime(f"{tree.root}{DROPIN}", (1, 1))  # which counts for its ctime here
    tree.write(MAIN, f"{main}{include}Subsystem sftp internal-sftp\n")
    account = ann()
    with pytest.raises(SftpJailError, match="sshd does not jail ann as |takes ann out of"):
        fire("sshd", "on_user_create", tree.host(), account=account)
    tree.write(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\nSubsystem sftp internal-sftp\n")
    assert fire("sshd", "on_user_create", tree.host(), account=account) == []
    sshd.broken = "/etc/ssh/sshd_config line 1: Bad configuration option: Nonsense"
    with pytest.raises(JailUnknown, match="sshd refuses its present configuration: .*Nonsense"):
        fire("sshd", "on_user_create", tree.host(), account=account)
    tree.pids = {}
    assert fire("sshd", "on_user_create", tree.host(), account=account) == [], "nobody gets in"
    tree.pids = {"sshd": 7}
    sshd.broken = ""
    asks = {
        '{"made": ["/srv/sftp/ann"]}': True,  # what a deleted account of that name has left
        '{"uid": 1001}': False,  # whoever has a jail is asked about by setup and check
        '{"uid": 1001, "group": "sftponly", "gid": 4500}': False,
        '{"uid": 1001, "group": "other", "gid": 4501}': True,  # it comes from another profile
    }
    for record, asked in asks.items():
        tree.write("/var/lib/sftpjail/accounts/ann", record)
        programs.asked.clear()
        assert fire("sshd", "on_user_create", tree.host(), account=account) == []
        assert bool(programs.asked) == asked, record


@pytest.mark.parametrize(
    "block", ["User ann,bob\n    ChrootDirectory none\n", "Group sftponly\n    PermitTTY yes\n"]
)
def test_on_user_create_asks_as_if_a_new_member_were_one(
    tree: Tree, fire: Fire, sshd: Sshd, block: str
) -> None:
    """A line of others from before the last setup, which nobody would ask about."""
    others = "/etc/ssh/sshd_config.d/05-others.conf"
    tree.write(others, f"Match {block}")
    tree.write(DROPIN, GOLDEN)
    os.utime(f"{tree.root}{others}", (1, 1))
    os.utime(f"{tree.root}{MAIN}", (1, 1))
    for account in (ann(), replace(ann(), name="bob", uid=1002)):
        words = f"{others} takes {account.name} out of its jail's settings: "
        with pytest.raises(NotJailed, match=words) as caught:
            fire("sshd", "on_user_create", tree.host(), account=account)
        assert caught.value.fix.startswith("sed -i ") and "line 2)" in caught.value.message
    tree.write(DROPIN, "")
    host = tree.host().for_plan(preparing=True)
    with pytest.raises(NotJailed, match="takes ann out"):
        fire("sshd", "on_user_create", host, account=ann())


def test_on_user_create_asks_as_a_member_of_a_group_to_come(
    tree: Tree, fire: Fire, sshd: Sshd, programs: Programs
) -> None:
    """As `undo` of teardown makes them all in one plan: the group, the Match block and the jail."""
    others = "/etc/ssh/sshd_config.d/05-others.conf"
    tree.write(others, "Match Address 10.0.0.0/8\n  PasswordAuthentication yes\n")
    tree.group_lines[:] = [one for one in tree.group_lines if not one.startswith("sftponly:")]
    host = tree.host().for_plan(preparing=True)
    programs.asked.clear()
    assert fire("sshd", "on_user_create", host, account=ann()) == []
    assert programs.asked
    tree.write(others, "Match User ann\n  ChrootDirectory none\n")
    host = tree.host().for_plan(preparing=True)
    with pytest.raises(NotJailed, match="takes ann out"):
        fire("sshd", "on_user_create", host, account=ann())


def test_on_user_create_asks_once_for_the_same_lines(
    tree: Tree, fire: Fire, sshd: Sshd, programs: Programs
) -> None:
    tree.write(
        "/etc/ssh/sshd_config.d/05-others.conf",
        "Match User *,!root\n  LogLevel VERBOSE\nMatch User bob\n  ChrootDirectory none\n",
    )
    tree.write(DROPIN, GOLDEN)
    tree.account("cat", 1003)
    tree.group_lines[:] = [one for one in tree.group_lines if not one.startswith("sftponly:")]
    tree.group("sftponly", 4500, "ann", "bob", "cat")
    for name in ("05-others.conf", "../sshd_config"):
        os.utime(f"{tree.root}/etc/ssh/sshd_config.d/{name}", (1, 1))
    host = tree.host()
    with host.files.one_look():
        assert fire("sshd", "on_user_create", host, account=ann()) == []
        asked = len(programs.asked)
        assert asked
        cat = replace(ann(), name="cat", uid=1003)
        assert fire("sshd", "on_user_create", host, account=cat) == []
        assert len(programs.asked) == asked
        with pytest.raises(NotJailed, match="takes bob out"):
            fire("sshd", "on_user_create", host, account=replace(ann(), name="bob", uid=1002))


def test_on_user_create_asks_nobody_for_a_line_about_others(
    tree: Tree, fire: Fire, sshd: Sshd, programs: Programs
) -> None:
    tree.write(
        "/etc/ssh/sshd_config.d/05-others.conf", "Match User carl Address *\n  X11Forwarding yes\n"
    )
    tree.write(DROPIN, GOLDEN)
    for name in ("05-others.conf", "../sshd_config"):
        os.utime(f"{tree.root}/etc/ssh/sshd_config.d/{name}", (1, 1))
    programs.asked.clear()
    assert fire("sshd", "on_user_create", tree.host(), account=ann()) == []
    assert programs.asked == []


def test_on_setup_guards_a_line_that_some_sshds_refuse(tree: Tree, fire: Fire, sshd: Sshd) -> None:
    sshd.version = "OpenSSH_10.0p2, OpenSSL"
    unit, drop_in = "/etc/systemd/system/sftpjail-guard.service", "ssh.service.d/10-sftpjail.conf"
    tree.write("/usr/lib/systemd/system/ssh.service", "")
    config = Config(profiles=(replace(BIND, mounts="session"),))
    paths = {"/etc/sftpjail/sshd-guard", unit, f"/etc/systemd/system/{drop_in}"}

    def written() -> set[str]:
        actions = fire("sshd", "on_setup", tree.host(), config)
        return {action.path for action in actions if isinstance(action, WriteFile)}

    assert not written() & paths, "no systemd"
    tree.program("systemctl")
    assert written() > paths
    options = (("o", "PidFile=/run/mine.pid"), ("o", "AllowUsers=ann"), ("o", "Port=22"))
    tree.listening = [Listener(7, "/usr/sbin/sshd", options, (("::", 22),))]
    (script,) = (
        action.content
        for action in fire("sshd", "on_setup", tree.host(), config)
        if isinstance(action, WriteFile) and action.path in paths and "set -- " in action.content
    )
    assert "\nset -- /usr/sbin/sshd -o AllowUsers=ann\n" in script, (
        "what may differ decides nothing"
    )
    tree.listening = []
    each = "/etc/systemd/system/sshd@.service.d/10-sftpjail.conf"
    assert each not in written()
    tree.write("/usr/lib/systemd/system/sshd@.service", "")
    assert each in written(), "an sshd for each connection"
    for action in fire("sshd", "on_setup", tree.host(), Config(profiles=(BIND,))):
        assert not isinstance(action, WriteFile) or action.path == DROPIN, "nothing to be refused"
    tree.link(unit, "/dev/null")
    assert not written() & paths, "masked"
    gone = [
        *fire("sshd", "on_setup", tree.host(), config),
        *fire("sshd", "on_teardown", tree.host(), config),
    ]
    assert unit not in [action.path for action in gone if isinstance(action, Remove)]
    staged = "/etc/ssh/.sftpjail-guard.abc"
    tree.write(staged, "left by one that was killed")
    gone = fire("sshd", "on_teardown", tree.host(), config)
    assert Remove(staged, ours=True) in gone
