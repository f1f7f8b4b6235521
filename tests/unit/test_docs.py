"""The manual says what the program does: every option, setting, hook and action, in both directions."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import inspect
import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sftpjail
from sftpjail import Facts, config, model
from sftpjail.cli.main import build_parser, parse
from sftpjail.engine import hookspecs
from sftpjail.errors import UsageError
from sftpjail.plugins import scripts
from sftpjail.testing import judge

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ROOT / "man/sftpjail.8.scd"
SETTINGS = ROOT / "man/sftpjail.conf.5.scd"
COOKBOOK = ROOT / "man/sftpjail-cookbook.7.scd"
PLUGINS = ROOT / "man/sftpjail-plugins.7.scd"
README = ROOT / "README.md"


def section(page: Path, title: str) -> str:
    """Return the text below a heading, up to the next of the same level."""
    text = page.read_text(encoding="utf-8")
    assert f"\n# {title}\n" in text, f"{page.name} has no section {title}"
    return text.partition(f"\n# {title}\n")[2].partition("\n# ")[0]


def literal_blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def tables_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands below a parser, by name; none where it has no commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return every command by its full name, as `key add`."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, parser in tables_of(build_parser()).items():
        verbs = tables_of(parser)
        found |= {f"{name} {verb}": verb_parser for verb, verb_parser in verbs.items()} or {
            name: parser
        }
    return found


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def words_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return what stands for a value in a parser's usage: metavars; TOOL or EVENT where there are choices."""
    common = options_of(build_parser())
    words = set()
    for action in parser._actions:
        if common & set(action.option_strings) or action.nargs == 0:
            continue
        if action.choices:
            words.add("EVENT" if action.dest == "event" else action.dest.upper())
        else:
            words.add(str(action.metavar).removeprefix("-- "))
    return words


def documented() -> dict[str, tuple[str, str]]:
    """Return the synopsis line and the indented text of every command in the manual."""
    pattern = r"^\*(?P<name>[a-z]+(?: [a-z]+)?)\*(?P<usage>.*)\n(?P<text>(?:\t.*\n|\n(?=\t))+)"
    matches = re.finditer(pattern, section(COMMANDS, "COMMANDS"), re.MULTILINE)
    return {match["name"]: (match["usage"], match["text"]) for match in matches}


def test_manual_has_every_command_and_no_other() -> None:
    assert set(documented()) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_manual_has_every_option_of_a_command_and_no_other(name: str) -> None:
    usage, text = documented()[name]
    parser = commands()[name]
    own = options_of(parser) - options_of(build_parser())
    assert set(re.findall(r"\*(--[a-z-]+)\*", usage)) == own
    assert set(re.findall(r"^\t\*(--[a-z-]+)\*", text, re.MULTILINE)) == own
    behind = {"add": {"OPTION"}, "enter": {"COMMAND"}}.get(
        name, set()
    )  # cut off before argparse sees it
    assert set(re.findall(r"_([^_]+)_", usage)) == words_of(parser) | behind


def test_manual_has_every_common_option_and_no_other() -> None:
    described = re.findall(r"^\*.*", section(COMMANDS, "OPTIONS"), re.MULTILINE)
    assert set(re.findall(r"\*(--?[a-z-]+)\*", " ".join(described))) == options_of(build_parser())


def test_manual_says_where_make_puts_the_schemas() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    values = dict(re.findall(r"(?m)^(datadir|schemadir) = (.*)$", text))
    place = values["schemadir"].replace("$(datadir)", values["datadir"])
    said = section(COMMANDS, "JSON")
    assert f"_{place.replace('$(prefix)', '/usr')}_" in said
    assert "sftpjail/schemas/*.json $(DESTDIR)$(schemadir)/" in text
    assert "schemas/*.json" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    named = set(re.findall(r"_([a-z-]+\.json)_", said))
    assert named <= {path.name for path in (ROOT / "sftpjail/schemas").iterdir()}
    assert {"error.json", "problem.json", "event.json"} <= named


def test_manual_has_every_exit_code_and_no_other() -> None:
    from sftpjail import errors

    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    codes = {str(value.exit_code) for value in classes if issubclass(value, errors.SftpJailError)}
    described = set(re.findall(r"^\*(\d+)\*$", section(COMMANDS, "EXIT STATUS"), re.MULTILINE))
    assert described == codes | {"0", "130"}


# -- sftpjail.conf(5) ----------------------------------------------------------------------------


def settings() -> Iterator[tuple[str, str, str]]:
    """Yield section, key and configspec of every setting."""
    name = ""
    for line in config.SPEC.strip().splitlines():
        if line.startswith("["):
            name = f"{name.split(' ')[0]} [[NAME]]" if line == "[[__many__]]" else line
        else:
            key, _, spec = line.partition(" = ")
            yield name, "[[NAME]]" if key == "___many___" else key, spec


def test_manual_has_every_setting_and_no_other() -> None:
    described = set()
    name = ""
    for line in SETTINGS.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (\[.*)", line):
            name = heading[1]
        elif line.startswith("# "):
            name = ""
        elif name and (match := re.match(r"\*([a-z_]+|\[\[NAME\]\])\*", line)):
            described.add((name, match[1]))
    known = {
        (name.removesuffix(" [[NAME]]") if key == "[[NAME]]" else name, key)
        for name, key, _ in settings()
    }
    assert described == known


@pytest.mark.parametrize(("name", "key", "spec"), [s for s in settings() if s[1] != "[[NAME]]"])
def test_manual_has_values_and_default_of_a_setting(name: str, key: str, spec: str) -> None:
    text = SETTINGS.read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n#")[0]
    block = re.search(rf"^\*{key}\* = (?P<values>.*)\n(?P<text>(?:\t.*\n)+)", text, re.MULTILINE)
    assert block, f"{name} {key} is not described"
    call = ast.parse(spec, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    if call.func.id == "option":
        wanted = {ast.literal_eval(argument) for argument in call.args}
        listed = re.search(r"^\tOne of ([^;]*);", block["text"])
        assert set(re.findall(r"\*([^*]+)\*", listed[1] if listed else block["values"])) == wanted
    default = ast.literal_eval(call.keywords[0].value) if call.func.id != "force_list" else None
    said = re.search(
        r"Default:\s+(?:\*(?P<value>[^*]+)\*\.|(?P<none>none|empty|the profile's name)\b)",
        block["text"],
    )
    assert said, f"{name} {key} has no default in the manual"
    words = {"True": "yes", "False": "no", "None": None, "": None}
    assert said["value"] == words.get(str(default), str(default))


def test_configurations_in_the_manual_are_valid() -> None:
    pages = [
        *literal_blocks(section(SETTINGS, "EXAMPLES")),
        *literal_blocks(README.read_text(encoding="utf-8")),
    ]
    configurations = [
        text for text in pages if text.startswith("[") and "=" in text and "[options" not in text
    ]
    assert len(configurations) >= 4
    for text in configurations:
        config.parse(text)


# -- sftpjail-plugins(7) -------------------------------------------------------------------------


def hooks() -> dict[str, str]:
    """Return every hook's signature on one line."""
    return {
        name: name + str(inspect.signature(function)).replace("'", "")
        for name, function in vars(hookspecs).items()
        if inspect.isfunction(function) and hasattr(function, "sftpjail_spec")
    }


def test_manual_has_every_hook_in_full_and_no_other() -> None:
    shown = [" ".join(block.split()) for block in literal_blocks(section(PLUGINS, "PLUGINS"))]
    assert hooks(), "hookspecs has no hooks"
    assert {text for text in shown if "->" in text} == set(hooks().values())


def calls() -> dict[str, ast.Call]:
    """Return what the manual shows as constructors, by name."""
    found = {}
    for text in literal_blocks(section(PLUGINS, "PLUGINS")):
        if "->" not in text:
            for statement in ast.parse(text).body:
                assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
                assert isinstance(statement.value.func, ast.Name)
                found[statement.value.func.id] = statement.value
    return found


def records_of_the_door() -> dict[str, Any]:
    """Return the dataclasses and named tuples that plugins make."""
    public = {name: getattr(sftpjail, name) for name in sftpjail.__all__}
    # These are given to a plugin, and none makes one.
    given = {"Action", "Config", "Plan"}
    records = {
        n: v for n, v in public.items() if dataclasses.is_dataclass(v) or hasattr(v, "_fields")
    }
    return {n: v for n, v in records.items() if n not in given}


def fields_of(record: Any) -> dict[str, object]:
    """Return the default of each field."""
    if dataclasses.is_dataclass(record):
        return {field.name: field.default for field in dataclasses.fields(record)}
    return {name: record._field_defaults.get(name, dataclasses.MISSING) for name in record._fields}


def test_manual_has_every_action_and_fact_and_no_other() -> None:
    assert set(calls()) == set(records_of_the_door())


@pytest.mark.parametrize("name", records_of_the_door())
def test_manual_has_every_field_with_its_default(name: str) -> None:
    call = calls()[name]
    shown: list[tuple[str, object]] = [
        (ast.unparse(argument), dataclasses.MISSING) for argument in call.args
    ]
    for keyword in call.keywords:
        style = isinstance(keyword.value, ast.Attribute)
        value = str(ast.unparse(keyword.value)) if style else ast.literal_eval(keyword.value)
        shown.append((str(keyword.arg), value))
    fields = fields_of(records_of_the_door()[name])
    assert shown == [
        (field, f"{type(value).__name__}.{value.name}" if isinstance(value, enum.Enum) else value)
        for field, value in fields.items()
    ]


def test_manual_has_every_question_to_the_host_and_no_other() -> None:
    paragraph = re.search(r"^_host_ is .*?\n\n", section(PLUGINS, "PLUGINS"), re.M | re.S)
    assert paragraph
    asked = {name for name in vars(Facts) if not name.startswith("_")}
    assert set(re.findall(r"\*([a-z_]+)\*", paragraph[0])) == asked


def test_manual_has_all_that_hook_scripts_get() -> None:
    text = section(PLUGINS, "HOOK SCRIPTS")
    events = re.search(r"^Events: (.*)\.$", text, re.MULTILINE)
    assert events
    assert re.findall(r"\*([a-z-]+)\*", events[1]) == list(scripts.EVENTS)
    used = set(re.findall(r"SFTPJAIL_[A-Z]+", inspect.getsource(scripts)))
    assert set(re.findall(r"\*(SFTPJAIL_[A-Z]+)\*", text)) == used
    assert f"*{scripts.TIMEOUT:.0f}* seconds" in text


def test_manual_and_configuration_name_the_same_profile_fields() -> None:
    fields = {field.name for field in dataclasses.fields(model.Profile)}
    fields -= {"name", "mounts_because"}  # which no file says
    assert fields == {key for name, key, _ in settings() if name.startswith("[profiles]")}


def example_plugin() -> dict[str, Any]:
    source = next(
        text for text in literal_blocks(section(PLUGINS, "EXAMPLE")) if "hookimpl" in text
    )
    plugin: dict[str, Any] = {}
    exec(source.replace("\\\\", "\\"), plugin)
    return plugin


def test_plugin_of_the_readme_keeps_the_rules() -> None:
    (source,) = [block for block in literal_blocks(README.read_text()) if "hookimpl" in block]
    module = types.ModuleType("readme")
    exec(source, vars(module))
    report = judge(module)
    assert report.problems == [] and set(report.tried) == {"on_user_create", "on_user_remove"}


def test_tests_of_the_manual_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sftpjail_welcome")
    vars(module).update(example_plugin())
    monkeypatch.setitem(sys.modules, "sftpjail_welcome", module)
    (source,) = literal_blocks(section(PLUGINS, "TESTING"))
    tests: dict[str, Any] = {}
    exec(source.replace("\\\\", "\\"), tests)
    tests["test_welcome"]()


def test_example_plugin_of_the_manual_works() -> None:
    plugin = example_plugin()
    account = model.Account("alice", 1000, 1000, "/home/alice", profile=model.Profile("sftponly"))
    key = model.Key("ssh-rsa AAAA", "ssh-rsa", 4096, "SHA256:x")
    with pytest.raises(sftpjail.SftpJailError, match="ssh-rsa keys are against our rules"):
        plugin["on_key_add"](account, key, config.Config())
    allowed = config.Config(settings={"welcome": {"types": "ssh-rsa"}})
    assert plugin["on_key_add"](account, key, allowed) is None
    assert plugin["on_user_create"](account)[0].path == "/srv/sftp/alice/WELCOME.txt"
    assert plugin["on_user_remove"](account) == [sftpjail.Remove("/srv/sftp/alice/WELCOME.txt")]


# -- commands that are shown ---------------------------------------------------------------------


def shown_commands(page: Path) -> list[list[str]]:
    """Return the arguments of every `sftpjail …` in a page's literal blocks, as the shell would pass them on."""
    found = []
    for block in literal_blocks(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\\\n", "").splitlines():
            for part in re.split(r" (?:&&|\||;) ", line):
                match = re.match(r"(?:[#$] )?(?:sudo )?sftpjail (.*)", part)
                if match:
                    found.append(shlex.split(match[1], comments=True))
    return found


@pytest.mark.parametrize("page", [README, COMMANDS, COOKBOOK], ids=lambda page: page.name)
def test_commands_that_are_shown_parse(page: Path) -> None:
    shown = shown_commands(page)
    assert len(shown) >= 8
    for arguments in shown:
        try:
            parse(arguments)
        except UsageError:
            pytest.fail(
                f"{page.name} shows `sftpjail {shlex.join(arguments)}`, which is no command"
            )


def test_readme_names_no_option_that_does_not_exist() -> None:
    known = set().union(*map(options_of, commands().values()), options_of(build_parser()))
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if "sftpjail" in line]
    spans = re.findall(r"`sftpjail [^`]*`", "\n".join(lines))
    used = {option for span in spans for option in re.findall(r"(?<=\s)--[a-z-]+", span)}
    assert used <= known
