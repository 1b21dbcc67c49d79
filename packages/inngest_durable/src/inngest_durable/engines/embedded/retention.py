"""
Deletes finished runs and events that are old enough, a few at a time, so that no checkpoint waits for it.

Runs are looked through in the order of their IDs, which is that of their creation: no index is kept for this.
"""

from __future__ import annotations

import asyncio
import logging

from ...errors import StoreError
from ..base import Clock
from ..records import Found, PruneEvents, PruneRuns
from ..store import Store
from ..ulids import ulid_time

logger = logging.getLogger("inngest_durable")

# How often to look, how many runs one commit deletes at most, how many are looked through for them, and the same for
# events.
LOOK_SECONDS = 60.0
BATCH = 50
WINDOW = 1000
EVENT_BATCH = 500
# How long the ID of an event counts.
EVENT_SECONDS = 86400.0
# Between two batches the disk belongs to the checkpoints.
PAUSE_SECONDS = 0.05


class Retention:
    """
    Keeps finished runs and events for a time, and no longer.

    Args:
        store: Where the runs are.
        clock: The engine's time.
        keep_seconds: How long a run is kept after its end.
    """

    def __init__(self, store: Store, clock: Clock, keep_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look each minute."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def prune(self) -> int:
        """Delete every finished run that is old enough; return how many."""
        ended_before = self._clock.now() - self._keep_seconds
        if ended_before < 0:
            return 0
        # A run that ended before this moment was also created before it: its ID is smaller than one made then.
        created_before = ulid_time(ended_before)
        deleted, after = 0, ""
        while True:
            window = self._store.ended_runs(after, created_before, WINDOW)
            if not window:
                return deleted
            old = [run_id for run_id, ended_at in window if ended_at is not None and ended_at < ended_before]
            for start in range(0, len(old), BATCH):
                await self._store.write(PruneRuns(tuple(old[start : start + BATCH])))
                await asyncio.sleep(PAUSE_SECONDS)
            deleted += len(old)
            after = window[-1][0]
            # If none is old enough, nothing else gives the loop to others.
            await asyncio.sleep(0)

    async def prune_events(self) -> int:
        """Delete every event that is old enough, and whose ID no longer counts; return how many."""
        before = self._clock.now() - max(self._keep_seconds, EVENT_SECONDS)
        deleted = 0
        while (oldest := self._store.oldest_event()) is not None and oldest < before:
            found = Found()
            await self._store.write(PruneEvents(before, EVENT_BATCH, found))
            deleted += found.count
            await asyncio.sleep(PAUSE_SECONDS)
        return deleted

    async def _watch(self) -> None:
        while True:
            try:
                deleted = await self.prune()
                await self.prune_events()
            except StoreError:
                logger.exception("deleting old runs failed; trying again")
            else:
                if deleted:
                    logger.info("deleted %d runs that ended more than %g s ago", deleted, self._keep_seconds)
            await asyncio.sleep(LOOK_SECONDS)
