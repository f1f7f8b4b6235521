"""The system tests; machines.py has their machines.

`tests/run system` runs them as they are meant to be run: in a root of each release. A skipped one
then fails.
"""

from __future__ import annotations

import pytest

pytest_plugins = ["noskip", "machines", "whole"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "booted: needs a machine that systemd has booted")
    config.addinivalue_line("markers", "syslog_ng: needs a root with syslog-ng instead of rsyslog")
    config.addinivalue_line("markers", "directory: needs a root with slapd, and nslcd or SSSD")
