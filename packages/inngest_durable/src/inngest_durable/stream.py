"""
The stream of a run's events, as `text/event-stream`; see `docs/run-events.md`. Knows no framework.

Only its place is kept for a reader: events are read from the store in pages, at the pace of the client.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

from ._core import http
from ._core.model import Headers, RecordedResponse, Run
from ._core.run_events import END_NUMBER, RunEvent, end_of
from .engines.base import Engine

HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
# Events that are in memory at a time, for one reader.
PAGE = 100
# No event has a longer ID: a client has made that up, and neither int() nor SQLite takes numbers of any length.
_MOST_DIGITS = len(str(END_NUMBER))
# The ID of `result`, after which nothing comes.
END = "end"
# For a browser they are no ends of a line. A reader that splits text as Python does would cut an event there.
_ESCAPED = str.maketrans({separator: f"\\u{ord(separator):04x}" for separator in "\u0085\u2028\u2029"})

_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # For nginx, which would otherwise keep the events until it has 8 KiB of them.
    (b"x-accel-buffering", b"no"),
)


def events_answer(engine: Engine, run_id: str, last_event_id: str) -> http.StreamedResponse | RecordedResponse:
    """
    Return the stream of a run that exists, after the event that the client has seen last.

    A client that has seen the end is answered ``204``: an `EventSource` would otherwise connect again and again.
    """
    if last_event_id == END:
        return RecordedResponse(204, http.own_headers(run_id), b"")
    is_number = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _MOST_DIGITS
    number = int(last_event_id) if is_number else 0
    return http.StreamedResponse(200, (*_HEADERS, *http.own_headers(run_id)), events(engine, run_id, number))


async def events(engine: Engine, run_id: str, after: int = 0) -> AsyncGenerator[bytes, None]:
    """
    Yield the events of a run numbered above *after*, then each new one, then its result.

    Ends without a result when the engine stops, so that the client connects again.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    with engine.watch(run_id) as watch:
        while True:
            # In this order: what is committed while it is read is news, and no event comes after the end.
            watch.look()
            stops, status = watch.closed, engine.status(run_id)
            found = engine.run_events(run_id, after, PAGE)
            if found:
                after = found[-1].id
                yield b"".join(map(_event, found))
            if len(found) == PAGE:
                continue
            if status is None or status.is_final:
                break
            if stops:
                return
            if not await watch.news(HEARTBEAT_SECONDS):
                yield b": heartbeat\n\n"
    run = await engine.ended(run_id, 0)
    if run is not None and run.status.is_final:
        if after < END_NUMBER:
            yield _event(end_of(run))
        yield _message(END, "result", _result(run))


def _event(event: RunEvent) -> bytes:
    return _message(str(event.id), event.kind, f'{{"at":{event.at!r},{event.data[1:]}')


def _message(message_id: str, kind: str, data: str) -> bytes:
    # JSON has no line breaks outside its strings, and escapes those of ASCII in them: one line of data.
    return f"id: {message_id}\nevent: {kind}\ndata: {data.translate(_ESCAPED)}\n\n".encode()


def _result(run: Run) -> str:
    response = run.response or http.without_response(run)
    headers: dict[str, str] = {}
    for name, value in response.headers:
        if name != b"set-cookie":
            text, given = value.decode("latin-1"), headers.get(name.decode("latin-1"))
            headers[name.decode("latin-1")] = text if given is None else f"{given}, {text}"
    result = {"run_status": run.status.value, "status": response.status, "headers": headers}
    return json.dumps(result | _body(headers.get("content-type", ""), response.body), separators=(",", ":"))


def _body(content_type: str, body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"body": None, "base64": base64.b64encode(body).decode()}
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return {"body": json.loads(text)}
        except ValueError:
            pass
    return {"body": text}
