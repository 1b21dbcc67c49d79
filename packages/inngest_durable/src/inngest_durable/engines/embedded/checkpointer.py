"""
Moves the write-ahead log into the database file, off the loop and in parallel with the writer.

Called by `store` after each commit. It has a connection of its own, used by one short-lived thread at a time.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

from .forks import forks

logger = logging.getLogger(__name__)

# A log that is written from its start again costs half the sync of one that grows; it also makes a restart after a
# crash read that much.
_LOG_BYTES = 16 * 1024 * 1024
# Writers of other processes, or a long read of another program, may keep the log from being restarted this time.
_TRIES = 4
_NOT_MOVED = "the write-ahead log could not be moved into the database: %s"


class Checkpointer:
    """
    Starts a checkpoint when enough was written.

    Args:
        connection: For this object alone. Its busy timeout bounds how long writers can be held up.
        found: How long the log is already, in bytes: processes that each ended before they had written enough would
            let it grow for ever.

    Attributes:
        clear: Not set while this process should not commit.
    """

    def __init__(self, connection: sqlite3.Connection, found: int = 0) -> None:
        self.clear = threading.Event()
        self.clear.set()
        self._connection = connection
        self._written = found
        self._thread: threading.Thread | None = None

    def wrote(self, size: int) -> None:
        """Note that about *size* bytes were added to the log."""
        self._written += size
        if self._written < _LOG_BYTES or (self._thread is not None and self._thread.is_alive()):
            return
        self._written = 0
        thread = threading.Thread(target=self._checkpoint, name="inngest-checkpoint", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The system gives the process no more threads at the moment.
            logger.warning(_NOT_MOVED, error)
        else:
            self._thread = thread

    def close(self) -> None:
        """Wait for a checkpoint under way, and close the connection. Blocking."""
        if self._thread is not None:
            self._thread.join()
        with forks:
            self._connection.close()

    def _checkpoint(self) -> None:
        try:
            # Does nearly all of the work and stops nobody. But under load it never catches up with the writers, and
            # only a log that is moved as a whole is written from its start again.
            with forks:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._restart()
        except sqlite3.Error as error:
            # Nothing is lost: the log grows until the next one succeeds.
            logger.warning(_NOT_MOVED, error)

    def _restart(self) -> None:
        """Move what came in meanwhile, under the write lock. The file is not truncated."""
        self.clear.clear()
        try:
            for _ in range(_TRIES):
                with forks:
                    ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                if not busy:
                    break
        finally:
            self.clear.set()
