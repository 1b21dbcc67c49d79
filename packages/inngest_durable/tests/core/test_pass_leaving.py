"""What becomes of steps when their handler goes away: its client, its return, its run."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgspec
import pytest
from inngest_durable import (
    RunInterrupt,
    step,
)
from inngest_durable._core.model import RunStatus, StepState

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import HOUR, Work


@in_virtual_time
async def test_step_of_a_handler_that_is_cancelled_ends_and_is_checkpointed() -> None:
    """A client that goes away does not kill the step half-way: it ends, then the run goes on at once."""
    process, work = Process(), Work()

    async def handle() -> list[str]:
        return [await step.run(name, work.do, name, 2.0) for name in ("a", "b")]

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert process.current is not None
    assert process.current.interrupted
    await process.settle()

    assert process.disk.memos["a"].state is StepState.COMPLETED
    assert process.clock.now() == pytest.approx(1_002.0, abs=0.1)
    assert [park.wake_at for park in process.parks] == pytest.approx([1_002.0], abs=0.1)
    assert await process.run_to_end(handle) == ["a", "b"]
    assert work.calls == ["a", "b"]


@in_virtual_time
async def test_branches_of_a_handler_that_is_cancelled_end_and_are_checkpointed() -> None:
    """All steps in flight end; none that follows begins."""
    process, work = Process(), Work()

    async def branch(name: str, seconds: float) -> list[str]:
        return [await step.run("one", work.do, f"{name}1", seconds), await step.run("two", work.do, f"{name}2")]

    async def handle() -> Any:
        async with asyncio.TaskGroup() as group:
            branches = [group.create_task(branch(name, 2.0 + n)) for n, name in enumerate("ab")]
        return [branch.result() for branch in branches]

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait([running])
    await process.settle()

    assert work.calls == ["a1", "b1"]
    assert sorted(process.disk.memos) == ["one", "one:1"]
    assert await process.run_to_end(handle) == [["a1", "a2"], ["b1", "b2"]]
    assert work.calls == ["a1", "b1", "a2", "b2"]


@in_virtual_time
async def test_failed_attempt_of_a_handler_that_is_cancelled_counts() -> None:
    """A step that fails after its handler has gone is retried by the next pass, when it is time."""
    process, work = Process(), Work()

    async def handle() -> str:
        return await step.run("flaky", work.fail, "flaky", 1, 2.0)

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait([running])
    await process.settle()

    assert process.disk.memos["flaky"].state is StepState.RETRYING
    assert await process.run_to_end(handle) == "flaky"
    assert work.began["flaky"] == pytest.approx(1_003.0, abs=0.1)


@in_virtual_time
async def test_steps_that_execute_when_the_handler_returns_are_checkpointed() -> None:
    """The pass ends when they have; those that are parked are dropped."""
    process, work = Process(), Work()

    async def handle() -> str:
        steps = [
            step.run("fast", work.do, "fast", 1.0),
            step.run("slow", work.do, "slow", 5.0),
            step.run("flaky", work.fail, "flaky", 9, 5.0),
            step.sleep("nap", "1h"),
        ]
        done, _ = await asyncio.wait(map(asyncio.ensure_future, steps), return_when=asyncio.FIRST_COMPLETED)
        return str(done.pop().result())

    await process.request(handle)
    states = {key: memo.state for key, memo in process.disk.memos.items()}

    assert process.values == ["fast"]
    assert process.clock.now() == pytest.approx(1_005.0, abs=0.1)
    assert states == {
        "fast": StepState.COMPLETED,
        "slow": StepState.COMPLETED,
        "flaky": StepState.RETRYING,
        "nap": StepState.WAITING,
    }
    assert process.disk.the_run.status is RunStatus.COMPLETED
    await asyncio.sleep(2 * HOUR)
    assert work.calls == ["fast", "slow", "flaky"]


@in_virtual_time
async def test_step_that_outlives_a_timeout_round_it_is_checkpointed() -> None:
    """The handler goes on without it, and a replay finds its result."""
    process, work = Process(), Work()

    async def handle() -> str:
        try:
            async with asyncio.timeout(1):
                return await step.run("slow", work.do, "slow", 5.0)
        except TimeoutError:
            return await step.run("plan b", work.do, "plan b")

    await process.request(handle)

    assert process.values == ["plan b"]
    assert process.disk.memos["slow"].state is StepState.COMPLETED
    assert process.clock.now() == pytest.approx(1_005.0, abs=0.1)


@in_virtual_time
async def test_task_that_outlives_its_pass_is_refused() -> None:
    """A step that is asked for once the handler has returned is not called, and the run stays as it ended."""
    process, work = Process(), Work()
    orphans: list[asyncio.Future[Any]] = []

    async def orphan() -> None:
        await asyncio.sleep(5)
        await step.run("late", work.do, "late")

    async def handle() -> str:
        orphans.append(asyncio.ensure_future(orphan()))
        return await step.run("do", work.do, "do")

    assert await process.run_to_end(handle) == "do"
    await asyncio.wait(orphans)
    assert isinstance(orphans[0].exception(), RunInterrupt)
    assert work.calls == ["do"]
    assert process.disk.the_run.status is RunStatus.COMPLETED


@in_virtual_time
async def test_pass_that_has_lost_its_run_is_interrupted() -> None:
    """A checkpoint that is refused leaves the handler and writes nothing; user code does not see why."""
    process, work = Process(), Work()
    caught: list[Exception] = []

    async def handle() -> list[str]:
        try:
            return [await step.run(name, work.do, name, 2.0) for name in ("a", "b")]
        except Exception as error:
            caught.append(error)
            raise

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    # Another worker takes the run over.
    taken = process.disk.run = msgspec.structs.replace(process.disk.the_run, epoch=7, owner="another")
    await running

    assert process.current is not None
    assert process.current.interrupted
    assert (process.disk.run, process.disk.memos) == (taken, {})
    assert (work.calls, caught) == (["a"], [])
    assert isinstance(process.values[0], RunInterrupt)


@in_virtual_time
async def test_two_runs_in_one_process_do_not_meet() -> None:
    """Passes that run at the same time keep to their own journals."""
    processes = [Process(), Process()]
    work = Work()

    async def handle(number: int) -> Any:
        first = await step.run("do", work.do, f"{number}", 1.0)
        await asyncio.gather(step.sleep("nap", "1h"), step.run("do", work.do, f"{number} again"))
        return first

    handlers = [functools.partial(handle, number) for number in (0, 1)]
    results = await asyncio.gather(*(p.run_to_end(h) for p, h in zip(processes, handlers, strict=True)))

    assert results == ["0", "1"]
    assert sorted(work.calls) == ["0", "0 again", "1", "1 again"]
    assert [process.disk.memos["do"].result for process in processes] == [b'"0"', b'"1"']
