"""
One batch: the groups of writes that are committed together, in one transaction.

Blocking, and the same on the loop and in the writer's thread. A group is what one caller gave to `Store.write`; it
has its own future, because a shared one is cancelled for all by one caller that goes away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
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

from ...errors import StoreError
from ..base import FencedError
from ..records import Write
from .writes import EXECUTE

Group = tuple["asyncio.Future[None]", tuple[Write, ...]]

# Pages that a transaction changes however few rows it writes; the log holds whole pages.
_TRANSACTION = 3 * 4096
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
    A batch whose rows are written, and not yet committed.

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


def commit(connection: Connection, batch: Sequence[Group]) -> Commit:
    """
    Commit *batch*. A group that cannot be written fails alone.

    Raises:
        Exception: Nothing was written: the database is busy, the disk is full, an I/O error. Try again.
    """
    return sync(connection, write_rows(connection, batch))


def write_rows(connection: Connection, batch: Sequence[Group]) -> Rows:
    """
    Write the rows of *batch* in a transaction that is left open. A group that cannot be written fails alone.

    Raises:
        Exception: Nothing was written, and no transaction is open: the database is busy or damaged. Try again.
    """
    refused: dict[int, Exception] = {}
    while True:
        try:
            return _transaction(connection.cursor(), batch, refused)
        except BaseException as error:
            if connection.in_transaction:
                connection.rollback()
            if not isinstance(error, _RefusedError):
                raise
            # SQLite has undone the bad row only; what the group wrote before it goes too. Rare, so it may be slow.
            refused[error.index] = StoreError(f"a write was refused by the database: {error.__cause__}")


def sync(connection: Connection, rows: Rows) -> Commit:
    """
    Commit the transaction that `write_rows` has left open: the part that waits for the disk.

    Raises:
        Exception: Nothing was written, and no transaction is open: the disk is full, an I/O error. Try again.
    """
    started = time.perf_counter()
    try:
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return Commit(rows.failures, time.perf_counter() - started, rows.size)


def _transaction(cursor: Cursor, batch: Sequence[Group], refused: dict[int, Exception]) -> Rows:
    failures = refused.copy()
    size = _TRANSACTION
    cursor.execute("BEGIN IMMEDIATE")
    for index, (_, writes) in enumerate(batch):
        if refused and index in refused:
            continue
        try:
            for write in writes:
                written = EXECUTE[type(write)](cursor, write)
                if not written:
                    failures[index] = _fenced(write)
                    break
                size += written
        except Exception as error:
            if _blames_row(error):
                raise _RefusedError(index) from error
            raise
    return Rows(failures, size)


def _fenced(write: Write) -> FencedError:
    # Only writes that belong to a pass have a guard that can fail.
    run_id, epoch = getattr(write, "run_id", ""), getattr(write, "epoch", 0)
    return FencedError(f"{type(write).__name__} at epoch {epoch}: the run has moved on [run={run_id}]")


def _blames_row(error: Exception) -> bool:
    """Whether *error* is about the row, so that it would come again, or about the database, the disk or memory."""
    if isinstance(error, Error):
        return isinstance(error, _ROW_ERRORS)
    return not isinstance(error, MemoryError)


def resolve(batch: Sequence[Group], failures: dict[int, Exception]) -> None:
    """Tell each caller how its group went. On the loop."""
    for index, (future, _) in enumerate(batch):
        # The caller may have been cancelled meanwhile.
        if future.done():
            continue
        error = failures.get(index) if failures else None
        try:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                # Not every write is awaited, and asyncio would log an error that nobody looked at.
                future.exception()
        except RuntimeError:
            # It belongs to a loop that was closed meanwhile: nobody is there to be told.
            continue
