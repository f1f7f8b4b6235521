"""Tests that are too long for every run, and run whole with `tests/run … --all` alone.

Those marked `whole` run with it alone. Of those marked `halved` one release has every other one, and the other
release the rest, so that a run of both has them all once. With `tests/run --sample` all of them run, and those that
can are no longer than in every run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

ALL = bool(os.environ.get("SFTPJAIL_ALL"))
SAMPLE = bool(os.environ.get("SFTPJAIL_SAMPLE"))
HALF = {"bookworm": 0, "trixie": 1}.get(os.environ.get("SFTPJAIL_SANDBOX", ""))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for --all; it is deselected, so that nobody takes it for skipped."""
    if ALL or SAMPLE:
        return
    half = None if config.option.keyword else HALF  # who asks for one by name gets it
    kept = chosen(items, half)
    left = [item for item in items if item not in kept]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def chosen(items: Sequence[pytest.Item], half: int | None) -> list[pytest.Item]:
    """Return the tests of an ordinary run, each once.

    Args:
        items: all that were collected.
        half: which of those that are halved, 0 or 1; None for both. They take turns.
    """
    kept = [item for item in items if not item.get_closest_marker("whole")]
    halved = [item for item in kept if item.get_closest_marker("halved")]
    others = set() if half is None else set(halved[1 - half :: 2])
    return [item for item in kept if item not in others]


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Whether every attack and every round is wanted, and not a sample."""
    return ALL
