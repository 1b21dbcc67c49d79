"""
Where the engine comes by when it writes: the process may kill itself there.

Wrapped round what executes a write and round the commit, in the server processes of the matrix; the package itself
knows nothing of it. ``<what> rows`` is in the open transaction, after that write; ``<what> told`` is after the COMMIT
has returned, before anybody is told. `Effects` counts the passages, and kills at those that are armed. ``<what>
refused`` is a recovery or a claim that changed nothing, since another worker was first.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection, Cursor
from typing import Any

from inngest_durable.engines.embedded import batch, writer
from inngest_durable.engines.embedded.batch import Commit, Rows
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.embedded.writes import EXECUTE
from inngest_durable.engines.records import (
    AddEvents,
    ClaimRun,
    FinishRun,
    Insert,
    ParkRun,
    PruneRuns,
    RecoverRun,
    SaveMemo,
)
from inngest_durable.engines.store import DueRun

from crash_matrix.patterns import Pattern
from testkit.effects import Effects
from testkit.waiting import wait_until

TORN = "checkpoint torn"
# The run of the dead was found by a worker.
FOUND = "recovery finds"
# What the worker that acts on it too late is refused, by where both have found it.
REFUSALS = {"orphans": "recovery refused", "due": "claim refused"}
# A frame of the log is a header and a page; a checkpoint may be no more than one.
_TORN_BYTES = 24 + 2048
_PATIENCE_SECONDS = 60


class Traps:
    """
    Notices what is written of the run under test.

    Args:
        effects: Counts, and kills.
        pattern: The run's endpoint.
        database: The file that is written.
    """

    def __init__(self, effects: Effects, pattern: Pattern, database: Path) -> None:
        self._effects = effects
        self._pattern = pattern
        self._log = Path(f"{database}-wal")
        # What the open transaction holds of the run.
        self._written: list[str] = []

    def set(self) -> None:
        """Wrap the writes of this process. In its main thread."""
        for kind, execute in EXECUTE.items():
            EXECUTE[kind] = self._noticed(execute)
        committed = self._committed(batch.sync)
        for module in (batch, writer):
            vars(module)["sync"] = committed
        # A write beyond the limit of a file's size ends the process; Python would turn it into an error.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    def _noticed(self, execute: Callable[[Cursor, Any], int]) -> Callable[[Cursor, Any], int]:
        def executed(cursor: Cursor, write: Any) -> int:
            written = execute(cursor, write)
            if written and (what := self._what(cursor.connection, write)):
                self._written.append(what)
                self._effects.pass_by(f"{what} rows")
            elif not written and isinstance(write, RecoverRun | ClaimRun):
                self._effects.outside.record(f"{self._what(cursor.connection, write)} refused")
            return written

        return executed

    def _committed(self, sync: Callable[[Connection, Rows], Commit]) -> Callable[[Connection, Rows], Commit]:
        def committed(connection: Connection, rows: Rows) -> Commit:
            if "checkpoint" in self._written and self._effects.is_armed(TORN, self._effects.outside.record(TORN)):
                self._limit_log()
            done = sync(connection, rows)
            written, self._written = self._written, []
            for what in written:
                self._effects.pass_by(f"{what} told")
            return done

        return committed

    def _limit_log(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        size = self._log.stat().st_size + _TORN_BYTES
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def _what(self, connection: Connection, write: Any) -> str:
        """Return what *write* is of the run under test; empty for nothing."""
        match write:
            case PruneRuns():
                return "delete"
            case AddEvents(found=found):
                return "arrival" if found.resumed else ""
            case Insert(run):
                return "accept" if run.endpoint == self._pattern.name else ""
            case SaveMemo(memo=memo):
                return "checkpoint" if memo.is_final and memo.key == self._pattern.hit else ""
            case ParkRun() | FinishRun() | RecoverRun() | ClaimRun():
                return self._of_run(write, *_endpoint_and_recoveries(connection, write.run_id))
        return ""

    def _of_run(self, write: ParkRun | FinishRun | RecoverRun | ClaimRun, endpoint: str, recoveries: int) -> str:
        is_hit, is_asked = endpoint == self._pattern.place_of_hit, endpoint == self._pattern.name
        match write:
            case ParkRun() if is_asked:
                return "park"
            case FinishRun() if is_asked:
                return "end"
            case FinishRun(found=found) if found is not None and found.resumed:
                return "arrival"
            case RecoverRun() if is_hit:
                return "recovery"
            case ClaimRun() if is_hit and recoveries:
                return "claim"
        return ""


class LateStore(SqliteStore):
    """
    A store whose worker, if it is the second one that finds the run of the dead, acts on that after the first.

    Args:
        path: The database.
        effects: Counts who finds it.
        pattern: The run's endpoint.
        where: Where it is found: ``"orphans"``, among the runs of the dead, or ``"due"``, among those that are due.
    """

    def __init__(self, path: Path, effects: Effects, pattern: Pattern, where: str) -> None:
        super().__init__(path)
        self._outside = effects.outside
        self._pattern = pattern
        self._where = where

    def orphans(self, owners: Sequence[str]) -> list[DueRun]:
        """Return the runs of the dead."""
        return self._found("orphans", super().orphans(owners))

    def due(self, app_id: str, before: float, limit: int) -> list[DueRun]:
        """Return the runs that are due."""
        return self._found("due", super().due(app_id, before, limit))

    def _found(self, where: str, found: list[DueRun]) -> list[DueRun]:
        """Return what was found, once both have found it and the first has claimed it."""
        if where == self._where and any(map(self._is_hit, found)):
            number = self._outside.record(FOUND)
            wait_until(lambda: len(self._outside.calls(FOUND)) > 1, "the other worker to find it", _PATIENCE_SECONDS)
            if number == 2:
                wait_until(lambda: self._outside.calls("claim told"), "the first to claim it", _PATIENCE_SECONDS)
        return found

    def _is_hit(self, due: DueRun) -> bool:
        run = self.run(due.run_id)
        return run is not None and run.endpoint == self._pattern.place_of_hit


def _endpoint_and_recoveries(connection: Connection, run_id: str) -> tuple[str, int]:
    ((endpoint, recoveries),) = connection.execute("SELECT endpoint, recoveries FROM runs WHERE id = ?", (run_id,))
    return endpoint, recoveries
