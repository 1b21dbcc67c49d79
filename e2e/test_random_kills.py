"""
The server is killed 50 times at random moments, with nobody connected afterwards. Every accepted booking completes.

Each round sends some bookings at random times, and kills the server with SIGKILL once the third parties have received
a random number of calls. The choices are seeded; what the server is doing at that moment is up to the machine. Half of
the kills go to one server and half to another, to use two cores.
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from e2e.trip_booker import ALONE, TripBooker
from testkit.processes import answer_status
from testkit.waiting import wait_until

SEED = 20261122
SERVERS = 2
KILLS_EACH = 25

# A booking takes 4.7 s at full latency.
SPEED = 0.033
BOOKING_SECONDS = 4.7 * SPEED
# How long after a call a kill may come: about as long as a third party takes.
AFTER_SECONDS = 0.02

Call = tuple[str, str]

# What third parties are asked for in a booking, and what they do; each line is a step.
STEPS: list[list[Call]] = [
    [("search", "found")],
    [("reserve", "held")],
    [("charge", "charged")],
    [("confirm", "ticketed"), ("send-ticket", "sent")],
]
UNFINISHED = {"running", "waiting"}
ALL_CALLS = [call for step in STEPS for call in step]


def test_bookings_complete_whenever_the_server_is_killed(tmp_path: Path) -> None:
    """An accepted booking makes every call, and none of a completed step twice; any other leaves at most a search."""
    folders = [tmp_path / f"server-{number}" for number in range(SERVERS)]
    with ThreadPoolExecutor(SERVERS) as servers:
        last_calls = sum(servers.map(kill_again_and_again, folders), Counter[str]())

    # The kills came at moments that matter: after each call, bookings were cut off that then went on.
    assert {"search", "reserve", "charge", "confirm"} <= set(last_calls), last_calls


def kill_again_and_again(folder: Path) -> Counter[str]:
    """Put one server through its kills; count the last calls of the bookings that had to go on after one."""
    folder.mkdir()
    moments = random.Random(f"{SEED} {folder.name}")
    last_calls = Counter[str]()
    app = TripBooker(folder, program=ALONE, speed=SPEED)
    try:
        app.wait_ready()
        for number in range(KILLS_EACH):
            bookings = [f"BK-{number}-{letter}" for letter in "ABCD"]
            book_until_killed(app, bookings, moments)
            before = {booking: calls(app, booking) for booking in bookings}
            accepted = set(runs(app))
            app.start()
            app.wait_ready()
            wait_until(lambda: UNFINISHED.isdisjoint(runs(app).values()), "every run to end")
            assert set(runs(app).values()) <= {"completed"}
            for booking in bookings:
                after = calls(app, booking)[len(before[booking]) :]
                assert after in allowed(before[booking], accepted=booking in accepted), (before[booking], after)
                if after and before[booking]:
                    last_calls[before[booking][-1][0]] += 1
            assert "Traceback" not in app.output
    except BaseException as error:
        error.add_note(app.output)
        raise
    finally:
        app.stop()
    return last_calls


def book_until_killed(app: TripBooker, bookings: list[str], moments: random.Random) -> None:
    """Send *bookings*, each at a random time, and kill the server at a random moment. Nobody stays connected."""

    def book(booking: str, begin_after: float) -> None:
        time.sleep(begin_after)
        assert answer_status(app.port, f"/api/booking?bookingId={booking}", timeout_seconds=30) in (200, None)

    received = moments.randrange(len(bookings) * len(ALL_CALLS))
    with ThreadPoolExecutor(len(bookings)) as clients:
        sent = [clients.submit(book, booking, moments.uniform(0, BOOKING_SECONDS)) for booking in bookings]
        wait_until(lambda: sum(len(calls(app, booking)) for booking in bookings) >= received, f"{received} calls")
        time.sleep(moments.uniform(0, AFTER_SECONDS))
        app.kill()
    for client in sent:
        client.result()


def calls(app: TripBooker, booking: str) -> list[Call]:
    """Return what third parties were asked for in a booking, and what they did, oldest first."""
    return [(call.action, call.outcome) for call in app.world.calls(booking)]


def runs(app: TripBooker) -> dict[str, str]:
    """Return the status of each accepted booking's run: it is accepted once its row is in the engine's file."""
    with closing(sqlite3.connect(f"file:{app.engine}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT request, status FROM runs").fetchall()
    bookings = [re.search(rb"bookingId=(BK-\d+-[A-D])", request) for request, _ in rows]
    return {found[1].decode(): status for found, (_, status) in zip(bookings, rows, strict=True) if found}


def allowed(before: list[Call], *, accepted: bool) -> list[list[Call]]:
    """
    Return which calls may follow those from before the kill.

    An accepted booking goes on with the step that was in flight, which may have made its calls already, and which
    third parties then recognise, all but the search. Nothing follows for any other booking, and only its search may
    have come before.
    """
    assert before == ALL_CALLS[: len(before)]
    if not accepted:
        assert len(before) <= 1
        return [[]]
    made = 0
    following = []
    for step in STEPS:
        if made <= len(before) <= made + len(step):
            again = [
                (action, outcome if action == "search" else "replayed")
                for action, outcome in ALL_CALLS[made : len(before)]
            ]
            following.append(again + ALL_CALLS[len(before) :])
        made += len(step)
    return [*following, []] if before == ALL_CALLS else following
