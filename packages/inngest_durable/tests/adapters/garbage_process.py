"""
A process that looks what a request leaves to the cycle collector: ``python -m …garbage_process <folder> plain|traced``.

In the tests' own process, others leave things too. Prints the types of what is of this package, one in each line.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from types import CoroutineType, GeneratorType
from typing import Any

import httpx
from inngest_durable import otel, step
from quart import Quart

from packages.inngest_durable.tests.adapters.quart_app import small_app


def make_app(folder: Path, *, traced: bool) -> Quart:
    """Return an application with steps one after another and side by side."""
    app, inngest, outside = small_app(folder)
    if traced:
        otel.instrument(inngest)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> list[str]:
        first = await step.run("first", outside.act, "first")
        others = await asyncio.gather(*(step.run(name, outside.act, name) for name in "ab"))
        return [first, *others]

    inngest.init_app(app)
    return app


async def left_behind(app: Quart) -> list[Any]:
    """Return what a request leaves to the cycle collector."""
    asgi: Any = app
    async with app.test_app(), httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://test") as client:
        # The first request makes what is kept for all of them.
        assert (await client.get("/")).status_code == 200
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        assert (await client.get("/")).json() == ["first#2", "a#2", "b#2"]
        gc.collect()
        gc.set_debug(0)
        return gc.garbage


def is_ours(found: Any) -> bool:
    """Whether an object is of this package, or a coroutine, generator or task that runs its code."""
    # By its type alone: among what others leave are proxies of objects that are gone.
    running = found.get_coro() if issubclass(type(found), asyncio.Task) else found
    place = type(running).__module__
    if issubclass(type(running), CoroutineType):
        place = running.cr_code.co_filename
    elif issubclass(type(running), GeneratorType):
        place = running.gi_code.co_filename
    return "inngest_durable" in place and "tests" not in place


if __name__ == "__main__":
    found = asyncio.run(left_behind(make_app(Path(sys.argv[1]), traced=sys.argv[2] == "traced")))
    sys.stdout.write("".join(f"{type(one).__qualname__}\n" for one in found if is_ours(one)))
