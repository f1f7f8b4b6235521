"""sftpjail.testing: a plugin that keeps the rules, and one for each way to break them."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sftpjail import (
    Account,
    Action,
    MakeDir,
    Profile,
    Remove,
    Run,
    SftpJailError,
    WriteFile,
    hookimpl,
)
from sftpjail.engine.manager import BUNDLED
from sftpjail.testing import OnUserCreate, Tree, apply, fire, judge, standard, text
from sftpjail.testing.__main__ import main
from sftpjail.testing.guard import ChangeAttempted, watching
from sftpjail.testing.play import engine

EXAMPLE = Path(__file__).parent / "example/sftpjail_welcome.py"


def plugin(**hooks: Any) -> ModuleType:
    made = ModuleType("tested")
    for hook, function in hooks.items():
        setattr(made, hook, hookimpl(function))
    return made


def welcome(account: Account) -> list[Action]:
    return [WriteFile(f"{account.jail}/WELCOME", "hello\n")]


def farewell(account: Account) -> list[Action]:
    return [Remove(f"{account.jail}/WELCOME")]


def outside_ann() -> Tree:
    """A host on which the group is still to be joined, so that leaving it is what undoes that."""
    tree = standard()
    tree.leave("sftponly", "ann")
    return tree


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_plugin_keeps_the_rules(name: str) -> None:
    made = outside_ann if name == "accounts" else standard
    assert judge(import_module(f"sftpjail.plugins.{name}"), name, made=made).problems == []


def test_what_was_tried_is_reported() -> None:
    report = judge(plugin(on_user_create=welcome, on_user_remove=farewell))
    assert report.problems == []
    assert "+hello" in report.tried["on_user_create"]
    assert report.tried["on_user_remove"] == "- file /srv/sftp/ann/WELCOME"


counter = itertools.count()


def another(account: Account) -> list[Action]:
    return [WriteFile(f"{account.jail}/WELCOME", f"{next(counter)}\n")]


def always(account: Account) -> list[Action]:
    return [Run(("/bin/true",), "runs", always=True)]


def only_at_first(account: Account, new: bool) -> list[Action]:
    return [WriteFile(f"{account.jail}/WELCOME", f"new: {new}\n")]


def by_itself(account: Account) -> list[Action]:
    with open("/tmp/by-itself", "w") as handle:
        handle.write("x")
    return []


def in_secret(account: Account) -> list[Action]:
    with contextlib.suppress(BaseException):
        os.mkdir("/tmp/in-secret")
    return []


def by_a_program() -> list[Action]:
    subprocess.run(["/bin/true"], check=True)
    return []


def broken(account: Account) -> list[Action]:
    raise KeyError(account.name)


def yielding() -> Iterator[Action]:
    yield MakeDir("/srv/x")


def too_deep() -> list[Action]:
    return [WriteFile("/srv/none/x", "x")]


def again(account: Account) -> list[Action]:
    return [Remove(f"{account.jail}/WELCOME"), WriteFile("/srv/gone", f"{next(counter)}\n")]


def on_applied() -> None:
    raise ValueError("applied")


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        ({"on_user_create": another}, "on_user_create is not idempotent: asked twice"),
        ({"on_user_create": always}, "on_user_create does not converge: done once, it still wants"),
        ({"on_user_create": only_at_first}, "on_user_create does not converge: done once"),
        (
            {"on_user_create": welcome},
            "on_user_remove does not undo on_user_create: /srv/sftp/ann/WELCOME is left",
        ),
        (
            {"on_user_create": welcome, "on_user_remove": again},
            "on_user_remove does not converge: done once, it still wants",
        ),
        (
            {"on_key_add": by_itself},
            "on_key_add changes something by itself: open /tmp/by-itself",
        ),
        (
            {"on_user_create": in_secret},
            "on_user_create changes something by itself: os.mkdir /tmp/in-secret",
        ),
        pytest.param(
            {"on_check": by_a_program},
            "on_check changes something by itself: subprocess.Popen",
            marks=pytest.mark.real_program,  # it is stopped
        ),
        ({"on_user_remove": broken}, "on_user_remove broke: KeyError: 'ann'"),
        ({"on_explain": broken}, "on_explain broke: KeyError: 'ann'"),
        ({"on_setup": yielding}, "on_setup returned <generator"),
        ({"on_setup": too_deep}, "on_setup wants what cannot be done: cannot reach /srv/none/x"),
        ({"on_applied": on_applied}, "plugin plugin: on_applied broke: ValueError: applied"),
        ({"on_user_craete": welcome}, "on_user_craete"),
    ],
)
def test_a_plugin_that_breaks_a_rule(hooks: dict[str, Callable[..., Any]], problem: str) -> None:
    found = judge(plugin(**hooks)).problems
    assert any(problem in line for line in found), found
    assert not Path("/tmp/by-itself").exists() and not Path("/tmp/in-secret").exists()


def test_a_wrapper_breaks_a_rule() -> None:
    around = plugin(on_setup=yielding)
    around.on_setup.sftpjail_impl["hookwrapper"] = True
    (found,) = judge(around).problems
    assert "on_setup is a hook wrapper" in found


def test_a_veto_breaks_no_rule() -> None:
    def veto(account: Account) -> list[Action]:
        raise SftpJailError("never")

    report = judge(plugin(on_user_create=veto))
    assert report.problems == [] and report.tried == {
        "on_user_create": "refuses: plugin plugin: never"
    }


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(EXAMPLE)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sftpjail_welcome: keeps the rules"
    rogue = tmp_path / "rogue.py"
    rogue.write_text(
        "from sftpjail import MakeDir, hookimpl\n\n@hookimpl\ndef on_setup():\n    return [MakeDir('/srv/x')]\n"
    )
    assert main([str(rogue)]) == 1
    assert capsys.readouterr().out == "rogue: on_teardown does not undo on_setup: /srv/x is left\n"
    assert main(["no.such.module"]) == 1
    assert "plugin no.such.module does not load: ModuleNotFoundError" in capsys.readouterr().out
    for words in ([], [str(EXAMPLE), "types"], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2


def test_settings_reach_the_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strict = tmp_path / "strict.py"
    strict.write_text(
        "from sftpjail import SftpJailError, hookimpl\n\n@hookimpl\ndef on_key_add(key, config):\n"
        "    raise SftpJailError('settings: ' + config.settings['strict']['types'])\n"
    )
    assert main([str(strict), "types=rsa"]) == 0
    assert "on_key_add: refuses: plugin strict: settings: rsa" in capsys.readouterr().out


def test_a_host_of_a_dict() -> None:
    tree = Tree.of(
        {
            "groups": {"web": 700},
            "accounts": {"zoe": {"uid": 1500, "home": "/srv/zoe", "groups": ["web"]}, "yan": 1501},
            "files": {
                "/etc/motd": "hi\n",
                "/srv/x": {"content": "x", "owner": (1500, 700), "mode": 0o600},
                "/srv/d/": {"owner": (0, 700), "mode": 0o750},
            },
            "mounts": {"/srv/sftp/zoe/web": "/srv/d"},
            "programs": {"quota -u zoe": "7\n", "quota -u yan": (1, "", "none\n")},
        }
    )
    host = tree.host()
    assert host.text("/etc/motd") == "hi\n" and host.in_group("zoe", "web")
    seen = host.stat("/srv/x")
    assert seen and (seen.st_uid, seen.st_gid, seen.st_mode & 0o7777) == (1500, 700, 0o600)
    seen = host.stat("/srv/d")
    assert seen and (seen.st_uid, seen.st_gid, seen.st_mode & 0o7777) == (0, 700, 0o750)
    assert host.mount_at("/srv/sftp/zoe/web") and host.which("quota")
    assert host.ask(["quota", "-u", "zoe"]).out == "7\n"
    assert host.ask(["/usr/bin/quota", "-u", "yan"]).code == 1
    with pytest.raises(SftpJailError, match="no answer of: quota -u bob"):
        host.ask(["quota", "-u", "bob"])
    place = tree.root
    del tree, host
    assert not place.exists()


def test_one_hook_and_a_plan_as_text() -> None:
    tree, module = standard(), plugin(on_user_create=welcome, on_user_remove=farewell)
    event = OnUserCreate(ACCOUNT, new=True)
    assert fire(module, event, tree) == [WriteFile("/srv/sftp/ann/WELCOME", "hello\n")]
    plan = engine(module, tree).plan([event])
    assert "+hello" in text(plan, tree)
    apply(module, [event], tree)
    assert tree.host().text("/srv/sftp/ann/WELCOME") == "hello\n"
    assert not apply(module, [event], tree)


ACCOUNT = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))


@pytest.mark.real_program
def test_the_guard_lets_nobody_change_anything(tmp_path: Path) -> None:
    with watching():  # once, so that it is there
        pass
    (tmp_path / "x").write_text("x")
    tries: list[Callable[[], object]] = [
        lambda: (tmp_path / "new").write_text("x"),
        lambda: os.open(tmp_path / "x", os.O_RDWR),
        lambda: os.rename(tmp_path / "x", tmp_path / "y"),
        lambda: os.unlink(tmp_path / "x"),
        lambda: os.chmod(tmp_path / "x", 0o600),
        lambda: os.chown(tmp_path / "x", -1, -1),
        lambda: os.symlink("x", tmp_path / "y"),
        lambda: os.system("true"),
    ]
    for change in tries:
        with pytest.raises(ChangeAttempted), watching():
            change()
    with watching() as seen:
        assert (tmp_path / "x").read_text() == "x"
    assert seen == [] and [path.name for path in tmp_path.iterdir()] == ["x"]
    (tmp_path / "x").unlink()
