"""
Book a tour step by step, and undo it step by step: a saga.

Each booking is noted with what takes it back. If a later step fails for good, the bookings are taken back in reverse
order. Taking back consists of steps too, so a server that dies in the middle of it goes on with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inngest_durable import RetryPolicy, StepError, StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import airline, cars, hotels
from trip_booker.bodies import read_package
from trip_booker.booking import charge_card
from trip_booker.client import inngest
from trip_booker.package import book_car, book_flight, book_hotel

blueprint = Blueprint("saga", __name__)

# Tries for some minutes: what cannot be taken back by then is left to a person.
TAKE_BACK = RetryPolicy(max_retries=20, initial="100ms")


@blueprint.post("/api/tours")
@inngest.endpoint
async def book_tour() -> ResponseReturnValue:
    """Book flight, hotel and car one after another, then charge for all; if that fails, give everything back."""
    booking_id, wanted = read_package(await request.get_json(silent=True))
    booked: list[tuple[str, Callable[..., Any], Any]] = []

    try:
        flight = await step.run("book-flight", book_flight, booking_id, wanted["flightId"])
        booked.append(("cancel-flight", airline.cancel, flight))
        hotel = await step.run("book-hotel", book_hotel, booking_id, wanted["hotelId"])
        booked.append(("cancel-hotel", hotels.cancel, hotel))
        car = await step.run("book-car", book_car, booking_id, wanted["carId"])
        booked.append(("cancel-car", cars.cancel, car))
        total = flight["price"] + hotel["price"] + car["price"]
        payment = await step.run("process-payment", charge_card, booking_id, total)
    except StepError as failed:
        for cancel_step, cancel, booking in reversed(booked):
            await step.run(StepOptions(cancel_step, retries=TAKE_BACK), cancel, booking_id, booking)
        error = {"code": "TOUR_FAILED", "step": failed.step_id, "message": failed.message}
        undone = [cancel_step for cancel_step, _, _ in reversed(booked)]
        return {"success": False, "bookingId": booking_id, "error": error, "undone": undone}, 402

    bookings = {"flight": flight, "hotel": hotel, "car": car}
    return {"success": True, "bookingId": booking_id, "bookings": bookings, "payment": payment}
