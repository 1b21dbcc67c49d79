"""Parking and interrupting: how a pass leaves its handler, whatever the handler is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from inngest_durable import (
    NonRetriableError,
    RetryAfterError,
    RetryPolicy,
    RunInterrupt,
    StepError,
    StepOptions,
    step,
)
from inngest_durable._core.model import RunStatus, StepState
from inngest_durable.engines.base import Clock, TimerHandle

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import HOUR, Work


class NosyClock:
    """A clock that tells when a step parks, and until when."""

    def __init__(self, clock: Clock) -> None:
        self.at_timer: Callable[[float], object] = lambda when: None
        self._clock = clock

    def now(self) -> float:
        """Return the current time."""
        return self._clock.now()

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* at *when*."""
        timer = self._clock.call_at(when, callback)
        self.at_timer(when)
        return timer


# What handlers do with a step that sleeps and a branch of three steps.
Shape = Callable[[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def gathered(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    return await asyncio.gather(nap(), branch())


async def gathered_deeply(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    return (await asyncio.gather(gathered_once(nap), asyncio.gather(branch())))[0]


async def gathered_once(nap: Callable[[], Awaitable[Any]]) -> Any:
    return await asyncio.gather(asyncio.gather(nap()), asyncio.sleep(0, "branch"))


async def gathered_with_exceptions(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    return await asyncio.gather(nap(), branch(), return_exceptions=True)


async def grouped(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_coroutine(nap)), group.create_task(_coroutine(branch))]
    return [task.result() for task in tasks]


async def grouped_deeply(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_coroutine(lambda: grouped(nap, branch)))]
    return tasks[0].result()


async def timed(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(600):
        return [await nap(), await branch()]


async def waited_for(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    return [await asyncio.wait_for(_coroutine(nap), 600), await branch()]


async def waited(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    tasks = [asyncio.ensure_future(nap()), asyncio.ensure_future(branch())]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


async def shielded(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    return [await asyncio.shield(_coroutine(nap)), await branch()]


async def swallowed(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    try:
        napped = await nap()
    except BaseException:
        napped = "swallowed"
    return [napped, await branch()]


async def suppressed(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    napped: Any = "suppressed"
    with contextlib.suppress(BaseException):
        napped = await nap()
    return [napped, "branch"]


async def replaced(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return [await nap(), await branch()]
    except BaseException as error:
        raise NonRetriableError("something else") from error


async def finalized(nap: Callable[[], Awaitable[Any]], branch: Callable[[], Awaitable[Any]]) -> Any:
    napped: Any = "finalized"
    try:
        napped = await nap()
    finally:
        return [napped, "branch"]  # noqa: B012


async def _coroutine(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


SHAPES: list[Shape] = [
    *(gathered, gathered_deeply, gathered_with_exceptions, grouped, grouped_deeply, timed, waited_for, waited),
    *(shielded, swallowed, suppressed, replaced, finalized),
]


def flat(value: Any) -> list[Any]:
    """Return the texts and nones of nested lists."""
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@in_virtual_time
async def test_interrupt_leaves_every_kind_of_handler(shape: Shape) -> None:
    """The run waits for its sleep and ends with its value, and every step ran once."""
    process, work = Process(), Work()

    async def nap() -> None:
        await step.sleep("nap", "1h")

    async def branch() -> str:
        for name in ("a", "b", "c"):
            await step.run(name, work.do, name, 0.01)
        return "branch"

    async def handle() -> list[Any]:
        before = await step.run("before", work.do, "before")
        middle = await shape(nap, branch)
        return [before, middle, await step.run("after", work.do, "after")]

    began = process.clock.now()

    assert flat(await process.run_to_end(handle)) == ["before", None, "branch", "after"]
    assert sorted(work.calls) in (["a", "after", "b", "before", "c"], ["after", "before"])
    assert process.clock.now() == pytest.approx(began + HOUR, abs=0.5)
    assert len(process.values) <= 3


@in_virtual_time
async def test_interrupted_run_waits_until_its_step_is_due() -> None:
    """The first pass ends at once; a second one, when it is time, ends the run."""
    process = Process()

    async def handle() -> str:
        await step.sleep("nap", "1h")
        return "rested"

    await process.request(handle)

    assert process.disk.the_run.status is RunStatus.WAITING
    assert [park.wake_at for park in process.parks] == pytest.approx([1_000.0 + HOUR])
    assert process.clock.now() < 1_000.1

    assert await process.run_to_end(handle) == "rested"
    assert len(process.values) == 2


@in_virtual_time
async def test_interrupt_is_not_caught_by_except_exception() -> None:
    """A handler that catches all errors does not catch this one."""
    process = Process()
    caught: list[Exception] = []

    async def handle() -> str:
        try:
            await step.sleep("nap", "1h")
        except Exception as error:
            caught.append(error)
        return "rested"

    assert await process.run_to_end(handle) == "rested"
    assert caught == []
    assert isinstance(process.values[0], RunInterrupt)


@in_virtual_time
async def test_step_after_the_interrupt_is_refused() -> None:
    """However often a handler asks that swallows the interrupt: nothing is called, and its value does not count."""
    process, work = Process(), Work()
    refusals = 0

    async def handle() -> str:
        nonlocal refusals
        try:
            await step.sleep("nap", "1h")
        except RunInterrupt:
            for n in range(20):
                try:
                    await step.run(f"step {n}", work.do, "in vain")
                except RunInterrupt:
                    refusals += 1
            return "nonsense"
        return await step.run("after", work.do, "after")

    await process.request(handle)

    assert (refusals, work.calls) == (20, [])
    assert list(process.disk.memos) == ["nap"]
    assert await process.run_to_end(handle) == "after"


@in_virtual_time
async def test_retry_parks_the_run() -> None:
    """A failed attempt is recorded, and the next one is made in another pass."""
    process, work = Process(), Work()

    async def handle() -> str:
        return await step.run("pay", work.fail, "pay", 2)

    began = process.clock.now()
    await process.request(handle)

    assert process.disk.memos["pay"].state is StepState.RETRYING
    assert work.calls == ["pay"]
    assert await process.run_to_end(handle) == "pay"
    assert (len(process.values), len(work.calls)) == (3, 3)
    assert process.clock.now() == pytest.approx(began + 1 + 2, abs=0.1)


@in_virtual_time
async def test_retry_after_a_moment_parks_until_then() -> None:
    """`RetryAfterError` decides when the run goes on."""
    process = Process()
    times: list[float] = []

    async def call() -> str:
        times.append(process.clock.now())
        if len(times) == 1:
            raise RetryAfterError("come back later", "2h")
        return "done"

    async def handle() -> str:
        return await step.run("call", call)

    assert await process.run_to_end(handle) == "done"
    assert times[1] - times[0] == pytest.approx(2 * HOUR, abs=0.1)


@in_virtual_time
async def test_parked_step_is_resumed_in_place_while_another_executes() -> None:
    """A retry and a sleep whose time comes while a slow step runs need no other pass."""
    process, work = Process(), Work()

    async def handle() -> Any:
        return await asyncio.gather(
            step.run("slow", work.do, "slow", 10.0), step.run("flaky", work.fail, "flaky", 2), step.sleep("nap", "5s")
        )

    assert await process.run_to_end(handle) == ["slow", "flaky", None]
    assert (len(process.values), process.parks) == (1, [])
    assert work.began["flaky"] - work.began["slow"] == pytest.approx(3.0, abs=0.1)
    assert process.clock.now() == pytest.approx(1_010.0, abs=0.1)


@in_virtual_time
async def test_pass_is_interrupted_when_the_last_executing_step_ends() -> None:
    """A step that is due much later does not hold the pass, but what executes does."""
    process, work = Process(), Work()

    async def handle() -> Any:
        return await asyncio.gather(step.run("slow", work.do, "slow", 10.0), step.sleep("nap", "1h"))

    await process.request(handle)

    assert process.clock.now() == pytest.approx(1_010.0, abs=0.2)
    assert process.disk.memos["slow"].state is StepState.COMPLETED
    assert [park.wake_at for park in process.parks] == pytest.approx([1_000.0 + HOUR], abs=0.1)
    assert await process.run_to_end(handle) == ["slow", None]
    assert work.calls == ["slow"]


@in_virtual_time
async def test_run_waits_for_the_earliest_of_its_parked_steps() -> None:
    """Each of them gets its own time."""
    process = Process()
    ends: dict[str, float] = {}

    async def nap(text: str) -> None:
        await step.sleep(f"nap {text}", text)
        ends.setdefault(text, process.clock.now())

    async def handle() -> None:
        await asyncio.gather(nap("3h"), nap("1h"), nap("2h"))

    await process.run_to_end(handle)

    assert [ends[text] - 1_000.0 for text in ("1h", "2h", "3h")] == pytest.approx([HOUR, 2 * HOUR, 3 * HOUR], abs=0.5)
    assert len(process.values) == 4


@in_virtual_time
async def test_interrupt_from_outside_lets_executing_steps_end() -> None:
    """A process that stops waits for the step, checkpoints it, and starts no other; the run goes on at once."""
    process, work = Process(), Work()

    async def handle() -> list[str]:
        return [await step.run(name, work.do, name, 2.0) for name in ("a", "b")]

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    assert process.current is not None
    process.current.interrupt("the process stops")
    process.current.interrupt("a second time")
    await running

    assert process.disk.memos["a"].state is StepState.COMPLETED
    assert process.parks[0].wake_at == pytest.approx(1_002.0, abs=0.1)
    assert await process.run_to_end(handle) == ["a", "b"]
    assert work.calls == ["a", "b"]


@in_virtual_time
async def test_interrupt_from_outside_frees_parked_steps() -> None:
    """What waits in place while another step executes does not hold a process that stops."""
    process, work = Process(), Work()

    async def handle() -> Any:
        return await asyncio.gather(step.sleep("nap", "1h"), step.run("slow", work.do, "slow", 2.0))

    running = asyncio.ensure_future(process.request(handle))
    await asyncio.sleep(1)
    assert process.current is not None
    process.current.interrupt("the process stops")
    await running

    assert process.clock.now() == pytest.approx(1_002.0, abs=0.1)
    assert process.disk.memos["slow"].state is StepState.COMPLETED
    # At once: another process may have time for it.
    assert process.parks[0].wake_at == pytest.approx(1_002.0, abs=0.1)
    assert await process.run_to_end(handle) == [None, "slow"]


@pytest.mark.parametrize("sooner", [0.0, 1e-10, -1e-10], ids=["same time", "just before", "just behind"])
@pytest.mark.parametrize("how", ["interrupt", "return", "cancel"])
@in_virtual_time
async def test_step_whose_time_comes_at_the_end_does_not_outlive_the_pass(how: str, sooner: float) -> None:
    """No function is called any more when the run has ended or waits: another pass could call it at the same time."""
    process, work = Process(policy=RetryPolicy(initial="20ms", jitter=False)), Work()
    process.clock = clock = NosyClock(process.clock)
    returned = asyncio.Event()

    async def handle() -> str:
        flaky = asyncio.ensure_future(step.run("flaky", work.fail, "flaky", 1, 1.0))
        if how != "return":
            return await flaky
        await returned.wait()
        return "returned"

    def end() -> None:
        assert process.current is not None
        if how == "interrupt":
            process.current.interrupt("the process stops")
        elif how == "cancel":
            running.cancel()
        returned.set()

    clock.at_timer = lambda when: asyncio.get_running_loop().call_at(when - sooner, end)
    running = asyncio.ensure_future(process.request(handle))
    await asyncio.wait([running])
    await process.settle()

    assert process.disk.the_run.status is not RunStatus.RUNNING
    assert work.executing == 0


@in_virtual_time
async def test_pass_does_not_end_before_its_steps() -> None:
    """A run is put to wait only when nothing of the pass executes any more, so that two passes never overlap."""
    process, work = Process(), Work()

    async def handle() -> None:
        slow = asyncio.ensure_future(step.run("slow", work.do, "slow", 5.0))
        await asyncio.sleep(0)
        await asyncio.wait([slow], timeout=1)
        raise OSError("the handler fails while its step executes")

    await process.request(handle)

    assert process.disk.memos["slow"].state is StepState.COMPLETED
    assert process.disk.the_run.status is RunStatus.WAITING
    assert process.parks[0].wake_at >= 1_005.0 + 1.0


@in_virtual_time
async def test_step_error_in_a_group_with_a_parked_step_is_final() -> None:
    """An error that leaves the handler for good ends the run, whatever else was parked."""
    process, work = Process(), Work()

    async def handle() -> None:
        await asyncio.gather(step.sleep("nap", "1h"), step.run(StepOptions("pay", retries=0), work.fail, "pay", 9))

    with pytest.raises(Exception, match="pay is down"):
        await process.run_to_end(handle)

    assert process.disk.the_run.status is RunStatus.FAILED
    assert process.clock.now() < 1_001.0
    assert isinstance(process.values[0], StepError)
