"""An endpoint that calls another one as a child run: each is durable, and each can be called by itself."""

from __future__ import annotations

from typing import Any

from inngest_durable import Inngest, StepError, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart, request

app = Quart(__name__)
inngest = Inngest(app_id="rentals", endpoint_adapter=endpoint_adapter)

charged: list[str] = []


@app.post("/rentals/<car>")
@inngest.endpoint
async def rent(car: str) -> Any:
    """Rent a car; who cannot pay gets none."""
    body = await request.get_json()
    try:
        payment = await step.invoke("pay", endpoint=pay, params={"customer": body["customer"]}, json={"amount": 80})
    except StepError as failed:
        return {"rented": False, "why": failed.message, "childRun": failed.child_run_id}, 402
    return {"rented": True, "car": car, "payment": payment}


@app.post("/payments/<customer>")
@inngest.endpoint
async def pay(customer: str) -> Any:
    """Charge a customer."""
    body = await request.get_json()
    if customer == "nobody":
        return {"error": "unknown customer"}, 404
    return {"receipt": await step.run("charge", charge, customer, body["amount"])}


async def charge(customer: str, amount: int) -> str:
    """Take the money, with the key that makes it happen once."""
    charged.append(step.idempotency_key())
    return f"{customer} paid {amount}"


inngest.init_app(app)
