"""The bodies of calls to an Inngest server, and of its answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from ..._core.events import REQUEST_EVENT
from ..._core.limits import MIB
from ...errors import RequestTooLargeError
from .ops import Op

# What the server takes: a call that begins a run, and a response to a dispatch. It cuts off or drops what is larger,
# mostly without a word, so nothing larger is sent; what one step may hold is among `caps`.
LARGEST_CREATE = 4 * MIB
LARGEST_ANSWER = 7 * MIB + MIB // 2

# Who speaks, as the header X-Inngest-SDK says it with every call and every answer.
SDK = f"inngest-durable:v{version('inngest-durable')}"

_REQUEST_VERSION = 2
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_ALPHABET}]{{25}}")

T = TypeVar("T")


class ProtocolError(Exception):
    """The server has answered something that the protocol does not have. Never shown to user code."""


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
    Return what a stored value stands for; the value itself if it is not a wrapper, as with an event that came.

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
    """Return whether *text* is a ULID as runs have it, and so safe in a URL."""
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


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = body[:200].decode(errors="replace")
        raise ProtocolError(f"the answer about {what} is not as expected: {error}: {start!r}") from error
