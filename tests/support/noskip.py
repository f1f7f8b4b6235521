"""In tests/run, a system test that was skipped has failed: what it proves was not proven."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(hookwrapper=True)  # type: ignore[untyped-decorator,unused-ignore]
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, object, None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SFTPJAIL_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and in this run nothing may be: {report.longrepr[2]}"
        )
