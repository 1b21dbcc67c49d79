from __future__ import annotations

from datetime import timedelta

import pytest
from trip_booker.bodies import read_order, read_package, read_trip
from trip_booker.errors import InvalidRequestError

PACKAGE = {"bookingId": "PK-1", "flightId": "SB418", "hotelId": "plaza", "carId": "mini"}


def test_package_is_read_from_the_body() -> None:
    """Booking ID and package come back as they were asked for; other fields are nobody's business."""
    expected = ("PK-1", {"flightId": "SB418", "hotelId": "plaza", "carId": "mini"})
    assert read_package({**PACKAGE, "wishes": "sea view"}) == expected


@pytest.mark.parametrize("field", PACKAGE)
@pytest.mark.parametrize("value", [None, "", " ", "x" * 65, "a/b", "plaza\n", 7, True, ["plaza"], {}])
def test_unusable_part_of_a_package_names_the_field(field: str, value: object) -> None:
    """What is missing or makes no sense is refused by name, in a sentence of bearable length."""
    with pytest.raises(InvalidRequestError) as caught:
        read_package({**PACKAGE, field: value})

    assert caught.value.field == field
    assert field in caught.value.message
    assert len(caught.value.message) < 150


def test_missing_part_of_a_package_is_said_to_be_missing() -> None:
    """The first missing field is named."""
    with pytest.raises(InvalidRequestError, match="hotelId is missing"):
        read_package({"bookingId": "PK-1", "flightId": "SB418"})


def test_order_is_read_from_the_body() -> None:
    """User ID and data come back as they were sent."""
    assert read_order({"userId": "ada", "data": {"n": [1, None]}}) == ("ada", {"n": [1, None]})
    assert read_order({"userId": "ada", "data": {}}) == ("ada", {})


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("userId", {"data": {}}),
        ("userId", {"userId": 7, "data": {}}),
        ("data", {"userId": "ada"}),
        ("data", {"userId": "ada", "data": None}),
        ("data", {"userId": "ada", "data": "text"}),
    ],
)
def test_unusable_part_of_an_order_names_the_field(field: str, body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_order(body)

    assert caught.value.field == field


def test_approval_has_a_day_unless_the_body_says_otherwise() -> None:
    assert read_trip({"bookingId": "AP-1"}, default_budget=1)[2:] == (1, timedelta(days=1))
    assert read_trip({"bookingId": "AP-1", "decideSeconds": 5}, default_budget=1)[3] == timedelta(seconds=5)


@pytest.mark.parametrize("field", ["budget", "decideSeconds"])
@pytest.mark.parametrize("value", [-1, 1.5, "5", True, None, 10**9])
def test_unusable_number_of_a_trip_names_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_trip({"bookingId": "AP-1", field: value}, default_budget=1)

    assert caught.value.field == field


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_order(body)

    assert caught.value.field == "body"
