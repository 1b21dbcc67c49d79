"""The engine whose runs live on an Inngest server: the Dev Server, a self-hosted one, or Inngest Cloud."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import httpx
import msgspec

from ..._core.duration import Duration, seconds
from ..._core.events import SentEvent
from ..._core.limits import Limits
from ..._core.model import Idempotency, RecordedRequest, RecordedResponse, Run, RunStatus
from ..._core.run_events import RunEvent
from ..._pass import CANCELLED
from ..attempts import Starts
from ..background import Background
from ..base import Clock, FencedError, Host, UnavailableError, Watch
from ..clock import SystemClock
from ..passes import PassSet
from ..ulids import new_ulid
from . import answers
from .api import InngestApi
from .cancellation import cancel
from .caps import lowered
from .claim import InngestClaim
from .creations import Creations
from .delivery import UNDELIVERED, refusals
from .dispatch import Dispatches
from .follow import Followed
from .health import Health
from .keyed import find, keyed_run_id
from .outputs import Outputs
from .settings import settings_from

logger = logging.getLogger("inngest_durable")

T = TypeVar("T")

# How long a dispatch that is under way when the process stops may still take.
_ANSWERED_SECONDS = 0.5

# In a forked child: the connections of the parent process.
_inherited: list[InngestApi] = []


class InngestEngine:
    """
    Keeps runs on an Inngest server, which re-enters them by requests to the application.

    Args:
        is_dev: Whether the server is a Dev Server, whose requests are not signed; None reads ``INNGEST_DEV``.
        base_url: The server; None reads ``INNGEST_BASE_URL`` or ``INNGEST_DEV``, otherwise takes the Dev Server's port
            on this machine, or Inngest Cloud.
        signing_key, signing_key_fallback: None reads ``INNGEST_SIGNING_KEY`` and ``INNGEST_SIGNING_KEY_FALLBACK``.
        event_key: None reads ``INNGEST_EVENT_KEY``.
        env: Branch environment; None reads ``INNGEST_ENV``.
        serve_origin: Where the server reaches this application, e.g. ``"https://api.example"``; None reads
            ``INNGEST_SERVE_ORIGIN``, otherwise takes where the client reached it. Set it in production: a client can
            send any ``Host`` header.
        kept_headers: Names of the request's headers that are kept with a run, on the server, and given back to the
            handler at each re-entry; None keeps all of them, credentials included.
        lease: How long a pass may go without a sign of life before another one may begin. A first pass is interrupted
            after half of it.
        max_concurrent_passes: How many re-entries run at a time in this process.
        max_recoveries: Passes of a run that die one after another, before the run is failed.
        shutdown_grace: How long `stop` waits for steps in flight.
        run_events: Whether those who follow a run are sent what this process knows of it.
        clock: Source of time.
        transport: Used in place of the network, e.g. in tests.

    Attributes:
        settings: What options and environment come to; ``settings.api_url`` is the base URL of the server's API.

    Raises:
        ConfigurationError: There is no signing key and the server is not a Dev Server, or a key or URL is invalid.
        ValueError: *lease* or *shutdown_grace* is not a duration.
    """

    takes_dispatches = True

    def __init__(
        self,
        *,
        is_dev: bool | None = None,
        base_url: str | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        event_key: str | None = None,
        env: str | None = None,
        serve_origin: str | None = None,
        kept_headers: Sequence[str] | None = None,
        lease: Duration = "60s",
        max_concurrent_passes: int = 100,
        max_recoveries: int = 10,
        shutdown_grace: Duration = "10s",
        run_events: bool = True,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings_from(
            os.environ,
            is_dev=is_dev,
            base_url=base_url,
            signing_key=signing_key,
            signing_key_fallback=signing_key_fallback,
            event_key=event_key,
            env=env,
            serve_origin=serve_origin,
        )
        self.clock: Clock = clock or SystemClock()
        self.passes = PassSet()
        self.app_id = ""
        self.worker_id = ""
        self.lease_seconds = seconds(lease)
        self.max_recoveries = max_recoveries
        self._kept_headers = None if kept_headers is None else {name.lower().encode() for name in kept_headers}
        self._max_concurrent_passes = max_concurrent_passes
        self._grace_seconds = seconds(shutdown_grace)
        self._run_events = run_events
        self._transport = transport
        self.withdrawn: set[str] = set()
        self._background = Background(self._background_failed)
        self._draining: asyncio.Future[None] | None = None
        self._dispatches: Dispatches | None = None

    # The engine's life.

    async def start(self, host: Host) -> None:
        """Begin to talk to the server. Nothing is asked of it yet: each call finds out whether it is there."""
        self.passes = PassSet()
        self._draining = None
        self.worker_id = new_ulid()
        self.api = InngestApi(self.settings, self._transport)
        await self.api.open()
        self.followed = Followed(self.clock, self._run_events)
        self.outputs = Outputs(self.api, self.followed, self.clock)
        origin = self.settings.serve_origin
        self.creations = Creations(self.api, self.outputs, self.clock, origin, self._kept_headers)
        self.starts = Starts(self._claims, self.clock.now)
        self.health = Health(self.api, self.passes, self.spawn)
        self._dispatches = Dispatches(self, host, self._max_concurrent_passes)
        if not self.settings.is_dev and not origin:
            logger.warning(
                "the Inngest server calls this application where its clients say that it is, in their Host header: "
                "set INNGEST_SERVE_ORIGIN to where the server reaches it"
            )

    async def drain(self) -> None:
        """Interrupt every pass, start none, and wait for steps in flight up to the grace; harmless when repeated."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
        await asyncio.shield(self._draining)

    @property
    def drains(self) -> bool:
        """Whether no pass may begin any more."""
        return self._draining is not None

    async def _drain(self) -> None:
        if self._dispatches is None:
            return
        self.passes.interrupt("the process stops")
        # Web servers cut off requests that take longer than they are willing to wait.
        asyncio.get_running_loop().call_later(_ANSWERED_SECONDS, self._dispatches.let_go)
        self.followed.close()
        self.health.close()
        try:
            async with asyncio.timeout(self._grace_seconds):
                await self.passes.empty()
                await self._background.ended()
        except TimeoutError:
            self.passes.let_go("the shutdown grace has passed")
            logger.warning(
                "%d passes did not end within the shutdown grace of %g s; the server re-enters their runs later",
                len(self.passes),
                self._grace_seconds,
            )
        self._dispatches.let_go()

    async def stop(self, *, now: bool = False) -> None:
        """Drain, then stop talking to the server. It re-enters unfinished runs when a process is there again."""
        if self._dispatches is None:
            return
        try:
            if not now:
                await self.drain()
            # Cancels what waits for a server that cannot be reached.
            await self._background.cancel()
            await self.outputs.close()
        finally:
            await self.api.close()
            self._dispatches = None

    def abandon(self, forked: bool) -> None:
        """Forget what runs on an event loop that is gone; the server re-enters the runs of its passes."""
        if forked and self._dispatches is not None:
            # Its connections are watched by the parent's loop: they must not even be collected here.
            _inherited.append(self.api)
        self._dispatches = self._draining = None
        self._background = Background(self._background_failed)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background until it ends; `stop` waits for it."""
        return self._background.spawn(work)

    def _background_failed(self, error: BaseException) -> None:
        # What the server or another pass has caused is reported by the code that awaits the work.
        if self._draining is None and not isinstance(error, (FencedError, *UNDELIVERED)):
            logger.error("background work of the engine failed: please report this bug", exc_info=error)

    # Runs and their passes.

    def begin(
        self,
        endpoint: str,
        request: RecordedRequest,
        timeout_seconds: float | None = None,
        idempotency: Idempotency | None = None,
    ) -> InngestClaim:
        """Begin a run for a client's request. Nothing is sent before its first step."""
        now = self.clock.now()
        run_id = (
            new_ulid() if idempotency is None else keyed_run_id(self.app_id, idempotency.scope, idempotency.key, now)
        )
        run = Run(
            run_id,
            self.app_id,
            endpoint,
            request,
            now,
            owner=self.worker_id,
            deadline=None if timeout_seconds is None else now + timeout_seconds,
            idempotency=idempotency,
        )
        return InngestClaim(self, run, nonce=secrets.token_hex(8))

    async def dispatch(self, request: RecordedRequest) -> RecordedResponse:
        """Answer a request by which the server starts a later pass; every answer tells whose it is."""
        if self._dispatches is None:
            return answers.refused_answer(503, "the process has stopped")
        return await self._dispatches.answer(request)

    def live(self, run_id: str) -> InngestClaim | None:
        """Return the claim of the pass of a run that lives in this process."""
        live = (claim for claim in self._claims() if claim.run.id == run_id and not claim.outcome.done())
        return next(live, None)

    def interrupt(self, run_id: str, reason: str) -> None:
        """Interrupt the pass of a run."""
        for live_pass in self.passes.of(run_id):
            live_pass.interrupt(reason)

    def _claims(self) -> list[InngestClaim]:
        return [live_pass.claim for live_pass in self.passes if isinstance(live_pass.claim, InngestClaim)]

    @property
    def failing(self) -> str | None:
        """Why nothing can be recorded at the moment, or None."""
        return None if self._dispatches is None else self.health.failing

    # What comes from outside of runs.

    async def _send_events(self, events: Sequence[SentEvent]) -> None:
        with refusals():
            await self.api.send_events(events)

    def send_events(self, events: Sequence[SentEvent]) -> Awaitable[None]:
        """Send events to the server; resolves when it has taken them."""
        return self._send_events(events)

    async def send_signal(self, name: str, result: bytes) -> bool:
        """Complete the step that waits for a signal with *result*; return whether there is one."""
        with refusals():
            return await self.api.send_signal(name, msgspec.json.decode(result, type=_Signal).data)

    async def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was accepted with this idempotency scope and key, or None. Raises `UnavailableError`."""
        try:
            run = await find(self, scope, key)
        except UNDELIVERED as error:
            logger.warning("a request with an Idempotency-Key cannot be served at the moment: %s", error)
            raise UnavailableError(str(error)) from error
        if run is not None and run.status.is_final and not self.token(run.id):
            # The server has none for a run that has ended: this one opens it in this process, not at the server.
            self.outputs.issued(run.id, secrets.token_urlsafe())
        return run

    async def cancel(self, run_id: str) -> bool:
        """Cancel a run; False if it has ended. Raises `RunNotFoundError`."""
        is_new = await cancel(self.api, self.followed, self.clock, run_id)
        self.interrupt(run_id, CANCELLED)
        return is_new

    # What is told of runs.

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status, as far as this process knows it."""
        return self.followed.status(run_id)

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what this process knows to have happened in a run, except its end."""
        return self.followed.run_events(run_id, after, limit)

    def watch(self, run_id: str) -> AbstractContextManager[Watch]:
        """Follow a run for the duration of a block."""
        return self.outputs.watch(run_id)

    def token(self, run_id: str) -> str:
        """Return the server's token that opens the run's output."""
        return self.outputs.token(run_id)

    async def opens(self, run_id: str, token: str) -> bool:
        """Whether there is such a run, and *token* opens its output: the server is asked if need be."""
        return await self.outputs.opens(run_id, token)

    def wait_url(self, run_id: str) -> str | None:
        """Return the server's own output URL of a run; None without a token of the server's, which has dots (a JWT)."""
        token = self.outputs.token(run_id)
        return self.api.output_url(run_id, token) if "." in token else None

    async def ended(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as it has ended, or as it is after the timeout or at `stop`; None if unknown."""
        return await self.outputs.ended(run_id, timeout_seconds)

    def within(self, limits: Limits) -> Limits:
        """Return *limits*, lowered to what the server takes."""
        return lowered(limits)


class _Signal(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
