"""Two versions of an example as one listing, the lines that differ marked."""

from __future__ import annotations

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent


def side_by_side(quart: str, flask: str) -> str:
    """Return both files as one listing: ``-`` before a line that is Quart's alone, ``+`` before one of Flask's."""
    ours, theirs = ((FOLDER / name).read_text().splitlines() for name in (quart, flask))
    # The first characters of a difference: "- ", "+ " or two blanks; "? " lines only point at columns.
    marked = (line for line in difflib.ndiff(ours, theirs) if not line.startswith("? "))
    return "\n".join(line.rstrip() for line in marked)
