"""Cells of CSV that a spreadsheet would take for formulas; they are text."""

from __future__ import annotations

import re

# As OWASP lists them. A spreadsheet shows what follows an apostrophe as text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """Return a cell as it is written, so that no spreadsheet computes it."""
    if _FORMULA.match(cell):
        return f"'{cell}"
    return cell


def plain(cell: str) -> str:
    """Return a cell as it was before `guarded`; one that was typed as it stands stays so."""
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
