"""What the wait URL answers: holds until the run has ended, then gives the response that the handler gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from ._core import http
from ._core.model import RecordedResponse, RunStatus
from .engines.base import Engine
from .errors import RunNotFoundError
from .stream import events_answer

_NO_SUCH_RUN = http.answer(404, {"error": "There is no such run, or the token is not that run's token"})


@dataclass(frozen=True, slots=True)
class OutputQuery:
    """
    What a request to the wait URL asks for.

    Attributes:
        method: ``GET``, ``HEAD``, ``DELETE`` or ``OPTIONS``.
        path: Path of this URL as the client sees it, quoted, to send it here again.
        parameters: The query parameters to keep when it is sent here again.
        run_id: ULID of the run, or empty.
        token: The run's token, or empty.
        rounds: How often the client has been sent here again.
        prefer: The ``Prefer`` header, if any.
        origin: The ``Origin`` header, if any.
        follows: Whether it asks for the events of the run, not for its answer.
        last_event_id: The last event that the client has seen, or empty.
        root_path: Prefix of the application's URLs.
        most_seconds: How long it may be held at most, whatever its client prefers.
    """

    method: str
    path: str
    parameters: dict[str, str] = field(repr=False)
    run_id: str
    token: str = field(repr=False)
    rounds: int
    prefer: str | None
    origin: str | None
    follows: bool = False
    last_event_id: str = ""
    root_path: str = ""
    most_seconds: float = http.WAIT_SECONDS


async def output_or_events(engine: Engine, cors: http.Cors, query: OutputQuery, may_hold: bool = True) -> http.Answer:
    """Return the answer of the wait URL, or the stream of events that its client asks for."""
    if not query.follows or query.method not in ("GET", "HEAD"):
        return await output(engine, cors, query, may_hold)
    if (refused := await _refused(engine, query)) is not None:
        return http.with_headers(refused, cors.headers(query.origin))
    return http.with_headers(events_answer(engine, query.run_id, query.last_event_id), cors.headers(query.origin))


async def output(engine: Engine, cors: http.Cors, query: OutputQuery, may_hold: bool = True) -> RecordedResponse:
    """
    Return the answer of the wait URL.

    The recorded response once the run has ended; ``303`` to itself while it goes on, and ``202`` after 15 rounds, or
    at once if it may not hold; ``410`` for a cancelled run; ``404`` for an unknown run and for a wrong token alike;
    ``400`` without a run ID or token.
    """
    if query.method == "OPTIONS":
        return cors.preflight(query.origin)
    return http.with_headers(await _answer(engine, query, may_hold), cors.headers(query.origin))


async def _answer(engine: Engine, query: OutputQuery, may_hold: bool) -> RecordedResponse:
    if (refused := await _refused(engine, query)) is not None:
        return refused
    if query.method == "DELETE":
        return await _cancelled(engine, query.run_id)
    held_seconds = min(http.prefer_wait(query.prefer), query.most_seconds) if may_hold else 0.0
    run = await engine.ended(query.run_id, held_seconds)
    if run is None:
        return _NO_SUCH_RUN
    if run.status is RunStatus.CANCELLED:
        return http.cancelled(run.id)
    if run.status.is_final:
        return http.replayed(run, query.root_path, query.method)
    if query.rounds + 1 >= http.WAIT_ROUNDS or not may_hold:
        later = b"5" if may_hold else b"1"
        return http.answer(202, {"status": "running", "run_id": run.id}, run.id, ((b"retry-after", later),))
    again = urlencode(query.parameters | {"n": str(query.rounds + 1)})
    return http.redirect(f"{query.path}?{again}", run.id)


async def _refused(engine: Engine, query: OutputQuery) -> RecordedResponse | None:
    """Return the answer to a client without the run's token; None if it has the token."""
    if not query.run_id or not query.token:
        return http.answer(400, {"error": "Missing runId or token query parameter"})
    return None if await engine.opens(query.run_id, query.token) else _NO_SUCH_RUN


async def _cancelled(engine: Engine, run_id: str) -> RecordedResponse:
    """Cancel a run; return ``202``, even if it was cancelled before, or ``409`` if it has ended otherwise."""
    try:
        is_new = await engine.cancel(run_id)
    except RunNotFoundError:
        return _NO_SUCH_RUN
    status = engine.status(run_id) or RunStatus.CANCELLED
    if is_new or status is RunStatus.CANCELLED:
        return http.answer(202, {"status": "cancelled", "run_id": run_id}, run_id)
    text = f"The run has {status.value} already: there is nothing to cancel"
    return http.answer(409, {"error": text, "status": status.value, "run_id": run_id}, run_id)
