"""
Take an order: enrich its data, process it, notify the user. The first example of Inngest's guide.

The data comes in the body of the request, which is kept with the run: a resumed order is processed from the same data.
"""

from __future__ import annotations

from typing import Any

from inngest_durable import StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import accounts, notifications, processing
from trip_booker.bodies import read_order
from trip_booker.client import inngest

blueprint = Blueprint("orders", __name__)


@blueprint.post("/api/orders")
@inngest.endpoint
async def take_order() -> ResponseReturnValue:
    """Process the caller's data once, and notify the user."""
    user_id, data = read_order(await request.get_json(silent=True))

    enriched = await step.run("enrich-data", enrich, user_id, data)
    result = await step.run("process", process, user_id, enriched)
    # The data is processed: from here on the order goes through, even if the mail server is away for an hour.
    await step.run(StepOptions("notify", retries=200), notifications.notify, user_id, result)

    return {"success": True, "result": result}


async def enrich(user_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """Add the user's account to *data*."""
    user = await accounts.find(user_id)
    return {**data, "account": user["accountId"]}


async def process(user_id: str, enriched: dict[str, Any]) -> processing.Result:
    """Process the data once, even if a crash makes this step ask twice."""
    return await processing.process(user_id, enriched, idempotency_key=step.idempotency_key())
