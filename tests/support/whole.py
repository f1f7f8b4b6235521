"""Tests that are too long for every run: marked `whole`, they run with `tests/run … --all` alone."""

from __future__ import annotations

import os

import pytest

ALL = bool(os.environ.get("SFTPJAIL_ALL"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for --all; it is deselected, so that nobody takes it for skipped."""
    whole = [] if ALL else [item for item in items if item.get_closest_marker("whole")]
    if whole:
        config.hook.pytest_deselected(items=whole)
        items[:] = [item for item in items if item not in whole]


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Whether every attack and every round is wanted, and not a sample."""
    return ALL
