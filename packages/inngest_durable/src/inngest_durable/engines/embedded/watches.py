"""Wakes those who follow a run, or wait for its end, whichever worker writes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..._core.model import Run
from ..records import AddEvents, AddSignal, CancelRun, Insert, Write
from ..store import Store
from ..watch import Watch

# How often the database is asked for commits of other processes, while somebody watches.
LOOK_SECONDS = 0.05


class Watches:
    """
    Those who follow runs.

    Args:
        store: Where the runs are; it reports its own commits, and is asked for those of other processes.

    Attributes:
        closed: Whether the engine stops.
    """

    def __init__(self, store: Store) -> None:
        self.closed = False
        self._store = store
        self._of: dict[str, set[Watch]] = {}
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(watches) for watches in self._of.values())

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watch]:
        """Follow a run for the duration of a block."""
        watch = Watch(self)
        self._of.setdefault(run_id, set()).add(watch)
        self._store.on_commit = self._committed
        if self._looking is None:
            # Counted now: a commit of another process that comes after the first look at the run is news.
            seen = self._store.foreign_commits()
            self._looking = asyncio.get_running_loop().create_task(self._look(seen))
        try:
            yield watch
        finally:
            self._of[run_id].discard(watch)
            if not self._of[run_id]:
                del self._of[run_id]
            if not self._of:
                self._store.on_commit = None

    async def ended(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as it has ended, or as it is after the timeout or at `close`; None if unknown."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        # Register first, then read: an end in between is not lost.
        with self.watch(run_id) as watch:
            while True:
                watch.look()
                status = self._store.status(run_id)
                left = deadline - loop.time()
                if status is None or status.is_final or left <= 0 or self.closed:
                    return self._store.run(run_id)
                await watch.news(left)

    def close(self) -> None:
        """Release everybody who waits, and let nobody wait any more."""
        self.closed = True
        self._tell_all()

    def _committed(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if isinstance(write, AddEvents | AddSignal | CancelRun):
                self._tell_all()
            else:
                run_id = write.run.id if isinstance(write, Insert) else getattr(write, "run_id", "")
                for watch in self._of.get(run_id, ()):
                    watch.tell()

    def _tell_all(self) -> None:
        for watches in self._of.values():
            for watch in watches:
                watch.tell()

    async def _look(self, seen: int) -> None:
        try:
            while self._of and not self.closed:
                await asyncio.sleep(LOOK_SECONDS)
                commits = self._store.foreign_commits()
                if commits != seen:
                    seen = commits
                    self._tell_all()
        finally:
            self._looking = None
