"""The hold endpoint: the seat comes free when it was said, whatever happens to the server meanwhile."""

from __future__ import annotations

import time

import httpx
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

from e2e.trip_booker import TripBooker

HOLD = {"bookingId": "HD-1", "origin": "SEA", "destination": "BOS", "date": "2026-12-24"}


def outcomes(world: World) -> list[str]:
    return [call.outcome for call in world.calls("HD-1")]


async def test_seat_is_held_and_given_back(client: Client, world: World) -> None:
    response = await client.post("/api/holds", json={**HOLD, "holdSeconds": 0}, follow_redirects=True)
    answer = await response.get_json()

    assert (response.status_code, answer["success"], answer["heldSeconds"]) == (200, True, 0)
    assert answer["reservation"]["flight"]["origin"] == "SEA"
    assert outcomes(world) == ["found", "held", "released"]


async def test_caller_of_a_longer_hold_is_sent_to_wait(client: Client, world: World) -> None:
    response = await client.post("/api/holds", json={**HOLD, "holdSeconds": 3600})

    assert response.status_code == 303
    assert outcomes(world) == ["found", "held"]


async def test_hold_of_no_length_is_refused(client: Client, world: World) -> None:
    for wrong in (-1, 1.5, "20", True, 10**9):
        response = await client.post("/api/holds", json={**HOLD, "holdSeconds": wrong})
        assert (response.status_code, (await response.get_json())["error"]["field"]) == (400, "holdSeconds")
    assert outcomes(world) == []


def test_hold_goes_on_while_the_server_is_dead(demo: TripBooker) -> None:
    """The moment was recorded when the hold began: a restart neither shortens nor restarts it."""
    began = time.time()
    redirect = httpx.post(f"{demo.url}/api/holds", json={**HOLD, "holdSeconds": 2}, timeout=30)
    demo.kill()
    demo.start()
    demo.wait_ready()
    answer = httpx.get(f"{demo.url}{redirect.headers['location']}", timeout=30)

    assert answer.json()["success"] is True
    assert 2 <= time.time() - began < 60
    assert outcomes(demo.world) == ["found", "held", "released"]
