"""Steps that wait for events, signals and child runs, or send, as generators: what they ask for, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from inngest_durable import Event, Signal, SignalTakenError, StepError
from inngest_durable._core import event_flow, invoke_flow
from inngest_durable._core.effects import Invoke, SaveWith, SendEvents, SendSignal, StepFlow, StopWaiting, Wait
from inngest_durable._core.events import SentEvent
from inngest_durable._core.journal import Branch, Journal, StepIdentity
from inngest_durable._core.matching import WaitFor
from inngest_durable._core.model import Failure, Memo, RecordedRequest, Run, StepOp, StepState
from msgspec.structs import replace

from packages.inngest_durable.tests.core.test_step_flow import outcome

NOW, LATER = 1_000.0, 4_600.0
WAIT = WaitFor("event", "approved", "data.id", '"7"')
RESULT = b'{"data":{"by":"Ann"},"id":"e1","name":"approved","ts":5}'
EVENT = Event("approved", {"by": "Ann"}, "e1", 5)
REQUEST = RecordedRequest("GET", "http", "", "/pay", b"/pay", b"", (), None, None, "1.1", b"")
CHILD = Run("01JC", "app", "pay", REQUEST, NOW)


def step_of(memos: Sequence[Memo], step_id: str = "ask") -> tuple[Journal, StepIdentity]:
    """Return the journal of a run that has recorded *memos*, and a step of it."""
    journal = Journal("run", memos, now=lambda: NOW, jitter=lambda: 0.5)
    return journal, journal.identify(step_id, Branch(), lambda: "")


def begin(*memos: Memo, since: float | None = None) -> StepFlow:
    """Return the flow of a step that waits for an event."""
    return event_flow.wait_for_event(*step_of(memos), lambda: WAIT, since, LATER)


def signal(*memos: Memo) -> StepFlow:
    """Return the flow of a step that waits for a signal."""
    return event_flow.wait_for_signal(*step_of(memos), "go", LATER)


def invoke(*memos: Memo) -> StepFlow:
    """Return the flow of a step that calls another endpoint."""
    return invoke_flow.invoke(*step_of(memos), lambda: CHILD, LATER)


def waiting(op: StepOp = StepOp.WAIT_FOR_EVENT) -> Memo:
    """Return the memo of "ask" while it waits."""
    return Memo("ask", "ask", op, StepState.WAITING, wake_at=LATER)


def completed(result: bytes = RESULT, op: StepOp = StepOp.WAIT_FOR_EVENT, key: str = "ask") -> Memo:
    """Return the memo of "ask" when what it waits for has come."""
    return Memo(key, key, op, StepState.COMPLETED, 1, result)


def failed(name: str, message: str, op: StepOp, run_id: str = "") -> Memo:
    """Return the memo of "ask" when it has failed."""
    return Memo("ask", "ask", op, StepState.FAILED, 1, None, Failure(name, message, "", run_id))


def test_wait_is_recorded_before_it_begins() -> None:
    """The memo and what is waited for are in one commit: nothing that comes from then on is missed."""
    flow = begin()

    assert flow.send(None) == SaveWith(waiting(), WAIT)
    assert flow.send(waiting()) == Wait(waiting())
    assert outcome(lambda: flow.send(completed())) == EVENT


def test_event_that_is_there_already_needs_no_wait() -> None:
    """The store answers with the completed memo."""
    flow = begin(since=900.0)

    assert flow.send(None) == SaveWith(waiting(), replace(WAIT, since=900.0))
    assert outcome(lambda: flow.send(completed())) == EVENT


def test_event_that_another_step_took_is_not_taken_again() -> None:
    """With `since`, a loop of waits gets one event after the other."""
    others = [
        completed(key="ask:0"),
        completed(b"null", key="timed out"),
        completed(b'{"id":"no event"}', StepOp.RUN, "run"),
    ]
    effect = begin(*others, since=900.0).send(None)

    assert isinstance(effect, SaveWith)
    assert effect.along == replace(WAIT, since=900.0, taken=("e1",))


def test_wait_whose_time_has_come_ends_with_nothing() -> None:
    """What ends the wait is recorded in the same commit as its memo."""
    flow = begin()
    flow.send(None)
    flow.send(waiting())

    assert flow.send(None) == SaveWith(completed(b"null"), StopWaiting())
    assert outcome(lambda: flow.send(completed(b"null"))) is None


def test_event_that_was_recorded_before_the_end_of_the_wait_counts() -> None:
    """Of the two that race, the one that is on disk first."""
    flow = begin()
    flow.send(None)
    flow.send(waiting())
    flow.send(None)

    assert outcome(lambda: flow.send(completed())) == EVENT


def test_reentry_waits_on_with_the_time_that_was_recorded() -> None:
    """Nothing is recorded a second time."""
    flow = begin(waiting())

    assert flow.send(None) == Wait(waiting())
    assert outcome(lambda: flow.send(completed())) == EVENT


@pytest.mark.parametrize(("memo", "value"), [(completed(), EVENT), (completed(b"null"), None)])
def test_replay_returns_what_came(memo: Memo, value: Event | None) -> None:
    assert outcome(lambda: begin(memo).send(None)) == value


def test_mistake_in_a_wait_is_raised_before_anything_is_recorded() -> None:
    def wait() -> WaitFor:
        raise LookupError("no such field")

    with pytest.raises(LookupError):
        event_flow.wait_for_event(*step_of(()), wait, None, LATER).send(None)


def test_signal_is_waited_for_by_its_name() -> None:
    flow = signal()

    assert flow.send(None) == SaveWith(waiting(StepOp.WAIT_FOR_SIGNAL), WaitFor("signal", "go"))
    assert flow.send(waiting(StepOp.WAIT_FOR_SIGNAL)) == Wait(waiting(StepOp.WAIT_FOR_SIGNAL))
    assert outcome(lambda: flow.send(completed(b'{"signal":"go","data":1}'))) == Signal("go", 1)


def test_signal_that_is_taken_raises_the_same_at_every_pass() -> None:
    taken = failed("SignalTakenError", "signal 'go' is waited for by run 01JX", StepOp.WAIT_FOR_SIGNAL)
    flow = signal()
    flow.send(None)
    with pytest.raises(SignalTakenError) as first:
        flow.send(taken)
    with pytest.raises(SignalTakenError) as replayed:
        signal(taken).send(None)

    assert first.value.args == replayed.value.args == ("signal 'go' is waited for by run 01JX", "run", "ask")


def test_events_are_sent_with_the_memo() -> None:
    sent = (SentEvent("run:ask:0", "a", b"{}", 5), SentEvent("mine", "b", b"{}", 5))
    flow = event_flow.send_events(*step_of(()), lambda: sent)
    memo = completed(b'["run:ask:0","mine"]', StepOp.SEND_EVENT)

    assert flow.send(None) == SaveWith(memo, SendEvents(sent))
    assert outcome(lambda: flow.send(memo)) == ["run:ask:0", "mine"]


def test_replay_sends_nothing() -> None:
    def never() -> Any:
        raise AssertionError

    events = event_flow.send_events(*step_of([completed(b'["e1"]', StepOp.SEND_EVENT)]), never)
    sent = event_flow.send_signal(*step_of([completed(b"true", StepOp.SEND_SIGNAL)]), "go", never)

    assert outcome(lambda: events.send(None)) == ["e1"]
    assert outcome(lambda: sent.send(None)) is True


@pytest.mark.parametrize("was_awaited", [True, False])
def test_sender_of_a_signal_learns_whether_a_step_waited(was_awaited: bool) -> None:
    flow = event_flow.send_signal(*step_of(()), "go", lambda: b'{"signal":"go"}')
    effect = flow.send(None)
    recorded = completed(b"true" if was_awaited else b"false", StepOp.SEND_SIGNAL)

    assert effect == SaveWith(completed(b"false", StepOp.SEND_SIGNAL), SendSignal("go", b'{"signal":"go"}'))
    assert outcome(lambda: flow.send(recorded)) is was_awaited


def test_child_run_begins_with_the_memo() -> None:
    flow = invoke()

    assert flow.send(None) == SaveWith(waiting(StepOp.INVOKE), Invoke(CHILD))
    assert flow.send(waiting(StepOp.INVOKE)) == Wait(waiting(StepOp.INVOKE))
    assert outcome(lambda: flow.send(completed(b'{"paid":1}', StepOp.INVOKE))) == {"paid": 1}


def test_failed_child_run_raises_with_its_id() -> None:
    memo = failed("Declined", "no", StepOp.INVOKE, "01JC")
    flow = invoke()
    flow.send(None)
    flow.send(waiting(StepOp.INVOKE))
    with pytest.raises(StepError) as first:
        flow.send(memo)
    with pytest.raises(StepError) as replayed:
        invoke(memo).send(None)

    assert (first.value.name, first.value.message, first.value.child_run_id) == ("Declined", "no", "01JC")
    assert "child=01JC" in str(first.value)
    assert replayed.value.args == first.value.args


def test_child_run_that_takes_too_long_raises_and_goes_on() -> None:
    flow = invoke()
    flow.send(None)
    flow.send(waiting(StepOp.INVOKE))
    effect = flow.send(None)

    assert isinstance(effect, SaveWith)
    assert (effect.memo.state, effect.along) == (StepState.FAILED, StopWaiting())
    with pytest.raises(StepError, match="InvokeTimeoutError: the child run did not end within the timeout; it goes on"):
        flow.send(effect.memo)


def test_child_run_that_ended_at_the_last_moment_counts() -> None:
    flow = invoke()
    flow.send(None)
    flow.send(waiting(StepOp.INVOKE))
    flow.send(None)

    assert outcome(lambda: flow.send(completed(b"1", StepOp.INVOKE))) == 1
