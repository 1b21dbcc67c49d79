"""Cancels runs, and interrupts the passes in this process of those that were cancelled, whichever worker did it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, Protocol, TypeVar

from ..._core.model import RunStatus
from ...errors import RunNotFoundError
from ..base import Clock, FencedError
from ..passes import PassSet
from ..records import CancelRun, Found, Write
from ..store import Store

T = TypeVar("T")


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

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background until it ends."""


async def cancel(engine: Canceller, run_id: str) -> bool:
    """
    Cancel a run, and those that it has invoked; False if it has ended.

    A run that sleeps or waits ends at once; if it is executing, its pass ends at the next step. What a step in flight
    does is no longer recorded. If the run was cancelled before, but cancelling those that it has invoked was cut short,
    they are cancelled now.

    Raises:
        RunNotFoundError: There is no such run.
    """
    if engine.store.status(run_id) is None:
        raise RunNotFoundError(f"there is no run {run_id}, or it was deleted after its end")
    # Shielded: the caller may go away before the last child is cancelled.
    return await asyncio.shield(engine.spawn(_cancel_all(engine, run_id)))


async def _cancel_all(engine: Canceller, run_id: str) -> bool:
    is_cancelled_now = await _cancel_one(engine, run_id)
    if engine.store.status(run_id) is RunStatus.CANCELLED:
        # Nothing can invoke another one any more.
        for child_id in engine.store.children(run_id):
            await _cancel_all(engine, child_id)
    return is_cancelled_now


async def _cancel_one(engine: Canceller, run_id: str) -> bool:
    status = engine.store.status(run_id)
    if status is None or status.is_final:
        return False
    try:
        found = Found()
        await engine.tell_after(CancelRun(run_id, engine.clock.now(), found), found)
    except FencedError:
        # It ended at the same moment.
        return False
    _interrupt(engine.passes, [run_id])
    return True


def interrupt_cancelled(passes: PassSet, store: Store) -> None:
    """Interrupt the passes whose runs another process has cancelled."""
    ids = {live_pass.claim.run.id for live_pass in passes}
    _interrupt(passes, [run_id for run_id in ids if store.status(run_id) is RunStatus.CANCELLED])


def _interrupt(passes: PassSet, run_ids: Collection[str]) -> None:
    for live_pass in passes:
        if live_pass.claim.run.id in run_ids:
            live_pass.interrupt("the run was cancelled")
