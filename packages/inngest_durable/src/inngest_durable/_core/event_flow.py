"""Steps that wait for events and signals or send them, as generators: see `step_flow`. All their policy is here."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import SignalTakenError
from .effects import Along, Effect, SaveWith, SendEvents, SendSignal, StepFlow, StopWaiting, Wait
from .events import SentEvent, received, received_signal
from .journal import Journal, StepIdentity
from .matching import WaitFor
from .model import Failure, Memo, StepOp, StepState

NOTHING = b"null"


def wait_for_event(
    journal: Journal, step: StepIdentity, wait: Callable[[], WaitFor], since: float | None, wake_at: float
) -> StepFlow:
    """
    Wait for an event until *wake_at*; return it, or None.

    Args:
        journal: The run's memos.
        step: This step.
        wait: Says what is waited for; asked once in a run.
        since: Take an event that was received at that time or later; None takes only those to come.
        wake_at: In seconds since the epoch; a replay keeps the moment that was recorded first.
    """

    def along() -> WaitFor:
        asked = wait()
        if since is None:
            return asked
        return replace(asked, since=since, taken=_taken(journal))

    memo = yield from waited(journal, step, StepOp.WAIT_FOR_EVENT, along, wake_at)
    return received(memo.result)


def wait_for_signal(journal: Journal, step: StepIdentity, name: str, wake_at: float) -> StepFlow:
    """Wait for a signal until *wake_at*; return it, or None. Raises `SignalTakenError` if another step waits for it."""
    memo = yield from waited(journal, step, StepOp.WAIT_FOR_SIGNAL, lambda: WaitFor("signal", name), wake_at)
    if memo.state is StepState.FAILED:
        raise SignalTakenError(memo.failure.message if memo.failure else "", step.run_id, step.key)
    return received_signal(memo.result)


def send_events(journal: Journal, step: StepIdentity, events: Callable[[], tuple[SentEvent, ...]]) -> StepFlow:
    """Send events, once in a run: they are stored in the commit of the step's memo. Return their IDs."""
    memo = journal.lookup(step, StepOp.SEND_EVENT)
    if memo is None:
        sent = events()
        result = msgspec.json.encode([event.id for event in sent])
        memo = yield SaveWith(completed(step, StepOp.SEND_EVENT, result), SendEvents(sent))
        journal.record(memo)
    return msgspec.json.decode(memo.result or NOTHING)


def send_signal(journal: Journal, step: StepIdentity, name: str, result: Callable[[], bytes]) -> StepFlow:
    """Send a signal, once in a run; return whether a step waited for it."""
    memo = journal.lookup(step, StepOp.SEND_SIGNAL)
    if memo is None:
        memo = yield SaveWith(completed(step, StepOp.SEND_SIGNAL, b"false"), SendSignal(name, result()))
        journal.record(memo)
    return memo.result == b"true"


def waited(
    journal: Journal,
    step: StepIdentity,
    op: StepOp,
    along: Callable[[], Along],
    wake_at: float,
    late: Callable[[], Failure] | None = None,
) -> Generator[Effect, Any, Memo]:
    """
    Wait until something else has completed the step, or until *wake_at*; return the final memo.

    Args:
        journal: The run's memos.
        step: This step.
        op: Its kind.
        along: What is recorded with the first memo, so that nothing that comes from then on is missed.
        wake_at: When to stop waiting.
        late: What then fails the step; without it, the step is completed with null.
    """
    memo = journal.lookup(step, op)
    final: Memo | None
    if memo is None:
        waiting = Memo(step.key, step.id, op, StepState.WAITING, wake_at=wake_at, fingerprint=step.fingerprint)
        recorded: Memo = yield SaveWith(waiting, along())
        journal.record(memo := recorded)
    if memo.is_final:
        return memo
    final = yield Wait(memo)
    if final is None:
        given_up = completed(step, op, NOTHING) if late is None else failed_memo(memo, late())
        # What was waited for may come at this very moment: whichever is recorded first counts.
        recorded = yield SaveWith(given_up, StopWaiting())
        journal.record(recorded)
        return recorded
    journal.record(final)
    return final


def completed(step: StepIdentity, op: StepOp, result: bytes) -> Memo:
    """Return the memo of a completed step."""
    return Memo(step.key, step.id, op, StepState.COMPLETED, 1, result, None, None, step.fingerprint)


def failed_memo(memo: Memo, failure: Failure) -> Memo:
    """Return the memo of a step that waited, or was about to, and has failed for good."""
    return replace(memo, state=StepState.FAILED, attempt=1, failure=failure, wake_at=None)


def is_over(wake_at: float | None, at: float) -> bool:
    """Return whether a step that waits until *wake_at* has given up *at* that moment, though it has not recorded it."""
    return wake_at is not None and wake_at <= at


def taken_signal(name: str, run_id: str) -> Failure:
    """Return the failure of a step that waits for a signal for which the run *run_id* already waits."""
    return Failure("SignalTakenError", f"signal {name!r} is waited for by run {run_id}")


def _taken(journal: Journal) -> tuple[str, ...]:
    events = (received(memo.result) for memo in journal if memo.op is StepOp.WAIT_FOR_EVENT)
    return tuple(event.id for event in events if event is not None)
