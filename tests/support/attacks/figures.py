"""What the suites have counted: a line for each target, shown when all has run, whether or not it passed."""

from __future__ import annotations

FIGURES: list[str] = []
