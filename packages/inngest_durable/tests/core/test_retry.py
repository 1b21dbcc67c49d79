"""The retry policy: what follows a failed attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from inngest_durable import (
    NestedStepError,
    NonRetriableError,
    ReplayMismatchError,
    RetryAfterError,
    RetryPolicy,
    StepError,
    StepUsageError,
    StepValueError,
)
from inngest_durable._core.retry import Decision, GiveUp, Retry, retry_policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(policy: RetryPolicy, attempt: int, error: Exception | None = None, jitter: float = 0.5) -> Decision:
    """Decide what follows *attempt*, at noon of nothing in particular."""
    return policy.decide(error or OSError("down"), attempt, now=NOW.timestamp(), jitter=jitter)


def pauses(policy: RetryPolicy, jitter: float = 0.5) -> list[float]:
    """Return the pause after each attempt, until the policy gives up."""
    found: list[float] = []
    while isinstance(decision := decide(policy, len(found) + 1, jitter=jitter), Retry):
        found.append(decision.after_seconds)
    return found


def test_policy_makes_four_attempts_by_default() -> None:
    """Three retries after the first attempt."""
    assert len(pauses(RetryPolicy())) == 3


def test_policy_without_retries_makes_one_attempt() -> None:
    """No retry is a policy, too."""
    assert decide(RetryPolicy(max_retries=0), 1) == GiveUp("attempts used up")


def test_pauses_grow_up_to_the_maximum() -> None:
    """Each pause is the one before times the factor, until the longest is reached."""
    assert pauses(RetryPolicy(8, "1s", 2.0, "60s", jitter=False)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_pauses_follow_the_policys_own_numbers() -> None:
    """First pause, factor and maximum are the user's; durations are texts or timedeltas."""
    policy = RetryPolicy(4, timedelta(milliseconds=100), 3.0, "1s", jitter=False)

    assert pauses(policy) == pytest.approx([0.1, 0.3, 0.9, 1.0])


def test_pause_of_a_late_attempt_does_not_overflow() -> None:
    """A factor to the power of thousands is no number, and the pause is the longest."""
    assert decide(RetryPolicy(100_000, jitter=False), 99_999) == Retry(60.0)


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, [0, 0, 0]), (0.25, [0.25, 0.5, 1]), (0.5, [0.5, 1, 2])])
def test_jitter_takes_a_share_of_the_whole_pause(jitter: float, expected: list[float]) -> None:
    """Full jitter: anything from nothing to the whole pause."""
    assert pauses(RetryPolicy(), jitter) == expected


@pytest.mark.parametrize(
    "error",
    [
        NonRetriableError("declined"),
        StepError("run", "pay", 4, "OSError", "down"),
        StepUsageError("no"),
        StepValueError("no"),
        NestedStepError("no"),
        ReplayMismatchError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_that_would_come_again_is_final(error: Exception) -> None:
    """Declines, steps that failed for good, and misuse are not tried again."""
    assert decide(RetryPolicy(), 1, error) == GiveUp("the error is not retriable")


@pytest.mark.parametrize("message", ["one", "two"])
def test_subclass_of_non_retriable_error_is_final(message: str) -> None:
    """Users derive their own errors."""

    class CardDeclinedError(NonRetriableError):
        pass

    assert isinstance(decide(RetryPolicy(), 1, CardDeclinedError(message)), GiveUp)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30s", 30.0),
        ("1h30m", 5400.0),
        (timedelta(minutes=2), 120.0),
        (NOW + timedelta(seconds=90), 90.0),
        ((NOW + timedelta(seconds=90)).astimezone(timezone(timedelta(hours=9))), 90.0),
        (NOW - timedelta(seconds=90), 0.0),
    ],
)
def test_retry_after_error_says_when(retry_after: Any, seconds: float) -> None:
    """A duration or a moment, without backoff, jitter or maximum; a moment in the past is now."""
    assert decide(RetryPolicy(), 1, RetryAfterError("busy", retry_after)) == Retry(seconds)


def test_retry_after_error_uses_up_an_attempt() -> None:
    """It says when, not how often."""
    assert decide(RetryPolicy(max_retries=1), 2, RetryAfterError("busy", "1s")) == GiveUp("attempts used up")


@pytest.mark.parametrize("retry_after", ["soon", "", timedelta(seconds=-1), datetime(2026, 1, 1), 30])  # noqa: DTZ001
def test_retry_after_error_that_cannot_be_read_is_final(retry_after: Any) -> None:
    """A mistake in the time is not tried again, and the reason says what it is."""
    error = RetryAfterError("busy", retry_after)
    decision = decide(RetryPolicy(), 1, error)

    assert isinstance(decision, GiveUp)
    assert decision.reason.startswith("RetryAfterError: ")
    assert error.__notes__[0].startswith("It is not tried again: ")


@pytest.mark.parametrize(
    "wrong",
    [{"max_retries": -1}, {"factor": -0.5}, {"initial": "soon"}, {"maximum": "-1s"}, {"initial": timedelta(-1)}],
    ids=str,
)
def test_policy_refuses_numbers_that_mean_nothing(wrong: dict[str, Any]) -> None:
    """A mistake shows where the policy is made, not at the first failure."""
    with pytest.raises(ValueError):
        RetryPolicy(**wrong)


def test_retry_policy_of_a_number_is_the_number_of_retries() -> None:
    """An int changes how often, not how soon; a policy replaces all of it, and None nothing."""
    own = RetryPolicy(7)
    otherwise = RetryPolicy(1, initial="200ms", factor=3.0, maximum="1s", jitter=False)

    assert retry_policy(2, otherwise) == RetryPolicy(2, initial="200ms", factor=3.0, maximum="1s", jitter=False)
    assert retry_policy(0, otherwise).max_retries == 0
    assert retry_policy(own, otherwise) is own
    assert retry_policy(None, otherwise) is otherwise
