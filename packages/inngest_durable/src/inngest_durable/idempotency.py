"""Requests with an ``Idempotency-Key``: the first one begins a run, and a repeated one is answered with that run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ._core import http
from ._core.idempotency import HTTP_SPACE, identity_of, scope_of
from ._core.model import Idempotency, Park, RecordedRequest, RecordedResponse, Run, RunStatus
from ._pass import CLIENT_GONE, UNWRITABLE
from .engines.base import Claim, Engine, FencedError, UnavailableError
from .exchange import EndpointAdapter, Holder, wait_url

if TYPE_CHECKING:
    from .endpoint import EndpointOptions

FOLLOWED = "its client follows the events"


class KeyedRequests:
    """
    The requests to one endpoint that have an ``Idempotency-Key``.

    Args:
        options: The endpoint's settings.
        engine: Records the runs.
        adapter: The framework's adapter.
    """

    def __init__(self, options: EndpointOptions, engine: Engine, adapter: EndpointAdapter) -> None:
        self._options = options
        self._engine = engine
        self._adapter = adapter

    async def accept(self, holder: Holder, request: RecordedRequest, key: str) -> Claim | None:
        """Begin a run for the first request with this key; None when the request is answered without a pass."""
        same = identity_of(self._keys(), key, request, holder.owner)
        if same is None:
            holder.answer(http.answer(400, {"error": "Idempotency-Key must have 1 to 255 characters"}))
            return None
        try:
            return await self._begin_or_repeat(holder, request, same)
        except UnavailableError:
            holder.answer(http.unavailable(UNWRITABLE))
            return None

    async def _begin_or_repeat(self, holder: Holder, request: RecordedRequest, same: Idempotency) -> Claim | None:
        follows = http.wants_events(request.header(b"accept"))
        existing = await self._engine.find(same.scope, same.key)
        if existing is None:
            claim = self._engine.begin(self._options.id, request, self._options.timeout_seconds, same)
            # On disk before the handler's code runs: of two requests at the same time, one is the first.
            if await self._accepted(claim):
                if not follows:
                    return claim
                # A client that asks for the events does not wait for the handler: the engine starts its first pass.
                await claim.park(Park(self._engine.clock.now(), claim.run.attempt), FOLLOWED)
                holder.answer(self._redirect(claim.run, follows))
                return None
            existing = await self._engine.find(same.scope, same.key)
        if existing is None:
            # Neither this request's run nor another one's could be recorded.
            holder.answer(http.unavailable(UNWRITABLE))
        else:
            holder.answer(self._repeated(existing, same, follows))
        return None

    async def look_up(self, key: str, authorization: str | None, owner: str | None) -> RecordedResponse:
        """
        Answer where the run with a key is, or ``404``. Called in the request that asks.

        Its owner must be identified, by the ``Authorization`` header or by the endpoint's *idempotency_scope*:
        otherwise anybody who guessed a key could read the answer.
        """
        scope = scope_of(self._keys(), authorization, owner) if authorization or owner is not None else None
        try:
            run = None if scope is None else await self._find(scope, key.strip(HTTP_SPACE))
        except UnavailableError:
            return http.unavailable(UNWRITABLE)
        if run is None:
            return http.answer(404, {"error": "There is no run with this Idempotency-Key that this request may see"})
        return self._redirect(run, follows=True)

    async def _find(self, scope: str, key: str) -> Run | None:
        run = await self._engine.find(scope, key)
        if run is None and not key.isascii():
            # Bytes of a header count one by one, as in Latin-1; beyond ASCII, many clients send UTF-8.
            run = await self._engine.find(scope, key.encode().decode("latin-1"))
        return run

    def _keys(self) -> str:
        return f"{self._engine.app_id} {self._options.id}"

    async def _accepted(self, claim: Claim) -> bool:
        """Write the run's row; return whether its idempotency key was free."""
        accepting = asyncio.ensure_future(claim.accept())
        try:
            await asyncio.shield(accepting)
        except FencedError:
            return False
        except asyncio.CancelledError:
            # The client went away meanwhile: a run that is accepted goes on.
            self._engine.spawn(self._go_on(accepting, claim))
            raise
        return True

    async def _go_on(self, accepting: asyncio.Future[None], claim: Claim) -> None:
        with contextlib.suppress(FencedError):
            await accepting
            await claim.park(Park(self._engine.clock.now(), claim.run.attempt), CLIENT_GONE)

    def _repeated(self, run: Run, same: Idempotency, follows: bool) -> RecordedResponse:
        """Answer another request with the idempotency key of *run*."""
        if run.status is RunStatus.CANCELLED and run.idempotency is not None and not run.idempotency.digest:
            # An engine that keeps nothing of cancelled runs cannot compare.
            return http.cancelled(run.id)
        if run.idempotency is None or run.idempotency.digest != same.digest:
            text = "This Idempotency-Key was used with another method, path, query or body"
            return http.answer(422, {"error": text})
        if run.response is not None and not follows:
            return http.idempotent_replay(run.response, run.id)
        return self._redirect(run, follows)

    def _redirect(self, run: Run, follows: bool) -> RecordedResponse:
        return http.redirect(wait_url(self._adapter, self._engine, run, is_own=follows), run.id)
