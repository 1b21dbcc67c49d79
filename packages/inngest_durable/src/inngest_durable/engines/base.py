"""
What an engine must do, as small protocols; one suite of scenarios runs over every engine.

The endpoint code sees only `Engine` and `Claim`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from .._core.effects import Along
from .._core.events import SentEvent
from .._core.limits import Limits
from .._core.model import (
    Failure,
    Finish,
    Idempotency,
    Memo,
    Park,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
)
from .._core.run_events import RunEvent
from .passes import PassSet

T = TypeVar("T")


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call the timer off; harmless when it has fired."""


class Clock(Protocol):
    """The only source of time: nothing else in the package asks for it."""

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* on the running event loop at *when*, in seconds since the epoch."""


class FencedError(Exception):
    """This pass has lost its run: another worker or a later pass owns it. Never shown to user code."""


class UnavailableError(Exception):
    """What keeps the runs cannot be reached at the moment. Never shown to user code."""


class Claim(Protocol):
    """
    The right of one pass to write to its run. Every write carries the pass's epoch.

    Attributes:
        run: The run as it was when the pass began.
        memos: Its journal at that time.
        accepted: Whether the run's row is on disk, or on its way in an earlier write.
    """

    run: Run
    memos: Sequence[Memo]
    accepted: bool

    @property
    def on_disk(self) -> bool:
        """Whether the run's row is on disk."""

    def accept(self) -> Awaitable[None]:
        """
        Write the run's row; resolves when it is durable.

        Raises `FencedError` when another run has the same idempotency scope and key.
        """

    def begin_attempt(self, key: str, attempt: int) -> None:
        """Note that an attempt of a step begins, for the run events."""

    def look(self) -> None:
        """
        Interrupt the passes here whose runs another process has cancelled, where that can be seen at once.

        Called on the engine's loop wherever a pass may be left. Most calls find that the last look was a moment ago.
        """

    def progress(self, key: str, text: str, data: str, at: float) -> None:
        """Report how far the executing attempt of a step is; *data* is a JSON object or empty. On the engine's loop."""

    def accept_soon(self) -> None:
        """Write the run's row in the next few milliseconds, in the commit of its first checkpoint or before it."""

    def save(self, memo: Memo) -> Awaitable[None]:
        """Checkpoint *memo*; resolves when it is durable. Raises `FencedError`."""

    def save_with(self, memo: Memo, along: Along) -> Awaitable[Memo]:
        """
        Checkpoint *memo*, and in the same commit what goes along with it; resolves when that is durable.

        Returns the memo as it is recorded: another one if what the step waits for has come. Raises `FencedError`.
        """

    def listen(self, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Call *tell* with the final memo of a step that waits, once what it waits for has come; until cancelled."""

    def seen(self, key: str) -> None:
        """Note that the pass goes on with a step that *tell* was called for: the run need not be entered for it."""

    def new_child(self, key: str, endpoint: str, request: RecordedRequest, timeout_seconds: float | None) -> Run:
        """Return a run for the step *key* to invoke; it begins when `save_with` is called with it."""

    def park(self, park: Park, why: str = "", failure: Failure | None = None) -> Awaitable[None]:
        """
        Let the run wait; resolves when that is durable. The pass is over. Raises `FencedError`.

        *why* it has ended is for people to read; *failure* is what the handler raised, if it did.
        """

    def wake(self, quiet_seconds: float) -> Awaitable[None]:
        """Make the run that this pass parked due at once, unless a later pass has begun."""

    def finish(self, finish: Finish) -> Awaitable[None]:
        """End the run. Not awaited on the first pass: a crash before it is durable only replays memos."""


class Host(Protocol):
    """What the engine needs of the application side: one re-entry."""

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of a claimed run through the application, to its finish or park."""


class Watch(Protocol):
    """A follower of a run."""

    @property
    def closed(self) -> bool:
        """Whether no more news will come, because the engine stops."""

    def look(self) -> None:
        """Note that the run is looked at now: what comes later is news."""

    async def news(self, timeout_seconds: float) -> bool:
        """Wait until there may be something new since the last look, or the engine stops; False after the timeout."""


class Engine(Protocol):
    """
    Runs the passes of the endpoints of one application.

    Attributes:
        app_id: The application's ID, kept with each run; set by the client.
        clock: The engine's time.
        passes: The passes that run in this process; `stop` interrupts them and waits until the set is empty.
        takes_dispatches: Whether later passes are started by a server's requests, which the edge gives to `dispatch`.
        failing: Why nothing can be recorded at the moment (disk full, I/O error), or None.
    """

    app_id: str
    clock: Clock
    passes: PassSet
    takes_dispatches: bool

    @property
    def failing(self) -> str | None:
        """Why nothing can be recorded at the moment, or None."""

    async def start(self, host: Host) -> None:
        """Open the store, recover unfinished runs, start the timers. Raises `StoreError`."""

    async def drain(self) -> None:
        """Interrupt every pass, start none, wait for steps in flight; clients are redirected. Harmless if repeated."""

    async def stop(self, *, now: bool = False) -> None:
        """
        Drain, then close the store; harmless when it is not open.

        Args:
            now: Do not drain: the event loop ends, and every pass was cancelled with it.
        """

    def abandon(self, forked: bool) -> None:
        """
        Forget what runs on an event loop that is gone; the next `start` goes on from the store.

        Args:
            forked: This process is a child, and the loop, the store and the worker are the parent's.
        """

    def begin(
        self,
        endpoint: str,
        request: RecordedRequest,
        timeout_seconds: float | None = None,
        idempotency: Idempotency | None = None,
    ) -> Claim:
        """Begin a run for a client's request. Nothing is written before its first step."""

    def send_events(self, events: Sequence[SentEvent]) -> Awaitable[None]:
        """Record events, and wake the runs that wait for them; resolves when that is durable."""

    async def send_signal(self, name: str, result: bytes) -> bool:
        """Complete the step that waits for a signal with *result*; return whether there is one."""

    async def find(self, scope: str, key: str) -> Run | None:
        """Return the run that was accepted with this idempotency scope and key, or None. Raises `UnavailableError`."""

    async def cancel(self, run_id: str) -> bool:
        """Cancel a run; False if it has ended. Raises `RunNotFoundError`."""

    def status(self, run_id: str) -> RunStatus | None:
        """Return a run's status; None if it is unknown."""

    def run_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Return what happened in a run, except its end: the first events numbered above *after*."""

    def watch(self, run_id: str) -> AbstractContextManager[Watch]:
        """Follow a run for the duration of a block."""

    def token(self, run_id: str) -> str:
        """Return the token that opens the run's wait URL."""

    async def opens(self, run_id: str, token: str) -> bool:
        """Whether there is such a run, and *token* opens its wait URL."""

    def wait_url(self, run_id: str) -> str | None:
        """Return where a run's client waits unless the application says otherwise; None for this package's own URL."""

    def within(self, limits: Limits) -> Limits:
        """Return *limits*, lowered to what the engine can hold."""

    async def dispatch(self, request: RecordedRequest) -> RecordedResponse:
        """Answer a request by which a server starts a later pass; see `takes_dispatches`."""

    async def ended(self, run_id: str, timeout_seconds: float) -> Run | None:
        """Return the run as soon as it has ended, or as it is after the timeout or at `stop`; None if unknown."""

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background until it ends; `stop` waits for it."""
