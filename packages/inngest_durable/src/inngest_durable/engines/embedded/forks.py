"""
Keeps the database whole in a process that forks while it has it open.

SQLite notes in memory which locks its process holds on a file. A forked child has the notes but not the locks: its own
connections would take none, and another process that believes it is the last one would delete the log they write.
So a fork waits until nothing is under way in SQLite here, and the child closes its copies of the connections at once:
with the last of them its notes are gone, and the locks of the parent stay.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from weakref import WeakSet


class Connection(sqlite3.Connection):
    """A connection that a forked child does not keep."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # those of `sqlite3.connect`
        _connections.add(self)


class Forks:
    """
    Lets no fork begin while something is under way in SQLite: a read, an open transaction, a checkpoint.

    What one thread has entered, another may leave. Code that has entered does not enter again before it leaves.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._is_awaited = False

    def enter(self) -> None:
        """Begin with something; waits for a fork that is about to happen."""
        with self._changed:
            while self._is_awaited:
                self._changed.wait()
            self._inside += 1

    def leave(self) -> None:
        """End it."""
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def hold(self) -> None:
        """Before a fork: return when nothing is under way; nothing begins until `let_go`."""
        self._changed.acquire()
        while self._inside:
            self._is_awaited = True
            self._changed.wait()

    def let_go(self) -> None:
        """In the parent: go on."""
        self._is_awaited = False
        self._changed.notify_all()
        self._changed.release()


def _forget_parent() -> None:
    """In the child: close the parent's connections, which no thread uses here."""
    forks.let_go()
    for connection in list(_connections):
        connection.close()


forks = Forks()
_connections: WeakSet[Connection] = WeakSet()

os.register_at_fork(before=forks.hold, after_in_parent=forks.let_go, after_in_child=_forget_parent)
