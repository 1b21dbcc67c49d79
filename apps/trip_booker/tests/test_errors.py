"""What the app answers to a request that makes no sense: the same with an Idempotency-Key, which starts a run first."""

from __future__ import annotations

from typing import Any

import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

# A key counts only together with what says whose it is.
HEADERS = {"Authorization": "Booking BK-1", "Idempotency-Key": "BK-1"}
TRIP = {"bookingId": "BK-1", "origin": "NYC", "destination": "NYC"}
REQUESTS: dict[str, tuple[str, Any, str]] = {
    "booking": ("/api/booking?bookingId=BK-1&origin=NYC&destination=NYC", None, "destination"),
    "package": ("/api/package", {"bookingId": "BK-1", "flightId": "SB418"}, "hotelId"),
    "tour": ("/api/tours", [], "body"),
    "trip": ("/api/trips", TRIP, "destination"),
    "hold": ("/api/holds", {"bookingId": "BK-1", "holdSeconds": -1}, "holdSeconds"),
    "order": ("/api/orders", {"userId": "ada"}, "data"),
}


@pytest.mark.parametrize("headers", [{}, HEADERS], ids=["plain", "with a key"])
@pytest.mark.parametrize(("path", "body", "field"), REQUESTS.values(), ids=REQUESTS)
async def test_invalid_request_is_refused_at_once(
    path: str, body: Any, field: str, headers: dict[str, str], client: Client, world: World
) -> None:
    """Nobody waits for attempts that cannot help: the first answer is the 400 that names the field."""
    if body is None:
        response = await client.get(path, headers=headers)
    else:
        response = await client.post(path, json=body, headers=headers)

    assert response.status_code == 400
    error = (await response.get_json())["error"]
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", field)
    assert error["message"].startswith(field)
