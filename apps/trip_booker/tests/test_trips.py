from __future__ import annotations

import pytest
from trip_booker.errors import InvalidRequestError
from trip_booker.trips import AIRPORTS, read_booking


def test_booking_is_read_from_the_query() -> None:
    """Booking ID, airports and day come back as they were asked for, airports in capitals."""
    query = {"bookingId": "BK-1", "origin": "bos", "destination": "SEA", "date": "2026-12-24"}

    expected = ("BK-1", {"origin": "BOS", "destination": "SEA", "date": "2026-12-24"})
    assert read_booking(query) == expected


def test_missing_airports_and_date_have_defaults() -> None:
    """New York to Los Angeles is the default, and the day stays open for the search to fill in."""
    assert read_booking({"bookingId": "BK-1"}) == ("BK-1", {"origin": "NYC", "destination": "LAX", "date": None})


def test_airports_are_eight() -> None:
    """The airports are those of the form in the reference example."""
    assert list(AIRPORTS) == ["NYC", "LAX", "SFO", "ORD", "MIA", "DFW", "SEA", "BOS"]


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("bookingId", {"bookingId": None}),
        ("bookingId", {"bookingId": ""}),
        ("bookingId", {"bookingId": "a/b"}),
        ("bookingId", {"bookingId": "x" * 65}),
        ("origin", {"origin": "XYZ"}),
        ("origin", {"origin": ""}),
        ("destination", {"destination": "Los Angeles"}),
        ("destination", {"origin": "LAX", "destination": "LAX"}),
        ("date", {"date": ""}),
        ("date", {"date": "tomorrow"}),
        ("date", {"date": "2026-02-30"}),
        ("date", {"date": "20261224"}),
        ("date", {"date": "2026-12-24T10:00"}),
    ],
)
def test_unusable_query_names_the_field(field: str, query: dict[str, str | None]) -> None:
    """What is missing or makes no sense is refused by name."""
    wanted = {"bookingId": "BK-1", **query}

    with pytest.raises(InvalidRequestError) as caught:
        read_booking({name: value for name, value in wanted.items() if value is not None})

    assert caught.value.field == field
    assert field in caught.value.message
