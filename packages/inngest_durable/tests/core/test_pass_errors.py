"""What a pass makes of errors: of its steps, of its handler, and of what no step function should raise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from inngest_durable import (
    NonRetriableError,
    RetryPolicy,
    StepError,
    StepOptions,
    StepValueError,
    step,
)
from inngest_durable._core.model import StepState

from packages.inngest_durable.tests.core.process import Disk, Process, RunFailedError
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time, run
from packages.inngest_durable.tests.core.work import Work


@in_virtual_time
async def test_step_error_has_the_same_form_in_every_pass() -> None:
    """``except StepError`` works on a replay; only the first pass has the cause."""
    process = Process(policy=RetryPolicy(max_retries=1, jitter=False))
    caught: list[StepError] = []

    async def pay() -> None:
        raise PermissionError("card declined")

    async def handle() -> str:
        try:
            await step.run("pay", pay)
        except StepError as error:
            caught.append(error)
        await step.sleep("nap", "1h")
        return "caught"

    assert await process.run_to_end(handle) == "caught"
    first, replayed = caught
    assert isinstance(first.__cause__, PermissionError)
    assert replayed.__cause__ is None
    assert replayed.args == first.args
    assert str(replayed) == str(first)
    assert (first.name, first.message, first.attempt) == ("PermissionError", "card declined", 2)
    assert 'raise PermissionError("card declined")' in replayed.traceback


@in_virtual_time
async def test_step_has_retries_of_its_own() -> None:
    """`StepOptions` comes before the endpoint's policy."""
    process, work = Process(), Work()

    async def handle() -> list[str]:
        found = []
        for retries in (0, 2):
            try:
                await step.run(StepOptions(f"{retries}", retries=retries), work.fail, f"{retries}", 99)
            except StepError as error:
                found.append(f"{error.attempt}")
        return found

    assert await process.run_to_end(handle) == ["1", "3"]
    assert [work.calls.count(name) for name in ("0", "2")] == [1, 3]


@in_virtual_time
async def test_step_that_is_not_retriable_is_called_once() -> None:
    """Its error is the handler's at once, without another pass."""
    process = Process()
    calls = 0

    async def pay() -> None:
        nonlocal calls
        calls += 1
        raise NonRetriableError("declined")

    async def handle() -> str:
        try:
            await step.run("pay", pay)
        except StepError as error:
            return error.message
        return "paid"

    assert await process.run_to_end(handle) == "declined"
    assert (calls, len(process.values)) == (1, 1)


@in_virtual_time
async def test_step_error_that_leaves_the_handler_fails_the_run() -> None:
    """A replay would raise it again, so the handler gets no further attempt."""
    process, work = Process(), Work()

    async def handle() -> str:
        return await step.run(StepOptions("pay", retries=0), work.fail, "pay", 99)

    with pytest.raises(RunFailedError, match="StepError"):
        await process.run_to_end(handle)

    assert len(process.values) == 1


@in_virtual_time
async def test_step_error_that_leaves_a_task_group_fails_the_run() -> None:
    """The same in an `ExceptionGroup`."""
    process, work = Process(), Work()

    async def handle() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run(StepOptions("pay", retries=0), work.fail, "pay", 99))

    with pytest.raises(RunFailedError):
        await process.run_to_end(handle)

    assert len(process.values) == 1


@in_virtual_time
async def test_error_of_the_handler_is_retried_over_its_memos() -> None:
    """Steps that are done stay done; the handler gets as many attempts as a step."""
    process, work = Process(), Work()
    attempts = 0

    async def handle() -> str:
        nonlocal attempts
        await step.run("do", work.do, "do")
        attempts += 1
        if attempts < 4:
            raise OSError("the handler's own")
        return "done"

    assert await process.run_to_end(handle) == "done"
    assert (attempts, work.calls) == (4, ["do"])
    assert process.disk.the_run.attempt == 4


@in_virtual_time
async def test_failed_attempt_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """When it happens: step, attempt, pause and run."""
    process, work = Process(), Work()
    caplog.set_level(logging.WARNING, "inngest_durable")

    async def handle() -> str:
        return await step.run("pay", work.fail, "pay", 1)

    await process.request(handle)

    assert len(caplog.messages) == 1
    for part in ("'pay'", "attempt 1", "next attempt in", process.disk.the_run.id, "OSError: pay is down", "Traceback"):
        assert part in caplog.messages[0]


@in_virtual_time
async def test_result_that_cannot_be_stored_fails_the_step() -> None:
    """At once, naming the step, and a replay says the same."""
    process = Process()
    caught: list[str] = []

    async def book() -> Any:
        return object()

    async def handle() -> str:
        try:
            await step.run("book", book)
        except StepError as error:
            caught.append(str(error))
        await step.sleep("nap", "1h")
        return "caught"

    await process.run_to_end(handle)

    assert caught[0] == caught[1]
    assert caught[0].startswith("step 'book' failed after 1 attempt: StepValueError: ")
    assert process.disk.memos["book"].result is None


@in_virtual_time
async def test_annotation_that_cannot_be_resolved_is_a_usage_error() -> None:
    """It is found before the function is called."""

    async def book() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        pytest.fail("called")

    async def handle() -> None:
        await step.run("book", book)

    process = Process()
    await process.request(handle)

    assert isinstance(process.values[0], StepValueError)
    assert process.disk.memos == {}


AT_ONCE = RetryPolicy(initial="0s")


def raise_stop_iteration() -> None:
    """Raise what no future can carry."""
    raise StopIteration("over")


async def araise_stop_iteration() -> None:
    """Raise what no coroutine can raise."""
    raise StopIteration("over")


@pytest.mark.parametrize("function", [raise_stop_iteration, araise_stop_iteration])
async def test_step_function_that_raises_stop_iteration_fails(function: Callable[[], Any]) -> None:
    """Python makes a RuntimeError of it, which is retried like any other."""

    async def handle() -> list[Any]:
        try:
            await step.run("odd", function)
        except StepError as error:
            return [error.name, error.attempt]
        return []

    assert await Process(policy=RetryPolicy(max_retries=1, initial="0s")).run_to_end(handle) == ["RuntimeError", 2]


def raise_cancelled() -> None:
    """Raise a cancellation in a thread."""
    raise asyncio.CancelledError


async def await_cancelled_task() -> None:
    """Await something of one's own that was cancelled."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


def return_cancelled_awaitable() -> Awaitable[None]:
    """Return something to await that will be cancelled."""
    return await_cancelled_task()


@pytest.mark.parametrize("gathered", [False, True], ids=["alone", "gathered"])
@pytest.mark.parametrize("function", [await_cancelled_task, raise_cancelled, return_cancelled_awaitable])
async def test_step_function_that_is_cancelled_by_itself_fails(function: Callable[[], Any], gathered: bool) -> None:
    """Nobody cancelled the step, so that is an error of it: recorded, retried, and the handler's in the end."""
    process = Process(policy=RetryPolicy(max_retries=1, initial="0s"))

    async def handle() -> list[Any]:
        call: Awaitable[Any] = step.run("odd", function)
        if gathered:
            call = asyncio.gather(call)
        try:
            await call
        except StepError as error:
            return [error.attempt]
        return []

    async with asyncio.timeout(10):
        assert await process.run_to_end(handle) == [2]
    assert process.disk.memos["odd"].state is StepState.FAILED


@in_virtual_time
async def test_handler_that_is_cancelled_by_itself_fails() -> None:
    """Its client has not gone away: without an attempt that counts, the run would begin again for ever."""
    process = Process()

    async def handle() -> None:
        await step.run("do", Work().do, "do")
        await await_cancelled_task()

    with pytest.raises(RunFailedError):
        await process.run_to_end(handle)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_step_function_that_ends_the_process_is_not_recorded(error: type[BaseException]) -> None:
    """It ends the process; the step was in flight and is called again by the next one."""
    processes: list[Process] = []
    calls = 0

    async def exit_once() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)
        if calls == 1:
            raise error
        return "done"

    async def handle() -> str:
        return await step.run("exit", exit_once)

    async def first() -> None:
        processes.append(Process())
        await processes[0].request(handle)

    async def second() -> Any:
        return await Process(processes[0].disk).run_to_end(handle)

    with pytest.raises(error):
        run(first())

    assert processes[0].disk.memos == {}
    assert run(second()) == "done"
    assert calls == 2


def test_step_function_that_ends_the_process_from_a_thread_is_not_recorded() -> None:
    """``sys.exit()`` in a thread reaches the event loop."""
    disks: list[Disk] = []

    def leave() -> None:
        raise SystemExit(3)

    async def handle() -> None:
        await step.run("exit", leave)

    async def main() -> None:
        process = Process()
        disks.append(process.disk)
        await process.request(handle)

    with pytest.raises(SystemExit):
        asyncio.run(main())

    assert disks[0].memos == {}


def test_step_function_in_flight_when_the_loop_closes_is_not_recorded() -> None:
    """A cancellation that comes with the end of the loop is no failed attempt."""
    processes: list[Process] = []
    work = Work()

    async def handle() -> str:
        return await step.run("slow", work.do, "slow", 60.0)

    async def first() -> None:
        processes.append(Process())
        running = asyncio.ensure_future(processes[0].request(handle))
        await asyncio.wait([running], timeout=1)

    async def second() -> Any:
        return await Process(processes[0].disk).run_to_end(handle)

    run(first())

    assert processes[0].disk.memos == {}
    assert run(second()) == "slow"
    assert work.calls == ["slow", "slow"]
