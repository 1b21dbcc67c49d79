"""One step as a generator: what it asks for, in which order, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from inngest_durable import NonRetriableError, RetryPolicy, StepError, StepValueError
from inngest_durable._core.codec import ResultCodec, result_codec
from inngest_durable._core.effects import Call, Save, StepFlow, Wait
from inngest_durable._core.journal import Branch, Journal, StepIdentity
from inngest_durable._core.model import Failure, Memo, StepOp, StepState
from inngest_durable._core.step_flow import failure_of, run_step, sleep_until

NOW = 1_000.0
POLICY = RetryPolicy(max_retries=2, initial="10s", jitter=False)


def lengths() -> tuple[int, int]:
    """Stand for a step function with a typed result."""
    raise NotImplementedError


TYPED = result_codec(lengths)
PLAIN = result_codec(lambda: None)


def begin(*memos: Memo, policy: RetryPolicy = POLICY, codec: ResultCodec = PLAIN) -> StepFlow:
    """Return the flow of step "pay" in a run that has recorded *memos*."""
    return run_step(*_step(memos), policy, codec)


def begin_sleep(*memos: Memo, wake_at: float) -> StepFlow:
    """Return the flow of sleep "nap" in a run that has recorded *memos*."""
    return sleep_until(*_step(memos, "nap"), wake_at)


def _step(memos: Sequence[Memo], step_id: str = "pay") -> tuple[Journal, StepIdentity]:
    journal = Journal("run", memos, now=lambda: NOW, jitter=lambda: 0.5)
    return journal, journal.identify(step_id, Branch(), lambda: "")


def saved(effect: object) -> Memo:
    """Return the memo that a flow asks to save."""
    assert isinstance(effect, Save)
    return effect.memo


def outcome(resume: Callable[[], object]) -> Any:
    """Return what a flow returns when it is resumed for the last time."""
    with pytest.raises(StopIteration) as stopped:
        resume()
    return stopped.value.value


def completed(result: bytes = b'"paid"', attempt: int = 1) -> Memo:
    """Return the memo of "pay" when it is completed."""
    return Memo("pay", "pay", StepOp.RUN, StepState.COMPLETED, attempt, result)


def retrying(attempt: int = 1, wake_at: float = NOW + 10) -> Memo:
    """Return the memo of "pay" between two attempts."""
    return Memo("pay", "pay", StepOp.RUN, StepState.RETRYING, attempt, None, Failure("OSError", "down"), wake_at)


def test_step_calls_saves_and_returns() -> None:
    """The result is on disk before the handler sees it."""
    flow = begin()

    assert flow.send(None) == Call(1)
    assert flow.send("paid") == Save(completed())
    assert outcome(lambda: flow.send(None)) == "paid"


def test_step_returns_what_a_replay_will_return() -> None:
    """The result has been through JSON on the first pass, too."""
    plain, typed = begin(), begin(codec=TYPED)
    plain.send(None)
    typed.send(None)

    assert saved(plain.send((1, 2))).result == b"[1,2]"
    assert outcome(lambda: plain.send(None)) == [1, 2]
    assert saved(typed.send([1, 2])).result == b"[1,2]"
    assert outcome(lambda: typed.send(None)) == (1, 2)


def test_replay_returns_the_memo_without_an_effect() -> None:
    """A completed step asks for nothing."""
    assert outcome(lambda: begin(completed()).send(None)) == "paid"
    assert outcome(lambda: begin(completed(b"[1,2]"), codec=TYPED).send(None)) == (1, 2)


def test_step_that_fails_is_saved_then_waits_then_calls_again() -> None:
    """The failed attempt is on disk before its pause begins."""
    flow = begin()
    flow.send(None)
    memo = saved(flow.throw(OSError("down")))

    assert (memo.state, memo.attempt, memo.wake_at, memo.result) == (StepState.RETRYING, 1, NOW + 10, None)
    assert memo.failure is not None
    assert (memo.failure.name, memo.failure.message) == ("OSError", "down")
    assert flow.send(None) == Wait(memo)
    assert flow.send(None) == Call(2)
    assert saved(flow.send("paid")) == completed(attempt=2)


def test_step_whose_attempts_are_used_up_fails_for_good() -> None:
    """The last failure is saved as final, then raised."""
    flow = begin(policy=RetryPolicy(max_retries=0))
    flow.send(None)
    memo = saved(flow.throw(error := OSError("down")))
    with pytest.raises(StepError) as raised:
        flow.send(None)

    assert (memo.state, memo.attempt, memo.wake_at) == (StepState.FAILED, 1, None)
    assert raised.value.__cause__ is error
    assert (raised.value.run_id, raised.value.step_id, raised.value.attempt) == ("run", "pay", 1)
    assert (raised.value.name, raised.value.message) == ("OSError", "down")
    assert "OSError: down" in raised.value.traceback


def test_replay_raises_the_same_error() -> None:
    """A replay of a failed step raises what the first pass raised, without an effect."""
    flow = begin(policy=RetryPolicy(max_retries=0))
    flow.send(None)
    memo = saved(flow.throw(OSError("down")))
    with pytest.raises(StepError) as first:
        flow.send(None)
    with pytest.raises(StepError) as replayed:
        begin(memo).send(None)

    assert replayed.value.args == first.value.args
    assert str(replayed.value) == str(first.value)


def test_step_that_must_not_be_retried_fails_at_once() -> None:
    """A declined card is not charged again."""
    flow = begin()
    flow.send(None)

    assert saved(flow.throw(NonRetriableError("declined"))).state is StepState.FAILED


@pytest.mark.parametrize("value", [object(), float("nan"), [1, "two"]], ids=["no JSON", "NaN", "other type"])
def test_result_that_cannot_be_stored_fails_the_step_at_once(value: Any) -> None:
    """It is never stored as a result, and calling the function again would not help."""
    flow = begin(codec=TYPED)
    flow.send(None)
    memo = saved(flow.send(value))

    assert (memo.state, memo.result) == (StepState.FAILED, None)
    assert memo.failure is not None
    assert memo.failure.name == StepValueError.__name__
    with pytest.raises(StepError, match="step 'pay' failed after 1 attempt: StepValueError: "):
        flow.send(None)


def test_reentry_waits_for_the_retry_that_was_recorded() -> None:
    """A pause that an earlier pass began is waited for, and the attempts go on counting."""
    flow = begin(retrying(attempt=2))

    assert flow.send(None) == Wait(retrying(attempt=2))
    assert flow.send(None) == Call(3)
    assert saved(flow.throw(OSError("down"))).state is StepState.FAILED


def test_numbered_step_keeps_its_fingerprint_in_every_memo() -> None:
    """What guards against a mix-up is recorded with each state of the step."""
    journal = Journal("run", (), now=lambda: NOW, jitter=lambda: 0.5)
    journal.identify("pay", Branch(), lambda: "")
    step = journal.identify("pay", Branch(), lambda: "shop.pay")
    flow = run_step(journal, step, RetryPolicy(max_retries=1), PLAIN)
    flow.send(None)
    first = saved(flow.throw(OSError()))
    flow.send(None)
    flow.send(None)
    last = saved(flow.throw(OSError()))
    empty = Journal("run", (), now=lambda: NOW, jitter=lambda: 0.5)
    sleeping = saved(sleep_until(empty, step, NOW).send(None))

    assert [memo.fingerprint for memo in (first, last, sleeping)] == ["shop.pay"] * 3
    assert [memo.key for memo in (first, last, sleeping)] == ["pay:1"] * 3
    assert [memo.id for memo in (first, last, sleeping)] == ["pay"] * 3


def test_sleep_saves_its_end_before_it_waits() -> None:
    """When to go on is on disk, so a crash does not begin the pause anew."""
    flow = begin_sleep(wake_at=NOW + 60)
    memo = saved(flow.send(None))

    assert (memo.op, memo.state, memo.wake_at) == (StepOp.SLEEP, StepState.WAITING, NOW + 60)
    assert flow.send(None) == Wait(memo)
    assert saved(flow.send(None)).state is StepState.COMPLETED
    assert outcome(lambda: flow.send(None)) is None


def test_sleep_keeps_the_end_that_was_recorded_first() -> None:
    """A re-entry works out another end, which counts for nothing."""
    recorded = Memo("nap", "nap", StepOp.SLEEP, StepState.WAITING, wake_at=NOW + 60)
    flow = begin_sleep(recorded, wake_at=NOW + 900)

    assert flow.send(None) == Wait(recorded)
    assert saved(flow.send(None)).state is StepState.COMPLETED


def test_sleep_that_is_over_asks_for_nothing() -> None:
    """A replay does not sleep."""
    memo = Memo("nap", "nap", StepOp.SLEEP, StepState.COMPLETED, 1, b"null")

    assert outcome(lambda: begin_sleep(memo, wake_at=NOW + 900).send(None)) is None


def test_failed_memo_without_failure_still_raises() -> None:
    """A memo that lacks what it should have is no success."""
    with pytest.raises(StepError, match="UnknownError"):
        begin(Memo("pay", "pay", StepOp.RUN, StepState.FAILED, 1)).send(None)


def test_failure_of_an_error_holds_its_traceback() -> None:
    """Name, text, and where it came from."""
    try:
        dict[str, int]()["seat"]
    except KeyError as error:
        failure = failure_of(error)

    assert (failure.name, failure.message) == ("KeyError", "'seat'")
    assert "test_failure_of_an_error_holds_its_traceback" in failure.traceback
    assert failure.traceback.endswith("KeyError: 'seat'\n")


def test_failure_of_an_error_whose_text_is_no_unicode_can_be_stored() -> None:
    """A file name that is no UTF-8 in an error's text must not break the checkpoint."""
    try:
        raise OSError("no such file: \udcff")
    except OSError as error:
        failure = failure_of(error)

    assert "no such file" in failure.message
    assert all(text.encode() for text in (failure.name, failure.message, failure.traceback))


def test_step_whose_error_has_no_text_is_retried() -> None:
    """An exception that cannot say what it is is a failure like any other."""

    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    flow = begin()
    flow.send(None)

    assert saved(flow.throw(SpeechlessError())).state is StepState.RETRYING
