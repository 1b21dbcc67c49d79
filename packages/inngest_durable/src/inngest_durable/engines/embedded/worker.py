"""This process as a worker of the database: it enters the runs that are due, and recovers those of dead workers."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from msgspec import Struct

from ..._core.model import Park
from ..._core.run_flow import timed_out
from ..base import FencedError, Host
from ..records import AddWorker, DropWorker
from ..records import ClaimRun as ClaimWrite
from ..store import DueRun, Store
from .arrivals import Arrivals
from .claim import ClaimOwner, EmbeddedClaim
from .recovery import Recovery
from .retention import Retention
from .scheduler import Scheduler
from .store import SqliteStore
from .watches import Watches
from .worker_lock import WorkerLock

logger = logging.getLogger("inngest_durable")

# A run whose re-entry broke in the engine itself is tried again after this pause.
BROKEN_REENTRY_SECONDS = 5.0


class WorkerOptions(Struct, frozen=True):
    """
    Settings of a worker.

    Attributes:
        app_id: Whose runs to enter.
        max_concurrent_passes: Re-entries at a time.
        max_recoveries: Deaths of a worker with one run as its only suspect, before that run is failed.
        retention_seconds: How long a run is kept after its end; None for ever.
    """

    app_id: str
    max_concurrent_passes: int
    max_recoveries: int
    retention_seconds: float | None


class Worker:
    """
    One process that runs an engine: recorded in the store, and alive as long as its lock is held.

    Args:
        worker_id: ULID of this worker, never used before.
        options: Its settings.
        engine: Gives the time, and takes notice of what the passes write.
        store: Where the runs are.
        host: Runs the passes.
        each_second: Called after each look for dead workers: runs may have become due here, or in another worker.

    Attributes:
        watches: Who follows runs here, or waits for their end.
        arrivals: The steps of passes here that wait for something other than time.
    """

    def __init__(
        self,
        worker_id: str,
        options: WorkerOptions,
        engine: ClaimOwner,
        store: Store,
        host: Host,
        each_second: Callable[[], None],
    ) -> None:
        self.watches = Watches(store)
        self.arrivals = Arrivals(store)
        self._id = worker_id
        self._engine = engine
        self._store = store
        self._host = host
        self._lock = WorkerLock(store.path, worker_id) if isinstance(store, SqliteStore) else None
        clock = engine.clock
        self._scheduler = Scheduler(store, options.app_id, clock, self._reenter, options.max_concurrent_passes)
        self._recovery = Recovery(
            store, clock, worker_id, self._lock, options.max_recoveries, self._scheduler.look, each_second
        )
        keep_seconds = options.retention_seconds
        self._retention = None if keep_seconds is None else Retention(store, clock, keep_seconds)

    async def start(self) -> None:
        """Record this worker, take over the runs of dead ones, start the timers. Raises `StoreError`."""
        if self._lock is not None:
            self._lock.acquire()
        try:
            await self._store.write(AddWorker(self._id, os.getpid(), socket.gethostname(), self._engine.clock.now()))
            await self._recovery.look()
        except Exception:
            # The next one finds it dead.
            self.release()
            raise
        # A loop that is closed without `stop` cancels its tasks: nothing may be entered in what is left of it.
        self._recovery.start().add_done_callback(partial(_stop, self._scheduler))
        if self._retention is not None:
            self._retention.start()
        self._scheduler.look()

    async def stop(self) -> None:
        """Enter no further run, stop the timers, and let go those who wait; re-entries under way go on."""
        self._scheduler.stop()
        await self._recovery.stop()
        if self._retention is not None:
            await self._retention.stop()
        self.watches.close()
        self.arrivals.stop()

    async def ended(self) -> None:
        """Wait for the re-entries under way."""
        await self._scheduler.ended()

    def drop(self) -> None:
        """Remove the record of this worker, which enters no more runs."""
        # Not awaited: on a full disk, closing gives it up, and the next worker finds this one dead.
        self._store.write(DropWorker(self._id))

    def release(self) -> None:
        """Give up the lock: from now on this worker counts as dead. Harmless if repeated."""
        if self._lock is not None:
            self._lock.release()

    def look(self) -> None:
        """Look for due runs in the next turn of the loop."""
        self._scheduler.look()

    def note(self, wake_at: float) -> None:
        """Take notice of a run that is due at *wake_at*, in seconds since the epoch."""
        self._scheduler.note(wake_at)

    async def _claim(self, due: DueRun) -> EmbeddedClaim | None:
        """Take over a run with its journal; None if another worker was first, or the run is gone."""
        store = self._store
        memoized = store.memoized(due.run_id) if self._engine.tells else ()
        try:
            await store.write(ClaimWrite(due.run_id, due.epoch, self._id, self._engine.clock.now(), memoized))
        except FencedError:
            return None
        run = store.run(due.run_id)
        return None if run is None else EmbeddedClaim(self._engine, store, run, store.memos(run.id), accepted=True)

    async def _reenter(self, due: DueRun) -> None:
        clock = self._engine.clock
        try:
            claim = await self._claim(due)
        except Exception:
            logger.exception("a run cannot be read: is the database damaged? [run=%s]", due.run_id)
            # It may still be due, and would be tried again at once. One that was taken is left to the next start.
            await asyncio.sleep(BROKEN_REENTRY_SECONDS)
            return
        if claim is None:
            return
        run = claim.run
        if run.deadline is not None and run.deadline <= clock.now():
            await claim.finish(timed_out(run))
            return
        try:
            await self._host.reenter(claim)
        except BaseException as error:
            if _ends_with(error):
                raise
            logger.exception("the re-entry of a run broke: please report this bug [run=%s]", run.id)
            park = Park(clock.now() + BROKEN_REENTRY_SECONDS, run.attempt, run.quiet_seconds)
            # Refused if the pass has let the run wait, or has ended it, before it broke.
            with suppress(FencedError):
                await claim.park(park, "the re-entry broke")
            if isinstance(error, SystemExit):
                raise


def _stop(scheduler: Scheduler, _ended: asyncio.Task[None]) -> None:
    scheduler.stop()


def _ends_with(error: BaseException) -> bool:
    """Whether the event loop ends with *error*, so that nothing can be written any more: the run is recovered."""
    task = asyncio.current_task()
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or (task is not None and task.cancelling() > 0)
