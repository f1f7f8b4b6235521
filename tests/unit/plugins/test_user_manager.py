"""user_manager: the drop-in of user@.service, whose managers end, and what check says of one that is not in force."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes import Programs, Tree
from golden import Fire, ann

from sftpjail import Fact, MakeDir, Notify, Profile, Remove, WriteFile
from sftpjail.config import Config
from sftpjail.engine.merge import merged
from sftpjail.engine.plan import Step
from sftpjail.formats.user_managers import DIRECTORY, DROPIN, loaded, mark, script
from sftpjail.plugins.user_manager import dropin

CGROUP = "/sys/fs/cgroup/user.slice/user-1001.slice/user@1001.service/init.scope"
STOP = Notify("user-managers", "stop", always=True)
BOTH = Config(
    profiles=(Profile("a", "one"), Profile("b", "two"), Profile("c", "", match_user=("eve", "dan")))
)


def systemd(tree: Tree) -> None:
    """systemd is installed and runs, and the drop-in is there."""
    tree.program("systemctl")
    tree.directory("/run/systemd/system")
    tree.directory("/sys/fs/cgroup")
    tree.write(DROPIN, dropin(Config()))


def shown(uid: int = 1001, text: str = "", paths: str = DROPIN, **more: str) -> str:
    """What systemctl(1) shows of a user manager's service, as both releases print it."""
    decides = script(text or dropin(Config())).replace("$", "$$").replace("%i", str(uid))
    condition = (
        f"{{ path=/bin/sh ; argv[]=/bin/sh -c     {decides} ; ignore_errors=no ; status=0/0 }}"
    )
    values = {
        "LoadState": "loaded",
        "NeedDaemonReload": "no",
        "DropInPaths": paths,
        "ExecCondition": condition,
    } | more
    return "\n".join(f"{name}={value}" for name, value in values.items() if value)


def test_on_setup_tells_systemd_of_the_drop_in_before_the_commit(tree: Tree, fire: Fire) -> None:
    tree.program("systemctl")
    actions = fire("user_manager", "on_setup", tree.host())
    assert actions == [
        MakeDir("/etc/systemd"),
        MakeDir("/etc/systemd/system"),
        MakeDir(DIRECTORY),
        WriteFile(DROPIN, dropin(Config())),
        Notify("systemd", "daemon-reload", required=True),
        Notify("user-managers", "stop"),
    ]


def test_where_there_is_no_systemd_nothing_is_written(tree: Tree, fire: Fire) -> None:
    assert fire("user_manager", "on_setup", tree.host()) == []
    assert fire("user_manager", "on_check", tree.host(), account=None) == []
    assert fire("user_manager", "on_explain", tree.host(), account=ann()) == []


def test_the_drop_in_keeps_to_the_syntax_of_units() -> None:
    text = dropin(BOTH)
    (line,) = [
        part for part in text.replace("\\\n", " ").split("\n") if part.startswith("ExecCondition=")
    ]
    assert (
        line.startswith("ExecCondition=+/bin/sh -c '")
        and line.endswith("'")
        and line.count("'") == 2
    )
    body = line.partition("'")[2][:-1]
    assert "\\" not in body and "%" not in body.replace("%i", "")
    assert "$" not in body.replace("$$", ""), "systemd would take it for a variable"
    assert (
        '*"(one)"*|*"(two)"*)' in body and "in eve|dan)" in body and "getent group one two " in body
    )
    assert script("[Service]\nExecCondition=/bin/true\n") == ""


def decide(tmp_path: Path, config: Config, *fakes: str, uid: int = 1001) -> int:
    """The exit code of the script with these lines as functions of its own: 1 denies, 0 allows."""
    records = tmp_path / "accounts"
    records.mkdir(exist_ok=True)
    (records / "ann").write_text(
        '{\n "made": [\n  "/srv/sftp/ann"\n ],\n "uid": 1001,\n "was": {}\n}\n'
    )
    (records / "bob").write_text('{\n "uid": 1002\n}\n')
    text = (
        script(dropin(config))
        .replace("%i", str(uid))
        .replace("/var/lib/sftpjail/accounts", str(records))
    )
    timeout = f'timeout() {{ shift; "$@"; }}; mkdir() {{ echo "$1" >>{tmp_path}/marks; }}'
    return subprocess.run(["sh", "-c", "\n".join([timeout, *fakes, text])], check=False).returncode


SAID = 'id() { echo "uid=990(ann) gid=1001(ann) groups=1001(ann),{}100(users)"; }'
STRANGER, MEMBER = SAID.replace("{}", ""), SAID.replace("{}", "990(two),")
SHARED, NAMELESS = SAID.replace("{}", "990(other),"), SAID.replace("{}", "990,")
NOBODY_KNOWS = "id() { echo 'no such user' >&2; return 1; }"
# A name may have blanks; a member's may have a backslash, which echo of dash obeys.
BLANKS = SAID.replace("{}", "990(two),77(the groups=7),")
CARL = "getent() { printf '%s\\n' 'one:x:989:CORP\\carl' two:x:990:bob; }"
HERE, AWAY = "getent() { echo one:x:989:; echo two:x:990:bob; }", "getent() { return 2; }"


@pytest.mark.real_program
@pytest.mark.parametrize(
    ("fakes", "uid", "code"),
    [
        ((MEMBER, HERE), 1001, 1),
        ((STRANGER, HERE), 1001, 0),
        # Another group has its gid, and an earlier line; or nobody knows the gid just then.
        ((SHARED, HERE), 1001, 1),
        ((NAMELESS, HERE), 1001, 1),
        ((SHARED, CARL), 1001, 1),
        ((BLANKS, HERE), 1001, 1),
        ((SAID.replace("{}", "9900(other),4990(x),"), HERE), 1001, 0),
        # Nobody can say: those with a record count, and nobody else.
        ((STRANGER, AWAY), 1001, 1),
        ((STRANGER, AWAY), 1002, 1),
        ((STRANGER, AWAY), 1003, 0),
        ((STRANGER, AWAY), 100, 0),
        ((NOBODY_KNOWS, HERE), 1001, 1),
        ((NOBODY_KNOWS, HERE), 1003, 0),
        (("id() { return 127; }", HERE), 1001, 1),
        # Whatever else is wrong, it says the others.
        (('id() { echo "gid=9(x) groups=9(x),4711,990(two)"; return 1; }', HERE), 1003, 1),
        (('id() { echo "gid=9(x) groups=9(x),91(twofold)"; }', HERE), 1001, 0),
        ((STRANGER, AWAY, "grep() { return 2; }"), 1001, 0),
        ((MEMBER, HERE), 0, 0),
    ],
)
def test_the_script_denies_members_and_nobody_else(
    tmp_path: Path, fakes: tuple[str, ...], uid: int, code: int
) -> None:
    assert decide(tmp_path, BOTH, *fakes, uid=uid) == code
    marks = tmp_path / "marks"
    assert not marks.exists() or (code, marks.read_text()) == (1, f"{mark(uid)}\n")


@pytest.mark.real_program
def test_the_script_knows_accounts_by_name(tmp_path: Path) -> None:
    config = Config(profiles=(Profile("c", "", match_user=("eve", "dan")),))
    by_name = 'id() { case $1 in -nu) echo {};; *) echo "users";; esac; }'
    assert decide(tmp_path, config, by_name.replace("{}", "dan")) == 1
    assert decide(tmp_path, config, by_name.replace("{}", "danny")) == 0
    assert decide(tmp_path, config, NOBODY_KNOWS) == 1


def test_on_user_create_ends_what_runs_and_asks_once_more(tree: Tree, fire: Fire) -> None:
    systemd(tree)
    assert fire("user_manager", "on_user_create", tree.host(), account=ann()) == []
    assert fire("user_manager", "on_user_create", tree.host(), account=ann(uid=-1)) == []
    assert fire(
        "user_manager", "on_user_create", tree.host(), account=ann(Profile("x", "others"))
    ) == [STOP]
    tree.directory(CGROUP)
    assert fire("user_manager", "on_user_create", tree.host(), account=ann()) == [STOP]


def test_a_daemon_hears_once_and_early_if_one_plugin_wants_that() -> None:
    late, early = (
        Notify("systemd", "daemon-reload"),
        Notify("systemd", "daemon-reload", required=True),
    )
    assert [s.action for s in merged([Step(late, "mounts"), Step(early, "user_manager")])] == [
        early
    ]
    assert [
        s.action for s in merged([Step(STOP, "a", "ann"), Step(Notify(*STOP.key[1:]), "a")])
    ] == [STOP]


def test_on_user_remove_takes_the_mark_away(tree: Tree, fire: Fire) -> None:
    assert fire("user_manager", "on_user_remove", tree.host(), account=ann()) == []
    tree.directory(mark(1001))
    gone = Remove(mark(1001), ours=True, directory=True)
    assert fire("user_manager", "on_user_remove", tree.host(), account=ann()) == [gone]
    assert fire("user_manager", "on_user_remove", tree.host(), account=ann(uid=-1)) == []


def test_on_teardown_takes_back_what_setup_made(tree: Tree, fire: Fire) -> None:
    actions = fire("user_manager", "on_teardown", tree.host())
    paths = (DROPIN, DIRECTORY, "/etc/systemd/system", "/etc/systemd")
    assert actions == [*(Remove(path) for path in paths), Notify("systemd", "daemon-reload")]


def test_on_check_is_content_with_what_is_in_force(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    systemd(tree)
    programs.answer("systemctl", "show", out=shown())
    host = tree.host()
    assert fire("user_manager", "on_check", host, account=None) == []
    assert fire("user_manager", "on_check", host, account=ann()) == []
    assert [argv[-1] for argv in programs.asked] == ["user@1001.service"], "asked once"
    assert not loaded("ExecCondition=", dropin(Config()), 1001)
    assert not loaded(shown(1002), dropin(Config()), 1001)


def test_on_check_reports_a_lost_drop_in_if_somebody_is_jailed(tree: Tree, fire: Fire) -> None:
    tree.program("systemctl")
    for account in (None, ann()):
        (problem,) = fire("user_manager", "on_check", tree.host(), account=account)
        assert problem.what == f"{DROPIN} is missing" and problem.severity == "open"


def test_on_check_names_a_manager_and_who_lingers(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    systemd(tree)
    programs.answer("systemctl", "show", out=shown())
    tree.directory(CGROUP)
    tree.write("/var/lib/systemd/linger/ann", "")
    found = fire("user_manager", "on_check", tree.host(), account=ann())
    assert [f.fix for f in found] == [
        "systemctl stop user@1001.service",
        "loginctl disable-linger 1001",
    ]
    (fact,) = fire("user_manager", "on_explain", tree.host(), account=ann())
    assert fact.bad and fact.value == "runs on the host"


@pytest.mark.parametrize(
    ("said", "words", "fix"),
    [
        ({"ExecCondition": ""}, "has not read", "systemctl daemon-reload"),
        (
            {"ExecCondition": "", "NeedDaemonReload": "yes", "paths": ""},
            "has not read",
            "systemctl daemon-reload",
        ),
        (
            {"ExecCondition": "", "paths": f"{DROPIN} {DIRECTORY}/zz.conf"},
            f"{DIRECTORY}/zz.conf takes {DROPIN} back",
            f"sed -i '/^[[:space:]]*ExecCondition[[:space:]]*=[[:space:]]*$/d' {DIRECTORY}/zz.conf"
            " && systemctl daemon-reload",
        ),
        ({"ExecCondition": "", "LoadState": "masked"}, "", ""),
    ],
)
def test_on_check_names_what_keeps_the_drop_in_from_its_work(
    tree: Tree, fire: Fire, programs: Programs, said: dict[str, str], words: str, fix: str
) -> None:
    systemd(tree)
    tree.write(f"{DIRECTORY}/zz.conf", "[Service]\nExecCondition =\nExecCondition=/bin/true\n")
    programs.answer("systemctl", "show", out=shown(**said))
    found = fire("user_manager", "on_check", tree.host(), account=None)
    assert [words in f.what and f.fix == fix for f in found] == ([True] if words else [])


def test_on_check_asks_of_each_service_with_its_own_drop_ins(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    systemd(tree)
    tree.account("eve", 1003, 500)
    mask = "/etc/systemd/system/user@1003.service.d/10-sftpjail.conf"
    tree.link(mask, "/dev/null")
    programs.answer(
        "systemctl", "show", out=f"{shown()}\n\n{shown(1003, ExecCondition='', paths='')}\n"
    )
    (found,) = fire("user_manager", "on_check", tree.host(), account=None)
    assert programs.asked[0][-2:] == ("user@1001.service", "user@1003.service")
    assert found.fix == f"mv -nT {mask} {mask}.off && systemctl daemon-reload"


def test_a_drop_in_that_is_masked_is_reported_and_stays(tree: Tree, fire: Fire) -> None:
    systemd(tree)
    (Path(tree.root) / DROPIN.lstrip("/")).unlink()
    tree.link(DROPIN, "/dev/null")
    assert fire("user_manager", "on_setup", tree.host()) == []
    (found,) = fire("user_manager", "on_check", tree.host(), account=None)
    assert found.fix == f"rm {DROPIN} && sftpjail setup"


def test_on_explain_says_what_keeps_managers_away(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    systemd(tree)
    programs.answer("systemctl", "show", out=shown())
    assert fire("user_manager", "on_explain", tree.host(), account=ann()) == [
        Fact("account", "user manager", "none: systemd refuses it", DROPIN)
    ]
    tree.write(DROPIN, "[Service]\n")
    (fact,) = fire("user_manager", "on_explain", tree.host(), account=ann())
    assert fact.bad and fact.value == "would be started"
