"""The page at ``/``, and what the third parties know about a booking. Neither starts, changes nor resumes a run."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime

from quart import Blueprint, render_template
from quart.typing import ResponseReturnValue

from trip_booker.ledger import summary, table
from trip_booker.trips import AIRPORTS
from trip_booker.world import open_world

blueprint = Blueprint("views", __name__)

# The steps of a booking in which nothing else has gone wrong, as a visitor would say them.
STEPS = {
    "search-availability": "Search flights",
    "reserve-flight": "Reserve the seat",
    "process-payment": "Charge the card",
    "confirm-booking": "Confirm the booking",
}


@blueprint.get("/")
async def page() -> str:
    """Show the booking form."""
    return await render_template(
        "page.html",
        airports=AIRPORTS,
        booking_id=f"BK-{secrets.token_hex(4)}",
        steps=STEPS,
        today=datetime.now(UTC).date().isoformat(),
    )


@blueprint.get("/api/bookings/<booking_id>")
async def look_up(booking_id: str) -> ResponseReturnValue:
    """Answer what the airline and the payment provider know; 404 if they never heard of the booking."""
    calls = await asyncio.to_thread(open_world().calls, booking_id)
    return summary(booking_id, calls), 200 if calls else 404, {"Cache-Control": "no-store"}


@blueprint.get("/api/bookings/<booking_id>/calls")
async def look_up_calls(booking_id: str) -> ResponseReturnValue:
    """Answer the calls that the third parties received for a booking, as a plain table for a terminal."""
    calls = await asyncio.to_thread(open_world().calls, booking_id)
    return table(calls), 200 if calls else 404, {"Cache-Control": "no-store", "Content-Type": "text/plain"}
