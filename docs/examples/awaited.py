"""Runs that wait for each other: an event wakes all who wait for it, a signal the one that has its name."""

from __future__ import annotations

from typing import Any

from inngest_durable import Event, Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart, request

app = Quart(__name__)
inngest = Inngest(app_id="warehouse", endpoint_adapter=endpoint_adapter)


@app.post("/reservations/<article>")
@inngest.endpoint
async def reserve(article: str) -> Any:
    """Wait until the article comes in, for a week at most."""
    came = await step.wait_for_event(
        "wait-for-goods", event="goods/arrived", match={"data.article": article}, timeout="7d"
    )
    if came is None:
        return {"reserved": False}, 410
    return {"reserved": True, "shelf": came.data["shelf"]}


@app.post("/deliveries")
@inngest.endpoint
async def deliver() -> Any:
    """Put the goods on a shelf, and tell everybody who waits for them, once."""
    goods = await request.get_json()
    shelf = await step.run("store", store, goods["article"])
    await step.send_event("tell", Event("goods/arrived", {"article": goods["article"], "shelf": shelf}))
    return {"shelf": shelf}


async def store(article: str) -> str:
    """Find a free shelf."""
    return f"shelf of {article}"


@app.post("/payments/<payment>")
@inngest.endpoint
async def confirm_payment(payment: str) -> Any:
    """Wait until the bank has called back for this payment, for a quarter of an hour at most."""
    came = await step.wait_for_signal("wait-for-bank", signal=f"bank/{payment}", timeout="15m")
    return {"paid": came is not None and came.data["paid"]}


@app.post("/bank/<payment>")
async def bank_calls_back(payment: str) -> Any:
    """Wake the run that waits for this payment; tell the bank to call again if there is none yet."""
    was_awaited = await inngest.send_signal(f"bank/{payment}", await request.get_json())
    return ({"ok": True}, 200) if was_awaited else ({"ok": False}, 425)


inngest.init_app(app)
