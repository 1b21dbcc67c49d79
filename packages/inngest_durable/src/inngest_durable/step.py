"""
Steps for ``async def`` handlers: ``from inngest_durable import step``.

Calling a step takes its key at once, in the order of the handler's code, and returns a coroutine to await, to gather
or to wrap in a task. ``def`` handlers, which run in threads, use the same names from `inngest_durable.sync`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, ParamSpec, TypeVar, overload

from . import _context, _event_steps, _steps
from ._core import duration
from ._core.events import Event, Signal
from ._core.options import StepOptions
from ._fetch import FetchRequest, FetchResponse, fetch_on_loop
from ._task_pass import TaskPass

__all__ = [
    "fetch",
    "idempotency_key",
    "invoke",
    "run",
    "send_event",
    "send_signal",
    "sleep",
    "sleep_until",
    "wait_for_event",
    "wait_for_signal",
]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def run(
    step_id: str | StepOptions, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]: ...
@overload
def run(
    step_id: str | StepOptions, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]: ...
def run(step_id: str | StepOptions, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
    """
    Run *fn* once per run and remember what it returned.

    A later replay returns the memo without calling *fn*. Execution is at least once: if the process dies after *fn*
    returns but before the checkpoint, *fn* is called again, so pass `idempotency_key` to outside services.

    Args:
        step_id: Name of the step, e.g. ``"reserve-flight"``, or `StepOptions`. Repeats get ``:1``, ``:2``.
        fn: ``async def`` function, or a ``def`` one, which runs in a thread. Returns JSON, or what msgspec can encode.
        *args: Arguments of *fn*.
        **kwargs: Keyword arguments of *fn*.

    Returns:
        What *fn* returned, encoded as JSON and decoded to its return annotation (without one, to plain JSON types, so
        tuples become lists). The same on the first call and at every replay.

    Raises:
        StepError: *fn* failed on every attempt, or raised `NonRetriableError`. ``__cause__`` is set on the first run.
        StepUsageError: Called outside an endpoint or inside another step, or a replay reached another step's memo.
    """
    attempt: Coroutine[Any, Any, Any] = _steps.run(TaskPass, step_id, fn, args, kwargs)
    return attempt


def sleep(step_id: str, pause: duration.Duration) -> Coroutine[Any, Any, None]:
    """
    Pause the run, without holding anything in memory meanwhile.

    Args:
        step_id: Name of the step.
        pause: How long, e.g. ``"30s"``, ``"24h"`` or a timedelta, counted from when the step is first reached.

    Raises:
        ValueError: *pause* is not a duration.
        StepUsageError: As in `run`.
    """
    pausing: Coroutine[Any, Any, None] = _steps.sleep(
        TaskPass, step_id, lambda now: now + duration.seconds(pause), str(pause)
    )
    return pausing


def sleep_until(step_id: str, moment: datetime) -> Coroutine[Any, Any, None]:
    """
    Pause the run until *moment*.

    Args:
        step_id: Name of the step.
        moment: A timezone-aware datetime. If it is in the past, the run does not pause.

    Raises:
        ValueError: *moment* has no time zone.
        StepUsageError: As in `run`.
    """
    wake_at = duration.timestamp(moment)
    pausing: Coroutine[Any, Any, None] = _steps.sleep(TaskPass, step_id, lambda now: wake_at, "sleep_until")
    return pausing


def fetch(
    step_id: str | StepOptions,
    url: str,
    *,
    method: str = "GET",
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    content: bytes | str | None = None,
    timeout: duration.Duration = "30s",
) -> Coroutine[Any, Any, FetchResponse]:
    """
    Send an HTTP request once per run and remember the response.

    A 5xx or 429 response, or a connection error, is a failed attempt; it is retried by the step's policy, or when
    ``Retry-After`` says. Any other response is returned. Redirects are followed. The request carries the step's
    `idempotency_key` as ``Idempotency-Key``, unless *headers* has one. A request that cannot be sent, and a response
    whose body is over ``Limits.step_result``, are not tried again; of such a body no more is read.

    Args:
        step_id: Name of the step, or `StepOptions`.
        url: Where to send the request.
        method: E.g. ``"POST"``.
        params: Query parameters, added to those of *url*.
        headers: Headers of the request.
        json: Body, encoded as JSON.
        content: Body to send as it is, in place of *json*.
        timeout: How long connecting may take, and each wait for the next bytes.

    Raises:
        StepError: Every attempt failed. After a last 5xx or 429 response its ``name`` is ``"FetchStatusError"``, or
            ``"RetryAfterError"`` if that had ``Retry-After``.
        StepValueError: *json* has no JSON form.
        ValueError: *json* and *content* are both given, or *timeout* is not a duration.
        StepUsageError: As in `run`.
    """
    request = FetchRequest.of(url, method, params, headers, json, content, timeout)
    fetching: Coroutine[Any, Any, FetchResponse] = _steps.run(TaskPass, step_id, fetch_on_loop, (request,), {})
    return fetching


def wait_for_event(
    step_id: str | StepOptions,
    *,
    event: str,
    match: str | Mapping[str, Any] | None = None,
    if_exp: str | None = None,
    timeout: duration.Duration,
    since: Literal["run"] | None = None,
) -> Coroutine[Any, Any, Event | None]:
    """
    Wait for an event, without holding anything in memory meanwhile. One event wakes every run that waits for it.

    The run's own event, for comparison, is its request: ``data`` holds the query parameters as strings and the fields
    of a JSON body, which override them.

    Args:
        step_id: Name of the step.
        event: Name of the event, e.g. ``"trip/approved"``.
        match: What the event must hold. A path such as ``"data.requestId"`` means the value that the run's own event
            has there; a dict such as ``{"data.requestId": trip.id}`` means these values. They are compared as JSON:
            ``"17"`` is not ``17``.
        if_exp: CEL expression over ``event``, the run's own event, and ``async``, the incoming one; needs the extra
            ``inngest-durable[cel]``. An expression that fails, e.g. because a field is missing, does not match. Without
            *match* it is evaluated for each run that waits for an event of this name, some 20 µs each; *match* is
            looked up in an index.
        timeout: How long to wait, e.g. ``"24h"`` or a timedelta, counted from when the step is first reached. An event
            that comes later is not taken.
        since: ``"run"`` also takes an event that was received after the run began and before this step was reached:
            the earliest first, and each event once in a run, except by steps that wait at the same time. By default,
            only an event that comes from now on is taken.

    Returns:
        The event, or None if none came in time.

    Raises:
        ValueError: *timeout* is not a duration.
        EventError: *match* or *if_exp* cannot work.
        StepUsageError: As in `run`.
    """
    waiting: Coroutine[Any, Any, Event | None] = _event_steps.wait_for_event(
        TaskPass, step_id, event, match, if_exp, timeout, since
    )
    return waiting


def send_event(step_id: str | StepOptions, events: Event | Sequence[Event]) -> Coroutine[Any, Any, list[str]]:
    """
    Send events, exactly once in a run: they are stored in the same commit as the step.

    Args:
        step_id: Name of the step.
        events: One `Event`, or several.

    Returns:
        Their IDs. An event without an ID gets one made from the IDs of the run and the step.

    Raises:
        EventError: One of them is too large or has no JSON form; then none is sent.
        StepUsageError: As in `run`.
    """
    sending: Coroutine[Any, Any, list[str]] = _event_steps.send_event(TaskPass, step_id, events)
    return sending


def wait_for_signal(
    step_id: str | StepOptions, *, signal: str, timeout: duration.Duration
) -> Coroutine[Any, Any, Signal | None]:
    """
    Wait for a signal, which is sent by its name to this step alone.

    Args:
        step_id: Name of the step.
        signal: Name of the signal. Only one step at a time can wait for it.
        timeout: How long to wait, counted from when the step is first reached.

    Returns:
        The signal, or None if it did not come in time. A signal sent before the step is reached is lost.

    Raises:
        ValueError: *timeout* is not a duration.
        SignalTakenError: Another step waits for this signal; raised again at every replay.
        StepUsageError: As in `run`.
    """
    waiting: Coroutine[Any, Any, Signal | None] = _event_steps.wait_for_signal(TaskPass, step_id, signal, timeout)
    return waiting


def send_signal(step_id: str | StepOptions, signal: str, data: Any = None) -> Coroutine[Any, Any, bool]:
    """
    Wake the step that waits for a signal, exactly once in a run.

    Args:
        step_id: Name of the step.
        signal: Name of the signal.
        data: Any JSON.

    Returns:
        Whether a step waited for it. If not, the signal is lost.

    Raises:
        EventError: *data* is too large or has no JSON form.
        StepUsageError: As in `run`.
    """
    sending: Coroutine[Any, Any, bool] = _event_steps.send_signal(TaskPass, step_id, signal, data)
    return sending


def invoke(
    step_id: str | StepOptions,
    *,
    endpoint: Callable[..., Any] | str,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    timeout: duration.Duration = "365d",
) -> Coroutine[Any, Any, Any]:
    """
    Call another endpoint of the application as a child run, and wait for its end.

    The child runs once, however often either run is interrupted. Its request goes through the application like any
    other, hooks included, with the host, the ``Authorization`` and the cookies of this run's request. Cancelling this
    run cancels the child; if this run fails, by its deadline too, the child goes on by itself.

    Args:
        step_id: Name of the step.
        endpoint: The handler decorated with ``@inngest.endpoint``, or the endpoint's ID.
        params: Values for the route's path, and for the query string. In a path, each must be a value that the route
            matches; in the query string, None is left out, and a list is repeated.
        json: The request's body, at most ``Limits.request_body`` bytes as JSON. Without one, the request is a GET if
            the route takes GET.
        timeout: How long to wait for the child. After that, the child goes on by itself.

    Returns:
        The child's response, decoded from JSON.

    Raises:
        StepError: The child failed, answered with a status other than success, or did not end in time;
            ``child_run_id`` names its run.
        StepUsageError: There is no such endpoint, or none of its routes takes these *params*; or as in `run`.
        EventError: *json* has no JSON form.
        LimitExceededError: *json* is too large.
    """
    calling: Coroutine[Any, Any, Any] = _event_steps.invoke(TaskPass, step_id, endpoint, params, json, timeout)
    return calling


def idempotency_key() -> str:
    """
    Return a key that is the same at every attempt of the running step, even after a crash.

    Call it inside a step's function and pass the key to outside services that accept one (payment providers do), so
    that they do not repeat an effect after a crash. The key is 32 hexadecimal characters.

    Raises:
        OutsideStepError: Called outside a step's function.
    """
    return _context.idempotency_key()
