"""The document in `docs` is that of the code."""

from __future__ import annotations

from crash_matrix.cells import every_cell
from crash_matrix.page import PAGE, RED, document, expected_fields, fields
from crash_matrix.verdict import Verdict


def test_table_of_the_document_has_the_cells_of_the_code() -> None:
    """Rows, columns and empty fields; and whoever publishes a red field sees it here."""
    assert fields(PAGE.read_text()) == expected_fields(dict.fromkeys(every_cell(), True))


def test_text_of_the_document_is_that_of_the_code() -> None:
    """All but the line that says when it was played."""
    verdicts = [Verdict(cell, (), "", 0) for cell in every_cell()]

    assert _but_for_the_run(PAGE.read_text()) == _but_for_the_run(document(verdicts, 0))


def test_cell_that_failed_is_red() -> None:
    cells = every_cell()
    verdicts = [Verdict(cell, ("it failed",) if cell == cells[0] else (), "", 0) for cell in cells]
    first, *others = fields(document(verdicts, 0)).values()

    assert first.startswith(RED)
    assert first.count(RED) == 1
    assert not any(RED in field for field in others)


def _but_for_the_run(text: str) -> list[str]:
    return [line for line in text.splitlines() if " cells as they should be, " not in line]
