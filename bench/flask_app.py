"""The endpoint of `bench.app` in Flask: plain, and durable. Each is served by a process of its own."""

from __future__ import annotations

from typing import Any

from flask import Flask
from inngest_durable import Inngest
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

plain_app = Flask("plain")
durable_app = Flask("durable")
inngest = Inngest(app_id="bench", endpoint_adapter=endpoint_adapter)


def search() -> dict[str, Any]:
    """Find a flight."""
    return {"flight": "NA-4211", "seats": 3, "price": 31900}


def reserve() -> dict[str, Any]:
    """Hold a seat."""
    return {"hold": "H-77120", "seat": "14C"}


def pay() -> dict[str, Any]:
    """Charge the card."""
    return {"charge": "ch_9f2c", "amount": 31900, "currency": "USD"}


@plain_app.get("/booking")
def book_plain() -> dict[str, Any]:
    """Answer without any record of what was done."""
    return {"found": search(), "held": reserve(), "paid": pay()}


@durable_app.get("/booking")
@inngest.endpoint
def book_durable() -> dict[str, Any]:
    """Answer once all three steps are on disk."""
    found = step.run("search", search)
    held = step.run("reserve", reserve)
    paid = step.run("pay", pay)
    return {"found": found, "held": held, "paid": paid}


inngest.init_app(durable_app)
