"""What every store keeps of what happened in a run: each event with the write that made it true."""

from __future__ import annotations

import json
from typing import Any

import pytest
from inngest_durable._core.model import Failure, Finish, Park, Run, RunStatus, StepOp, StepState
from inngest_durable._core.run_events import END_NUMBER, KINDS, end_of
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import (
    AddRunEvent,
    CancelRun,
    ClaimRun,
    FinishRun,
    Insert,
    ParkRun,
    PruneRuns,
    RecoverRun,
    SaveMemo,
    Write,
)
from inngest_durable.engines.store import Store

from packages.inngest_durable.tests.store.samples import OTHER_WORKER, WORKER, Samples, outcomes


def told(store: Store, run: Run, after: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and data of the events of a run."""
    return [(event.kind, json.loads(event.data)) for event in store.run_events(run.id, after, 100)]


def kinds(store: Store, run: Run) -> list[str]:
    return [kind for kind, _ in told(store, run)]


def save(samples: Samples, run: Run, key: str, **changes: Any) -> SaveMemo:
    return SaveMemo(run.id, changes.pop("epoch", 1), samples.memo(key, **changes), at=1002.5, started_at=1002.0)


async def test_life_of_a_run_is_told_in_order(store: Store, samples: Samples) -> None:
    run, failure = samples.run(), Failure("OutageError", "down", "Traceback …")
    await store.write(Insert(run), save(samples, run, "search"))
    await store.write(
        save(samples, run, "pay", state=StepState.RETRYING, result=None, failure=failure, wake_at=1003.0),
        ParkRun(run.id, 1, Park(1003.0, 1), 1002.6, "a step waits"),
    )
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER, 1003.0, ("search",)))
    await store.write(save(samples, run, "pay", attempt=2, epoch=2))
    await store.write(FinishRun(run.id, 2, Finish(RunStatus.COMPLETED, None), 1004.0))
    events = told(store, run)
    error = {"name": "OutageError", "message": "down"}
    pid = events[0][1]["pid"]

    assert [kind for kind, _ in events] == [
        *("run.started", "step.completed", "step.retrying", "run.interrupted", "run.reentered", "step.completed")
    ]
    assert [data for _, data in events] == [
        {"worker": WORKER, "pid": pid, "epoch": 1, "endpoint": "book", "method": "POST", "path": "/book/zürich"},
        {"step": "search", "op": "run", "attempt": 1, "started_at": 1002.0, "duration": 0.5},
        {
            "step": "pay",
            "op": "run",
            "attempt": 1,
            "started_at": 1002.0,
            "duration": 0.5,
            "error": error,
            "until": 1003.0,
        },
        {"why": "a step waits", "until": 1003.0},
        {"worker": OTHER_WORKER, "pid": pid, "epoch": 2, "memoized": ["search"]},
        {"step": "pay", "op": "run", "attempt": 2, "started_at": 1002.0, "duration": 0.5},
    ]
    assert {kind for kind, _ in events} <= KINDS.keys()


async def test_numbers_grow_and_reading_goes_on_after_each(store: Store, samples: Samples) -> None:
    """Whatever the page: each event once, in the same order."""
    run, other = samples.run(), samples.run()
    for step in range(6):
        await store.write(*([Insert(run), Insert(other)] if step == 0 else []), save(samples, run, f"step-{step}"))
        await store.write(AddRunEvent(run.id, 1, 1001.0, "step.progress", f'{{"step":"{step}"}}'))
        await store.write(save(samples, other, f"step-{step}"))
    everything = store.run_events(run.id, 0, 100)
    numbers = [event.id for event in everything]

    assert len(everything) == 13
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < END_NUMBER
    for size in (1, 2, 5):
        found, after = [], 0
        while page := store.run_events(run.id, after, size):
            found += page
            after = page[-1].id
        assert found == everything


async def test_write_that_is_fenced_tells_nothing(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 1), 1001.0, "why"))
    before = kinds(store, run)
    stale: list[Write] = [
        save(samples, run, "pay"),
        save(samples, run, "pay", state=StepState.RETRYING, wake_at=2.0),
        ParkRun(run.id, 1, Park(9.0, 2), 1002.0, "again"),
        AddRunEvent(run.id, 1, 1002.0, "step.progress", "{}"),
        ClaimRun(run.id, 7, OTHER_WORKER, 1002.0),
    ]

    assert await outcomes(*(store.write(write) for write in stale)) == [FencedError] * len(stale)
    assert kinds(store, run) == before == ["run.started", "run.interrupted"]


async def test_recovery_tells_whose_worker_died(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run))
    await store.write(RecoverRun(run.id, 1, 1005.0, WORKER))

    assert told(store, run)[1:] == [("run.recovered", {"worker": WORKER, "epoch": 1})]


async def test_failed_attempt_of_the_handler_is_told(store: Store, samples: Samples) -> None:
    run = samples.run()
    failure = Failure("RuntimeError", "x" * 5000)
    await store.write(Insert(run), ParkRun(run.id, 1, Park(1009.0, 2), 1008.0, failure=failure))
    kind, data = told(store, run)[1]

    assert (kind, data["attempt"], data["until"], data["error"]["name"]) == ("run.retrying", 1, 1009.0, "RuntimeError")
    assert len(data["error"]["message"]) == 2000


async def test_pause_is_told_by_its_own_kind(store: Store, samples: Samples) -> None:
    run = samples.run()
    pause: dict[str, Any] = {"op": StepOp.SLEEP, "result": None, "attempt": 0}
    await store.write(
        Insert(run),
        SaveMemo(run.id, 1, samples.memo("nap", state=StepState.WAITING, wake_at=2000.0, **pause), at=1001.0),
        SaveMemo(run.id, 1, samples.memo("nap", **pause | {"attempt": 1, "result": b"null"}), at=2000.0),
    )

    assert told(store, run)[1:] == [
        ("step.waiting", {"step": "nap", "op": "sleep", "until": 2000.0}),
        ("step.completed", {"step": "nap", "op": "sleep"}),
    ]


@pytest.mark.parametrize("state", ["running", "waiting"])
async def test_cancelled_run_has_ended(store: Store, samples: Samples, state: str) -> None:
    """At any epoch, and for good: nothing is written to it any more."""
    run = samples.run()
    await store.write(Insert(run))
    if state == "waiting":
        await store.write(ParkRun(run.id, 1, Park(5.0, 1)))
    await store.write(CancelRun(run.id, 1009.5))
    cancelled = store.run(run.id)

    assert cancelled is not None
    assert (cancelled.status, cancelled.ended_at, cancelled.owner) == (RunStatus.CANCELLED, 1009.5, "")
    assert store.status(run.id) is RunStatus.CANCELLED
    assert store.due(run.app_id, 1e12, 10) == store.orphans([WORKER]) == []
    late = [
        store.write(CancelRun(run.id, 1)),
        store.write(save(samples, run, "pay")),
        store.write(ClaimRun(run.id, 1, "x")),
    ]
    assert await outcomes(*late) == [FencedError] * 3
    end = end_of(cancelled)
    assert (end.kind, end.id, json.loads(end.data)) == ("run.cancelled", END_NUMBER, {"status": 410, "duration": 9.0})


async def test_memoized_steps_are_those_that_will_not_run_again(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(
        Insert(run),
        samples.save(run, "b"),
        samples.save(run, "retried", state=StepState.RETRYING, result=None, wake_at=2.0),
        samples.save(run, "a", state=StepState.FAILED, result=None),
    )

    assert store.memoized(run.id) == ("b", "a")
    assert store.memoized("01JX") == ()


async def test_events_go_with_their_run(store: Store, samples: Samples) -> None:
    run, kept = samples.run(), samples.run()
    for each in (run, kept):
        await store.write(Insert(each), AddRunEvent(each.id, 1, 1001.0, "step.progress", "{}"))
    await store.write(FinishRun(run.id, 1, Finish(RunStatus.COMPLETED, None), 1002.0))
    await store.write(PruneRuns((run.id, kept.id)))

    assert kinds(store, run) == []
    assert kinds(store, kept) == ["run.started", "step.progress"]


async def test_listener_is_told_what_was_committed(store: Store, samples: Samples) -> None:
    """When it is told, the write can be read."""
    run, found = samples.run(), []
    store.on_commit = lambda writes: found.append((writes, store.run(run.id)))
    write = Insert(run)
    await store.write(write)
    store.on_commit = None
    await store.write(samples.save(run))

    assert [(writes, seen == run) for writes, seen in found] == [((write,), True)]


async def test_text_that_is_no_unicode_hinders_no_write(store: Store, samples: Samples) -> None:
    """An event never fails what it tells of."""
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 2), 1.0, failure=Failure("E", "file \udcff")))

    assert told(store, run)[-1][1]["error"]["message"] == "file \udcff"
