"""Finished runs that are old enough are deleted, whole and a few at a time; nothing else is."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable._core.events import SentEvent
from inngest_durable._core.model import Finish, Park, Run, RunStatus
from inngest_durable.engines.base import Claim
from inngest_durable.engines.embedded import retention
from inngest_durable.engines.embedded.retention import BATCH, Retention
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import AddEvents, FinishRun, Found, Insert, ParkRun, Write
from inngest_durable.engines.store import Store
from inngest_durable.engines.ulids import new_ulid, ulid_time
from inngest_durable.testing import MemoryStore, VirtualClock

from packages.inngest_durable.tests.store.samples import Samples
from testkit.waiting import wait_until

PROGRAM = Path(__file__).with_name("pruning_process.py")
HOUR, DAY = 3600.0, 86400.0
KEEP = 7 * DAY
STEPS = ["pay", "ship"]


class History:
    """Runs that began, and maybe ended, some time before now."""

    def __init__(self, store: Store, samples: Samples, now: float) -> None:
        self._store = store
        self._samples = samples
        self._now = now

    async def run(self, began: float, ended: float | None = None, status: RunStatus = RunStatus.COMPLETED) -> str:
        """Record a run of two steps, by how many seconds ago it began and ended; return its ID."""
        run = self._new(began)
        writes: list[Write] = [Insert(run), *(self._samples.save(run, key) for key in STEPS)]
        if ended is not None:
            writes.append(FinishRun(run.id, run.epoch, Finish(status, None), self._now - ended))
        await self._store.write(*writes)
        return run.id

    async def waiting(self, began: float) -> str:
        """Record a run that began some seconds ago and sleeps for a year."""
        run = self._new(began)
        await self._store.write(Insert(run), ParkRun(run.id, run.epoch, Park(self._now + 365 * DAY, 1)))
        return run.id

    async def many(self, count: int, began: float, ended: float | None) -> list[str]:
        """Record many runs."""
        return list(await asyncio.gather(*(self.run(began, ended) for _ in range(count))))

    def _new(self, began: float) -> Run:
        created_at = self._now - began
        return self._samples.run(id=ulid_time(created_at) + new_ulid()[10:], created_at=created_at)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def history(store: Store, samples: Samples, clock: VirtualClock) -> History:
    return History(store, samples, clock.now())


@pytest.fixture
def keeper(store: Store, clock: VirtualClock) -> Retention:
    return Retention(store, clock, KEEP)


def existing(store: Store, run_ids: list[str]) -> list[str]:
    """Return those of the runs that are there, with all their steps; the steps of others must be gone."""
    found = [run_id for run_id in run_ids if store.run(run_id) is not None]
    for run_id in run_ids:
        assert [memo.key for memo in store.memos(run_id)] == (STEPS if run_id in found else [])
    return found


def counts(path: Path) -> tuple[int, int]:
    """Return how many runs and how many steps another connection sees."""
    with closing(sqlite3.connect(path, timeout=5)) as db:
        (found,) = db.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM steps)").fetchall()
    return int(found[0]), int(found[1])


async def test_old_finished_runs_go_with_their_steps(store: Store, history: History, keeper: Retention) -> None:
    old = [await history.run(9 * DAY, 8 * DAY, status) for status in RunStatus if status.is_final]
    young = await history.run(3 * DAY, 2 * DAY)

    assert await keeper.prune() == len(old) == 3
    assert existing(store, [*old, young]) == [young]
    assert await keeper.prune() == 0


async def test_unfinished_runs_stay_however_old(store: Store, history: History, keeper: Retention) -> None:
    running = await history.run(300 * DAY)
    waiting = await history.waiting(300 * DAY)

    assert await keeper.prune() == 0
    assert existing(store, [running]) == [running]
    assert store.run(waiting) is not None


async def test_age_is_counted_from_the_end(
    store: Store, history: History, keeper: Retention, clock: VirtualClock
) -> None:
    long_one = await history.run(300 * DAY, 6 * DAY)
    just_kept = await history.run(8 * DAY, KEEP)

    assert await keeper.prune() == 0
    assert existing(store, [long_one, just_kept]) == [long_one, just_kept]

    await clock.advance(1)

    assert await keeper.prune() == 1
    assert existing(store, [long_one, just_kept]) == [long_one]

    await clock.advance(DAY)

    assert await keeper.prune() == 1
    assert existing(store, [long_one, just_kept]) == []


async def test_all_are_found_among_runs_that_stay(
    store: Store, history: History, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than are looked through, or deleted, at a time, between others that are kept."""
    monkeypatch.setattr(retention, "WINDOW", 7)
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    old, kept = [], []
    for number in range(20):
        old.append(await history.run((30 - number) * DAY, 8 * DAY))
        kept.append(await history.run((30 - number) * DAY, 5 * DAY))

    assert await keeper.prune() == 20
    assert existing(store, old + kept) == kept


async def test_old_runs_that_stay_do_not_hold_up_the_loop(
    store: Store, history: History, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sleep for longer than finished ones are kept: others have their turn between two looks."""
    monkeypatch.setattr(retention, "WINDOW", 3)
    for _ in range(30):
        await history.waiting(9 * DAY)
    pruning = asyncio.create_task(keeper.prune())
    turns = 0
    while not pruning.done():
        await asyncio.sleep(0)
        turns += 1

    assert await pruning == 0
    assert turns > 10


async def test_clock_that_stands_near_its_origin_deletes_nothing(store: Store, samples: Samples) -> None:
    clock = VirtualClock(start=10.0)
    history = History(store, samples, clock.now())
    run_id = await history.run(5, 4)

    assert await Retention(store, clock, KEEP).prune() == 0
    assert existing(store, [run_id]) == [run_id]


async def test_checkpoints_go_on_between_the_batches(
    sqlite_store: SqliteStore, path: Path, samples: Samples, clock: VirtualClock
) -> None:
    history = History(sqlite_store, samples, clock.now())
    await history.many(10 * BATCH, 9 * DAY, 8 * DAY)
    run = samples.run()
    await sqlite_store.write(Insert(run))
    pruning = asyncio.create_task(Retention(sqlite_store, clock, KEEP).prune())
    seen: list[int] = []
    while not pruning.done():
        await sqlite_store.write(samples.save(run, f"{len(seen):05}"))
        seen.append(counts(path)[0])

    assert await pruning == 10 * BATCH
    # Every checkpoint was durable, in the midst of the deletion, which went in batches and no larger steps.
    assert len(sqlite_store.memos(run.id)) == len(seen)
    assert len(set(seen)) >= 10
    assert max(before - after for before, after in pairwise(seen)) == BATCH
    assert counts(path) == (1, len(seen))


class NoHost:
    """An application without endpoints."""

    async def reenter(self, claim: Claim) -> None:
        """Is never asked."""
        raise AssertionError("no run is due")


async def started(store: Store, clock: VirtualClock, keep: str | None) -> EmbeddedEngine:
    engine = EmbeddedEngine(store=store, clock=clock, retention=keep)
    await engine.start(NoHost())
    return engine


async def test_engine_deletes_what_is_older_than_its_retention(samples: Samples, clock: VirtualClock) -> None:
    store = MemoryStore()
    store.open()
    history = History(store, samples, clock.now())
    old, young = await history.run(9 * DAY, 8 * DAY), await history.run(9 * DAY, HOUR)
    engine = await started(store, clock, "7d")
    await clock.settle()

    assert store.run(old) is None
    assert store.run(young) is not None

    await engine.stop()


async def test_engine_without_retention_keeps_all(samples: Samples, clock: VirtualClock) -> None:
    store = MemoryStore()
    store.open()
    old = await History(store, samples, clock.now()).run(900 * DAY, 800 * DAY)
    engine = await started(store, clock, None)
    await clock.settle()

    assert store.run(old) is not None

    await engine.stop()


async def recorded_past(path: Path, samples: Samples, count: int) -> str:
    """Fill a database with that many old runs and one young one; return the ID of the latter."""
    store = SqliteStore(path)
    store.open()
    history = History(store, samples, time.time())
    await history.many(count, 2 * DAY, DAY)
    young = await history.run(2 * HOUR, HOUR / 2)
    await store.close()
    return young


def test_kill_in_the_midst_leaves_whole_runs_only(path: Path, samples: Samples) -> None:
    """Killed again and again, until one gets to the end: each time every run that is left has all its steps."""
    total = 20 * BATCH
    young = asyncio.run(recorded_past(path, samples, total))
    command = [sys.executable, str(PROGRAM), str(path), str(HOUR)]
    for part in (0.8, 0.5, 0.2):
        # It leaves some: on a busy machine the kill may be late.
        process = subprocess.Popen([*command, str(round(part * total) - 3 * BATCH)])
        wait_until_fewer(path, part * total)
        process.kill()
        process.wait()
        runs, steps = counts(path)

        assert 1 < runs < part * total
        assert steps == runs * len(STEPS)
        assert orphans(path) == []
    subprocess.run([*command, "0"], check=True)

    assert counts(path) == (1, len(STEPS))
    assert run_ids(path) == [young]


def wait_until_fewer(path: Path, runs: float) -> None:
    """Return once fewer runs than that are left."""
    wait_until(lambda: counts(path)[0] < runs, "runs to be deleted")


def run_ids(path: Path) -> list[str]:
    """Return the runs there are."""
    with closing(sqlite3.connect(path, timeout=5)) as db:
        return [run_id for (run_id,) in db.execute("SELECT id FROM runs")]


def orphans(path: Path) -> list[str]:
    """Return steps without a run."""
    with closing(sqlite3.connect(path, timeout=5)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        return [key for (key,) in db.execute("SELECT key FROM steps WHERE run_id NOT IN (SELECT id FROM runs)")]


@pytest.mark.parametrize("keep", [7 * DAY, HOUR])
async def test_old_events_go(store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, keep: float) -> None:
    """After the time that runs are kept, and a day at least; a few at a time."""
    monkeypatch.setattr(retention, "EVENT_BATCH", 2)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    ages = ["9", "8.5", "8", "7.5", "6", "0.5"]
    kept = [age for age in ages if float(age) * DAY < max(keep, DAY)]
    for age in ages:
        event = SentEvent(age, "approved", b"{}", 1)
        await store.write(AddEvents("shop", (event,), clock.now() - float(age) * DAY, Found()))
    deleted = await Retention(store, clock, keep).prune_events()

    assert deleted == len(ages) - len(kept)
    assert store.oldest_event() == clock.now() - float(kept[0]) * DAY
    assert await Retention(store, clock, keep).prune_events() == 0
