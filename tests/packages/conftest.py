"""Fixtures of the package tests, which `tests/run packages` runs in the roots that they need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builds import Build, copy, make, older

ROOTS = Path("/roots")
ARCH = os.environ.get("SFTPJAIL_SANDBOX", "").endswith("-arch")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of a whole host run in every clean root that is shown to us; the stand-in for Arch is one itself."""
    if "clean" in metafunc.fixturenames:
        roots = sorted(str(path) for path in ROOTS.iterdir()) if ROOTS.exists() else []
        places = ["host"] if ARCH else roots
        metafunc.parametrize("clean", places, ids=[Path(place).name for place in places])


@pytest.fixture(scope="session")
def target() -> str:
    return "native-pacman" if ARCH else "native-deb"


@pytest.fixture(scope="session")
def built(target: str) -> Build:
    """This checkout's packages."""
    return make(copy(), target)


@pytest.fixture(scope="session")
def previous(target: str) -> Build:
    """Those of an earlier release."""
    return make(older(copy()), target)
