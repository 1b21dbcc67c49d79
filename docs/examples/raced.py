"""A run that waits for one of two things, whichever comes first."""

from __future__ import annotations

import asyncio
from typing import Any

from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart(__name__)
inngest = Inngest(app_id="orders", endpoint_adapter=endpoint_adapter)


@app.post("/orders/<order>")
@inngest.endpoint
async def place_order(order: str) -> Any:
    """Ship what is paid within a week and not withdrawn before; either may still come after the other."""
    match = {"data.order": order}
    paid = asyncio.ensure_future(step.wait_for_event("paid", event="order/paid", match=match, timeout="7d"))
    withdrawn = asyncio.ensure_future(step.wait_for_event("gone", event="order/withdrawn", match=match, timeout="8d"))
    first, other = await asyncio.wait((paid, withdrawn), return_when=asyncio.FIRST_COMPLETED)
    for task in other:
        task.cancel()

    # A replay may find that both have come: what counted is recorded.
    is_withdrawn = await step.run("is-withdrawn", lambda: withdrawn in first)
    if is_withdrawn or (await paid) is None:
        return {"shipped": False}
    await step.sleep("until-the-van-leaves", "12h")
    return {"shipped": True, "label": await step.run("ship", ship, order)}


async def ship(order: str) -> str:
    """Hand the order to the van."""
    return f"label of {order}"


inngest.init_app(app)
