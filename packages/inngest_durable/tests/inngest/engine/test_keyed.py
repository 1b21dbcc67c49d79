"""Runs with an ``Idempotency-Key``, in one process and in several, whatever the server is told or not."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from inngest_durable.engines.inngest import ends

from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import CANCELLED, COMPLETED
from testkit.colourless import over_quart_only

KEY = {"Idempotency-Key": "k-1", "Authorization": "Bearer of-the-user"}
FOLLOWED = {**KEY, "Accept": "text/event-stream"}


class CutOff(httpx.AsyncHTTPTransport):
    """
    The network of a process that can look, but can post nothing.

    Attributes:
        posts: Set when it has tried to.
        goes_on: To be set before it is told that it cannot.
    """

    def __init__(self) -> None:
        super().__init__()
        self.posts = threading.Event()
        self.goes_on = threading.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a call, unless it posts something."""
        if request.method != "POST":
            return await super().handle_async_request(request)
        self.posts.set()
        while not self.goes_on.is_set():
            await asyncio.sleep(0.005)
        raise httpx.ConnectError("cut off", request=request)


def beside(open_rig: OpenRig, first: Rig, **options: object) -> Rig:
    """Open another process of the application of *first*, on its server."""
    return open_rig(base_url=first.fake.url, serve_origin=first.url, **options)


@over_quart_only
def test_second_request_that_cannot_deliver_leaves_the_first_ones_run_alone(open_rig: OpenRig) -> None:
    network = CutOff()
    winner = open_rig()
    loser = beside(open_rig, winner, transport=network)
    lost = loser.asked("/held", headers=KEY)
    assert network.posts.wait(20)
    won = winner.asked("/held", headers=KEY)
    winner.outside.wait_for("two")
    network.goes_on.set()
    response = lost.result(20)

    assert (response.status_code, response.headers.get("retry-after")) == (503, "5")
    assert "try again later" in response.json()["error"]
    winner.outside.open("two")
    assert won.result(20).json() == {"steps": ["one#1", "two#1", "three#1"]}
    run = winner.fake.only_run()
    winner.fake.wait_until(lambda: run.is_over, "the end of the run")
    assert run.status == COMPLETED
    assert winner.fake.called("DELETE .*") == []
    assert (counts(winner), counts(loser)) == ({"one": 1, "two": 1, "three": 1}, {})


def test_key_of_a_cancelled_run_is_answered_as_that(open_rig: OpenRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "_PAUSE_SECONDS", 0.01)
    rig = open_rig()
    first = rig.ask("/sleep", headers=KEY)
    run_id = first.headers["x-inngest-run-id"]
    assert rig.server.call(lambda: rig.rows.inngest.cancel(run_id))
    assert rig.fake.run(run_id).status == CANCELLED

    for one in (rig, beside(open_rig, rig)):
        again = one.ask("/sleep", headers=KEY)
        assert (again.status_code, again.json()) == (410, {"status": "cancelled", "run_id": run_id})
    assert counts(rig) == {"before": 1}


def test_ended_run_of_another_process_is_followed_in_this_one(open_rig: OpenRig) -> None:
    first = open_rig()
    assert first.ask("/book", headers=KEY).status_code == 200
    run = first.fake.only_run()
    first.fake.wait_until(lambda: run.is_over, "the end of the run")
    other = beside(open_rig, first)
    response = other.ask("/book", headers=FOLLOWED)
    assert response.status_code == 303, response.text
    assert response.next_request is not None

    # The server does not know the token that opens it here.
    assert other.engine.token(run.run_id)
    assert other.engine.wait_url(run.run_id) is None
    events = other.client.send(response.next_request)
    assert (events.status_code, events.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert "event: result" in events.text
    assert "reserve#1" in events.text


@over_quart_only
def test_keyed_request_is_refused_while_the_server_cannot_be_reached(rig: Rig) -> None:
    with rig.fake.unreachable():
        response = rig.ask("/book", headers=KEY)

    assert (response.status_code, response.headers.get("retry-after")) == (503, "5")
    assert rig.outside.counts() == {}
    assert rig.ask("/book", headers=KEY).status_code == 200
