"""A store notices that another process has committed something, and is not woken by what it commits itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any

import pytest
from inngest_durable._core.model import Finish, RunStatus
from inngest_durable.engines.embedded import writer
from inngest_durable.engines.embedded.batch import Commit, Rows, sync
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.embedded.watches import Watches
from inngest_durable.engines.records import FinishRun, Insert
from inngest_durable.testing import MemoryStore

from packages.inngest_durable.tests.store.conftest import commit_in_thread
from packages.inngest_durable.tests.store.samples import Samples
from testkit.waiting import PATIENCE_SECONDS


@pytest.fixture
def other(path: Path, sqlite_store: SqliteStore) -> SqliteStore:
    """Another connection to the same file, as another process has it; the test closes it."""
    other = SqliteStore(path)
    other.open()
    return other


async def test_commit_of_another_connection_changes_the_number(
    sqlite_store: SqliteStore, other: SqliteStore, samples: Samples
) -> None:
    run = samples.run()
    before = sqlite_store.foreign_commits()
    await other.write(Insert(run))
    after = sqlite_store.foreign_commits()
    await other.write(samples.save(run))
    last = sqlite_store.foreign_commits()

    assert len({before, after, last}) == 3
    # What is noticed can be read.
    assert [memo.key for memo in sqlite_store.memos(run.id)] == ["pay"]

    await other.close()


async def test_number_stays_while_nobody_else_commits(
    sqlite_store: SqliteStore, other: SqliteStore, samples: Samples
) -> None:
    run = samples.run()
    await other.write(Insert(run))
    before = sqlite_store.foreign_commits()
    await sqlite_store.write(samples.save(run, "a"))
    await sqlite_store.write(samples.save(run, "b"))
    other.memos(run.id)

    assert sqlite_store.foreign_commits() == before

    await other.close()


async def test_number_stays_when_the_thread_commits(
    sqlite_store: SqliteStore, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_in_thread(monkeypatch)
    run = samples.run()
    before = sqlite_store.foreign_commits()
    await sqlite_store.write(Insert(run))
    await sqlite_store.write(samples.save(run, "a"))
    await sqlite_store.write(samples.save(run, "b"))

    assert sqlite_store.foreign_commits() == before


async def test_commit_of_another_connection_is_noticed_after_a_wait_for_it(
    sqlite_store: SqliteStore, path: Path, samples: Samples, hold: Callable[[Path], Any]
) -> None:
    """While this store's own write waits for a lock, the question is harmless; afterwards it is answered."""
    before = sqlite_store.foreign_commits()
    holder = await hold(path)
    waiting = sqlite_store.write(Insert(samples.run()))
    sqlite_store.foreign_commits()
    await holder.let_go()
    await waiting
    other = SqliteStore(path)
    other.open()
    await other.write(Insert(samples.run()))

    assert sqlite_store.foreign_commits() != before

    await other.close()


async def test_commit_of_another_connection_is_noticed_while_the_thread_has_this_one(
    sqlite_store: SqliteStore, other: SqliteStore, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk it nearly always has: what came before it took the connection is known."""
    commit_in_thread(monkeypatch)
    await sqlite_store.write(Insert(samples.run()))
    before = sqlite_store.foreign_commits()
    await other.write(Insert(samples.run()))
    await sqlite_store.write(Insert(samples.run()))
    taken, go_on = threading.Event(), threading.Event()

    def held(connection: Connection, rows: Rows) -> Commit:
        taken.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return sync(connection, rows)

    monkeypatch.setattr(writer, "sync", held)
    queued = sqlite_store.write(Insert(samples.run()))
    await asyncio.to_thread(taken.wait, PATIENCE_SECONDS)
    after = sqlite_store.foreign_commits()
    go_on.set()
    await queued

    assert after != before

    await other.close()


async def test_memory_store_has_no_neighbours(samples: Samples) -> None:
    store = MemoryStore()
    store.open()
    before = store.foreign_commits()
    await store.write(Insert(samples.run()))

    assert store.foreign_commits() == before


async def test_commit_of_another_process_right_after_the_look_is_news(
    sqlite_store: SqliteStore, path: Path, samples: Samples
) -> None:
    """Before the event loop has turned once: what looks for such commits has not run yet."""
    run = samples.run()
    await sqlite_store.write(Insert(run))
    with Watches(sqlite_store).watch(run.id) as watch, connect(path) as other:
        watch.look()
        other.execute("UPDATE runs SET recoveries = 0")
        other.commit()

        assert await watch.news(20.0)

    other.close()


async def test_end_of_a_run_is_told_to_those_who_wait_for_it(sqlite_store: SqliteStore, samples: Samples) -> None:
    run = samples.run()
    watches = Watches(sqlite_store)
    await sqlite_store.write(Insert(run))
    waiting = asyncio.ensure_future(watches.ended(run.id, 30.0))
    await sqlite_store.write(samples.save(run))

    assert not waiting.done()
    await sqlite_store.write(FinishRun(run.id, run.epoch, Finish(RunStatus.COMPLETED, None), 3.0))
    ended = await waiting

    assert ended is not None
    assert ended.status is RunStatus.COMPLETED
    assert len(watches) == 0


async def test_who_waits_for_an_end_gets_the_run_as_it_is_after_the_timeout(
    sqlite_store: SqliteStore, samples: Samples
) -> None:
    run = samples.run()
    await sqlite_store.write(Insert(run))
    found = await Watches(sqlite_store).ended(run.id, 0.0)

    assert found is not None
    assert found.status is RunStatus.RUNNING
    assert await Watches(sqlite_store).ended("unknown", 30.0) is None
