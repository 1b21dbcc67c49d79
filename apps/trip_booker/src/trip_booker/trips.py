"""The trip a caller asks for: read from the query or body of a request, and refused if it makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TypedDict

from trip_booker.errors import InvalidRequestError
from trip_booker.ids import read_id

AIRPORTS = {
    "NYC": "New York",
    "LAX": "Los Angeles",
    "SFO": "San Francisco",
    "ORD": "Chicago",
    "MIA": "Miami",
    "DFW": "Dallas",
    "SEA": "Seattle",
    "BOS": "Boston",
}


class Trip(TypedDict):
    """
    Where to fly from and to, and when.

    A date of None means "today". It stays open here, and the search step fills it in: that step's result is kept, so
    a booking that is resumed after midnight is still for the day it was made on.
    """

    origin: str
    destination: str
    date: str | None


def read_booking(query: Mapping[str, object]) -> tuple[str, Trip]:
    """
    Return the booking ID and the trip that *query*, or the object in a JSON body, asks for.

    Only that decides, never the clock: a request is read again each time its run is resumed.

    Raises:
        InvalidRequestError: A parameter is missing or makes no sense; names the first such one.
    """
    booking_id = read_id("bookingId", query.get("bookingId"))
    origin = _airport(query, "origin", default="NYC")
    destination = _airport(query, "destination", default="LAX")
    if origin == destination:
        raise InvalidRequestError("destination", f"destination is {destination}, and so is origin")
    return booking_id, Trip(origin=origin, destination=destination, date=_date(query))


def _airport(query: Mapping[str, object], field: str, *, default: str) -> str:
    code = str(query.get(field, default)).upper()
    if code not in AIRPORTS:
        raise InvalidRequestError(field, f"{field} {code!r} is not an airport we serve: {', '.join(AIRPORTS)}")
    return code


def _date(query: Mapping[str, object]) -> str | None:
    text = query.get("date")
    if text is None:
        return None
    try:
        # fromisoformat also reads 20261224 and 2026-W52-4; one spelling is enough for an API.
        valid = isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        valid = False
    if not isinstance(text, str) or not valid:
        raise InvalidRequestError("date", f"date {text!r} is not a day of the form YYYY-MM-DD")
    return text
