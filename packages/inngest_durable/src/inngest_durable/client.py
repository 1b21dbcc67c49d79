"""The client: configuration, choice of the engine, the ``@inngest.endpoint`` decorator, and the engine's life."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar, overload

from ._core.duration import Duration, seconds
from ._core.http import Cors
from ._core.limits import Limits
from ._core.retry import RetryPolicy, retry_policy
from ._shutdown import ShutdownSignals
from .endpoint import Endpoint, EndpointOptions
from .engines.base import Claim, Engine
from .engines.embedded.engine import EmbeddedEngine
from .errors import ConfigurationError
from .exchange import Edge, EndpointAdapter, middleware_outside

logger = logging.getLogger("inngest_durable")

P = ParamSpec("P")
R = TypeVar("R")


class Inngest:
    """
    One application's durable endpoints.

    Args:
        app_id: Name of the application, e.g. ``"trip-booker"``.
        endpoint_adapter: The framework's adapter, e.g. `inngest_durable.quart.endpoint_adapter`.
        engine: What records and resumes runs; None takes an `EmbeddedEngine` on the file that
            ``INNGEST_DURABLE_DB`` names.
        limits: How much one run may hold.
        cors_origins: Origins whose pages may read the wait URL, e.g. ``["https://shop.example"]``; all by default,
            since the run's token protects it.
        handle_signals: Whether SIGTERM and SIGINT interrupt the passes before they reach the server.

    Raises:
        ConfigurationError: *app_id* is empty.
    """

    def __init__(
        self,
        app_id: str,
        endpoint_adapter: EndpointAdapter | None = None,
        engine: Engine | None = None,
        *,
        limits: Limits | None = None,
        cors_origins: Sequence[str] = ("*",),
        handle_signals: bool = True,
    ) -> None:
        if not app_id:
            raise ConfigurationError("app_id is empty: give your application a name")
        self.app_id = app_id
        self.engine: Engine = engine or EmbeddedEngine()
        self.engine.app_id = app_id
        self.limits = limits or Limits()
        self.cors = Cors(tuple(cors_origins))
        self._adapter = endpoint_adapter
        self._endpoints: dict[str, Endpoint] = {}
        self._app: Any = None
        self._edge: Edge | None = None
        self._start: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._handle_signals = handle_signals
        self._signals: ShutdownSignals | None = None

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
        Make *handler* a durable endpoint. Put it inside the route decorator, next to the function.

        Args:
            handler: A handler of the adapter's framework.
            id: The endpoint's ID, kept with its runs; by default ``<module>.<qualname>`` of the handler.
            retries: Policy of each step that has none of its own, and of the handler. An int is ``max_retries``.
            timeout: How long a run may take from acceptance, sleeps included, e.g. ``"10m"``. Then it fails, and is
                answered ``504``.
            idempotency_scope: A plain function, called in the request, that returns whose ``Idempotency-Key`` this
                is, e.g. the user's ID where the login is a cookie. By default the ``Authorization`` header tells.

        Raises:
            ConfigurationError: The client has no adapter, the ID is taken, the handler does not fit the framework,
                or *idempotency_scope* is ``async def``.
            ValueError: *retries* or *timeout* cannot be read.
        """
        policy = retry_policy(retries) or RetryPolicy()
        timeout_seconds = None if timeout is None else seconds(timeout)
        if idempotency_scope is not None:
            _refuse_async(idempotency_scope)

        def wrap(decorated: Callable[..., Any]) -> Any:
            endpoint_id = id or _name_of(decorated)
            scope = None if idempotency_scope is None else _checked(idempotency_scope, endpoint_id)
            return self._wrap(decorated, EndpointOptions(endpoint_id, policy, timeout_seconds, scope))

        return wrap if handler is None else wrap(handler)

    def _wrap(self, handler: Callable[..., Any], options: EndpointOptions) -> Any:
        adapter = self._the_adapter("endpoint()")
        if options.id in self._endpoints:
            raise ConfigurationError(
                f"there is already an endpoint {options.id!r}: runs find their endpoint by its ID, "
                'so give one of them another with @inngest.endpoint(id="…")'
            )
        endpoint = Endpoint(options, self, adapter)
        view = adapter.wrap(endpoint, handler)
        self._endpoints[options.id] = endpoint
        return view

    def endpoint_proxy(self) -> Any:
        """
        Return a view that serves the wait URL on a route of your own, as in ``async_redirect_url="/wait"``.

        Mount it for GET and OPTIONS: ``app.add_url_rule("/wait", view_func=inngest.endpoint_proxy(), …)``.

        Raises:
            ConfigurationError: The client has no adapter.
        """
        return self._the_adapter("endpoint_proxy()").proxy(self)

    def init_app(self, app: Any) -> None:
        """
        Connect *app*: the engine starts and stops with it, recovers unfinished runs, and the wait URL is mounted.

        Call it after the application's other middleware: what is put round the application later is named in a
        warning when the engine starts. An application factory may call it again for a new application while the
        engine does not run.

        Raises:
            ConfigurationError: The client has no adapter, or its engine runs for another application.
        """
        if self._start is not None:
            raise ConfigurationError("the engine runs for another application: one client serves one at a time")
        self._edge = self._the_adapter("init_app()").init_app(app, self)
        self._app = app

    def is_started(self) -> bool:
        """Whether the engine runs on this event loop."""
        return self._loop is asyncio.get_running_loop()

    async def start(self) -> None:
        """
        Start the engine where no lifespan does; harmless when it runs.

        Raises:
            StoreError: Its database cannot be used.
            ConfigurationError: It runs on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._start is not None and self._start.get_loop() is not loop:
            self._forget_loop(self._start.get_loop())
        if self._start is None:
            self._pid = os.getpid()
            self._start = asyncio.ensure_future(self._start_engine(loop))
        try:
            # Shielded: requests share one start, and a client that goes away must not cancel it for the others.
            await asyncio.shield(self._start)
        except Exception:
            self._start = None
            raise
        self._loop = loop

    async def _start_engine(self, loop: asyncio.AbstractEventLoop) -> None:
        await self.engine.start(self)
        self._warn_of_middleware()
        if self._handle_signals:
            self._signals = ShutdownSignals(loop, self.engine.drain)
            self._signals.install()

    def _warn_of_middleware(self) -> None:
        if self._edge is None:
            return
        outside = middleware_outside(self._edge, self._the_adapter("init_app()").outermost(self._app))
        if outside:
            logger.warning(
                "re-entries of runs do not pass through %s: it was put round the application after "
                "inngest.init_app(app); call init_app after it",
                " > ".join(outside),
            )

    def _forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        forked = self._pid != os.getpid()
        if not forked and not loop.is_closed():
            raise ConfigurationError("the engine runs on another event loop: stop it there with inngest.stop()")
        # The parent's loop, or that of a test client without lifespan, which closed it under the engine.
        self.engine.abandon(forked)
        self._start = self._loop = None
        self._restore_signals()

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()
            self._signals = None

    async def stop(self) -> None:
        """Stop the engine: every pass is interrupted, steps in flight end, the runs go on after the next start."""
        if self._start is not None:
            await self.start()
            await self.engine.stop()
            self._start = self._loop = None
            self._restore_signals()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Inngest]:
        """Run the engine for the time of an ``async with`` block, e.g. in a test or a script."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass of *claim*'s run through the application. Called by the engine."""
        if self._edge is None:
            raise ConfigurationError("a run was recovered, but there is no application: call inngest.init_app(app)")
        await self._edge.reenter(claim)

    def policy_of(self, endpoint_id: str) -> RetryPolicy:
        """Return the retry policy of an endpoint, or the default one if there is none of that ID any more."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint.policy if endpoint is not None else RetryPolicy()

    def _the_adapter(self, what: str) -> EndpointAdapter:
        if self._adapter is None:
            raise ConfigurationError(
                f"{what} needs an adapter: Inngest(app_id=…, endpoint_adapter=endpoint_adapter), imported from "
                "inngest_durable.quart"
            )
        return self._adapter


def _name_of(handler: Callable[..., Any]) -> str:
    # A class-based view is a function made by the framework, which renames it after the class.
    renamed = not handler.__qualname__.endswith(handler.__name__)
    return f"{handler.__module__}.{handler.__name__ if renamed else handler.__qualname__}"


def _refuse_async(scope: Callable[[], str]) -> None:
    # An object whose call is asynchronous, too.
    if inspect.iscoroutinefunction(scope) or inspect.iscoroutinefunction(type(scope).__call__):
        name = getattr(scope, "__qualname__", type(scope).__name__)
        raise ConfigurationError(
            f"idempotency_scope={name} is `async def`, but it is called without await: make it a `def`, and await "
            "what it needs in a before_request hook"
        )


def _checked(scope: Callable[[], str], endpoint_id: str) -> Callable[[], str]:
    """Return *scope*, held to its promise: None would let the ``Authorization`` header tell."""

    def checked() -> str:
        found: object = scope()
        if isinstance(found, str):
            return found
        if inspect.iscoroutine(found):
            # Nobody will await it, and Python would say so.
            found.close()
        kind = "None" if found is None else type(found).__name__
        raise ConfigurationError(
            f"idempotency_scope of {endpoint_id} returned {kind}, not str: return whose key it is, e.g. the user's ID"
        )

    return checked
