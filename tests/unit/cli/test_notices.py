"""The moment at which daemons are told: the directories that they read change no more, and the log still knows of it."""

from __future__ import annotations

import pytest
from fakes import listing
from furnished import MakeWorld, committed, everything, worlds
from world import Death, World

__all__ = ["worlds"]


def watched(world: World) -> list[tuple[bool, list[str]]]:
    """Return, whenever sshd is told, whether the log is there and committed, and which old versions lie about."""
    told: list[tuple[bool, list[str]]] = []

    def watch(name: str, path: str) -> None:
        if (name, path) == ("notify", "sshd"):
            told.append(
                (committed(world), [name for name in listing(world.root) if "sftpjail-" in name])
            )

    world.syscalls.watch = watch
    return told


def test_old_versions_are_gone_before_a_daemon_is_told(worlds: MakeWorld) -> None:
    world = worlds()
    told = watched(world)
    engine, plan = world.plan(everything)
    engine.apply(plan)
    assert told == [(True, [])]
    assert not (world.state / "journal").exists()


def test_and_also_when_the_next_run_tells_it(worlds: MakeWorld) -> None:
    world = worlds()
    engine, plan = world.plan(everything)
    world.syscalls.watch = lambda name, path: setattr(world.syscalls, "dead", committed(world))
    with pytest.raises(Death):
        engine.apply(plan)
    told = watched(world)
    assert world.recover() and told == [(True, [])]
