"""Loading plugins and firing hooks: bundled ones, strangers, broken ones."""

from __future__ import annotations

import configparser
import dataclasses
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes import Tree
from golden import Sshd, ann

from sftpjail import Fact, MakeDir, Problem, SftpJailError, WriteFile, hookimpl
from sftpjail.actions import Action
from sftpjail.cli.drawing import wrap_command
from sftpjail.config import Config
from sftpjail.engine import hookspecs, manager
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.engine.plan import Event, OnSetup, OnUserCreate
from sftpjail.model import EVENT_KINDS
from sftpjail.system.programs import run

PROJECT = Path(__file__).parents[3]
QUERIES = ("on_applied", "on_check", "on_explain", "on_failed", "on_jail_binds")
HAPPENED = tuple(f"on_{kind.replace('-', '_')}" for kind in EVENT_KINDS)
SPECS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "sftpjail_spec"))


def module(name: str, **hooks: Any) -> ModuleType:
    made = ModuleType(name)
    for hook, function in hooks.items():
        setattr(made, hook, hookimpl(function))
    return made


def names_of(manager: Manager) -> list[str]:
    """Return the names of the loaded plugins, the first one to be asked first."""
    return [name for name, _ in reversed(manager.plugins.list_name_plugin())]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a module an installed third-party plugin of that name."""
    found: dict[str, EntryPoint] = {}
    monkeypatch.setattr(manager, "strangers", lambda: found)

    def add(name: str, plugin: ModuleType | None = None) -> Config:
        if plugin is not None:
            monkeypatch.setitem(sys.modules, f"third_{name}", plugin)
        found[name] = EntryPoint(name, f"third_{name}", "sftpjail")
        return Config(plugins_allow=tuple(found))

    yield add


def test_bundled_plugins_are_the_entry_points_of_setup_cfg() -> None:
    setup = configparser.ConfigParser()
    setup.read(PROJECT / "setup.cfg")
    lines = setup["options.entry_points"]["sftpjail"].strip().splitlines()
    assert [tuple(line.split(" = ")) for line in lines] == [
        (name, f"sftpjail.plugins.{name}") for name in BUNDLED
    ]
    directory = PROJECT / "sftpjail/plugins"
    modules = {path.stem for path in directory.glob("*.py")} | {
        path.parent.name for path in directory.glob("*/__init__.py")
    }
    assert modules == {"__init__", *BUNDLED}


def test_every_hook_has_a_test_that_names_it() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tests = re.findall(
        r"^def (test_\w+)|fire\(\s*\"\w+\", \"(\w+)\"|hook=\"(\w+)\"|(?<=\n    \(\")(on_\w+)",
        texts,
        re.MULTILINE,
    )
    named = {word for match in tests for word in match if word}
    transactions = (PROJECT / "tests/unit/engine/test_transaction.py").read_text()
    named |= set(re.findall(r"def (on_applied|on_failed)\(", transactions))
    assert len(SPECS) > 12
    assert [spec for spec in SPECS if spec not in named] == []


def test_every_hook_of_a_bundled_plugin_has_a_test_of_its_own() -> None:
    missing = []
    for name in BUNDLED:
        plugin = import_module(f"sftpjail.plugins.{name}")
        texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
        for hook in (n for n, value in vars(plugin).items() if hasattr(value, "sftpjail_impl")):
            called = re.search(rf'fire\(\s*"{name}",\s*"{hook}"', texts)
            listed = name == "scripts" and re.search(rf'\(\s*"{hook}",\s*"', texts)
            if not called and not listed:
                missing.append(f"{name}.{hook}")
    assert missing == []


def test_a_hook_takes_only_arguments_of_its_specification() -> None:
    # pluggy would say so too; here without loading anything.
    loaded = Manager(Config())
    loaded.plugins.check_pending()
    assert names_of(loaded) == list(BUNDLED)
    for spec in SPECS:
        implementations = getattr(loaded.plugins.hook, spec).get_hookimpls()
        assert implementations or spec in ("on_applied", "on_failed", *HAPPENED)


def test_a_plugin_that_is_off_is_not_loaded() -> None:
    loaded = Manager(Config(plugins_disable=("logs", "keys")))
    assert names_of(loaded) == [n for n in BUNDLED if n not in ("logs", "keys")]


def test_a_stranger_is_loaded_only_when_allowed(install: Any) -> None:
    config = install("quota", module("quota", on_setup=lambda: []))
    assert "quota" in dict(Manager(config).plugins.list_name_plugin())
    assert "quota" not in dict(Manager(Config()).plugins.list_name_plugin())


def test_a_package_allows_its_plugin_unless_it_is_disabled(install: Any) -> None:
    install("quota", module("quota", on_setup=lambda: []))
    assert "quota" in dict(Manager(Config(plugins_packaged=("quota",))).plugins.list_name_plugin())
    off = Config(plugins_packaged=("quota",), plugins_disable=("quota",))
    assert "quota" not in dict(Manager(off).plugins.list_name_plugin())
    with pytest.raises(
        SftpJailError, match="plugin gone is allowed by /usr/lib/sftpjail/plugins.d and not"
    ) as caught:
        Manager(Config(plugins_packaged=("gone",)))
    assert caught.value.fix == "rm /usr/lib/sftpjail/plugins.d/gone"


def test_a_missing_stranger_is_named(install: Any) -> None:
    with pytest.raises(
        SftpJailError, match="plugin quota is allowed by the configuration and not installed"
    ):
        Manager(Config(plugins_allow=("quota",)))


def test_a_tolerant_manager_goes_on_without_strangers_that_fail(install: Any) -> None:
    install("quota", module("quota", on_setup=lambda: []))
    install("nowhere")
    config = install("rude", module("rude", on_setup=lambda: []))
    config = Config(plugins_allow=(*config.plugins_allow, "missing"))
    loaded = Manager(config, tolerant=True)
    assert names_of(loaded) == ["rude", "quota", *BUNDLED]
    first, second = loaded.failures
    assert first.message.startswith("plugin nowhere does not load: ModuleNotFoundError")
    assert second.message == "plugin missing is allowed by the configuration and not installed"
    with pytest.raises(SftpJailError, match="nowhere"):
        Manager(config)


def test_a_plugin_with_an_unknown_hook_is_not_loaded_at_all(install: Any) -> None:
    # It would run something else than its author thinks.
    half = module("quota", on_setup=lambda: [], on_user_craete=lambda: [])
    for plugin in (half, module("quota", on_mount=lambda: [], on_setup=lambda nonsense: [])):
        config = install("quota", plugin)
        with pytest.raises(SftpJailError, match="plugin quota: .*(on_user_craete|nonsense)"):
            Manager(config)
        loaded = Manager(config, tolerant=True)
        assert names_of(loaded) == list(BUNDLED)
        assert "plugin quota: " in loaded.failures[0].message
        implementations = [
            i.plugin_name
            for spec in SPECS
            for i in getattr(loaded.plugins.hook, spec).get_hookimpls()
        ]
        assert "quota" not in implementations


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[plugins]\nallow = quota\n[logs]\n", "[plugins]\nallow = \n[logs]\n"),
        ("[plugins]\nallow = a, quota, b\n", "[plugins]\nallow = a, b\n"),
        (
            "[plugins]\n  allow = a, quota\n[[quota]]\nx = quota\n",
            "[plugins]\n  allow = a, \n[[quota]]\nx = quota\n",
        ),
        (
            "[logs]\nfile = /quota\n[plugins]\nallow = quota,\n",
            "[logs]\nfile = /quota\n[plugins]\nallow = \n",
        ),
        ("[plugins]\nallow = quota, quota-2\n", "[plugins]\nallow = quota-2\n"),
        ("[plugins]\nallow = my.quota, quota # x\n", "[plugins]\nallow = my.quota, # x\n"),
        (
            "[plugins]\nallow = b\n[[b]]\nallow = quota\n",
            "[plugins]\nallow = b\n[[b]]\nallow = quota\n",
        ),
    ],
)
@pytest.mark.real_program
def test_the_fix_of_a_broken_plugin_takes_it_out_of_the_file(
    tmp_path: Path, before: str, after: str
) -> None:
    (tmp_path / "conf").write_text(before)
    with pytest.raises(SftpJailError) as caught:
        Manager(Config(plugins_allow=("quota",)))
    *sed, path = shlex.split(caught.value.fix)
    assert path == "/etc/sftpjail/sftpjail.conf"
    run([*sed, str(tmp_path / "conf")])
    assert (tmp_path / "conf").read_text() == after
    assert all(len(line) <= 75 for line in wrap_command(caught.value.fix)), "on a terminal"


def test_no_command_has_a_name_that_sed_or_sh_could_misread() -> None:
    for name in ("a/b", "x'; reboot; '", "a b", ".*"):
        with pytest.raises(SftpJailError) as caught:
            Manager(Config(plugins_allow=(name,)))
        assert caught.value.fix == "" and caught.value.advice.startswith("edit allow")


def test_problems_and_facts_of_a_stranger_that_breaks(tree: Tree, install: Any) -> None:
    def broken(account: Any) -> list[Any]:
        raise ZeroDivisionError("no")

    def veto(account: Any) -> list[Any]:
        raise SftpJailError("the disk is gone", "buy a disk")

    install("broken", module("broken", on_check=broken, on_explain=broken))
    good = [Problem("a", "b", "c")], [Fact("disk", "size", "7")]
    install("good", module("good", on_check=lambda: good[0], on_explain=lambda: good[1]))
    loaded = Manager(off(install("veto", module("veto", on_check=veto, on_explain=veto))))
    for account in (None, ann()):
        assert loaded.problems(account, tree.host()) == [
            Problem(
                "plugin veto: the disk is gone",
                "what plugin veto judges is not known",
                "buy a disk",
            ),
            *good[0],
            Problem(
                "plugin broken: on_check broke: ZeroDivisionError: no",
                "what plugin broken judges is not known",
            ),
        ]
    assert loaded.facts(ann(), tree.host()) == [
        Fact("veto", "?", "plugin veto: the disk is gone", "", bad=True),
        *good[1],
        Fact("broken", "?", "plugin broken: on_explain broke: ZeroDivisionError: no", "", bad=True),
    ]


def test_a_stranger_that_does_not_load_is_named(install: Any) -> None:
    with pytest.raises(SftpJailError, match="plugin nowhere does not load: ModuleNotFoundError"):
        Manager(install("nowhere"))


@pytest.mark.parametrize("hook", ["on_user_craete", "on_anything"])
def test_a_wrong_hook_name_is_told_with_the_plugins_name(install: Any, hook: str) -> None:
    with pytest.raises(SftpJailError, match=f"plugin quota: .*{hook}"):
        Manager(install("quota", module("quota", **{hook: lambda account: []})))


@pytest.mark.parametrize("name", ["sftpjail", "keys"])
@pytest.mark.parametrize("disabled", [(), ("keys",)])
def test_a_stranger_with_a_name_of_ours_is_refused(
    install: Any, name: str, disabled: tuple[str, ...]
) -> None:
    allowed = install(name, module(name, on_setup=lambda: [])).plugins_allow
    config = Config(plugins_allow=allowed, plugins_disable=disabled)
    with pytest.raises(SftpJailError, match=f"plugin {name} cannot be loaded: the name is one of"):
        Manager(config)
    # The bundled one of that name is not lost for it.
    assert names_of(Manager(config, tolerant=True)) == [n for n in BUNDLED if n not in disabled]


def test_a_wrong_argument_is_told_with_the_plugins_name(install: Any) -> None:
    with pytest.raises(SftpJailError, match="quota"):
        Manager(install("quota", module("quota", on_setup=lambda nonsense: [])))


@pytest.mark.parametrize("option", ["hookwrapper", "wrapper"])
def test_a_wrapper_is_refused_by_name_with_what_to_do_instead(install: Any, option: str) -> None:
    def around() -> Iterator[None]:
        yield

    plugin = ModuleType("quota")
    plugin.on_setup = around  # type: ignore[attr-defined]
    # As HookimplMarker leaves it; Debian 12's knows no `wrapper`.
    around.sftpjail_impl = {"hookwrapper": False, option: True}  # type: ignore[attr-defined]
    with pytest.raises(SftpJailError) as caught:
        Manager(install("quota", plugin))
    assert caught.value.message.startswith("plugin quota: on_setup is a hook wrapper")
    assert "trylast=True" in caught.value.message and "quota" in caught.value.fix


def test_hooks_are_called_in_the_order_of_pluggy(tree: Tree, install: Any) -> None:
    def wants(name: str) -> Any:
        return lambda: [MakeDir(f"/srv/{name}")]

    for name, options in (
        ("late", {"trylast": True}),
        ("early", {"tryfirst": True}),
        ("first", {}),
        ("second", {}),
    ):
        plugin = ModuleType(name)
        plugin.on_setup = hookimpl(wants(name), **options)  # type: ignore[attr-defined]
        config = off(install(name, plugin))
    loaded = Manager(config)
    fired = [name for name, _ in loaded.fire(OnSetup(), tree.host())]
    by_pluggy = loaded.plugins.hook.on_setup(host=None, config=config)
    assert fired == ["early", "second", "first", "late"]
    assert [f"/srv/{name}" for name in fired] == [action.path for (action,) in by_pluggy]


def test_bundled_plugins_come_after_strangers_in_their_order(install: Any) -> None:
    loaded = Manager(install("quota", module("quota", on_setup=lambda: [])))
    called = [i.plugin_name for i in reversed(loaded.plugins.hook.on_setup.get_hookimpls())]
    assert called == ["quota", *(name for name in BUNDLED if name in called)]


@pytest.mark.parametrize("spec", [s for s in SPECS if s not in (*QUERIES, *HAPPENED)])
def test_an_event_has_the_arguments_of_its_hook_in_their_order(spec: str) -> None:
    event = {kind.hook: kind for kind in Event.__subclasses__()}[spec]
    hints = {field.name: field.type for field in dataclasses.fields(event)}
    parameters = inspect.signature(getattr(hookspecs, spec)).parameters.values()
    own = {p.name: p.annotation for p in parameters if p.name not in ("host", "config")}
    assert list(hints.items()) == list(own.items())


def test_every_event_has_a_hook() -> None:
    assert sorted([*QUERIES, *HAPPENED, *(kind.hook for kind in Event.__subclasses__())]) == SPECS


def create() -> Event:
    return OnUserCreate(ann(), new=True)


def off(config: Config) -> Config:
    return Config(plugins_allow=config.plugins_allow, plugins_disable=BUNDLED)


def test_a_hook_that_breaks_is_told_with_the_plugins_name(tree: Tree, install: Any) -> None:
    def broken() -> list[Action]:
        raise KeyError("x")

    loaded = Manager(off(install("quota", module("quota", on_user_create=broken))))
    with pytest.raises(SftpJailError, match="plugin quota: on_user_create broke: KeyError: 'x'"):
        loaded.fire(create(), tree.host())


def test_an_error_of_what_a_hook_returns_names_the_plugin(tree: Tree, install: Any) -> None:
    config = off(install("quota", module("quota", on_user_create=lambda: ["/srv/x"])))
    with pytest.raises(SftpJailError, match="plugin quota"):
        Engine(config, tree.host(), Manager(config)).plan([create()])


def test_a_veto_is_told_with_the_plugins_name_and_its_fix(tree: Tree, install: Any) -> None:
    def veto(account: Any) -> list[Action]:
        raise SftpJailError(f"no room for {account.name}", "buy a disk")

    config = off(install("quota", module("quota", on_user_create=veto)))
    with pytest.raises(SftpJailError) as caught:
        Engine(config, tree.host(), Manager(config)).plan([create()])
    assert (
        caught.value.message == "plugin quota: no room for ann" and caught.value.fix == "buy a disk"
    )


def test_two_plugins_in_conflict_are_both_named(tree: Tree, install: Any) -> None:
    install("alpha", module("alpha", on_user_create=lambda: [WriteFile("/srv/x", "1")]))
    config = off(
        install("omega", module("omega", on_user_create=lambda: [WriteFile("/srv/x", "2")]))
    )
    with pytest.raises(
        SftpJailError,
        match="plugins (alpha and omega|omega and alpha) contradict each other about path /srv/x",
    ):
        Engine(config, tree.host(), Manager(config)).plan([create()])


def test_a_stranger_in_conflict_with_a_bundled_plugin(tree: Tree, install: Any, sshd: Sshd) -> None:
    tree.write("/etc/ssh/sshd_config.d/10-sftpjail.conf", "")
    config = install(
        "rogue", module("rogue", on_user_create=lambda account: [MakeDir(account.jail, 0o777)])
    )
    config = Config(plugins_allow=config.plugins_allow, plugins_disable=("sshd", "logs"))
    with pytest.raises(SftpJailError, match="chroot.*rogue|rogue.*chroot"):
        Engine(config, tree.host(), Manager(config)).plan([create()])


def test_none_is_nothing_and_results_have_names(tree: Tree, install: Any) -> None:
    install("none", module("none", on_user_create=lambda: None))
    config = off(
        install(
            "some",
            module("some", on_user_create=lambda account, host, config: (MakeDir(account.jail),)),
        )
    )
    assert Manager(config).fire(create(), tree.host()) == [("some", [MakeDir("/srv/sftp/ann")])]


def test_listeners_that_break_are_told_and_never_raised(install: Any) -> None:
    def on_failed(error: BaseException) -> None:
        raise ValueError(str(error))

    loaded = Manager(off(install("log", module("log", on_failed=on_failed))))
    about: dict[str, Any] = {"event": "on_setup", "account": None, "plan": None}
    assert loaded.tell("on_failed", **about, error=OSError("disk")) == [
        "plugin log: on_failed broke: ValueError: disk"
    ]
    assert loaded.tell("on_applied", **about) == []


def test_the_example_plugin(tree: Tree, install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/plugins/example is a distribution of its own, which a system test installs by pip."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "example")
    config = off(install("welcome", import_module("sftpjail_welcome")))
    engine = Engine(config, tree.host(), Manager(config))
    plan = engine.plan([create()])
    assert "+Hello ann" in plan.diff(engine.host)
    assert [
        step.plugin
        for step in plan.steps
        if step.action == WriteFile("/srv/sftp/ann/WELCOME", "Hello ann\n")
    ] == ["welcome"]
    with pytest.raises(SftpJailError, match="badger is a bad name"):
        engine.plan([OnUserCreate(ann(name="badger"), new=True)])
