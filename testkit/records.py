"""What the database says of runs and steps, read from outside the engine."""

from __future__ import annotations

import base64
import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from inngest_durable._core.model import RecordedResponse

from testkit.waiting import PATIENCE_SECONDS, wait_until


def database_of(folder: Path) -> Path:
    """Return the database that an application in *folder* uses."""
    return folder / "durable.db"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What tests ask of a run's row."""

    id: str
    endpoint: str
    status: str
    attempt: int
    epoch: int
    failure: str | None

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.status in ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What tests ask of a memo's row."""

    key: str
    state: str
    attempt: int
    result: str | None


class Records:
    """
    A reader of one database.

    Args:
        path: The database file, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self) -> list[RunRecord]:
        """Return all runs, the oldest first."""
        rows = self._read("SELECT id, endpoint, status, attempt, epoch, failure FROM runs ORDER BY id")
        return [RunRecord(*row) for row in rows]

    def run(self, run_id: str) -> RunRecord | None:
        """Return one run, or None."""
        return next((run for run in self.runs() if run.id == run_id), None)

    def steps(self, run_id: str) -> dict[str, StepRecord]:
        """Return the memos of a run by key."""
        rows = self._read(
            "SELECT key, state, attempt, CAST(result AS TEXT) FROM steps WHERE run_id = ? ORDER BY epoch, seq", run_id
        )
        return {record.key: record for record in (StepRecord(*row) for row in rows)}

    def wait_for_end(self, run_id: str, timeout_seconds: float = PATIENCE_SECONDS) -> RunRecord:
        """Return the run once it has ended."""
        wait_until(lambda: (run := self.run(run_id)) and run.is_final, f"run {run_id} to end", timeout_seconds)
        run = self.run(run_id)
        assert run is not None
        return run

    def wait_for_only_run(self, status: str = "", timeout_seconds: float = PATIENCE_SECONDS) -> RunRecord:
        """Return the one run there is once it has *status*, or has ended."""

        def found() -> bool:
            runs = self.runs()
            return len(runs) == 1 and (runs[0].status == status if status else runs[0].is_final)

        wait_until(found, f"one run in status {status or 'final'}", timeout_seconds)
        (run,) = self.runs()
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the database's write lock, as another process that writes would."""
        with closing(sqlite3.connect(self.path, timeout=5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield

    def only_wake_time(self) -> float:
        """Return when the one run that waits is due, in seconds since the epoch."""
        ((wake_at,),) = self._read("SELECT wake_at FROM runs WHERE status = 'waiting'")
        return float(wake_at)

    def end_time(self, run_id: str) -> float:
        """Return when a run ended, in seconds since the epoch."""
        ((ended_at,),) = self._read("SELECT ended_at FROM runs WHERE id = ?", run_id)
        return float(ended_at)

    def response_of(self, run_id: str) -> bytes:
        """Return the body of the recorded response of a run."""
        ((response,),) = self._read("SELECT response FROM runs WHERE id = ?", run_id)
        return msgspec.msgpack.decode(response, type=RecordedResponse).body

    def wait_paths(self, *run_ids: str) -> list[str]:
        """Return where the clients of runs wait, as redirects name it: the token is made from the file's secret."""
        # Read only: who writes and is the last to close would put a file in order that the dead have left.
        ((secret,),) = self._read("SELECT value FROM meta WHERE name = 'secret'")
        digests = [hmac.digest(secret, run_id.encode(), "sha256") for run_id in run_ids]
        tokens = [base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for digest in digests]
        return [f"/_inngest/runs/{run_id}/output?token={token}" for run_id, token in zip(run_ids, tokens, strict=True)]

    def workers(self) -> list[str]:
        """Return the IDs of the workers that are recorded."""
        return [worker_id for (worker_id,) in self._read("SELECT id FROM workers")]

    def _read(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as db:
            try:
                return db.execute(query, parameters).fetchall()
            except sqlite3.OperationalError as error:
                # The file is there a moment before its tables are.
                if "no such table" in str(error):
                    return []
                raise
