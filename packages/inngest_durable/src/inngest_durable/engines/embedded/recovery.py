"""
Finds the runs of workers that died and makes them due. A worker is dead when its lock is free: the kernel drops it
at death, so nothing is guessed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from ..._core.run_flow import SUSPECT_DEATHS, killed_its_workers
from ..base import Clock
from ..records import DropWorker, FinishRun, RecoverRun
from ..store import DueRun, Store
from .worker_lock import WorkerLock

logger = logging.getLogger("inngest_durable")

LOOK_SECONDS = 1.0

_SUSPECT = " when no other suspect executes: it was under way at %d deaths, and may be what kills the workers"


class Recovery:
    """
    Looks for dead workers: at the start of this one, and each second.

    Args:
        store: Where runs and workers are recorded.
        clock: The engine's time.
        worker_id: This worker.
        lock: This worker's lock, which also shows whether others live; None if there can be no other process
            (then every other worker of the store is a dead predecessor).
        max_recoveries: Deaths of a worker with this run as its only suspect, before the run is failed.
        made_due: Called when runs of a dead worker are due.
        after_look: Called after each look: runs may have become due here, or in another worker.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        worker_id: str,
        lock: WorkerLock | None,
        max_recoveries: int,
        made_due: Callable[[], None],
        after_look: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._lock = lock
        self._max_recoveries = max_recoveries
        self._made_due = made_due
        self._after_look = after_look
        self._task: asyncio.Task[None] | None = None
        # The dead workers whose runs are being written, and what resolves when all of that is durable.
        self._recovering: dict[str, asyncio.Future[None]] = {}

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
        """Make the runs of dead workers due, and forget those workers; returns when that is durable."""
        self._look()
        if self._recovering:
            await asyncio.wait(self._recovering.values())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._look()
            except Exception:
                # Whatever a damaged row causes: without this task, no run would ever be entered again.
                logger.exception("looking for dead workers failed; trying again")

    def _look(self) -> None:
        for worker_id in self._store.workers():
            if worker_id not in self._recovering and self._is_dead(worker_id):
                self._recover(worker_id)
        self._after_look()

    def _is_dead(self, worker_id: str) -> bool:
        return worker_id != self._worker_id and (self._lock is None or self._lock.is_dead(worker_id))

    def _recover(self, worker_id: str) -> None:
        for orphan in self._store.orphans([worker_id]):
            # Not awaited: if it is fenced, another worker was first, and while nothing can be written the looks go on.
            self._store.write(self._after_death(worker_id, orphan))
        # Durable after all of them.
        self._recovering[worker_id] = recovered = self._store.write(DropWorker(worker_id))
        recovered.add_done_callback(partial(self._recovered, worker_id))

    def _recovered(self, worker_id: str, _: asyncio.Future[None]) -> None:
        del self._recovering[worker_id]
        if self._lock is not None:
            self._lock.forget(worker_id)
        self._made_due()

    def _after_death(self, worker_id: str, orphan: DueRun) -> RecoverRun | FinishRun:
        now, deaths = self._clock.now(), orphan.recoveries + 1
        # The first two may have been another run's fault.
        if deaths < SUSPECT_DEATHS + self._max_recoveries:
            turn = "" if deaths < SUSPECT_DEATHS else _SUSPECT % deaths
            logger.warning("worker %s died; its run goes on%s [run=%s]", worker_id, turn, orphan.run_id)
            return RecoverRun(orphan.run_id, orphan.epoch, now, worker_id)
        logger.error(
            "worker %s died; its run is failed after %d such deaths [run=%s]", worker_id, deaths, orphan.run_id
        )
        return FinishRun(orphan.run_id, orphan.epoch, killed_its_workers(orphan.run_id, deaths), now)
