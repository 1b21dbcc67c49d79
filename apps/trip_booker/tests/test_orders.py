"""The order endpoint through the whole app, and once more in a process that is killed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker.world import World

from e2e.trip_booker import TripBooker
from testkit.waiting import wait_until

ORDER: dict[str, Any] = {"userId": "ada", "data": {"item": "Regenschirm für zwei \N{UMBRELLA}", "pieces": [1, None]}}


async def order(client: Client, query: str = "", body: object = ORDER) -> tuple[int, Any]:
    """Post an order as `curl -L` does; a redirect is followed by GET. Return status and JSON."""
    response = await client.post(f"/api/orders?{query}", json=body, follow_redirects=True)
    return response.status_code, await response.get_json()


def outcomes(world: World) -> list[tuple[str, str]]:
    return [(call.action, call.outcome) for call in world.calls("ada")]


async def test_order_answers_in_the_same_response(client: Client, world: World) -> None:
    """The data is processed with the user's account added to it, and the user is told."""
    response = await client.post("/api/orders", json=ORDER)
    answer = await response.get_json()

    assert (response.status_code, answer["success"]) == (200, True)
    account = answer["result"]["data"].pop("account")
    assert account.startswith("acct-")
    assert answer["result"]["data"] == ORDER["data"]
    assert outcomes(world) == [("find", "found"), ("process", "processed"), ("notify", "sent")]


async def test_failing_service_is_asked_again_with_the_same_data(client: Client, world: World) -> None:
    """Only the processing is repeated, and its data is what the client sent."""
    first = await client.post("/api/orders?fail=process:2", json=ORDER)
    assert first.status_code == 303
    waited = await client.get(first.headers["Location"], follow_redirects=True)
    answer = await waited.get_json()

    assert waited.status_code == 200
    assert answer["result"]["data"] == {**ORDER["data"], "account": answer["result"]["data"]["account"]}
    assert outcomes(world) == [
        ("find", "found"),
        ("process", "OVERLOADED"),
        ("process", "OVERLOADED"),
        ("process", "processed"),
        ("notify", "sent"),
    ]


async def test_body_is_read_again_on_reentry(client: Client, world: World) -> None:
    """A first step that fails leaves no memo: the data of the retried one comes from the recorded body."""
    status, answer = await order(client, "fail=enrich-data:1")

    assert status == 200
    assert answer["result"]["data"].items() >= ORDER["data"].items()
    assert outcomes(world)[:2] == [("find", "DIRECTORY_TIMEOUT"), ("find", "found")]


async def test_order_goes_through_however_often_the_mail_fails(client: Client, world: World) -> None:
    """The data is processed: no number of failures that the app's own policy would allow ends the run."""
    status, answer = await order(client, "fail=notify:4")

    assert (status, answer["success"]) == (200, True)
    assert outcomes(world)[-1] == ("notify", "sent")


async def test_service_that_always_fails_ends_the_order(client: Client, world: World) -> None:
    """When the attempts are used up, the answer names the step, and the user is told nothing."""
    status, answer = await order(client, "fail=process:always")

    assert status == 502
    assert (answer["success"], answer["error"]["step"], answer["error"]["attempts"]) == (False, "process", 4)
    assert outcomes(world) == [("find", "found"), *[("process", "OVERLOADED")] * 4]


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("", {"data": {}}, "userId"),
        ("", {"userId": "a b", "data": {}}, "userId"),
        ("", {"userId": "ada"}, "data"),
        ("", {"userId": "ada", "data": ["umbrella"]}, "data"),
        ("", "ada", "body"),
        ("fail=book-car:1", ORDER, "fail"),
    ],
)
async def test_invalid_order_is_refused_before_anything_happens(
    query: str, body: object, field: str, client: Client, world: World
) -> None:
    """A 400 names the field, and no third party has heard of the user."""
    status, answer = await order(client, query, body)

    assert (status, answer["success"], answer["error"]["field"]) == (400, False, field)
    assert world.calls("ada") == []


def test_crash_in_the_processing_ends_with_one_result(demo: TripBooker) -> None:
    """The server dies with the data processed; the next process is told of that result and notifies the user."""
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{demo.url}/api/orders?crash=process", json=ORDER, timeout=30)
    wait_until(lambda: demo.outcomes("ada", "notifications", "notify"), "the notification")

    assert "killed by SIGKILL" in demo.output
    assert len(demo.processes_of("ada")) == 2
    assert demo.outcomes("ada", "accounts", "find") == ["found"]
    assert demo.outcomes("ada", "processing", "process") == ["processed", "replayed"]
    assert demo.outcomes("ada", "notifications", "notify") == ["sent"]
