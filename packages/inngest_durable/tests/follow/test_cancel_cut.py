"""Cancelling a run at a bad moment: its pass has not begun yet, or whoever cancels it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.model import RunStatus
from inngest_durable.engines.records import CancelRun

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import Web, current_pass, over_quart_only, step


@dataclass
class Held:
    """
    An application whose re-entries are held by a hook, before they reach their endpoint.

    Its gates: "claimed" when the hook has one, "enter" lets them go on, "left" when one has left the handler `pay`.
    """

    office: Office
    effects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.office.app.before_request(self.hold)
        for handler in (self.pay, self.child, self.parent):
            self.office.add(f"/{handler.__name__}", handler, ["GET", "POST"])

    async def hold(self) -> None:
        if current_pass() == "reentry":
            self.office.gate("claimed").set()
            await self.office.pause("enter")

    async def pay(self) -> str:
        try:
            await step.wait_for_signal("approval", signal="go", timeout="1h")
            await step.run("pay", lambda: self.effects.append("pay"))
        finally:
            if self.office.gate("claimed").is_set():
                self.office.gate("left").set()
        return "paid"

    async def child(self) -> str:
        await step.wait_for_signal("approval", signal="go", timeout="1h")
        return "approved"

    async def parent(self) -> Any:
        return await step.invoke("call", endpoint="child")

    async def parked(self, path: str) -> str:
        """Send a request whose run comes to wait; return the run's ID."""
        return self.office.run(await self.office.parked(path)).id


@pytest.fixture
async def held(web: Web, tmp_path: Path) -> AsyncIterator[Held]:
    """Run the application."""
    held = Held(make_office(tmp_path, "memory"))
    async with opened(held.office):
        yield held
        held.office.gate("enter").set()


async def test_cancelled_between_claim_and_pass(held: Held) -> None:
    """The re-entry is under way, but no pass is there to interrupt: none of its steps is executed."""
    office, run_id = held.office, await held.parked("/pay")
    assert await office.send_signal("go")
    await office.reached("claimed")
    assert await office.cancel(run_id)
    office.gate("enter").set()
    await office.reached("left")

    assert held.effects == []
    assert office.store.status(run_id) is RunStatus.CANCELLED


@over_quart_only
async def test_children_are_cancelled_although_the_caller_goes_away(held: Held) -> None:
    """It is gone when the parent's end is queued. On Flask a caller blocks, and cannot go."""
    office, parent = held.office, await held.parked("/parent")
    (child,) = office.store.children(parent)
    cancelling = asyncio.ensure_future(office.inngest.cancel(parent))
    await asyncio.sleep(0)
    cancelling.cancel()
    await asyncio.wait([cancelling])
    office.gate("enter").set()
    await office.inngest.stop()

    assert cancelling.cancelled()
    assert [office.store.status(run_id) for run_id in (parent, child)] == [RunStatus.CANCELLED] * 2


async def test_cancelling_again_cancels_the_children_that_are_left(held: Held) -> None:
    """The process that cancelled their parent has died over it."""
    office, parent = held.office, await held.parked("/parent")
    (child,) = office.store.children(parent)
    await office.store.write(CancelRun(parent, office.clock.now()))

    assert await office.cancel(parent) is False
    assert office.store.status(child) is RunStatus.CANCELLED
