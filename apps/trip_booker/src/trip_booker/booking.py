"""
Book a trip: an ordinary Quart handler that finishes what it began, even if the server is killed half-way.

Each `step.run` is checkpointed: retried on its own if it fails, and never run again once it succeeded. The steps that
give back what was taken have 20 retries, so that minutes without the bank or the airline leave no charge behind.
"""

from __future__ import annotations

from inngest_durable import StepError, StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import airline, notifications, payments
from trip_booker.client import inngest
from trip_booker.trips import read_booking

blueprint = Blueprint("booking", __name__)


@blueprint.get("/api/booking")
@inngest.endpoint
async def book_trip() -> ResponseReturnValue:
    """Search, reserve, pay and confirm; give back what was taken if a later step fails for good."""
    booking_id, wanted = read_booking(request.args)

    found = await step.run("search-availability", airline.search, booking_id, wanted)
    cheapest = min(found["flights"], key=lambda flight: flight["price"])
    seat = await step.run("reserve-flight", reserve_flight, booking_id, cheapest)

    try:
        payment = await step.run("process-payment", charge_card, booking_id, seat["price"])
    except StepError as refused:
        await step.run(StepOptions("release-seat", retries=20), airline.release, booking_id, seat)
        error = {"code": "PAYMENT_FAILED", "step": refused.step_id, "message": refused.message}
        return {"success": False, "bookingId": booking_id, "trip": found["trip"], "error": error}, 402

    try:
        confirmation = await step.run("confirm-booking", confirm_booking, booking_id, seat, payment)
    except StepError:
        await step.run(StepOptions("refund-payment", retries=20), payments.refund, booking_id, payment)
        await step.run(StepOptions("release-seat", retries=20), airline.release, booking_id, seat)
        raise

    return {
        "success": True,
        "bookingId": booking_id,
        "trip": found["trip"],
        "reservation": seat,
        "payment": payment,
        "confirmation": confirmation,
    }


async def reserve_flight(booking_id: str, flight: airline.Flight) -> airline.Reservation:
    """Hold one seat, even if a crash makes this step ask twice."""
    return await airline.reserve(booking_id, flight, idempotency_key=step.idempotency_key())


async def charge_card(booking_id: str, amount: int) -> payments.Payment:
    """Charge once, even if the server dies between the charge and the checkpoint."""
    return await payments.charge(booking_id, amount, idempotency_key=step.idempotency_key())


async def confirm_booking(
    booking_id: str, seat: airline.Reservation, payment: payments.Payment
) -> airline.Confirmation:
    """Issue the ticket and mail it; both are harmless to ask for again."""
    ticket = await airline.confirm(booking_id, seat, payment["paymentId"])
    await notifications.send_ticket(booking_id, ticket)
    return ticket
