"""The short form of the matrix: each point with each adapter and with each number of workers, the patterns in turn."""

from __future__ import annotations

from itertools import product

import pytest

from crash_matrix.cells import ADAPTERS, SIDES, WORKERS, Cell, every_cell, matching, short_form
from crash_matrix.patterns import PATTERNS
from crash_matrix.points import ALL, POINTS
from crash_matrix.verdict import try_cell
from testkit.forks import Zygote


@pytest.mark.parametrize("cell", [*short_form()], ids=str)
def test_cell(cell: Cell, zygote: Zygote) -> None:
    verdict = try_cell(cell, zygote)

    assert not verdict.complaints, verdict


def test_short_form_leaves_nothing_out() -> None:
    cells = list(short_form())

    assert {*cells} <= {*every_cell()}
    assert {(cell.point.name, cell.adapter) for cell in cells} == {*product(POINTS, ADAPTERS)}
    assert {(cell.point.name, cell.workers) for cell in cells} == {
        (cell.point.name, cell.workers) for cell in every_cell()
    }
    assert {cell.pattern.name for cell in cells} == {*PATTERNS}


def test_every_point_is_known_to_some_pattern() -> None:
    """A rule that holds for none would empty a row in silence, and one that holds for all would be none."""
    for point in POINTS.values():
        knowing = [case for case in product(PATTERNS.values(), WORKERS) if point.rule.holds(*case)]

        assert knowing
        assert (len(knowing) == len(PATTERNS) * len(WORKERS)) == (point.rule is ALL)


def test_cells_are_found_by_name() -> None:
    (one,) = matching("sequential/quart/1/after-effect")

    assert str(one) == "sequential/quart/1/after-effect"
    assert len(matching("saga/*/2/backoff")) == len(ADAPTERS)
    assert len(matching("sleep/flask")) == sum(
        point.rule.holds(PATTERNS["sleep"], workers) for point in POINTS.values() for workers in WORKERS
    )
    assert len(matching("*/*/*/redirect")) == len(PATTERNS) * len(SIDES)


@pytest.mark.parametrize("wanted", ["sequential/quart/3", "sequential/quart/1/sleep", "nothing", "a/b/c/d/e"])
def test_cell_that_there_is_not_is_an_error(wanted: str) -> None:
    with pytest.raises(ValueError, match="no cell is called"):
        matching(wanted)
