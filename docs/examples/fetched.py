"""Ask another service, and remember what it answered."""

from __future__ import annotations

import os
from typing import Any

from inngest_durable import Inngest, StepError, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart(__name__)
inngest = Inngest(app_id="rates", endpoint_adapter=endpoint_adapter)


@app.get("/price/<currency>")
@inngest.endpoint
async def price(currency: str) -> Any:
    """Return the price of the day, at the rate that was asked for once."""
    try:
        answer = await step.fetch("rate", f"{os.environ['RATES_URL']}/rates/{currency}", timeout="5s")
    except StepError as failed:
        return {"error": f"no rate today: {failed.message}"}, 503
    if not answer.ok:
        return {"error": f"no rate for {currency}"}, 404
    return {"currency": currency, "price": 100 * answer.json()["rate"]}


inngest.init_app(app)
