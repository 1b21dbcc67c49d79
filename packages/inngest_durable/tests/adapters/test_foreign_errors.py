"""What leaves a handler and is no `Exception`: of a cancelled future, or of a library's own timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable._core.model import RunStatus
from inngest_durable.quart import endpoint_adapter
from inngest_durable.sync import step as sync_step
from inngest_durable.testing import MemoryStore
from quart import Quart

from packages.inngest_durable.tests.adapters.site import RUN_ID
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from testkit.outside import Outside
from testkit.waiting import wait_until

StartThreads = Callable[..., Threads]


class LibraryTimeout(BaseException):
    """What gevent, for one, raises."""


def raising(error: type[BaseException], times: int) -> Callable[[Outside], Handler]:
    """Make a handler that raises so many times after its step."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            paid = sync_step.run("pay", outside.act, "pay")
            if outside.record("handled") <= times:
                raise error("late")
            return paid

        return handler

    return make


@pytest.mark.parametrize("error", [asyncio.CancelledError, LibraryTimeout])
def test_it_is_a_failed_attempt_of_the_handler(threads: StartThreads, error: type[BaseException]) -> None:
    application = threads(raising(error, 2))
    answer = application.answer()

    assert (answer.status_code, answer.text) == (200, "pay#1")
    assert application.records.wait_for_end(answer.headers[RUN_ID]).attempt == 3


@pytest.mark.parametrize("error", [asyncio.CancelledError, LibraryTimeout])
def test_the_last_one_fails_the_run(threads: StartThreads, error: type[BaseException]) -> None:
    """And no pass is left, for which `stop` would wait."""
    application = threads(raising(error, 1_000), retries=0)
    answer = application.get()
    run = application.records.wait_for_end(answer.headers[RUN_ID])
    wait_until(lambda: not application.inngest.engine.passes, "the pass to end")

    assert (answer.status_code, run.status) == (500, "failed")
    assert f"RuntimeError: the handler raised {error.__name__}" in str(run.failure)


@pytest.mark.parametrize(("retries", "status"), [(0, RunStatus.FAILED), (1, RunStatus.WAITING)])
async def test_it_is_a_failed_attempt_on_the_event_loop_too(retries: int, status: RunStatus) -> None:
    app, store = Quart("tests"), MemoryStore()
    inngest = Inngest("tests", endpoint_adapter, EmbeddedEngine(store=store))

    @app.get("/")
    @inngest.endpoint(retries=retries)
    async def late() -> str:
        await step.run("pay", lambda: "paid")
        raise LibraryTimeout("late")

    inngest.init_app(app)
    answer = await app.test_client().get("/")
    passes = len(inngest.engine.passes)
    await inngest.stop()

    assert answer.status_code == (303 if retries else 500)
    assert (store.status(answer.headers[RUN_ID]), passes) == (status, 0)
