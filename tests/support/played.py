"""A host made of files on which plans happen: what a transaction would do is played on the tree."""

from __future__ import annotations

import contextlib
import os
from types import ModuleType
from typing import Any

import pytest
from answers import judge_output
from fakes import ME, FakeHost, Programs, Tree
from fakesshd import Sshd

from sftpjail import hookimpl
from sftpjail.actions import AddAccount, DeleteAccount
from sftpjail.cli import accounts, check, context, main
from sftpjail.config import Config
from sftpjail.engine import engine
from sftpjail.engine.engine import Engine
from sftpjail.engine.engine import Stage as Planning
from sftpjail.engine.kinds import accounts as kinds_of_accounts
from sftpjail.engine.kinds import kind_of
from sftpjail.engine.manager import Manager
from sftpjail.engine.memory import remember
from sftpjail.engine.plan import OnSetup, Plan
from sftpjail.jails.membership import jailed
from sftpjail.openssh.pam_account import PROGRAM
from sftpjail.operations.apply import plan_all
from sftpjail.paths import LIB
from sftpjail.system import account_lines, departures
from sftpjail.system.programs import Answer
from sftpjail.testing.play import play

ENTRIES = ("useradd-post", "userdel-pre", "userdel-post", "elsewhere")
SOCKET = "/var/lib/sftpjail/log/log"
RSYSLOG = "/etc/rsyslog.d/10-sftpjail.conf"


class Stage:
    """A set-up host with rsyslog and one jail, ann's, and bob beside it; see `tree` for what can be broken."""

    def __init__(self, tree: Tree, config: Config | None = None) -> None:
        self.tree, self.config = tree, config or Config()
        tree.account("ann", 1001)
        tree.account("bob", 1002)
        for name in ENTRIES:
            tree.write(f"{LIB}/entry/{name}", "#!/bin/sh\nexit 0\n")
        tree.program("rsyslogd")
        tree.directory("/etc/rsyslog.d")
        tree.directory("/usr/local/sbin")
        tree.directory("/etc/sftpjail")
        tree.directory("/dev")
        tree.write("/etc/shadow", "ann:*:19000:0:99999:7:::\nbob:*:19000:0:99999:7:::\n")
        tree.write("/etc/shells", "/bin/sh\n/bin/bash\n")
        tree.write("/run/sshd.pid", "7\n")
        tree.pids = {"sshd": 7, "rsyslog": 8}
        self.set_up()
        tree.write(SOCKET, "")
        tree.sockets = {SOCKET}
        self.join("sftponly", "ann")
        self.set_up()
        tree.write("/etc/ssh/authorized_keys/ann", "ssh-ed25519 AAAAgood ann\n")
        self.reload()

    def host(self) -> FakeHost:
        """Return the facts as they are now."""
        return self.tree.host()

    def engine(self, tolerant: bool = False) -> Engine:
        """Return an engine with all bundled plugins."""
        return Engine(self.config, self.host(), Manager(self.config, tolerant))

    def join(self, group: str, name: str) -> None:
        """Add an account to a group."""
        self.tree.join(group, name)

    def set_up(self) -> None:
        """Do `sftpjail setup`."""
        engine = self.engine()
        plan = plan_all(engine, [OnSetup()], jailed(self.config, engine.host).values(), [])
        assert not plan.errors, plan.errors
        self.play(plan)

    def reload(self) -> None:
        """Let sshd have read its files: its pid file is younger than they are."""
        os.utime(self.tree.root / "run/sshd.pid", (2**31, 2**31))

    @property
    def points(self) -> list[tuple[str, str]]:
        """What is mounted, with its options."""
        return self.tree.points

    def play(self, plan: Plan) -> None:
        """Let a plan happen."""
        play(plan, self.tree)

    def umount(self, target: str) -> None:
        """Unmount what is on TARGET."""
        self.tree.unbind(target)


def rogue(**hooks: Any) -> ModuleType:
    """Return a third-party plugin."""
    made = ModuleType("rogue")
    for hook, function in hooks.items():
        setattr(made, hook, hookimpl(function))
    return made


def keygen(argv: object, stdin: str) -> Answer:
    """Be `ssh-keygen -l -f -`: AAAAgood is a key, and what stands last; other blobs are none."""
    words = [line.split() for line in stdin.splitlines()]
    said = [
        f"256 SHA256:{w[1]} {w[2] if len(w) > 2 else 'no comment'} (ED25519)\n"
        for w in words
        if "AAAAgood" in w[1] or w[1].endswith("AAAA")
    ]
    return Answer(0 if said else 255, "".join(said), "")


@pytest.fixture
def stage(tree: Tree, sshd: Sshd, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A healthy host with the jail of ann."""
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    programs.answer_by("ssh-keygen", keygen)
    programs.answer(PROGRAM, out="0 Success\n")
    return Stage(tree)


class Run:
    """Runs sftpjail and returns its exit code and output; `err` is what it said on standard error the last time."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.err = ""

    def __call__(self, *words: str) -> tuple[int, str]:
        code = main.main(words)
        said = self.capsys.readouterr()
        self.err = said.err
        judge_output(("sftpjail", *words), code, said.out)
        return code, said.out


def _run_account_programs(plan: Plan, host: FakeHost) -> list[str]:
    """Ask the played useradd and userdel; return notices."""
    actions = [step.action for step in plan.steps]
    asked = [action for action in actions if isinstance(action, AddAccount | DeleteAccount)]
    return [notice for action in asked if (notice := kind_of(action).perform(action, host))]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what belongs to whoever runs the tests be root's, also through a descriptor."""
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        return os.stat_result((*found[:4], 0 if found[4] == ME[0] else found[4], *found[5:10]))

    monkeypatch.setattr(os, "fstat", fstat)


@pytest.fixture
def run(stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs sftpjail as root on the stage; a plan that is applied is played there."""
    monkeypatch.setattr(context.os, "geteuid", lambda: 0)
    for module in (engine, check, accounts, context):
        monkeypatch.setattr(module, "Host", stage.host)
    monkeypatch.setattr(context.configuration, "load", lambda path: stage.config)
    monkeypatch.setattr(engine.locks, "lock", lambda path, timeout: contextlib.nullcontext())
    monkeypatch.setattr(engine.Journal, "recover", lambda self, arrived: False)

    def entries(path: str) -> list[list[str]]:
        lines = {"/etc/passwd": stage.tree.people, "/etc/group": stage.tree.group_lines}
        return [line.split(":") for line in lines[path]]

    monkeypatch.setattr(kinds_of_accounts, "entries", entries)
    monkeypatch.setattr(account_lines, "ETC", str(stage.tree.root / "etc"))
    monkeypatch.setattr(departures, "LEAVING", str(stage.tree.root / "leaving"))

    def apply(self: Engine, plan: Plan, *later: Planning) -> list[str]:
        remember(plan, self.host)
        notices = _run_account_programs(plan, self.host)
        stage.play(plan)
        for plan_more in later:
            more = plan_more(stage.engine())
            remember(more, stage.host())
            plan.events = [*plan.events, *more.events]
            plan.steps += more.steps
            plan.kept.extend(more.kept)
            plan.left.extend(more.left)
            stage.play(more)
        stage.reload()
        return notices

    monkeypatch.setattr(Engine, "apply", apply)
    return Run(capsys)
