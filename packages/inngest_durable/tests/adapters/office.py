"""
An application in this process whose runs wait for the world, on a clock that the test moves.

It is of the framework that `colourless` stands for. On Flask the engine and the clients' requests have threads of their
own, and the test calls what a Flask application would: the blocking functions.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Event, Inngest, RetryPolicy
from inngest_durable._core.model import Memo, Run
from inngest_durable._portal import Done, portal
from inngest_durable.engines.embedded import pace
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.testing import MemoryStore, VirtualClock
from quart import Quart

from testkit.colourless import adapter_of, endpoint_adapter, request, web
from testkit.waiting import PATIENCE_SECONDS

EVENT_KEY = "key-1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)


@dataclass
class Office:
    """
    One application.

    Attributes:
        app: The framework's object.
        inngest: Its client.
        clock: Its time, which stands still.
        store: Its store, read where the engine runs.
        entered: Paths of the requests and re-entries that reached its hooks.
        gates: What step functions of a test wait for, by name.
    """

    app: Quart
    inngest: Inngest
    clock: VirtualClock
    store: Any
    entered: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event | threading.Event] = field(default_factory=dict)

    def add(self, path: str, handler: Callable[..., Awaitable[Any]], methods: list[str] | None = None) -> Any:
        """Mount *handler* as a durable endpoint whose ID is its name; return the view."""
        view = self.inngest.endpoint(id=handler.__name__, retries=RetryPolicy(max_retries=0))(handler)
        self.app.add_url_rule(path, handler.__name__, view, methods=methods or ["GET"])
        return view

    @property
    def held(self) -> Callable[[str], Any]:
        """A step's function that takes until the test opens the gate that it names."""
        return self._block if web().blocks else self._wait

    def pause(self, gate: str) -> Awaitable[str]:
        """Do the same in a handler or a hook."""
        return Done(self._block(gate)) if web().blocks else self._wait(gate)

    async def _wait(self, gate: str) -> str:
        opened = self.gate(gate)
        assert isinstance(opened, asyncio.Event)
        await opened.wait()
        return gate

    def _block(self, gate: str) -> str:
        opened = self.gate(gate)
        assert isinstance(opened, threading.Event)
        assert opened.wait(PATIENCE_SECONDS)
        return gate

    def gate(self, name: str) -> asyncio.Event | threading.Event:
        """Return the gate of that name."""
        return self.gates.setdefault(name, threading.Event() if web().blocks else asyncio.Event())

    async def reached(self, name: str) -> None:
        """Return once the gate of that name is open."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.gate(name).is_set():
                await asyncio.sleep(0)

    async def get(self, path: str, **options: Any) -> Answer:
        """Send a request and do not follow a redirect."""
        return await self._request("GET", path, options)

    async def post(self, path: str, **options: Any) -> Answer:
        """Send a request with a body."""
        return await self._request("POST", path, options)

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> Answer:
        client: Any = self.app.test_client()
        cookies = options.pop("cookies", {})
        for name, value in cookies.items():
            client.set_cookie(*(() if web().blocks else ("localhost",)), name, value)
        if web().blocks:
            # Buffered: else the response is sent only when the test reads it.
            sent = partial(client.open, path, method=method, buffered=True, **options)
            answer = await asyncio.to_thread(sent)
            return Answer(answer.status_code, answer.headers, answer.text)
        answer = await client.open(path, method=method, **options)
        return Answer(answer.status_code, answer.headers, await answer.get_data(as_text=True))

    async def parked(self, path: str, **options: Any) -> str:
        """Send a request whose run comes to wait; return the URL where to wait for its answer."""
        answer = await self.get(path, **options)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def end(self, location: str) -> Any:
        """Return the JSON that a run answers in the end."""
        return await self.end_of(await self.get(location))

    async def end_of(self, answer: Answer) -> Any:
        """Return the JSON of *answer*, or of where it leads in the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while answer.status_code == 303:
                answer = await self.get(answer.headers["location"])
        return answer.json

    async def send(self, events: Event | Sequence[Event]) -> list[str]:
        """Send events as the application's own code does."""
        if web().blocks:
            return await asyncio.to_thread(self.inngest.sync.send, events)
        return await self.inngest.send(events)

    async def send_signal(self, name: str, data: Any = None) -> bool:
        """Send a signal as the application's own code does."""
        if web().blocks:
            return await asyncio.to_thread(self.inngest.sync.send_signal, name, data)
        return await self.inngest.send_signal(name, data)

    async def cancel(self, run_id: str) -> bool:
        """Cancel a run as the application's own code does."""
        if web().blocks:
            return await asyncio.to_thread(self.inngest.sync.cancel, run_id)
        return await self.inngest.cancel(run_id)

    async def advance(self, duration: str) -> None:
        """Move the clock without holding the test's event loop up."""
        await (asyncio.to_thread(self.clock.advance, duration) if web().blocks else self.clock.advance(duration))

    async def written(self) -> None:
        """Wait until everything before is in the store."""
        await self.store.write()

    def run(self, location: str) -> Run:
        """Return the run behind a wait URL."""
        run: Run | None = self.store.run(location.split("/")[3])
        assert run is not None
        return run

    def memo(self, location: str, key: str) -> Memo:
        """Return the memo of a step of that run."""
        memo: Memo | None = self.store.memo(self.run(location).id, key)
        assert memo is not None
        return memo


class StoreElsewhere:
    """A store that is read on the engine's event loop, from another thread."""

    def __init__(self, store: MemoryStore | SqliteStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def read(*args: Any) -> Any:
            async def reading() -> Any:
                found = getattr(self._store, name)(*args)
                return Done(await found) if isinstance(found, asyncio.Future) else found

            return portal.call(reading)

        return read


def make_office(folder: Path, kind: str, *, real_time: bool = False, **options: Any) -> Office:
    """Return an application without routes, and not yet connected, on a store of that *kind*."""
    store = MemoryStore() if kind == "memory" else SqliteStore(folder / "durable.db")
    clock = VirtualClock()
    engine = EmbeddedEngine(store=store, clock=None if real_time else clock)
    inngest = Inngest("office", adapter_of(endpoint_adapter), engine, **{"event_key": EVENT_KEY, **options})
    office = Office(web().app("office"), inngest, clock, StoreElsewhere(store) if web().blocks else store)

    @office.app.before_request
    async def note() -> None:
        office.entered.append(request.path)

    return office


@asynccontextmanager
async def opened(office: Office) -> AsyncIterator[Office]:
    """Connect and start the application, and stop it at the end."""
    office.inngest.init_app(office.app)
    with pytest.MonkeyPatch.context() as patches:
        # No disk is slow, however busy this machine: the clock waits for the engine's loop, which then commits.
        patches.setattr(pace, "_SLOW_SECONDS", math.inf)
        async with _running(office):
            yield office


@asynccontextmanager
async def _running(office: Office) -> AsyncIterator[Office]:
    if not web().blocks:
        async with office.app.test_app():
            yield office
        return
    await asyncio.to_thread(office.inngest.start)
    try:
        yield office
    finally:
        for gate in office.gates.values():
            gate.set()
        await asyncio.to_thread(office.inngest.stop)
