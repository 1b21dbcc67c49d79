"""What a pass makes of the values of its steps, and of its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from inngest_durable import (
    StepOptions,
    step,
)
from inngest_durable._core.model import RunStatus
from inngest_durable.testing import VirtualClock

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import HOUR, Work


@dataclass
class Flight:
    """A typed result."""

    number: str
    leaves: datetime


@in_virtual_time
async def test_first_pass_and_replay_return_the_same_value() -> None:
    """A handler sees what was stored, type and all, in every pass."""
    process = Process()
    seen: list[list[Any]] = []

    async def search() -> Flight:
        return Flight("LX 14", datetime(2026, 12, 24, tzinfo=UTC))

    async def pair():  # type: ignore[no-untyped-def]
        return (1, {"two": (2,)})

    async def handle() -> str:
        seen.append([await step.run("search", search), await step.run("pair", pair)])
        await step.sleep("nap", "1h")
        return "done"

    await process.run_to_end(handle)

    assert seen == [[Flight("LX 14", datetime(2026, 12, 24, tzinfo=UTC)), [1, {"two": [2]}]]] * 2


@in_virtual_time
async def test_result_is_durable_before_the_handler_sees_it() -> None:
    """Code behind a step runs when its memo is on disk."""
    process, work = Process(), Work()

    async def handle() -> bytes | None:
        await step.run("do", work.do, "do")
        return process.disk.memos["do"].result

    await process.run_to_end(handle)

    assert process.values == [b'"do"']


@in_virtual_time
async def test_step_takes_arguments_and_keywords() -> None:
    """No lambda is needed."""

    async def add(*numbers: int, times: int = 1) -> int:
        return sum(numbers) * times

    async def handle() -> int:
        return await step.run("add", add, 1, 2, times=3)

    assert await Process().run_to_end(handle) == 9


@in_virtual_time
async def test_handler_without_steps_writes_nothing() -> None:
    """A pass that used no step is not a run before it ends."""
    process = Process()

    async def handle() -> str:
        assert process.disk.run is None
        await asyncio.sleep(10)
        assert process.disk.run is None
        return "done"

    await process.request(handle)


@in_virtual_time
async def test_run_is_accepted_while_its_first_step_executes() -> None:
    """The row is written in some milliseconds, not only when a slow first step ends."""
    process, work = Process(), Work()

    async def handle() -> str:
        return await step.run("slow", work.do, "slow", 60.0)

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(0.1)

    assert process.disk.the_run.status is RunStatus.RUNNING
    await running


@in_virtual_time
async def test_sleep_until_a_moment_in_the_past_does_not_pause() -> None:
    """The run goes on in the same pass."""
    process = Process()

    async def handle() -> str:
        await step.sleep_until("nap", datetime.fromtimestamp(process.clock.now(), UTC) - timedelta(days=1))
        return "done"

    assert await process.run_to_end(handle) == "done"
    assert len(process.values) == 1


@in_virtual_time
async def test_sleep_until_ends_at_the_moment_that_was_given_first() -> None:
    """A handler that works out another moment in a later pass does not move it."""
    process = Process()
    began = process.clock.now()

    async def handle() -> str:
        await step.sleep_until("nap", datetime.fromtimestamp(process.clock.now(), UTC) + timedelta(hours=1))
        return "done"

    await process.run_to_end(handle)

    assert process.clock.now() == pytest.approx(began + HOUR, abs=0.1)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: step.sleep("nap", "soon"),
        lambda: step.sleep("nap", timedelta(-1)),
        lambda: step.sleep_until("nap", datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda: step.sleep("", "1s"),
        lambda: step.sleep_until("", datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: step.run("", Work().do, "do"),
        lambda: step.run("half \ud83d", Work().do, "do"),
        lambda: step.run(StepOptions(""), Work().do, "do"),
    ],
    ids=["duration", "negative", "naive", "sleep name", "sleep_until name", "run name", "half a name", "options name"],
)
@in_virtual_time
async def test_misuse_is_an_error_of_the_call(misuse: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Bad arguments raise where they are given, and nothing is written."""
    process = Process()

    async def handle() -> None:
        with pytest.raises(ValueError):
            # What is not refused is a coroutine, which wants to be awaited or closed.
            misuse().close()

    await process.request(handle)

    assert process.disk.memos == {}


async def test_sleep_ends_when_a_virtual_clock_says_so() -> None:
    """A pass has no other time than its engine's."""
    clock = VirtualClock()
    process = Process(clock=clock)

    async def handle() -> str:
        await step.sleep("nap", "24h")
        return "rested"

    await process.request(handle)
    statuses = []
    for pause in ("23h", "1h"):
        await clock.advance(pause)
        await process.reenter(handle)
        statuses.append(process.disk.the_run.status)

    assert statuses == [RunStatus.WAITING, RunStatus.COMPLETED]
