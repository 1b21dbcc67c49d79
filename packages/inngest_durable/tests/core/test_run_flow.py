"""What follows the end of a pass."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from inngest_durable import NonRetriableError, RetryAfterError, RetryPolicy, StepError, StepUsageError
from inngest_durable._core.model import Park, RecordedRequest, Run, RunStatus
from inngest_durable._core.run_flow import (
    QUIET_MAX_SECONDS,
    Interrupted,
    after_error,
    after_interrupt,
    before_deadline,
    longer_quiet,
    timed_out,
)

NOW = 1_000.0
POLICY = RetryPolicy(jitter=False)
REQUEST = RecordedRequest("GET", "http", "", "/", b"/", b"", (), None, None, "1.1", b"")
STEP_ERROR = StepError("run", "pay", 4, "OSError", "down")


def run_with(**fields: Any) -> Run:
    """Return a run at its second attempt."""
    return msgspec.structs.replace(Run("run", "app", "trip", REQUEST, 0.0, attempt=2), **fields)


def interrupted(
    *wake_times: float, refused: bool = False, progressed: bool = False, group_unwound: bool = False
) -> Interrupted:
    """Return how a pass was interrupted that had parked steps until *wake_times*."""
    return Interrupted(wake_times, refused, progressed, group_unwound)


def test_run_with_parked_steps_waits_for_the_first() -> None:
    """The earliest of the parked steps makes the run due; the handler's attempt stays."""
    assert after_interrupt(run_with(), interrupted(NOW + 60, NOW + 5, NOW + 3600), NOW) == Park(NOW + 5, 2)


def test_run_without_parked_steps_goes_on_at_once() -> None:
    """A client that left or a process that stops is no reason to wait."""
    run = run_with(quiet_seconds=0.4)

    assert after_interrupt(run, interrupted(), NOW) == Park(NOW, 2, 0.4)
    assert after_interrupt(run, interrupted(refused=True, group_unwound=True), NOW) == Park(NOW, 2, 0.4)


@pytest.mark.parametrize(("quiet", "following"), [(0.0, 0.1), (0.1, 0.2), (1.0, 2.0), (16.0, 30.0)])
def test_refused_branch_gets_its_turn_at_once(quiet: float, following: float) -> None:
    """The next pass begins now and waits twice as long for the branch, up to 30 s."""
    how = interrupted(NOW + 3600, refused=True)

    assert after_interrupt(run_with(quiet_seconds=quiet), how, NOW) == Park(NOW, 2, following)


def test_refused_branch_has_turns_at_the_longest_quiet_time_while_it_progresses() -> None:
    """A slow branch that gets a step done in each pass goes on."""
    run = run_with(quiet_seconds=QUIET_MAX_SECONDS)

    assert after_interrupt(run, interrupted(NOW + 3600, refused=True, progressed=True), NOW).wake_at == NOW


def test_refused_branch_that_is_slower_than_the_longest_quiet_time_waits() -> None:
    """A pass at the longest quiet time that brought nothing new is not repeated: the run waits for its steps."""
    run = run_with(quiet_seconds=QUIET_MAX_SECONDS)

    assert after_interrupt(run, interrupted(NOW + 3600, refused=True), NOW) == Park(NOW + 3600, 2, QUIET_MAX_SECONDS)


def test_task_group_that_was_torn_down_gets_one_longer_pass() -> None:
    """Its branches were cancelled in plain awaits and could not ask: one pass waits 1 s for them, then no more."""
    how = interrupted(NOW + 3600, group_unwound=True)

    assert after_interrupt(run_with(), how, NOW) == Park(NOW, 2, 1.0)
    assert after_interrupt(run_with(quiet_seconds=1.0), how, NOW) == Park(NOW + 3600, 2, 1.0)
    assert after_interrupt(run_with(quiet_seconds=8.0), how, NOW) == Park(NOW + 3600, 2, 8.0)


def test_longer_quiet_doubles_up_to_the_longest() -> None:
    """From 50 ms to 30 s."""
    times = [0.0]
    while len(times) < 12:
        times.append(longer_quiet(times[-1]))

    assert times == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


def test_error_of_the_handler_starts_its_next_attempt() -> None:
    """After the policy's pause, with the next attempt; the quiet time stays."""
    run = run_with(quiet_seconds=0.4)

    assert after_error(run, OSError("down"), POLICY, NOW, 0.5) == Park(NOW + 2, 3, 0.4)
    assert after_error(run, RetryAfterError("busy", "1h"), POLICY, NOW, 0.5) == Park(NOW + 3600, 3, 0.4)


@pytest.mark.parametrize(
    "error", [NonRetriableError("no"), STEP_ERROR, StepUsageError("no")], ids=lambda error: type(error).__name__
)
def test_error_that_a_replay_would_raise_again_is_final(error: Exception) -> None:
    """Another attempt of the handler cannot help."""
    assert after_error(run_with(attempt=1), error, POLICY, NOW, 0.5) is RunStatus.FAILED


def test_error_of_the_last_attempt_is_final() -> None:
    """The handler's attempts are counted like a step's."""
    assert isinstance(after_error(run_with(attempt=3), OSError(), POLICY, NOW, 0.5), Park)
    assert after_error(run_with(attempt=4), OSError(), POLICY, NOW, 0.5) is RunStatus.FAILED


@pytest.mark.parametrize(
    "errors",
    [[STEP_ERROR], [STEP_ERROR, NonRetriableError("no")], [ExceptionGroup("inner", [STEP_ERROR])]],
    ids=["one", "two", "nested"],
)
def test_group_of_errors_that_a_replay_would_raise_again_is_final(errors: list[Exception]) -> None:
    """A step that failed for good in a TaskGroup leaves the handler as a group, and is as final as alone."""
    assert after_error(run_with(attempt=1), ExceptionGroup("group", errors), POLICY, NOW, 0.5) is RunStatus.FAILED


def test_deadline_wakes_a_waiting_run() -> None:
    """A run that sleeps past its deadline wakes there, to fail."""
    park = Park(NOW + 3600, 2, 0.4)

    assert before_deadline(run_with(deadline=NOW + 60), park) == Park(NOW + 60, 2, 0.4)
    assert before_deadline(run_with(deadline=NOW + 7200), park) == park
    assert before_deadline(run_with(), park) == park


def test_run_past_its_deadline_fails_with_504() -> None:
    """What the wait URL answers names the run."""
    finish = timed_out(run_with())

    assert finish.status is RunStatus.FAILED
    assert finish.response is not None
    assert finish.response.status == 504
    assert b'"run_id": "run"' in finish.response.body
