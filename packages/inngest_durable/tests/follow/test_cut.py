"""Followers of a run whose connection breaks while the server lives."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from inngest_durable._core.run_events import MOST_PROGRESS

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.follow.listener import Heard, follow, kinds
from testkit.cutting_proxy import cutting_proxy

KEY = {"Idempotency-Key": "BK-1", "Accept": "text/event-stream"}


def followed(port: int, location: str, away: Callable[[], None] = lambda: None) -> tuple[list[Heard], int]:
    """
    Return the events up to the result, however often the connection breaks, and how often it did.

    Each time, *away* is called before there is another connection.
    """
    events: list[Heard] = []
    breaks = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        while not events or events[-1].kind != "result":
            try:
                # What has come in stays, also when an error follows.
                events.extend(follow(client, location, events[-1].id if events else ""))
            except httpx.TransportError:
                breaks += 1
                away()
    return events, breaks


def test_reader_misses_nothing_however_often_its_connection_breaks(site: Site) -> None:
    """In the middle of events: with the last ID that it has seen whole, each comes once."""
    location = site.get("/chatty", headers=KEY).headers["location"]
    with cutting_proxy(site.server.port, 5_003) as proxy:
        events, breaks = followed(proxy.port, location)

    assert events == list(follow(site.client, location))
    assert kinds(events).count("step.progress talk") == MOST_PROGRESS + 1
    assert breaks == proxy.cuts > MOST_PROGRESS // 100


def test_reader_misses_nothing_that_happens_while_it_is_away(site: Site) -> None:
    """Live, until the connection breaks; then the run goes on to its end, which nobody hears."""
    redirect = site.get("/trip", headers=KEY)
    run_id, location = redirect.headers[RUN_ID], redirect.headers["location"]

    def end() -> None:
        site.outside.open("search")
        site.records.wait_for_end(run_id)

    # The gate holds back more events than one connection gets.
    with cutting_proxy(site.server.port, 900) as proxy:
        events, breaks = followed(proxy.port, location, end)

    assert events == list(follow(site.client, location))
    assert breaks == proxy.cuts > 1
