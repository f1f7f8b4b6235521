"""Fixtures of the tests with several hosts, which `tests/run fleet` runs in a root that has ansible-core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, fleet

ROOTS = ("/roots/trixie", "/roots/bookworm", "/roots/trixie")


@pytest.fixture(scope="module")
def hosts(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three hosts, two with Debian 13 and one with Debian 12 between them."""
    with fleet(tmp_path_factory.mktemp("control"), installed, ROOTS) as made:
        yield made
