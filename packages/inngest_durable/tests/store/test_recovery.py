"""Looking for dead workers, on a database that takes its time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.model import RunStatus
from inngest_durable.engines.clock import SystemClock
from inngest_durable.engines.embedded import recovery, writer
from inngest_durable.engines.embedded.batch import Commit, Rows, sync
from inngest_durable.engines.embedded.recovery import Recovery
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import AddWorker, Insert
from inngest_durable.engines.store import Store

from packages.inngest_durable.tests.store.samples import OTHER_WORKER, WORKER, Samples


class Looks:
    """Counts the looks of a worker that is the only one alive."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        self.recovery = Recovery(store, SystemClock(), WORKER, None, 10, lambda: None, self._note)

    async def more(self, count: int) -> None:
        """Return after so many further looks."""
        before = self.count
        while self.count < before + count:
            await asyncio.sleep(0.01)

    def _note(self) -> None:
        self.count += 1


async def add_orphans(store: Store, samples: Samples, count: int) -> list[str]:
    """Record runs of a worker that is dead by now; return their IDs."""
    runs = [samples.run(owner=OTHER_WORKER) for _ in range(count)]
    await store.write(AddWorker(OTHER_WORKER, 17, "host", 1000.0), *(Insert(run) for run in runs))
    return [run.id for run in runs]


async def test_log_says_that_a_suspect_waits_for_its_turn(
    sqlite_store: SqliteStore, samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    """After two deaths soon after each other, runs that did nothing wrong wait for one another."""
    innocent, suspect = (samples.run(owner=OTHER_WORKER, recoveries=recoveries) for recoveries in (0, 1))
    await sqlite_store.write(AddWorker(OTHER_WORKER, 17, "host", 1000.0), Insert(innocent), Insert(suspect))
    await Looks(sqlite_store).recovery.look()

    assert f"its run goes on [run={innocent.id}]" in caplog.text
    assert "its run goes on when no other suspect executes: it was under way at 2 deaths" in caplog.text
    assert suspect.id in caplog.messages[-1]


async def test_worker_looks_each_second_although_what_the_dead_left_cannot_be_written(
    sqlite_store: SqliteStore,
    path: Path,
    samples: Samples,
    hold: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its clients are not kept waiting for the disk, and other runs are due. Then the dead one's go on, once."""
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 0.02)
    (run_id,) = await add_orphans(sqlite_store, samples, 1)
    looks = Looks(sqlite_store)
    holder = await hold(path)
    looks.recovery.start()
    await asyncio.wait_for(looks.more(5), 20)
    before = sqlite_store.status(run_id)
    await holder.let_go()
    while sqlite_store.workers():
        await asyncio.wait_for(looks.more(1), 20)
    await looks.recovery.stop()
    run = sqlite_store.run(run_id)

    assert before is RunStatus.RUNNING
    assert run is not None
    assert (run.status, run.recoveries) == (RunStatus.WAITING, 1)


async def test_runs_of_a_dead_worker_are_recovered_in_few_commits(
    sqlite_store: SqliteStore, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each would take seconds where hundreds were under way."""
    run_ids = await add_orphans(sqlite_store, samples, 100)
    commits: list[Commit] = []

    def recording(connection: sqlite3.Connection, rows: Rows) -> Commit:
        commits.append(sync(connection, rows))
        return commits[-1]

    monkeypatch.setattr(writer, "sync", recording)
    await Looks(sqlite_store).recovery.look()

    assert {sqlite_store.status(run_id) for run_id in run_ids} == {RunStatus.WAITING}
    assert len(commits) < 5
