"""What comes for the runs of an application from outside them: events and signals, from its code and over HTTP."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ._core.events import DEEPEST, Event, check_signal, is_timestamp, is_too_deep, sent_events, signal_result
from ._core.limits import Limits
from ._core.model import RecordedRequest, RecordedResponse
from .engines.base import Engine
from .engines.ulids import new_ulid
from .errors import ConfigurationError, EventError, RequestTooLargeError
from .exchange import Holder


class Inbox:
    """
    Takes events and signals.

    Args:
        engine: Records them, and wakes the runs that wait for them.
        limits: How large they may be.
        event_key: Opens the HTTP route; empty if there is none.

    Raises:
        ConfigurationError: *event_key* cannot be part of a URL.
    """

    def __init__(self, engine: Engine, limits: Limits, event_key: str) -> None:
        if "/" in event_key:
            raise ConfigurationError("the event key has a slash, so no URL can hold it in one part: choose another one")
        self.event_key = event_key
        self._engine = engine
        self._limits = limits

    async def send(self, events: Event | Sequence[Event]) -> list[str]:
        """Record *events*, all of them or none; return their IDs. Raises `EventError`."""
        sent = sent_events(events, lambda _: new_ulid(), self._engine.clock.now(), self._limits)
        await self._engine.send_events(sent)
        return [event.id for event in sent]

    async def send_signal(self, name: str, data: Any) -> bool:
        """Wake the step that waits for a signal; return whether there was one. Raises `EventError`."""
        check_signal(name)
        return await self._engine.send_signal(name, signal_result(name, data, self._limits))

    async def receive(self, key: str, holder: Holder) -> RecordedResponse:
        """
        Return the answer to a request that sends events, as Inngest's SDKs do.

        It holds their IDs; ``401`` for a wrong key; ``400`` for what is not an event, and ``413`` for what is too
        large: then none of them is recorded.
        """
        if not hmac.compare_digest(key.encode(errors="surrogatepass"), self.event_key.encode()):
            return _answer(401, {"error": "Event key not found"})
        try:
            request = await holder.request()
            events = _events(request)
        except RequestTooLargeError as error:
            return _answer(413, {"error": str(error)})
        except ValueError as error:
            return _answer(400, {"error": str(error)})
        try:
            ids = await self.send(events)
        except EventError as error:
            # Everything else has been checked.
            return _answer(413, {"error": str(error)})
        return _answer(200, {"ids": ids})


class _Received(msgspec.Struct):
    """An event as Inngest's SDKs send it; what is not named here (``user``, ``v``, ``meta``) is not kept."""

    name: Any = None
    data: Any = None
    id: Any = None
    ts: Any = None


def _events(request: RecordedRequest) -> list[Event]:
    """Return the events in a request. Raises `ValueError`, which says which of them is wrong, and how."""
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"The body is no JSON: {error}") from error
    if is_too_deep(request.body):
        raise ValueError(f"The body is nested more than {DEEPEST} levels deep")
    items = body if isinstance(body, list) else [body]
    return [
        _event(item, f"Event {index}" if isinstance(body, list) else "The event") for index, item in enumerate(items)
    ]


def _event(item: Any, which: str) -> Event:
    if not isinstance(item, dict):
        raise ValueError(f"{which} is no JSON object")
    event = msgspec.convert(item, _Received)
    if not isinstance(event.name, str) or not event.name:
        raise ValueError(f"{which} has no name: it is a non-empty text")
    if event.data is not None and not isinstance(event.data, dict):
        raise ValueError(f"{which}, {event.name!r}: its data is no JSON object")
    if event.id is not None and not isinstance(event.id, str):
        raise ValueError(f"{which}, {event.name!r}: its id is no text")
    if event.ts is not None and not is_timestamp(event.ts):
        raise ValueError(f"{which}, {event.name!r}: its ts is no number of milliseconds since the epoch")
    return Event(event.name, event.data or {}, event.id or "", event.ts or 0)


def _answer(status: int, body: dict[str, Any]) -> RecordedResponse:
    headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    return RecordedResponse(status, headers, json.dumps({**body, "status": status}).encode())
