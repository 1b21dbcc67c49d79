"""
The engine's life: started and stopped once for an application, on the event loop on which its passes run.

Where handlers are coroutines, that loop is the server's, and starting is awaited. Where they run in threads, it is the
portal's, and starting blocks. Safe after a fork: a child starts an engine of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from ._portal import Done, portal
from ._shutdown import ShutdownSignals
from .engines.base import Engine
from .errors import ConfigurationError


class Client(Protocol):
    """What `Running` needs of the client."""

    def start(self) -> Awaitable[None]:
        """Start the engine."""

    def stop(self) -> Awaitable[None]:
        """Stop the engine."""


ClientT = TypeVar("ClientT", bound=Client)


class Running(Generic[ClientT]):
    """The engine's life for the duration of a block: ``async with``, or ``with`` where handlers run in threads."""

    def __init__(self, client: ClientT) -> None:
        self._client = client

    def __enter__(self) -> ClientT:
        started = self._client.start()
        if not isinstance(started, Done):
            if inspect.iscoroutine(started):
                started.close()
            raise ConfigurationError("the engine lives on an event loop here: write `async with inngest.running():`")
        return self._client

    def __exit__(self, *exc_info: object) -> None:
        self._client.stop()

    async def __aenter__(self) -> ClientT:
        await self._client.start()
        return self._client

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.stop()


class Life:
    """
    When the engine runs, and where.

    Args:
        engine: What is started and stopped.
        begin: Starts it.
        handle_signals: Whether SIGTERM and SIGINT begin its drain.
    """

    def __init__(self, engine: Engine, begin: Callable[[], Awaitable[None]], handle_signals: bool) -> None:
        self._engine = engine
        self._begin = begin
        self._handle_signals = handle_signals
        # What the engine starts outlives the request that may have been the first.
        self._context = contextvars.copy_context()
        self._start: asyncio.Future[None] | None = None
        self._stop: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._signals: ShutdownSignals | None = None
        # Closed with the event loop, which closes its generators when all tasks have ended.
        self._end: AsyncGenerator[None, None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the engine was started, on whatever event loop."""
        return self._start is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the engine runs on, or None; a forked child has none of its parent's."""
        loop = self._loop
        return None if loop is None or loop.is_closed() or self._pid != os.getpid() else loop

    def is_started(self) -> bool:
        """Whether the engine runs on this event loop."""
        return self._loop is asyncio.get_running_loop()

    async def start(self) -> None:
        """Start the engine on this event loop; harmless when it runs. Raises `StoreError`, `ConfigurationError`."""
        loop = asyncio.get_running_loop()
        if self._start is not None and self._start.get_loop() is not loop:
            self._forget_loop(self._start.get_loop())
        if self._stop is not None and self._loop is None:
            # It is closing: what comes now is served like what comes afterwards, however that ends.
            await asyncio.wait([self._stop])
        if self._start is None:
            self._pid = os.getpid()
            self._start = loop.create_task(self._start_engine(loop), context=self._context.copy())
        # Shielded: requests share one start, and a client that goes away must not cancel it for the others.
        await asyncio.shield(self._start)

    async def stop(self) -> None:
        """Stop the engine; harmless when it does not run."""
        loop = asyncio.get_running_loop()
        if self._stop is None or self._stop.get_loop() is not loop:
            if self._start is None:
                return
            await self.start()
            self._stop = self._stop or loop.create_task(self._stop_engine())
        # Shielded: another caller, or a repeated call after a timeout, waits for the same end.
        await asyncio.shield(self._stop)

    def chain_signals(self) -> None:
        """Chain the handlers of the signals, if the engine runs and this is the main thread, as only there one can."""
        if self._signals is not None:
            self._signals.install()

    def leave_signals(self) -> None:
        """Put the previous handlers back, if this is the main thread."""
        if self._signals is not None:
            self._signals.restore()

    async def _start_engine(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            if self._end is None and not portal.is_here():
                self._end = self._stop_with_loop()
                await anext(self._end)
            await self._begin()
        except BaseException:
            self._start = None
            raise
        self._loop = loop
        if portal.is_here():
            # Nothing else shows that a process whose engine is in a thread is ending.
            atexit.register(self._at_exit)
        if self._handle_signals:
            self._signals = ShutdownSignals(loop, self._engine.drain)
            self._signals.install()

    async def _stop_engine(self) -> None:
        try:
            # Requests are redirected meanwhile. What fails here is raised by `stop`, which closes all the same.
            with suppress(Exception):
                await self._engine.drain()
            self._loop = None
            await self._engine.stop()
        except asyncio.CancelledError:
            # The event loop ends, and sees to the rest.
            self._stop = None
            raise
        except BaseException:
            await self._stopped()
            raise
        await self._stopped()

    async def _stop_with_loop(self) -> AsyncGenerator[None, None]:
        """Stop the engine when its event loop ends and nobody has."""
        try:
            yield
        finally:
            # A forked child that ends the parent's loop has nothing to stop.
            if self._end is not None and self._pid == os.getpid():
                self._end = self._loop = None
                try:
                    await self._engine.stop(now=True)
                finally:
                    await self._stopped()

    async def _stopped(self) -> None:
        """Note that the engine has stopped, well or not: the next start begins anew."""
        self._start = self._stop = None
        self.leave_signals()
        atexit.unregister(self._at_exit)
        end, self._end = self._end, None
        if end is not None:
            await end.aclose()

    def _forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        forked = self._pid != os.getpid()
        if not forked and not loop.is_closed():
            raise ConfigurationError("the engine runs on another event loop: stop it there with inngest.stop()")
        # The parent's loop, or one that was closed without more ado: `asyncio.run` does not do that.
        self._engine.abandon(forked)
        if forked:
            # Collected here, it would be closed on the parent's loop.
            _inherited.append(self._end)
        self._start = self._stop = self._loop = self._end = None
        self.leave_signals()

    def _at_exit(self) -> None:
        if self._pid == os.getpid():
            portal.call(self.stop)


# What belongs to the event loop of the parent process, in a forked child.
_inherited: list[object] = []
