"""
The page at ``/``, what the third parties know about a booking, and the button that kills the server.

None of it starts, changes or resumes a run. What the page shows of a run comes from the run's own events.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Container
from datetime import UTC, datetime
from typing import NoReturn

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from trip_booker import chaos
from trip_booker.ids import ID
from trip_booker.ledger import summary, table
from trip_booker.patterns import LABELS, PATTERNS
from trip_booker.source import listing
from trip_booker.trips import AIRPORTS
from trip_booker.world import open_world

blueprint = Blueprint("views", __name__)

NO_STORE = {"Cache-Control": "no-store"}

LISTINGS = {kind: listing(pattern.handler) for kind, pattern in PATTERNS.items()}


@blueprint.get("/")
async def page() -> ResponseReturnValue:
    """Show the page: empty, or with the booking that its address names."""
    asked = request.args
    booking_id = asked.get("booking", "")
    trip = {
        "origin": _known_or_default(asked.get("origin"), AIRPORTS, default="NYC"),
        "destination": _known_or_default(asked.get("destination"), AIRPORTS, default="LAX"),
        "date": asked.get("date") or datetime.now(UTC).date().isoformat(),
    }
    html = await render_template(
        "page.html",
        airports=AIRPORTS,
        booking_id=booking_id if ID.fullmatch(booking_id) else "",
        new_booking_id=f"BK-{secrets.token_hex(4)}",
        chaos_steps=chaos.STEPS,
        chosen=_known_or_default(asked.get("kind"), PATTERNS, default="flight"),
        labels=LABELS,
        listings=LISTINGS,
        patterns=PATTERNS,
        server_time=time.time(),
        trip=trip,
    )
    return html, NO_STORE


@blueprint.get("/api/bookings/<booking_id>")
async def look_up(booking_id: str) -> ResponseReturnValue:
    """Answer what the airline and the payment provider know; 404 if they never heard of the booking."""
    calls = await asyncio.to_thread(open_world().calls, booking_id)
    return summary(booking_id, calls), 200 if calls else 404, NO_STORE


@blueprint.get("/api/bookings/<booking_id>/calls")
async def look_up_calls(booking_id: str) -> ResponseReturnValue:
    """Answer the calls that the third parties received for a booking, as a plain table for a terminal."""
    calls = await asyncio.to_thread(open_world().calls, booking_id)
    return table(calls), 200 if calls else 404, {**NO_STORE, "Content-Type": "text/plain"}


@blueprint.post("/api/server/kill")
async def kill() -> NoReturn:
    """Kill the serving process as a power cut would. Nobody is answered."""
    chaos.crash()


def _known_or_default(asked: str | None, known: Container[str | None], *, default: str) -> str:
    return asked if asked is not None and asked in known else default
