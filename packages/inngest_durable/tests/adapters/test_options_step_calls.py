"""`StepOptions(timeout=)`, and the threads of `def` step functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepError, StepOptions, step
from quart import request
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.one_endpoint import Handler, shop_of
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import OutageError, Outside
from testkit.waiting import wait_until

THREADS = 64


def test_timeout_cancels_an_async_step(tmp_path: Path, serve: Serve) -> None:
    """The function is cancelled, the attempt has failed, and the next one has the whole time again."""

    def make(outside: Outside) -> Handler:
        async def charge() -> str:
            number = outside.record("charge")
            try:
                if number <= 2:
                    await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                outside.record("cancelled")
                raise
            return f"charge#{number}"

        async def handler() -> str:
            return await step.run(StepOptions("charge", timeout="100ms"), charge)

        return handler

    shop = shop_of(tmp_path, make, retries=QUICK)
    site = serve(shop.app, shop.inngest)
    answer = site.follow(site.get("/"))

    assert answer.text == "charge#3"
    assert site.outside.counts() == {"charge": 3, "cancelled": 2}
    assert site.records.steps(answer.headers[RUN_ID])["charge"].attempt == 3


def test_timeout_that_is_exhausted_is_a_step_error(tmp_path: Path, serve: Serve) -> None:
    """When the last attempt has timed out too, the handler gets a StepError that says so."""

    def make(outside: Outside) -> Handler:
        async def hang() -> None:
            outside.record("hang")
            await asyncio.get_running_loop().create_future()

        async def handler() -> ResponseReturnValue:
            try:
                await step.run(StepOptions("hang", retries=0, timeout="50ms"), hang)
            except StepError as error:
                return {"error": error.name, "message": error.message, "attempts": error.attempt}, 502
            return "never"

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)

    assert site.get("/").json() == {
        "error": "StepTimeoutError",
        "message": "step 'hang' took longer than 0.05 s",
        "attempts": 1,
    }


def test_timeout_of_something_inside_a_step_is_its_own(tmp_path: Path, serve: Serve) -> None:
    """A TimeoutError that the function raises by itself is an ordinary error, with a timeout and without."""

    def make(outside: Outside) -> Handler:
        async def inner() -> None:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()

        async def handler() -> list[str]:
            names = []
            for timeout in ("10s", None):
                try:
                    await step.run(StepOptions("inner", retries=0, timeout=timeout), inner)
                except StepError as error:
                    names.append(error.name)
            return names

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)

    assert site.get("/").json() == ["TimeoutError", "TimeoutError"]


def held_calls(outside: Outside) -> Callable[[], str]:
    """Make a `def` step function whose calls each take until their own gate opens, and note when they return."""

    def charge() -> str:
        number = outside.record("charge")
        outside.held(f"gate-{number}")
        outside.record(f"returned-{number}")
        return f"charge#{number}"

    return charge


@pytest.mark.parametrize("others", ["in the same pass", "at a re-entry"])
def test_next_attempt_waits_for_the_thread_of_the_last(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture, others: str
) -> None:
    """A `def` function cannot be stopped: its attempt has failed, and the next begins only when it has returned."""

    def make(outside: Outside) -> Handler:
        async def busy() -> str:
            return await asyncio.to_thread(outside.held, "busy")

        async def handler() -> str:
            outside.record("pass")
            calls: list[Awaitable[str]] = [step.run(StepOptions("charge", timeout="100ms"), held_calls(outside))]
            if others == "in the same pass":
                # Keeps the pass alive, so that the next attempt is made in place.
                calls.append(step.run("busy", busy))
            return (await asyncio.gather(*calls))[0]

        return handler

    shop = shop_of(tmp_path, make, retries=RetryPolicy(max_retries=5, initial="150ms", jitter=False))
    site = serve(shop.app, shop.inngest)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(site.get, "/")
        wait_until(lambda: "'charge' failed at attempt 1" in caplog.text, "the first attempt to time out")
        if others == "at a re-entry":
            site.outside.wait_for("pass", 2)
        with pytest.raises(TimeoutError):
            wait_until(lambda: len(site.outside.calls("charge")) > 1, "a second call", 0.4)
        site.outside.open("gate-1")
        site.outside.wait_for("charge", 2)
        before = [call["action"] for call in site.outside.calls() if call["action"] in ("charge", "returned-1")]
        for gate in ("gate-2", "gate-3", "gate-4", "busy"):
            site.outside.open(gate)
        answer = site.follow(first.result())

    assert before == ["charge", "returned-1", "charge"]
    # What the first call returned is dropped: a later one's result is the step's.
    assert (answer.status_code, answer.text != "charge#1") == (200, True)
    assert "step 'charge' returned after its timeout; that is dropped" in caplog.text


def test_late_error_of_a_thread_is_dropped(tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """What a `def` function raises after its timeout is logged and changes nothing."""

    def make(outside: Outside) -> Handler:
        def charge() -> str:
            outside.held("charge")
            raise OutageError("too late to matter")

        async def handler() -> str:
            return await step.run(StepOptions("charge", retries=0, timeout="50ms"), charge)

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)
    answer = site.get("/")
    site.outside.open("charge")
    wait_until(lambda: "step 'charge' raised" in caplog.text, "the late error to be logged")

    assert answer.json() == {"step": "charge", "error": "StepTimeoutError", "attempts": 1}
    assert "step 'charge' raised OutageError: too late to matter after its timeout; that is dropped" in caplog.text


colour: ContextVar[str] = ContextVar("colour", default="none")


def test_def_step_runs_in_a_daemon_thread_with_the_context(tmp_path: Path, serve: Serve) -> None:
    """It sees the handler's context variables and request, and what it sets there is its own."""

    def make(outside: Outside) -> Handler:
        def look() -> dict[str, Any]:
            thread = threading.current_thread()
            seen = {"daemon": thread.daemon, "loops": thread.ident == loops[0], "colour": colour.get()}
            colour.set("blue")
            return {**seen, "path": request.path, "key": len(step.idempotency_key())}

        loops: list[int] = []

        async def handler() -> list[Any]:
            loops.append(threading.get_ident())
            colour.set("red")
            seen = [await step.run("look", look), await step.run("look", look)]
            return [*seen, colour.get()]

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)
    seen = {"daemon": True, "loops": False, "colour": "red", "path": "/", "key": 32}

    assert site.get("/").json() == [seen, seen, "red"]


def test_def_steps_do_not_hold_up_the_loop_or_each_other(tmp_path: Path, serve: Serve) -> None:
    """64 of them run at the same time, the rest take their turn, and the server answers others meanwhile."""
    gate, begun = threading.Event(), []

    def make(outside: Outside) -> Handler:
        def work(number: int) -> int:
            begun.append(number)
            gate.wait(20)
            return number

        async def handler() -> list[int]:
            return await asyncio.gather(*(step.run("work", work, number) for number in range(THREADS + 6)))

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, "/")
        try:
            wait_until(lambda: len(begun) >= THREADS, "64 threads")
            others = [site.get("/plain").text for _ in range(5)]
            at_once = len(begun)
        finally:
            gate.set()

        assert others == ["plain"] * 5
        assert at_once == THREADS
        assert answer.result().json() == list(range(THREADS + 6))


def test_def_function_may_return_an_awaitable(tmp_path: Path, serve: Serve) -> None:
    """A `def` function, a lambda or a partial that makes a coroutine has its result awaited."""

    def make(outside: Outside) -> Handler:
        async def charge(name: str) -> str:
            await asyncio.sleep(0)
            return outside.act(name)

        async def handler() -> list[str]:
            return [await step.run("lambda", lambda: charge("one")), await step.run("name", charge, name="two")]

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)

    assert site.get("/").json() == ["one#1", "two#1"]


def test_stop_iteration_in_a_thread_is_an_error_like_any_other(tmp_path: Path, serve: Serve) -> None:
    """A future cannot carry a StopIteration; the step fails all the same, and does not hang."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            return await step.run(StepOptions("next", retries=0), next, iter(()))

        return handler

    shop = shop_of(tmp_path, make)
    site = serve(shop.app, shop.inngest)

    assert site.get("/").json() == {"step": "next", "error": "RuntimeError", "attempts": 1}
