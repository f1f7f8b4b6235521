"""Who may import whom, who may change the host, and what the linters say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pluggy
import pytest

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "sftpjail"
LINT = Path("/opt/lint/bin")
MODULES = {
    str(path.relative_to(PACKAGE).with_suffix("")).replace("/", "."): path
    for path in PACKAGE.rglob("*.py")
}
PLUGINS = sorted(
    name for name in MODULES if name.startswith("plugins.") and name != "plugins.__init__"
)
# The house from the roof down: a room knows itself and the floors below it, and no room beside it.
FLOORS = (
    ("__main__", "testing"),
    ("cli",),
    ("reports",),
    ("operations",),
    ("selftest", "watch"),
    ("jails",),
    ("engine", "transferlog", "openssh"),
    ("host",),
    ("system",),
    ("actions", "accounts_file"),
    ("formats",),
    ("config",),
    ("model",),
    ("errors",),
    ("paths",),
)
# Plugins stand beside the house: they get its door, its facts and its vocabulary, and never what
# changes a host.
DOOR = {"", "jails", "transferlog", "openssh", "host", "actions", "formats"}
DOOR |= {room for floor in FLOORS[FLOORS.index(("formats",)) :] for room in floor}
# What changes the host, by module; `open` for writing is looked for apart.
CHANGES = {
    "os": {
        "rename",
        "renames",
        "replace",
        "unlink",
        "remove",
        "removedirs",
        "mkdir",
        "makedirs",
        "rmdir",
        "chown",
        "fchown",
        "lchown",
        "chmod",
        "fchmod",
        "lchmod",
        "link",
        "symlink",
        "kill",
        "killpg",
        "truncate",
        "ftruncate",
        "write",
        "writev",
        "pwrite",
        "mknod",
        "mkfifo",
        "setxattr",
        "removexattr",
        "utime",
        "chroot",
        "system",
        "popen",
        "fork",
        "forkpty",
        "execv",
        "execve",
        "execvp",
        "execvpe",
        "execl",
        "execle",
        "execlp",
        "execlpe",
        "posix_spawn",
        "posix_spawnp",
        "spawnv",
        "spawnve",
        "spawnl",
        "spawnlp",
        "spawnvp",
        "setuid",
        "setgid",
        "setgroups",
        "sendfile",
        "copy_file_range",
    },
    "shutil": {
        "rmtree",
        "move",
        "copy",
        "copy2",
        "copyfile",
        "copytree",
        "copymode",
        "copystat",
        "chown",
        "make_archive",
        "unpack_archive",
    },
}
PATH_METHODS = {"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to"}


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"), str(MODULES[name]))


@cache
def imports(name: str, for_types: bool = True) -> frozenset[str]:
    """Return what a module imports: "os", "pluggy", ".engine", ".plugins.sshd"; "." is the package itself.

    Args:
        name: the module, as plugins.sshd.
        for_types: count what stands below `if TYPE_CHECKING:` too.
    """
    found: set[str] = set()
    package = name.split(".")[:-1]

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(
                "." + a.name.removeprefix("sftpjail").lstrip(".")
                if a.name.split(".")[0] == "sftpjail"
                else a.name
                for a in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = [*package[: len(package) - node.level + 1], *filter(None, module.split("."))]
            elif module.split(".")[0] == "sftpjail":
                base = module.split(".")[1:]
            else:
                found.add(module)
                return
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.add("." + (whole if whole in MODULES else ".".join(base)))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree_of(name))
    return frozenset(found)


@cache
def ours(name: str, for_types: bool = True) -> frozenset[str]:
    """Return which modules of the package a module imports; "" is the package's door."""
    return frozenset(found[1:] for found in imports(name, for_types) if found.startswith("."))


def room(name: str) -> str:
    """Return the room that a module lies in: its directory, one with the door for a plugin, or itself at the root."""
    first, *rest = name.split(".")
    return f"plugins.{rest[0]}" if first == "plugins" and rest else first


def below(name: str) -> set[str]:
    """Return the rooms that a module may know."""
    own = room(name)
    if own.startswith("plugins"):
        return {own, *DOOR}
    if name == "__init__":
        return DOOR | {"engine"}
    floor = next(n for n, rooms in enumerate(FLOORS) if own in rooms)
    return {own, *(known for rooms in FLOORS[floor + 1 :] for known in rooms)} | (
        {""} if own == "cli" else set()
    )


def test_the_reader_of_imports_sees_them() -> None:
    assert {"actions", "config", "host", "paths", ""} <= ours("plugins.mounts.changes")
    assert {"system.files", "engine.journal", "engine.transaction", "engine.manager"} <= ours(
        "engine.engine"
    )
    assert "subprocess" in imports("system.programs") and "engine.plan" in ours("engine.hookspecs")
    assert "engine.plan" not in ours("engine.hookspecs", for_types=False)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_arrow_points_downwards(name: str) -> None:
    assert {room(known) for known in ours(name)} <= below(name)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {name: ours(name) & set(MODULES) for name in MODULES}
    while known:
        free = {name for name, below in known.items() if not below & known.keys()}
        assert free, f"a circle among {sorted(known)}"
        known = {name: below for name, below in known.items() if name not in free}


def test_the_house_has_few_rooms() -> None:
    rooms = {name.split(".")[0] for name in MODULES}
    known = {known for floor in FLOORS for known in floor} | {"__init__", "plugins"}
    assert rooms == known and len(known) <= 24


def test_the_picture_in_contributing_is_the_table_of_layers() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.partition("## Where things are")[2].partition("\n## ")[0]
    entries = re.findall(r"^ {4} ?(\d+|-) +(\w+)(/|\.py) ", picture, re.MULTILINE)
    layers: dict[str, list[str]] = {}
    for number, name, kind in entries:
        layers.setdefault(number, []).append(name)
        assert (PACKAGE / name).is_dir() == (kind == "/"), f"{name}{kind}"
    assert layers.pop("-") == ["plugins"]
    assert {int(number): tuple(names) for number, names in layers.items()} == dict(
        enumerate(FLOORS, 1)
    )


@pytest.mark.parametrize("name", PLUGINS)
def test_plugins_use_the_standard_library_only(name: str) -> None:
    strange = {found.split(".")[0] for found in imports(name) if not found.startswith(".")} - set(
        sys.stdlib_module_names
    )
    assert not strange
    assert not {"subprocess", "ctypes", "socket", "shutil", "tempfile"} & imports(name)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if room(name) == "engine" and name != "engine.manager"]
)
def test_the_engine_names_no_plugin(name: str) -> None:
    words = {
        node.value
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {plugin.split(".")[1] for plugin in PLUGINS}
    assert not names & words, "a plugin's name as a string"


PURE = {"actions", "formats", "model", "errors"}


@pytest.mark.parametrize(
    "name",
    sorted(
        n
        for n in MODULES
        if room(n) in PURE or n.split(".")[-1] in ("parser", "timestamps", "journal_export")
    ),
)
def test_the_vocabulary_and_the_parsers_are_pure(name: str) -> None:
    assert {found.split(".")[0] for found in imports(name) if not found.startswith(".")} <= set(
        sys.stdlib_module_names
    )
    assert not {"subprocess", "shutil", "tempfile", "socket"} & imports(name)


def test_specs_import_types_only_for_the_type_checker() -> None:
    assert ours("engine.hookspecs", for_types=False) == set()


def test_what_runs_at_a_login_knows_nothing_of_ours() -> None:
    assert ours("system.safe_path") == set()
    assert ours("system.last_use") == {"paths"}
    assert ours("system.login_step") == {"system.safe_path", "paths"}
    for name in MODULES:
        assert "system.login_step" not in ours(name), "it is read as text: pam_session.program()"
        assert "system.safe_path" not in ours(name) or room(name) == "system"


@pytest.mark.parametrize("name", [n for n in sorted(MODULES) if room(n) != "testing"])
def test_few_modules_change_the_host_or_run_programs(name: str) -> None:
    # The login's step is a program of its own, which runs when no module of ours does.
    if room(name) == "system" and name != "system.processes":
        runs = {"subprocess", "pty", "multiprocessing"} & imports(name)
        assert not runs or name.split(".")[1] in (
            "programs",
            "sessions",
            "namespaces",
            "login_step",
        )
        return
    strong = {"subprocess", "pty", "ctypes", "multiprocessing", "fcntl", "asyncio.subprocess"}
    assert not strong & imports(name)
    wrong = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.ImportFrom) and node.module in CHANGES:
            wrong += [
                f"line {node.lineno}: {alias.name}"
                for alias in node.names
                if alias.name in CHANGES[node.module or ""]
            ]
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr in CHANGES.get(node.value.id, ())
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in PATH_METHODS
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node.func)}")
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("open", "io.open")
            and _writes(node)
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Attribute) and node.attr in (
            "O_WRONLY",
            "O_RDWR",
            "O_CREAT",
            "O_TRUNC",
            "O_APPEND",
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not wrong


def _writes(call: ast.Call) -> bool:
    if call.args and ast.unparse(call.args[0]) == "os.devnull":
        return False
    modes = [
        *call.args[1:2],
        *(keyword.value for keyword in call.keywords if keyword.arg == "mode"),
    ]
    return any(
        not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))
        for mode in modes
    )


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "system"])
def test_no_program_is_started_by_a_shell(name: str) -> None:
    calls = [ast.unparse(node) for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call)]
    assert not [
        call for call in calls if "shell=True" in call or call.startswith(("os.system", "os.popen"))
    ]


def tracked() -> list[Path]:
    directories = ("sftpjail", "tests", "hooks", "packaging", "man", ".ci")
    files = [
        path
        for directory in directories
        for path in (PROJECT / directory).rglob("*")
        if path.is_file()
    ]
    return [
        path
        for path in [*files, *PROJECT.glob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_every_function_that_others_call_says_what_it_does() -> None:
    missing = []
    for name in MODULES:
        if name.startswith("plugins."):  # hookspecs.py documents the hooks
            continue
        for node in tree_of(name).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            )
            if (
                public
                and not ast.get_docstring(node)
                and not any("overload" in ast.unparse(d) for d in node.decorator_list)
            ):
                missing.append(f"{name}.{node.name}")
    assert missing == []


def lint(*command: str) -> str:
    """Run a linter; return what it has to say."""
    if not (LINT / command[0]).exists():
        pytest.skip(f"{command[0]} is not in {LINT}: run tests/run")
    done = subprocess.run(
        [LINT / command[0], *command[1:]], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout[-4000:] + done.stderr[-1000:]


def all_of(*kinds: type[ast.AST]) -> list[tuple[str, Any]]:
    """Return every node of these kinds in the package, with its module."""
    return [
        (name, node)
        for name in MODULES
        for node in ast.walk(tree_of(name))
        if isinstance(node, kinds)
    ]


def test_conditional_expressions_are_few_and_plain() -> None:
    """Fewer than 8 in 1,000 lines: an if statement can be read without looking for its end.

    And none inside of another one, which has to be read twice.
    """
    choices = all_of(ast.IfExp)
    lines = sum(len(path.read_text().splitlines()) for path in MODULES.values())
    assert 1000 * len(choices) < 8 * lines
    inner = [
        f"{name}:{node.lineno}"
        for name, choice in choices
        for node in ast.walk(choice)
        if isinstance(node, ast.IfExp) and node is not choice
    ]
    assert inner == []


@pytest.mark.lint
def test_ruff_finds_nothing() -> None:
    assert lint("ruff", "check", "--no-cache", "--quiet", ".") == ""


@pytest.mark.lint
def test_ruff_would_format_nothing() -> None:
    assert lint("ruff", "format", "--no-cache", "--check", "--quiet", ".") == ""


@pytest.mark.lint
def test_mypy_finds_nothing(tmp_path: Path) -> None:
    # Bookworm's pluggy is older than its types; everywhere else nothing is left out.
    typed = (
        []
        if (Path(pluggy.__file__).parent / "py.typed").exists()
        else ["--allow-untyped-decorators"]
    )
    assert (
        lint(
            "mypy",
            "--strict",
            *typed,
            "--no-error-summary",
            "--cache-dir",
            str(tmp_path),
            "sftpjail",
        )
        == ""
    )


def test_the_version_is_in_one_place() -> None:
    assert re.search(
        r"^version = attr: sftpjail.__version__$", (PROJECT / "setup.cfg").read_text(), re.MULTILINE
    )


def test_no_function_is_longer_than_forty_lines() -> None:
    """Its docstring does not count."""
    found = all_of(ast.FunctionDef, ast.AsyncFunctionDef)
    assert [f"{name}.{node.name}" for name, node in found if _length(node) > 40] == []


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    doc = 0
    if ast.get_docstring(function) is not None:
        doc = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - doc


def test_frozen_dataclasses_share_their_methods() -> None:
    """By `frozen` of model.py: a dataclass that compiles its own costs every start of a program."""
    found = [
        f"{name}.{node.name}"
        for name, node in all_of(ast.ClassDef)
        for made in node.decorator_list
        if ast.unparse(made) == "dataclass(frozen=True)"
    ]
    assert found == []


def test_the_unit_tests_mirror_the_package() -> None:
    rooms = {path.name for path in (PROJECT / "sftpjail").iterdir() if path.is_dir()}
    ours = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert ours - {"__pycache__", "support"} <= rooms and len(ours) > 10


TESTS = sorted((PROJECT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(PROJECT / "tests")))
def test_the_name_of_a_test_is_a_short_sentence(path: Path) -> None:
    """At most 60 characters, and none that hides another one of the same file."""
    tree = ast.parse(path.read_text())
    for place in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
        names = [node.name for node in place.body if isinstance(node, ast.FunctionDef)]
        tests = [name for name in names if name.startswith("test_")]
        assert [name for name in tests if len(name) > 60] == []
        assert len(tests) == len(set(tests))
