"""
One batch: the groups of writes that are committed together, in one transaction.

Blocking, and the same on the loop and in the writer's thread. A group is what one caller gave to `Store.write`; it
has its own future, because one caller that goes away would cancel a shared one for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from sqlite3 import (
    Connection,
    Cursor,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)

from msgspec import Struct

from ..._core.run_events import RunEvent
from ...errors import StoreError
from ..base import FencedError
from ..records import Write
from ..told import TAKES_OVER, TELL
from .forks import forks
from .queries import QUERIES
from .writes import EXECUTE, NUMBERS

Group = tuple["asyncio.Future[None]", tuple[Write, ...]]

# Pages that a transaction changes however few rows it writes; the log holds whole pages.
_TRANSACTION = 3 * 4096
# What a run event adds besides its data.
_EVENT = 128

_INSERT_RUN_EVENT = QUERIES["insert_run_event"]
_LAST_RUN_EVENT = QUERIES["last_run_event"]
_LAST_STEP = QUERIES["last_step"]
_ROW_ERRORS = (DataError, IntegrityError, InterfaceError, NotSupportedError, ProgrammingError)


class Commit(Struct, frozen=True):
    """
    A batch that is on disk.

    Attributes:
        failures: Error of each group that was not written, or not in full, by its place in the batch.
        seconds: How long the COMMIT took, the sync of the disk included; the rows are not.
        size: About how many bytes the batch added to the write-ahead log.
    """

    failures: dict[int, Exception]
    seconds: float
    size: int


class Rows(Struct, frozen=True):
    """
    A batch whose rows are written, and not committed yet.

    Attributes:
        failures: As in `Commit`.
        size: As in `Commit`.
    """

    failures: dict[int, Exception]
    size: int


class _RefusedError(Exception):
    """A group holds a row that SQLite does not take. *index* is its place in the batch."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def commit(connection: Connection, batch: Sequence[Group], tells: bool = True) -> Commit:
    """
    Commit *batch*, with the run events of what is written if *tells*. A group that cannot be written fails alone.

    Raises:
        Exception: Nothing was written: the database is busy, the disk is full, an I/O error. Try again.
    """
    return sync(connection, write_rows(connection, batch, tells))


def write_rows(connection: Connection, batch: Sequence[Group], tells: bool = True) -> Rows:
    """
    Write the rows of *batch* as `commit` does, in a transaction that is left open. Until its end no fork begins.

    Raises:
        Exception: Nothing was written, and no transaction is open: the database is busy, or damaged. Try again.
    """
    refused: dict[int, Exception] = {}
    forks.enter()
    try:
        while True:
            try:
                return _transaction(connection.cursor(), batch, refused, tells)
            except _RefusedError as error:
                if connection.in_transaction:
                    connection.rollback()
                # SQLite has undone the bad row only; what the group wrote before it goes too. Rare, so it may be slow.
                refused[error.index] = StoreError(f"a write was refused by the database: {error.__cause__}")
    except BaseException:
        _leave(connection)
        raise


def sync(connection: Connection, rows: Rows) -> Commit:
    """
    Commit the transaction that `write_rows` has left open: the part that waits for the disk.

    Raises:
        Exception: Nothing was written, and no transaction is open: the disk is full, an I/O error. Try again.
    """
    started = time.perf_counter()
    try:
        connection.execute("COMMIT")
    finally:
        _leave(connection)
    return Commit(rows.failures, time.perf_counter() - started, rows.size)


def _leave(connection: Connection) -> None:
    """Leave no transaction open."""
    try:
        if connection.in_transaction:
            connection.rollback()
    finally:
        forks.leave()


def _transaction(cursor: Cursor, batch: Sequence[Group], refused: dict[int, Exception], tells: bool) -> Rows:
    failures = refused.copy()
    size = _TRANSACTION
    told = TELL if tells else {}
    events = _Events(cursor)
    cursor.execute("BEGIN IMMEDIATE")
    if tells:
        events.begin()
    for index, (_, writes) in enumerate(batch):
        if refused and index in refused:
            continue
        try:
            for write in writes:
                kind = type(write)
                written = EXECUTE[kind](cursor, write)
                if not written:
                    failures[index] = _fenced(write)
                    break
                size += written
                if kind in told:
                    events.add(told[kind](write))
        except Exception as error:
            if _blames_row(error):
                raise _RefusedError(index) from error
            raise
    size += events.store()
    return Rows(failures, size)


class _Events:
    """The run events of one transaction: of each write that was made, and of no other."""

    __slots__ = ("_cursor", "_rows")

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._rows: list[tuple[int, str, float, str, str]] = []

    def begin(self) -> None:
        """Go on after the numbers that other processes have given out."""
        self._pass_by(_LAST_RUN_EVENT)

    def add(self, told: Iterable[RunEvent]) -> None:
        """Take the run events of a write that has been executed."""
        for event in told:
            if event.kind in TAKES_OVER:
                self._pass_by(_LAST_STEP, event.run_id)
            self._rows.append((NUMBERS.take(), event.run_id, event.at, event.kind, event.data))

    def _pass_by(self, query: str, *parameters: str) -> None:
        ((last,),) = self._cursor.execute(query, parameters).fetchall()
        if last is not None:
            NUMBERS.pass_by(last)

    def store(self) -> int:
        """Insert them; return about how many bytes that added to the write-ahead log."""
        if not self._rows:
            return 0
        self._cursor.executemany(_INSERT_RUN_EVENT, self._rows)
        return sum(_EVENT + len(row[4]) for row in self._rows)


def _fenced(write: Write) -> FencedError:
    # Only writes that belong to a pass have a guard that can fail.
    run_id, epoch = getattr(write, "run_id", ""), getattr(write, "epoch", 0)
    return FencedError(f"{type(write).__name__} at epoch {epoch}: the run has moved on [run={run_id}]")


def _blames_row(error: Exception) -> bool:
    """Whether *error* is about the row, so that it would come again, and not about the database, disk or memory."""
    if isinstance(error, Error):
        return isinstance(error, _ROW_ERRORS)
    return not isinstance(error, MemoryError)


def resolve(batch: Sequence[Group], failures: dict[int, Exception]) -> None:
    """Tell each caller how its group went. On the loop."""
    for index, (future, _) in enumerate(batch):
        # The caller may have been cancelled meanwhile.
        if future.done():
            continue
        try:
            if index not in failures:
                future.set_result(None)
                continue
            future.set_exception(failures[index])
            # Not every write is awaited, and asyncio would log an error that nobody looked at.
            future.exception()
        except RuntimeError:
            # It belongs to a loop that was closed meanwhile: nobody is there to be told.
            continue
