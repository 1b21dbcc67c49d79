"""Steps of a pass on asyncio: values, errors, keys, and what becomes of a step when its handler goes away."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from inngest_durable import (
    NestedStepError,
    NonRetriableError,
    OutsideEndpointError,
    ReplayMismatchError,
    RetryPolicy,
    RunInterrupt,
    StepError,
    StepOptions,
    StepValueError,
    step,
)
from inngest_durable._core.model import RunStatus, StepState
from inngest_durable.testing import VirtualClock

from packages.inngest_durable.tests.core.process import Disk, Process, RunFailedError
from packages.inngest_durable.tests.core.test_interrupt import HOUR, Work
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time, run

AT_ONCE = RetryPolicy(initial="0s")


@dataclass
class Flight:
    """A typed result."""

    number: str
    leaves: datetime


# Values.


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
        lambda: step.run(StepOptions(""), Work().do, "do"),
    ],
    ids=["duration", "negative", "naive", "sleep name", "sleep_until name", "run name", "options name"],
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


# Errors.


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


# Keys.


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


# Context.


@in_virtual_time
async def test_idempotency_key_stays_the_same_for_a_step() -> None:
    """At every attempt and in every pass, and another for each step."""
    process = Process()
    keys: dict[str, set[str]] = {"pay": set(), "pay again": set()}

    async def pay(name: str) -> None:
        keys[name].add(step.idempotency_key())
        raise OSError("down")

    async def handle() -> list[Any]:
        calls = [step.run("pay", pay, name) for name in keys]
        return [type(error).__name__ for error in await asyncio.gather(*calls, return_exceptions=True)]

    assert await process.run_to_end(handle) == ["StepError", "StepError"]
    assert [len(found) for found in keys.values()] == [1, 1]
    assert keys["pay"] != keys["pay again"]
    assert all(len(key) == 32 for found in keys.values() for key in found)
    assert len(process.values) == 4


@in_virtual_time
async def test_idempotency_key_outside_a_step_is_an_error() -> None:
    """The handler itself has none."""

    async def handle() -> None:
        step.idempotency_key()

    process = Process()
    await process.request(handle)

    assert isinstance(process.values[0], OutsideEndpointError)


async def test_step_outside_an_endpoint_is_an_error() -> None:
    """At the call, so that it cannot be missed by not awaiting it."""
    for call in (lambda: step.run("do", Work().do, "do"), lambda: step.sleep("nap", "1s"), step.idempotency_key):
        with pytest.raises(OutsideEndpointError):
            call()


@pytest.mark.parametrize("way", ["await", "task", "gather", "sleep"])
@in_virtual_time
async def test_step_inside_a_step_is_an_error(way: str) -> None:
    """It says which was started in which; the outer step fails for good, and the inner one is not called."""
    process, work = Process(), Work()

    async def nested() -> Any:
        if way == "sleep":
            return await step.sleep("inner", "1h")
        if way == "gather":
            return await asyncio.gather(step.run("inner", work.do, "inner"))
        return await step.run("inner", work.do, "inner")

    async def outer() -> Any:
        return await (asyncio.ensure_future(nested()) if way == "task" else nested())

    async def handle() -> str:
        try:
            await step.run("outer", outer)
        except StepError as error:
            return str(error)
        return "no error"

    text = await process.run_to_end(handle)

    assert "step 'inner' was started inside step 'outer'" in text
    assert "after 1 attempt: NestedStepError" in text
    assert work.calls == []
    assert list(process.disk.memos) == ["outer"]


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@in_virtual_time
async def test_step_function_sees_the_handlers_context() -> None:
    """Context variables go in, and what the function sets stays with it."""

    async def read() -> str:
        found = VARIABLE.get()
        VARIABLE.set("the step's")
        return found

    async def handle() -> list[str]:
        VARIABLE.set("the handler's")
        return [await step.run("read", read), VARIABLE.get()]

    assert await Process().run_to_end(handle) == ["the handler's"] * 2


# Functions in threads. In real time: nothing waits for a clock.


async def test_def_step_function_runs_in_a_thread() -> None:
    """With the context of its step, while the event loop goes on."""
    blocked = threading.Event()
    key_before: list[str] = []

    def book(who: str, *, seats: int) -> list[Any]:
        assert blocked.wait(10)
        key_before.append(step.idempotency_key())
        return [who, seats, VARIABLE.get(), threading.current_thread() is threading.main_thread()]

    async def handle() -> Any:
        VARIABLE.set("the handler's")
        booking = asyncio.ensure_future(step.run("book", book, "alice", seats=2))
        # The loop is free while the function waits for this line.
        asyncio.get_running_loop().call_soon(blocked.set)
        return await booking

    assert await Process().run_to_end(handle) == ["alice", 2, "the handler's", False]
    assert len(key_before[0]) == 32


async def test_def_step_functions_run_at_the_same_time() -> None:
    """Three of them can wait for each other."""
    barrier = threading.Barrier(3, timeout=10)

    async def handle() -> Any:
        return sorted(await asyncio.gather(*(step.run("meet", barrier.wait) for _ in range(3))))

    assert await Process().run_to_end(handle) == [0, 1, 2]


async def test_def_step_function_that_raises_is_retried() -> None:
    """An error in a thread is an error of the step, with its traceback."""
    calls: list[int] = []

    def flaky() -> str:
        calls.append(len(calls))
        if len(calls) < 3:
            raise OSError("thread is down")
        return "up"

    async def handle() -> str:
        return await step.run("flaky", flaky)

    process = Process(policy=AT_ONCE)

    assert await process.run_to_end(handle) == "up"
    assert calls == [0, 1, 2]


class Later:
    """Something to await that is no coroutine."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return self.value


class Booker:
    """Callables of other kinds."""

    async def book(self, who: str) -> str:
        """Be an ``async def`` method."""
        return who

    async def __call__(self, who: str) -> str:
        """Be an ``async def`` object."""
        return who

    def later(self, who: str) -> Awaitable[str]:
        """Return something to await."""
        return Later(who)


@pytest.mark.parametrize(
    "function",
    [
        Booker().book,
        functools.partial(Booker().book),
        functools.partial(Booker().book, "alice"),
        Booker(),
        Booker().later,
        lambda who: Booker().book(who),
        str,
    ],
    ids=["method", "partial", "full partial", "object", "awaitable", "lambda", "class"],
)
async def test_step_function_may_be_any_callable(function: Callable[..., Any]) -> None:
    """What it returns is awaited, if it can be."""
    args = () if isinstance(function, functools.partial) and function.args else ("alice",)

    async def handle() -> str:
        found: str = await step.run("book", function, *args)
        return found

    assert await Process().run_to_end(handle) == "alice"


async def test_step_inside_a_step_in_a_thread_is_an_error() -> None:
    """The thread knows which step it runs."""

    def outer() -> Any:
        return step.sleep("inner", "1h")

    async def handle() -> str:
        try:
            await step.run("outer", outer)
        except StepError as error:
            return error.name
        return "no error"

    assert await Process().run_to_end(handle) == NestedStepError.__name__


# Timeouts.


@in_virtual_time
async def test_attempt_that_takes_longer_than_the_steps_timeout_fails() -> None:
    """It is cancelled, counted and retried like any other."""
    process, work = Process(policy=RetryPolicy(max_retries=2, jitter=False)), Work()
    pauses = iter([60.0, 60.0, 5.0])

    async def slow() -> str:
        return await work.do("slow", next(pauses))

    async def handle() -> str:
        return await step.run(StepOptions("slow", timeout="10s"), slow)

    assert await process.run_to_end(handle) == "slow"
    assert process.disk.memos["slow"].attempt == 3
    assert process.clock.now() == pytest.approx(1_000.0 + 10 + 1 + 10 + 2 + 5, abs=0.1)


@in_virtual_time
async def test_timeout_of_the_step_has_a_name_of_its_own() -> None:
    """A TimeoutError that the function raises itself is not taken for it."""

    async def slow() -> None:
        await asyncio.sleep(60)

    async def hurried() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(60)

    async def handle() -> list[str]:
        names = []
        for function in (slow, hurried):
            try:
                await step.run(StepOptions(function.__name__, retries=0, timeout="10s"), function)
            except StepError as error:
                names.append(error.name)
        return names

    assert await Process().run_to_end(handle) == ["StepTimeoutError", "TimeoutError"]


async def test_def_step_function_that_timed_out_is_not_called_again_before_it_returns() -> None:
    """A thread cannot be stopped, and two attempts at a time could undo each other's work."""
    release, executing, most = threading.Event(), 0, 0

    def block() -> str:
        nonlocal executing, most
        executing += 1
        most = max(most, executing)
        assert release.wait(10)
        executing -= 1
        return "late"

    async def handle() -> str:
        # The other step keeps the pass alive, so that the retry comes in place.
        other = asyncio.ensure_future(step.run("other", release.wait, 10))
        found = await step.run(StepOptions("block", timeout="20ms"), block)
        await other
        return found

    process = Process(policy=AT_ONCE)
    running = asyncio.ensure_future(process.run_to_end(handle))
    async with asyncio.timeout(10):
        while "block" not in process.disk.memos:
            process.changed.clear()
            await process.changed.wait()
        release.set()

        assert await running == "late"
    assert most == 1
    assert process.disk.memos["block"].attempt == 2


# What step functions had better not raise.


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


# Handlers that go away.


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
