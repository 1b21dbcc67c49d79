"""An application to test: its third parties and its engine are arguments of the function that makes it."""

from __future__ import annotations

from typing import Any, Protocol

from inngest_durable import EmbeddedEngine, Inngest, StepError, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart


class Shop(Protocol):
    """What the application does to the world."""

    async def charge(self, order: str, key: str) -> str:
        """Take the money; return the receipt."""

    async def ship(self, order: str) -> None:
        """Send the goods."""


def create_app(shop: Shop, engine: EmbeddedEngine | None = None) -> Quart:
    """Return the application. Without an engine, it takes the one that the environment says."""
    app = Quart(__name__)
    inngest = Inngest("orders", endpoint_adapter, engine)

    @app.post("/orders/<order>")
    @inngest.endpoint(id="orders.place_order")
    async def place_order(order: str) -> Any:
        """Charge, leave the customer a day to think, ship."""
        try:
            receipt = await step.run("charge", charge, order)
        except StepError as failed:
            return {"shipped": False, "why": failed.message}, 402
        await step.sleep("cooling-off", "24h")
        await step.run("ship", shop.ship, order)
        return {"shipped": True, "receipt": receipt}

    async def charge(order: str) -> str:
        """Charge once, also if the process dies before that is on disk."""
        return await shop.charge(order, key=step.idempotency_key())

    inngest.init_app(app)
    return app
