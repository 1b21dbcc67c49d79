"""What is sent to an Inngest server and what it answers: operations, bodies of calls, durations and IDs. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from hashlib import sha1
from importlib.metadata import version
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ..._core.events import REQUEST_EVENT
from ..._core.limits import MIB
from ...errors import LimitExceededError, RequestTooLargeError

# What the server takes: a call that begins a run, the data of one step, and a response to a dispatch. It cuts off or
# drops what is larger, mostly without a word, so nothing larger is sent.
LARGEST_CREATE = 4 * MIB
LARGEST_STEP_DATA = 4 * MIB - 64
LARGEST_ANSWER = 7 * MIB + MIB // 2
LONGEST_SECONDS = 366 * 86400.0

# Who speaks, as the header X-Inngest-SDK says it with every call and every answer.
SDK = f"inngest-durable:v{version('inngest-durable')}"

_REQUEST_VERSION = 2
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_ALPHABET}]{{25}}")

T = TypeVar("T")


class ProtocolError(Exception):
    """The server has answered something that the protocol does not have. Never shown to user code."""


class Op(Struct, frozen=True, omit_defaults=True):
    """
    One operation that is reported to the server.

    Attributes:
        op: Its kind, e.g. ``"StepRun"``.
        id: `step_hash` of its ID.
        name: What the kind takes for a name: a duration, or the name of an event.
        displayName: What people see.
        opts: What else the kind takes.
        data: What a step returned, as JSON.
        userland: Holds the ID itself.
        timing: When it began (``a``) and how long it took (``b``), in nanoseconds.
    """

    op: str
    id: str
    name: str = ""
    displayName: str = ""  # noqa: N815 - as it is on the wire
    userland: dict[str, str] = {}
    # Sent even if it is empty, as the server's other clients do.
    opts: dict[str, str] | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    timing: dict[str, int] | UnsetType = UNSET

    @property
    def op_id(self) -> str:
        """The ID that `id` is the hash of; empty if it is not known."""
        return self.userland.get("id", "")

    def json(self) -> bytes:
        """Return the operation as it is sent."""
        return _json.encode(self)


class HttpRequestEvent(Struct, frozen=True, kw_only=True):
    """
    The request that began a run, as the server keeps it and sends it again at each dispatch.

    Attributes:
        domain: ``scheme://host[:port]``.
        path: Without the query.
        method: E.g. ``"POST"``.
        query_params: The query string.
        content_type: Of the body.
        ip: Address of the client, or empty.
        body: As it came; base64 on the wire.
        fn: Name of the function at the server; empty for method and path.
    """

    domain: str = ""
    path: str = ""
    method: str = ""
    query_params: str = ""
    content_type: str = ""
    ip: str = ""
    body: bytes = b""
    fn: str = ""


class Created(Struct, frozen=True):
    """
    The server's answer to the call that begins a run.

    Attributes:
        fn_id, app_id: The server's IDs of function and application, for later calls.
        run_id: The run.
        token: Opens the run's output; empty if no step was sent.
    """

    fn_id: str
    app_id: str
    run_id: str
    token: str = ""


class Data(Struct, frozen=True):
    """A step's stored result."""

    value: Raw


class Error(Struct, frozen=True):
    """A step's stored error."""

    value: Raw


class Input(Struct, frozen=True):
    """Arguments that somebody gave a step which has no result yet."""

    value: Raw


def step_hash(op_id: str) -> str:
    """Return what the server knows an operation's ID by."""
    return sha1(op_id.encode()).hexdigest()


def step_run(
    op_id: str, display: str, data: bytes, started_at: float | None = None, ended_at: float | None = None
) -> Op:
    """Return the operation of a finished step: *data* is JSON, the times are in seconds since the epoch."""
    if started_at is None or ended_at is None:
        return _op("StepRun", op_id, display, display, data=Raw(data))
    timing = {"a": _nanoseconds(started_at), "b": max(0, _nanoseconds(ended_at - started_at))}
    return _op("StepRun", op_id, display, display, data=Raw(data), timing=timing)


def sleep(op_id: str, seconds: float, display: str) -> Op:
    """Return the operation that makes the server dispatch the run after *seconds*. Raises as `go_duration`."""
    return _op("Sleep", op_id, go_duration(seconds), display)


def discovery(op_id: str) -> Op:
    """Return the operation that makes the server dispatch the run at once."""
    return _op("DiscoveryRequest", op_id, op_id, op_id)


def wait_for_event(op_id: str, name: str, if_exp: str, timeout_seconds: float, display: str) -> Op:
    """
    Return the operation that waits for an event.

    Args:
        op_id: Its ID.
        name: The event's name.
        if_exp: CEL over ``async``, or empty for any event of that name.
        timeout_seconds: How long to wait.
        display: What people see.

    Raises:
        LimitExceededError: The wait is too long.
    """
    opts = {"event": name, "timeout": go_duration(timeout_seconds)}
    return _op("WaitForEvent", op_id, name, display, opts | ({"if": if_exp} if if_exp else {}))


def wait_for_signal(op_id: str, signal: str, timeout_seconds: float, display: str) -> Op:
    """Return the operation that waits for a signal; it fails if another one waits for it. Raises as `go_duration`."""
    opts = {"signal": signal, "timeout": go_duration(timeout_seconds), "conflict": "fail"}
    return _op("WaitForSignal", op_id, signal, display, opts)


def run_complete(data: bytes) -> Op:
    """Return the operation that ends a run; *data* is what `answers.completion` returns."""
    return _op("RunComplete", "complete", "complete", "complete", data=Raw(data))


def go_duration(seconds: float) -> str:
    """
    Return a duration as the server reads it, such as ``"1.5s"`` or ``"250ms"``.

    It is rounded up to a millisecond, so that nothing is due too early, and is 1 ms at least: the server takes none
    for no duration at all.

    Raises:
        LimitExceededError: It is longer than the server waits.
        ValueError: It is no number.
    """
    if math.isnan(seconds):
        raise ValueError("a duration is a number of seconds, not NaN")
    if seconds > LONGEST_SECONDS:
        days = "no end" if math.isinf(seconds) else f"{seconds / 86400:,.1f} days"
        raise LimitExceededError(
            f"the Inngest server waits for 366 days at most, not {days}: use several sleeps or waits one after another"
        )
    # Times are seconds since the epoch, which a float holds to some 0.2 µs: no millisecond is added for that.
    milliseconds = max(1, math.ceil(round(seconds * 1000, 3)))
    whole, rest = divmod(milliseconds, 1000)
    if not whole:
        return f"{rest}ms"
    return f"{whole}.{rest:03}".rstrip("0") + "s" if rest else f"{whole}s"


def create_body(run_id: str, event: HttpRequestEvent, steps: Sequence[Op], retries: int, ts: int) -> bytes:
    """
    Return the body of the call that begins a run.

    Args:
        run_id: The run's ID.
        event: The client's request.
        steps: What is known of the run already. Without any, the answer has no token.
        retries: How often the server repeats a dispatch that failed.
        ts: Current time, in milliseconds since the epoch.

    Raises:
        RequestTooLargeError: It is larger than the server takes.
    """
    body = _json.encode(
        {
            "run_id": run_id,
            "event": {"name": REQUEST_EVENT, "data": event},
            "steps": steps,
            "retries": retries,
            "request_version": _REQUEST_VERSION,
            "ts": ts,
        }
    )
    if len(body) > LARGEST_CREATE:
        raise RequestTooLargeError(
            f"the request's body has {len(event.body):,} bytes, and the call that begins its run {len(body):,}: the "
            f"Inngest server takes {LARGEST_CREATE:,}. Have the client upload large data elsewhere, and send its URL"
        )
    return body


def checkpoint_body(run_id: str, fn_id: str, app_id: str, steps: Sequence[Op], ts: int) -> bytes:
    """Return the body of the call that reports *steps*; *ts* is now, in milliseconds since the epoch."""
    return _json.encode({"run_id": run_id, "fn_id": fn_id, "app_id": app_id, "steps": steps, "ts": ts})


def parse_created(body: bytes) -> Created:
    """Return the server's answer to the call that begins a run. Raises `ProtocolError`."""
    return _decoded(_created, body, "beginning a run").data


def parse_actions(body: bytes) -> dict[str, Raw]:
    """Return what is stored of a run's operations, by `step_hash`. Raises `ProtocolError`."""
    return _decoded(_actions, body, "the state of a run")


def unwrap(value: Raw) -> Data | Error | Input | Raw:
    """
    Return what a stored value stands for; the value itself if it is no wrapper, as with an event that came.

    A wrapper is an object with one field of that name and perhaps ``type``; an event has a field ``data`` and others.
    """
    try:
        fields = _fields.decode(value)
    except msgspec.DecodeError:
        return value
    names = fields.keys() - {"type"}
    if names == {"data"}:
        return Data(fields["data"])
    if names == {"error"}:
        return Error(fields["error"])
    return Input(fields["input"]) if names == {"input"} else value


def parse_batch(body: bytes) -> HttpRequestEvent:
    """Return the request that began a run. Raises `ProtocolError`, also if something else began it."""
    batch = _decoded(_batch, body, "the events of a run")
    if not batch or batch[0].name != REQUEST_EVENT:
        names = ", ".join(event.name for event in batch) or "nothing"
        raise ProtocolError(f"the run was begun by {names}, not by {REQUEST_EVENT}")
    return batch[0].data


def is_run_id(text: str) -> bool:
    """Tell whether *text* is a ULID as runs have it, and so fit to stand in a URL."""
    return _ULID.fullmatch(text) is not None


class _CreatedAnswer(Struct):
    data: Created


class _BatchEvent(Struct):
    name: str
    data: HttpRequestEvent


_json = msgspec.json.Encoder()
_created = msgspec.json.Decoder(_CreatedAnswer)
_actions = msgspec.json.Decoder(dict[str, Raw])
_fields = msgspec.json.Decoder(dict[str, Raw])
_batch = msgspec.json.Decoder(list[_BatchEvent])


def _op(kind: str, op_id: str, name: str, display: str, opts: dict[str, str] | None = None, **others: Any) -> Op:
    return Op(kind, step_hash(op_id), name, display, {"id": op_id}, opts or {}, **others)


def _nanoseconds(seconds: float) -> int:
    # By way of whole microseconds: a float of nanoseconds since the epoch is exact to 256 only.
    return round(seconds * 1e6) * 1000


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = body[:200].decode(errors="replace")
        raise ProtocolError(f"the answer about {what} is not as expected: {error}: {start!r}") from error
