"""How the SQLite store commits: in groups, durably, and however long the disk or another process takes."""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.model import Failure, StepState
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.embedded import checkpointer, pace, writer
from inngest_durable.engines.embedded import store as store_module
from inngest_durable.engines.embedded.batch import Commit, Group, Rows, sync, write_rows
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import Insert, SaveMemo
from inngest_durable.errors import StoreError

from packages.inngest_durable.tests.store.conftest import commit_in_thread
from packages.inngest_durable.tests.store.samples import Samples, stored_keys
from testkit.waiting import PATIENCE_SECONDS


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Size of each batch that was committed, and the thread that did it."""
    seen: list[tuple[int, str]] = []
    written: list[int] = []

    def counting(connection: sqlite3.Connection, batch: list[Group], *options: Any) -> Rows:
        written.append(len(batch))
        return write_rows(connection, batch, *options)

    def recording(connection: sqlite3.Connection, rows: Rows) -> Commit:
        done = sync(connection, rows)
        seen.append((written.pop(), threading.current_thread().name))
        return done

    monkeypatch.setattr(writer, "write_rows", counting)
    monkeypatch.setattr(writer, "sync", recording)
    return seen


async def test_resolved_write_is_seen_by_another_connection(
    sqlite_store: SqliteStore, path: Path, samples: Samples
) -> None:
    run = samples.run()
    queued = sqlite_store.write(Insert(run), samples.save(run, "a"))

    assert stored_keys(path) == []

    await queued

    assert stored_keys(path) == ["a"]


async def test_write_of_a_caller_who_has_come_too_deep_holds_up_no_other(
    sqlite_store: SqliteStore, path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For Python, which then refuses any call. The next write takes it along."""
    run = samples.run()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_soon", _refuse)
        with pytest.raises(RecursionError):
            sqlite_store.write(Insert(run))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await sqlite_store.write(samples.save(run, "a"))

    assert stored_keys(path) == ["a"]


def _refuse(*_: object) -> None:
    raise RecursionError


async def test_concurrent_writes_share_a_commit(
    sqlite_store: SqliteStore, samples: Samples, commits: list[tuple[int, str]]
) -> None:
    runs = [samples.run() for _ in range(100)]

    async def handler(run: Any) -> None:
        await sqlite_store.write(Insert(run), samples.save(run, "a"))
        await sqlite_store.write(samples.save(run, "b"))

    await asyncio.gather(*(handler(run) for run in runs))

    assert sum(size for size, _ in commits) == 200
    assert len(commits) <= 4


async def test_writes_of_the_next_loop_turns_join_the_batch(
    sqlite_store: SqliteStore, samples: Samples, commits: list[tuple[int, str]]
) -> None:
    run = samples.run()
    await sqlite_store.write(Insert(run))
    commits.clear()
    writes = []
    for number in range(3):
        writes += [sqlite_store.write(samples.save(run, f"{number}{letter}")) for letter in "ab"]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)

    assert commits == [(6, "MainThread")]


async def test_lazy_writes_make_no_commit_of_their_own(
    sqlite_store: SqliteStore, samples: Samples, commits: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_LAZY_SECONDS", 3600.0)
    run = samples.run()
    lazy = [sqlite_store.write(Insert(run), lazy=True), sqlite_store.write(samples.save(run, "a"), lazy=True)]
    await asyncio.sleep(0.05)

    assert commits == []

    await sqlite_store.write(samples.save(run, "b"))

    assert commits == [(3, "MainThread")]
    assert all(write.done() for write in lazy)


async def test_flood_of_writes_is_cut_into_batches(
    sqlite_store: SqliteStore, samples: Samples, commits: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MOST_GROUPS", 10)
    run = samples.run()
    await sqlite_store.write(Insert(run))
    await asyncio.gather(*(sqlite_store.write(samples.save(run, f"{number:02}")) for number in range(25)))

    assert [size for size, _ in commits] == [1, 10, 10, 5]
    assert [memo.key for memo in sqlite_store.memos(run.id)] == [f"{number:02}" for number in range(25)]


async def test_slow_disk_is_left_to_a_thread(
    sqlite_store: SqliteStore, samples: Samples, commits: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_SLOW_SECONDS", -1.0)
    run = samples.run()
    await sqlite_store.write(Insert(run))
    await asyncio.gather(*(sqlite_store.write(samples.save(run, f"{number}")) for number in range(5)))

    assert commits == [(1, "MainThread"), (5, "inngest-writer")]


async def test_loop_goes_on_while_another_process_holds_the_database(
    sqlite_store: SqliteStore,
    path: Path,
    samples: Samples,
    hold: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "_WARN_SECONDS", 0.1)
    first, second = samples.run(), samples.run()
    await sqlite_store.write(Insert(first))
    holder = await hold(path)
    writes = [sqlite_store.write(samples.save(first)), sqlite_store.write(Insert(second))]
    started = time.monotonic()

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    turns = 0
    async with asyncio.timeout(20):
        while turns <= 20 or len(warnings()) < 2:
            await asyncio.sleep(0.001)
            turns += 1
    late = sqlite_store.write(samples.save(second))

    assert not any(write.done() for write in [*writes, late])
    assert sqlite_store.failing is None
    assert sqlite_store.run(first.id) == first

    await holder.let_go()
    await asyncio.gather(*writes, late)

    assert len(warnings()) <= (time.monotonic() - started) / 0.1
    assert "another process holds the database" in warnings()[0]
    assert stored_keys(path) == ["pay", "pay"]


async def test_commit_of_another_process_is_waited_for_on_the_loop(
    sqlite_store: SqliteStore,
    path: Path,
    samples: Samples,
    hold: Callable[[Path], Any],
    commits: list[tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit is over in a moment, and what comes in meanwhile goes along."""
    monkeypatch.setattr(writer, "_BUSY_TURNS", 1_000_000)
    run = samples.run()
    await sqlite_store.write(Insert(run))
    holder = await hold(path)
    first = sqlite_store.write(samples.save(run, "a"))
    await asyncio.sleep(0.02)
    second = sqlite_store.write(samples.save(run, "b"))
    await holder.let_go()
    await asyncio.gather(first, second)

    assert commits == [(1, "MainThread"), (2, "MainThread")]


async def test_store_opens_while_another_process_holds_the_database(
    sqlite_store: SqliteStore, path: Path, hold: Callable[[Path], Any]
) -> None:
    holder = await hold(path)
    second = SqliteStore(path)
    second.open()

    assert second.secret == sqlite_store.secret

    await second.close()
    await holder.let_go()


async def test_database_that_stays_busy_does_not_hold_up_the_close_for_ever(
    path: Path,
    samples: Samples,
    hold: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store_module, "_CLOSE_SECONDS", 0.2)
    # The first write is with the thread at once, the second is queued behind it.
    monkeypatch.setattr(writer, "_BUSY_TURNS", 0)
    monkeypatch.setattr(writer, "_BUSY_LOOKS", 0)
    store = SqliteStore(path)
    store.open()
    run = samples.run()
    await store.write(Insert(run))
    holder = await hold(path)
    first = store.write(samples.save(run, "a"))
    await asyncio.sleep(0.05)
    second = store.write(samples.save(run, "b"))
    await store.close()
    await holder.let_go()

    for write in (first, second):
        with pytest.raises(StoreError, match="closed before"):
            await write
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "1 writes are lost: the database could not be written before the store closed",
        "1 writes are lost: the database could not be written before the store closed",
    ]


@pytest.fixture
def full_disk() -> Iterator[Callable[[bool], None]]:
    """Switches a limit of 1 MiB for each file of this process on and off."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(on: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024 if on else soft, hard))

    yield switch
    switch(False)


async def test_write_that_the_disk_refuses_is_kept_and_tried_again(
    sqlite_store: SqliteStore,
    path: Path,
    samples: Samples,
    full_disk: Callable[[bool], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = samples.run()
    await sqlite_store.write(Insert(run))
    full_disk(True)
    large = sqlite_store.write(samples.save(run, "large", result=b'"' + b"x" * 2_000_000 + b'"'))
    async with asyncio.timeout(20):
        while sqlite_store.failing is None:
            await asyncio.sleep(0.001)
    small = sqlite_store.write(samples.save(run, "small"))
    await asyncio.sleep(0.05)

    assert not large.done()
    assert not small.done()
    assert sqlite_store.failing == "OperationalError: disk I/O error"
    assert sqlite_store.memos(run.id) == []

    full_disk(False)
    await asyncio.wait_for(asyncio.gather(large, small), timeout=20)

    assert sqlite_store.failing is None
    assert stored_keys(path) == ["large", "small"]
    messages = [record.getMessage() for record in caplog.records]
    assert "the database cannot be written (OperationalError: disk I/O error)" in messages[0]
    assert messages[1:] == ["the database can be written again"]


async def test_fenced_write_in_a_busy_batch_fails_alone(
    sqlite_store: SqliteStore, path: Path, samples: Samples, hold: Callable[[Path], Any]
) -> None:
    run = samples.run()
    await sqlite_store.write(Insert(run))
    holder = await hold(path)
    good = sqlite_store.write(samples.save(run, "a"))
    fenced = sqlite_store.write(SaveMemo(run.id, 7, samples.memo("b")))
    await asyncio.sleep(0.05)
    await holder.let_go()
    await good

    with pytest.raises(FencedError):
        await fenced


async def test_two_stores_on_one_file_see_each_other(sqlite_store: SqliteStore, path: Path, samples: Samples) -> None:
    second = SqliteStore(path)
    second.open()
    runs = [samples.run() for _ in range(40)]
    await asyncio.gather(
        *((sqlite_store, second)[number % 2].write(Insert(run), samples.save(run)) for number, run in enumerate(runs))
    )

    assert second.secret == sqlite_store.secret
    assert all(sqlite_store.run(run.id) == second.run(run.id) == run for run in runs)

    await second.close()


async def test_text_that_is_no_unicode_is_recorded_escaped(sqlite_store: SqliteStore, samples: Samples) -> None:
    run = samples.run()
    failure = Failure("OSError", "no file 'caf\udce9'", "Traceback")
    memo = samples.memo(state=StepState.FAILED, result=None, failure=failure)
    await sqlite_store.write(Insert(run), SaveMemo(run.id, 1, memo))

    assert sqlite_store.memos(run.id)[0].failure == Failure("OSError", "no file 'caf\\udce9'", "Traceback")


async def test_store_needs_no_further_thread(
    path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it is open: where the system gives the process no more threads, writes go on, and the log grows."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = SqliteStore(path)
    store.open()
    commit_in_thread(monkeypatch)
    monkeypatch.setattr(checkpointer, "_LOG_BYTES", 1)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    runs = [samples.run() for _ in range(3)]
    for run in runs:
        await asyncio.wait_for(store.write(Insert(run)), 10)
    found = [store.run(run.id) for run in runs]
    await store.close()

    assert found == runs
    assert "the write-ahead log could not be moved" in caplog.text
