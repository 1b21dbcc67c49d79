"""The endpoint through the whole app: real engine, real database, no server process in between."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World


async def book(client: Client, query: str) -> tuple[int, Any]:
    """Request a booking as `curl -L` does; return status and JSON."""
    response = await client.get(f"/api/booking?{query}", follow_redirects=True)
    return response.status_code, await response.get_json()


def outcomes(world: World) -> list[tuple[str, str]]:
    return [(call.action, call.outcome) for call in world.calls("BK-1")]


async def test_booking_answers_in_the_same_response(client: Client, world: World) -> None:
    """When nothing fails, the first response is the booking, and each third party was called once."""
    response = await client.get("/api/booking?bookingId=BK-1&origin=NYC&destination=LAX&date=2026-12-24")
    answer = await response.get_json()

    assert response.status_code == 200
    assert "X-Inngest-Run-Id" in response.headers
    assert list(answer) == ["success", "bookingId", "trip", "reservation", "payment", "confirmation"]
    assert (answer["success"], answer["bookingId"]) == (True, "BK-1")
    assert answer["trip"] == {"origin": "NYC", "destination": "LAX", "date": "2026-12-24"}
    assert outcomes(world) == [
        ("search", "found"),
        ("reserve", "held"),
        ("charge", "charged"),
        ("confirm", "ticketed"),
        ("send-ticket", "sent"),
    ]


async def test_booking_takes_the_cheapest_flight(client: Client, world: World) -> None:
    """The flight that is reserved and paid for is the cheapest that the search found."""
    _, answer = await book(client, "bookingId=BK-1")

    search = world.calls("BK-1")[0]
    assert search.result is not None
    cheapest = min(flight["price"] for flight in search.result["flights"])
    assert answer["reservation"]["flight"]["price"] == cheapest
    assert answer["payment"]["amount"] == cheapest


async def test_booking_without_a_date_says_which_day_it_took(client: Client, world: World) -> None:
    """The answered trip has the day that the search filled in."""
    _, answer = await book(client, "bookingId=BK-1")

    assert answer["trip"]["date"] == answer["reservation"]["flight"]["date"]


async def test_failed_reservation_is_retried_behind_a_redirect(client: Client, world: World) -> None:
    """The client is sent to a URL that waits, and gets the same booking there; no other step runs again."""
    first = await client.get("/api/booking?bookingId=BK-1&fail=reserve-flight:2")
    assert first.status_code == 303
    waited = await client.get(first.headers["Location"], follow_redirects=True)
    answer = await waited.get_json()

    assert (waited.status_code, answer["success"]) == (200, True)
    assert outcomes(world) == [
        ("search", "found"),
        ("reserve", "SEAT_LOCK_TIMEOUT"),
        ("reserve", "SEAT_LOCK_TIMEOUT"),
        ("reserve", "held"),
        ("charge", "charged"),
        ("confirm", "ticketed"),
        ("send-ticket", "sent"),
    ]


async def test_declined_card_releases_the_seat_and_answers_402(client: Client, world: World) -> None:
    """The bank is asked once, the seat is given back, and the answer says why."""
    status, answer = await book(client, "bookingId=BK-1&fail=process-payment:always")

    assert status == 402
    assert (answer["success"], answer["bookingId"]) == (False, "BK-1")
    assert answer["error"]["step"] == "process-payment"
    assert answer["error"]["message"].startswith("CARD_DECLINED")
    assert outcomes(world)[-3:] == [("reserve", "held"), ("charge", "CARD_DECLINED"), ("release", "released")]


async def test_failed_confirmation_refunds_and_releases(client: Client, world: World) -> None:
    """A ticket that cannot be issued costs the traveller nothing, and the answer names the step that failed."""
    status, answer = await book(client, "bookingId=BK-1&fail=confirm-booking:always")

    counted = Counter(outcomes(world))
    assert status == 502
    assert (answer["success"], answer["error"]["step"]) == (False, "confirm-booking")
    assert counted["confirm", "TICKETING_DOWN"] == 4
    assert counted["refund", "refunded"] == 1
    assert counted["release", "released"] == 1


async def test_giving_back_does_not_give_up_soon(client: Client, world: World) -> None:
    """An airline that cannot be reached for a while gets its seat back all the same."""
    status, _ = await book(client, "bookingId=BK-1&fail=process-payment:always,release-seat:4")

    assert status == 402
    assert [action for action, _ in outcomes(world)][-5:] == ["release"] * 5
    assert outcomes(world)[-1] == ("release", "released")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("origin=NYC", "bookingId"),
        ("bookingId=BK-1&origin=XXX", "origin"),
        ("bookingId=BK-1&destination=NYC", "destination"),
        ("bookingId=BK-1&date=2026-13-01", "date"),
        ("bookingId=BK-1&fail=reserve-flight", "fail"),
        ("bookingId=BK-1&crash=everything", "crash"),
        ("bookingId=BK-1&crash=book-hotel", "crash"),
    ],
)
async def test_invalid_query_is_refused_before_anything_happens(
    query: str, field: str, client: Client, world: World
) -> None:
    """A 400 names the parameter, and no third party has heard of the booking."""
    status, answer = await book(client, query)

    assert (status, answer["success"], answer["error"]["field"]) == (400, False, field)
    assert world.calls("BK-1") == []


async def test_look_up_tells_what_third_parties_know(client: Client, world: World) -> None:
    """A finished booking can be looked up, without touching it."""
    await book(client, "bookingId=BK-1")
    response = await client.get("/api/bookings/BK-1")
    known = await response.get_json()

    assert (response.status_code, known["status"]) == (200, "confirmed")
    assert len(known["calls"]) == len(world.calls("BK-1")) == 5


async def test_look_up_of_an_unheard_booking_is_404(client: Client, world: World) -> None:
    """A booking nobody knows is not found."""
    response = await client.get("/api/bookings/BK-1")

    assert response.status_code == 404
    assert (await response.get_json())["status"] == "unknown"


async def test_calls_of_a_booking_are_a_table(client: Client, world: World) -> None:
    """For a terminal there is plain text: one line for each call, in columns."""
    await book(client, "bookingId=BK-1")
    response = await client.get("/api/bookings/BK-1/calls")
    heading, *lines = (await response.get_data(as_text=True)).splitlines()

    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert heading.split() == ["process", "service", "action", "outcome"]
    assert [line.split() for line in lines] == [
        [str(call.pid), call.service, call.action, call.outcome] for call in world.calls("BK-1")
    ]


async def test_calls_of_an_unheard_booking_are_404(client: Client, world: World) -> None:
    """A booking nobody knows has a table with no line."""
    response = await client.get("/api/bookings/BK-1/calls")

    assert response.status_code == 404
    assert (await response.get_data(as_text=True)) == "process  service  action  outcome\n"
