"""Step functions: their context, threads and timeouts. Those in threads run in real time: nothing waits for a clock."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from inngest_durable import (
    NestedStepError,
    OutsideEndpointError,
    OutsideStepError,
    RetryPolicy,
    StepError,
    StepOptions,
    StepUsageError,
    step,
)

from packages.inngest_durable.tests.core.process import Process
from packages.inngest_durable.tests.core.virtual_time import in_virtual_time
from packages.inngest_durable.tests.core.work import Work

AT_ONCE = RetryPolicy(initial="0s")


@in_virtual_time
async def test_idempotency_key_stays_the_same_for_a_step() -> None:
    """At every attempt, in every pass and when it has failed for good, and another for each step."""
    process = Process()
    keys: dict[str, set[str]] = {"pay": set(), "pay again": set()}

    async def pay(name: str) -> None:
        keys[name].add(step.idempotency_key())
        raise OSError("down")

    async def handle() -> list[Any]:
        calls = [step.run("pay", pay, name) for name in keys]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        return [error.idempotency_key for error in failed if isinstance(error, StepError)]

    told = await process.run_to_end(handle)
    assert [found == {key} for found, key in zip(keys.values(), told, strict=True)] == [True, True]
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

    assert isinstance(process.values[0], OutsideStepError)
    assert "function that you give to step.run" in process.values[0].__notes__[0]


@in_virtual_time
async def test_step_that_nobody_awaits_is_named_in_the_warning() -> None:
    """Python gives the line where it was called, and the name of the coroutine, which says which step it was."""
    process, work = Process(), Work()

    async def handle() -> str:
        with pytest.warns(RuntimeWarning, match=r"coroutine 'inngest_durable\.step do' was never awaited"):
            step.run("do", work.do, "do")  # type: ignore[unused-coroutine]
        return "forgotten"

    assert await process.run_to_end(handle) == "forgotten"
    assert work.calls == []


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


@in_virtual_time
async def test_call_in_place_of_a_function_is_an_error() -> None:
    """The mistake that is made most often: it says so before a step is taken, and nothing is tried again."""
    process, work = Process(), Work()

    async def handle() -> Any:
        return await step.run("do", work.do("do"))  # type: ignore[call-overload]  # what is tested

    await process.request(handle)

    assert isinstance(process.values[0], StepUsageError)
    assert "was given a coroutine in place of a function: write step.run('do', do, …)" in str(process.values[0])
    assert (len(process.values), work.calls, process.disk.memos) == (1, [], {})


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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions can be marked since Python 3.12")
async def test_function_that_is_marked_as_a_coroutine_function_is_called_on_the_loop() -> None:
    """As a decorator marks what it returns for an ``async def`` function: it may use the event loop."""

    def book(who: str) -> Awaitable[str]:
        return asyncio.ensure_future(Booker().book(who))

    inspect.markcoroutinefunction(book)  # type: ignore[attr-defined]  # mypy goes by Python 3.11

    async def handle() -> str:
        found: str = await step.run("book", book, "alice")
        return found

    assert await Process(policy=RetryPolicy(max_retries=0)).run_to_end(handle) == "alice"


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
