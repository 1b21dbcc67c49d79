"""Limits of a run: enforced before anything is written, with an error that says how to raise them."""

from __future__ import annotations

import pytest
from inngest_durable import LimitExceededError, RetryPolicy, StepError
from inngest_durable._core.codec import result_codec
from inngest_durable._core.effects import Save
from inngest_durable._core.journal import Branch, Journal
from inngest_durable._core.limits import Limits
from inngest_durable._core.model import Memo, StepOp, StepState
from inngest_durable._core.step_flow import run_step

PLAIN = result_codec(lambda: None)


def journal_with(limits: Limits, *memos: Memo) -> Journal:
    """Return the journal of a run under *limits*."""
    return Journal("run", memos, now=lambda: 0.0, jitter=lambda: 0.0, limits=limits)


def state_after(journal: Journal, step_id: str, value: object) -> StepState:
    """Return the state that a step is saved with when its function returns *value*."""
    flow = run_step(journal, journal.identify(step_id, Branch(), lambda: ""), RetryPolicy(), PLAIN)
    flow.send(None)
    effect = flow.send(value)
    assert isinstance(effect, Save)
    with pytest.raises((StopIteration, StepError)):
        flow.send(None)
    return effect.memo.state


def test_step_over_the_limit_of_steps_is_refused() -> None:
    """The error names limit, value, run and step, and how to raise it."""
    journal = journal_with(Limits(steps=2))
    root = Branch()
    journal.identify("a", root, lambda: "")
    journal.identify("b", root, lambda: "")
    with pytest.raises(LimitExceededError) as raised:
        journal.identify("c", root, lambda: "")

    for part in ("steps is 3", "limit of 2", "Limits(steps=…)", "run=run", "step=c"):
        assert part in str(raised.value)


def test_result_over_the_limit_fails_the_step_at_once() -> None:
    """What is too large is not stored; the text is counted as JSON."""
    journal = journal_with(Limits(step_result=10))

    assert state_after(journal, "fits", "x" * 8) is StepState.COMPLETED
    assert state_after(journal, "too large", "x" * 9) is StepState.FAILED


def test_result_over_the_limit_says_how_to_raise_it() -> None:
    """The step's error names the limit and the value."""
    journal = journal_with(Limits(step_result=1_000))
    flow = run_step(journal, journal.identify("pay", Branch(), lambda: ""), RetryPolicy(), PLAIN)
    flow.send(None)
    flow.send("x" * 1_200)
    with pytest.raises(StepError, match=r"step_result is 1,202, over the limit of 1,000.*Limits\(step_result=…\)"):
        flow.send(None)


def test_results_over_the_limit_of_the_run_fail_the_step() -> None:
    """All results of the run together are counted, those of earlier passes and of this one."""
    earlier = Memo("a", "a", StepOp.RUN, StepState.COMPLETED, 1, b'"12345678"')
    journal = journal_with(Limits(run_state=30), earlier)

    assert state_after(journal, "b", "x" * 8) is StepState.COMPLETED
    assert state_after(journal, "c", "x" * 9) is StepState.FAILED


def test_result_that_replaces_another_state_of_its_step_is_counted_once() -> None:
    """A step's memo is overwritten, not added to."""
    journal = journal_with(Limits(run_state=30))
    for _ in range(10):
        journal.record(Memo("a", "a", StepOp.RUN, StepState.COMPLETED, 1, b"x" * 20))

    assert state_after(journal, "b", "x" * 8) is StepState.COMPLETED
