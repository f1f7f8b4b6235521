"""Unit tests need no root and start no program; see fakes.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Tree, no_programs, programs
from hypothesis import HealthCheck, settings
from whole import ALL

__all__ = ["no_programs", "programs"]

# Thousands of small hosts are made and removed, which takes half of the time on a disk.
if os.access("/dev/shm", os.W_OK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

# The fixtures that hypothesis warns of hold no state that one example could leave to the next.
settings.register_profile(
    "project",
    deadline=None,
    max_examples=1000 if ALL else 50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Where all tests pass, what they have left takes no memory."""
    yield
    if not request.session.testsfailed:
        shutil.rmtree(tmp_path_factory.getbasetemp(), ignore_errors=True)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A host made of files."""
    return Tree(tmp_path)
