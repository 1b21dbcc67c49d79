"""A Flask application with one durable endpoint. Put your own calls into the functions at the end."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, request
from inngest_durable import EmbeddedEngine, Inngest, NonRetriableError, StepError, StepOptions
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

logger = logging.getLogger(__name__)


def create_app(engine: EmbeddedEngine | None = None) -> Flask:
    """Return the application; a test gives it an engine of its own."""
    app = Flask(__name__)
    inngest = Inngest(app_id="shop", endpoint_adapter=endpoint_adapter, engine=engine)

    @app.post("/orders")
    # Runs are kept with this ID. Without it, it would be made from the module and the function, and change with them.
    @inngest.endpoint(id="shop.place_order", timeout="7d")
    def place_order() -> Any:
        """Reserve, charge and mail; give back what was reserved if the card is declined."""
        order = request.get_json()

        reserved = step.run("reserve", reserve, order["article"])
        try:
            receipt = step.run(
                StepOptions("charge", retries=10, timeout="30s"), charge, order["card"], reserved["price"]
            )
        except StepError as failed:
            step.run("release", release, reserved)
            return {"ordered": False, "why": failed.message}, 402
        # Paid: from here on the order goes through, also if the mail server is away for an hour.
        step.run(StepOptions("mail", retries=200), mail, order["email"], receipt)
        return {"ordered": True, "receipt": receipt}

    inngest.init_app(app)
    return app


def reserve(article: str) -> dict[str, Any]:
    """Take one off the shelf."""
    logger.info("reserved %s", article)
    return {"article": article, "price": 30}


def charge(card: str, amount: int) -> str:
    """Take the money; the bank gets a key, and does nothing twice for it."""
    if not card.isdigit():
        raise NonRetriableError("there is no such card")
    logger.info("charged %s with the key %s", amount, step.idempotency_key())
    return f"{amount} paid by the card ending in {card[-4:]}"


def release(reserved: dict[str, Any]) -> None:
    """Put it back on the shelf."""
    logger.info("released %s", reserved["article"])


def mail(address: str, receipt: str) -> None:
    """Tell the customer."""
    logger.info("mailed %s to %s", receipt, address)


logging.basicConfig(level=logging.INFO)
app = create_app()
