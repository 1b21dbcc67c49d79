"""Cancels runs, and interrupts the passes in this process of those that were cancelled, whichever worker did it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from ..._core.model import RunStatus
from ..._pass import CANCELLED
from ...errors import RunNotFoundError
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


def interrupt_cancelled(passes: PassSet, store: Store) -> None:
    """Interrupt the passes whose runs another process has cancelled."""
    ids = {live_pass.claim.run.id for live_pass in passes}
    interrupt(passes, {run_id for run_id in ids if store.status(run_id) is RunStatus.CANCELLED})


def interrupt(passes: PassSet, cancelled: Collection[str]) -> None:
    """Interrupt the passes of runs that were cancelled, given by their IDs."""
    for live_pass in passes:
        if live_pass.claim.run.id in cancelled:
            live_pass.interrupt(CANCELLED)
