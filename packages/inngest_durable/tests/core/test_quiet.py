"""When a pass is quiet: how long it waits for branches that are between two steps, and that none of them starves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from inngest_durable import step

from packages.inngest_durable.tests.core.process import COMMIT_SECONDS, Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import HOUR, Work

BEGIN = 1_000.0
Branch = Callable[[], Coroutine[Any, Any, Any]]
Beside = Callable[[Branch, Branch], Coroutine[Any, Any, list[Any]]]


async def nap() -> None:
    """Sleep for an hour."""
    await step.sleep("nap", "1h")


async def gather(*branches: Branch) -> list[Any]:
    """Run *branches* by `asyncio.gather`."""
    return await asyncio.gather(*(branch() for branch in branches))


async def group(*branches: Branch) -> list[Any]:
    """Run *branches* in a TaskGroup, which cancels all of them when one is interrupted."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(branch()) for branch in branches]
    return [task.result() for task in running]


def parks(process: Process) -> list[tuple[float, float]]:
    """Return until when the run was put to wait, in seconds since its begin, and its next pass's quiet time."""
    return [(park.wake_at - BEGIN, park.quiet_seconds) for park in process.parks]


beside = pytest.mark.parametrize("beside", [gather, group])


@in_virtual_time
async def test_pass_with_steps_of_one_task_is_quiet_at_once() -> None:
    """The usual handler is redirected without delay: no time passes but that of two commits."""
    process = Process()

    async def handle() -> None:
        await nap()

    await process.request(handle)

    assert process.clock.now() - BEGIN == pytest.approx(2 * COMMIT_SECONDS)


@in_virtual_time
async def test_pass_with_branches_is_quiet_after_50_ms() -> None:
    """Other branches may be on their way to their next steps."""
    process = Process()

    async def handle() -> None:
        await asyncio.gather(step.sleep("a", "1h"), step.sleep("b", "2h"))

    await process.request(handle)

    assert process.clock.now() - BEGIN == pytest.approx(0.05 + 2 * COMMIT_SECONDS, abs=0.001)


@beside
@in_virtual_time
async def test_branch_with_short_awaits_between_its_steps_is_not_cut_off(beside: Beside) -> None:
    """What is less than 50 ms away is waited for, as often as it comes."""
    process, work = Process(), Work()

    async def branch() -> None:
        for n in range(20):
            await asyncio.sleep(0.04)
            await step.run("do", work.do, f"{n}")

    async def handle() -> None:
        await beside(nap, branch)

    await process.request(handle)

    assert work.calls == [f"{n}" for n in range(20)]


@beside
@in_virtual_time
async def test_branch_with_long_awaits_makes_progress_within_seconds(beside: Beside) -> None:
    """A branch with plain awaits of 200 ms gets its steps done long before its neighbour's hour is over."""
    process, work = Process(), Work()

    async def branch() -> str:
        for n in range(5):
            await asyncio.sleep(0.2)
            await step.run("do", work.do, f"{n}")
        return "branch"

    async def handle() -> list[Any]:
        return await beside(nap, branch)

    assert await process.run_to_end(handle) == [None, "branch"]
    assert work.calls == ["0", "1", "2", "3", "4"]
    assert work.began["4"] < BEGIN + 5
    assert process.clock.now() == pytest.approx(BEGIN + HOUR, abs=3)
    assert len(process.values) <= 6


@pytest.mark.parametrize("tenths_of_ms", range(480, 560, 4))
@in_virtual_time
async def test_branch_that_comes_at_a_bad_moment_makes_progress(tenths_of_ms: int) -> None:
    """A branch may ask just before the interrupt, while the run is put to wait, or behind that: it gets its turn."""
    process, work = Process(), Work()

    async def branch() -> str:
        await asyncio.sleep(tenths_of_ms / 10_000)
        return await step.run("do", work.do, "do")

    async def handle() -> Any:
        return await asyncio.gather(nap(), branch())

    assert await process.run_to_end(handle) == [None, "do"]
    assert work.calls == ["do"]
    assert work.began["do"] < BEGIN + 2


@in_virtual_time
async def test_refusal_makes_the_waiting_run_due_with_twice_the_quiet_time() -> None:
    """A branch that asks once the run waits wakes it, and the next pass waits longer for it."""
    process, work = Process(), Work()

    async def branch() -> str:
        await asyncio.sleep(0.5)
        return await step.run("do", work.do, "do")

    async def handle() -> Any:
        return await asyncio.gather(nap(), branch())

    await process.request(handle)
    assert parks(process) == [pytest.approx((HOUR, 0.0), abs=0.1)]
    await asyncio.sleep(0.6)
    assert process.wakes == [0.1]
    assert process.disk.the_run.wake_at == pytest.approx(BEGIN + 0.5, abs=0.1)

    await process.run_to_end(handle)
    assert process.wakes == [0.1, 0.2, 0.4, 0.8][: len(process.wakes)]
    assert process.wakes[-1] >= 0.4


@in_virtual_time
async def test_refusal_before_the_run_is_put_to_wait_makes_it_due() -> None:
    """A branch that asks while the handler still unwinds is seen in time."""
    process, work = Process(), Work()

    async def branch() -> str:
        await asyncio.sleep(0.2)
        return await step.run("do", work.do, "do")

    async def handle() -> list[Any]:
        other = asyncio.ensure_future(branch())
        try:
            await nap()
            return [None, await other]
        finally:
            await asyncio.wait([other])

    await process.request(handle)

    assert parks(process) == [pytest.approx((0.2, 0.1), abs=0.05)]
    assert await process.run_to_end(handle) == [None, "do"]
    assert work.began["do"] < BEGIN + 3


@in_virtual_time
async def test_branch_that_waited_for_a_parked_step_is_no_refusal() -> None:
    """A handler that swallows the interrupt and asks for its next step was not between two steps: no hurry."""
    process, work = Process(), Work()

    async def careless() -> None:
        for n in range(3):
            try:
                await step.sleep(f"nap {n}", "1h")
            except BaseException:
                continue

    async def handle() -> None:
        await asyncio.gather(careless(), nap(), return_exceptions=True)
        await step.run("do", work.do, "do")

    await process.request(handle)
    await asyncio.sleep(1)

    assert parks(process) == [pytest.approx((HOUR, 0.0), abs=0.1)]
    assert process.wakes == []


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@in_virtual_time
async def test_handler_that_unwinds_slowly_is_no_refusal(depth: int) -> None:
    """An interrupt takes some turns of the loop to come up through nested gathers; what asks behind is no branch."""
    process = Process()

    async def nested(level: int) -> None:
        if level:
            await asyncio.gather(nested(level - 1), return_exceptions=True)
        else:
            await nap()

    async def handle() -> None:
        await nested(depth)
        await step.sleep("second", "1h")

    await process.request(handle)

    assert parks(process) == [pytest.approx((HOUR, 0.0), abs=0.1)]


@in_virtual_time
async def test_pass_knows_whether_it_brought_anything_new() -> None:
    """A checkpoint is progress; to park again where the pass before parked is none."""
    process = Process()

    async def handle() -> None:
        await nap()

    progressed = []
    for run_pass in (process.request, process.reenter):
        await run_pass(handle)
        assert process.current is not None
        progressed.append(process.current.how_interrupted(None).progressed)

    assert progressed == [True, False]


@in_virtual_time
async def test_torn_down_group_gets_one_pass_with_a_second_of_quiet() -> None:
    """A TaskGroup cancels its branches, so they cannot ask: one pass waits a second for them, later ones as well."""
    process, work = Process(), Work()

    async def branch() -> str:
        await asyncio.sleep(5)
        return await step.run("do", work.do, "do")

    async def handle() -> list[Any]:
        return await group(nap, branch)

    await process.request(handle)
    assert parks(process) == [pytest.approx((0.0, 1.0), abs=0.1)]
    await process.reenter(handle)
    assert parks(process)[1:] == [pytest.approx((HOUR, 1.0), abs=0.1)]
    assert process.clock.now() == pytest.approx(BEGIN + 1, abs=0.1)

    assert await process.run_to_end(handle) == [None, "do"]
    assert len(process.values) == 3


@in_virtual_time
async def test_branch_slower_than_the_longest_quiet_time_does_not_keep_the_run_busy() -> None:
    """The quiet time grows to 30 s; a branch with a plain await of a minute has then to wait for its neighbour."""
    process, work = Process(), Work()

    async def branch() -> str:
        await asyncio.sleep(60)
        return await step.run("do", work.do, "do")

    async def handle() -> Any:
        return await asyncio.gather(nap(), branch())

    assert await process.run_to_end(handle) == [None, "do"]
    assert max(park.quiet_seconds for park in process.parks) <= 30.0
    assert len(process.values) < 20


@in_virtual_time
async def test_branch_slower_than_50_ms_at_every_step_ends_in_few_passes() -> None:
    """The quiet time that a branch needs is found once, and kept for the later passes of the run."""
    process, work = Process(), Work()

    async def branch() -> None:
        for n in range(10):
            await asyncio.sleep(3)
            await step.run("do", work.do, f"{n}")

    async def handle() -> Any:
        return await asyncio.gather(nap(), branch())

    await process.run_to_end(handle)

    assert work.calls == [f"{n}" for n in range(10)]
    assert work.began["9"] < BEGIN + 120
    assert len(process.values) <= 10


@in_virtual_time
async def test_branch_that_replays_its_steps_is_not_cut_off() -> None:
    """A step that is memoized is a sign of life, too: the quiet time starts again."""
    process, work = Process(), Work()

    async def branch() -> None:
        for n in range(10):
            await asyncio.sleep(0.04)
            await step.run("do", work.do, f"{n}")
        await step.sleep("nap 2", "10s")

    async def handle() -> None:
        await asyncio.gather(nap(), branch())
        await step.run("end", work.do, "end")

    await process.request(handle)
    assert len(work.calls) == 10
    process.disk.memos.pop("do/nap 2")
    before = process.clock.now()
    await process.reenter(handle)

    assert process.clock.now() - before > 0.4
    assert "do/nap 2" in process.disk.memos
    assert len(work.calls) == 10


@pytest.mark.parametrize("branches", [False, True], ids=["steps", "branches"])
@in_virtual_time
async def test_500_steps_in_one_gather(branches: bool) -> None:
    """Hundreds of steps with one ID run at the same time, once each, and keep their results over a replay."""
    process, work = Process(), Work()

    async def branch(name: str) -> str:
        return await step.run("do", work.do, name, 1.0)

    async def handle() -> list[str]:
        names = [f"{n}" for n in range(500)]
        if branches:
            results = await asyncio.gather(*map(branch, names))
        else:
            results = await asyncio.gather(*(step.run("do", work.do, name, 1.0) for name in names))
        await step.sleep("nap", "1h")
        return results

    assert await process.run_to_end(handle) == [f"{n}" for n in range(500)]
    assert sorted(work.calls) == sorted(f"{n}" for n in range(500))
    assert process.clock.now() == pytest.approx(BEGIN + HOUR + 1, abs=0.2)


async def cancelled(waiting: Branch, working: Branch) -> None:
    """Run both until one ends, and cancel the other."""
    tasks = {asyncio.ensure_future(waiting()), asyncio.ensure_future(working())}
    _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()


async def timed_out(waiting: Branch, working: Branch) -> None:
    """Give up the one while the other executes."""
    task = asyncio.ensure_future(working())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await waiting()
    await task


async def torn_down(waiting: Branch, working: Branch) -> None:
    """Let the failure of the one take the other along."""

    async def failing() -> None:
        await working()
        raise OSError("the group is torn down")

    with contextlib.suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(waiting())
            tasks.create_task(failing())


@pytest.mark.parametrize("left", [cancelled, timed_out, torn_down], ids=lambda left: left.__name__)
@in_virtual_time
async def test_parked_step_that_the_handler_has_cancelled_holds_up_nothing(
    left: Callable[[Branch, Branch], Coroutine[Any, Any, None]],
) -> None:
    """A handler that goes on with plain code, however long, is not interrupted for a step that nobody waits for."""
    process, work = Process(), Work()

    async def handle() -> str:
        await left(nap, lambda: step.run("work", work.do, "work", 1.0))
        await asyncio.sleep(0.2)
        await step.run("after", work.do, "after")
        await asyncio.sleep(0.2)
        return "done"

    assert await process.run_to_end(handle) == "done"
    assert (len(process.values), process.parks) == (1, [])
    assert process.clock.now() - BEGIN == pytest.approx(1.4, abs=0.1)
