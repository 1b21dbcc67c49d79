"""Send an invoice: what is tried again, when, how often, and what follows when it is of no use."""

from __future__ import annotations

from typing import Any

from inngest_durable import Inngest, NonRetriableError, RetryAfterError, RetryPolicy, StepError, StepOptions, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart(__name__)
inngest = Inngest(app_id="invoices", endpoint_adapter=endpoint_adapter)

# What the post office will answer, one after another; then it takes everything.
answers: list[str] = []
delivered: list[str] = []


@app.post("/invoices/<number>")
@inngest.endpoint(retries=RetryPolicy(max_retries=5, initial="2s", factor=3, maximum="5m"))
async def send_invoice(number: str) -> Any:
    """Mail the invoice; if that is impossible, say so and do not try for ever."""
    letter = await step.run("render", render, number)
    try:
        await step.run(StepOptions("mail", retries=10, timeout="20s"), mail, letter)
    except StepError as failed:
        return {"sent": False, "attempts": failed.attempt, "why": failed.message}, 502
    return {"sent": True}


async def render(number: str) -> str:
    """Make the letter."""
    return f"invoice {number}"


async def mail(letter: str) -> None:
    """Bring the letter to the post office."""
    match answers.pop(0) if answers else "taken":
        case "no such address":
            raise NonRetriableError("there is no such address")
        case "closed until tomorrow":
            raise RetryAfterError("the post office is closed", retry_after="12h")
        case "lost":
            raise ConnectionError("the letter was lost")
    delivered.append(letter)


inngest.init_app(app)
