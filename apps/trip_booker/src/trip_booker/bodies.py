"""What a caller asks for in a JSON body: read, and refused with a clear error if it makes no sense."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict

from trip_booker.errors import InvalidRequestError
from trip_booker.ids import read_id
from trip_booker.trips import Trip, read_booking

DAY_SECONDS = 24 * 3600


class Package(TypedDict):
    """The flight, hotel room and car to book together."""

    flightId: str
    hotelId: str
    carId: str


def read_package(body: object) -> tuple[str, Package]:
    """
    Return the booking ID and the package that *body* asks for.

    Raises:
        InvalidRequestError: A field is missing or makes no sense; names the first such field.
    """
    fields = _fields(body)
    booking_id, flight_id, hotel_id, car_id = (
        read_id(name, fields.get(name)) for name in ("bookingId", "flightId", "hotelId", "carId")
    )
    return booking_id, Package(flightId=flight_id, hotelId=hotel_id, carId=car_id)


def read_order(body: object) -> tuple[str, dict[str, Any]]:
    """
    Return the user ID and the data that *body* orders to process.

    Raises:
        InvalidRequestError: A field is missing or makes no sense; names the first such field.
    """
    fields = _fields(body)
    user_id = read_id("userId", fields.get("userId"))
    data = fields.get("data")
    if not isinstance(data, dict):
        raise InvalidRequestError("data", "data is missing, or is not a JSON object")
    return user_id, data


def read_hold(body: object) -> tuple[str, Trip, int]:
    """
    Return the booking ID, the trip to hold a seat of, and for how many seconds.

    Raises:
        InvalidRequestError: A field is missing or makes no sense; names the first such field.
    """
    fields = _fields(body)
    booking_id, wanted = read_booking(fields)
    return booking_id, wanted, _whole_number(fields, "holdSeconds", default=20, largest=DAY_SECONDS)


def read_trip(body: object, *, default_budget: int) -> tuple[str, Trip, int, timedelta]:
    """
    Return the booking ID, the trip, the price in whole dollars up to which it needs no approval, and the time in which
    it may be approved: a day unless *body* says otherwise.

    Raises:
        InvalidRequestError: A field is missing or makes no sense; names the first such field.
    """
    fields = _fields(body)
    booking_id, wanted = read_booking(fields)
    budget = _whole_number(fields, "budget", default=default_budget, largest=100_000)
    decide_seconds = _whole_number(fields, "decideSeconds", default=DAY_SECONDS, largest=DAY_SECONDS)
    return booking_id, wanted, budget, timedelta(seconds=decide_seconds)


def read_decision(body: object) -> bool:
    """
    Return whether the trip is approved.

    Raises:
        InvalidRequestError: ``approved`` is missing, or neither true nor false.
    """
    approved = _fields(body).get("approved")
    if not isinstance(approved, bool):
        raise InvalidRequestError("approved", "approved is missing, or neither true nor false")
    return approved


def _whole_number(fields: dict[str, Any], field: str, *, default: int, largest: int) -> int:
    number = fields.get(field, default)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= largest:
        raise InvalidRequestError(field, f"{field} {number!r} is not a whole number from 0 to {largest}")
    return number


def _fields(body: object) -> dict[str, Any]:
    # Quart reads None if there is no JSON at all, and if the content type does not promise any.
    if not isinstance(body, dict):
        raise InvalidRequestError("body", "body is not a JSON object with the Content-Type application/json")
    return body
