"""What the wait URL answers: holds until the run has ended, then gives the response that the handler gave."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from ._core import http
from ._core.model import RecordedResponse, RunStatus
from .engines.base import Engine


@dataclass(frozen=True, slots=True)
class OutputQuery:
    """
    What a request to the wait URL asks for.

    Attributes:
        method: ``GET``, ``HEAD`` or ``OPTIONS``.
        path: Path of this URL as the client sees it, quoted, to send it here again.
        parameters: The query parameters to keep when it is sent here again.
        run_id: ULID of the run, or empty.
        token: The run's token, or empty.
        rounds: How often the client was sent here again.
        prefer: The ``Prefer`` header, if any.
        origin: The ``Origin`` header, if any.
    """

    method: str
    path: str
    parameters: dict[str, str]
    run_id: str
    token: str
    rounds: int
    prefer: str | None
    origin: str | None


async def output(engine: Engine, cors: http.Cors, query: OutputQuery) -> RecordedResponse:
    """
    Return the answer of the wait URL.

    The recorded response once the run has ended; ``303`` to itself while it goes on, and ``202`` after
    15 rounds; ``410`` for a cancelled run; ``404`` for an unknown run and for a wrong token alike; ``400`` without
    a run ID or token.
    """
    if query.method == "OPTIONS":
        return cors.preflight(query.origin)
    return http.with_headers(await _answer(engine, query), cors.headers(query.origin))


async def _answer(engine: Engine, query: OutputQuery) -> RecordedResponse:
    if not query.run_id or not query.token:
        return http.answer(400, {"error": "Missing runId or token query parameter"})
    run = None
    if engine.check_token(query.run_id, query.token):
        run = await engine.ended(query.run_id, http.prefer_wait(query.prefer))
    if run is None:
        return http.answer(404, {"error": "There is no such run, or the token is not that run's token"})
    if run.status is RunStatus.CANCELLED:
        return http.answer(410, {"status": "cancelled", "run_id": run.id}, run.id)
    if run.status.is_final:
        return http.replayed(run.response or _nothing_recorded(run.id), run.id)
    if query.rounds + 1 >= http.WAIT_ROUNDS:
        return http.answer(202, {"status": "running", "run_id": run.id}, run.id, ((b"retry-after", b"5"),))
    again = urlencode(query.parameters | {"n": str(query.rounds + 1)})
    return http.redirect(f"{query.path}?{again}", run.id)


def _nothing_recorded(run_id: str) -> RecordedResponse:
    return http.answer(500, {"error": "The run ended without a response", "run_id": run_id})
