"""Delivers what a pass records, however long the server cannot be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ...errors import EventError
from .api import RefusedError, UnreachableError

logger = logging.getLogger("inngest_durable")

# What tells that something has not reached the server.
UNDELIVERED = (UnreachableError, RefusedError)
# Between two tries, each of which is several calls: the result of a step is not given up.
_LONGEST_PAUSE_SECONDS = 30.0

# The server does not take this application's key.
_KEY_REFUSED = frozenset((401, 403))

T = TypeVar("T")


class Outages(Protocol):
    """What gets notice of outages."""

    def undelivered(self, run_id: str, why: str, *, is_outage: bool) -> None:
        """
        The server has not taken what the pass of a run records: nobody is kept waiting for it.

        In an outage, nothing that another run records would be taken either.
        """

    def reached(self) -> None:
        """It has now."""


async def persistently(
    deliver: Callable[[], Awaitable[T]], outages: Outages, run_id: str, *, gives_up: bool = False
) -> T:
    """
    Return what *deliver* does as soon as it can be delivered.

    If it *gives_up*, it raises `RefusedError` when the server takes other things, but not this.
    """
    pause = 0.0
    while True:
        try:
            done = await deliver()
        except UNDELIVERED as error:
            if gives_up and not is_outage(error):
                raise
            logger.warning("a checkpoint could not be delivered yet: %s [run=%s]", error, run_id)
            outages.undelivered(run_id, str(error), is_outage=is_outage(error))
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause or 1.0)
            await asyncio.sleep(pause)
        else:
            if pause:
                outages.reached()
            return done


def is_outage(error: UnreachableError | RefusedError) -> bool:
    """Whether the server would not take anything else from this application either."""
    return isinstance(error, UnreachableError) or error.status in _KEY_REFUSED


@contextmanager
def refusals(run_id: str = "") -> Iterator[None]:
    """Raise `EventError` for what the server refuses because of what is sent."""
    try:
        yield
    except RefusedError as error:
        if is_outage(error):
            raise
        raise EventError(f"the Inngest server does not take this: {error}", run_id) from error
