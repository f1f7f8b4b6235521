"""entry: the stubs by which shadow and systemd call us."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fakes import Programs, Tree
from golden import Fire, ann

from sftpjail import (
    MakeDir,
    Problem,
    Profile,
    Remove,
    Run,
    SetLines,
    SftpJailError,
    Style,
    WriteFile,
)
from sftpjail.config import Config, Events, Metrics
from sftpjail.paths import BIN, LIB
from sftpjail.transferlog.totals import Totals, as_text

HOOKS = Path(__file__).parents[3] / "hooks"
STUBS = {
    "/etc/shadow-maint/useradd-post.d/sftpjail": "useradd-post",
    "/etc/shadow-maint/userdel-pre.d/sftpjail": "userdel-pre",
    "/etc/shadow-maint/userdel-post.d/sftpjail": "userdel-post",
}
LOCAL = "/usr/local/sbin/adduser.local", "/usr/local/sbin/deluser.local"
WATCH = "sftpjail-watch.service"
BLOCK = "# BEGIN sftpjail useradd-post\n(\n) || :\n# END sftpjail useradd-post\n"


@pytest.fixture(autouse=True)
def installed(tree: Tree) -> None:
    for name in {*STUBS.values(), "elsewhere"}:
        tree.write(f"{LIB}/entry/{name}", (HOOKS / name).read_text())


def units(tree: Tree, *enabled: str, booted: bool = False) -> None:
    tree.program("systemctl")
    for unit in ("sftpjail.path", "sftpjail.timer", "sftpjail-metrics.timer", WATCH):
        tree.write(f"/usr/lib/systemd/system/{unit}", "")
    for wanted in enabled:
        tree.write(f"/etc/systemd/system/{wanted}", "")
    if booted:
        tree.directory("/run/systemd/system")


def test_on_setup_writes_three_executable_stubs(tree: Tree, fire: Fire) -> None:
    actions = fire("entry", "on_setup", tree.host())
    written = {a.path: a for a in actions if isinstance(a, WriteFile)}
    assert set(written) == set(STUBS) and {a.mode for a in written.values()} == {0o755}
    assert {a.path for a in actions if isinstance(a, MakeDir)} == {
        "/etc/shadow-maint",
        *(
            f"/etc/shadow-maint/{name}.d"
            for name in ("useradd-post", "userdel-pre", "userdel-post")
        ),
    }
    for stub in written.values():
        assert (
            stub.content.startswith("#!/bin/sh\n") and f"\n[ -x {BIN} ] || exit 0\n" in stub.content
        )
        assert "@" not in stub.content.replace("_.@", ""), "a token is left"


def test_the_stub_knows_groups_and_users_without_python(tree: Tree, fire: Fire) -> None:
    config = Config(
        profiles=(
            Profile("a", "one"),
            Profile("b", "two"),
            Profile("c", "", match_user=("eve", "dan")),
        )
    )
    actions = fire("entry", "on_setup", tree.host(), config)
    text = next(a.content for a in actions if isinstance(a, WriteFile) and "useradd-post" in a.path)
    assert '*"(one)"*|*"(two)"*) ;;' in text and "eve|dan) ;;" in text
    tree.group("two", 990)
    actions = fire("entry", "on_setup", tree.host(), config)
    text = next(a.content for a in actions if isinstance(a, WriteFile) and "useradd-post" in a.path)
    assert """*"(one)"*|*"(two)"*|*",990"[,"("]*) ;;""" in text


@pytest.mark.real_program
@pytest.mark.parametrize(
    ("said", "starts"),
    [
        ("uid=1001(ann) gid=1001(ann) groups=1001(ann),990(two)", True),
        ("uid=1001(ann) gid=1001(ann) groups=1001(ann),990(other),27(sudo)", True),
        ("uid=1001(ann) gid=990(other) groups=990(other)", True),
        ("uid=1001(ann) gid=1001(ann) groups=1001(ann),990", True),
        ("uid=990(ann) gid=9900(two2) groups=9900(two2),4990(a one),7(domain users)", False),
        ("uid=1001(ann) gid=1(x) groups=1(x),990(two),77(the groups=7)", True),
        ("uid=990(two) gid=1001(x) groups=1001(x)", False),
        ("", False),
    ],
)
def test_the_stub_goes_by_gids_as_well_as_by_names(
    tree: Tree, fire: Fire, said: str, starts: bool
) -> None:
    tree.group("two", 990)
    config = Config(profiles=(Profile("a", "one"), Profile("b", "two")))
    actions = fire("entry", "on_setup", tree.host(), config)
    text = next(a.content for a in actions if isinstance(a, WriteFile) and "useradd-post" in a.path)
    decide = text[text.index("sftpjail_groups=") : text.index("# Only from useradd itself")]
    decide = decide.replace("/usr/bin/id", "id").replace("/var/lib", str(tree.root))
    script = (
        f"sftpjail_user=ann; named_since() {{ false; }}; look_again() {{ :; }}\n"
        f'id() {{ [ "$LC_ALL" = C ] && echo "{said}"; }}\n{decide}exit 3\n'
    )
    done = subprocess.run(["sh", "-c", script], check=False)
    assert done.returncode == (3 if starts else 0)


def test_on_setup_of_half_an_installation(tree: Tree, fire: Fire) -> None:
    (tree.root / f"{LIB}/entry/userdel-pre".lstrip("/")).unlink()
    with pytest.raises(
        SftpJailError, match="userdel-pre is missing: sftpjail is only partly installed"
    ):
        fire("entry", "on_setup", tree.host())


def test_on_setup_takes_out_of_usr_local_what_was_ours(tree: Tree, fire: Fire) -> None:
    tree.write(LOCAL[0], f"#!/bin/sh\n{BLOCK}echo mine\n", 0o755)
    tree.write(LOCAL[1], "#!/bin/sh\n# of an earlier version\n", 0o755)
    tree.write("/var/lib/sftpjail/host", f'{{"made": ["{LOCAL[1]}"]}}')
    actions = fire("entry", "on_setup", tree.host())
    assert [a for a in actions if isinstance(a, SetLines)] == [
        SetLines(LOCAL[0], "useradd-post", (), Style.TOP)
    ]
    # The engine removes only what the host's record calls ours.
    removed = [a for a in actions if isinstance(a, Remove) and not a.ours]
    assert [a.path for a in removed] == [*LOCAL, "/usr/local/sbin", "/usr/local"]


@pytest.mark.parametrize("mine", ["#!/bin/sh\necho mine\n", "#!/usr/bin/python3\nprint()\n"])
def test_on_setup_leaves_an_administrators_adduser_local_alone(
    tree: Tree, fire: Fire, mine: str
) -> None:
    tree.write(LOCAL[0], mine, 0o755)
    actions = fire("entry", "on_setup", tree.host())
    assert not [
        a for a in actions if isinstance(a, WriteFile | SetLines) and "/usr/local" in a.path
    ]


@pytest.mark.parametrize("booted", [True, False])
def test_on_setup_enables_what_is_not_enabled(tree: Tree, fire: Fire, booted: bool) -> None:
    units(tree, "paths.target.wants/sftpjail.path", booted=booted)
    (run,) = [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]
    now = ("--now",) if booted else ()
    assert (
        run.argv == ("/usr/sbin/systemctl", "enable", "--quiet", *now, "sftpjail.timer")
        and run.always
    )
    assert run.undo == ("/usr/sbin/systemctl", "disable", "--quiet", *now, "sftpjail.timer")


def test_a_masked_unit_loses_only_the_link_that_enabled_it(tree: Tree, fire: Fire) -> None:
    wants = "/etc/systemd/system/timers.target.wants"
    units(tree, "paths.target.wants/sftpjail.path", "timers.target.wants/sftpjail.timer")
    tree.write("/dev/null", "")
    (tree.root / "etc/systemd/system/sftpjail.timer").symlink_to("/dev/null")
    actions = fire("entry", "on_detach", tree.host())
    assert [a.argv[-1] for a in actions if isinstance(a, Run)] == ["sftpjail.path"]
    removed = [
        Remove(f"{wants}/sftpjail.timer", ours=True),
        Remove(wants, ours=True, directory=True),
    ]
    assert [a for a in actions if isinstance(a, Remove) and a.ours] == removed
    (tree.root / f"{wants}/sftpjail.timer".lstrip("/")).unlink()
    assert not [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]


def test_a_setup_ends_the_packages_attempts(tree: Tree, fire: Fire) -> None:
    assert Remove("/var/lib/sftpjail/wanted", ours=True) in fire("entry", "on_setup", tree.host())


def test_on_setup_without_systemd_or_units_runs_nothing(tree: Tree, fire: Fire) -> None:
    assert not [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]
    tree.program("systemctl")
    assert not [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]


def test_on_teardown_and_on_detach(tree: Tree, fire: Fire) -> None:
    tree.write(LOCAL[0], f"#!/bin/sh\n{BLOCK}echo mine\n")
    tree.write("/var/lib/sftpjail/host", f'{{"made": ["{LOCAL[1]}"]}}')
    units(tree, "paths.target.wants/sftpjail.path", "timers.target.wants/sftpjail.timer")
    *actions, last = fire("entry", "on_teardown", tree.host())
    assert last == Remove("/var/lib/sftpjail/metrics", ours=True)
    assert actions == fire("entry", "on_detach", tree.host())
    assert {a.path for a in actions if isinstance(a, Remove)} >= {
        *STUBS,
        *LOCAL,
        "/etc/shadow-maint",
        "/usr/local/sbin",
    }
    # What the host's record does not call ours stays.
    assert not any(a.ours for a in actions if isinstance(a, Remove))
    assert [a for a in actions if isinstance(a, SetLines)] == [
        SetLines(LOCAL[0], "useradd-post", (), Style.TOP)
    ]
    assert [a.argv[-1] for a in actions if isinstance(a, Run)] == [
        "sftpjail.path",
        "sftpjail.timer",
    ]


@pytest.mark.parametrize(
    ("asleep", "what", "fix"),
    [
        (["sftpjail.path"], "sftpjail.path does not run", "systemctl start sftpjail.path"),
        (
            ["sftpjail.path", "sftpjail.timer"],
            "sftpjail.path and sftpjail.timer do not run",
            "systemctl start sftpjail.path sftpjail.timer",
        ),
    ],
)
def test_on_check_of_units_that_sleep(
    tree: Tree, fire: Fire, programs: Programs, asleep: list[str], what: str, fix: str
) -> None:
    units(tree, booted=True)
    for unit in asleep:
        programs.answer("is-active", "--quiet", unit, code=3)
    programs.answer("is-active")
    assert fire("entry", "on_check", tree.host(), account=None) == [
        Problem(what, "members of a group that come by no hook get no jail", fix)
    ]


def test_on_check_of_units_that_are_awake_or_not_wanted(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    assert fire("entry", "on_check", tree.host(), account=None) == [], "no systemd"
    tree.directory("/run/systemd/system")
    assert fire("entry", "on_check", tree.host(), account=None) == [] and programs.asked == [], (
        "not installed"
    )
    units(tree, booted=True)
    programs.answer("is-active")
    assert fire("entry", "on_check", tree.host(), account=None) == [] and len(programs.asked) == 2
    assert fire("entry", "on_check", tree.host(), account=ann()) == [] and len(programs.asked) == 2


PROM = "/var/lib/prometheus/node-exporter/sftpjail.prom"
WITH_FILE = Config(metrics=Metrics(PROM))


def test_the_timer_for_metrics_runs_where_there_is_a_file(tree: Tree, fire: Fire) -> None:
    units(tree, "paths.target.wants/sftpjail.path", "timers.target.wants/sftpjail.timer")
    assert not [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]
    (run,) = [a for a in fire("entry", "on_setup", tree.host(), WITH_FILE) if isinstance(a, Run)]
    assert run.argv[1:] == ("enable", "--quiet", "sftpjail-metrics.timer")
    tree.write("/etc/systemd/system/timers.target.wants/sftpjail-metrics.timer", "")
    assert not [a for a in fire("entry", "on_setup", tree.host(), WITH_FILE) if isinstance(a, Run)]
    (run,) = [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]
    assert run.argv[1:] == ("disable", "--quiet", "sftpjail-metrics.timer")
    stopped = [a.argv[-1] for a in fire("entry", "on_detach", tree.host()) if isinstance(a, Run)]
    assert stopped == ["sftpjail.path", "sftpjail.timer", "sftpjail-metrics.timer"]


@pytest.mark.parametrize("text", ["# HELP sftpjail_build_info The version.\n", "mine\n"])
def test_metrics_that_nobody_writes_any_more_go(tree: Tree, fire: Fire, text: str) -> None:
    def removed(hook: str, config: Config) -> bool:
        return Remove(PROM, ours=True) in fire("entry", hook, tree.host(), config)

    assert not removed("on_setup", Config()) and not removed("on_teardown", Config())
    tree.write("/var/lib/sftpjail/metrics", as_text(Totals(PROM)))
    tree.write(PROM, text)
    ours = text != "mine\n"
    assert removed("on_setup", Config()) == ours and not removed("on_setup", WITH_FILE)
    assert removed("on_setup", Config(metrics=Metrics("/other.prom"))) == ours
    assert removed("on_teardown", WITH_FILE) == removed("on_detach", WITH_FILE) == ours


def test_on_check_of_a_timer_for_metrics_that_sleeps(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    units(tree, booted=True)
    programs.answer("is-active", "--quiet", "sftpjail-metrics.timer", code=3)
    programs.answer("is-active")
    assert fire("entry", "on_check", tree.host(), account=None) == []
    (problem,) = fire("entry", "on_check", tree.host(), WITH_FILE, account=None)
    assert problem.what == "sftpjail-metrics.timer does not run"
    assert problem.why == "the metrics are old"


WATCHED = Config(events=Events("hooks"))


def test_the_watcher_runs_where_a_user_is_configured(tree: Tree, fire: Fire) -> None:
    units(tree, "paths.target.wants/sftpjail.path", "timers.target.wants/sftpjail.timer")
    (run,) = [a for a in fire("entry", "on_setup", tree.host(), WATCHED) if isinstance(a, Run)]
    assert run.argv[1:] == ("enable", "--quiet", WATCH)
    tree.write(f"/etc/systemd/system/multi-user.target.wants/{WATCH}", "")
    assert not [a for a in fire("entry", "on_setup", tree.host(), WATCHED) if isinstance(a, Run)]
    (run,) = [a for a in fire("entry", "on_setup", tree.host()) if isinstance(a, Run)]
    assert run.argv[1:] == ("disable", "--quiet", WATCH)


def test_on_check_of_a_watcher_that_does_not_run(
    tree: Tree, fire: Fire, programs: Programs
) -> None:
    (problem,) = fire("entry", "on_check", tree.host(), WATCHED, account=None)
    assert problem.severity == "advice" and "sftpjail watch does not run" in problem.what
    tree.write("/run/sftpjail/watch", "12\n")
    tree.write("/proc/12/cmdline", "/usr/bin/python3\0-IS\0/usr/bin/sftpjail\0watch\0")
    assert fire("entry", "on_check", tree.host(), WATCHED, account=None) == []
    units(tree, booted=True)
    programs.answer("is-active", "--quiet", WATCH, code=3)
    programs.answer("is-active")
    (problem,) = fire("entry", "on_check", tree.host(), WATCHED, account=None)
    assert problem.fix == f"systemctl start {WATCH}"


def test_what_the_watcher_keeps_goes_and_what_lies_aside_stays(tree: Tree, fire: Fire) -> None:
    place = "/var/lib/sftpjail/events"
    for name in ("queue.3", "done.3", "aside/1-2-3", "again/4"):
        tree.write(f"{place}/{name}", "")
    removed = [a for a in fire("entry", "on_teardown", tree.host()) if isinstance(a, Remove)]
    assert [a.path for a in removed if a.path.startswith(place) and not a.directory] == [
        f"{place}/done.3",
        f"{place}/queue.3",
    ]
    assert [a.path for a in removed if a.path.startswith(place) and a.directory] == [
        f"{place}/aside",
        f"{place}/again",
        place,
    ]


@pytest.mark.real_program
@pytest.mark.parametrize(
    ("text", "groups", "starts"),
    [
        ("[profiles]\n[[partners]]\n", "1(u),7(domain users),990(partners)", True),
        (
            "[profiles]\n[ [partners] ]\nchroot = /x/%u\n",
            "1(u),7(domain users),990(partners)",
            True,
        ),
        ("[profiles]\n[[partners]]\n", "1(u),7(domain users),990(sftponly)", False),
        ("", "1(u),7(domain users),990(sftponly)", True),
        ("x = '''\na partners\n'''\n", "1(u),7(domain users),990(partners)", True),
        ("x = '''\na partners\n'''\n", "1(u),7(domain users),990(others)", False),
    ],
)
def test_useradds_hook_starts_python_for_names_of_the_file(
    tmp_path: Path, text: str, groups: str, starts: bool
) -> None:
    (tmp_path / "conf").write_text(text)
    hook = (HOOKS / "useradd-post").read_text()
    found = re.search(r"^named_since\(\).*?^\)$", hook, re.MULTILINE | re.DOTALL)
    assert found
    script = found[0].replace("/etc/sftpjail/sftpjail.conf", f"{tmp_path}/conf")
    argv = ["sh", "-c", f'sftpjail_user=u\n{script}\nnamed_since "$1"', "sh", groups]
    assert (subprocess.run(argv, check=False).returncode == 0) == starts
