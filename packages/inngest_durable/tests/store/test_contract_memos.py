"""How every store keeps the journal of a run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from inngest_durable._core.model import (
    Failure,
    Park,
    StepOp,
    StepState,
)
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import ClaimRun, Insert, ParkRun, SaveMemo
from inngest_durable.engines.store import Store
from msgspec.structs import replace

from packages.inngest_durable.tests.store.samples import OTHER_WORKER, Samples


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"result": b"null"},
        {"result": '{"name":"Zoë \\u0000 🛫"}'.encode()},
        {"result": b'"' + b"x" * 300_000 + b'"'},
        {"key": "a/b:1", "id": "b", "fingerprint": "app.book(3f2a)"},
        {"state": StepState.RETRYING, "result": None, "failure": Failure("E", "no", "Traceback\n"), "wake_at": 1.5},
        {"state": StepState.FAILED, "result": None, "failure": Failure("E", ""), "attempt": 4},
        {"op": StepOp.SLEEP, "state": StepState.WAITING, "result": None, "attempt": 0, "wake_at": 0.0},
    ],
)
async def test_memo_comes_back_as_it_was(store: Store, samples: Samples, changes: dict[str, Any]) -> None:
    run = samples.run()
    memo = samples.memo(**changes)
    await store.write(Insert(run), SaveMemo(run.id, run.epoch, memo))

    assert store.memos(run.id) == [memo]


async def test_memos_come_in_the_order_they_were_first_recorded(store: Store, samples: Samples) -> None:
    run = samples.run()
    retrying = samples.memo("z", state=StepState.RETRYING, result=None, wake_at=5.0)
    await store.write(Insert(run), SaveMemo(run.id, 1, retrying))
    await asyncio.gather(*(store.write(samples.save(run, key)) for key in ("c", "b", "d")))
    await store.write(ParkRun(run.id, 1, Park(5.0, 1)))
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))
    await store.write(SaveMemo(run.id, 2, samples.memo("a")), SaveMemo(run.id, 2, samples.memo("z")))

    assert [memo.key for memo in store.memos(run.id)] == ["z", "c", "b", "d", "a"]
    assert store.memos(run.id)[0].is_final


async def test_memo_that_is_not_final_is_replaced_as_a_whole(store: Store, samples: Samples) -> None:
    run = samples.run()
    retrying = samples.memo(
        state=StepState.RETRYING, result=None, failure=Failure("E", "no"), wake_at=5.0, fingerprint="f(1)"
    )
    await store.write(Insert(run), SaveMemo(run.id, 1, retrying))
    done = samples.memo(attempt=2)
    await store.write(SaveMemo(run.id, 1, done))

    assert store.memos(run.id) == [done]


@pytest.mark.parametrize("state", [StepState.COMPLETED, StepState.FAILED])
async def test_final_memo_is_never_overwritten(store: Store, samples: Samples, state: StepState) -> None:
    run = samples.run()
    final = samples.memo(state=state)
    await store.write(Insert(run), SaveMemo(run.id, 1, final))

    with pytest.raises(FencedError):
        await store.write(SaveMemo(run.id, 1, samples.memo(result=b"2")))
    assert store.memos(run.id) == [final]


async def test_memos_of_other_runs_are_not_touched(store: Store, samples: Samples) -> None:
    one, two = samples.run(), samples.run()
    await store.write(Insert(one), samples.save(one, "a"))
    await store.write(Insert(two), samples.save(two, "a", result=b"2"))

    assert store.memos(one.id) == [samples.memo("a")]
    assert store.memos(two.id) == [samples.memo("a", result=b"2")]


async def test_parked_run_takes_no_memo(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 1)))

    with pytest.raises(FencedError):
        await store.write(samples.save(run))


async def test_progress_sets_recoveries_back(store: Store, samples: Samples) -> None:
    run = samples.run(recoveries=2)
    await store.write(Insert(run), SaveMemo(run.id, 1, samples.memo("a")))

    assert store.run(run.id) == run

    await store.write(SaveMemo(run.id, 1, samples.memo("b"), progress=True))

    assert store.run(run.id) == replace(run, recoveries=0)
