"""
The group-commit writer: collects what is written within a few loop turns and commits it in one transaction.

Rows are written on the loop; the commit, which waits for the disk, is made there too, or in one daemon thread when the
disk is slow. The thread also takes a whole batch while the database stays busy, or fails. At most one batch is under
way at a time, so the order of writes is the order of commits. Owned by `store`, one per opening.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue

from ..._threads import call_apart, note_under_way
from ...errors import StoreError
from ..records import Write
from ..store import CommitListener
from .batch import Commit, Group, Rows, commit, resolve, sync, write_rows
from .checkpointer import Checkpointer
from .database import is_busy
from .forks import forks
from .pace import Pace

logger = logging.getLogger(__name__)

# Further loop turns a flush waits while more groups come in: batches nearly double under load.
_LINGER_TURNS = 4
# A larger batch would hold up the loop for more than some milliseconds.
_MOST_GROUPS = 500
# How long a lazy write waits for another to go with.
_LAZY_SECONDS = 0.01
_WARN_SECONDS = 5.0
# A commit of another process is over in a moment. Until then the loop looks again: in each of its next turns, about two
# milliseconds long if it has nothing else to do, then this often, this many times. The thread, which takes over then,
# would wait for the interpreter lock at each row.
_BUSY_TURNS = 100
_BUSY_SECONDS, _BUSY_LOOKS = 0.001, 20
# SQLite's own busy handler sleeps in fixed steps, which starves one of two busy processes.
_BUSY_PAUSE = (0.0002, 0.004)
_FAILING_PAUSE, _LONGEST_FAILING_PAUSE = 0.05, 2.0


class Writer:
    """
    Queues groups of writes and commits them.

    Args:
        connection: For this object alone.
        checkpointer: Is told how much was written, and makes room for itself now and then.
        tells: Whether run events are written.

    Attributes:
        on_commit: Called on the loop with each group that was committed, written in full or not.
        failing: Why commits fail at the moment (disk full, I/O error), or None. Being busy is not failing.
    """

    def __init__(self, connection: sqlite3.Connection, checkpointer: Checkpointer, tells: bool = True) -> None:
        self.on_commit: CommitListener | None = None
        self._tells = tells
        self.failing: str | None = None
        self._connection = connection
        self._checkpointer = checkpointer
        self._pace = Pace()
        self._queue: list[Group] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        # Whether a flush is scheduled or a batch is with the thread: what is queued now will be seen to.
        self._scheduled = self._with_thread = False
        self._queued_before = self._turns_left = self._busy_looks = 0
        self._lazy: asyncio.TimerHandle | None = None
        self._closed = False
        self._data_version = 0
        self._stopping = threading.Event()
        self._landed: Future[None] | None = None
        self._handed: SimpleQueue[tuple[list[Group], Rows | None] | None] = SimpleQueue()
        self._returned: deque[tuple[list[Group], Commit | None]] = deque()
        # Started now: when it is needed, the system may have no thread to give, and nothing could be written any more.
        self._thread = threading.Thread(target=self._work, name="inngest-writer", daemon=True)
        self._thread.start()

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        """Queue a group; the future resolves when it is on disk. A *lazy* one waits some time for others."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._attach(loop)
        future: asyncio.Future[None] = loop.create_future()
        group = (future, writes)
        if self._closed:
            resolve([group], {0: StoreError("the store is closed")})
            return future
        self._queue.append(group)
        if not self._scheduled:
            if not lazy:
                self._schedule(loop)
            elif self._lazy is None:
                self._lazy = loop.call_later(_LAZY_SECONDS, self._end_of_laziness, loop)
        return future

    def foreign_commits(self) -> int:
        """Return a number that changes when another connection has committed. On the loop."""
        if not self._with_thread:
            # Not counted: the commits of this connection, so a process does not wake itself.
            try:
                with forks:
                    (self._data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:
                # Busy with the log of a process that died, or damaged: that is news too, for whoever reads then.
                self._data_version = -1
        return self._data_version

    async def close(self, timeout_seconds: float) -> None:
        """Commit what is queued, giving up after *timeout_seconds* if the database cannot be written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                # An empty group resolves when everything before it has; again, for what was queued meanwhile.
                while self._queue or self._scheduled:
                    await self.write()
        self._closed = True
        self._stopping.set()
        self._handed.put(None)
        await call_apart("inngest close", self._thread.join)
        self._land()
        self._give_up(self._queue)
        with forks:
            self._connection.close()

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on with *loop*. An earlier loop may have ended with a flush scheduled or a batch in the thread."""
        self._loop = loop
        self._lazy = None
        if self._returned:
            loop.call_soon(self._land)
        elif not self._with_thread:
            self._scheduled = False
            if self._queue:
                self._schedule(loop)

    def _end_of_laziness(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lazy = None
        if self._queue and not self._scheduled:
            self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._queued_before = len(self._queue)
        self._turns_left = _LINGER_TURNS
        loop.call_soon(self._flush, loop)
        # Not before: if the caller has come too deep for that call, the next write schedules the flush.
        self._scheduled = True

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        queued = len(self._queue)
        if queued > self._queued_before and self._turns_left:
            self._queued_before = queued
            self._turns_left -= 1
            loop.call_soon(self._flush, loop)
            return
        if self._closed:
            return
        batch, self._queue = self._queue[:_MOST_GROUPS], self._queue[_MOST_GROUPS:]
        if not self._checkpointer.clear.is_set():
            self._hand_over(loop, batch)
            return
        try:
            # Always here, on a slow disk too: in the thread, each row would wait for the interpreter lock.
            rows = write_rows(self._connection, batch, self._tells)
            if self._pace.threaded:
                self._hand_over(loop, batch, rows)
                return
            done = sync(self._connection, rows)
        except Exception as error:
            # Whatever it is, the batch is kept.
            if is_busy(error) and self._busy_looks < _BUSY_TURNS + _BUSY_LOOKS:
                self._busy_looks += 1
                self._queue = batch + self._queue
                if self._busy_looks <= _BUSY_TURNS:
                    loop.call_soon(self._flush, loop)
                else:
                    loop.call_later(_BUSY_SECONDS, self._flush, loop)
                return
            # The thread tries until it is written.
            logger.debug("a commit on the loop failed: %s", error)
            self._hand_over(loop, batch)
            return
        self._pace.committed_on_loop(done.seconds)
        self._settle(batch, done)

    def _settle(self, batch: list[Group], done: Commit) -> None:
        self._with_thread = self._scheduled = False
        self._busy_looks = 0
        resolve(batch, done.failures)
        if self.on_commit is not None:
            for _, writes in batch:
                self.on_commit(writes)
        self._checkpointer.wrote(done.size)
        if self._queue and self._loop is not None:
            self._schedule(self._loop)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, batch: list[Group], rows: Rows | None = None) -> None:
        self._with_thread = True
        # A clock that moves on command waits for it.
        self._landed = Future()
        note_under_way(loop, self._landed)
        self._handed.put((batch, rows))

    def _land(self) -> None:
        """Take back a batch from the thread. On the loop."""
        if not self._returned:
            return
        batch, done = self._returned.popleft()
        if self._landed is not None:
            self._landed.set_result(None)
            self._landed = None
        if done is None:
            self._give_up(batch)
            return
        self._pace.committed_in_thread(done.seconds)
        self._settle(batch, done)
        # On a busy worker, the thread has the connection again before anybody asks.
        self.foreign_commits()

    def _give_up(self, batch: list[Group]) -> None:
        lost = sum(len(writes) for _, writes in batch)
        if lost:
            logger.error("%d writes are lost: the database could not be written before the store closed", lost)
        error = StoreError(f"the store was closed before this could be written ({self.failing or 'database busy'})")
        resolve(batch, dict.fromkeys(range(len(batch)), error))

    def _work(self) -> None:
        """Life of the thread: commit one batch after another, each until it is on disk."""
        while (handed := self._handed.get()) is not None:
            batch, rows = handed
            self._returned.append((batch, self._persist(batch, rows)))
            loop = self._loop
            if loop is not None:
                # A loop that was closed meanwhile: the next one, or `close`, takes the batch back.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._land)

    def _persist(self, batch: list[Group], rows: Rows | None) -> Commit | None:
        """
        Commit *batch*, however long it takes; None if the store is closed before that.

        Its *rows* may have been written on the loop; if their transaction fails, they are written here again.
        """
        trouble = Trouble()
        while True:
            try:
                if rows is not None:
                    done = sync(self._connection, rows)
                else:
                    self._checkpointer.clear.wait()
                    done = commit(self._connection, batch, self._tells)
            except Exception as error:
                rows = None
                pause = trouble.pause(error)
                self.failing = trouble.reason
                if self._stopping.wait(pause):
                    return None
            else:
                if self.failing is not None:
                    logger.warning("the database can be written again")
                    self.failing = None
                return done


class Trouble:
    """
    One batch that cannot be committed at once: how long to wait, and when to say so.

    Attributes:
        reason: The error, or None while the database is only busy.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = self._warned = time.monotonic()
        self._backoff = _FAILING_PAUSE

    def pause(self, error: Exception) -> float:
        """Return the seconds to wait after *error*; warn of a new reason at once, and every 5 s."""
        before = self.reason
        busy = is_busy(error)
        self.reason = None if busy else f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if now - self._warned >= _WARN_SECONDS or (self.reason is not None and before is None):
            self._warned = now
            what = "another process holds the database" if busy else f"the database cannot be written ({self.reason})"
            logger.warning("checkpoints have been waiting for %.1f s: %s", now - self._since, what)
        if busy:
            return random.uniform(*_BUSY_PAUSE)
        self._backoff = min(self._backoff * 2, _LONGEST_FAILING_PAUSE)
        return self._backoff * random.uniform(0.5, 1.0)
