"""Cancelling a run where that is not easy: its pass has not begun, whoever cancels it goes away, its family is deep."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.invoke_flow import family
from inngest_durable._core.model import Run, RunStatus
from inngest_durable.engines.records import Insert
from msgspec.structs import replace

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from packages.inngest_durable.tests.store.samples import REQUEST
from testkit.colourless import Web, current_pass, over_quart_only, step

FAR = 4e9


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

    def child_of(self, parent: str) -> str:
        """Return the run that a run of `parent` has invoked."""
        key = family(parent, "call")
        child = self.office.store.find(key.scope, key.key)
        assert child is not None
        return str(child.id)


@pytest.fixture(params=["memory", "sqlite"])
async def held(request: pytest.FixtureRequest, web: Web, tmp_path: Path) -> AsyncIterator[Held]:
    """Run the application."""
    held = Held(make_office(tmp_path, request.param))
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
    child = held.child_of(parent)
    cancelling = asyncio.ensure_future(office.inngest.cancel(parent))
    await asyncio.sleep(0)
    cancelling.cancel()
    await asyncio.wait([cancelling])
    await office.written()

    assert cancelling.cancelled()
    assert [office.store.status(run_id) for run_id in (parent, child)] == [RunStatus.CANCELLED] * 2


async def test_deep_family_is_cancelled_in_one_go(held: Held) -> None:
    """An endpoint has invoked itself for a while; the worker goes on as before."""
    office = held.office
    runs = [Run(f"01JA{0:022}", office.inngest.app_id, "child", REQUEST, 1.0, status=RunStatus.WAITING, wake_at=FAR)]
    for number in range(1, 2 * sys.getrecursionlimit()):
        invoked_by = family(runs[-1].id, "call")
        runs.append(replace(runs[0], id=f"01JA{number:022}", idempotency=invoked_by))
    await office.store.write(*map(Insert, runs))

    assert await office.cancel(runs[0].id)
    assert {office.store.status(run.id) for run in runs} == {RunStatus.CANCELLED}
    assert await office.cancel(await held.parked("/pay"))
