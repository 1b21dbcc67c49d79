"""The tour endpoint: what was booked is taken back in reverse, also by a process that comes after the one that died."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

from e2e.trip_booker import TripBooker
from testkit.waiting import wait_until

TOUR = {"bookingId": "TR-1", "flightId": "SB418", "hotelId": "plaza", "carId": "mini"}
UNDONE = ["cancel-car", "cancel-hotel", "cancel-flight"]


async def book(client: Client, query: str = "") -> tuple[int, Any]:
    response = await client.post(f"/api/tours?{query}", json=TOUR, follow_redirects=True)
    return response.status_code, await response.get_json()


def outcomes(world: World) -> list[str]:
    return [f"{call.service} {call.outcome}" for call in world.calls("TR-1")]


async def test_tour_is_booked_and_charged_once(client: Client, world: World) -> None:
    status, answer = await book(client)

    assert (status, answer["success"]) == (200, True)
    assert answer["payment"]["amount"] == sum(part["price"] for part in answer["bookings"].values())
    assert outcomes(world) == ["airline booked", "hotels booked", "cars booked", "payments charged"]


async def test_declined_card_takes_everything_back_in_reverse(client: Client, world: World) -> None:
    status, answer = await book(client, "fail=process-payment:always")

    assert (status, answer["undone"]) == (402, UNDONE)
    assert answer["error"]["step"] == "process-payment"
    assert outcomes(world)[-3:] == ["cars cancelled", "hotels cancelled", "airline cancelled"]


async def test_only_what_was_booked_is_taken_back(client: Client, world: World) -> None:
    status, answer = await book(client, "fail=book-hotel:always")

    assert (status, answer["undone"]) == (402, ["cancel-flight"])
    assert outcomes(world) == ["airline booked", "hotels NO_ROOM", "airline cancelled"]


async def test_taking_back_does_not_give_up_soon(client: Client, world: World) -> None:
    """A hotel that cannot be reached for a while must not keep the flight booked."""
    status, answer = await book(client, "fail=process-payment:always,cancel-hotel:5")

    assert (status, answer["undone"]) == (402, UNDONE)
    assert outcomes(world)[-7:] == ["hotels CANCEL_TIMEOUT"] * 5 + ["hotels cancelled", "airline cancelled"]


def test_server_that_dies_while_it_takes_back_goes_on_with_the_rest(demo: TripBooker) -> None:
    """Each thing is taken back once, by whichever process got to it."""
    with suppress(httpx.TransportError):
        httpx.post(f"{demo.url}/api/tours?fail=process-payment:always&crash=cancel-hotel", json=TOUR, timeout=30)
    wait_until(lambda: "airline cancelled" in outcomes(demo.world), "the flight to be given back")

    done = outcomes(demo.world)
    assert [done.count(f"{service} cancelled") for service in ("cars", "hotels", "airline")] == [1, 1, 1]
    assert [done.count(f"{service} booked") for service in ("cars", "hotels", "airline")] == [1, 1, 1]
