"""The combinations: a pattern, an adapter, a number of workers and a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crash_matrix.patterns import PATTERNS, Pattern
from crash_matrix.points import POINTS, Point

ADAPTERS = ("quart", "flask")
WORKERS = (1, 2)
# The order of the marks in each field of the table.
SIDES = tuple((adapter, workers) for adapter in ADAPTERS for workers in WORKERS)


@dataclass(frozen=True, slots=True)
class Cell:
    """One play."""

    pattern: Pattern
    adapter: str
    workers: int
    point: Point

    @property
    def is_flaky(self) -> bool:
        """Whether the step fails once."""
        return self.point.flaky == "always" or (bool(self.point.flaky) and not self.pattern.pause)

    @property
    def held(self) -> str:
        """The step whose function takes until something has happened, or empty."""
        child = self.pattern.hit if self.pattern.hit_endpoint else ""
        return {"": "", "one": "one", "hit": self.pattern.hit, "child": child}[self.point.hold]

    @property
    def is_beside(self) -> bool:
        """Whether the step may be in flight while something else is hit: its run is a child of that one."""
        return self.point.name == "redirect" and bool(self.pattern.hit_endpoint)

    def __str__(self) -> str:
        return f"{self.pattern.name}/{self.adapter}/{self.workers}/{self.point.name}"


def every_cell() -> list[Cell]:
    """Return all cells that are not empty, row by row."""
    return [
        Cell(pattern, adapter, workers, point)
        for point in POINTS.values()
        for pattern in PATTERNS.values()
        for adapter, workers in SIDES
        if point.rule.holds(pattern, workers)
    ]


def short_form() -> Iterator[Cell]:
    """
    Yield some cells: each point with each adapter, and with each number of workers that knows it.

    The patterns take turns, so that each one meets a share of the points on each side.
    """
    for row, point in enumerate(POINTS.values()):
        patterns = [pattern for pattern in PATTERNS.values() if point.rule.holds(pattern, 2)]
        # Two of the four sides: the diagonals take turns, too.
        for turn, (adapter, workers) in enumerate((SIDES[row % 2], SIDES[3 - row % 2])):
            pattern = patterns[(row + 3 * turn) % len(patterns)]
            yield Cell(pattern, adapter, workers if point.rule.holds(pattern, workers) else 2, point)


def matching(wanted: str) -> list[Cell]:
    """
    Return the cells that *wanted* names; a part that is ``*`` or missing at the end stands for all.

    Raises:
        ValueError: It names none; says what there is.
    """
    parts = [part for part in wanted.split("/") if part]
    found = [
        cell
        for cell in every_cell()
        if len(parts) <= 4 and all(part in ("*", own) for part, own in zip(parts, str(cell).split("/"), strict=False))
    ]
    if not found:
        raise ValueError(
            f"no cell is called {wanted!r}: it is <pattern>/<adapter>/<workers>/<point>, where * is all. "
            f"Patterns: {', '.join(PATTERNS)}. Adapters: {', '.join(ADAPTERS)}. Workers: 1, 2. "
            f"Points: {', '.join(POINTS)}."
        )
    return found
