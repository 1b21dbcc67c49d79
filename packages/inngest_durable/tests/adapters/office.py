"""An application in this process whose runs wait for the world, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, RetryPolicy
from inngest_durable._core.model import Memo, Run
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore, VirtualClock
from quart import Quart, Response, request

EVENT_KEY = "key-1"
WAIT_SECONDS = 20.0


@dataclass
class Office:
    """
    One application.

    Attributes:
        app: The framework's object.
        inngest: Its client.
        clock: Its time, which stands still.
        store: Its store.
        entered: Paths of the requests and re-entries that reached its hooks.
        gates: Events of asyncio, by name, that step functions of a test wait for.
    """

    app: Quart
    inngest: Inngest
    clock: VirtualClock
    store: MemoryStore | SqliteStore
    entered: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def add(self, path: str, handler: Callable[..., Awaitable[Any]], methods: list[str] | None = None) -> Any:
        """Mount *handler* as a durable endpoint whose ID is its name; return the view."""
        view = self.inngest.endpoint(id=handler.__name__, retries=RetryPolicy(max_retries=0))(handler)
        self.app.add_url_rule(path, handler.__name__, view, methods=methods or ["GET"])
        return view

    async def held(self, gate: str) -> str:
        """Be a step's function that takes until the test opens *gate*."""
        await self.gate(gate).wait()
        return gate

    def gate(self, name: str) -> asyncio.Event:
        """Return the gate of that name."""
        return self.gates.setdefault(name, asyncio.Event())

    async def get(self, path: str) -> Response:
        """Send a request and do not follow a redirect."""
        return await self.app.test_client().get(path)

    async def post(self, path: str, **options: Any) -> Response:
        """Send a request with a body."""
        return await self.app.test_client().post(path, **options)

    async def parked(self, path: str) -> str:
        """Send a request whose run comes to wait; return the URL where to wait for its answer."""
        answer = await self.get(path)
        assert answer.status_code == 303, await answer.get_data(as_text=True)
        return answer.headers["location"]

    async def end(self, location: str) -> Any:
        """Return the JSON that a run answers in the end."""
        async with asyncio.timeout(WAIT_SECONDS):
            answer = await self.get(location)
            while answer.status_code == 303:
                answer = await self.get(answer.headers["location"])
        return await answer.get_json()

    def run(self, location: str) -> Run:
        """Return the run behind a wait URL."""
        run = self.store.run(location.split("/")[3])
        assert run is not None
        return run

    def memo(self, location: str, key: str) -> Memo:
        """Return the memo of a step of that run."""
        memo = self.store.memo(self.run(location).id, key)
        assert memo is not None
        return memo


def make_office(folder: Path, kind: str, **options: Any) -> Office:
    """Return an application without routes, and not yet connected, on a store of that *kind*."""
    store = MemoryStore() if kind == "memory" else SqliteStore(folder / "durable.db")
    clock = VirtualClock()
    engine = EmbeddedEngine(store=store, clock=clock)
    inngest = Inngest("office", endpoint_adapter, engine, **{"event_key": EVENT_KEY, **options})
    office = Office(Quart("office"), inngest, clock, store)

    @office.app.before_request
    async def note() -> None:
        office.entered.append(request.path)

    return office


@asynccontextmanager
async def opened(office: Office) -> AsyncIterator[Office]:
    """Connect and start the application, and stop it at the end."""
    office.inngest.init_app(office.app)
    async with office.app.test_app():
        yield office
