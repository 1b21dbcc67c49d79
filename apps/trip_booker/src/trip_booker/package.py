"""
Book a package: flight, hotel and car at the same time, in steps side by side.

Each of them is retried on its own. If the hotel must be asked again, flight and car are not booked a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from inngest_durable import StepError, StepOptions, step
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from trip_booker import airline, cars, hotels, notifications
from trip_booker.bodies import read_package
from trip_booker.client import inngest

T = TypeVar("T")

blueprint = Blueprint("package", __name__)


@blueprint.post("/api/package")
@inngest.endpoint
async def book_package() -> ResponseReturnValue:
    """Book all three and confirm them together; if one is not available, give the others back."""
    booking_id, wanted = read_package(await request.get_json(silent=True))

    flight, hotel, car = await asyncio.gather(
        outcome(step.run("book-flight", book_flight, booking_id, wanted["flightId"])),
        outcome(step.run("book-hotel", book_hotel, booking_id, wanted["hotelId"])),
        outcome(step.run("book-car", book_car, booking_id, wanted["carId"])),
    )

    if isinstance(flight, StepError) or isinstance(hotel, StepError) or isinstance(car, StepError):
        if not isinstance(flight, StepError):
            await step.run(StepOptions("cancel-flight", retries=20), airline.cancel, booking_id, flight)
        if not isinstance(hotel, StepError):
            await step.run(StepOptions("cancel-hotel", retries=20), hotels.cancel, booking_id, hotel)
        if not isinstance(car, StepError):
            await step.run(StepOptions("cancel-car", retries=20), cars.cancel, booking_id, car)
        failed = {part.step_id: part.message for part in (flight, hotel, car) if isinstance(part, StepError)}
        error = {"code": "PACKAGE_FAILED", "steps": list(failed), "message": "; ".join(failed.values())}
        return {"success": False, "bookingId": booking_id, "error": error}, 409

    # All three are booked: from here on the package goes through, even if the mail server is away for an hour.
    await step.run(
        StepOptions("send-confirmation", retries=200), notifications.send_confirmation, booking_id, flight, hotel, car
    )

    return {"success": True, "bookingId": booking_id, "bookings": {"flight": flight, "hotel": hotel, "car": car}}


async def outcome(booking: Awaitable[T]) -> T | StepError:
    """Wait for *booking*; failing for good is an outcome too, so that the others reach theirs."""
    try:
        return await booking
    except StepError as failed:
        return failed


async def book_flight(booking_id: str, flight_id: str) -> airline.FlightBooking:
    """Book one flight, even if a crash makes this step ask twice."""
    return await airline.book(booking_id, flight_id, idempotency_key=step.idempotency_key())


async def book_hotel(booking_id: str, hotel_id: str) -> hotels.Room:
    """Book one room, even if a crash makes this step ask twice."""
    return await hotels.book(booking_id, hotel_id, idempotency_key=step.idempotency_key())


async def book_car(booking_id: str, car_id: str) -> cars.Rental:
    """Rent one car, even if a crash makes this step ask twice."""
    return await cars.book(booking_id, car_id, idempotency_key=step.idempotency_key())
