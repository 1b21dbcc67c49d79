"""The end of a pass when its client goes away at a bad moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, NonRetriableError, step
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore
from quart import Quart

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"localhost")],
    "client": ("127.0.0.1", 1),
    "server": ("localhost", 80),
}


class Site:
    """An application with one endpoint, and a client that may hang up."""

    def __init__(self, handler: Callable[[], Any]) -> None:
        self.engine = EmbeddedEngine(store=MemoryStore(), shutdown_grace="2s")
        self.inngest = Inngest(app_id="tests", endpoint_adapter=endpoint_adapter, engine=self.engine)
        self.app = Quart("tests")
        self.inngest.init_app(self.app)
        self.app.add_url_rule("/", view_func=self.inngest.endpoint(id="trip")(handler))
        self.hang_up = asyncio.Event()
        self.sent: list[MutableMapping[str, Any]] = []
        self._asked = False

    async def request(self) -> None:
        """Request the endpoint, until it has answered or noticed that nobody listens."""
        await self.app(SCOPE, self._receive, self._send)  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            await self.hang_up.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


async def test_run_that_fails_while_its_client_goes_away_ends() -> None:
    """The handler has raised for good, one of its steps still executes, and the client hangs up: the run ends."""
    executes, left, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        executes.set()
        await may_end.wait()

    async def decline() -> None:
        await executes.wait()
        raise NonRetriableError("declined")

    async def handle() -> None:
        try:
            await asyncio.gather(step.run("slow", slow), step.run("pay", decline))
        finally:
            left.set()

    site = Site(handle)
    requested = asyncio.ensure_future(site.request())
    await left.wait()
    site.hang_up.set()
    await asyncio.wait([requested])
    may_end.set()
    await site.inngest.stop()

    assert len(site.engine.passes) == 0
