"""Unit tests need no root and start no program; see fakes.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Tree, no_programs, programs
from hypothesis import HealthCheck, settings
from whole import ALL

__all__ = ["no_programs", "programs"]

# The fixtures that hypothesis warns of hold no state that one example could leave to the next.
settings.register_profile(
    "project",
    deadline=None,
    max_examples=1000 if ALL else 50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A host made of files."""
    return Tree(tmp_path)
