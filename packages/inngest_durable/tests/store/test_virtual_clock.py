"""A clock that moves on command, over a database whose disk is slow: it waits for the writer's thread."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.engines.embedded import batch, writer
from inngest_durable.engines.embedded.batch import Commit, Rows
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import VirtualClock
from quart import Quart

from packages.inngest_durable.tests.store.conftest import commit_in_thread

HOUR = 3600.0


async def test_commits_in_the_thread_come_to_rest_before_the_next_timer_fires(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one move, each pause begins when the step before it is on disk, and no later."""
    sync = batch.sync

    def slow(connection: sqlite3.Connection, rows: Rows) -> Commit:
        time.sleep(0.02)
        return sync(connection, rows)

    commit_in_thread(monkeypatch)
    monkeypatch.setattr(writer, "sync", slow)
    clock = VirtualClock(start=0.0)
    app = Quart("naps")
    inngest = Inngest("naps", endpoint_adapter, EmbeddedEngine(path, clock=clock))
    done: list[float] = []

    @app.get("/naps")
    @inngest.endpoint
    async def naps() -> str:
        for number in range(3):
            await step.sleep(f"nap {number}", "1h")
            await step.run(f"work {number}", lambda: done.append(clock.now()))
        return "rested"

    inngest.init_app(app)
    async with app.test_app() as running:
        client = running.test_client()
        redirect = await client.get("/naps")
        await clock.advance("3h")
        answer = await client.get(redirect.headers["location"])

    assert done == [HOUR, 2 * HOUR, 3 * HOUR]
    assert await answer.get_data(as_text=True) == "rested"
