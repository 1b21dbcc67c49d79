"""The approval endpoint: a person decides, in their own time, while nothing is held in memory."""

from __future__ import annotations

from typing import Any

import httpx
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

from e2e.trip_booker import TripBooker
from testkit.waiting import wait_until

TRIP = {"bookingId": "AP-1", "origin": "NYC", "destination": "SFO", "date": "2026-12-24"}
DEAR = {**TRIP, "budget": 1}


def outcomes(world: World) -> list[str]:
    return [call.outcome for call in world.calls("AP-1")]


async def decide(client: Client, approved: bool) -> None:
    response = await client.post("/api/trips/AP-1/decision", json={"approved": approved})
    assert response.status_code == 202


async def test_trip_within_budget_needs_nobody(client: Client, world: World) -> None:
    response = await client.post("/api/trips", json={**TRIP, "budget": 10_000})

    assert (response.status_code, (await response.get_json())["success"]) == (200, True)
    assert outcomes(world) == ["found", "held", "charged", "ticketed", "sent"]


async def test_approved_trip_is_paid(client: Client, world: World) -> None:
    redirect = await client.post("/api/trips", json=DEAR)
    assert redirect.status_code == 303
    assert outcomes(world) == ["found", "held"]

    await decide(client, True)
    answer: Any = await (await client.get(redirect.headers["location"])).get_json()

    assert (answer["success"], answer["payment"]["amount"]) == (True, answer["reservation"]["price"])
    assert outcomes(world) == ["found", "held", "charged", "ticketed", "sent"]


async def test_rejected_trip_gives_the_seat_back(client: Client, world: World) -> None:
    redirect = await client.post("/api/trips", json=DEAR)
    await decide(client, False)
    response = await client.get(redirect.headers["location"])

    assert (response.status_code, (await response.get_json())["error"]["code"]) == (409, "NOT_APPROVED")
    assert outcomes(world) == ["found", "held", "released"]


async def test_trip_that_nobody_decides_about_gives_the_seat_back(client: Client, world: World) -> None:
    """The wait has an end, by itself."""
    response = await client.post("/api/trips", json={**DEAR, "decideSeconds": 0}, follow_redirects=True)
    error = (await response.get_json())["error"]

    assert (response.status_code, error["code"]) == (409, "NOBODY_DECIDED")
    assert error["message"].endswith("and nobody decided")
    assert outcomes(world) == ["found", "held", "released"]


async def test_cancelled_trip_takes_nothing_back_and_cannot_be_approved(client: Client, world: World) -> None:
    """To cancel a run is to stop it, not to undo it: the seat stays held."""
    redirect = await client.post("/api/trips", json=DEAR)
    cancelled = await client.delete(redirect.headers["location"])
    await decide(client, True)
    response = await client.get(redirect.headers["location"])

    assert (cancelled.status_code, response.status_code) == (202, 410)
    assert outcomes(world) == ["found", "held"]


async def test_first_decision_counts(client: Client, world: World) -> None:
    """Two clicks, or two bosses: nobody waits for the second event any more."""
    redirect = await client.post("/api/trips", json=DEAR)
    await decide(client, True)
    await decide(client, False)
    response = await client.get(redirect.headers["location"])

    assert response.status_code == 200
    assert outcomes(world).count("charged") == 1


async def test_decision_that_came_too_early_can_be_made_again(client: Client, world: World) -> None:
    """Before the run waits nobody hears of it; that must not make the trip undecidable."""
    await decide(client, True)
    redirect = await client.post("/api/trips", json={**DEAR, "decideSeconds": 5})
    await decide(client, True)
    response = await client.get(redirect.headers["location"])

    assert response.status_code == 200
    assert outcomes(world).count("charged") == 1


async def test_declined_card_gives_the_seat_back(client: Client, world: World) -> None:
    """An approved trip that is not paid holds nothing."""
    redirect = await client.post("/api/trips?fail=process-payment:always", json=DEAR)
    await decide(client, True)
    response = await client.get(redirect.headers["location"])

    assert (response.status_code, (await response.get_json())["error"]["step"]) == (502, "process-payment")
    assert outcomes(world) == ["found", "held", "CARD_DECLINED", "released"]


async def test_failed_ticketing_refunds_and_gives_the_seat_back(client: Client, world: World) -> None:
    query = "fail=confirm-booking:always"
    response = await client.post(f"/api/trips?{query}", json={**TRIP, "budget": 10_000}, follow_redirects=True)

    assert (response.status_code, (await response.get_json())["error"]["step"]) == (502, "confirm-booking")
    assert outcomes(world)[-2:] == ["refunded", "released"]


async def test_giving_back_does_not_give_up_soon(client: Client, world: World) -> None:
    """A bank that cannot be reached for a while gives the money back all the same."""
    query = "fail=confirm-booking:always,refund-payment:4"
    response = await client.post(f"/api/trips?{query}", json={**TRIP, "budget": 10_000}, follow_redirects=True)

    assert (response.status_code, (await response.get_json())["error"]["step"]) == (502, "confirm-booking")
    assert outcomes(world)[-2:] == ["refunded", "released"]


async def test_decision_about_another_trip_does_not_count(client: Client, world: World) -> None:
    await client.post("/api/trips", json=DEAR)
    response = await client.post("/api/trips/AP-2/decision", json={"approved": True})

    assert response.status_code == 202
    assert outcomes(world) == ["found", "held"]


async def test_decision_that_is_none_is_refused(client: Client, world: World) -> None:
    response = await client.post("/api/trips/AP-1/decision", json={"approved": "yes"})

    assert (response.status_code, (await response.get_json())["error"]["field"]) == (400, "approved")


def test_decision_reaches_a_run_of_a_process_that_died(demo: TripBooker) -> None:
    """The wait is in the database: it does not matter which process recorded it, or how that ended."""
    redirect = httpx.post(f"{demo.url}/api/trips", json=DEAR, timeout=30)
    demo.kill()
    demo.start()
    demo.wait_ready()
    httpx.post(f"{demo.url}/api/trips/AP-1/decision", json={"approved": True}, timeout=30)
    wait_until(lambda: "sent" in outcomes(demo.world), "the ticket to be sent")

    assert httpx.get(f"{demo.url}{redirect.headers['location']}", timeout=30).json()["success"] is True
    assert outcomes(demo.world) == ["found", "held", "charged", "ticketed", "sent"]
