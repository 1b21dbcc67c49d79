"""
A process that looks what a request leaves to the cycle collector: ``python -m …garbage_process <folder> <app>``.

The app is ``quart``, ``traced`` (the same with spans), or ``flask``.

In the tests' own process, others leave things too. Prints the types of what is of this package, one in each line.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from functools import partial
from http.client import OK
from pathlib import Path
from types import CoroutineType, GeneratorType
from typing import Any

import httpx
from inngest_durable import otel, step
from inngest_durable.sync import group
from inngest_durable.sync import step as sync_step
from quart import Quart

from packages.inngest_durable.tests.adapters import flask_app
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
        assert (await client.get("/")).status_code == OK
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        assert (await client.get("/")).json() == ["first#2", "a#2", "b#2"]
        gc.collect()
        gc.set_debug(0)
        return gc.garbage


def left_behind_on_flask(folder: Path) -> list[Any]:
    """Return what a request to a like application on Flask leaves to the cycle collector."""
    app, inngest, outside = flask_app.small_app(folder)

    @app.get("/")
    @inngest.endpoint
    def handler() -> list[str]:
        first = sync_step.run("first", outside.act, "first")
        others = group.parallel([partial(sync_step.run, name, outside.act, name) for name in "ab"])
        return [first, *others]

    inngest.init_app(app)
    client = app.test_client()
    assert client.get("/").status_code == OK
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    assert client.get("/").get_json() == ["first#2", "a#2", "b#2"]
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
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "flask":
        found = left_behind_on_flask(folder)
    else:
        found = asyncio.run(left_behind(make_app(folder, traced=kind == "traced")))
    sys.stdout.write("".join(f"{type(one).__qualname__}\n" for one in found if is_ours(one)))
