"""How every store takes writes: in groups, each with its own outcome, until it is closed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from inngest_durable._core.model import (
    Finish,
    Memo,
    Park,
    RunStatus,
)
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import ClaimRun, FinishRun, Insert, ParkRun, RecoverRun, SaveMemo, WakeRun, Write
from inngest_durable.engines.store import Store
from inngest_durable.errors import StoreError

from packages.inngest_durable.tests.store.samples import OTHER_WORKER, Samples, outcomes


def test_secret_has_32_bytes_and_stays(new_store: Callable[[], Any]) -> None:
    async def once() -> bytes:
        store = new_store()
        store.open()
        await store.close()
        return bytes(store.secret)

    secret = asyncio.run(once())

    assert len(secret) == 32
    assert asyncio.run(once()) == secret


async def test_write_of_a_pass_that_lost_its_run_is_fenced(store: Store, samples: Samples) -> None:
    run = samples.run()
    finish = Finish(RunStatus.COMPLETED, None)
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 1)))
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))
    claimed = store.run(run.id)
    stale: list[Write] = [
        SaveMemo(run.id, 1, samples.memo()),
        ParkRun(run.id, 1, Park(9.0, 2)),
        WakeRun(run.id, 1, 1.0, 1.0),
        RecoverRun(run.id, 1, 1.0),
        ClaimRun(run.id, 1, "01JC"),
        FinishRun(run.id, 1, finish, 9.0),
    ]

    assert await outcomes(*(store.write(write) for write in stale)) == [FencedError] * len(stale)
    assert store.run(run.id) == claimed
    assert store.memos(run.id) == []


async def test_write_to_a_run_that_does_not_exist_is_fenced(store: Store, samples: Samples) -> None:
    with pytest.raises(FencedError):
        await store.write(SaveMemo("01JX", 1, samples.memo()))
    assert store.memos("01JX") == []


async def test_fenced_write_fails_alone(store: Store, samples: Samples) -> None:
    run, other = samples.run(), samples.run()
    await store.write(Insert(run), Insert(other))

    result = await outcomes(
        store.write(samples.save(run, "a")),
        store.write(SaveMemo(other.id, 7, samples.memo())),
        store.write(samples.save(run, "b")),
    )

    assert result == [None, FencedError, None]
    assert [memo.key for memo in store.memos(run.id)] == ["a", "b"]
    assert store.memos(other.id) == []


async def test_writes_after_a_fenced_one_of_their_group_are_not_written(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run))

    with pytest.raises(FencedError):
        await store.write(samples.save(run, "a"), SaveMemo(run.id, 7, samples.memo("b")), samples.save(run, "c"))
    assert [memo.key for memo in store.memos(run.id)] == ["a"]


async def test_refused_group_fails_alone_and_leaves_nothing(store: Store, samples: Samples) -> None:
    run, other = samples.run(), samples.run()
    await store.write(Insert(run))

    result = await outcomes(
        store.write(Insert(other)),
        store.write(samples.save(run, "a"), Insert(run), samples.save(run, "b")),
        store.write(samples.save(other, "c")),
    )

    assert result == [None, StoreError, None]
    assert store.memos(run.id) == []
    assert [memo.key for memo in store.memos(other.id)] == ["c"]


async def test_lazy_write_is_written_by_and_by(store: Store, samples: Samples) -> None:
    run = samples.run()
    await asyncio.wait_for(store.write(Insert(run), lazy=True), timeout=20)

    assert store.run(run.id) == run


async def test_lazy_write_goes_with_the_next_and_before_it(store: Store, samples: Samples) -> None:
    run = samples.run()
    lazy = store.write(Insert(run), lazy=True)
    await store.write(samples.save(run))

    assert lazy.done()
    assert len(store.memos(run.id)) == 1


async def test_one_cancelled_caller_disturbs_nobody(store: Store, samples: Samples) -> None:
    run = samples.run()
    writes = [store.write(Insert(run)), *(store.write(samples.save(run, f"step-{number}")) for number in range(9))]
    writes[3].cancel()
    done = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(outcome) for outcome in done if outcome is not None] == [asyncio.CancelledError]
    # It was queued already: who asked went away, the write did not.
    assert len(store.memos(run.id)) == 9


@pytest.mark.parametrize("lazy", [False, True])
async def test_failure_that_nobody_awaits_is_not_logged(
    store: Store, samples: Samples, caplog: pytest.LogCaptureFixture, lazy: bool
) -> None:
    store.write(samples.save(samples.run()), lazy=lazy)
    await store.write()
    await asyncio.sleep(0)
    gc.collect()

    assert caplog.records == []


async def test_close_writes_what_is_queued(new_store: Callable[[], Any], samples: Samples) -> None:
    store = new_store()
    store.open()
    run = samples.run()
    eager, lazy = store.write(Insert(run)), store.write(samples.save(run), lazy=True)
    await store.close()

    assert await outcomes(eager, lazy) == [None, None]

    store.open()
    assert store.run(run.id) == run
    assert len(store.memos(run.id)) == 1
    await store.close()


async def test_close_writes_what_only_lazy_writes_queued(new_store: Callable[[], Any], samples: Samples) -> None:
    store = new_store()
    store.open()
    run = samples.run()
    lazy = store.write(Insert(run), lazy=True)
    await store.close()

    assert await outcomes(lazy) == [None]


async def test_closed_store_takes_no_write(new_store: Callable[[], Any], samples: Samples) -> None:
    store = new_store()
    with pytest.raises(StoreError, match="not open"):
        store.write(Insert(samples.run()))
    store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        store.write(Insert(samples.run()))


def test_store_survives_the_end_of_its_loop(new_store: Callable[[], Any], samples: Samples) -> None:
    store = new_store()
    run = samples.run()

    async def first(key: str) -> None:
        # Nobody waits: the loop ends with the write queued, or with the thread.
        store.write(samples.save(run, key)).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    async def begin() -> None:
        store.open()
        await store.write(Insert(run))
        await store.write(samples.save(run, "a"))

    async def end() -> list[str]:
        await store.write(samples.save(run, "z"))
        keys = [memo.key for memo in store.memos(run.id)]
        await store.close()
        return keys

    asyncio.run(begin())
    for key in "bcd":
        asyncio.run(first(key))

    assert asyncio.run(end()) == ["a", "b", "c", "d", "z"]


def test_store_may_be_opened_again_on_another_loop(new_store: Callable[[], Any], samples: Samples) -> None:
    store = new_store()
    run = samples.run()

    async def first() -> None:
        store.open()
        await store.write(Insert(run))
        await store.write(samples.save(run, "a"))
        await store.close()

    async def second() -> list[Memo]:
        store.open()
        await store.write(samples.save(run, "b"))
        await store.write(samples.save(run, "c"))
        memos: list[Memo] = store.memos(run.id)
        await store.close()
        return memos

    asyncio.run(first())

    assert [memo.key for memo in asyncio.run(second())] == ["a", "b", "c"]
