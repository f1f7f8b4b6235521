"""All or nothing: commits, failures at every step, and deaths at every call that changes something."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeHost, Programs
from furnished import MAP, MakeWorld, committed, everything, worlds
from whole import ALL
from world import Death, World

from sftpjail.actions import (
    Action,
    AddAccount,
    Check,
    EndProcesses,
    MakeDir,
    Mount,
    Notify,
    Remove,
    Rename,
    SetAccount,
    SetComment,
    SetExpiry,
    SetGroup,
    SetLines,
    SetOwner,
    WriteFile,
)
from sftpjail.engine import transaction
from sftpjail.engine.engine import Engine
from sftpjail.engine.journal import Journal
from sftpjail.engine.kinds import accounts as accounts_kind
from sftpjail.engine.kinds import kind_of
from sftpjail.engine.kinds.programs import judge
from sftpjail.engine.plan import OnUserCreate, Plan
from sftpjail.errors import RollbackIncomplete, SftpJailError
from sftpjail.model import Account
from sftpjail.system import files
from sftpjail.system.programs import Answer

__all__ = ["worlds"]

EARLY = 6
# The steps from which on files are written out together, and whether a call that failed once always fails.
FAILURES = pytest.mark.parametrize(
    ("many", "sticky"),
    [(32, False), (0, True), *([(32, True), (0, False)] if ALL else [])],
    indirect=["many"],
    ids=["few-once", "many-for-good", *(["few-for-good", "many-once"] if ALL else [])],
)


def apply(world: World, wanted: Callable[[World], list[Action]] = everything) -> list[str]:
    engine, plan = world.plan(wanted)
    return engine.apply(plan)


def outcome(worlds: MakeWorld) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]:
    """Return the world before, the world after, and every call in between."""
    world = worlds()
    before = world.snapshot()
    apply(world)
    return plain(before), plain(world.snapshot()), list(world.syscalls.calls)


def plain(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot that can be compared with that of another world: without its directory's name and new times."""
    place = next(p for p in snapshot["mounts"] if p.endswith("/jail/flags")).removesuffix(
        "/root/jail/flags"
    )
    same: dict[str, Any] = elsewhere(snapshot, place)
    for name, about in same["files"].items():
        if len(about) == 7 and about[4] > 1_600_000_000_000_000_000:
            same["files"][name] = (*about[:4], "new", *about[5:])
    return same


def elsewhere(value: Any, place: str) -> Any:
    """Return a value of a snapshot with a directory's name replaced wherever it stands."""
    if isinstance(value, str):
        return value.replace(place, "WORLD")
    if isinstance(value, bytes):
        return value.replace(place.encode(), b"WORLD")
    if isinstance(value, tuple | list):
        return type(value)(elsewhere(part, place) for part in value)
    if isinstance(value, dict):
        return {elsewhere(k, place): elsewhere(v, place) for k, v in value.items()}
    return value


def deaths(calls: Sequence[tuple[str, str]]) -> list[int]:
    """Return the numbers of the calls at which to die: all at which a death leaves something else.

    fsync(2) is only counted in a world, so who dies right after it leaves what who dies at it leaves.
    """
    numbers = range(1, len(calls) + 1)
    return [n for n in numbers if n == 1 or calls[n - 2][0] != "fsync"]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return what differs, short enough to read."""
    found = [
        f"{key}: {one[key]} != {other[key]}"
        for key in one
        if key != "files" and one[key] != other[key]
    ]
    for name in sorted(one["files"].keys() | other["files"].keys()):
        a, b = one["files"].get(name), other["files"].get(name)
        if a != b:
            found.append(f"{name}: {a} != {b}")
    return found


def die(engine: Engine, plan: Plan) -> None:
    """Apply a plan in a world that has a death ahead; what the dead still says is of no account."""
    with pytest.raises((Death, SftpJailError, OSError)):
        engine.apply(plan)


@pytest.fixture(params=[32, 0], ids=["few", "many"])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above so many steps the files of a phase are written out together: for tests, an fsync(2) of each."""
    monkeypatch.setattr(transaction, "_MANY", request.param)
    real = files.sync_systems

    def sync(directories: Iterable[str]) -> None:
        found = list(directories)
        real(found)
        watch = files.os.watch  # type: ignore[attr-defined]
        if isinstance(watch, Names):
            watch.dirty.clear()
            return
        for directory in filter(os.path.isdir, found):
            for path in Path(directory).glob("*.sftpjail-new~"):
                watch("fsync", str(path))

    monkeypatch.setattr(files, "sync_systems", sync)


def test_a_commit_is_what_was_planned_and_a_second_plan_is_empty(worlds: MakeWorld) -> None:
    world = worlds()
    assert apply(world) == []
    seen = {
        name: (world.root / name)
        for name in ("new", "attributes", "strict", "shared", "made-for-lines")
    }
    assert seen["new"].read_text() == "new\n" and seen["new"].stat().st_mode & 0o7777 == 0o600
    assert (
        seen["attributes"].read_text() == "newer\n"
        and seen["attributes"].stat().st_mode & 0o7777 == 0o640
    )
    assert seen["strict"].read_text() == "newer\n" and (world.root / "through").is_symlink()
    assert seen["shared"].read_text().startswith("theirs 1\ntheirs 2\n# BEGIN sftpjail tag\n")
    assert not os.path.lexists(world.path("ours-alone")) and not os.path.lexists(
        world.path("leaves")
    )
    assert not os.path.lexists(world.path("link")) and not os.path.lexists(world.path("jail/old"))
    assert (world.root / "home/keys.moved").read_text() == "key\n"
    assert (world.root / "loose").stat().st_mode & 0o7777 == 0o755
    assert (world.root / "jail/home/inner").stat().st_mode & 0o7777 == 0o700
    assert world.mounts == {
        world.path("jail/home"): (world.path("src"), ("nosuid", "nodev")),
        world.path("jail/flags"): (world.path("jail/flags"), ("nosuid", "nodev", "ro")),
        world.path("jail/mapped"): (world.path("old-src"), ("nosuid", "nodev", MAP)),
    }
    assert world.people["worldling"]["--shell"] == "/usr/sbin/nologin"
    assert world.groups["newgroup"][1] == ["worldling"] and world.groups["oldgroup"][1] == []
    assert world.registered
    assert not list(world.root.rglob(".*sftpjail*")) and not (world.state / "journal").exists()

    before = world.snapshot()
    engine, plan = world.plan(everything)
    assert [step.action for step in plan.steps] == []
    assert engine.apply(plan) == []
    assert world.snapshot() == before


def test_the_record_says_what_was_there(worlds: MakeWorld) -> None:
    world = worlds()
    apply(world)
    record = json.loads((world.state / "accounts/worldling").read_text())
    assert record["was"] == {"shell": "/bin/bash"}
    assert record["owners"] == {world.path("loose"): [0, 0, 0o770]}
    assert record["renamed"] == {
        world.path("home/keys.moved"): world.path("home/keys"),
        world.path("jail/crontab"): world.path("spool/crontab"),
    }
    assert set(record["made"]) == {
        world.path(p) for p in ("jail/home", "jail/home/inner", "new")
    } | {"group:newgroup"}
    # What is shared belongs to the host's record, and goes with its last user.
    assert json.loads((world.state / "host").read_text()) == {
        "made": [world.path("made-for-lines")]
    }


def test_extended_attributes_stay(worlds: MakeWorld) -> None:
    world = worlds()
    if not os.listxattr(world.path("attributes")):
        pytest.skip("this file system has no user attributes")
    apply(world)
    assert os.getxattr(world.path("attributes"), "user.origin") == b"vendor"


def test_a_dry_run_touches_nothing(worlds: MakeWorld) -> None:
    world = worlds()
    before = world.snapshot()
    engine, plan = world.plan(everything)
    text = plan.diff(engine.host)
    assert f"+ directory {world.path('jail/home')} (owner 0:0, mode 0755)" in text
    assert "+ours 1" in text and f"- file {world.path('link')}" in text
    assert plan.describe()
    assert world.snapshot() == before and world.syscalls.calls == []


@pytest.mark.parametrize(
    "program", ["mount", "umount", "usermod", "gpasswd", "groupadd", "register", "ask"]
)
def test_a_program_that_refuses_rolls_everything_back(worlds: MakeWorld, program: str) -> None:
    world = worlds()
    before = world.snapshot()
    world.refuse = (program,)
    with pytest.raises(SftpJailError) as caught:
        apply(world)
    # Some are needed for the way back too; then the next run goes on.
    needed = program in ("mount", "register")
    assert isinstance(caught.value, RollbackIncomplete) == needed
    assert (differences(before, world.snapshot()) != []) == needed
    world.refuse = ()
    world.recover()
    assert differences(before, world.snapshot()) == []


@pytest.mark.usefixtures("many")
@FAILURES
def test_every_call_may_fail_once_or_for_good(worlds: MakeWorld, sticky: bool) -> None:
    before, after, calls = outcome(worlds)
    wrong = []
    for number in range(1, len(calls) + 1):
        world = worlds()
        engine, plan = world.plan(everything)
        world.syscalls.fail_at, world.syscalls.sticky = number, sticky
        try:
            engine.apply(plan)
            wanted = after
        except (SftpJailError, OSError) as error:
            wanted = before
            left = differences(plain(world.snapshot()), before)
            if not isinstance(error, RollbackIncomplete) and (left or world.interrupted()):
                wrong.append(
                    f"call {number}, {calls[number - 1]}: {error}: says it put all back: {left}"
                )
        world.recover()
        left = differences(plain(world.snapshot()), wanted)
        if left or world.interrupted():
            wrong.append(f"call {number}, {calls[number - 1]}: {left}")
    assert wrong == []


@pytest.mark.usefixtures("many")
def test_death_at_every_call_leaves_before_or_after(worlds: MakeWorld) -> None:
    before, after, calls = outcome(worlds)
    wrong = []
    for number in deaths(calls):
        world = worlds()
        engine, plan = world.plan(everything)
        world.syscalls.die_at = number
        die(engine, plan)
        wanted = after if committed(world) else before
        # At the very end the log is gone already: all that was to do is done.
        if not (world.state / "journal").exists() and number > len(calls) - 8:
            wanted = after
        world.recover()
        left = differences(plain(world.snapshot()), wanted)
        if bool(world.history()) != (wanted is after):
            left.append(f"the history has {world.history()}")
        if number <= EARLY:  # the directory of the log is made before there is a log
            left = [line for line in left if not line.startswith("state/sftpjail: ")]
        if left:
            wrong.append(f"call {number}, {calls[number - 1]}: {left}")
        if world.recover():
            wrong.append(
                f"call {number}, {calls[number - 1]}: there was something to recover twice"
            )
    assert wrong == []


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_death_during_the_recovery_at_every_call(worlds: MakeWorld, share: float) -> None:
    before, after, calls = outcome(worlds)
    first = max(n for n, call in enumerate(calls) if call[0] == "write")  # the commit
    death = int(first * share) + (2 if share == 1.0 else 0)
    wrong, number, following = [], 0, 1
    while number != following:
        number = following
        world = worlds()
        engine, plan = world.plan(everything)
        world.syscalls.die_at = death
        die(engine, plan)
        wanted = after if committed(world) else before
        world.syscalls.revive()
        world.syscalls.die_at = number
        try:
            Journal(str(world.state)).recover()
        except Death:
            following = world.syscalls.next_death()
            world.recover()
            left = differences(plain(world.snapshot()), wanted)
            if left:
                wrong.append(f"death at {death}, then at {number}: {left}")
    assert number > 5
    assert wrong == []


def pair(world: World) -> list[Action]:
    """Changes of two accounts, which need no program for each."""
    return [
        SetAccount("worldling", shell="/usr/sbin/nologin"),
        SetExpiry("stray", expire="20000"),
        SetComment("stray", comment="Stray, of nobody"),
    ]


def with_stray(world: World) -> World:
    """A world with a second account."""
    world.people["stray"] = dict.fromkeys(("--home", "--expiredate"), "")
    world.people["stray"] |= {"--shell": "/bin/sh", "--gid": "4003"}
    world._play()
    return world


def lines_of(world: World) -> list[str]:
    """passwd(5) and shadow(5), and what lies beside them."""
    etc = world.played / "etc"
    return [*((etc / name).read_text() for name in ("passwd", "shadow")), *sorted(os.listdir(etc))]


def test_many_accounts_are_one_edit_that_is_whole_at_every_death(
    worlds: MakeWorld, programs: Programs
) -> None:
    """As is a recovery that dies, too."""
    world = with_stray(worlds())
    before = lines_of(world)
    apply(world, pair)
    after, calls = lines_of(world), list(world.syscalls.calls)
    assert programs.asked == [], "no program for each"
    assert ":Stray, of nobody:" in after[0] and "/usr/sbin/nologin" in after[0]
    assert "stray:*:1:0:9:7::20000:" in after[1] and "worldling:*:1:0:9:7:::" in after[1]
    for number in deaths(calls):
        world = with_stray(worlds())
        engine, plan = world.plan(pair)
        world.syscalls.die_at = number
        die(engine, plan)
        wanted = after if committed(world) or number > len(calls) - 4 else before
        again = number // 2  # the recovery dies as well, at some of its calls
        world.syscalls.revive()
        world.syscalls.die_at = again
        with contextlib.suppress(Death, SftpJailError, OSError):
            Journal(str(world.state)).recover()
        world.recover()
        assert lines_of(world) == wanted, (number, calls[number - 1], again)
    assert not any(argv[0] == "usermod" for argv in programs.asked)


def test_one_account_is_changed_by_usermod(worlds: MakeWorld, programs: Programs) -> None:
    apply(with_stray(worlds()), lambda world: pair(world)[1:2])
    assert [argv[0] for argv in programs.asked] == ["usermod"]


def test_an_account_that_is_gone_fails_the_edit(worlds: MakeWorld) -> None:
    for line in ("", "stray:x:7:7:::/bin/sh\n"):
        world = with_stray(worlds())
        engine, plan = world.plan(pair)
        passwd = world.played / "etc/passwd"
        passwd.write_text(passwd.read_text().replace("stray:x:4001:4003:::/bin/sh\n", line))
        before = lines_of(world)
        with pytest.raises(SftpJailError, match="removed or changed the account stray") as caught:
            engine.apply(plan)
        assert caught.value.owner == "stray" and lines_of(world) == before


def test_a_move_to_another_file_system_is_whole_at_every_death(worlds: MakeWorld) -> None:
    """rename(2) says EXDEV there: a copy takes its place, and the first version goes last."""

    paths: list[str] = []

    def far(name: str, path: str) -> None:
        """It is called with the first name and then with the second one."""
        paths.append(path if name == "rename" else "")
        if all(paths[-2:]) and len({os.path.dirname(path) for path in paths[-2:]}) == 2:
            paths.clear()
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def move(world: World) -> list[Action]:
        world.syscalls.watch = far
        return [Rename(world.path("spool/crontab"), world.path("jail/crontab"))]

    world = worlds()
    before = plain(world.snapshot())
    apply(world, move)
    moved = world.root / "jail/crontab"
    assert moved.read_text() == "@daily x\n" and not (world.root / "spool/crontab").exists()
    assert moved.stat().st_mtime_ns == 1_500_000_000_123_456_789
    after, calls = plain(world.snapshot()), list(world.syscalls.calls)
    wrong = []
    for number in deaths(calls):
        world = worlds()
        engine, plan = world.plan(move)
        world.syscalls.die_at = number
        die(engine, plan)
        wanted = after if committed(world) else before
        if not (world.state / "journal").exists() and number > len(calls) - 8:
            wanted = after
        world.recover()
        left = differences(plain(world.snapshot()), wanted)
        wrong += [
            f"call {number}: {line}" for line in left if not line.startswith("state/sftpjail: ")
        ]
    assert wrong == []


# -- stages that change one file more than once ----------------------------------------------------


def once(world: World) -> list[Action]:
    path = world.path
    return [
        SetLines(path("shared"), "tag", ("ours 1",)),
        SetLines(path("made-for-lines"), "tag", ("ours 1",)),
        WriteFile(path("new"), "new\n", mode=0o600),
        WriteFile(path("through"), "newer\n"),
        WriteFile(path("attributes"), "newer\n", keep=True),
        Remove(path("leaves/file"), ours=True),
        Remove(path("link"), ours=True),
        Remove(path("comes-again"), ours=True),
        MakeDir(path("goes-again")),
    ]


def once_more(world: World) -> list[Action]:
    path = world.path
    return [
        SetLines(path("shared"), "tag", ("ours 2",)),
        SetLines(path("shared"), "other", ("ours 3",)),
        SetLines(path("made-for-lines"), "tag", ("ours 2",)),
        WriteFile(path("new"), "newest\n", mode=0o640),
        WriteFile(path("strict"), "newest\n"),
        Remove(path("attributes"), ours=True),
        WriteFile(path("leaves/file"), "another\n"),
        Remove(path("link"), ours=True),
        MakeDir(path("comes-again"), 0o700),
        Remove(path("goes-again"), ours=True),
    ]


def at_last(world: World) -> list[Action]:
    path = world.path
    return [
        *once_more(world)[:3],
        Remove(path("new"), ours=True),
        WriteFile(path("attributes"), "back\n"),
        Remove(path("leaves/file"), ours=True),
        Check(("/ask", "-t"), "must be well"),
    ]


def staged(world: World) -> Callable[[], list[str]]:
    """Return what applies `once`, `once_more` and `at_last` as three stages of one transaction."""
    wanted = [once]

    def stage(fresh: Engine, what: Callable[[World], list[Action]]) -> Plan:
        wanted.append(what)
        return fresh.plan([OnUserCreate(Account("worldling", 4001, 4001, "/home/w"), new=True)])

    engine, plan = world.plan(lambda world: wanted[-1](world))
    return lambda: engine.apply(
        plan, lambda fresh: stage(fresh, once_more), lambda fresh: stage(fresh, at_last)
    )


def staged_outcome(
    worlds: MakeWorld,
) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]:
    world = worlds()
    before = plain(world.snapshot())
    staged(world)()
    return before, plain(world.snapshot()), list(world.syscalls.calls)


def test_stages_may_change_one_file_more_than_once(worlds: MakeWorld) -> None:
    world = worlds()
    staged(world)()
    root = world.root
    assert (root / "shared").read_text().count("ours 2\n") == 1 and "ours 3" in (
        root / "shared"
    ).read_text()
    assert (root / "strict").read_text() == "newest\n"
    assert (root / "attributes").read_text() == "back\n"
    assert (root / "comes-again").is_dir()
    for name in ("new", "link", "leaves/file", "goes-again"):
        assert not os.path.lexists(root / name), name
    assert not list(root.rglob(".*sftpjail*")) and not world.interrupted()


def test_stages_that_fail_leave_what_was_before_the_first(worlds: MakeWorld) -> None:
    world = worlds()
    before = world.snapshot()
    world.refuse = ("ask",)
    with pytest.raises(SftpJailError, match="must be well"):
        staged(world)()
    assert differences(before, world.snapshot()) == [] and not world.interrupted()


@pytest.mark.usefixtures("many")
def test_stages_are_whole_or_not_at_all_at_every_death(worlds: MakeWorld) -> None:
    before, after, calls = staged_outcome(worlds)
    wrong = []
    for number in deaths(calls):
        world = worlds()
        apply_all = staged(world)
        world.syscalls.die_at = number
        with pytest.raises((Death, SftpJailError, OSError)):
            apply_all()
        wanted = after if committed(world) else before
        world.recover()
        left = differences(plain(world.snapshot()), wanted)
        if number <= EARLY:  # the directory of the log is made before there is a log
            left = [line for line in left if not line.startswith("state/sftpjail: ")]
        if left or world.recover():
            wrong.append(f"call {number}, {calls[number - 1]}: {left}")
    assert wrong == []


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("share", [0.7, 1.0])
def test_stages_that_died_are_put_back_by_a_recovery_that_died(
    worlds: MakeWorld, share: float
) -> None:
    before, _, calls = staged_outcome(worlds)
    commit = next(
        n for n, call in enumerate(calls, 1) if call[0] == "write" and "/history/" in call[1]
    )
    wrong, number, following = [], 0, 1
    while number != following:
        number = following
        world = worlds()
        apply_all = staged(world)
        world.syscalls.die_at = int(commit * share)
        with pytest.raises((Death, SftpJailError, OSError)):
            apply_all()
        world.syscalls.revive()
        world.syscalls.die_at = number
        try:
            Journal(str(world.state)).recover()
        except Death:
            following = world.syscalls.next_death()
            world.recover()
            left = differences(plain(world.snapshot()), before)
            wrong += [f"death at {number} of the recovery: {left}"] if left else []
    assert number > 5 and wrong == []


@pytest.mark.usefixtures("many")
@FAILURES
def test_stages_may_fail_at_every_call(worlds: MakeWorld, sticky: bool) -> None:
    before, after, calls = staged_outcome(worlds)
    wrong = []
    for number in range(1, len(calls) + 1):
        world = worlds()
        apply_all = staged(world)
        world.syscalls.fail_at, world.syscalls.sticky = number, sticky
        try:
            apply_all()
            wanted = after
        except (SftpJailError, OSError):
            wanted = before
        world.recover()
        left = differences(plain(world.snapshot()), wanted)
        if left or world.interrupted():
            wrong.append(f"call {number}, {calls[number - 1]}: {left}")
    assert wrong == []


@pytest.mark.parametrize("name", ["shared", "strict", "attributes"])
def test_an_edit_after_stages_that_died_is_kept(worlds: MakeWorld, name: str) -> None:
    """Of a file with lines of ours all of these go; a file of ours lies beside its old version."""
    world = worlds()
    apply_all = staged(world)

    def edit(call: str, path: str) -> None:
        if call == "run" and "/ask" in path:
            with (world.root / name).open("a") as handle:
                handle.write("an administrator's\n")
            world.syscalls.dead = True
            raise Death(call)

    world.syscalls.watch = edit
    with pytest.raises(Death):
        apply_all()
    world.recover()
    text = (world.root / name).read_text()
    assert text.endswith("an administrator's\n")
    if name == "shared":
        assert text == "theirs 1\ntheirs 2\nan administrator's\n"
    if name == "strict":
        assert (world.root / "strict.sftpjail-before").read_text() == "old\n"


def test_a_torn_log_line_was_never_followed_by_its_step(worlds: MakeWorld) -> None:
    before, after, calls = outcome(worlds)
    writes = [
        n
        for n, (name, path) in enumerate(calls, 1)
        if name == "write" and path.endswith("/journal")
    ]
    assert len(writes) > 5
    wrong = []
    for number in writes:
        for torn in (0, 1, 5, 30, 100):
            world = worlds()
            engine, plan = world.plan(everything)
            world.syscalls.die_at, world.syscalls.torn = number, torn
            die(engine, plan)
            wanted = after if committed(world) else before
            world.recover()
            left = differences(plain(world.snapshot()), wanted)
            if left:
                wrong.append(f"write {number} torn at {torn}: {left}")
    assert wrong == []


def test_a_disk_that_takes_half_of_the_log_does_not_lose_an_undo(worlds: MakeWorld) -> None:
    """write(2) on a full disk writes what fits and says so, without an error."""
    before, after, calls = outcome(worlds)
    writes = [
        n
        for n, (name, path) in enumerate(calls, 1)
        if name == "write" and path.endswith("/journal")
    ]
    wrong = []
    for number in writes:
        for later in (3, 8):
            world = worlds()
            engine, plan = world.plan(everything)
            world.syscalls.short_at = number
            world.syscalls.die_at = number + later
            wanted = before
            with contextlib.suppress(Death, SftpJailError):
                engine.apply(plan)
                wanted = after
            if committed(world):
                wanted = after
            world.recover()
            left = differences(plain(world.snapshot()), wanted)
            if left:
                wrong.append(f"short write {number}, death {later} later: {left}")
    assert wrong == []


def test_the_undo_is_on_the_disk_before_each_step(worlds: MakeWorld) -> None:
    world = worlds()
    engine, plan = world.plan(everything)
    journal = world.state / "journal"
    synced = {"size": 0}
    unrecorded = []

    def watch(name: str, path: str) -> None:
        if name == "fsync" and path == str(journal):
            synced["size"] = journal.stat().st_size
        if path.startswith(str(world.root)) and name not in ("fsync", "write"):
            undos = [json.loads(line) for line in journal.read_text().splitlines()]
            known = {undo.get("path") for undo in undos} | {undo.get("to") for undo in undos}
            known |= {files.backup_name(p) for p in known if p} | {
                files.stage_name(p) for p in known if p
            }
            if path not in known or synced["size"] != journal.stat().st_size:
                unrecorded.append((name, path))
        if name == "run" and not any(word in path for word in ("/ask",)):
            operations = {json.loads(line).get("op") for line in journal.read_text().splitlines()}
            wanted = {
                "mount": {"mount"},
                "remount": {"mount"},
                "umount": {"unmount"},
                "usermod": {"account"},
                "gpasswd": {"account"},
            }
            wanted |= {"groupadd": {"group"}, "/register": {"run"}}
            if not wanted[path.split()[0]] <= operations:
                unrecorded.append((name, path))

    world.syscalls.watch = watch
    engine.apply(plan)
    assert unrecorded == []


def test_one_fsync_of_the_log_for_a_batch(worlds: MakeWorld) -> None:
    world = worlds()
    apply(world, lambda w: [WriteFile(w.path(f"many{n}"), "x\n") for n in range(50)])
    syncs = [
        path
        for name, path in world.syscalls.calls
        if name == "fsync" and path == str(world.state / "journal")
    ]
    assert len(syncs) == 2, "the undos of the directory of records, and of the files"
    commits = [
        path
        for name, path in world.syscalls.calls
        if name == "fsync" and path.startswith(f"{world.state}/history/")
    ]
    assert len(commits) == 1, "its line in the history is the commit"
    directories = [
        path for name, path in world.syscalls.calls if name == "fsync" and path == str(world.root)
    ]
    assert len(directories) == 1


def test_the_error_is_the_first_one(worlds: MakeWorld) -> None:
    world = worlds()
    engine, plan = world.plan(everything)
    world.syscalls.fail_at = 1
    with pytest.raises(SftpJailError, match="No space left on device"):
        engine.apply(plan)


def test_an_old_version_keeps_its_time_in_a_rollback(worlds: MakeWorld) -> None:
    world = worlds()
    before = {
        p: (os.stat(p).st_mtime_ns, os.stat(p).st_ino)
        for p in map(world.path, ("shared", "attributes", "strict"))
    }
    world.refuse = ("ask",)
    with pytest.raises(SftpJailError, match="must be well"):
        apply(world)
    assert {p: (os.stat(p).st_mtime_ns, os.stat(p).st_ino) for p in before} == before


def test_the_owner_of_a_link_is_never_changed(worlds: MakeWorld) -> None:
    world = worlds()
    (world.root / "home-link").symlink_to("loose")
    before = world.snapshot()
    with pytest.raises(SftpJailError, match="symbolic link"):
        apply(world, lambda _: [SetOwner(world.path("home-link"), 0, 0, 0o711)])
    assert differences(before, world.snapshot()) == []


def test_nothing_is_overwritten_by_a_rename(worlds: MakeWorld) -> None:
    world = worlds()
    (world.root / "home/keys.moved").write_text("theirs\n")
    before = world.snapshot()
    with pytest.raises(SftpJailError, match="in the way"):
        apply(world)
    assert differences(before, world.snapshot()) == []


def test_a_rename_that_never_began_is_not_undone_over_a_file(
    worlds: MakeWorld,
) -> None:
    world = worlds()
    (world.root / "there").write_text("theirs\n")
    journal = Journal(str(world.state))
    journal.record(
        [{"op": "rename", "path": world.path("gone-meanwhile"), "to": world.path("there")}]
    )
    world.recover()
    assert (world.root / "there").read_text() == "theirs\n"


def test_a_full_directory_is_never_removed(worlds: MakeWorld) -> None:
    world = worlds()
    (world.root / "leaves/theirs").write_text("data\n")
    apply(world)
    assert (world.root / "leaves/theirs").read_text() == "data\n"


def test_an_incomplete_rollback_says_so_and_the_next_run_goes_on(
    worlds: MakeWorld,
) -> None:
    world = worlds()
    before = world.snapshot()
    engine, plan = world.plan(everything)
    world.refuse = ("register", "umount")
    for name in ("jail/old", "jail/mapped"):  # so that only the undo needs umount
        world.mounts.pop(world.path(name))
    world._play()
    engine, plan = world.plan(everything)
    with pytest.raises(RollbackIncomplete) as caught:
        engine.apply(plan)
    assert caught.value.exit_code == 4
    assert world.path("jail/home") in caught.value.message and "refused" in caught.value.message
    assert (world.state / "journal").exists()
    with pytest.raises(RollbackIncomplete):
        world.recover()
    world.refuse = ()
    assert world.recover()
    for name in ("jail/old", "jail/mapped"):
        before["mounts"].pop(world.path(name))
    assert differences(before, world.snapshot()) == []


def test_on_applied_and_on_failed_are_told(worlds: MakeWorld) -> None:
    from sftpjail import hookimpl

    heard: list[tuple[str, str, str]] = []

    class Listener:
        @hookimpl
        def on_applied(self, event: str, account: Any, plan: Any) -> None:
            heard.append(("applied", event, account.name))
            raise ValueError("a listener breaks")

        @hookimpl
        def on_failed(self, event: str, account: Any, error: BaseException) -> None:
            heard.append(("failed", event, str(error)))

    world = worlds()
    engine, plan = world.plan(everything)
    engine.manager.plugins.register(Listener(), "listener")
    assert engine.apply(plan) == [
        "plugin listener: on_applied broke: ValueError: a listener breaks"
    ]
    world = worlds()
    world.refuse = ("ask",)
    engine, plan = world.plan(everything)
    engine.manager.plugins.register(Listener(), "listener")
    with pytest.raises(SftpJailError, match="must be well"):
        engine.apply(plan)
    assert heard[0] == ("applied", "on_user_create", "worldling")
    assert heard[1][:2] == ("failed", "on_user_create") and "must be well" in heard[1][2]


def across(world: World) -> list[Action]:
    """Move a file to another file system, as far as rename(2) can tell."""
    names: list[str] = []

    def far(name: str, path: str) -> None:
        names.append(path if name == "rename" else "")
        if all(names[-2:]) and len({os.path.dirname(path) for path in names[-2:]}) == 2:
            names.clear()
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    world.far = far  # type: ignore[attr-defined]
    return [Rename(world.path("spool/crontab"), world.path("jail/crontab"))]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("wanted", [everything, across])
def test_a_file_is_whole_on_the_disk_before_its_name(
    worlds: MakeWorld, wanted: Callable[[World], list[Action]]
) -> None:
    """Content, owner, mode and attributes: fsync(2) comes after them, and rename(2) after that."""
    world = worlds()
    engine, plan = world.plan(wanted)
    whole: dict[str, bytes] = {}
    named: list[str] = []
    torn: list[bool] = []

    def watch(name: str, path: str) -> None:
        if path.endswith(".sftpjail-new~"):
            if name == "fsync":
                whole[path] = Path(path).read_bytes()
            elif name == "rename":
                named.append(path)
                torn.append(whole.get(path) != Path(path).read_bytes())
            else:
                whole.pop(path, None)
        getattr(world, "far", lambda *_: None)(name, path)

    world.syscalls.watch = watch
    engine.apply(plan)
    assert not any(torn) and len(named) == {everything: 7, across: 2}[wanted]


class Names:
    """Keeps which directories have had changes of names that no fsync(2) has followed."""

    def __init__(self, world: World) -> None:
        self.journal = str(world.state / "journal")
        self.dirty: set[str] = set()
        self.at_write: list[set[str]] = []
        self.at_end: set[str] | None = None
        self.also: Callable[[str, str], None] = getattr(world, "far", lambda name, path: None)
        world.syscalls.watch = self

    def __call__(self, name: str, path: str) -> None:
        if path == self.journal and name == "write":
            self.at_write.append(set(self.dirty))
        if path == self.journal and name == "unlink":
            self.at_end = {directory for directory in self.dirty if os.path.isdir(directory)}
        made = name == "open" and not os.path.lexists(path)
        if made or name in ("mkdir", "rename", "link", "unlink", "rmdir"):
            self.dirty.add(os.path.dirname(path))
        elif name == "fsync":
            self.dirty.discard(path)
        self.also(name, path)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("wanted", [everything, across])
def test_every_new_name_is_on_the_disk_before_the_commit(
    worlds: MakeWorld, wanted: Callable[[World], list[Action]]
) -> None:
    world = worlds()
    engine, plan = world.plan(wanted)
    names = Names(world)
    engine.apply(plan)
    assert names.at_write[-1] == set() and len(names.at_write) > 2
    assert str(world.state) not in names.dirty, "or the next run finds the log of one that is over"


def test_the_log_has_its_name_before_the_first_step(worlds: MakeWorld) -> None:
    world = worlds()
    engine, plan = world.plan(everything)
    names, seen = Names(world), []

    def first(name: str, path: str) -> None:
        if name == "run" or path.startswith(str(world.root)):
            seen.append({str(world.state), str(world.state.parent)} & names.dirty)

    names.also = first
    engine.apply(plan)
    assert len(seen) > 20 and seen[0] == set()


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("wanted", [everything, across])
def test_what_a_rollback_puts_back_is_on_the_disk(
    worlds: MakeWorld, wanted: Callable[[World], list[Action]]
) -> None:
    """Before the log goes, which would put it back again."""
    world = worlds()
    engine, plan = world.plan(lambda w: [*wanted(w), Check(("/ask", "-t"), "must be well")])
    world.refuse = ("ask",)
    names = Names(world)
    with pytest.raises(SftpJailError, match="must be well"):
        engine.apply(plan)
    assert names.at_end == set()


def fstab_and_mount(world: World) -> list[Action]:
    """Return a mount as the plugin wants it: its point, its line, and then itself."""
    return [
        MakeDir(world.path("jail/home")),
        WriteFile(world.path("shared"), "a line of fstab\n", keep=True),
        Mount(world.path("src"), world.path("jail/home"), ("bind", "nosuid", "nodev")),
        Notify("sshd"),
    ]


def test_what_a_boot_has_done_by_our_files_is_undone(worlds: MakeWorld) -> None:
    """The power fails when fstab has its line and before the mount; the boot mounts it."""
    world = worlds()
    before = world.snapshot()
    engine, plan = world.plan(fstab_and_mount)

    def fail(name: str, path: str) -> None:
        if name == "run" and path.startswith("mount "):
            world.syscalls.dead = True
            raise Death(name)

    world.syscalls.watch = fail
    die(engine, plan)
    lines = (world.state / "journal").read_text().splitlines()
    early = [line for line in lines if '"foreseen": true' in line]
    assert [json.loads(line)["op"] for line in early] == ["mount", "notify"]
    # Before the records of the mount's own phase were written.
    log = [line for line in lines if '"op": "mount"' not in line or line in early]
    (world.state / "journal").write_text("".join(f"{line}\n" for line in log))
    world.syscalls.watch = lambda name, path: None
    world.mounts[world.path("jail/home")] = (world.path("src"), ("nosuid", "nodev"))
    world._play()
    assert world.recover() and world.snapshot() == before
    told = [service for name, service in world.syscalls.calls if name == "notify"]
    assert told == ["sshd"], "which has begun with the files of then"


@pytest.mark.parametrize("new", [True, False])
def test_the_home_that_an_account_gets_is_on_the_disk(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    home, synced = tmp_path / "home", list[str]()
    monkeypatch.setattr(accounts_kind.new_home, "sync", synced.append)
    if not new:
        home.mkdir()

    def useradd(argv: Sequence[str], _: object) -> Answer:
        home.mkdir(exist_ok=True)
        return Answer(0, "", "")

    programs.answer_by("useradd", useradd)
    action = AddAccount("ann", ("useradd", "ann"), str(home))
    assert kind_of(action).perform(action, FakeHost()) is None
    assert synced == ([str(home)] if new else [])
    assert [*kind_of(action).touched(action)] == ["/etc/passwd", str(home)]


def test_a_failure_tells_no_daemon_that_had_not_heard(worlds: MakeWorld) -> None:
    world = worlds()
    world.refuse = ("mount",)
    with pytest.raises(SftpJailError):
        apply(world, fstab_and_mount)
    assert "notify" not in [name for name, _ in world.syscalls.calls]


def test_a_second_change_keeps_what_was_there_first(worlds: MakeWorld) -> None:
    world = worlds()
    loose, record = world.path("loose"), world.state / "accounts/worldling"
    for shell, mode in (("/usr/sbin/nologin", 0o755), ("/bin/false", 0o711)):
        apply(
            world,
            lambda _, shell=shell, mode=mode: [  # type: ignore[misc]
                SetAccount("worldling", shell=shell),
                SetOwner(loose, 0, 0, mode),
            ],
        )
        kept = json.loads(record.read_text())
        assert kept["was"] == {"shell": "/bin/bash"} and kept["owners"] == {loose: [0, 0, 0o770]}
    apply(world, lambda _: [SetAccount("worldling", shell="/bin/bash")])
    assert "was" not in json.loads(record.read_text()), "it has got its own back"
    apply(world, lambda _: [SetOwner(loose, 0, 0, 0o770)])
    assert not record.exists()


@pytest.mark.parametrize("code", [1, -9])
@pytest.mark.parametrize("program", ["ask", "register", "gpasswd", "usermod", "groupadd"])
def test_a_program_that_a_signal_killed_has_failed(
    worlds: MakeWorld, programs: Programs, program: str, code: int
) -> None:
    world = worlds()
    before = world.snapshot()
    refuse = Answer(code, "", "")
    programs.plans.insert(0, (lambda argv, _: os.path.basename(argv[0]) == program, refuse))
    with pytest.raises(SftpJailError, match=f"exit code {code}"):
        apply(world)
    del programs.plans[0]
    world.recover()
    assert differences(before, world.snapshot()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("nosuid",), "came up as nosuid"),
        (("nodev",), "came up as nodev"),
        (("nosuid", "nodev", "rw"), "came up as nosuid,nodev,rw"),
        (None, "did not come up"),
    ],
)
def test_a_mount_is_held_against_the_mount_table(
    worlds: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...] | None,
    says: str,
) -> None:
    """The kernel said yes, and made another one."""
    world = worlds()
    before, target = world.snapshot(), world.path("jail/home")

    def lie(source: str, target: str, _: object) -> None:
        if options is not None:
            world._mount(source, target, options)

    monkeypatch.setattr("sftpjail.system.safe_path.mount", lie)
    wanted = ("bind", "nosuid", "nodev", "ro")
    actions = [MakeDir(target), Mount(world.path("src"), target, wanted)]
    with pytest.raises(SftpJailError, match=f"the mount of .*/src on .*/jail/home {says}$"):
        apply(world, lambda _: actions)
    assert differences(before, world.snapshot()) == []


def test_a_file_has_the_mode_it_was_planned_with(worlds: MakeWorld) -> None:
    world = worlds()
    apply(
        world,
        lambda w: [
            WriteFile(w.path("attributes"), "mine\n", mode=0o604),
            WriteFile(w.path("strict"), "mine\n", mode=0o644, keep=True),
            MakeDir(w.path("deep"), 0o2711),
        ],
    )
    modes = {n: (world.root / n).stat().st_mode & 0o7777 for n in ("attributes", "strict", "deep")}
    assert modes == {"attributes": 0o604, "strict": 0o600, "deep": 0o2711}


def test_an_interrupted_run_is_put_back_and_says_nothing_else(worlds: MakeWorld) -> None:
    from sftpjail import hookimpl

    class Listener:
        @hookimpl
        def on_failed(self, error: BaseException) -> None:
            raise ValueError(f"it broke too, after {type(error).__name__}")

    world = worlds()
    before = world.snapshot()
    engine, plan = world.plan(everything)
    engine.manager.plugins.register(Listener(), "listener")

    def stop(name: str, path: str) -> None:
        if name == "run" and "/ask" in path:
            raise KeyboardInterrupt

    world.syscalls.watch = stop
    with pytest.raises(KeyboardInterrupt) as caught:
        engine.apply(plan)
    assert caught.value.args == () and not hasattr(caught.value, "message")
    assert differences(before, world.snapshot()) == []


def test_a_failure_says_whose_step_it_was_and_what_broke_beside(worlds: MakeWorld) -> None:
    from sftpjail import hookimpl

    class Listener:
        @hookimpl
        def on_failed(self) -> None:
            raise ValueError("it broke too")

    world = worlds()
    world.refuse = ("ask",)
    engine, plan = world.plan(everything)
    engine.manager.plugins.register(Listener(), "listener")
    with pytest.raises(SftpJailError, match="must be well: ") as caught:
        engine.apply(plan)
    assert caught.value.message.startswith("plugin tester: must be well: ")
    assert caught.value.message.endswith(
        "; plugin listener: on_failed broke: ValueError: it broke too"
    )
    assert caught.value.owner == "worldling"


def test_what_came_back_before_its_process_was_ended(
    worlds: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def end(uid: int) -> int:
        ended.append(uid)
        if len(ended) == 2:
            (world.root / "spool/crontab").write_text("@daily again\n")
        return len(ended)

    monkeypatch.setattr("sftpjail.system.programs.end_processes", end)
    world = worlds()
    paths = (world.path("spool/crontab"),)
    action = EndProcesses("worldling", 4001, empty=paths)
    assert apply(world, lambda _: [Remove(paths[0], ours=True), action]) == [
        "ended 1 process of worldling"
    ]
    with pytest.raises(SftpJailError, match="made .*/spool/crontab again before it was ended"):
        apply(world, lambda _: [action])
    assert ended == [4001, 4001]


@pytest.mark.parametrize("wanted", [everything, across])
def test_what_is_being_made_is_roots_alone_until_it_is_whole(
    worlds: MakeWorld, wanted: Callable[[World], list[Action]]
) -> None:
    world = worlds()
    engine, plan = world.plan(wanted)
    seen: dict[str, int] = {}
    state = str(world.state)

    def watch(name: str, path: str) -> None:
        made = path.endswith(".sftpjail-new~") or path.startswith((state, world.path("jail/home")))
        if made and name in ("fchown", "fsync") and path not in seen:
            seen[path] = os.stat(path).st_mode & 0o7777
        getattr(world, "far", lambda *_: None)(name, path)

    world.syscalls.watch = watch
    old = os.umask(0)
    try:
        engine.apply(plan)
    finally:
        os.umask(old)
    assert (
        len(seen) > {everything: 8, across: 3}[wanted]
        and {mode for path, mode in seen.items() if mode & 0o077} == set()
    )
    for place in (world.state, world.state / "accounts"):
        assert place.stat().st_mode & 0o7777 == 0o700, "and what is ours stays so"
    assert (world.state / "accounts/worldling").stat().st_mode & 0o7777 == 0o600


def test_a_group_that_goes_leaves_the_record(worlds: MakeWorld) -> None:
    world = worlds()
    record = world.state / "accounts/worldling"
    apply(world, lambda _: [SetGroup("newgroup"), MakeDir(world.path("more"))])
    assert json.loads(record.read_text())["made"] == [world.path("more"), "group:newgroup"]
    apply(world, lambda _: [SetGroup("newgroup", present=False)])
    assert json.loads(record.read_text())["made"] == [world.path("more")]


def test_another_directory_that_came_in_its_place_stays(worlds: MakeWorld) -> None:
    """It goes with the commit, and only if it is the one that was to go."""
    world = worlds()
    place = world.root / "empty"
    place.mkdir()

    def replace(name: str, path: str) -> None:
        if name == "write" and path.endswith("/journal") and (world.root / "other").exists():
            place.rename(world.root / "away")
            (world.root / "other").rename(place)

    world.syscalls.watch = replace
    apply(world, lambda _: [Remove(str(place), ours=True)])
    assert not place.exists()
    for name in ("empty", "other"):
        (world.root / name).mkdir()
    engine, plan = world.plan(lambda _: [Remove(str(place), ours=True), Notify("sshd")])
    inode = (world.root / "other").stat().st_ino
    world.syscalls.watch = lambda name, path: (
        replace(name, path) if (world.state / "journal").exists() else None
    )
    engine.apply(plan)
    assert place.stat().st_ino == inode


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("AllowTcpForwarding no\nx y\n", ""),
        ("XAllowTcpForwarding no\nx y\n", "does not say allowtcpforwarding no"),
        ("AllowTcpForwarding no more\nx y\n", "does not say allowtcpforwarding no"),
        ("", "does not say allowtcpforwarding no; x y"),
    ],
)
def test_a_check_wants_whole_lines(out: str, says: str) -> None:
    check = Check(("sshd", "-T"), "must be shut", lines=("allowtcpforwarding no", "x y"))
    if not says:
        judge(check, Answer(0, out, ""))
        return
    with pytest.raises(SftpJailError, match=f"must be shut: sshd -T {says}$"):
        judge(check, Answer(0, out, ""))


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("a 1\nb 2\nignored 9\n", ""),
        ("a 1\nb 3\nignored 3\n", "now says b 3"),
        ("a 1\n", "now says less than before"),
        ("a 1\nb 2\nb 2\n", "now says less than before"),
    ],
)
def test_a_check_wants_the_same_as_before(out: str, says: str) -> None:
    check = Check(("sshd",), "bob", prints="a 1\nb 2\nignored 3\n", ignoring=("ignored",))
    if not says:
        judge(check, Answer(0, out, ""))
        return
    with pytest.raises(SftpJailError, match=f"bob: sshd {says}$"):
        judge(check, Answer(0, out, ""))


@pytest.mark.parametrize("kind", ["file", "directory", "link to nothing", "link"])
def test_nothing_at_all_is_in_the_way_of_a_rename(worlds: MakeWorld, kind: str) -> None:
    world = worlds()
    engine, plan = world.plan(lambda w: [Rename(w.path("home/keys"), w.path("home/moved"))])
    place = world.root / "home/moved"
    if kind == "file":
        place.write_text("theirs\n")
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("nowhere" if kind == "link to nothing" else "keys")
    before = world.snapshot()
    with pytest.raises(SftpJailError, match=r"home/moved is in the way of .*home/keys"):
        engine.apply(plan)
    assert differences(before, world.snapshot()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o2755, 0o4755, 0o700])
def test_a_mode_comes_back_with_all_its_bits(worlds: MakeWorld, mode: int) -> None:
    world = worlds()
    (world.root / "loose").chmod(mode)
    world.refuse = ("ask",)
    actions = [SetOwner(world.path("loose"), 0, 0, 0o711), Check(("/ask",), "must be well")]
    with pytest.raises(SftpJailError, match="must be well"):
        apply(world, lambda _: actions)
    assert (world.root / "loose").stat().st_mode & 0o7777 == mode


def test_a_candidate_is_tried_with_what_the_plan_writes(
    worlds: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def preview(argv: tuple[str, ...], contents: dict[str, bytes | None]) -> Answer:
        shown.append((argv, contents))
        return Answer(0, "", "")

    world = worlds()
    monkeypatch.setattr("sftpjail.system.previews.preview", preview)
    new, other, link = map(world.path, ("new", "other", "link"))
    apply(
        world,
        lambda _: [
            *(WriteFile(path, "new\n") for path in (new, other)),
            Remove(link, ours=True),
            Check(("/ask",), "must be well", candidate=(new, link, "/not/in/the/plan")),
        ],
    )
    assert shown == [(("/ask",), {new: b"new\n", link: None}), (("/ask",), {})]
