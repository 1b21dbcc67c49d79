"""A step that calls another endpoint as a child run, as a generator: see `step_flow`. All its policy is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from ..errors import StepError
from .effects import Invoke, StepFlow
from .event_flow import NOTHING, waited
from .events import json_of
from .journal import Journal, StepIdentity
from .model import Failure, Finish, Idempotency, RecordedRequest, RecordedResponse, Run, RunStatus, StepOp, StepState

# The scope of the idempotency keys of child runs: not a digest, unlike those of clients' requests.
INVOKED = "invoke"
# A child run acts for the sender of the request of the run that calls it.
_KEPT_HEADERS = frozenset((b"host", b"authorization", b"cookie"))


def invoke(journal: Journal, step: StepIdentity, child: Callable[[], Run], wake_at: float) -> StepFlow:
    """
    Start a child run, once in a run, and wait for its end until *wake_at*; return what it answered.

    Raises `StepError` if it failed, did not answer with a status of success, or did not end in time. In the last case
    it goes on.
    """
    memo = yield from waited(journal, step, StepOp.INVOKE, lambda: Invoke(child()), wake_at, late)
    if memo.state is StepState.FAILED:
        failure = memo.failure or Failure("UnknownError", "no error was recorded")
        raise StepError(
            step.run_id, step.key, memo.attempt, failure.name, failure.message, failure.traceback, failure.run_id
        )
    return msgspec.json.decode(memo.result or NOTHING)


def late(child_id: str = "") -> Failure:
    """Return the failure of a step that no longer waits for its child run; the engine knows which run that is."""
    return Failure("InvokeTimeoutError", "the child run did not end within the timeout; it goes on", "", child_id)


def child_request(
    caller: RecordedRequest, method: str, path: str, query: str, body: Any, host: str | None = None
) -> RecordedRequest:
    """
    Return the request of a child run: as *caller*'s client would send it, with its host, authorization and cookies.

    Args:
        caller: The request of the run that calls.
        method: The method.
        path: Quoted, without the root path.
        query: The query string, quoted.
        body: Sent as JSON; None for no body.
        host: Where it is sent; None for where the caller's request was sent.

    Raises:
        EventError: *body* has no JSON form.
    """
    data = b"" if body is None else json_of(body, "the body for the child run")
    root_path = caller.path.removesuffix(caller.own_path)
    named = [] if host is None else [(b"host", host.encode())]
    names = _KEPT_HEADERS - {name for name, _ in named}
    kept = [header for header in caller.headers if header[0].lower() in names]
    typed = [] if body is None else [(b"content-type", b"application/json")]
    return replace(
        caller,
        method=method,
        path=root_path + unquote(path),
        raw_path=(quote(root_path) + path).encode(),
        query_string=query.encode(),
        headers=(*named, *kept, (b"accept", b"application/json"), *typed, (b"content-length", str(len(data)).encode())),
        client=None,
        body=data,
    )


def family(run_id: str, key: str) -> Idempotency:
    """Return what makes the child run of a step the only one, and distinguishes a child from other runs."""
    return Idempotency(INVOKED, f"{run_id}/{key}", INVOKED)


def is_child(run: Run) -> bool:
    """Return whether another run waits, or has waited, for the end of *run*."""
    return run.idempotency is not None and run.idempotency.scope == INVOKED


def result_of(run_id: str, finish: Finish) -> bytes | Failure:
    """Return what the end of a child run means for the step that waits for it: a result as JSON, or a failure."""
    response = finish.response
    if finish.status is RunStatus.CANCELLED:
        return Failure("RunCancelledError", "the child run was cancelled", "", run_id)
    if finish.status is not RunStatus.COMPLETED:
        failure = finish.failure or Failure("UnknownError", "no error was recorded")
        return Failure(failure.name, failure.message, failure.traceback, run_id)
    if response is None:
        return Failure("ChildResponseError", "the child run ended without a response", "", run_id)
    if not 200 <= response.status < 300:
        return Failure(
            "ChildResponseError", f"the child run answered {response.status}: {_start(response)}", "", run_id
        )
    try:
        return _json(response)
    except ValueError:
        return Failure("ChildResponseError", f"the child run's answer is no JSON: {_start(response)}", "", run_id)


def _json(response: RecordedResponse) -> bytes:
    if not response.body:
        return NOTHING
    value: Any = msgspec.json.decode(response.body)
    return msgspec.json.encode(value)


def _start(response: RecordedResponse) -> str:
    text = response.body[:200].decode(errors="replace")
    return f"{text}…" if len(response.body) > 200 else text
