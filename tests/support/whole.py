"""Tests that are too long for every run, and run whole with `tests/run … --all` alone.

Those marked `whole` run with it alone. Of those marked `halved` one release has every other one, and the other
release the rest, so that a run of both has them all once.
"""

from __future__ import annotations

import os

import pytest

ALL = bool(os.environ.get("SFTPJAIL_ALL"))
HALF = {"bookworm": 0, "trixie": 1}.get(os.environ.get("SFTPJAIL_SANDBOX", ""))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for --all; it is deselected, so that nobody takes it for skipped."""
    if ALL:
        return
    left = [item for item in items if item.get_closest_marker("whole")]
    if HALF is not None and not config.option.keyword:  # who asks for one by name gets it
        left += [item for item in items if item.get_closest_marker("halved")][1 - HALF :: 2]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Whether every attack and every round is wanted, and not a sample."""
    return ALL
