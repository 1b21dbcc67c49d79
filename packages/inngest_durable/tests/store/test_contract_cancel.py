"""A run is cancelled in one write with all that it has invoked, whatever it does meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from inngest_durable._core.effects import Invoke
from inngest_durable._core.invoke_flow import family
from inngest_durable._core.model import Finish, Memo, Run, RunStatus, StepOp, StepState
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import CancelRun, FinishRun, Found, Insert, SaveMemoWith
from inngest_durable.engines.store import Store

from packages.inngest_durable.tests.store.samples import APP, Samples, outcomes

NOW = 2000.5
WAITING = {"status": RunStatus.WAITING, "owner": "", "wake_at": NOW}
# More than Python, or SQLite, would go down by calling itself.
DEEP = 2000
MOST_ROWS = 100


def invoke(samples: Samples, parent: Run, key: str = "call", **changes: Any) -> tuple[SaveMemoWith, Run]:
    """Return the write by which *parent* invokes a child, and that child."""
    child = samples.run(idempotency=family(parent.id, key), **{**WAITING, **changes})
    memo = Memo(key, key, StepOp.INVOKE, StepState.WAITING)
    return SaveMemoWith(parent.id, 1, APP, memo, Invoke(child), NOW, Found()), child


async def invoked(store: Store, samples: Samples, parent: Run, key: str = "call", **changes: Any) -> Run:
    """Let a running run invoke a child; return that."""
    write, child = invoke(samples, parent, key, **changes)
    await store.write(write)
    return child


async def running(store: Store, samples: Samples) -> Run:
    """Return a running run."""
    run = samples.run()
    await store.write(Insert(run))
    return run


async def statuses(store: Store, *runs: Run) -> list[RunStatus | None]:
    """Return the status of each run."""
    return [store.status(run.id) for run in runs]


async def test_whole_family_is_cancelled_in_one_write(store: Store, samples: Samples) -> None:
    """Whoever of it waits or runs; nobody else, and no step in it completes by that."""
    other, parent = await running(store, samples), await running(store, samples)
    stranger = await invoked(store, samples, other)
    first = await invoked(store, samples, parent, "one", status=RunStatus.RUNNING, owner="01JX", wake_at=None)
    second = await invoked(store, samples, parent, "two")
    grandchild = await invoked(store, samples, first)
    found = Found()
    await store.write(CancelRun(parent.id, NOW, found))
    ended = [parent, first, second, grandchild]

    assert await statuses(store, *ended) == [RunStatus.CANCELLED] * 4
    assert [run.ended_at for cancelled in ended if (run := store.run(cancelled.id))] == [NOW] * 4
    assert sorted(found.cancelled) == sorted(run.id for run in ended)
    assert (found.resumed, store.arrived(), store.orphans(["01JX"])) == ([], [], [])
    assert await statuses(store, other, stranger) == [RunStatus.RUNNING, RunStatus.WAITING]
    assert [due.run_id for due in store.due(APP, NOW, 9)] == [stranger.id]


async def test_child_that_has_ended_does_not_hide_its_own(store: Store, samples: Samples) -> None:
    parent = await running(store, samples)
    child = await invoked(store, samples, parent, status=RunStatus.RUNNING, owner="01JX", wake_at=None)
    grandchild = await invoked(store, samples, child)
    await store.write(FinishRun(child.id, 1, Finish(RunStatus.FAILED, None), NOW))
    found = Found()
    await store.write(CancelRun(parent.id, NOW, found))

    assert await statuses(store, parent, child, grandchild) == [
        RunStatus.CANCELLED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    ]
    assert sorted(found.cancelled) == sorted([parent.id, grandchild.id])


async def test_parent_is_told_of_its_cancelled_child(store: Store, samples: Samples) -> None:
    """And the child's own children go with it."""
    parent = await running(store, samples)
    child = await invoked(store, samples, parent, status=RunStatus.RUNNING, owner="01JX", wake_at=None)
    grandchild = await invoked(store, samples, child)
    found = Found()
    await store.write(CancelRun(child.id, NOW, found))
    memo = store.memo(parent.id, "call")

    assert await statuses(store, parent, child, grandchild) == [RunStatus.RUNNING, *[RunStatus.CANCELLED] * 2]
    assert memo is not None
    assert (memo.state, found.resumed) == (StepState.FAILED, [(parent.id, "call")])


async def test_run_that_has_ended_keeps_what_it_has_invoked(store: Store, samples: Samples) -> None:
    parent = await running(store, samples)
    child = await invoked(store, samples, parent)
    await store.write(FinishRun(parent.id, 1, Finish(RunStatus.COMPLETED, None), NOW))
    # Of a commit that failed, before the run ended.
    found = Found(cancelled=["01JX"])
    with pytest.raises(FencedError):
        await store.write(CancelRun(parent.id, NOW, found))

    assert await statuses(store, parent, child) == [RunStatus.COMPLETED, RunStatus.WAITING]
    assert found == Found()


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
async def test_child_that_is_invoked_at_the_same_moment(store: Store, samples: Samples, is_first: bool) -> None:
    """In the same commit: it is cancelled too, or never begins."""
    parent = await running(store, samples)
    invoking, child = invoke(samples, parent)
    cancelling = CancelRun(parent.id, NOW, Found())
    queued = [store.write(write) for write in ((invoking, cancelling) if is_first else (cancelling, invoking))]

    assert await outcomes(*queued) == ([None, None] if is_first else [None, FencedError])
    assert await statuses(store, parent, child) == [RunStatus.CANCELLED, RunStatus.CANCELLED if is_first else None]


async def test_family_as_deep_as_you_like(store: Store, samples: Samples) -> None:
    runs = [samples.run(**WAITING)]
    for _ in range(DEEP - 1):
        runs.append(samples.run(idempotency=family(runs[-1].id, "call"), **WAITING))
    for start in range(0, DEEP, MOST_ROWS):
        await store.write(*(Insert(run) for run in runs[start : start + MOST_ROWS]))
    found = Found()
    await store.write(CancelRun(runs[0].id, NOW, found))

    assert set(await statuses(store, *runs)) == {RunStatus.CANCELLED}
    assert len(found.cancelled) == DEEP


async def test_cancelled_ones_among_many(store: Store, samples: Samples) -> None:
    running_one, cancelled, failed = [await running(store, samples) for _ in range(3)]
    await store.write(CancelRun(cancelled.id, NOW))
    await store.write(FinishRun(failed.id, 1, Finish(RunStatus.FAILED, None), NOW))

    assert store.cancelled([running_one.id, cancelled.id, failed.id, "01JX"]) == {cancelled.id}
    assert store.cancelled([]) == set()
