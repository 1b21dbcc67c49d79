"""Cancels runs, and interrupts the passes in this process of those that were cancelled, whichever worker did it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from ..._core.model import RunStatus
from ...errors import RunNotFoundError
from ..base import Clock, FencedError, Store
from ..passes import PassSet
from ..records import CancelRun, Found, Write


class Canceller(Protocol):
    """
    What a cancellation needs of the engine.

    Attributes:
        passes: The passes that run in this process.
    """

    clock: Clock
    passes: PassSet

    @property
    def store(self) -> Store:
        """Where the runs are."""

    def tell_after(self, write: Write, found: Found) -> asyncio.Future[None]:
        """Write, then take notice of what was found; resolves when the write is durable."""

    def tell_ended(self, run_id: str) -> None:
        """Take notice that a run has ended."""


async def cancel(engine: Canceller, run_id: str) -> bool:
    """
    Cancel a run, and those that it has invoked; False if it has ended.

    A run that sleeps or waits ends at once; of one that executes, the pass ends at its next step. What a step in
    flight does is not recorded any more.

    Raises:
        RunNotFoundError: There is no such run.
    """
    status = engine.store.status(run_id)
    if status is None:
        raise RunNotFoundError(f"there is no run {run_id}, or it was deleted after its end")
    if status.is_final:
        return False
    try:
        found = Found()
        await engine.tell_after(CancelRun(run_id, engine.clock.now(), found), found)
    except FencedError:
        # It ended at the same moment.
        return False
    _interrupt(engine.passes, [run_id])
    engine.tell_ended(run_id)
    # Nothing can invoke another one any more.
    for child_id in engine.store.children(run_id):
        await cancel(engine, child_id)
    return True


def interrupt_cancelled(passes: PassSet, store: Store) -> None:
    """Interrupt the passes whose runs another process has cancelled."""
    ids = {live_pass.claim.run.id for live_pass in passes}
    _interrupt(passes, [run_id for run_id in ids if store.status(run_id) is RunStatus.CANCELLED])


def _interrupt(passes: PassSet, run_ids: Collection[str]) -> None:
    for live_pass in passes:
        if live_pass.claim.run.id in run_ids:
            live_pass.interrupt("the run was cancelled")
