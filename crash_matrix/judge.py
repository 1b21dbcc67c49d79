"""What is demanded of a cell. Each complaint says what was expected and what there was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from crash_matrix.bystanders import ENDPOINT, STEPS, Bystanders
from crash_matrix.cells import Cell
from crash_matrix.clients import wait_for
from crash_matrix.newer import MIGRATION
from crash_matrix.play import Outcome
from crash_matrix.traps import REFUSALS
from testkit.outside import Outside
from testkit.records import Records, database_of

BEGINS = " begins"
_NEVER, _ONCE = range(1), range(1, 2)


class Judge:
    """
    Compares what came of a cell with what was promised.

    Args:
        cell: Which was played.
        outcome: What came of it.
    """

    def __init__(self, cell: Cell, outcome: Outcome) -> None:
        self._cell = cell
        self._point, self._pattern = cell.point, cell.pattern
        self._outcome = outcome
        self._outside = Outside(outcome.folder)
        self._records = Records(database_of(outcome.folder))
        self._counts = self._outside.counts()

    def complaints(self) -> list[str]:
        """Return all there is to complain of."""
        return [
            complaint
            for judged in (
                self._deaths,
                self._race,
                self._end,
                self._answers,
                self._calls,
                self._keys,
                self._memos,
                self._others,
                self._busy,
                self._file,
            )
            for complaint in judged()
        ]

    def _deaths(self) -> Iterator[str]:
        """Every process that was to die has died, of that and of nothing else."""
        expected = [-9] * self._point.deaths if self._point.code == -9 else [self._point.code]
        yield from _differ("exit codes of the dead", expected, [*self._outcome.deaths.values()])

    def _race(self) -> Iterator[str]:
        """In a race, the worker that was late has acted, and was refused."""
        if raced := self._point.env_again.get("RACES"):
            refusal = REFUSALS[raced]
            yield from _differ(f"{refusal}, to the late worker", True, refusal in self._counts)

    def _end(self) -> Iterator[str]:
        """The run has ended, and so has the one that it invoked."""
        pattern = self._pattern
        expected = {pattern.name: ["completed"], pattern.place_of_hit: ["completed"]}
        found: dict[str, list[str]] = {endpoint: [] for endpoint in expected}
        for run in self._records.runs():
            if run.endpoint in found:
                found[run.endpoint].append(run.status)
        yield from _differ("status of the runs", expected, found)

    def _answers(self) -> Iterator[str]:
        """The client has the right answer, and everybody is given the same at the wait URL from now on."""
        pattern, outcome = self._pattern, self._outcome
        right = {step: self._token(step) for step in pattern.steps} | pattern.answer
        for whose, answer in (
            ("the client", outcome.answer),
            *(("the wait URL", answer) for answer in outcome.answers),
        ):
            yield from _differ(f"status of the answer to {whose}", pattern.status, answer.status_code)
            yield from _differ(f"body of the answer to {whose}", right, _json(answer.content))
        yield from _differ("workers that answer", True, bool(outcome.answers))

    def _token(self, step: str) -> str:
        """Return the result of the last effect of a step."""
        calls = self._outside.calls(f"{self._outcome.name}.{step}")
        return str(calls[-1]["token"]) if calls else "no effect"

    def _calls(self) -> Iterator[str]:
        """Steps that were completed ran once; one that was in flight at a death at most once more for it."""
        name = self._outcome.name
        for step in (*self._pattern.steps, *self._pattern.fails):
            calls, effects = self._often(step)
            yield from _outside_of(f"calls of step {step}", calls, self._counts.get(f"{name}.{step}{BEGINS}", 0))
            yield from _outside_of(f"effects of step {step}", effects, self._counts.get(f"{name}.{step}", 0))
        if not self._point.accepted:
            yield from self._calls_of_the_unaccepted()

    def _often(self, step: str) -> tuple[range, range]:
        """Return how often a step may have been called, and may have had its effect."""
        cell, pattern, point = self._cell, self._pattern, self._point
        if step in pattern.fails:
            return _ONCE, _NEVER
        if not point.accepted:
            # The request that was answered came after the death.
            return _ONCE, _ONCE
        if step in pattern.together:
            return _once_more(point.deaths), _once_more(point.deaths)
        if step == cell.held and point.hold != "hit":
            # In a process that died, or in one that did not: it has its effect after the death.
            return _once_more(1), _ONCE
        if (step == "one" and point.name == "accept-told") or (step == pattern.hit and cell.is_beside):
            return _once_more(1), _once_more(1)
        if step == pattern.hit:
            calls = point.calls + cell.is_flaky
            return range(calls, calls + 1), range(point.effects, point.effects + 1)
        return _ONCE, _ONCE

    def _calls_of_the_unaccepted(self) -> Iterator[str]:
        """A request whose run was not accepted has left the effect of its first step, and nothing else."""
        first = self._pattern.steps[0]
        for step in (*self._pattern.steps, *self._pattern.fails):
            most = range(2) if step == first else _NEVER
            yield from _outside_of(f"effects of step {step} before", most, self._counts.get(f"subject.{step}", 0))

    def _keys(self) -> Iterator[str]:
        """All calls of a step carry one idempotency key, and no two steps the same."""
        keys: dict[str, set[str]] = {}
        for call in self._outside.calls():
            if "key" in call:
                keys.setdefault(call["action"].removesuffix(BEGINS), set()).add(call["key"])
        for step, found in keys.items():
            yield from _differ(f"number of idempotency keys of {step}", 1, len(found))
        yield from _differ(
            "distinct idempotency keys", len(keys), len({key for found in keys.values() for key in found})
        )

    def _memos(self) -> Iterator[str]:
        """The last effect of each step is the one that is memoized: none came after it."""
        memos = {
            key: record.result
            for run in self._records.runs()
            if run.endpoint in (self._pattern.name, self._pattern.place_of_hit)
            for key, record in self._records.steps(run.id).items()
        }
        for step in self._pattern.steps:
            yield from _differ(f"memo of step {step}", json.dumps(self._token(step)), memos.get(step))

    def _others(self) -> Iterator[str]:
        """The run that had ended and the one that sleeps are as they were."""
        bystanders = self._outcome.bystanders
        for name, before in bystanders.before.items():
            after = bystanders.rows_of(bystanders.ids[name])
            for table, rows in before.items():
                # A migration may have added columns.
                kept = [{column: row[column] for column in rows[0]} for row in after[table]]
                yield from _differ(f"{table} of the bystander {name}", rows, kept)
        for action, count in {"done.first": 1, "done.third": 1, "asleep.first": 1, "asleep.second": 0}.items():
            yield from _differ(f"effects of {action}", count, self._counts.get(action, 0))

    def _busy(self) -> Iterator[str]:
        """The busy one has its answer; where its worker lived on, it knows nothing of a death."""
        bystanders, deaths = self._outcome.bystanders, self._outcome.deaths
        run, answer = bystanders.busy(), bystanders.busy_answer()
        right = {step: self._outside.calls(f"busy.{step}")[-1]["token"] for step in STEPS}
        yield from _differ("status of the bystander busy", "completed", run.status)
        yield from _differ("answer of the bystander busy", (200, right), (answer.status_code, _json(answer.content)))
        lived = bystanders.busy_in not in deaths
        calls = {step: self._counts.get(f"busy.{step}{BEGINS}", 0) for step in STEPS}
        yield from _differ("calls of busy.first", 1, calls["first"])
        # At each death one of the others may have been in flight.
        most = 2 if lived else 2 + len(deaths)
        yield from _outside_of("calls of busy.second and .third", range(2, most + 1), calls["second"] + calls["third"])
        if lived:
            yield from _differ("epoch of the bystander busy", 1, run.epoch)

    def _file(self) -> Iterator[str]:
        """The database is whole; migrated, where it was; and without old runs, where they were deleted."""
        with closing(sqlite3.connect(database_of(self._outcome.folder), timeout=10)) as db:
            yield from _differ("integrity_check", [("ok",)], db.execute("PRAGMA integrity_check").fetchall())
            yield from _differ("foreign_key_check", [], db.execute("PRAGMA foreign_key_check").fetchall())
            if self._point.name == "migration":
                version = db.execute("PRAGMA user_version").fetchall()
                yield from _differ("version of the schema", [(MIGRATION.version,)], version)
                moved = db.execute("SELECT id FROM runs WHERE later = 'moved'").fetchall()
                yield from _differ("the migration of run done", True, (self._outcome.bystanders.ids["done"],) in moved)
        if self._point.name == "retention":
            yield from self._old_runs(self._outcome.bystanders)

    def _old_runs(self, bystanders: Bystanders) -> Iterator[str]:
        wait_for(lambda: bystanders.old_runs() == 0, "old runs to be deleted")
        with closing(sqlite3.connect(database_of(self._outcome.folder), timeout=10)) as db:
            query = "SELECT count(*) FROM steps WHERE run_id NOT IN (SELECT id FROM runs)"
            yield from _differ("steps without a run", [(0,)], db.execute(query).fetchall())
        bystander_runs = sum(run.endpoint == ENDPOINT for run in self._records.runs())
        yield from _differ("other runs that are left", 3, bystander_runs)


def _once_more(deaths: int) -> range:
    return range(1, 2 + deaths)


def _differ(what: str, expected: Any, found: Any) -> Iterator[str]:
    if expected != found:
        yield f"{what}: expected {expected!r}, found {found!r}"


def _outside_of(what: str, expected: range, found: int) -> Iterator[str]:
    if found not in expected:
        lowest, highest = expected[0], expected[-1]
        yield f"{what}: expected {lowest if lowest == highest else f'{lowest} to {highest}'}, found {found}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
