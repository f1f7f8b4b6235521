"""Whether the running sshds follow their configuration, when that cannot be found out."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.errors import SftpJailError
from sftpjail.model import Problem
from sftpjail.openssh.daemons import Daemon
from sftpjail.operations import daemons
from sftpjail.system.listeners import Listener


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(1, "Operation not permitted", "/proc"), "/proc: Operation not permitted"),
        (SftpJailError("sshd does not answer"), "sshd does not answer"),
    ],
)
def test_what_cannot_be_found_out_is_a_problem(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(engine: object) -> list[Problem]:
        raise error

    engine: Any = None
    monkeypatch.setattr(daemons, "_reload", broken)
    (problem,) = daemons.reload_stale(engine)
    assert problem.what.endswith(words) and problem.severity != "open"
    assert daemons.unfinished([problem]) == 3, "the change was made"
    assert daemons.unfinished([]) == 0


def test_an_error_of_ours_is_no_problem_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(engine: object) -> list[Problem]:
        raise FileNotFoundError(2, "No such file or directory", "/x")

    engine: Any = None
    monkeypatch.setattr(daemons, "_reload", broken)
    with pytest.raises(FileNotFoundError):
        daemons.reload_stale(engine)


@pytest.mark.parametrize(("looks", "times"), [(0, 0), (3, 0), (30, 1), (500, 1)])
def test_a_daemon_is_told_again_if_it_is_slow(
    looks: int, times: int, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it follows what the change has told it, a second signal would close its sockets."""
    listener = Listener(7, "/usr/sbin/sshd", (), (("::", 22),))
    tree.listening = [listener]
    daemon = Daemon("/usr/sbin/sshd", pid=7)
    now, told, stale = [0.0], list[Listener](), iter([[daemon]] * looks)
    monkeypatch.setattr(daemons, "Host", tree.host)
    monkeypatch.setattr(daemons, "_stale", lambda host: next(stale, []))
    monkeypatch.setattr(daemons, "others", lambda host: [])
    monkeypatch.setattr(daemons.services, "forbids", lambda *_: False)
    monkeypatch.setattr(daemons.services, "reload_sshd", told.append)
    monkeypatch.setattr(daemons.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(daemons.time, "sleep", lambda long: now.__setitem__(0, now[0] + long))
    engine: Any = Engine(Config(), tree.host(), Manager(Config(plugins_disable=BUNDLED)))
    daemons.reload_stale(engine)
    assert told == [listener] * times


@pytest.mark.parametrize(("looks", "slept"), [(0, 0.0), (3, 0.15), (500, daemons.GRACE)])
def test_a_change_ends_when_sshd_has_read_it(
    looks: int, slept: float, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it rereads its files, it refuses connections."""
    now, stale = [0.0], iter([[Daemon("/usr/sbin/sshd", pid=7)]] * looks)
    monkeypatch.setattr(daemons, "Host", tree.host)
    monkeypatch.setattr(daemons, "_stale", lambda host: next(stale, []))
    monkeypatch.setattr(daemons.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(daemons.time, "sleep", lambda long: now.__setitem__(0, now[0] + long))
    daemons.wait_until_read()
    assert slept <= now[0] < slept + 0.1


def test_a_jail_that_is_open_has_not_been_set_up() -> None:
    assert daemons.unfinished([Problem("sshd jails nobody", "", severity="open")]) == 1
