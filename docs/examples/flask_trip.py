"""Book a flight and a hotel side by side, give the traveller time to think, then charge the card."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from inngest_durable import Inngest, StepError
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import group, step

app = Flask(__name__)
inngest = Inngest(app_id="trips", endpoint_adapter=endpoint_adapter)


@app.post("/trips")
@inngest.endpoint
def book_trip() -> Any:
    """Answer when the trip is booked and paid, however often the server is killed meanwhile."""
    wanted = request.get_json()

    flight, hotel = group.parallel(
        (
            lambda: step.run("book-flight", book, "flight", wanted["flight"]),
            lambda: step.run("book-hotel", book, "hotel", wanted["hotel"]),
        )
    )
    step.sleep("time-to-think", "1s")

    try:
        payment = step.run("charge-card", charge, flight["price"] + hotel["price"], wanted["card"])
    except StepError as refused:
        return {"success": False, "error": refused.message}, 402
    return {"success": True, "flight": flight, "hotel": hotel, "payment": payment}


def book(what: str, name: str) -> dict[str, Any]:
    """Book a flight or a hotel; a real one would hand on `step.idempotency_key()`."""
    return {"what": what, "name": name, "price": 100 * len(name)}


def charge(amount: int, card: str) -> dict[str, Any]:
    """Charge the card, with the key that makes a second charge impossible."""
    return {"amount": amount, "card": f"**** {card[-4:]}", "key": step.idempotency_key()}


inngest.init_app(app)
