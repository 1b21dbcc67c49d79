"""Book a flight and a hotel side by side, give the traveller time to think, then charge the card."""

from __future__ import annotations

import asyncio
from typing import Any

from inngest_durable import Inngest, StepError, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart, request

app = Quart(__name__)
inngest = Inngest(app_id="trips", endpoint_adapter=endpoint_adapter)


@app.post("/trips")
@inngest.endpoint
async def book_trip() -> Any:
    """Answer when the trip is booked and paid, however often the server is killed meanwhile."""
    wanted = await request.get_json()

    flight, hotel = await asyncio.gather(
        step.run("book-flight", book, "flight", wanted["flight"]),
        step.run("book-hotel", book, "hotel", wanted["hotel"]),
    )
    await step.sleep("time-to-think", "1s")

    try:
        payment = await step.run("charge-card", charge, flight["price"] + hotel["price"], wanted["card"])
    except StepError as refused:
        return {"success": False, "error": refused.message}, 402
    return {"success": True, "flight": flight, "hotel": hotel, "payment": payment}


async def book(what: str, name: str) -> dict[str, Any]:
    """Book a flight or a hotel; a real one would hand on `step.idempotency_key()`."""
    return {"what": what, "name": name, "price": 100 * len(name)}


async def charge(amount: int, card: str) -> dict[str, Any]:
    """Charge the card, with the key that makes a second charge impossible."""
    return {"amount": amount, "card": f"**** {card[-4:]}", "key": step.idempotency_key()}


inngest.init_app(app)
