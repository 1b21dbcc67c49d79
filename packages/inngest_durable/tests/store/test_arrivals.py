"""Steps that wait are told when what they wait for comes in another process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inngest_durable._core.matching import WaitFor
from inngest_durable._core.model import Memo, Run, StepOp, StepState
from inngest_durable.engines.embedded.arrivals import Arrivals
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import AddSignal, Found, Insert, SaveMemoWith

from packages.inngest_durable.tests.eager import begin_tasks_at_once, needs_eager_tasks
from packages.inngest_durable.tests.store.samples import APP, Samples

NOW = 5000.0


async def wait_for_signal(store: SqliteStore, run: Run, name: str) -> None:
    """Let a step of *run*, with the signal's name as its key, wait for a signal."""
    memo = Memo(key=name, id=name, op=StepOp.WAIT_FOR_SIGNAL, state=StepState.WAITING, wake_at=NOW + 3600)
    await store.write(SaveMemoWith(run.id, run.epoch, APP, memo, WaitFor("signal", name), NOW, Found()))


def signal(name: str) -> AddSignal:
    """The arrival of a signal."""
    return AddSignal(APP, name, b"null", NOW, Found())


@needs_eager_tasks
async def test_step_that_is_told_at_once_does_not_end_the_watch_for_others(
    sqlite_store: SqliteStore, path: Path, samples: Samples
) -> None:
    """Where tasks begin at once, what looks for the commits of other processes has nothing to look for then."""
    begin_tasks_at_once()
    run = samples.run()
    await sqlite_store.write(Insert(run))
    arrivals = Arrivals(sqlite_store)
    told: asyncio.Queue[Memo] = asyncio.Queue()
    other = SqliteStore(path)
    other.open()
    await wait_for_signal(sqlite_store, run, "here")
    await sqlite_store.write(signal("here"))
    arrivals.listen(run.id, "here", told.put_nowait)
    assert told.get_nowait().key == "here"
    await wait_for_signal(sqlite_store, run, "elsewhere")
    arrivals.listen(run.id, "elsewhere", told.put_nowait)
    await other.write(signal("elsewhere"))

    assert (await asyncio.wait_for(told.get(), 20.0)).key == "elsewhere"

    arrivals.stop()
    await other.close()
