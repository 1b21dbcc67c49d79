"""
Cancelling a run while its handler is in code of its own, between two steps or after the last.

It writes nothing there that could be refused, as with a step in flight: somebody has to tell its pass, or it looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepOptions
from inngest_durable.engines.embedded import recovery
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import CancelRun, Found

from packages.inngest_durable.tests.adapters.office import Answer, Office, make_office, opened
from testkit.colourless import Web, over_quart_only, step
from testkit.waiting import PATIENCE_SECONDS

ONCE = StepOptions("pay", retries=RetryPolicy(max_retries=3, initial="1m", jitter=False))


@dataclass
class Paid:
    """An application whose handlers open the gate "here" in code of their own, and go on when "on" is open."""

    office: Office
    effects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for handler in (self.between, self.tail, self.fails, self.flaky, self.both):
            self.office.add(f"/{handler.__name__}", handler)

    def act(self, name: str) -> str:
        self.effects.append(name)
        return name

    def decline(self) -> None:
        self.act("pay")
        raise RuntimeError("declined")

    async def _plain_code(self) -> None:
        self.office.gate("here").set()
        await self.office.pause("on")

    async def between(self) -> str:
        await step.run("one", self.act, "one")
        await self._plain_code()
        return await step.run("charge", self.act, "charge")

    async def tail(self) -> str:
        await step.run("one", self.act, "one")
        await self._plain_code()
        return "done"

    async def fails(self) -> str:
        await step.run("one", self.act, "one")
        await self._plain_code()
        raise RuntimeError("not well")

    async def flaky(self) -> str:
        await step.run(ONCE, self.decline)
        return "paid"

    async def both(self) -> Any:
        """A step is retried in place while another one executes."""
        try:
            return await asyncio.gather(step.run("held", self.office.held, "on"), step.run(ONCE, self.decline))
        finally:
            self.office.gate("left").set()

    def run_id(self) -> str:
        """Return the run that is under way."""
        store = self.office.store
        (orphan,) = store.orphans(store.workers())
        return str(orphan.run_id)

    async def cancelled_here(self, answering: asyncio.Task[Answer]) -> Answer:
        """Cancel the run as the application's own code does; return what its client gets then."""
        assert await self.office.cancel(self.run_id())
        self.office.gate("on").set()
        return await answering

    async def cancelled_elsewhere(self, folder: Path, answering: asyncio.Task[Answer]) -> Answer:
        """Cancel the run as another process does; return what its client gets then."""
        async with elsewhere(folder) as store:
            await store.write(CancelRun(self.run_id(), self.office.clock.now(), Found()))
        # A look is good for a moment; and the step that failed is due.
        await self.office.advance("2m")
        self.office.gate("on").set()
        return await answering


@asynccontextmanager
async def elsewhere(folder: Path) -> AsyncIterator[SqliteStore]:
    """Another connection to the database, as another process has it."""
    store = SqliteStore(folder / "durable.db")
    store.open()
    yield store
    await store.close()


@asynccontextmanager
async def paying(folder: Path, kind: str) -> AsyncIterator[Paid]:
    """Run the application."""
    paid = Paid(make_office(folder, kind))
    async with opened(paid.office):
        try:
            yield paid
        finally:
            paid.office.gate("on").set()


@pytest.fixture
def _no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine not look each second, before the pass does."""
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 600.0)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("path", ["/between", "/tail", "/fails"])
async def test_cancelled_in_the_same_worker(tmp_path: Path, path: str) -> None:
    async with paying(tmp_path, "memory") as paid:
        answering = asyncio.create_task(paid.office.get(path))
        await paid.office.reached("here")
        answer = await paid.cancelled_here(answering)

        assert (answer.status_code, answer.json["status"]) == (410, "cancelled")
        assert paid.effects == ["one"]


@pytest.mark.usefixtures("web", "_no_tick")
@pytest.mark.parametrize("path", ["/between", "/tail", "/fails"])
async def test_cancelled_in_another_worker(tmp_path: Path, path: str) -> None:
    """The pass looks before a step's function is called, and before its answer is given."""
    async with paying(tmp_path, "sqlite") as paid:
        answering = asyncio.create_task(paid.office.get(path))
        await paid.office.reached("here")
        answer = await paid.cancelled_elsewhere(tmp_path, answering)

        assert (answer.status_code, answer.json["status"]) == (410, "cancelled")
        assert paid.effects == ["one"]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_cancelled_while_a_parked_step_is_to_be_retried(web: Web, tmp_path: Path, where: str) -> None:
    """Its time comes, and nobody enters the run."""
    async with paying(tmp_path, "sqlite") as paid:
        location = await paid.office.parked("/flaky")
        run_id = paid.office.run(location).id
        if where == "here":
            assert await paid.office.cancel(run_id)
        else:
            async with elsewhere(tmp_path) as store:
                await store.write(CancelRun(run_id, paid.office.clock.now(), Found()))
        await paid.office.advance("1h")

        assert (await paid.office.get(location)).status_code == 410
        assert paid.effects == ["pay"]


@over_quart_only
@pytest.mark.usefixtures("_no_tick")
async def test_step_is_not_retried_in_place_after_a_cancellation_elsewhere(web: Web, tmp_path: Path) -> None:
    """On Flask no step waits in place."""
    async with paying(tmp_path, "sqlite") as paid:
        answering = asyncio.create_task(paid.office.get("/both"))
        await _recorded(paid, "pay")
        answer = await paid.cancelled_elsewhere(tmp_path, answering)

        assert answer.status_code == 410
        assert paid.effects == ["pay"]


@over_quart_only
async def test_engine_notices_by_itself_what_was_cancelled_elsewhere(web: Web, tmp_path: Path) -> None:
    """Each second: a handler that waits for a parked step is left, although the clock stands still for it."""
    async with paying(tmp_path, "sqlite") as paid:
        answering = asyncio.create_task(paid.office.get("/both"))
        await _recorded(paid, "pay")
        async with elsewhere(tmp_path) as store:
            await store.write(CancelRun(paid.run_id(), paid.office.clock.now(), Found()))
        await paid.office.reached("left")
        paid.office.gate("on").set()

        assert (await answering).status_code == 410


async def _recorded(paid: Paid, key: str) -> None:
    """Return once a step of the run that is under way is recorded."""
    store = paid.office.store
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(store.memo(run.run_id, key) for run in store.orphans(store.workers())):
            await asyncio.sleep(0)
