"""What `code-changes.md` says: a run begins with one version of a handler, and goes on with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Inngest, RetryPolicy, step
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore, VirtualClock
from quart import Quart

Handler = Callable[[], Awaitable[Any]]
ONE_ATTEMPT = RetryPolicy(max_retries=0)


class Deployments:
    """One database, one clock, one version of the application after another."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.done: list[str] = []
        self.keys: list[str] = []

    async def do(self, what: str = "") -> str:
        """Act on the world; return what was done."""
        self.done.append(what)
        self.keys.append(step.idempotency_key())
        return what

    async def do_otherwise(self, what: str = "") -> str:
        """Act in another way."""
        self.done.append(f"otherwise {what}")
        return what

    async def count(self) -> int:
        """Return a number where `do` returned a text."""
        self.done.append("count")
        return 7

    async def begin(self, handler: Handler) -> str:
        """Let a run begin with *handler*; return its wait URL."""
        async with self._app(handler, "/order").test_app() as running:
            answer = await running.test_client().post("/order")
            assert answer.status_code == 303
            location: str = answer.headers["location"]
            return location

    async def go_on(self, handler: Handler, url: str, path: str = "/order", name: str = "order") -> tuple[int, Any]:
        """Let it go on with *handler*; return its answer."""
        async with self._app(handler, path, name).test_app() as running:
            await self.clock.advance("2h")
            answer = await running.test_client().get(url, headers={"Prefer": "wait=0"})
            return answer.status_code, await answer.get_data(as_text=True)

    def _app(self, handler: Handler, path: str, name: str = "order") -> Quart:
        app = Quart(__name__)
        inngest = Inngest("shop", endpoint_adapter, EmbeddedEngine(store=self.store, clock=self.clock))
        app.add_url_rule(path, name, inngest.endpoint(id=name, retries=ONE_ATTEMPT)(handler), methods=["POST"])
        inngest.init_app(app)
        return app


@pytest.fixture
def shop() -> Deployments:
    return Deployments()


@pytest.fixture
async def url(shop: Deployments) -> str:
    """Begin a run of the first version, which charges and then sleeps for an hour."""

    async def first_version() -> str:
        await step.run("charge", shop.do, "charge")
        await step.sleep("pause", "1h")
        raise AssertionError("the second version goes on")

    return await shop.begin(first_version)


async def test_step_added_behind_runs(shop: Deployments, url: str) -> None:
    async def handler() -> str:
        charged = await step.run("charge", shop.do, "charge")
        await step.sleep("pause", "1h")
        return charged + await step.run("mail", shop.do, "mail")

    assert await shop.go_on(handler, url) == (200, "chargemail")
    assert shop.done == ["charge", "mail"]


async def test_step_added_before_runs_late(shop: Deployments, url: str) -> None:
    """It is new to the run, so it runs at the next pass, after what stands below it."""

    async def handler() -> str:
        await step.run("check", shop.do, "check")
        charged = await step.run("charge", shop.do, "charge")
        await step.sleep("pause", "1h")
        return charged

    assert await shop.go_on(handler, url) == (200, "charge")
    assert shop.done == ["charge", "check"]


async def test_steps_may_change_places(shop: Deployments, url: str) -> None:
    """They are found by their keys."""

    async def handler() -> str:
        await step.sleep("pause", "1h")
        return await step.run("charge", shop.do, "charge")

    assert await shop.go_on(handler, url) == (200, "charge")
    assert shop.done == ["charge"]


async def test_step_taken_away_is_warned_of(shop: Deployments, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its effect stays: nothing undoes it."""

    async def handler() -> str:
        await step.sleep("pause", "1h")
        return "done"

    assert await shop.go_on(handler, url) == (200, "done")
    assert "without visiting step 'charge'" in caplog.text


async def test_renamed_step_runs_again(shop: Deployments, url: str) -> None:
    """With another idempotency key: this is the change that charges twice."""

    async def handler() -> str:
        await step.run("charge-card", shop.do, "charge")
        await step.sleep("pause", "1h")
        return "done"

    assert await shop.go_on(handler, url) == (200, "done")
    assert shop.done == ["charge", "charge"]
    assert len(set(shop.keys)) == 2


async def test_other_function_or_arguments_are_for_new_runs(shop: Deployments, url: str) -> None:
    """A run that has the memo gets the memo."""

    async def handler() -> str:
        charged = await step.run("charge", shop.do_otherwise, "another charge")
        await step.sleep("pause", "1h")
        return charged

    assert await shop.go_on(handler, url) == (200, "charge")
    assert shop.done == ["charge"]


async def test_branch_with_other_arguments_runs_again(shop: Deployments) -> None:
    """Its arguments are what tells branches of one ID apart, so this one is new."""

    async def book(what: str) -> str:
        return await step.run("book", shop.do, what)

    async def version(*wanted: str) -> str:
        booked = await asyncio.gather(*map(book, wanted))
        await step.sleep("pause", "1h")
        return " ".join(booked)

    url = await shop.begin(partial(version, "bed", "car"))

    assert await shop.go_on(partial(version, "car", "flat"), url) == (200, "car flat")
    assert shop.done == ["bed", "car", "flat"]


async def test_step_of_another_kind_fails_the_run(shop: Deployments, url: str) -> None:
    """What a function returned is no event, and a sleep has no result."""

    async def handler() -> str:
        await step.sleep("charge", "1h")
        return "never"

    status, _ = await shop.go_on(handler, url)
    assert status == 500
    assert shop.done == ["charge"]


async def test_result_of_another_type_fails_the_run(shop: Deployments, url: str) -> None:
    """The memo is decoded to what the function says now, and a text is no number."""

    async def handler() -> str:
        return str(await step.run("charge", shop.count))

    status, _ = await shop.go_on(handler, url)
    assert status == 500
    assert shop.done == ["charge"]


async def test_pause_keeps_its_end(shop: Deployments, url: str) -> None:
    """The moment was recorded when the sleep began."""

    async def handler() -> str:
        await step.run("charge", shop.do, "charge")
        await step.sleep("pause", "30d")
        return "done"

    assert await shop.go_on(handler, url) == (200, "done")


async def test_moved_route_fails_the_run(shop: Deployments, url: str) -> None:
    """The recorded request finds no handler; its client gets what the application answers."""

    async def handler() -> str:
        return "never"

    status, _ = await shop.go_on(handler, url, path="/orders")
    assert status == 404


async def test_endpoint_of_another_id_takes_the_run(shop: Deployments, url: str) -> None:
    """The request finds its handler by its route."""

    async def handler() -> str:
        return await step.run("charge", shop.do, "charge")

    assert await shop.go_on(handler, url, name="place-order") == (200, "charge")
    assert shop.done == ["charge"]


async def test_equal_ids_with_other_arguments_fail_the_run(shop: Deployments) -> None:
    """Steps of one ID are numbered, and guarded by their function and arguments: none gets another one's memo."""

    async def first_version() -> str:
        for what in ("bed", "car"):
            await step.run("book", shop.do, what)
        await step.sleep("pause", "1h")
        return "never"

    async def second_version() -> str:
        for what in ("bed", "bike", "car"):
            await step.run("book", shop.do, what)
        return "done"

    status, _ = await shop.go_on(second_version, await shop.begin(first_version))
    assert status == 500
    assert shop.done == ["bed", "car"]


async def test_version_by_a_step_keeps_old_runs_on_the_old_way(shop: Deployments) -> None:
    """The way to change what old runs must not see: a step says which version the run has begun with."""

    async def version() -> int:
        return 1

    async def newer_version() -> int:
        return 2

    async def first() -> str:
        await step.run("version", version)
        await step.sleep("pause", "1h")
        return "old"

    async def second() -> str:
        began_with = await step.run("version", newer_version)
        await step.sleep("pause", "1h")
        return "old" if began_with == 1 else "new"

    assert await shop.go_on(second, await shop.begin(first)) == (200, "old")
    assert await shop.go_on(second, await shop.begin(second)) == (200, "new")
