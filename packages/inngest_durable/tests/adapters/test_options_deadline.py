"""`endpoint(timeout=)`: the deadline of a run, counted from its acceptance, whatever the run does when it passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import httpx
from inngest_durable import RetryPolicy, step
from quart import Response, request

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.one_endpoint import Handler, one_step, shop_of
from packages.inngest_durable.tests.adapters.shop import change, connection
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.outside import Outside
from testkit.waiting import wait_until

# A retry that no test waits for.
NEVER = RetryPolicy(max_retries=3, initial="1h", jitter=False)
# Long enough for a busy machine to come to what happens before it.
DEADLINE_SECONDS = 1.0


def assert_timed_out(site: Site, answer: httpx.Response) -> None:
    """Check an answer, and the one run there is, for the end by deadline."""
    run = site.records.wait_for_only_run()
    assert (answer.status_code, run.status) == (504, "failed")
    assert answer.json()["run_id"] == run.id == answer.headers[RUN_ID]
    assert "deadline" in answer.json()["error"]
    assert "RunTimeoutError" in str(run.failure)
    assert answer.headers["cache-control"] == "no-store"


def slow_steps(outside: Outside) -> Handler:
    """Make a handler that goes from step to step without an end; the first attempt of the first one may fail."""

    async def work(action: str, fail: int) -> str:
        await asyncio.sleep(0.01)
        return outside.act(action, fail)

    async def handler() -> str:
        for number in count():
            await step.run(f"step-{number}", work, "work", request.args.get("fail", 0, type=int))
        return "never"

    return handler


def test_deadline_at_the_first_pass_answers_the_client(tmp_path: Path, serve: Serve) -> None:
    """A handler that takes too long is left, its client gets 504, and no further step runs."""
    shop = shop_of(tmp_path, slow_steps, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)
    began = time.time()
    answer = site.get("/")

    assert time.time() - began >= DEADLINE_SECONDS
    assert_timed_out(site, answer)
    calls = site.outside.counts()["work"]
    (run,) = site.records.runs()
    # The step that was in flight may have ended after the run.
    assert 0 < calls - 1 <= len(site.records.steps(run.id)) <= calls
    # The client has its answer a moment before the pass is put away.
    wait_until(lambda: len(site.inngest.engine.passes) == 0, "the pass to end")


def test_deadline_at_a_reentry_is_answered_by_the_wait_url(tmp_path: Path, serve: Serve) -> None:
    """The time counts from the acceptance, over all passes."""
    shop = shop_of(tmp_path, slow_steps, timeout=f"{DEADLINE_SECONDS}s", retries=QUICK)
    site = serve(shop.app, shop.inngest)
    began = time.time()
    redirect = site.get("/?fail=1")
    answer = site.follow(redirect)

    assert redirect.status_code == 303
    assert time.time() - began >= DEADLINE_SECONDS
    assert_timed_out(site, answer)


def test_deadline_of_a_run_that_waits_for_a_retry(tmp_path: Path, serve: Serve) -> None:
    """A step whose next attempt is due after the deadline is not awaited, nor tried."""
    shop = shop_of(tmp_path, one_step, timeout=f"{DEADLINE_SECONDS}s", retries=NEVER)
    site = serve(shop.app, shop.inngest)

    assert_timed_out(site, site.follow(site.get("/")))
    assert site.outside.counts() == {"charge": 1}


def test_deadline_of_a_handler_that_waits_for_a_retry(tmp_path: Path, serve: Serve) -> None:
    """The same for the next attempt of the handler itself."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            await step.run("fine", outside.act, "fine")
            return outside.act("handler", 1_000)

        return handler

    shop = shop_of(tmp_path, make, timeout=f"{DEADLINE_SECONDS}s", retries=NEVER)
    site = serve(shop.app, shop.inngest)

    assert_timed_out(site, site.follow(site.get("/")))
    assert site.outside.counts() == {"fine": 1, "handler": 1}


def sleeper(outside: Outside) -> Handler:
    """Make a handler that counts its passes and sleeps for an hour."""

    async def handler() -> str:
        outside.record("pass")
        await step.sleep("pause", "1h")
        return "awake"

    return handler


def test_deadline_of_a_sleeping_run(tmp_path: Path, serve: Serve) -> None:
    """Sleep counts: the run fails while it sleeps, and its handler is not entered for that."""
    shop = shop_of(tmp_path, sleeper, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)
    began = time.time()
    answer = site.follow(site.get("/"))

    assert time.time() - began >= DEADLINE_SECONDS
    assert_timed_out(site, answer)
    assert site.outside.counts() == {"pass": 1}


def test_deadline_passes_while_no_server_runs(tmp_path: Path, serve: Serve) -> None:
    """A run whose deadline passed before the restart fails at the start; its wait URL and its key say 504."""
    first_shop = shop_of(tmp_path, sleeper, timeout="1h")
    first = serve(first_shop.app, first_shop.inngest)
    redirect = first.get("/", headers={"Idempotency-Key": "key"})
    first.close()
    change(tmp_path / "durable.db", "UPDATE runs SET deadline = ?, wake_at = ?", (time.time() - 1, time.time() - 1))
    shop = shop_of(tmp_path, sleeper, timeout="1h")
    site = serve(shop.app, shop.inngest)

    assert_timed_out(site, site.get(redirect.headers["location"]))
    assert_timed_out(site, site.get("/", headers={"Idempotency-Key": "key"}))
    assert site.outside.counts() == {"pass": 1}


def test_deadline_outlives_a_restart(tmp_path: Path, serve: Serve) -> None:
    """The deadline is the run's, recorded at its acceptance: what the endpoint says after a restart is for new runs."""
    first_shop = shop_of(tmp_path, sleeper, timeout=f"{2 * DEADLINE_SECONDS}s")
    first = serve(first_shop.app, first_shop.inngest)
    redirect = first.get("/")
    first.close()
    shop = shop_of(tmp_path, sleeper)
    site = serve(shop.app, shop.inngest)

    assert_timed_out(site, site.get(redirect.headers["location"]))


def test_deadline_lets_a_step_in_flight_end(tmp_path: Path, serve: Serve) -> None:
    """A parked step is not awaited; one that executes is not cut off, though its run has failed."""

    def make(outside: Outside) -> Handler:
        async def short() -> str:
            outside.record("short")
            await asyncio.sleep(1.5 * DEADLINE_SECONDS)
            return outside.act("short-ended")

        async def handler() -> str:
            await asyncio.gather(step.run("parked", outside.act, "parked", 1), step.run("short", short))
            return await step.run("after", outside.act, "after")

        return handler

    shop = shop_of(tmp_path, make, timeout=f"{DEADLINE_SECONDS}s", retries=NEVER)
    site = serve(shop.app, shop.inngest)
    answer = site.get("/")

    assert_timed_out(site, answer)
    wait_until(lambda: site.outside.counts().get("short-ended"), "the step in flight to end")
    assert site.outside.counts() == {"parked": 1, "short": 1, "short-ended": 1}


def test_deadline_does_not_wait_for_a_handler_outside_its_steps(tmp_path: Path, serve: Serve) -> None:
    """A handler that awaits something else than a step is left at the deadline as well."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            await step.run("fine", outside.act, "fine")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                outside.record("left")
            return "never"

        return handler

    shop = shop_of(tmp_path, make, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)

    assert_timed_out(site, site.get("/"))
    assert site.outside.counts() == {"fine": 1, "left": 1}


def test_deadline_does_not_wait_for_a_step_that_hangs(tmp_path: Path, serve: Serve) -> None:
    """The run fails and its client is answered while a step still executes; what that returns changes nothing."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            return await step.run("hangs", outside.held, "hangs")

        return handler

    shop = shop_of(tmp_path, make, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)
    answer = site.get("/")
    site.outside.open("hangs")

    assert_timed_out(site, answer)
    wait_until(lambda: len(site.inngest.engine.passes) == 0, "the pass to end")
    assert site.records.wait_for_only_run().status == "failed"


def test_deadline_after_the_handler_is_none(tmp_path: Path, serve: Serve) -> None:
    """A handler that has returned in time has made it: its response may take longer to go out."""

    def make(outside: Outside) -> Handler:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"one "
            await asyncio.to_thread(outside.held, "stream")
            yield b"two"

        async def handler() -> Response:
            await step.run("fine", outside.act, "fine")
            return Response(chunks())

        return handler

    shop = shop_of(tmp_path, make, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)
    began = time.time()
    with site.client.stream("GET", "/") as response:
        received = response.iter_raw()
        first = next(received)
        wait_until(lambda: time.time() > began + 1.5 * DEADLINE_SECONDS, "the deadline")
        site.outside.open("stream")
        rest = b"".join(received)

    assert (response.status_code, first + rest) == (200, b"one two")
    assert site.records.wait_for_only_run().status == "completed"


def test_deadline_is_answered_though_the_client_has_left(tmp_path: Path, serve: Serve) -> None:
    """Nobody needs to be connected for a run to fail in time."""
    shop = shop_of(tmp_path, slow_steps, timeout=f"{DEADLINE_SECONDS}s")
    site = serve(shop.app, shop.inngest)
    with connection(site.server.port, "/"):
        site.outside.wait_for("work")
    run = site.records.wait_for_only_run()

    assert run.status == "failed"
    assert "RunTimeoutError" in str(run.failure)
