"""
Finds the runs of workers that died and makes them due. A worker is dead when its lock is free: the kernel drops it
at death, so nothing is guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ..._core.run_flow import SUSPECT_DEATHS, killed_its_workers
from ..base import Clock, FencedError
from ..records import DropWorker, FinishRun, RecoverRun
from ..store import DueRun, Store
from .worker_lock import WorkerLock

logger = logging.getLogger("inngest_durable")

LOOK_SECONDS = 1.0


class Recovery:
    """
    Looks for dead workers: at the start of this one, and each second.

    Args:
        store: Where runs and workers are recorded.
        clock: The engine's time.
        worker_id: This worker.
        lock: This worker's lock, which also tells whether others live; None where no other process can be
            (then every other worker of the store is a dead predecessor).
        max_recoveries: Deaths of a worker with this run as its only suspect, before the run is failed.
        after_look: Called after each look: runs may have become due here, or in another worker.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        worker_id: str,
        lock: WorkerLock | None,
        max_recoveries: int,
        after_look: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._lock = lock
        self._max_recoveries = max_recoveries
        self._after_look = after_look
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Go on looking, each second; the task ends at `stop`, or with the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self._task

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Make the runs of dead workers due, and forget those workers."""
        for worker_id in self._store.workers():
            if worker_id != self._worker_id and (self._lock is None or self._lock.is_dead(worker_id)):
                await self._recover(worker_id)
        self._after_look()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:
                # Whatever a damaged row brings about: without this task no run would ever be entered again.
                logger.exception("looking for dead workers failed; trying again")

    async def _recover(self, worker_id: str) -> None:
        for orphan in self._store.orphans([worker_id]):
            with contextlib.suppress(FencedError):
                # Fenced: another worker was first.
                await self._store.write(self._after_death(worker_id, orphan))
        await self._store.write(DropWorker(worker_id))
        if self._lock is not None:
            self._lock.forget(worker_id)

    def _after_death(self, worker_id: str, orphan: DueRun) -> RecoverRun | FinishRun:
        now, deaths = self._clock.now(), orphan.recoveries + 1
        # The first two may have been another run's fault.
        if deaths < SUSPECT_DEATHS + self._max_recoveries:
            logger.warning("worker %s died; its run goes on [run=%s]", worker_id, orphan.run_id)
            return RecoverRun(orphan.run_id, orphan.epoch, now, worker_id)
        logger.error(
            "worker %s died; its run is failed after %d such deaths [run=%s]", worker_id, deaths, orphan.run_id
        )
        return FinishRun(orphan.run_id, orphan.epoch, killed_its_workers(orphan.run_id, deaths), now)
