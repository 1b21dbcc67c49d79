"""Handlers that wait for something else than a step while one of their branches is parked: they are left, too."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from inngest_durable import step

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import HOUR, Work

BEGIN = 1_000.0
Branch = Callable[[str], Awaitable[str]]


async def by_a_queue(branch: Branch) -> Any:
    """Take results from a queue that branches fill."""
    results: asyncio.Queue[str] = asyncio.Queue()

    async def fill(name: str) -> None:
        results.put_nowait(await branch(name))

    tasks = [asyncio.ensure_future(fill(name)) for name in "ab"]
    return sorted([await results.get() for _ in tasks])


async def by_an_event(branch: Branch) -> Any:
    """Wait for a branch to say that it is ready."""
    ready, results = asyncio.Event(), []

    async def get_ready() -> None:
        results.extend([await branch("a"), await branch("b")])
        ready.set()

    task = asyncio.ensure_future(get_ready())
    await ready.wait()
    await task
    return results


async def by_a_consumer(branch: Branch) -> Any:
    """Wait for all, one of which waits for another."""
    results: asyncio.Queue[str] = asyncio.Queue()

    async def consume() -> str:
        return await results.get() + await results.get()

    async def produce() -> None:
        for name in "ab":
            results.put_nowait(await branch(name))

    consumed, _ = await asyncio.gather(consume(), produce(), return_exceptions=True)
    return list(str(consumed))


async def by_polling(branch: Branch) -> Any:
    """Look again and again whether a branch has ended."""
    tasks = [asyncio.ensure_future(branch(name)) for name in "ab"]
    while not all(task.done() and not task.cancelled() and task.exception() is None for task in tasks):
        await asyncio.sleep(0.01)
    return [task.result() for task in tasks]


@pytest.mark.parametrize("awaited", [by_a_queue, by_an_event, by_a_consumer, by_polling], ids=lambda way: way.__name__)
@in_virtual_time
async def test_handler_that_waits_for_a_parked_branch_is_left(awaited: Callable[[Branch], Awaitable[Any]]) -> None:
    """
    It cannot know that the branch was interrupted; without being cancelled it would wait for ever.

    Nor is it an error that nobody awaits that branch.
    """
    process, work = Process(), Work()
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def branch(name: str) -> str:
        await step.sleep("pause", "1h")
        return await step.run("do", work.fail, name, 1)

    async def handle() -> Any:
        return await awaited(branch)

    async with asyncio.timeout(10 * HOUR):
        assert await process.run_to_end(handle) == ["a", "b"]
    assert sorted(work.calls) == ["a", "a", "b", "b"]
    # Asyncio complains of a task when it is collected.
    del process
    gc.collect()
    assert complaints == []


@in_virtual_time
async def test_handler_that_is_cancelled_may_catch_that() -> None:
    """The framework's code in its task is not cancelled by it."""
    process = Process()
    pending: list[int] = []

    async def handle() -> str:
        napping = asyncio.ensure_future(step.sleep("nap", "1h"))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(100)
        await napping
        return "rested"

    task = asyncio.current_task()
    assert task is not None
    for _ in range(2):
        await (process.reenter(handle) if process.disk.run else process.request(handle))
        pending.append(task.cancelling())

    assert pending == [0, 0]
    # Cancelled a second time, when it did not end.
    assert process.clock.now() - BEGIN < 70


@in_virtual_time
async def test_handler_is_not_interrupted_for_ever_before_it_ends() -> None:
    """Beside a branch that always sleeps, a handler with a long plain await at its end comes to its end."""
    process, work = Process(), Work()

    async def remind() -> None:
        while True:
            await step.sleep("pause", "1h")
            await step.run("remind", work.do, "remind")

    async def handle() -> str:
        reminding = asyncio.ensure_future(remind())
        try:
            await step.run("work", work.do, "work", 1.0)
            await asyncio.sleep(0.3)
            return "done"
        finally:
            reminding.cancel()

    assert await process.run_to_end(handle) == "done"
    assert process.clock.now() - BEGIN < 3
    assert work.calls == ["work"]


@in_virtual_time
async def test_handler_that_makes_something_of_the_interrupt_is_not_entered_again_for_it() -> None:
    """What it does behind a swallowed interrupt is not taken for something that was cut off."""
    process, work = Process(), Work()

    async def handle() -> str:
        await asyncio.gather(step.sleep("nap", "1h"), step.run("work", work.do, "work"), return_exceptions=True)
        await asyncio.sleep(0.3)
        return "done"

    assert await process.run_to_end(handle) == "done"
    assert len(process.values) == 2
