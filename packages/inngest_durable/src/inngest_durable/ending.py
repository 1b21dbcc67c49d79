"""What follows an exchange that has ended: its run is finished, goes on, or has failed an attempt of its handler."""

from __future__ import annotations

import logging
import random

from ._core.model import Finish, Park, RecordedResponse, RunStatus
from ._core.retry import RetryPolicy
from ._core.run_flow import after_error, before_deadline
from ._core.step_flow import failure_of
from ._pass import CLIENT_GONE, Pass
from .engines.base import Claim, Engine, FencedError
from .errors import EndpointNotReachedError
from .exchange import Ending, Lifecycle

logger = logging.getLogger("inngest_durable")

# What a server answers when the application raised before its response had begun.
SERVER_ERROR = RecordedResponse(500, ((b"content-type", b"text/plain; charset=utf-8"),), b"Internal Server Error")


async def conclude(
    client: Lifecycle, current: Pass, ending: Ending, response: RecordedResponse | None, error: Exception | None
) -> None:
    """
    End the run of an exchange that has ended.

    Args:
        client: Has the engine that records the run, and the endpoint's retries.
        current: The pass, which has ended.
        ending: How the endpoint left the run.
        response: What was sent, or None when it did not go out whole.
        error: What the application raised while it answered, if it did.
    """
    claim, run, engine = current.claim, current.claim.run, client.engine
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
            park = Park(engine.clock.now(), run.attempt, run.quiet_seconds)
            await claim.park(before_deadline(run, park), CLIENT_GONE)
        else:
            broken = error or RuntimeError("the application gave no whole response")
            await _failed_attempt(engine, claim, client.endpoints.policy_of(run.endpoint), broken, SERVER_ERROR)
    except FencedError:
        logger.info("a later pass owns the run; this one ends [run=%s]", run.id)
    finally:
        engine.passes.discard(current)


async def conclude_unreached(client: Lifecycle, claim: Claim, response: RecordedResponse) -> None:
    """
    Count a failed attempt of the handler, because a re-entry was answered without reaching its endpoint.

    An auth hook, a limiter or a missing route answered. When the attempts are used up, the run fails with *response*.
    """
    run = claim.run
    what = (
        f"the re-entry of {run.request.method} {run.request.path} was answered {response.status} without its endpoint"
    )
    try:
        policy = client.endpoints.policy_of(run.endpoint)
        await _failed_attempt(client.engine, claim, policy, EndpointNotReachedError(what, run.id), response)
    except FencedError:
        logger.info("a later pass owns the run; this one ends [run=%s]", run.id)


async def _failed_attempt(
    engine: Engine, claim: Claim, policy: RetryPolicy, error: Exception, response: RecordedResponse
) -> None:
    run, now = claim.run, engine.clock.now()
    following = after_error(run, error, policy, now, random.random())
    if isinstance(following, Park):
        log_attempt(run.id, run.attempt, following.wake_at - now, error)
        await claim.park(before_deadline(run, following), failure=failure_of(error))
    else:
        logger.error(*_told(f"at attempt {run.attempt}, its last", run.id, error), exc_info=_raised(error))
        await claim.finish(Finish(RunStatus.FAILED, response, failure_of(error)))


def log_attempt(run_id: str, attempt: int, pause_seconds: float, error: BaseException) -> None:
    """Log a failed attempt of a handler, with its traceback if it raised."""
    when = f"at attempt {attempt}; next attempt in {max(0.0, pause_seconds):.3f} s"
    logger.warning(*_told(when, run_id, error), exc_info=_raised(error))


def _told(when: str, run_id: str, error: BaseException) -> tuple[str, str, str]:
    # Not str(error), which may name the run too.
    what = "" if error.__traceback__ else f": {error.args[0]}"
    return "the handler failed %s [run=%s]", f"{when}{what}", run_id


def _raised(error: BaseException) -> BaseException | None:
    """Return *error* if it was raised, so that it has a traceback to show."""
    return error if error.__traceback__ else None
