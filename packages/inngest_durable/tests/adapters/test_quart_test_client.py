"""Quart's test client, whose requests look a little otherwise than those of servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart


async def test_client_that_does_not_end_its_request_is_answered(tmp_path: Path) -> None:
    """Quart's way to test streams: no header tells of a body, and none comes."""
    app = Quart(__name__)
    inngest = Inngest("shop", endpoint_adapter, EmbeddedEngine(tmp_path / "durable.db"))

    @app.get("/order")
    @inngest.endpoint(id="order")
    async def order() -> str:
        return await step.run("charge", lambda: "charged")

    inngest.init_app(app)
    async with app.test_app(), asyncio.timeout(10), app.test_client().request("/order", method="GET") as connection:
        received = await connection.receive()
        await connection.disconnect()

    assert received == b"charged"


async def test_client_whose_headers_tell_of_no_body_has_it_recorded(tmp_path: Path) -> None:
    """Quart's own sends bodies so."""
    app = Quart(__name__)
    engine = EmbeddedEngine(tmp_path / "durable.db")
    inngest = Inngest("shop", endpoint_adapter, engine)

    @app.post("/order")
    @inngest.endpoint(id="order")
    async def order() -> str:
        return await step.run("charge", lambda: "charged")

    inngest.init_app(app)
    async with app.test_app() as running:
        answer = await running.test_client().post("/order", data=b"two of them")
        run = engine.store.run(answer.headers["X-Inngest-Run-Id"])

    assert run is not None
    assert run.request.body == b"two of them"
