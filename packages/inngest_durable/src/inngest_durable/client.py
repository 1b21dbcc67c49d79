"""The client: configuration, choice of the engine, the ``@inngest.endpoint`` decorator, and the engine's life."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from ._blocking import BlockingCalls, to_await
from ._core.duration import Duration, seconds
from ._core.events import Event
from ._core.http import Cors
from ._core.limits import Limits
from ._core.retry import RetryPolicy, retry_policy
from ._endpoints import Endpoints
from ._life import Life, Running
from ._logs import logger
from ._scopes import checked_scope, refuse_async
from .endpoint import EndpointOptions
from .engines.base import Claim, Engine
from .engines.embedded.engine import EmbeddedEngine
from .engines.inngest.engine import InngestEngine
from .engines.inngest.settings import chooses_inngest
from .errors import ConfigurationError
from .exchange import Edge, EndpointAdapter, middleware_outside
from .health import unready
from .inbox import Inbox

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Inngest:
    """
    One application's durable endpoints.

    Args:
        app_id: Name of the application, e.g. ``"trip-booker"``.
        endpoint_adapter: The framework's adapter, e.g. `inngest_durable.quart.endpoint_adapter`.
        engine: What records and resumes runs; None takes an `InngestEngine` if ``INNGEST_DEV`` or
            ``INNGEST_SIGNING_KEY`` is set, otherwise an `EmbeddedEngine` on the file that ``INNGEST_DURABLE_DB`` names.
        limits: How much one run may hold.
        cors_origins: Origins whose pages may read the wait URL, e.g. ``["https://shop.example"]``; all by default,
            since the run's token protects it.
        event_key: Key that opens ``POST /_inngest/e/<event key>``, to which others send events; None takes
            ``INNGEST_EVENT_KEY``. Without a key, there is no such route. It must not contain a slash.
        handle_signals: Whether SIGTERM and SIGINT interrupt the passes before they reach the server.

    Raises:
        ConfigurationError: *app_id* is not a name, *engine* is not an engine or is that of another application,
            *event_key* cannot be part of a URL, or the environment asks for an Inngest server that cannot be used.
    """

    def __init__(
        self,
        app_id: str,
        endpoint_adapter: EndpointAdapter | None = None,
        engine: Engine | None = None,
        *,
        limits: Limits | None = None,
        cors_origins: Sequence[str] = ("*",),
        event_key: str | None = None,
        handle_signals: bool = True,
    ) -> None:
        _check_arguments(app_id, engine)
        self.app_id = app_id
        self.engine: Engine = engine or _engine_of(os.environ)
        if self.engine.app_id not in ("", app_id):
            raise ConfigurationError(
                f"the engine is that of the application {self.engine.app_id!r}: give {app_id!r} one of its own, which "
                "may be on the same database"
            )
        self.engine.app_id = app_id
        self.limits = self.engine.within(limits or Limits())
        self.cors = Cors(tuple(cors_origins))
        key = os.environ.get("INNGEST_EVENT_KEY", "") if event_key is None else event_key
        self.inbox = Inbox(self.engine, self.limits, key)
        self.endpoints = Endpoints(self, endpoint_adapter)
        self._adapter = endpoint_adapter
        self._edge: Edge | None = None
        self._life = Life(self.engine, self._begin, handle_signals)

    @overload
    def endpoint(self, handler: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def endpoint(
        self,
        /,
        *,
        id: str | None = None,
        retries: RetryPolicy | int | None = None,
        timeout: Duration | None = None,
        idempotency_scope: Callable[[], str] | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def endpoint(
        self,
        handler: Callable[..., Any] | None = None,
        /,
        *,
        id: str | None = None,  # noqa: A002  # the name that Inngest's users know
        retries: RetryPolicy | int | None = None,
        timeout: Duration | None = None,
        idempotency_scope: Callable[[], str] | None = None,
    ) -> Any:
        """
        Make *handler* a durable endpoint. Put this decorator below the route decorator, next to the function.

        Args:
            handler: A handler of the adapter's framework.
            id: The endpoint's ID, kept with its runs; by default ``<module>.<qualname>`` of the handler.
            retries: Policy of the handler, and of each step that has none of its own. An int is ``max_retries``, with
                the pauses of `RetryPolicy`.
            timeout: How long a run may take from acceptance, sleeps included, e.g. ``"10m"``. After that it fails, and
                is answered ``504``; the runs that it invoked go on.
            idempotency_scope: A plain function, called in the request, that returns whose ``Idempotency-Key`` this
                is, e.g. the user's ID if the login is a cookie. By default, the ``Authorization`` header identifies
                the owner.

        Raises:
            ConfigurationError: The client has no adapter, the ID is taken, the handler is not callable or does not fit
                the framework, or *idempotency_scope* is ``async def``.
            ValueError: *retries* or *timeout* cannot be read.
        """
        policy = retry_policy(retries, RetryPolicy())
        timeout_seconds = None if timeout is None else seconds(timeout)
        if idempotency_scope is not None:
            refuse_async(idempotency_scope)

        def wrap(decorated: Callable[..., Any]) -> Any:
            if not callable(decorated):
                raise ConfigurationError(
                    f"endpoint() takes a handler, not {decorated!r}: an ID is given by @inngest.endpoint(id=…)"
                )
            endpoint_id = id or _name_of(decorated)
            scope = None if idempotency_scope is None else checked_scope(idempotency_scope, endpoint_id)
            return self.endpoints.add(decorated, EndpointOptions(endpoint_id, policy, timeout_seconds, scope))

        return wrap if handler is None else wrap(handler)

    def endpoint_proxy(self) -> Any:
        """
        Return a view that serves the wait URL on a route of your own, as for ``async_redirect_url="/wait"``.

        Mount it for GET and OPTIONS, and for DELETE if clients may cancel their runs:
        ``app.add_url_rule("/wait", view_func=inngest.endpoint_proxy(), methods=["GET", "DELETE", "OPTIONS"])``.

        Raises:
            ConfigurationError: The client has no adapter.
        """
        return self.endpoints.adapter_for("endpoint_proxy()").proxy(self)

    def init_app(self, app: Any) -> None:
        """
        Connect *app*: the engine starts and stops with it, recovers unfinished runs, and the wait URL is mounted.

        From then on ``app.extensions["inngest"]`` is this client.

        Call it after adding the application's other middleware: when the engine starts, a warning names what was put
        round the application later. An application factory may call it again for a new application while the engine
        is not running.

        Raises:
            ConfigurationError: The client has no adapter, or its engine is running for another application.
        """
        if self._life.has_begun:
            raise ConfigurationError("the engine runs for another application: one client serves one at a time")
        self._edge = self.endpoints.adapter_for("init_app()").init_app(app, self)
        self.endpoints.app = app

    @to_await
    async def send(self, events: Event | Sequence[Event]) -> list[str]:
        """
        Send events: each wakes every run that waits for it. In a handler use `step.send_event`, which sends once.

        Args:
            events: One `Event`, or several, which are recorded together or not at all. An event whose ID was sent in
                the last 24 hours is left out.

        Returns:
            Their IDs.

        Raises:
            EventError: One of them is too large or has no JSON form.
        """
        return await self._started(lambda: self.inbox.send(events))

    @to_await
    async def send_signal(self, name: str, data: Any = None) -> bool:
        """
        Wake the step that waits for the signal *name*. In a handler use `step.send_signal`, which sends once.

        Args:
            name: Name of the signal.
            data: Any JSON.

        Returns:
            Whether a step waited for it. If not, the signal is lost.

        Raises:
            EventError: *data* is too large or has no JSON form.
        """
        return await self._started(lambda: self.inbox.send_signal(name, data))

    @to_await
    async def cancel(self, run_id: str) -> bool:
        """
        Cancel a run for good. Its client got the ID as ``X-Inngest-Run-Id``.

        A run that sleeps or waits ends at once. If it is executing, its pass ends at the next step, and what a step in
        flight does is no longer recorded. Its clients are answered ``410``.

        Returns:
            Whether the run was cancelled; False if it had already ended, in which case nothing changes.

        Raises:
            RunNotFoundError: There is no such run.
        """
        return await self._started(lambda: self.engine.cancel(run_id))

    @to_await
    async def unready(self) -> str | None:
        """
        Return why this process cannot begin a run at the moment, or None if it can: for a health route of your own.

        It is draining, its engine cannot be started (this call starts it, as a request to an endpoint does), or nothing
        can be written: the disk is full, or another process holds the database. Takes 4 s at most.
        """
        found = await self.on_loop(lambda: unready(self.engine, self._life.start))
        return None if found is None else found.detail

    async def _started(self, work: Callable[[], Awaitable[T]]) -> T:
        """Start the engine if need be, then do *work* where it runs: with Flask, not in the caller's thread."""

        async def working() -> T:
            if not self.is_started():
                await self.start()
            return await work()

        return await self.on_loop(working)

    @property
    def serves_in_threads(self) -> bool:
        """Whether the application's views run in threads, as Flask's do."""
        return self._adapter is not None and self._adapter.in_threads

    @property
    def sync(self) -> BlockingCalls:
        """`send`, `send_signal`, `cancel` and `unready` for code in threads, such as Flask's views: they block."""
        return BlockingCalls(self)

    def is_started(self) -> bool:
        """Whether the engine runs on this event loop."""
        return self._life.is_started()

    def start(self) -> Awaitable[None]:
        """
        Start the engine where nothing else does; harmless when it is running.

        With Quart, await it. With Flask it blocks, and its return value need not be awaited: call it in each process
        that serves, after the server has forked it (gunicorn: in ``post_worker_init``). Called in the main thread, it
        chains SIGTERM and SIGINT. Without it, the first request to an endpoint starts the engine.

        Raises:
            StoreError: The engine's database cannot be used.
            ConfigurationError: The engine is running on another event loop.
        """
        started = self.on_loop(self._life.start)
        # If that has blocked, the engine runs in another thread, and this one may be the main thread.
        self._life.chain_signals()
        return started

    def stop(self) -> Awaitable[None]:
        """
        Stop the engine: every pass is interrupted, steps in flight end, and the runs go on after the next start.

        With Quart, await it; with Flask it blocks.
        """
        stopped = self.on_loop(self._life.stop)
        if not self._life.has_begun:
            self._life.leave_signals()
        return stopped

    def running(self) -> Running[Inngest]:
        """
        Run the engine for the duration of a block, e.g. in a test or a script.

        With Quart, write ``async with inngest.running():``; with Flask, ``with``.
        """
        return Running(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the engine runs on, or None."""
        return self._life.loop

    def on_loop(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run *work* on that loop: with Flask at once, blocking; with Quart when the return value is awaited."""
        return work() if self._adapter is None else self._adapter.run(work)

    async def _begin(self) -> None:
        await self.engine.start(self)
        self._warn_of_middleware()

    def _warn_of_middleware(self) -> None:
        if self._edge is None:
            return
        outside = middleware_outside(self._edge, self.endpoints.adapter_for("init_app()").outermost(self.endpoints.app))
        if outside:
            logger.warning(
                "re-entries of runs do not pass through %s: it was put round the application after "
                "inngest.init_app(app); call init_app after it",
                " > ".join(outside),
            )

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application. Called by the engine."""
        if self._edge is None:
            raise ConfigurationError("a run was recovered, but there is no application: call inngest.init_app(app)")
        await self._edge.reenter(claim)


def _check_arguments(app_id: object, engine: object) -> None:
    if app_id == "":
        raise ConfigurationError("app_id is empty: give your application a name")
    if not isinstance(app_id, str):
        raise ConfigurationError(
            f'app_id is a name such as "shop", not a {type(app_id).__name__}: applications go to inngest.init_app(app)'
        )
    # It may be a path, or the class itself.
    if engine is not None and not hasattr(type(engine), "begin"):
        raise ConfigurationError(f"engine is an engine, not {engine!r}: write EmbeddedEngine(path) or InngestEngine()")


def _engine_of(environ: Mapping[str, str]) -> Engine:
    return InngestEngine() if chooses_inngest(environ) else EmbeddedEngine()


def _name_of(handler: Callable[..., Any]) -> str:
    # A class-based view is a function made by the framework, which renames it after the class.
    renamed = not handler.__qualname__.endswith(handler.__name__)
    return f"{handler.__module__}.{handler.__name__ if renamed else handler.__qualname__}"
