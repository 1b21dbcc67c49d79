"""What follows an exchange that has ended: its run is finished, goes on, or has failed an attempt of its handler."""

from __future__ import annotations

import logging
import random

from ._core.model import Finish, Park, RecordedResponse, RunStatus
from ._core.retry import RetryPolicy
from ._core.run_flow import after_error, before_deadline
from ._core.step_flow import failure_of
from .engines.base import Claim, Engine, FencedError
from .errors import EndpointNotReachedError
from .exchange import Holder

logger = logging.getLogger("inngest_durable")

# What a server answers when the application raised before its response had begun.
SERVER_ERROR = RecordedResponse(500, ((b"content-type", b"text/plain; charset=utf-8"),), b"Internal Server Error")


async def conclude(
    engine: Engine, holder: Holder, policy: RetryPolicy, response: RecordedResponse | None, error: Exception | None
) -> None:
    """
    End the run of an exchange that has ended, if its pass came to an end.

    Args:
        engine: Records the run.
        holder: What the endpoint left.
        policy: The endpoint's retries.
        response: What was sent, or None when it did not go out whole.
        error: What the application raised while it answered, if it did.
    """
    current, ending = holder.current_pass, holder.ending
    if current is None or ending is None:
        return
    claim, run = current.claim, current.claim.run
    try:
        if not claim.accepted:
            return
        if response is not None:
            status, failure = ending
            done = claim.finish(Finish(status, response, failure))
            if current.kind == "reentry":
                await done
        elif error is None and current.kind == "first":
            # The client went away: the run goes on from its memos.
            await claim.park(before_deadline(run, Park(engine.clock.now(), run.attempt, run.quiet_seconds)))
        else:
            broken = error or RuntimeError("the application gave no whole response")
            await _failed_attempt(engine, claim, policy, broken, SERVER_ERROR)
    except FencedError:
        logger.info("a later pass owns the run; this one ends [run=%s]", run.id)
    finally:
        engine.passes.discard(current)


async def conclude_unreached(engine: Engine, claim: Claim, policy: RetryPolicy, response: RecordedResponse) -> None:
    """
    Count a failed attempt of the handler, because a re-entry was answered without reaching its endpoint.

    An auth hook, a limiter or a missing route did that. When the attempts are used up, the run fails with *response*.
    """
    run = claim.run
    what = (
        f"the re-entry of {run.request.method} {run.request.path} was answered {response.status} without its endpoint"
    )
    try:
        await _failed_attempt(engine, claim, policy, EndpointNotReachedError(what, run.id), response)
    except FencedError:
        logger.info("a later pass owns the run; this one ends [run=%s]", run.id)


async def _failed_attempt(
    engine: Engine, claim: Claim, policy: RetryPolicy, error: Exception, response: RecordedResponse
) -> None:
    run, now = claim.run, engine.clock.now()
    following = after_error(run, error, policy, now, random.random())
    if isinstance(following, Park):
        log_attempt(run.id, run.attempt, following.wake_at - now, error)
        await claim.park(before_deadline(run, following))
    else:
        logger.error(*_told(f"at attempt {run.attempt}, its last", run.id, error), exc_info=_raised(error))
        await claim.finish(Finish(RunStatus.FAILED, response, failure_of(error)))


def log_attempt(run_id: str, attempt: int, pause_seconds: float, error: BaseException) -> None:
    """Log a failed attempt of a handler, with its traceback if it raised."""
    when = f"at attempt {attempt}; next attempt in {max(0.0, pause_seconds):.3f} s"
    logger.warning(*_told(when, run_id, error), exc_info=_raised(error))


def _told(when: str, run_id: str, error: BaseException) -> tuple[str, str, str]:
    what = "" if error.__traceback__ else f": {error}"
    return "the handler failed %s [run=%s]", f"{when}{what}", run_id


def _raised(error: BaseException) -> BaseException | None:
    """Return *error* if it was raised, so that it has a traceback to show."""
    return error if error.__traceback__ else None
