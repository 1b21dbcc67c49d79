"""Cancels runs, and interrupts the passes in this process of those that were cancelled, whichever worker did it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from ..._pass import CANCELLED, LOOK_SECONDS
from ...errors import RunNotFoundError, StoreError
from ..base import Clock, FencedError
from ..passes import PassSet
from ..records import CancelRun, Found, Write
from ..store import Store


class Canceller(Protocol):
    """What a cancellation needs of the engine."""

    clock: Clock

    @property
    def store(self) -> Store:
        """Where the runs are."""

    def tell_after(self, write: Write, found: Found) -> asyncio.Future[None]:
        """Write, then take notice of what was found; resolves when the write is durable."""


async def cancel(engine: Canceller, run_id: str) -> bool:
    """
    Cancel a run, and those that it has invoked, all in one commit; False if it has ended.

    A run that sleeps or waits ends at once; if it is executing, its pass ends at the next step. What a step in flight
    does is no longer recorded.

    Raises:
        RunNotFoundError: There is no such run.
    """
    status = engine.store.status(run_id)
    if status is None:
        raise RunNotFoundError(f"there is no run {run_id}, or it was deleted after its end")
    if status.is_final:
        return False
    found = Found()
    try:
        await engine.tell_after(CancelRun(run_id, engine.clock.now(), found), found)
    except FencedError:
        # It ended at the same moment.
        return False
    return True


class Looks:
    """
    Looks which runs other processes have cancelled, and interrupts their passes here.

    Args:
        passes: The passes here.
        store: Where the runs are.
    """

    def __init__(self, passes: PassSet, store: Store) -> None:
        self._passes = passes
        self._store = store
        self._seen_commits = 0
        self._looked_at = 0.0

    def look_if_late(self, now: float) -> None:
        """Look, unless the last look was a moment before *now*, in seconds since the epoch."""
        # The clock may have been set back.
        if not 0.0 <= now - self._looked_at < LOOK_SECONDS:
            self._looked_at = now
            # A step must not fail by that. Whoever has to read the database says what is wrong with it.
            with suppress(StoreError):
                self.look()

    def look(self) -> None:
        """Look now. Raises `StoreError`."""
        commits = self._store.foreign_commits()
        if commits == self._seen_commits:
            return
        interrupt(self._passes, self._store.cancelled({live_pass.claim.run.id for live_pass in self._passes}))
        self._seen_commits = commits


def interrupt(passes: PassSet, cancelled: Collection[str]) -> None:
    """Interrupt the passes of runs that were cancelled, given by their IDs."""
    for live_pass in passes:
        if live_pass.claim.run.id in cancelled:
            live_pass.interrupt(CANCELLED)
