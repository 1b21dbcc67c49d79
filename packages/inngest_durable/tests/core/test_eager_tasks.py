"""Passes on a loop whose tasks begin at once: in the call that makes them, before that has returned."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from inngest_durable import NestedStepError, step

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import Work
from packages.inngest_durable.tests.eager import begin_tasks_at_once, needs_eager_tasks

pytestmark = needs_eager_tasks


class EndOfTheWorld(BaseException):
    """What is no `Exception`."""


@pytest.mark.parametrize("grouped", [False, True], ids=["gather", "TaskGroup"])
@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["at once", "in a while"])
@in_virtual_time
async def test_branches_have_the_keys_and_results_that_they_have_otherwise(grouped: bool, seconds: float) -> None:
    work = Work()

    async def both(*branches: Any) -> list[Any]:
        if not grouped:
            return await asyncio.gather(*branches)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch) for branch in branches]
        return [task.result() for task in tasks]

    async def now(name: str) -> str:
        return await work.do(name, seconds) if seconds else name

    async def book(who: str) -> str:
        seat = await step.run("reserve", now, f"seat {who}")
        extras = await both(step.run("add", now, f"meal {who}"), step.run("add", now, f"bag {who}"))
        await step.sleep("think", "1h")
        return " ".join([seat, *extras, await step.run("pay", now, f"pay {who}")])

    async def handle() -> list[str]:
        return [*await both(book("alice"), book("bob")), await step.run("pay", now, "fee")]

    stories = []
    for eager in (False, True):
        process = Process()
        asyncio.get_running_loop().set_task_factory(None)
        if eager:
            begin_tasks_at_once()
        value = await process.run_to_end(handle)
        memos = process.disk.memos
        stories.append((value, {key: msgspec.json.decode(memos[key].result or b"null") for key in sorted(memos)}))

    assert stories[1] == stories[0]
    assert stories[0][0] == [*(f"seat {who} meal {who} bag {who} pay {who}" for who in ("alice", "bob")), "fee"]


@in_virtual_time
async def test_step_that_ends_in_the_call_that_begins_it_is_over() -> None:
    """Its pass does not wait for it any more."""
    begin_tasks_at_once()
    process = Process()

    async def end() -> None:
        raise EndOfTheWorld

    async def handle() -> None:
        await step.run("end", end)

    with pytest.raises(EndOfTheWorld):
        await process.request(handle)
    assert process.current is not None
    await asyncio.wait_for(process.current.idle(), 1.0)


@in_virtual_time
async def test_step_inside_a_step_is_an_error_when_tasks_begin_at_once() -> None:
    begin_tasks_at_once()
    process, work = Process(), Work()
    seen: list[BaseException] = []

    async def outer() -> None:
        try:
            await asyncio.gather(step.run("inner", work.do, "inner"))
        except NestedStepError as error:
            seen.append(error)

    async def handle() -> None:
        await step.run("outer", outer)
        await step.run("after", work.do, "after")

    await process.run_to_end(handle)

    assert [type(error) for error in seen] == [NestedStepError]
    assert work.calls == ["after"]
