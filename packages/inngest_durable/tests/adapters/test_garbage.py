"""What a request leaves behind. What refers to itself stays until the cycle collector stops everything to find it."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import httpx
import pytest
from inngest_durable import step

from packages.inngest_durable.tests.adapters.quart_app import small_app


@pytest.fixture
def garbage() -> Any:
    """Give the list of what the cycle collector finds, and nothing that was there before."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_request_leaves_nothing_of_this_package_to_the_cycle_collector(tmp_path: Path, garbage: list[Any]) -> None:
    """Not the exchange, the pass, its steps or their tasks."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> list[str]:
        first = await step.run("first", outside.act, "first")
        others = await asyncio.gather(*(step.run(name, outside.act, name) for name in "ab"))
        return [first, *others]

    inngest.init_app(app)

    asgi: Any = app

    async def ask() -> list[Any]:
        async with (
            app.test_app(),
            httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://test") as client,
        ):
            # The first request makes what is kept for all of them.
            assert (await client.get("/")).status_code == 200
            gc.collect()
            garbage.clear()
            assert (await client.get("/")).json() == ["first#2", "a#2", "b#2"]
            gc.collect()
            return [found for found in garbage if _is_ours(found)]

    assert asyncio.run(ask()) == []


def _is_ours(found: Any) -> bool:
    """Whether an object is of this package, or a coroutine, generator or task that runs its code."""
    running = found.get_coro() if isinstance(found, asyncio.Task) else found
    code = getattr(running, "cr_code", None) or getattr(running, "gi_code", None)
    place = type(found).__module__ if code is None else code.co_filename
    return "inngest_durable" in place and "tests" not in place
