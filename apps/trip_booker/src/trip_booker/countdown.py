"""
Hold a seat for a while: a durable countdown.

While the hold runs, nothing of this request is in memory. The server may be restarted as often as you like; the seat
comes free at the moment that was recorded when the hold began.
"""

from __future__ import annotations

from inngest_durable import StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import airline
from trip_booker.bodies import read_hold
from trip_booker.booking import reserve_flight
from trip_booker.client import inngest

blueprint = Blueprint("countdown", __name__)


@blueprint.post("/api/holds")
@inngest.endpoint
async def hold_seat() -> ResponseReturnValue:
    """Hold the cheapest seat of a trip for some seconds, then give it back."""
    booking_id, wanted, hold_seconds = read_hold(await request.get_json(silent=True))

    found = await step.run("search-availability", airline.search, booking_id, wanted)
    cheapest = min(found["flights"], key=lambda flight: flight["price"])
    seat = await step.run("reserve-flight", reserve_flight, booking_id, cheapest)

    await step.sleep("hold", f"{hold_seconds}s")

    await step.run(StepOptions("release-seat", retries=20), airline.release, booking_id, seat)
    return {"success": True, "bookingId": booking_id, "reservation": seat, "heldSeconds": hold_seconds}
