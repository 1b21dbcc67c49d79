"""The same three-step JSON endpoint twice: plain Quart, and durable. Each is served by a process of its own."""

from __future__ import annotations

from typing import Any

from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

plain_app = Quart("plain")
durable_app = Quart("durable")
inngest = Inngest(app_id="bench", endpoint_adapter=endpoint_adapter)


async def search() -> dict[str, Any]:
    """Find a flight."""
    return {"flight": "NA-4211", "seats": 3, "price": 31900}


async def reserve() -> dict[str, Any]:
    """Hold a seat."""
    return {"hold": "H-77120", "seat": "14C"}


async def pay() -> dict[str, Any]:
    """Charge the card."""
    return {"charge": "ch_9f2c", "amount": 31900, "currency": "USD"}


@plain_app.get("/booking")
async def book_plain() -> dict[str, Any]:
    """Answer without any record of what was done."""
    found = await search()
    held = await reserve()
    paid = await pay()
    return {"found": found, "held": held, "paid": paid}


@durable_app.get("/booking")
@inngest.endpoint
async def book_durable() -> dict[str, Any]:
    """Answer once all three steps are on disk."""
    found = await step.run("search", search)
    held = await step.run("reserve", reserve)
    paid = await step.run("pay", pay)
    return {"found": found, "held": held, "paid": paid}


inngest.init_app(durable_app)
