"""Checks whether a store can write: an idle worker would not know otherwise that its disk is full."""

from __future__ import annotations

import asyncio
import os

from ..records import AddWorker, DropWorker
from ..store import Store
from ..ulids import new_ulid

# A commit costs a sync of the disk, and anybody may ask.
_FRESH_SECONDS = 1.0


class Probe:
    """
    Writes a row and takes it back in the same commit, at most once a second and one at a time.

    Args:
        store: What to try.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: asyncio.Future[None] | None = None
        self._begun_at = 0.0

    async def trouble(self, timeout_seconds: float) -> str | None:
        """Return why nothing could be written within *timeout_seconds*, or None."""
        if self._store.failing is not None:
            return self._store.failing
        now = asyncio.get_running_loop().time()
        written = self._written
        if written is None or (written.done() and now - self._begun_at >= _FRESH_SECONDS):
            worker_id = new_ulid()
            # Nobody else ever sees this worker: it is gone before the commit.
            written = self._store.write(AddWorker(worker_id, os.getpid(), "", 0.0), DropWorker(worker_id))
            self._written, self._begun_at = written, now
        await asyncio.wait([written], timeout=timeout_seconds)
        if not written.done():
            waiting = f"nothing could be written for {timeout_seconds:g} s: another process holds the database"
            return self._store.failing or waiting
        error = written.exception()
        return None if error is None else str(error)
