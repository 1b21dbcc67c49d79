"""What an engine does in the background: it ends before the engine stops, and a fault in it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from inngest_durable import EmbeddedEngine, InngestEngine
from inngest_durable.engines.background import Background
from inngest_durable.engines.base import Claim, Engine
from inngest_durable.testing import MemoryStore


class NoApplication:
    """A host of no runs."""

    async def reenter(self, claim: Claim) -> None:
        raise AssertionError(f"there is no run to enter, and not {claim.run.id}")


def embedded() -> Engine:
    return EmbeddedEngine(store=MemoryStore())


def inngest() -> Engine:
    return InngestEngine(is_dev=True, transport=httpx.MockTransport(lambda _: httpx.Response(500)))


@pytest.fixture(params=[embedded, inngest])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Run each engine for the time of a test."""
    engine: Engine = request.param()
    engine.app_id = "background"
    await engine.start(NoApplication())
    yield engine
    await engine.stop()


async def test_fault_in_the_background_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits it, so nobody else would tell."""

    async def broken() -> None:
        raise ZeroDivisionError

    await asyncio.wait([engine.spawn(broken())])

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "background work of the engine failed: please report this bug" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_end_waits_for_what_begins_meanwhile() -> None:
    """A piece that ends may begin another."""
    background, go_on, ended = Background(print), asyncio.Event(), []

    async def outer() -> None:
        await go_on.wait()
        background.spawn(inner())

    async def inner() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("inner")

    background.spawn(outer())
    ending = asyncio.ensure_future(background.ended())
    # One turn, in which it begins to wait.
    await asyncio.sleep(0)
    go_on.set()
    await ending

    assert ended == ["inner"]
