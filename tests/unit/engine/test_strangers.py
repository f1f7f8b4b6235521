"""What a third-party plugin does wrong is an error that names it, and nothing is lost."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Programs, Tree
from fakesshd import sshd
from played import Run as Sftpjail
from played import Stage, run, stage
from world import World

from sftpjail import (
    Check,
    GiveDir,
    MakeDir,
    Mount,
    Notify,
    Problem,
    Run,
    SetAccount,
    SetLines,
    SftpJailError,
    WriteFile,
    hookimpl,
)
from sftpjail.actions import Action
from sftpjail.config import Config
from sftpjail.engine import manager
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.engine.plan import OnSetup, Plan, Step
from sftpjail.errors import RollbackIncomplete

__all__ = ["run", "sshd", "stage"]

anything: Any = 5


class Quiet(WriteFile):
    """An action of somebody's own."""

    def pending(self, *_: object) -> bool:
        raise KeyError("quiet")


class Lazy(WriteFile):
    """One whose field is not there."""

    @property
    def content(self) -> str:  # type: ignore[override]
        raise OSError("the disk is asleep")

    @content.setter
    def content(self, value: str) -> None:
        pass


class Text(str):
    """A string that cannot be encoded."""

    def encode(self, *_: object, **__: object) -> bytes:
        raise ZeroDivisionError("no")


def engine(tree: Tree, returned: Any) -> Engine:
    class Rogue:
        @hookimpl
        def on_setup(self) -> Any:
            return returned() if callable(returned) else returned

    made = Manager(Config(plugins_disable=BUNDLED))
    made.register(Rogue(), "rogue")
    return Engine(Config(), tree.host(), made)


def generator() -> Iterator[Action]:
    yield MakeDir("/srv/x")


@pytest.mark.parametrize(
    "returned",
    [
        generator,
        "",
        "/srv/x",
        b"x",
        {},
        {"a": MakeDir("/srv/x")},
        0,
        False,
        MakeDir("/srv/x"),
        {MakeDir("/srv/x")},
        [None],
        ["/srv/x"],
        [MakeDir],
        [[MakeDir("/srv/x")]],
        [Problem("a", "b")],
        [Quiet("/srv/x", "x")],
        [MakeDir("/srv/y"), Quiet("/srv/z", "z")],
        list(range(1_000_000)),
    ],
    ids=lambda value: f"{value!r:.40}".partition(" at 0x")[0],
)
def test_what_is_no_list_of_actions(tree: Tree, returned: Any) -> None:
    with pytest.raises(SftpJailError, match="^plugin rogue: on_setup returned ") as caught:
        engine(tree, returned).plan([OnSetup()])
    assert caught.value.exit_code == 1 and len(caught.value.message) < 300


@pytest.mark.parametrize("returned", [None, [], ()])
def test_nothing_is_nothing(tree: Tree, returned: Any) -> None:
    assert not engine(tree, returned).plan([OnSetup()])


@pytest.mark.parametrize(
    "action",
    [
        WriteFile("/srv/x", anything),
        WriteFile("/srv/x", b"x"),  # type: ignore[arg-type]
        WriteFile("/srv/x", None),  # type: ignore[arg-type]
        WriteFile("/srv/x", "\ud800"),
        WriteFile("/srv/x", "x", mode="0644"),  # type: ignore[arg-type]
        WriteFile("/srv/x", "x", mode=0o10000),
        WriteFile("/srv/x", "x", uid=-1),
        WriteFile("/srv/x", "x", gid=True),
        WriteFile("/srv/x", "x", keep=1),  # type: ignore[arg-type]
        WriteFile("/srv/\0", "x"),
        WriteFile("/srv/\ud800", "x"),
        WriteFile("srv/x", "x"),
        WriteFile("/srv/../etc/x", "x"),
        WriteFile("", "x"),
        WriteFile(Path("/srv/x"), "x"),  # type: ignore[arg-type]
        MakeDir(anything),
        GiveDir("/srv/x", 1, 1, 1.5),  # type: ignore[arg-type]
        SetLines("/etc/fstab", "x", ["a"]),  # type: ignore[arg-type]
        SetLines("/etc/fstab", "x", "a"),  # type: ignore[arg-type]
        SetLines("/etc/x", "x", ("a\nb",)),
        SetLines("/etc/x", "x", ("a",), style="block"),  # type: ignore[arg-type]
        SetAccount("ann", shell=anything),
        SetAccount("ann", add_groups=("a", anything)),
        Mount("/srv", "x"),
        Run(["/bin/true"], "why"),  # type: ignore[arg-type]
        Run(("/bin/true",), "why", env=(("A", "1", "2"),)),  # type: ignore[arg-type]
        Run(("/bin/true",), "why", timeout="1"),  # type: ignore[arg-type]
        Check(("/bin/true",), "why", prints=anything),
        Notify(None),  # type: ignore[arg-type]
    ],
    ids=lambda action: f"{action!r:.60}",
)
def test_a_field_that_cannot_be_so(tree: Tree, action: Action) -> None:
    kind = type(action).__name__
    with pytest.raises(SftpJailError, match=f"^plugin rogue: on_setup returned {kind} with "):
        engine(tree, [action]).plan([OnSetup()])


def test_a_field_that_breaks_when_it_is_used(tree: Tree) -> None:
    lazy = Lazy("/srv/x", "x")
    with pytest.raises(SftpJailError, match="^plugin rogue: on_setup returned "):
        engine(tree, [lazy]).plan([OnSetup()])
    tree.write("/srv/x", "x")
    with pytest.raises(SftpJailError, match="^plugin rogue: WriteFile /srv/x broke: ZeroDivision"):
        engine(tree, [WriteFile("/srv/x", Text("x"))]).plan([OnSetup()])


def test_what_breaks_while_the_plan_is_made_or_shown(tree: Tree) -> None:
    broken = WriteFile("/srv/x", Text("x"))
    made = engine(tree, [broken])
    with pytest.raises(SftpJailError, match="^plugin rogue: WriteFile /srv/x broke: ZeroDivision"):
        made.plan([OnSetup()])
    plan = Plan([], [Step(broken, "rogue", "", stranger=True)])
    with pytest.raises(SftpJailError, match="^plugin rogue: WriteFile /srv/x broke: ZeroDivision"):
        plan.diff(made.host)


class Own(SftpJailError):
    """A veto that would choose its exit code, and has nothing to say."""

    exit_code = 42

    def __init__(self) -> None:
        pass


class Mute(Exception):
    """An error that breaks when it is asked."""

    def __str__(self) -> str:
        raise ValueError("mute")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (Own(), "Own"),
        (Mute(), "on_setup broke: Mute"),
        (SystemExit(3), "on_setup broke: SystemExit: 3"),
        (RollbackIncomplete("boo"), "boo"),
        (RecursionError("deep"), "on_setup broke: RecursionError: deep"),
    ],
)
def test_what_a_hook_raises(tree: Tree, raised: BaseException, said: str) -> None:
    def broken() -> list[Action]:
        raise raised

    for _ in range(2):  # also the same one again
        with pytest.raises(SftpJailError) as caught:
            engine(tree, broken).plan([OnSetup()])
        assert caught.value.message.startswith(f"plugin rogue: {said}")
        assert caught.value.exit_code == 1 and caught.value.message.count("rogue") == 1


def test_ctrl_c_stays_what_it_is(tree: Tree) -> None:
    def stopped() -> list[Action]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine(tree, stopped).plan([OnSetup()])


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of real files, whose plugin is the stranger `tester`."""
    return World(tmp_path, programs, monkeypatch)


def test_what_breaks_while_it_is_done_is_put_back(world: World) -> None:
    broken = [
        MakeDir(world.path("none/x")),
        WriteFile(world.path("none/x"), "x"),
        Run(("/ask", "on"), "asks", always=True),
    ]
    world.refuse = ("ask",)
    for action in broken:
        engine, plan = world.plan(lambda _, action=action: [MakeDir(world.path("good")), action])  # type: ignore[misc]
        before = world.snapshot()
        with pytest.raises(SftpJailError, match="^plugin tester: ") as caught:
            engine.apply(plan)
        assert caught.value.exit_code == 1 and world.snapshot() == before
        assert caught.value.owner == "worldling"


def test_what_cannot_be_undone(world: World, programs: Programs) -> None:
    world.refuse = ("register", "ask")
    undo = Run(("/bin/true",), "counts", undo=("/register", "off"), always=True)
    programs.answer("/bin/true")
    engine, plan = world.plan(lambda _: [undo, Check(("/ask",), "asks")])
    with pytest.raises(RollbackIncomplete, match="plugin tester: run counts: ") as caught:
        engine.apply(plan)
    assert "plugin tester: asks: " in caught.value.message
    with pytest.raises(RollbackIncomplete, match="plugin tester: run counts: "):
        world.recover()  # as the next run
    journal = world.state / "journal"
    # Those of earlier versions name no plugin.
    journal.write_text(journal.read_text().replace(', "plugin": "tester"', ""))
    with pytest.raises(RollbackIncomplete, match="incomplete: run counts: "):
        world.recover()
    world.refuse = ()
    assert world.recover() and not journal.exists()


@pytest.fixture
def welcome(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> Stage:
    """A host whose configuration has misspelled the plugin `welcome`."""

    class Installed:
        value = "welcome"

        def load(self) -> Any:
            raise AssertionError("it is not allowed")

    monkeypatch.setattr(manager, "strangers", lambda: {"welcome": Installed()})
    stage.config = Config(plugins_allow=("other-one", "welcom"))
    return stage


def test_a_misspelled_plugin_is_proposed(welcome: Stage) -> None:
    with pytest.raises(SftpJailError) as caught:
        Manager(Config(plugins_allow=("welcom",)))
    assert caught.value.message.endswith("and not installed; welcome is")
    assert "welcom " in caught.value.fix and "welcome" in caught.value.fix


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "ann"),
        ("check",),
        ("explain", "ann"),
        ("plugins",),
        ("key", "list", "ann"),
    ],
)
def test_a_missing_plugin_keeps_nobody_from_reading(
    welcome: Stage, run: Sftpjail, words: tuple[str, ...]
) -> None:
    code, out = run(*words)
    assert code == (3 if words[0] in ("check", "explain") else 0)
    said = " ".join((out + run.err).split())
    assert "welcom is allowed by the configuration and not installed; welcome is" in said
    assert "ann" in out or words[0] in ("check", "plugins")


@pytest.mark.parametrize(
    "words",
    [
        ("setup",),
        ("apply",),
        ("check", "--fix"),
        ("add", "zoe"),
        ("remove", "ann"),
        ("--dry-run", "apply"),
    ],
)
def test_a_missing_plugin_keeps_everybody_from_changing(
    welcome: Stage, run: Sftpjail, words: tuple[str, ...]
) -> None:
    assert run(*words)[0] == 1
    assert "plugin other-one is allowed" in run.err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (PermissionError(errno.EPERM, "Operation not permitted", "/etc/x"), "/etc/x: Operation"),
        (MemoryError(), "out of memory"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "plugin rogue: on_setup broke: FileNot"),
    ],
)
def test_what_the_host_denies_breaks_no_plugin_of_ours(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def denied() -> None:
        raise error

    made = engine(tree, denied)
    monkeypatch.setattr(made.manager, "is_stranger", lambda name: False)
    with pytest.raises(SftpJailError) as caught:
        made.plan([OnSetup()])
    assert caught.value.message.startswith(says)
