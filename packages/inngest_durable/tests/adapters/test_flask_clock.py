"""The virtual clock with Flask, as a user's test has it: the test blocks, the engine and re-entries have threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from inngest_durable import EmbeddedEngine, Inngest
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step
from inngest_durable.testing import MemoryStore, VirtualClock

HOUR = 3600.0


class Trips:
    """An application on a virtual clock, and what its handlers did."""

    def __init__(self) -> None:
        self.clock = VirtualClock(start=0.0, patience_seconds=20)
        self.app = Flask("trips")
        self.inngest = Inngest("trips", endpoint_adapter, EmbeddedEngine(store=MemoryStore(), clock=self.clock))
        self.done: list[tuple[str, float]] = []
        self.gate = threading.Event()
        self.app.get("/naps")(self.inngest.endpoint(id="naps")(self.naps))
        self.app.get("/held")(self.inngest.endpoint(id="held", timeout="3h")(self.held))
        self.inngest.init_app(self.app)

    def naps(self) -> dict[str, Any]:
        """Work after each of three pauses of an hour."""
        for number in range(3):
            step.sleep(f"nap {number}", "1h")
            step.run(f"work {number}", self.note, f"work {number}")
        return {"done": len(self.done)}

    def held(self) -> str:
        """Pause, then take until the gate opens."""
        step.sleep("nap", "1h")
        step.run("wait", self.gate.wait, 20)
        return "open"

    def note(self, what: str) -> None:
        """Note when *what* was done; slowly, as seen by an event loop."""
        threading.Event().wait(0.02)
        self.done.append((what, self.clock.now()))

    def client(self) -> FlaskClient:
        return self.app.test_client()


@pytest.fixture
def trips() -> Iterator[Trips]:
    """Run the application."""
    trips = Trips()
    with trips.inngest.running():
        yield trips
        trips.gate.set()


def test_handlers_come_to_rest_before_the_next_timer_fires(trips: Trips) -> None:
    """In one move, each pause begins when the step before it has ended, and no later."""
    location = trips.client().get("/naps").headers["location"]
    trips.clock.advance("2h")

    assert trips.done == [("work 0", HOUR), ("work 1", 2 * HOUR)]

    trips.clock.advance("1h")

    assert trips.clock.now() == 3 * HOUR
    assert trips.done == [("work 0", HOUR), ("work 1", 2 * HOUR), ("work 2", 3 * HOUR)]
    assert trips.client().get(location).json == {"done": 3}


async def test_clock_may_be_awaited_on_another_event_loop(trips: Trips) -> None:
    trips.client().get("/naps")
    await trips.clock.advance("1h")
    await trips.clock.settle()

    assert trips.done == [("work 0", HOUR)]


def test_handler_that_hangs_is_left_after_a_while() -> None:
    """Then time goes on, so that a test sees what happens to a run whose step takes too long."""
    trips = Trips()
    trips.clock = VirtualClock(start=0.0, patience_seconds=0.05)
    trips.inngest.engine.clock = trips.clock
    with trips.inngest.running():
        location = trips.client().get("/held").headers["location"]
        trips.clock.advance("1h")
        trips.clock.advance("2h")
        answer = trips.client().get(location)
        trips.gate.set()

    assert answer.status_code == 504


def test_clock_that_nobody_uses_moves() -> None:
    clock = VirtualClock(start=0.0)
    clock.advance("1h")
    clock.settle()

    assert clock.now() == HOUR


def test_timers_of_an_event_loop_that_was_closed_are_left_out() -> None:
    clock, fired = VirtualClock(start=0.0), list[str]()

    async def life(name: str, when: float) -> None:
        clock.call_at(when, lambda: fired.append(name))
        clock.call_at(1e9, lambda: fired.append(f"never {name}"))
        await clock.advance("1h")

    asyncio.run(life("first", 10))
    asyncio.run(life("second", HOUR + 10))
    clock.advance(1e9)

    assert fired == ["first", "second"]


def test_event_loop_that_ends_while_the_clock_moves_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind on it, of which Python would warn."""
    clock, told = VirtualClock(start=0.0), threading.Event()

    async def life() -> None:
        clock.now()
        ready.set()
        # Ends in the turn in which it is told of the move.
        told.wait(20)

    def live() -> None:
        with closing(asyncio.new_event_loop()) as loop:
            tell = loop.call_soon_threadsafe

            def hear(*call: Any) -> asyncio.Handle:
                handle = tell(*call)
                told.set()
                return handle

            monkeypatch.setattr(loop, "call_soon_threadsafe", hear)
            loop.run_until_complete(life())

    ready = threading.Event()
    thread = threading.Thread(target=live)
    thread.start()
    ready.wait(20)
    clock.advance("1h")
    thread.join(20)
    gc.collect()

    assert told.is_set()
    assert clock.now() == HOUR


def test_timer_fires_on_the_event_loop_that_it_was_set_on() -> None:
    clock, fired = VirtualClock(start=0.0), list[int]()

    async def waiting(number: int) -> None:
        due = asyncio.Event()
        clock.call_at(number, due.set)
        ready.wait()
        await due.wait()
        fired.append(number)

    ready = threading.Barrier(4)
    threads = [threading.Thread(target=asyncio.run, args=(waiting(number),)) for number in (3, 1, 2)]
    for thread in threads:
        thread.start()
    ready.wait(20)
    clock.advance("3s")
    for thread in threads:
        thread.join(20)

    assert fired == [1, 2, 3]


def test_timer_that_is_cancelled_by_the_one_before_does_not_fire() -> None:
    """Although both were due at the same time."""
    clock, fired = VirtualClock(start=0.0), list[str]()

    async def main() -> None:
        second = None

        def first() -> None:
            fired.append("first")
            assert second is not None
            second.cancel()

        clock.call_at(10, first)
        second = clock.call_at(10, lambda: fired.append("second"))
        await asyncio.to_thread(clock.advance, "10s")

    asyncio.run(main())

    assert fired == ["first"]
