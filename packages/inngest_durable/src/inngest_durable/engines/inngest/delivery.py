"""Delivers what a pass records, however long the server cannot be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from .api import RefusedError, UnreachableError

logger = logging.getLogger("inngest_durable")

# What tells that something has not reached the server.
UNDELIVERED = (UnreachableError, RefusedError)
# Between two tries, each of which is several calls: the result of a step is not given up.
_LONGEST_PAUSE_SECONDS = 30.0

T = TypeVar("T")


class Outages(Protocol):
    """What is told of outages."""

    def unreachable(self, run_id: str, why: str) -> None:
        """The server has not taken what the pass of a run records: nobody is kept waiting for it."""

    def reached(self) -> None:
        """It has now."""


async def persistently(deliver: Callable[[], Awaitable[T]], outages: Outages, run_id: str) -> T:
    """Return what *deliver* does as soon as it can be delivered."""
    pause = 0.0
    while True:
        try:
            done = await deliver()
        except UNDELIVERED as error:
            logger.warning("a checkpoint could not be delivered yet: %s [run=%s]", error, run_id)
            outages.unreachable(run_id, str(error))
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause or 1.0)
            await asyncio.sleep(pause)
        else:
            if pause:
                outages.reached()
            return done
