"""Tells those who wait for the end of a run, whichever worker ends it."""

from __future__ import annotations

import asyncio

from ..._core.model import Run
from ..base import Store

# How often the database is asked for commits of other processes, while somebody waits.
LOOK_SECONDS = 0.05


class Endings:
    """
    The clients that wait for runs to end.

    Args:
        store: Where the runs are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as it has ended, or as it is after the timeout or at `close`; None if unknown."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            # Register first, then read: an end in between is not lost.
            told = loop.create_future()
            self._waiting.setdefault(run_id, set()).add(told)
            try:
                run = self._store.run(run_id)
                left = deadline - loop.time()
                if run is None or run.status.is_final or left <= 0 or self._closed:
                    return run
                if self._watch is None:
                    self._watch = loop.create_task(self._look())
                await asyncio.wait([told], timeout=left)
            finally:
                self._waiting[run_id].discard(told)
                if not self._waiting[run_id]:
                    del self._waiting[run_id]

    def tell(self, run_id: str) -> None:
        """Tell those who wait for this run to look."""
        for future in self._waiting.get(run_id, ()):
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Let everybody who waits go, and nobody wait any more."""
        self._closed = True
        self._tell_all()

    def _tell_all(self) -> None:
        for run_id in list(self._waiting):
            self.tell(run_id)

    async def _look(self) -> None:
        seen = self._store.foreign_commits()
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                commits = self._store.foreign_commits()
                if commits != seen:
                    seen = commits
                    self._tell_all()
        finally:
            self._watch = None
