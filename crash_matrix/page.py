"""The document: what the marks in the table mean, how a cell is judged, and what came of each."""

from __future__ import annotations

import platform
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crash_matrix.cells import SIDES, Cell
from crash_matrix.patterns import PATTERNS
from crash_matrix.points import ALL, POINTS, Point
from crash_matrix.verdict import Verdict

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "crash-matrix.md"
GREEN, RED, EMPTY = "✓", "✗", "\N{EN DASH}"

_BEGINNING = """\
# Crash matrix

Every moment at which the application may die, with every kind of endpoint, on each framework, with one worker process
and with two. This page is written by

```sh
nox -s crash_matrix                                                # all cells, then this page
nox -s crash_matrix -- --only sequential/quart/1/after-effect      # one cell: pattern/adapter/workers/point
nox -s crash_matrix -- --only 'saga/*/2'                           # all of these
```

and a part of it is played by every plain `nox`: each point with both adapters, with one worker and with two, and the
patterns in turn.
"""

_MARKS = f"""\
## The table

The four marks in a field are Quart with 1 worker and with 2, then Flask with 1 worker and with 2. {GREEN}: everything
that is demanded was seen. {RED}: something was not. {EMPTY}: there is no such moment, see the rules below.
"""

_JUDGED = """\
## How a cell is judged

Each cell is one play with real processes: uvicorn for Quart, waitress for Flask, on one database file. Three other runs
exist beforehand: one has ended, one sleeps for an hour, one is busy in a step on the last worker. A client sends the
request. The process kills itself with SIGKILL at the named moment, or is killed while the run waits. With one worker,
it is started again, and nothing more is asked of it; with two, the other one goes on alone, and both are started again
only if both are dead. (In `migration`, the dead one is started again as the next version, beside the other one.) The
steps write each call and each effect to a ledger: one line each, appended to a separate file, which survives the death
of any process. Then:

- **The processes died** as often as they were meant to, and of nothing else.
- **The late worker was refused**, in the two races, while the step was under way in the other worker.
- **The run has ended** as completed, and there is only one; the same holds for the run that it invoked.
- **The answer is right**, for the client that insists (it follows its redirect, or asks at the wait URL of its run if
  its connection broke), and once more at the wait URL of each worker that is alive: the status, and the result of each
  step, which is the token of that step's last effect.
- **Steps that were completed ran once.** The step that was in flight at the death was called, and had its effect,
  exactly as often as the table of points says. Steps beside it (the other parallel step; the step of the invoked run,
  when the death concerns the run that invoked it) were called at most once more for each death.
- **The idempotency keys** of all calls of a step are equal, and those of any two steps differ.
- **The memo is that of the last effect**: no effect came after a step was recorded.
- **The other runs** are as they were: every row of the one that had ended and of the one that sleeps, column by column;
  the busy one has its answer, and where its worker lived on, it was neither interrupted nor taken over.
- **The database** passes `integrity_check` and `foreign_key_check`. After `migration` it is wholly of the next version;
  after `retention` the old runs are gone, with their steps, and no other run is gone.

A run that was not accepted (`accept-rows`) does not exist: its client sends the request again, and all of the above
holds for the second request; the first leaves at most the effect of its first step.

A cell that fails prints what was expected and found, the ledger, the log of the servers, and the command for that cell.

SIGKILL cannot be aimed at the middle of a system call. In `commit-torn` the kernel ends the process instead, in the
middle of its write to the log, because the file may not grow further (SIGXFSZ): as sudden, and always at the same byte.
"""


def document(verdicts: Sequence[Verdict], seconds: float) -> str:
    """Return the page about the verdicts on all cells, which took so many *seconds*."""
    return "\n".join(
        (
            _BEGINNING,
            _MARKS,
            _table({verdict.cell: not verdict.complaints for verdict in verdicts}),
            _run(verdicts, seconds),
            "## The patterns\n",
            *_patterns(),
            "",
            "## The points\n",
            *_points(),
            "",
            *_rules(),
            _JUDGED,
        )
    )


def fields(text: str) -> dict[tuple[str, str], str]:
    """Return what the table of a page says, by the names of row and column."""
    rows = [
        [field.strip().strip("`") for field in line.strip("|\n").split("|")]
        for line in text.partition("## The table")[2].partition("\n## ")[0].splitlines()
        if line.startswith("|")
    ]
    (_, *columns), _, *body = rows
    return {(row[0], column): field for row in body for column, field in zip(columns, row[1:], strict=True)}


def expected_fields(good: Mapping[Cell, bool]) -> dict[tuple[str, str], str]:
    """Return what the table is to say of cells of which it is known whether they are *good*."""
    return {
        (point.name, pattern.name): " ".join(
            _mark(good.get(Cell(pattern, adapter, workers, point))) for adapter, workers in SIDES
        )
        for point in POINTS.values()
        for pattern in PATTERNS.values()
    }


def _mark(good: bool | None) -> str:
    return EMPTY if good is None else GREEN if good else RED


def _table(good: Mapping[Cell, bool]) -> str:
    found = expected_fields(good)
    lines = ["| | " + " | ".join(PATTERNS) + " |", "|---|" + "---|" * len(PATTERNS)]
    lines += (f"| `{point}` | " + " | ".join(found[point, pattern] for pattern in PATTERNS) + " |" for point in POINTS)
    return "\n".join(lines) + "\n"


def _run(verdicts: Sequence[Verdict], seconds: float) -> str:
    good = sum(not verdict.complaints for verdict in verdicts)
    return (
        f"{good} of {len(verdicts)} cells as they should be, in {seconds / 60:.0f} minutes, at commit `{_commit()}`; "
        f"{platform.system()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}.\n"
    )


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty", "--exclude=*")
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.strip()


def _patterns() -> Iterator[str]:
    yield "Bold is the step that is hit.\n"
    yield "| pattern | what its handler does |\n|---|---|"
    for pattern in PATTERNS.values():
        yield f"| `{pattern.name}` | {pattern.does} |"


def _points() -> Iterator[str]:
    yield "| point | when the process dies | deaths | calls of the step | effects of the step |\n|---|---|---|---|---|"
    for point in POINTS.values():
        yield f"| `{point.name}` | {point.moment} | {point.deaths} | {_calls(point)} | {point.effects} |"


def _calls(point: Point) -> str:
    if point.flaky == "always":
        return f"{point.calls + 1}, of which the first fails"
    return f"{point.calls}; {point.calls + 1} {point.flaky}: the first fails" if point.flaky else str(point.calls)


def _rules() -> Iterator[str]:
    yield "Each point is known to every pattern with any number of workers, except for these:\n"
    for point in POINTS.values():
        if point.rule is not ALL:
            yield f"- `{point.name}`: {point.rule.says}"
    yield ""
