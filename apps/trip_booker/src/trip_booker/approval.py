"""
Book a trip that somebody has to approve: wait for a person, for a day if need be, without anything in memory.

The seat is held while the run waits for the event ``trip/approved`` of this booking. If it is approved, the card is
charged; if it is rejected, or nobody decides in time, the seat is given back. The same happens if the payment or the
ticket fails for good.
"""

from __future__ import annotations

from inngest_durable import Event, StepError, StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import airline, payments
from trip_booker.bodies import read_decision, read_trip
from trip_booker.booking import charge_card, confirm_booking, reserve_flight
from trip_booker.client import inngest

# In whole dollars: more expensive trips are not booked without the boss's approval.
BUDGET = 100

blueprint = Blueprint("approval", __name__)


@blueprint.post("/api/trips")
@inngest.endpoint
async def book_approved_trip() -> ResponseReturnValue:
    """Reserve, wait for the approval if the trip is over budget, then pay and confirm."""
    booking_id, wanted, budget, decide_within = read_trip(await request.get_json(silent=True), default_budget=BUDGET)

    found = await step.run("search-availability", airline.search, booking_id, wanted)
    cheapest = min(found["flights"], key=lambda flight: flight["price"])
    seat = await step.run("reserve-flight", reserve_flight, booking_id, cheapest)

    if seat["price"] > budget:
        decision = await step.wait_for_event(
            "wait-for-approval", event="trip/approved", match="data.bookingId", timeout=decide_within
        )
        if decision is None or not decision.data["approved"]:
            await step.run(StepOptions("release-seat", retries=20), airline.release, booking_id, seat)
            code, why = ("NOT_APPROVED", "it was rejected") if decision else ("NOBODY_DECIDED", "nobody decided")
            message = f"the trip costs ${seat['price']}, which is over the budget of ${budget}, and {why}"
            return {"success": False, "bookingId": booking_id, "error": {"code": code, "message": message}}, 409

    payment = None
    try:
        payment = await step.run("process-payment", charge_card, booking_id, seat["price"])
        confirmation = await step.run("confirm-booking", confirm_booking, booking_id, seat, payment)
    except StepError:
        if payment is not None:
            await step.run(StepOptions("refund-payment", retries=20), payments.refund, booking_id, payment)
        await step.run(StepOptions("release-seat", retries=20), airline.release, booking_id, seat)
        raise

    return {
        "success": True,
        "bookingId": booking_id,
        "reservation": seat,
        "payment": payment,
        "confirmation": confirmation,
    }


@blueprint.post("/api/trips/<booking_id>/decision")
async def decide(booking_id: str) -> ResponseReturnValue:
    """Tell the run that waits for this booking; the first decision counts."""
    approved = read_decision(await request.get_json(silent=True))
    data = {"bookingId": booking_id, "approved": approved}
    [event_id] = await inngest.send(Event("trip/approved", data))
    return {"eventId": event_id, "approved": approved}, 202
