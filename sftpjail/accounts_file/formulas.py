"""Cells of CSV that a spreadsheet would take for formulas; they are text."""

from __future__ import annotations

import re

# As OWASP lists them. A spreadsheet shows what follows an apostrophe as text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """Return a cell as it is written, so that no spreadsheet computes it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def plain(cell: str) -> str:
    """Return a cell as it was before `guarded`; one that was typed as it stands stays so."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
