"""Cancelling a run at a bad moment: its pass has not begun yet, or whoever cancels it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable._core.model import RunStatus
from inngest_durable.engines.records import CancelRun
from inngest_durable.quart import current_pass, endpoint_adapter
from inngest_durable.testing import MemoryStore
from quart import Quart

from packages.inngest_durable.tests.adapters.site import RUN_ID


class Office:
    """An application whose re-entries are held by a hook, before they reach their endpoint."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.engine = EmbeddedEngine(store=self.store, shutdown_grace="5s")
        self.inngest = Inngest("office", endpoint_adapter, self.engine)
        self.app = Quart("office")
        self.claimed, self.may_enter, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.effects: list[str] = []
        self.app.before_request(self._hold)
        self._add("pay", self._pay)
        self._add("child", self._wait)
        self._add("parent", self._invoke)
        self.inngest.init_app(self.app)

    async def parked(self, path: str) -> str:
        """Send a request whose run comes to wait; return the run's ID."""
        answer = await self.app.test_client().get(path)
        assert answer.status_code == 303
        return answer.headers[RUN_ID]

    def _add(self, name: str, handler: Callable[[], Awaitable[Any]]) -> None:
        self.app.add_url_rule(f"/{name}", view_func=self.inngest.endpoint(id=name)(handler), methods=["GET", "POST"])

    async def _hold(self) -> None:
        if current_pass() == "reentry":
            self.claimed.set()
            await self.may_enter.wait()

    async def _pay(self) -> str:
        try:
            await step.wait_for_signal("approval", signal="go", timeout="1h")
            await step.run("pay", lambda: self.effects.append("pay"))
        finally:
            if self.claimed.is_set():
                self.left.set()
        return "paid"

    async def _wait(self) -> str:
        await step.wait_for_signal("approval", signal="go", timeout="1h")
        return "approved"

    async def _invoke(self) -> Any:
        return await step.invoke("call", endpoint="child")


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    """Run the application."""
    office = Office()
    yield office
    office.may_enter.set()
    await office.inngest.stop()


async def test_cancelled_between_claim_and_pass(office: Office) -> None:
    """The re-entry is under way, but no pass is there to interrupt: none of its steps is executed."""
    run_id = await office.parked("/pay")
    assert await office.inngest.send_signal("go")
    await office.claimed.wait()
    assert await office.inngest.cancel(run_id)
    office.may_enter.set()
    await office.left.wait()

    assert office.effects == []
    assert office.store.status(run_id) is RunStatus.CANCELLED


async def test_children_are_cancelled_although_the_caller_goes_away(office: Office) -> None:
    """It is gone when the parent's end is queued."""
    parent = await office.parked("/parent")
    (child,) = office.store.children(parent)
    cancelling = asyncio.ensure_future(office.inngest.cancel(parent))
    await asyncio.sleep(0)
    cancelling.cancel()
    await asyncio.wait([cancelling])
    office.may_enter.set()
    await office.inngest.stop()

    assert cancelling.cancelled()
    assert [office.store.status(run_id) for run_id in (parent, child)] == [RunStatus.CANCELLED] * 2


async def test_cancelling_again_cancels_the_children_that_are_left(office: Office) -> None:
    """The process that cancelled their parent has died over it."""
    parent = await office.parked("/parent")
    (child,) = office.store.children(parent)
    await office.store.write(CancelRun(parent, office.engine.clock.now()))

    assert await office.inngest.cancel(parent) is False
    assert office.store.status(child) is RunStatus.CANCELLED
