"""What follows the end of a pass: the run is finished, or waits for a later pass. Pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .http import answer
from .model import Failure, Finish, Park, Run, RunStatus
from .retry import GiveUp, RetryPolicy

# Quiet times of a pass whose branches may be in a plain await between two steps (see `_pass`).
QUIET_SECONDS = 0.05
QUIET_AFTER_GROUP_SECONDS = 1.0
QUIET_MAX_SECONDS = 30.0

# Deaths of a worker after which a run that was under way each time is a suspect; `queries.sql` knows the number too.
SUSPECT_DEATHS = 2


@dataclass(frozen=True, slots=True)
class Interrupted:
    """
    How a pass was interrupted.

    Attributes:
        wake_times: When the parked steps are due, in seconds since the epoch.
        refused: Whether a step was asked for after the interrupt, by a branch that was not waiting for a parked one.
        progressed: Whether this pass checkpointed anything.
        group_unwound: Whether a task group was torn down by the interrupt, which cancels branches in plain awaits.
    """

    wake_times: Sequence[float]
    refused: bool
    progressed: bool
    group_unwound: bool


def after_interrupt(run: Run, interrupted: Interrupted, now: float) -> Park:
    """
    Say when an interrupted run goes on, and how quiet its next pass has to be before it is interrupted.

    Without parked steps (the client went away, the process stops) the run goes on at once. A branch that was cut off
    between two steps gets its turn at once too, in a pass that waits longer for it; the wait doubles until the
    branch is seen, so none starves, and stops growing when a pass at the longest wait brought nothing new.
    """
    quiet = run.quiet_seconds
    if not interrupted.wake_times:
        return Park(now, run.attempt, quiet)
    if interrupted.refused and may_wake(quiet, interrupted.progressed):
        return Park(now, run.attempt, longer_quiet(quiet))
    if interrupted.group_unwound and quiet < QUIET_AFTER_GROUP_SECONDS:
        return Park(now, run.attempt, QUIET_AFTER_GROUP_SECONDS)
    return Park(min(interrupted.wake_times), run.attempt, quiet)


def may_wake(quiet_seconds: float, progressed: bool) -> bool:
    """Return whether a branch that was cut off gets a pass at once: not if the longest quiet time brought nothing."""
    return progressed or quiet_seconds < QUIET_MAX_SECONDS


def longer_quiet(quiet_seconds: float) -> float:
    """Return the quiet time of the pass after one that cut off a branch."""
    return min(QUIET_MAX_SECONDS, 2 * max(quiet_seconds, QUIET_SECONDS))


def before_deadline(run: Run, park: Park) -> Park:
    """Let a waiting run wake at its deadline at the latest, so that it fails then."""
    if run.deadline is None or run.deadline >= park.wake_at:
        return park
    return Park(run.deadline, park.attempt, park.quiet_seconds)


def timed_out(run: Run) -> Finish:
    """Return the end of a run whose deadline has passed: failed, answered ``504``."""
    text = "The run did not end before its deadline"
    response = answer(504, {"error": text, "run_id": run.id}, run.id)
    return Finish(RunStatus.FAILED, response, Failure("RunTimeoutError", text))


def killed_its_workers(run_id: str, deaths: int) -> Finish:
    """Return the end of a run whose passes killed worker after worker: failed, answered ``500``."""
    text = f"The run was failed because {deaths} workers died while they ran it; see max_recoveries"
    response = answer(500, {"error": text, "run_id": run_id}, run_id)
    return Finish(RunStatus.FAILED, response, Failure("TooManyRecoveriesError", text))


def after_error(run: Run, error: Exception, policy: RetryPolicy, now: float, jitter: float) -> Park | RunStatus:
    """
    Say what follows an exception that left the handler: a later attempt of the handler, or the run's failure.

    A `StepError` is final, since a replay would raise it again; usage errors are too.
    """
    decision = policy.decide(error, run.attempt, now=now, jitter=jitter)
    if isinstance(decision, GiveUp):
        return RunStatus.FAILED
    return Park(now + decision.after_seconds, run.attempt + 1, run.quiet_seconds)
