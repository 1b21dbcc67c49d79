"""The cheapest of many hotels, asked for at the same time: as many branches as the request names cities."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Flask, request
from inngest_durable import Inngest
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import group, step

app = Flask(__name__)
inngest = Inngest(app_id="hotels", endpoint_adapter=endpoint_adapter)


@app.post("/hotels")
@inngest.endpoint
def cheapest() -> Any:
    """Ask in every city, and return the cheapest hotel."""
    cities = request.get_json()["cities"]
    # A lambda in a loop would see the last city in each branch: `partial` keeps the one of its turn.
    hotels = group.parallel([partial(ask_in, city) for city in cities])
    return min(hotels, key=lambda hotel: hotel["price"])


def ask_in(city: str) -> dict[str, Any]:
    """Ask in that city, in a step of its own."""
    return step.run(f"ask-{city}", ask, city)


def ask(city: str) -> dict[str, Any]:
    """Ask for a hotel in that city."""
    return {"city": city, "price": 10 * len(city)}


inngest.init_app(app)
