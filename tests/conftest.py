"""What all tests share; tests/support has what they are made with."""

from __future__ import annotations

pytest_plugins = ["noskip", "machines", "whole"]
