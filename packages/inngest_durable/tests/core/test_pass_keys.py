"""Which keys the steps of a handler get on asyncio, and what a replay makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from inngest_durable import (
    Event,
    ReplayMismatchError,
    step,
)

from packages.inngest_durable.tests.core.process import Process, RunFailedError
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import Work


@in_virtual_time
async def test_keys_are_taken_when_the_steps_are_called() -> None:
    """Not when they are awaited, in whatever order."""
    process, work = Process(), Work()

    async def handle() -> list[str]:
        first, second = step.run("do", work.do, "first"), step.run("do", work.do, "second")
        return [await second, await first]

    assert await process.run_to_end(handle) == ["second", "first"]
    assert {key: memo.result for key, memo in process.disk.memos.items()} == {"do": b'"first"', "do:1": b'"second"'}


@in_virtual_time
async def test_gathered_steps_are_numbered_in_call_order() -> None:
    """Steps that are gathered as they are, are the handler's own."""
    process, work = Process(), Work()

    async def handle() -> Any:
        return await asyncio.gather(step.run("do", work.do, "slow", 2.0), step.run("do", work.do, "fast", 1.0))

    await process.run_to_end(handle)

    assert {key: memo.result for key, memo in process.disk.memos.items()} == {"do": b'"slow"', "do:1": b'"fast"'}


@pytest.mark.parametrize("grouped", [False, True], ids=["gather", "TaskGroup"])
@in_virtual_time
async def test_branches_keep_their_steps_apart(grouped: bool) -> None:
    """Equal IDs inside branches, and inside branches of branches, have keys of their own."""
    process, work = Process(), Work()

    async def run_all(*branches: Any) -> None:
        if not grouped:
            await asyncio.gather(*branches)
            return
        async with asyncio.TaskGroup() as group:
            for branch in branches:
                group.create_task(branch)

    async def extra(who: str, what: str) -> None:
        await step.run("price", work.do, f"{what} {who}")
        await step.run("add", work.do, f"{what} {who}")

    async def book(who: str) -> None:
        await step.run("reserve", work.do, who)
        await run_all(extra(who, "meal"), extra(who, "bag"))
        await step.run("pay", work.do, who)

    async def handle() -> None:
        await run_all(book("alice"), book("bob"))
        await step.run("pay", work.do, "fee")

    await process.run_to_end(handle)

    assert {key: msgspec.json.decode(memo.result or b"") for key, memo in process.disk.memos.items()} == {
        "reserve": "alice",
        "reserve/price": "meal alice",
        "reserve/price/add": "meal alice",
        "reserve/price:1": "bag alice",
        "reserve/price:1/add": "bag alice",
        "reserve/pay": "alice",
        "reserve:1": "bob",
        "reserve:1/price": "meal bob",
        "reserve:1/price/add": "meal bob",
        "reserve:1/price:1": "bag bob",
        "reserve:1/price:1/add": "bag bob",
        "reserve:1/pay": "bob",
        "pay": "fee",
    }
    assert process.current is not None
    assert len(process.current.journal) == len(process.disk.memos)


@in_virtual_time
async def test_branches_are_told_apart_by_what_their_closures_hold() -> None:
    """Which comes first to its step may be chance: neither takes the other's result."""
    process, work = Process(), Work()
    waits = iter((1.0, 2.0, 2.0, 1.0))

    async def handle() -> list[str]:
        async def book(name: str, wait: float) -> str:
            await asyncio.sleep(wait)

            async def reserve() -> Any:
                return await work.do(f"seat of {name}")

            return await step.run("reserve", reserve)

        seats = await asyncio.gather(book("alice", next(waits)), book("bob", next(waits)))
        await step.sleep("pause", "1h")
        return list(seats)

    assert await process.run_to_end(handle) == ["seat of alice", "seat of bob"]


@in_virtual_time
async def test_what_a_closure_holds_may_be_another_at_a_replay() -> None:
    """It is a hint: a completed step does not run again because of it."""
    process, work = Process(), Work()
    traces = iter(("trace 1", "trace 2"))

    async def handle() -> Any:
        trace = next(traces)

        async def charge() -> Any:
            return await work.do(trace)

        async def pay() -> Any:
            return await step.run("charge", charge)

        [charged] = await asyncio.gather(pay())
        await step.sleep("pause", "1h")
        return charged

    assert await process.run_to_end(handle) == "trace 1"


@in_virtual_time
async def test_branches_that_a_semaphore_holds_back_do_each_piece_once() -> None:
    """Whichever are let in first at a replay, a branch is known by its own first step."""
    process, work = Process(), Work()

    async def handle() -> list[str]:
        limit = asyncio.Semaphore(2)

        async def piece(name: str) -> str:
            async with limit:
                await step.run("begin", work.do, f"begin {name}", int(name) % 3)
                await step.sleep("pause", "1h")
                return await step.run("end", work.do, f"end {name}")

        return await asyncio.gather(*(piece(f"{number}") for number in range(7)))

    assert await process.run_to_end(handle) == [f"end {number}" for number in range(7)]
    assert len(set(work.calls)) == len(work.calls) == 14


@in_virtual_time
async def test_replay_with_other_arguments_is_refused() -> None:
    """A numbered step whose argument changes from pass to pass does not get a result that is not its own."""
    process, work = Process(), Work()
    passes = 0

    async def handle() -> None:
        nonlocal passes
        passes += 1
        await step.run("do", work.do, "constant")
        await step.run("do", work.do, f"pass {passes}")
        await step.sleep("nap", "1h")

    with pytest.raises(RunFailedError, match="ReplayMismatchError"):
        await process.run_to_end(handle)

    assert isinstance(process.values[-1], ReplayMismatchError)
    assert process.values[-1].step_id == "do:1"
    assert work.calls == ["constant", "pass 1"]


@in_virtual_time
async def test_steps_in_the_order_of_what_ends_first_are_not_mixed_up() -> None:
    """A handler that takes results as they come may come to its next step in another order at a replay."""
    process, work = Process(), Work()
    stored: list[str] = []

    async def store(name: str) -> str:
        stored.append(name)
        return name

    async def handle() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()

        async def branch(name: str, seconds: float) -> None:
            ended.put_nowait(await step.run(name, work.do, name, seconds))

        tasks = [asyncio.ensure_future(branch("slow", 2.0)), asyncio.ensure_future(branch("fast", 1.0))]
        for _ in tasks:
            name = await ended.get()
            assert await step.run("store", store, name) == name
        await step.sleep("nap", "1h")

    with pytest.raises(RunFailedError, match="ReplayMismatchError"):
        await process.run_to_end(handle)

    assert stored == ["fast", "slow"]
    assert process.values[-1].step_id == "store"


@in_virtual_time
async def test_step_is_found_whether_or_not_others_are_in_flight() -> None:
    """A replay that finds at once what the first pass waited for finds the steps that were called beside it."""
    process, work = Process(), Work()

    async def handle() -> list[Any]:
        slow = asyncio.ensure_future(step.run("slow", work.do, "slow", 1.0))
        found = [await step.run(name, work.do, name) for name in ("a", "b")]
        await step.sleep("nap", "1h")
        return [*found, await slow, await step.run("c", work.do, "c")]

    assert await process.run_to_end(handle) == ["a", "b", "slow", "c"]
    assert sorted(work.calls) == ["a", "b", "c", "slow"]
    assert [bool(process.disk.memos[key].fingerprint) for key in ("a", "b", "c")] == [False, True, False]


async def act() -> str:
    """Return what looks like the result of no other kind of step."""
    return "acted"


KINDS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "run": lambda: step.run("it", act),
    "sleep": lambda: step.sleep("it", "0s"),
    "wait-for-event": lambda: step.wait_for_event("it", event="e", timeout="0s"),
    "send-event": lambda: step.send_event("it", Event("e")),
    "wait-for-signal": lambda: step.wait_for_signal("it", signal="s", timeout="0s"),
    "send-signal": lambda: step.send_signal("it", "s"),
    "invoke": lambda: step.invoke("it", endpoint="other"),
}


@pytest.mark.parametrize(
    ("before", "now"), [(before, now) for before in KINDS for now in KINDS if before not in (now, "invoke")]
)
@in_virtual_time
async def test_memo_of_another_kind_of_step_is_refused(before: str, now: str) -> None:
    """A handler that was changed under its run does not get a result of another form, or leaves its effect undone."""
    process = Process()

    async def handle(kind: str) -> None:
        await KINDS[kind]()
        await step.sleep("nap", "1h")

    await process.request(lambda: handle(before))
    with pytest.raises(RunFailedError, match=f"ReplayMismatchError.* a {before} step, .* with a {now} step"):
        await process.run_to_end(lambda: handle(now))


@in_virtual_time
async def test_memos_that_a_changed_handler_no_longer_visits_are_known() -> None:
    """What the pass did not reach can be warned of."""
    process, work = Process(), Work()

    async def old() -> None:
        await step.run("search", work.do, "search")
        await step.run("reserve", work.do, "reserve")
        await step.sleep("nap", "1h")

    async def new() -> str:
        await step.run("search", work.do, "search")
        await step.sleep("nap", "1h")
        return "new"

    await process.request(old)

    assert await process.run_to_end(new) == "new"
    assert process.current is not None
    assert process.current.journal.unvisited() == ["reserve"]
