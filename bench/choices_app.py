"""The endpoints of `bench.choices`: the same three steps, with one thing chosen differently in each app."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

from bench.app import book_plain, pay, reserve, search


async def one_after_the_other() -> dict[str, Any]:
    """Take three steps: three commits that the client waits for."""
    found = await step.run("search", search)
    held = await step.run("reserve", reserve)
    paid = await step.run("pay", pay)
    return {"found": found, "held": held, "paid": paid}


async def side_by_side() -> dict[str, Any]:
    """Take the three steps at the same time: they share one commit."""
    found, held, paid = await asyncio.gather(
        step.run("search", search), step.run("reserve", reserve), step.run("pay", pay)
    )
    return {"found": found, "held": held, "paid": paid}


async def as_one() -> dict[str, Any]:
    """Do all three things in one step: if one fails, all are repeated."""
    booked: dict[str, Any] = await step.run("book", book_plain)
    return booked


def serving(handler: Any, engine: EmbeddedEngine | None = None) -> Quart:
    """Return an app that serves *handler* durably."""
    app = Quart(handler.__name__)
    inngest = Inngest(app_id="bench", endpoint_adapter=endpoint_adapter, engine=engine)
    app.get("/booking")(inngest.endpoint(handler))
    inngest.init_app(app)
    return app


durable = serving(one_after_the_other)
parallel = serving(side_by_side)
one_step = serving(as_one)
unsynced = serving(one_after_the_other, EmbeddedEngine(synchronous="NORMAL"))
untold = serving(one_after_the_other, EmbeddedEngine(run_events=False))
frozen = serving(one_after_the_other)


@frozen.before_serving
async def freeze() -> None:
    """Keep what the start has made out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()
