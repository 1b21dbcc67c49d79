"""Events and signals: what users send and receive, what is stored of them, and a run's own event. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from ..errors import EventError
from .codec import has_unreal_number
from .limits import Limits, exceeded
from .model import RecordedRequest, Run
from .names import is_name

# The name of a run's own event, as in Inngest.
REQUEST_EVENT = "inngest/http.request"
# All that are sent at once are recorded in one commit, for which others wait.
MOST_EVENTS = 5_000
DEEPEST = 100
_YEAR_10_000 = 253_402_300_800_000
# A text, or what begins or ends a level.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]')
_LEVELS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


class Event(Struct, frozen=True):
    """
    Something that happened, for every run that waits for it.

    Args:
        name: What happened, e.g. ``"trip/approved"``.
        data: What there is to say about it: a JSON object.
        id: An event with the same ID counts once within 24 hours; by default each has an ID of its own.
        ts: When it happened, in milliseconds since the epoch; by default when it is sent.

    Raises:
        ValueError: *name* is empty, *data* is not a dict, or *name* or *id* is not valid Unicode.
    """

    name: str
    data: dict[str, Any] = {}
    id: str = ""
    ts: int = 0

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(f"an event's name is a non-empty text of Unicode characters, not {self.name!r}")
        if self.id and not is_name(self.id):
            raise ValueError(f"the ID of event {self.name!r} is a text of Unicode characters, not {self.id!r}")
        if not isinstance(self.data, dict):
            raise ValueError(f"the data of event {self.name!r} is a dict, not a {type(self.data).__qualname__}")


class Signal(Struct, frozen=True):
    """
    What `step.wait_for_signal` returns.

    Args:
        name: The signal's name.
        data: What was sent with it: any JSON.
    """

    name: str = msgspec.field(name="signal")
    data: Any = None


class SentEvent(Struct, frozen=True, gc=False):
    """An event as it is stored: *data* is JSON, *ts* is in milliseconds since the epoch."""

    id: str
    name: str
    data: bytes
    ts: int

    def json(self) -> bytes:
        """Return the whole event as JSON, as a step that waited for it keeps it."""
        return _json.encode({"data": msgspec.Raw(self.data), "id": self.id, "name": self.name, "ts": self.ts})

    def fields(self) -> dict[str, Any]:
        """Return the event as a dict, for conditions to look into."""
        return {"data": msgspec.json.decode(self.data), "id": self.id, "name": self.name, "ts": self.ts}


def is_timestamp(value: object) -> bool:
    """Return whether *value* is a whole number of milliseconds since the epoch, before the year 10,000."""
    return type(value) is int and 0 <= value < _YEAR_10_000


def sent_events(
    events: Event | Sequence[Event], new_id: Callable[[int], str], now: float, limits: Limits
) -> tuple[SentEvent, ...]:
    """
    Return *events* as they are stored.

    Args:
        events: One or several.
        new_id: Returns an ID for the event at that index, if it has none.
        now: Current time, in seconds since the epoch.
        limits: How large an event may be.

    Raises:
        EventError: One of them is not an `Event`, is too large or too deep, or has no JSON form or no such `ts`, or
            there are too many; then none may be sent.
    """
    given = [events] if isinstance(events, Event) else list(events)
    if len(given) > MOST_EVENTS:
        raise EventError(f"{len(given):,} events were to be sent at once, and {MOST_EVENTS:,} can: send them in parts")
    return tuple(_sent(event, index, new_id, now, limits) for index, event in enumerate(given))


def _sent(event: Event, index: int, new_id: Callable[[int], str], now: float, limits: Limits) -> SentEvent:
    if not isinstance(event, Event):
        raise EventError(f"an event is an inngest_durable.Event, not a {type(event).__qualname__}")
    if not is_timestamp(event.ts):
        raise EventError(f"the ts of event {event.name!r} is a whole number of milliseconds, not {event.ts!r}")
    data = json_of(event.data, f"the data of event {event.name!r}")
    if len(data) > limits.event_data:
        raise EventError(f"event {event.name!r}: {exceeded('event_data', len(data), limits.event_data)}")
    if is_too_deep(data):
        raise EventError(f"the data of event {event.name!r} are nested more than {DEEPEST} levels deep")
    return SentEvent(event.id or new_id(index), event.name, data, event.ts or int(now * 1000))


def json_of(value: Any, what: str) -> bytes:
    """Return *value* as JSON. Raises `EventError`, which calls it *what*."""
    try:
        encoded = _json.encode(value)
        unreal = b"null" in encoded and has_unreal_number(msgspec.to_builtins(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EventError(f"{what} has no JSON form: {error}") from error
    if unreal:
        raise EventError(f"{what} has no JSON form: it holds NaN or an infinity")
    return encoded


def is_too_deep(encoded: bytes) -> bool:
    """
    Return whether JSON is nested more than `DEEPEST` levels deep, where conditions do not look for a value.

    Only for what has been decoded: a text without an end would take for ever.
    """
    if encoded.count(b"{") + encoded.count(b"[") <= DEEPEST:
        return False
    level = deepest = 0
    for token in _TOKEN.findall(encoded):
        level += _LEVELS.get(token, 0)
        deepest = max(deepest, level)
    return deepest > DEEPEST


def received(result: bytes | None) -> Event | None:
    """Return the event in the result of a step that waited for one; None if none came."""
    return None if result is None or result == b"null" else _event.decode(result)


def received_signal(result: bytes | None) -> Signal | None:
    """Return the signal in the result of a step that waited for one; None if none came."""
    return None if result is None or result == b"null" else _signal.decode(result)


def check_signal(name: str) -> None:
    """Check the name of a signal. Raises `EventError`."""
    if not is_name(name):
        raise EventError(f"a signal's name is a non-empty text of Unicode characters, not {name!r}")


def signal_result(name: str, data: Any, limits: Limits) -> bytes:
    """
    Return the result of a step that waited for a signal.

    Raises:
        EventError: *data* has no JSON form or is too large.
    """
    what = f"signal {name!r}"
    encoded = json_of(data, f"the data of {what}")
    if len(encoded) > limits.event_data:
        raise EventError(f"{what}: {exceeded('event_data', len(encoded), limits.event_data)}")
    return _json.encode({"signal": name, "data": msgspec.Raw(encoded)})


def run_event(run: Run) -> dict[str, Any]:
    """
    Return the run's own event, which is its request.

    ``data`` holds the query parameters as strings (a repeated one as a list of strings), overridden by the fields of
    the body if that is a JSON object with a JSON content type, not nested too deep. Path parameters are not part of it.
    """
    return {
        "name": REQUEST_EVENT,
        "id": run.id,
        "ts": int(run.created_at * 1000),
        "data": {**_query(run.request), **_body(run.request)},
    }


def _query(request: RecordedRequest) -> dict[str, Any]:
    pairs = parse_qs(request.query_string.decode("latin-1"), keep_blank_values=True, errors="replace")
    return {name: values[0] if len(values) == 1 else values for name, values in pairs.items()}


def _body(request: RecordedRequest) -> dict[str, Any]:
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return {}
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) and not is_too_deep(request.body) else {}


_json = msgspec.json.Encoder()
_event = msgspec.json.Decoder(Event)
_signal = msgspec.json.Decoder(Signal)
