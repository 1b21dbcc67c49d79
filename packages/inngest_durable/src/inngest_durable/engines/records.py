"""
What an engine asks its store to write: one record for each kind of change. Frozen data, no behaviour.

A write that belongs to a pass names the run and the epoch of the pass: its guard.
"""

from __future__ import annotations

from msgspec import Struct

from .._core.model import Finish, Memo, Park, Run


class Insert(Struct, frozen=True, gc=False):
    """
    A new run, with the owner and epoch it starts with.

    Guarded: there is no other run with the same idempotency scope and key.
    """

    run: Run


class SaveMemo(Struct, frozen=True, gc=False):
    """A memo of a run, if the run is still at *epoch*; *progress* sets the run's recoveries back to 0."""

    run_id: str
    epoch: int
    memo: Memo
    progress: bool = False


class ParkRun(Struct, frozen=True, gc=False):
    """running -> waiting, if the run is still at *epoch*."""

    run_id: str
    epoch: int
    park: Park


class WakeRun(Struct, frozen=True, gc=False):
    """A waiting run becomes due at *wake_at* if that is earlier, if it is still at *epoch*."""

    run_id: str
    epoch: int
    wake_at: float
    quiet_seconds: float


class RecoverRun(Struct, frozen=True, gc=False):
    """running -> waiting and due at *wake_at*, because its owner died; counts one recovery. Guarded by *epoch*."""

    run_id: str
    epoch: int
    wake_at: float


class ClaimRun(Struct, frozen=True, gc=False):
    """A waiting run becomes running under *owner* at ``epoch + 1``, if it is still at *epoch*."""

    run_id: str
    epoch: int
    owner: str


class FinishRun(Struct, frozen=True, gc=False):
    """running -> completed, failed or cancelled, if the run is still at *epoch*."""

    run_id: str
    epoch: int
    finish: Finish
    ended_at: float


class AddWorker(Struct, frozen=True, gc=False):
    """A worker starts."""

    worker_id: str
    pid: int
    host: str
    started_at: float


class DropWorker(Struct, frozen=True, gc=False):
    """A worker has stopped, or is dead and has no unfinished run left."""

    worker_id: str


class PruneRuns(Struct, frozen=True, gc=False):
    """Finished runs are deleted, with their steps. A run that has not ended stays."""

    run_ids: tuple[str, ...]


Write = Insert | SaveMemo | ParkRun | WakeRun | RecoverRun | ClaimRun | FinishRun | AddWorker | DropWorker | PruneRuns
