"""The engine that lives in the application's process, on one SQLite file."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..._core.duration import Duration, seconds
from ..._core.events import SentEvent
from ..._core.limits import Limits
from ..._core.model import Idempotency, Memo, RecordedRequest, RecordedResponse, Run, RunStatus
from ..._core.run_events import RunEvent
from ..._pass import UNWRITABLE
from ...errors import ConfigurationError
from ..attempts import Starts
from ..background import Background
from ..base import Clock, Host, TimerHandle, Watch
from ..clock import SystemClock
from ..passes import PassSet
from ..records import AddEvents, AddSignal, Found, Write
from ..store import Store
from ..ulids import new_ulid
from .cancellation import Looks, cancel, interrupt
from .claim import EmbeddedClaim, UnwrittenRows
from .database import Synchronous
from .probe import Probe
from .store import SqliteStore
from .worker import Worker, WorkerOptions

logger = logging.getLogger("inngest_durable")

T = TypeVar("T")

DEFAULT_PATH = ".inngest/durable.db"


class EmbeddedEngine:
    """
    Keeps runs in one SQLite file and re-enters them from within the process.

    Args:
        path: The database file; None takes ``INNGEST_DURABLE_DB`` or, if that is not set, ``.inngest/durable.db``.
        store: A store to use in place of the SQLite file, e.g. `testing.MemoryStore`.
        clock: Source of time, e.g. `testing.VirtualClock`.
        max_concurrent_passes: How many re-entries run at a time.
        max_recoveries: Deaths of a worker with this run as its only suspect, before the run is failed.
        shutdown_grace: How long `stop` waits for steps in flight.
        retention: How long a run is kept after its end; None keeps it for ever.
        run_events: Whether to write what happens in runs, for those who follow them.
        synchronous: With ``"FULL"``, checkpoints survive a power loss. With ``"NORMAL"``, they survive only the death
            of the process: after a power loss, runs may be gone, or go on from an earlier step.

    Raises:
        ValueError: *shutdown_grace* or *retention* is not a duration, or *synchronous* is neither of these.
    """

    takes_dispatches = False

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        max_concurrent_passes: int = 100,
        max_recoveries: int = 10,
        shutdown_grace: Duration = "10s",
        retention: Duration | None = "7d",
        run_events: bool = True,
        synchronous: Synchronous = "FULL",
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise ValueError(f'synchronous is "FULL" or "NORMAL", not {synchronous!r}')
        self.clock: Clock = clock or SystemClock()
        self.passes = PassSet()
        self.app_id = ""
        self.tells = run_events
        self.unwritten = UnwrittenRows()
        self._path = path
        self._given_store = store
        self._synchronous: Synchronous = synchronous
        self._max_concurrent_passes = max_concurrent_passes
        self._max_recoveries = max_recoveries
        self._grace_seconds = seconds(shutdown_grace)
        self._retention_seconds = None if retention is None else seconds(retention)
        self._store: Store | None = None
        self._worker_id = ""
        self._worker: Worker | None = None
        self._probe: Probe | None = None
        self._background = Background(self._background_failed)
        self._draining: asyncio.Future[None] | None = None

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self._path or os.environ.get("INNGEST_DURABLE_DB") or DEFAULT_PATH)

    @property
    def failing(self) -> str | None:
        """Why nothing can be written at the moment (disk full, I/O error), or None."""
        return None if self._store is None else self._store.failing

    async def probe(self, timeout_seconds: float) -> str | None:
        """Check whether the store can be written; return why it could not within *timeout_seconds*, or None."""
        return "the engine does not run" if self._probe is None else await self._probe.trouble(timeout_seconds)

    @property
    def store(self) -> Store:
        """The open store. Raises `ConfigurationError` before `start`."""
        if self._store is None:
            raise ConfigurationError("the engine has not been started: call inngest.init_app(app)")
        return self._store

    def _started(self) -> Worker:
        if self._worker is None:
            raise ConfigurationError("the engine has not been started: call inngest.init_app(app)")
        return self._worker

    async def start(self, host: Host) -> None:
        """Open the store, take over the runs of dead workers, start the timers. Raises `StoreError`."""
        self.passes = PassSet()
        self._draining = None
        if self._store is None:
            opening: Store = self._given_store or SqliteStore(
                self.path, synchronous=self._synchronous, run_events=self.tells
            )
            opening.open()
            self._store = opening
        store = self._store
        self._probe = Probe(store)
        self._worker_id = new_ulid()
        self.starts = Starts(self._claims, self.clock.now)
        self.looks = Looks(self.passes, store)
        options = WorkerOptions(self.app_id, self._max_concurrent_passes, self._max_recoveries, self._retention_seconds)
        self._worker = Worker(self._worker_id, options, self, store, host, self._each_second)
        await self._worker.start()

    async def drain(self) -> None:
        """
        Interrupt every pass, start none, and wait for steps in flight, at most for the shutdown grace.

        Clients are redirected, and held wait URLs answer at once. The store stays open for them until `stop`.
        """
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        if self._worker is None:
            return
        await self._worker.stop()
        self.passes.interrupt("the process stops")
        try:
            async with asyncio.timeout(self._grace_seconds):
                await self.passes.empty()
                await self._worker.ended()
                await self._background.ended()
        except TimeoutError:
            # Their clients are not kept waiting any longer; the process may end.
            self.passes.let_go("the shutdown grace has passed")
            logger.warning(
                "%d passes did not end within the shutdown grace of %g s; their runs go on after the next start",
                len(self.passes),
                self._grace_seconds,
            )

    async def stop(self, *, now: bool = False) -> None:
        """Drain, then close the store. Runs that did not end within the grace are due for the next worker."""
        if self._store is None:
            return
        try:
            await (self._cut_off() if now else self.drain())
            self.unwritten.write()
            for claim in self._claims():
                claim.release()
            if self._worker is not None:
                self._worker.drop()
        finally:
            await self._close(self._store)

    async def _cut_off(self) -> None:
        if self._worker is not None:
            await self._worker.stop()
        await self._background.cancel()

    async def _close(self, store: Store) -> None:
        try:
            await store.close()
        finally:
            self._store = None
            if self._worker is not None:
                self._worker.release()

    def abandon(self, forked: bool) -> None:
        """Forget what runs on an event loop that is gone; the next `start` goes on from the store."""
        if forked:
            # Its connections were closed when the child began.
            self._store = None
        elif self._worker is not None:
            # Its passes died with their loop: like those of a dead worker, their runs are recovered.
            self._worker.release()
        self._worker = self._draining = None
        self._background = Background(self._background_failed)
        self.unwritten = UnwrittenRows()

    def begin(
        self,
        endpoint: str,
        request: RecordedRequest,
        timeout_seconds: float | None = None,
        idempotency: Idempotency | None = None,
    ) -> EmbeddedClaim:
        """Begin a run for a client's request. Nothing is written before its first step."""
        now = self.clock.now()
        run = Run(
            new_ulid(),
            self.app_id,
            endpoint,
            request,
            now,
            owner=self._worker_id,
            deadline=None if timeout_seconds is None else now + timeout_seconds,
            idempotency=idempotency,
        )
        return EmbeddedClaim(self, self.store, run, (), accepted=False)

    def send_events(self, events: Sequence[SentEvent]) -> Awaitable[None]:
        """Record events, and wake the runs that wait for them; resolves when that is durable."""
        found = Found()
        return self.tell_after(AddEvents(self.app_id, tuple(events), self.clock.now(), found), found)

    async def send_signal(self, name: str, result: bytes) -> bool:
        """Complete the step that waits for a signal with *result*; return whether there is one."""
        found = Found()
        await self.tell_after(AddSignal(self.app_id, name, result, self.clock.now(), found), found)
        return bool(found.resumed)

    async def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was accepted with this idempotency scope and key, or None."""
        return self.store.find(scope, key)

    async def cancel(self, run_id: str) -> bool:
        """Cancel a run; False if it has ended. Raises `RunNotFoundError`."""
        return await cancel(self, run_id)

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if it is unknown."""
        return self.store.status(run_id)

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what happened in a run, except its end: the first events numbered above *after*."""
        return self.store.run_events(run_id, after, limit)

    @property
    def followers(self) -> int:
        """How many clients follow runs at the moment, or wait for their end."""
        return 0 if self._worker is None else len(self._worker.watches)

    def watch(self, run_id: str) -> AbstractContextManager[Watch]:
        """Follow a run for the duration of a block."""
        return self._started().watches.watch(run_id)

    def _claims(self) -> list[EmbeddedClaim]:
        return [live_pass.claim for live_pass in self.passes if isinstance(live_pass.claim, EmbeddedClaim)]

    def token(self, run_id: str) -> str:
        """Return the token that opens the run's wait URL: made from the database's secret, stored nowhere."""
        digest = hmac.digest(self.store.secret, run_id.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def opens(self, run_id: str, token: str) -> bool:
        """Whether there is such a run, and *token* opens its wait URL; compared in constant time."""
        is_token = hmac.compare_digest(self.token(run_id).encode(), token.encode(errors="surrogatepass"))
        return is_token and self.store.status(run_id) is not None

    def wait_url(self, run_id: str) -> None:
        """Return None: clients wait at this package's own URL."""

    def within(self, limits: Limits) -> Limits:
        """Return *limits* unchanged: a file can hold what they allow."""
        return limits

    async def dispatch(self, request: RecordedRequest) -> RecordedResponse:
        """Raise: nothing but this engine starts a pass."""
        raise AssertionError(f"{request.path} is no dispatch: please report this bug")

    async def ended(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as it has ended, or as it is after the timeout or at `stop`; None if unknown."""
        return await self._started().watches.ended(run_id, timeout_seconds)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background until it ends; `stop` waits for it."""
        return self._background.spawn(work)

    def _background_failed(self, error: BaseException) -> None:
        if self._draining is None:
            logger.error("background work of the engine failed: please report this bug", exc_info=error)

    def _each_second(self) -> None:
        if self._worker is not None:
            self._worker.arrivals.look()
            self._worker.look()
        self.looks.look()
        if self.failing is not None:
            # Clients are not kept waiting for the disk; what their steps did stays in memory until it is written.
            self.passes.let_go(UNWRITABLE)

    def note_parked(self, wake_at: float) -> None:
        """Take notice that a run is due at *wake_at*, in seconds since the epoch."""
        if self._worker is not None:
            self._worker.note(wake_at)

    def listen(self, run_id: str, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Call *tell* with the final memo of a step once it is completed by what it waits for."""
        return self._started().arrivals.listen(run_id, key, tell)

    def tell_after(self, write: Write, found: Found) -> asyncio.Future[None]:
        """Write, then take notice of what was found; resolves when the write is durable."""
        # In a callback: the sender may be gone by then.
        done = self.store.write(write)
        done.add_done_callback(lambda _: self.tell_found(found))
        # Shielded: a cancelled future would call back before the write has found anything.
        return asyncio.shield(done)

    def tell_found(self, found: Found) -> None:
        """Take notice of the steps that a write has completed in other runs, of runs it has cancelled or made due."""
        if found.cancelled:
            interrupt(self.passes, set(found.cancelled))
        if self._worker is not None:
            self._worker.arrivals.tell(found.resumed)
            if found.due:
                self._worker.look()
