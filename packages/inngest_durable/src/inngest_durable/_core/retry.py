"""The retry policy: one decision per failed attempt. Pure: time and jitter are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import NonRetriableError, RetryAfterError, StepError, StepUsageError
from .duration import Duration, seconds, timestamp


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after this pause."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again."""

    reason: str


Decision = Retry | GiveUp


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How often, and how soon, a failed step or handler is tried again.

    The pause before retry n is ``initial * factor ** (n - 1)``, at most ``maximum``, times a random share in [0, 1)
    when *jitter* is on ("full jitter", so that a crowd of failed runs does not come back at the same moment).

    Args:
        max_retries: Attempts after the first one; 0 means one attempt.
        initial: Pause before the first retry, e.g. ``"1s"``.
        factor: Growth of the pause from one retry to the next.
        maximum: Longest pause, e.g. ``"60s"``.
        jitter: Whether each pause is multiplied by a random share.

    Raises:
        ValueError: A number is negative or a duration cannot be read.
    """

    max_retries: int = 3
    initial: Duration = "1s"
    factor: float = 2.0
    maximum: Duration = "60s"
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(f"max_retries cannot be negative: {self.max_retries}")
        if self.factor < 0:
            raise ValueError(f"factor cannot be negative: {self.factor}")
        seconds(self.initial)
        seconds(self.maximum)

    def decide(self, error: BaseException, attempt: int, *, now: float, jitter: float) -> Decision:
        """
        Say what follows attempt number *attempt* (1-based), which raised *error*.

        Args:
            now: Current time, in seconds since the epoch.
            jitter: Random share in [0, 1).
        """
        if _is_final(error):
            return GiveUp("the error is not retriable")
        if attempt > self.max_retries:
            return GiveUp("attempts used up")
        if isinstance(error, RetryAfterError):
            try:
                return Retry(_pause(error.retry_after, now))
            except ValueError as unreadable:
                # So that the traceback of the only attempt shows it.
                error.add_note(f"It is not tried again: {unreadable}")
                return GiveUp(f"RetryAfterError: {unreadable}")
        return Retry(self._backoff(attempt) * (jitter if self.jitter else 1.0))

    def _backoff(self, attempt: int) -> float:
        cap = seconds(self.maximum)
        try:
            return min(cap, seconds(self.initial) * self.factor ** (attempt - 1))
        except OverflowError:
            return cap


def retry_policy(retries: RetryPolicy | int | None, otherwise: RetryPolicy) -> RetryPolicy:
    """
    Return the policy that *retries* means: a policy, *otherwise* with this number of ``max_retries``, or that for None.

    Raises:
        ValueError: It is none of these, or negative.
    """
    if retries is None:
        return otherwise
    if isinstance(retries, int):
        return replace(otherwise, max_retries=retries)
    if not isinstance(retries, RetryPolicy):
        raise ValueError(f"retries is a RetryPolicy or a whole number, not {retries!r}")
    return retries


def _is_final(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        # A task group raises it: one error that comes again at every replay is enough.
        return any(map(_is_final, error.exceptions))
    return isinstance(error, NonRetriableError | StepUsageError | StepError)


def _pause(retry_after: Duration | datetime, now: float) -> float:
    if isinstance(retry_after, datetime):
        return max(0.0, timestamp(retry_after) - now)
    return seconds(retry_after)
