"""
The Trip Booker with an airline that tells of every fare that it looks at: ``python -m e2e.chatty_app``.

As `trip_booker serve`, but that 300 events a second come from one step, for three seconds.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from inngest_durable import progress
from trip_booker import airline, server
from trip_booker.trips import Trip

# Below the 1,000 that are recorded of one attempt.
FARES = 900
PER_SECOND = 300

search = airline.search


async def search_talking(booking_id: str, trip: Trip) -> airline.Availability:
    """Tell of each fare in time, however busy the machine is, and then search as ever."""
    began = monotonic()
    told = 0
    while told < FARES:
        await asyncio.sleep(1 / PER_SECOND)
        for number in range(told, min(FARES, int((monotonic() - began) * PER_SECOND))):
            told = number + 1
            progress(f"fare {told}")
    return await search(booking_id, trip)


if __name__ == "__main__":
    airline.search = search_talking
    server.run()
