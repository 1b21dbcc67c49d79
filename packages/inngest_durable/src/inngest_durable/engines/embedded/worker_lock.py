"""
Who is alive: each worker holds a kernel lock on a file, which the kernel drops when the process dies, however it dies.

So a death is noticed at once and never guessed from silence. It is `flock`, not `lockf`: the latter is lost when any
descriptor of the file is closed in the process. Must not know about runs; the engine asks it before it takes one over.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ...errors import StoreError


class WorkerLock:
    """
    The lock files of one database, and this worker's place among them.

    Args:
        database: The database file; the locks are in the folder ``<database>.workers`` beside it.
        worker_id: ULID of this worker, never used before.
    """

    def __init__(self, database: str | os.PathLike[str], worker_id: str) -> None:
        self.worker_id = worker_id
        # Beside the file itself, for all who have it open: by a link, or in a process that changes its directory.
        self._folder = Path(f"{os.path.realpath(database)}.workers")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        Take this worker's lock. Do it before the worker is recorded: a worker without a lock counts as dead.

        Raises:
            StoreError: The file cannot be made.
        """
        try:
            self._acquire()
        except OSError as error:
            raise StoreError(
                f"cannot lock a file in {self._folder}, where workers show that they live: {error}"
            ) from error

    def _acquire(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(self.worker_id)
        # The file gets its name only when it is locked. So nobody ever sees it free while its owner lives, and no
        # probe can be in the owner's way.
        unnamed = path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
        except BaseException:
            os.close(descriptor)
            unnamed.unlink(missing_ok=True)
            raise
        self._descriptor = descriptor
        _held.add(self)
        # One that was killed before it was recorded has left its file: nobody else looks for it.
        for file in self._folder.glob("*.lock"):
            self.forget(file.stem)

    def release(self) -> None:
        """Give up the lock and remove its file. The worker has stopped; its ID is not used again."""
        if self._descriptor is None:
            return
        self._path(self.worker_id).unlink(missing_ok=True)
        # A forked child that was not told of it may share the descriptor: closing it would not be enough.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._close()

    def is_dead(self, worker_id: str) -> bool:
        """Whether the process of a recorded worker has ended."""
        try:
            # A descriptor of its own: this may be the worker itself.
            descriptor = os.open(self._path(worker_id), os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            # A shared lock is refused only while its owner holds it: two workers that probe a dead one at the same
            # time both see that it is dead.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    def forget(self, worker_id: str) -> None:
        """Remove the file of a dead worker; that of a living one stays."""
        if self.is_dead(worker_id):
            self._path(worker_id).unlink(missing_ok=True)

    def _path(self, worker_id: str) -> Path:
        return self._folder / f"{worker_id}.lock"

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)


_held: set[WorkerLock] = set()


def _let_go_in_child() -> None:
    """Close the locks of the parent: they would outlive it, and it would look alive."""
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_let_go_in_child)
