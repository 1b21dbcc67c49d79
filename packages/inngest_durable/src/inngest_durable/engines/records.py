"""
What an engine asks its store to write: one record for each kind of change. Frozen data, no behaviour.

A write that belongs to a pass names the run and the epoch of the pass: its guard.
"""

from __future__ import annotations

from msgspec import Struct

from .._core.effects import Along
from .._core.events import SentEvent
from .._core.model import Failure, Finish, Memo, Park, Run


class Found(Struct):
    """
    What the store found when it committed a write, to be read when that has resolved.

    Attributes:
        memo: The memo as it is recorded now.
        resumed: Steps that were completed by what they waited for, as run ID and key.
        count: How many rows were deleted.
        due: Whether the run, or one whose step was completed, is due now.
        cancelled: Runs that were cancelled.
    """

    memo: Memo | None = None
    resumed: list[tuple[str, str]] = []
    count: int = 0
    due: bool = False
    cancelled: list[str] = []

    def clear(self) -> None:
        """Forget what a commit that failed has left."""
        self.memo, self.resumed, self.count, self.due, self.cancelled = None, [], 0, False, []


class Insert(Struct, frozen=True, gc=False):
    """
    A new run, with the owner and epoch it starts with.

    Guarded: there is no other run with the same idempotency scope and key.
    """

    run: Run


class SaveMemo(Struct, frozen=True, gc=False):
    """
    A memo of a run, if the run is still at *epoch*; *progress* sets the run's recoveries back to 0.

    *at* is now, and *started_at* when the attempt began that has ended, in seconds since the epoch.
    """

    run_id: str
    epoch: int
    memo: Memo
    progress: bool = False
    at: float = 0.0
    started_at: float | None = None


class SaveCompleted(SaveMemo, frozen=True, gc=False):
    """
    The memo of a step that completed at its first attempt, and was not recorded before: what nearly every memo is.

    With *started_at* and *at* it tells all that a run event would.
    """


class ParkRun(Struct, frozen=True, gc=False):
    """
    running -> waiting, if the run is still at *epoch*.

    *at* is now; *why* the pass has ended is for people to read; *failure* is what the handler raised, if it did.
    What one of its steps waits for may have come meanwhile: then it is due at once, as *found* says, unless the pass
    has gone on with it already: *seen* are the keys of those steps.
    """

    run_id: str
    epoch: int
    park: Park
    at: float = 0.0
    why: str = ""
    failure: Failure | None = None
    seen: tuple[str, ...] = ()
    found: Found | None = None


class WakeRun(Struct, frozen=True, gc=False):
    """A waiting run becomes due at *wake_at* if that is earlier, if it is still at *epoch*."""

    run_id: str
    epoch: int
    wake_at: float
    quiet_seconds: float


class RecoverRun(Struct, frozen=True, gc=False):
    """running -> waiting and due at *wake_at*, because *owner* died; counts one recovery. Guarded by *epoch*."""

    run_id: str
    epoch: int
    wake_at: float
    owner: str = ""


class ClaimRun(Struct, frozen=True, gc=False):
    """
    A waiting run becomes running under *owner* at ``epoch + 1``, if it is still at *epoch*.

    *at* is now, and *memoized* are the keys of the steps that the pass will replay.
    """

    run_id: str
    epoch: int
    owner: str
    at: float = 0.0
    memoized: tuple[str, ...] = ()


class FinishRun(Struct, frozen=True, gc=False):
    """
    running -> completed, failed or cancelled, if the run is still at *epoch*.

    A run that is *alone* waits for nothing, and no other run waits for it; then nothing is looked up.
    """

    run_id: str
    epoch: int
    finish: Finish
    ended_at: float
    alone: bool = False
    found: Found | None = None


class CancelRun(Struct, frozen=True, gc=False):
    """
    A run that has not ended is cancelled, whatever its epoch, and with it all that it has invoked, directly or not.

    *found* gets the runs that had not ended.
    """

    run_id: str
    ended_at: float
    found: Found | None = None


class AddRunEvent(Struct, frozen=True, gc=False):
    """Something happened in a pass that changes nothing else: a run event, if the run is running at *epoch*."""

    run_id: str
    epoch: int
    at: float
    kind: str
    data: str


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


class SaveMemoWith(Struct, frozen=True):
    """
    A memo of a run, and what goes along with it, if the run is still at *epoch*.

    *found* gets the memo as it is recorded: another one if what the step waits for is there already. A memo that
    says that nothing came gives way to one that is final already.
    """

    run_id: str
    epoch: int
    app_id: str
    memo: Memo
    along: Along
    at: float
    found: Found
    progress: bool = False


class AddEvents(Struct, frozen=True):
    """
    Events are received at *at*: each completes the steps that wait for it, and makes their runs due.

    One whose ID came in the last 24 hours is left out.
    """

    app_id: str
    events: tuple[SentEvent, ...]
    at: float
    found: Found


class AddSignal(Struct, frozen=True):
    """A signal completes the step that waits for it, if there is one, with *result*."""

    app_id: str
    name: str
    result: bytes
    at: float
    found: Found


class PruneEvents(Struct, frozen=True):
    """At most *limit* events that were received before *before* are deleted."""

    before: float
    limit: int
    found: Found


Write = (
    Insert
    | SaveMemo
    | SaveCompleted
    | SaveMemoWith
    | ParkRun
    | WakeRun
    | RecoverRun
    | ClaimRun
    | FinishRun
    | CancelRun
    | AddRunEvent
    | AddWorker
    | DropWorker
    | PruneRuns
    | AddEvents
    | AddSignal
    | PruneEvents
)
