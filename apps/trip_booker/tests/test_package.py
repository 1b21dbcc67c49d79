"""The package endpoint through the whole app, and once more in a process that is killed."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

from e2e.trip_booker import TripBooker
from testkit.waiting import wait_until

PACKAGE = {"bookingId": "PK-1", "flightId": "SB418", "hotelId": "plaza", "carId": "mini"}

BOOKED = {
    ("airline", "book", "booked"): 1,
    ("hotels", "book", "booked"): 1,
    ("cars", "book", "booked"): 1,
    ("notifications", "send-confirmation", "sent"): 1,
}


async def book(client: Client, query: str = "", **fields: object) -> tuple[int, Any]:
    """Post a package as `curl -L` does; a redirect is followed by GET. Return status and JSON."""
    response = await client.post(f"/api/package?{query}", json={**PACKAGE, **fields}, follow_redirects=True)
    return response.status_code, await response.get_json()


def counted(world: World) -> Counter[tuple[str, str, str]]:
    return Counter((call.service, call.action, call.outcome) for call in world.calls("PK-1"))


async def test_package_answers_in_the_same_response(client: Client, world: World) -> None:
    """When nothing fails, each part is booked once, and then they are confirmed together."""
    response = await client.post("/api/package", json=PACKAGE)
    answer = await response.get_json()

    assert response.status_code == 200
    assert list(answer) == ["success", "bookingId", "bookings"]
    assert (answer["success"], answer["bookingId"]) == (True, "PK-1")
    assert [answer["bookings"]["flight"]["flightId"], answer["bookings"]["hotel"]["hotelId"]] == ["SB418", "plaza"]
    assert answer["bookings"]["car"]["carId"] == "mini"
    assert counted(world) == BOOKED
    assert world.calls("PK-1")[-1].action == "send-confirmation"


async def test_failing_hotel_is_asked_again_and_nobody_else(client: Client, world: World) -> None:
    """Flight and car are booked once while the client waits; the later passes read the same body."""
    status, answer = await book(client, "fail=book-hotel:2")

    assert (status, answer["success"]) == (200, True)
    # The room was booked by a re-entry, which has its ID from the recorded body.
    assert answer["bookings"]["hotel"]["hotelId"] == "plaza"
    assert counted(world) == {**BOOKED, ("hotels", "book", "HOTEL_TIMEOUT"): 2}


async def test_package_goes_through_however_often_the_mail_fails(client: Client, world: World) -> None:
    """All three are booked: no number of failures that the app's own policy would allow ends the run."""
    status, answer = await book(client, "fail=send-confirmation:4")

    assert (status, answer["success"]) == (200, True)
    assert world.calls("PK-1")[-1].outcome == "sent"


@pytest.mark.parametrize(
    ("failing", "code", "given_back"),
    [
        ("flight", "FLIGHT_FULL", {"hotels", "cars"}),
        ("hotel", "NO_ROOM", {"airline", "cars"}),
        ("car", "NO_CAR", {"airline", "hotels"}),
    ],
)
async def test_part_that_cannot_be_had_gives_the_others_back(
    failing: str, code: str, given_back: set[str], client: Client, world: World
) -> None:
    """The answer names the step and the reason; what was booked is cancelled, and nothing is confirmed."""
    status, answer = await book(client, f"fail=book-{failing}:always")

    calls = world.calls("PK-1")
    assert (status, answer["success"], answer["bookingId"]) == (409, False, "PK-1")
    assert answer["error"]["steps"] == [f"book-{failing}"]
    assert answer["error"]["message"].startswith(code)
    assert sorted(call.service for call in calls if call.outcome == "booked") == sorted(given_back)
    assert sorted(call.service for call in calls if call.outcome == "cancelled") == sorted(given_back)
    assert "notifications" not in {call.service for call in calls}


async def test_several_parts_that_cannot_be_had_are_all_named(client: Client, world: World) -> None:
    """With two refusals there is one booking to give back."""
    status, answer = await book(client, "fail=book-hotel:always,book-car:always")

    assert status == 409
    assert answer["error"]["steps"] == ["book-hotel", "book-car"]
    assert "NO_ROOM" in answer["error"]["message"]
    assert "NO_CAR" in answer["error"]["message"]
    assert [call.service for call in world.calls("PK-1") if call.action == "cancel"] == ["airline"]


async def test_giving_back_does_not_give_up_soon(client: Client, world: World) -> None:
    """A car rental that cannot be reached for a while is told all the same."""
    status, _ = await book(client, "fail=book-hotel:always,cancel-car:4")

    assert status == 409
    assert [call.outcome for call in world.calls("PK-1") if call.service == "cars"][-1] == "cancelled"
    assert [call.action for call in world.calls("PK-1") if call.service == "cars"] == ["book", *["cancel"] * 5]


async def test_refusal_after_a_retry_gives_back_once(client: Client, world: World) -> None:
    """The flight must be asked again while the hotel has refused already: it is booked, and then given back."""
    status, answer = await book(client, "fail=book-flight:1,book-hotel:always")

    calls = counted(world)
    assert (status, answer["error"]["steps"]) == (409, ["book-hotel"])
    assert calls["airline", "book", "BOOKING_TIMEOUT"] == calls["airline", "book", "booked"] == 1
    assert calls["hotels", "book", "NO_ROOM"] == 1
    assert calls["airline", "cancel", "cancelled"] == calls["cars", "cancel", "cancelled"] == 1


@pytest.mark.parametrize(
    ("query", "changed", "field"),
    [
        ("", {"bookingId": None}, "bookingId"),
        ("", {"flightId": ""}, "flightId"),
        ("", {"hotelId": 7}, "hotelId"),
        ("", {"carId": "a/b"}, "carId"),
        ("fail=book-hotel", {}, "fail"),
        ("fail=reserve-flight:1", {}, "fail"),
        ("crash=process-payment", {}, "crash"),
    ],
)
async def test_invalid_package_is_refused_before_anything_happens(
    query: str, changed: dict[str, object], field: str, client: Client, world: World
) -> None:
    """A 400 names the field, and no third party has heard of the booking."""
    status, answer = await book(client, query, **changed)

    assert (status, answer["success"], answer["error"]["field"]) == (400, False, field)
    assert field in answer["error"]["message"]
    assert world.calls("PK-1") == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("", "application/json"), ("{", "application/json"), ("[]", "application/json"), ("{}", "text/plain")],
)
async def test_body_that_is_no_json_object_is_refused(body: str, content_type: str, client: Client) -> None:
    """A 400 says so, in JSON."""
    response = await client.post("/api/package", data=body, headers={"Content-Type": content_type})
    answer = await response.get_json()

    assert (response.status_code, answer["error"]["field"]) == (400, "body")


def test_crash_in_the_hotel_step_books_everything_once(demo: TripBooker) -> None:
    """The server dies with the room booked; the run goes on with nobody connected, and the hotel knows the key."""
    # With the key the run is on disk before its first steps begin, which are all three of them.
    keyed = {"Idempotency-Key": "PK-1"}
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{demo.url}/api/package?crash=book-hotel", json=PACKAGE, headers=keyed, timeout=30)
    wait_until(lambda: demo.outcomes("PK-1", "notifications", "send-confirmation"), "the confirmation")

    assert "killed by SIGKILL" in demo.output
    assert len(demo.processes_of("PK-1")) == 2
    assert demo.outcomes("PK-1", "hotels", "book") == ["booked", "replayed"]
    # The other two were in flight as well, or done: booked once in any case.
    assert demo.outcomes("PK-1", "airline", "book").count("booked") == 1
    assert demo.outcomes("PK-1", "cars", "book").count("booked") == 1
    assert demo.outcomes("PK-1", "notifications", "send-confirmation") == ["sent"]
    rooms = [call.result for call in demo.world.calls("PK-1") if call.service == "hotels"]
    assert [room["hotelId"] for room in rooms if room] == ["plaza", "plaza"]


def test_crash_after_retries_leaves_completed_parts_alone(demo: TripBooker) -> None:
    """Flight and car completed while the hotel was retried: a crash in a later pass does not call them again."""
    # Answered by a redirect, unless both retries come so soon that the crash finds the client still connected.
    with suppress(httpx.TransportError):
        httpx.post(f"{demo.url}/api/package?fail=book-hotel:2&crash=book-hotel", json=PACKAGE, timeout=30)
    wait_until(lambda: demo.outcomes("PK-1", "notifications", "send-confirmation"), "the confirmation")

    assert "killed by SIGKILL" in demo.output
    assert demo.outcomes("PK-1", "hotels", "book") == ["HOTEL_TIMEOUT", "HOTEL_TIMEOUT", "booked", "replayed"]
    assert demo.outcomes("PK-1", "airline", "book") == demo.outcomes("PK-1", "cars", "book") == ["booked"]
    assert demo.outcomes("PK-1", "notifications", "send-confirmation") == ["sent"]
