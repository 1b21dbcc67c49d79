"""
One step from lookup to memo, as a generator that asks its driver for each effect. All step policy is in this one place.

A flow is driven by `_drive.drive` in threads and by `_drive.adrive` on asyncio, and in tests by ``.send()`` and
``.throw()`` alone.
"""

from __future__ import annotations

import traceback
from typing import Any

from ..errors import StepError
from .codec import ResultCodec
from .effects import Call, Save, StepFlow, Wait
from .journal import Journal, StepIdentity
from .model import Failure, Memo, StepOp, StepState
from .retry import GiveUp, RetryPolicy

_PACKAGE = f"{__name__.partition('.')[0]}."

# On Python 3.11, accessing an enum member through its class is slow.
_RUN, _COMPLETED = StepOp.RUN, StepState.COMPLETED


def run_step(journal: Journal, step: StepIdentity, policy: RetryPolicy, codec: ResultCodec) -> StepFlow:
    """Run a function until it succeeds or its attempts are used up; return its result or raise `StepError`."""
    memo = journal.lookup(step, _RUN)
    if memo is not None:
        if memo.is_final:
            return recall(step, memo, codec)
        yield Wait(memo)
    attempt = memo.attempt if memo else 0
    while True:
        attempt += 1
        try:
            value = yield Call(attempt)
            result = codec.encode(value)
            journal.check_size(step, result)
            value = codec.decode(result)
        except Exception as error:
            decision = policy.decide(error, attempt, now=journal.now(), jitter=journal.jitter())
            if isinstance(decision, GiveUp):
                yield Save(memo := _failed(step, error, attempt))
                journal.record(memo)
                raise _step_error(step, memo) from error
            yield Save(memo := _retrying(step, error, attempt, journal.now() + decision.after_seconds))
            journal.record(memo)
            yield Wait(memo)
        else:
            memo = Memo(step.key, step.id, _RUN, _COMPLETED, attempt, result, None, None, step.fingerprint)
            # Durable before visible: the handler goes on only when the driver has resumed this.
            yield Save(memo)
            journal.record(memo)
            return value


def sleep_until(journal: Journal, step: StepIdentity, wake_at: float) -> StepFlow:
    """Wait until *wake_at*, in seconds since the epoch. A replay keeps the moment that was recorded first."""
    memo = journal.lookup(step, StepOp.SLEEP)
    if memo is not None and memo.is_final:
        return None
    if memo is None:
        memo = Memo(step.key, step.id, StepOp.SLEEP, StepState.WAITING, wake_at=wake_at, fingerprint=step.fingerprint)
        yield Save(memo)
        journal.record(memo)
    yield Wait(memo)
    slept = Memo(step.key, step.id, StepOp.SLEEP, _COMPLETED, 1, b"null", None, None, step.fingerprint)
    yield Save(slept)
    journal.record(slept)
    return None


def recall(step: StepIdentity, memo: Memo, codec: ResultCodec) -> Any:
    """Return the result of a memoized step, or raise its `StepError`."""
    if memo.state is StepState.FAILED:
        raise _step_error(step, memo)
    return codec.decode(memo.result or b"null")


def failure_of(error: BaseException) -> Failure:
    """Return *error* as it is recorded. Its traceback starts at the user's function, not in this package."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frames = frames.tb_next
    text = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return Failure(type(error).__name__, _storable(_text(error)), _storable("".join(text)))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as no_text:
        return f"<no text: {type(no_text).__name__}>"


def _storable(text: str) -> str:
    """Return *text* as a replay will read it: a file name in it may not be valid Unicode."""
    return text.encode(errors="backslashreplace").decode()


def _failed(step: StepIdentity, error: Exception, attempt: int) -> Memo:
    return Memo(step.key, step.id, _RUN, StepState.FAILED, attempt, None, failure_of(error), None, step.fingerprint)


def _retrying(step: StepIdentity, error: Exception, attempt: int, wake_at: float) -> Memo:
    return Memo(
        step.key, step.id, _RUN, StepState.RETRYING, attempt, None, failure_of(error), wake_at, step.fingerprint
    )


def _step_error(step: StepIdentity, memo: Memo) -> StepError:
    failure = memo.failure or Failure("UnknownError", "no error was recorded")
    return StepError(step.run_id, step.key, memo.attempt, failure.name, failure.message, failure.traceback)
