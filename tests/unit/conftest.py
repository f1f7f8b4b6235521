"""Unit tests need no root and start no program; see fakes.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fakes import Tree, no_programs, programs, pytest_configure
from hypothesis import HealthCheck, settings

__all__ = ["no_programs", "programs", "pytest_configure"]

# The fixtures that hypothesis warns of hold no state that one example could leave to the next.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("project")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A host made of files."""
    return Tree(tmp_path)
