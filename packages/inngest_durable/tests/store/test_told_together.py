"""An event is in the commit of what it tells of: no crash comes between them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.model import Failure, Park, Run, StepState
from inngest_durable.engines.embedded.database import Database
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import ClaimRun, Insert, ParkRun, RecoverRun, SaveMemo, Write

from packages.inngest_durable.tests.store.samples import OTHER_WORKER, WORKER, Samples

# A write whose event is a row of its own, after those that make it possible.
Writes = Callable[[Samples, Run], list[Write]]


def retrying(samples: Samples, run: Run) -> SaveMemo:
    failed: dict[str, Any] = {"state": StepState.RETRYING, "result": None, "failure": Failure("E", "down")}
    return SaveMemo(run.id, 1, samples.memo("pay", wake_at=1003.0, **failed), at=1002.0, started_at=1001.0)


def parked(run: Run) -> ParkRun:
    return ParkRun(run.id, 1, Park(1003.0, 1), 1002.0, "a step waits")


WRITES: dict[str, Writes] = {
    "an attempt failed": lambda samples, run: [retrying(samples, run)],
    "a later attempt succeeded": lambda samples, run: [
        retrying(samples, run),
        SaveMemo(run.id, 1, samples.memo("pay", attempt=2), at=1004.0, started_at=1003.0),
    ],
    "a pass ended": lambda _, run: [parked(run)],
    "a pass began": lambda _, run: [parked(run), ClaimRun(run.id, 1, OTHER_WORKER, 1003.0, ())],
    "a worker died": lambda _, run: [RecoverRun(run.id, 1, 1005.0, WORKER)],
}


class Copies:
    """
    The database as a SIGKILL would leave it before each statement of the one connection that writes.

    Args:
        path: The database.
        folder: Where the copies go.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._count = 0
        self.statements: list[str] = []

    def take(self, statement: str) -> None:
        """Copy all that is in the files now: that survives the process, whoever holds what in memory."""
        self.statements.append(statement)
        self._count += 1
        folder = self._folder / f"{self._count:03}"
        folder.mkdir(parents=True)
        for name in (self._path.name, f"{self._path.name}-wal"):
            shutil.copy(self._path.parent / name, folder / name)

    def __iter__(self) -> Iterator[Path]:
        """Yield the path of the database in each copy, the oldest first."""
        for folder in sorted(self._folder.iterdir()):
            yield folder / self._path.name


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connection by which the store that is opened next writes."""
    found: list[sqlite3.Connection] = []
    opened = Database.open

    def opening(database: Database) -> tuple[sqlite3.Connection, bytes]:
        connection, secret = opened(database)
        found.append(connection)
        return connection, secret

    monkeypatch.setattr(Database, "open", opening)
    return found


@pytest.mark.parametrize("writes", WRITES.values(), ids=WRITES)
async def test_no_crash_comes_between_a_write_and_its_event(
    writes: Writes, path: Path, tmp_path: Path, samples: Samples, writing: list[sqlite3.Connection]
) -> None:
    """Whichever statement a SIGKILL comes before: both are there, or neither is."""
    run = samples.run()
    *before, write = writes(samples, run)
    store = SqliteStore(path)
    store.open()
    await store.write(Insert(run), *before)
    copies = Copies(path, tmp_path / "copies")
    writing[0].set_trace_callback(copies.take)
    await store.write(write)
    writing[0].set_trace_callback(None)
    copies.take("the end")
    await store.close()

    seen = [stored(copy, run) for copy in copies]
    (state, events), (new_state, new_events) = seen[0], seen[-1]
    assert state != new_state
    assert len(new_events) == len(events) + 1
    assert [pair for pair in seen if pair not in (seen[0], seen[-1])] == []
    assert "COMMIT" in copies.statements


def stored(path: Path, run: Run) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return what is on disk of a run and its memos, and what is told of it."""
    with closing(sqlite3.connect(path)) as database:
        state = [
            *database.execute("SELECT status, epoch, owner FROM runs WHERE id = ?", (run.id,)),
            *database.execute("SELECT key, state, attempt FROM steps WHERE run_id = ?", (run.id,)),
        ]
        return state, database.execute("SELECT kind, data FROM run_events WHERE run_id = ?", (run.id,)).fetchall()
