"""The client's calls for code in threads: ``inngest.sync.send(…)`` where coroutines write ``await inngest.send(…)``."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ._core.events import Event
from ._portal import Done, call_on
from .errors import ConfigurationError, StepUsageError

P = ParamSpec("P")
T = TypeVar("T")


class Client(Protocol):
    """What is called in a blocking way."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the engine runs on."""

    @property
    def serves_in_threads(self) -> bool:
        """Whether the application's views run in threads, as Flask's do."""

    def on_loop(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run *work* as the adapter does it: at once and blocking, or when it is awaited."""

    def send(self, events: Event | Sequence[Event]) -> Coroutine[Any, Any, list[str]]:
        """Send events."""

    def send_signal(self, name: str, data: Any = None) -> Coroutine[Any, Any, bool]:
        """Send a signal."""

    def cancel(self, run_id: str) -> Coroutine[Any, Any, bool]:
        """Cancel a run."""

    def unready(self) -> Coroutine[Any, Any, str | None]:
        """Return why no run can be begun."""


ClientT = TypeVar("ClientT", bound=Client)


def to_await(
    method: Callable[Concatenate[ClientT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[ClientT, P], Coroutine[Any, Any, T]]:
    """
    Refuse a call of *method* in a Flask application's thread, where its coroutine would be dropped and nothing done.

    Raises:
        StepUsageError: At the call; the text names the call that blocks.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(client: ClientT, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        if client.serves_in_threads and asyncio._get_running_loop() is None:
            raise StepUsageError(
                f"inngest.{name}() is to be awaited, and no event loop runs in this thread: with Flask write "
                f"inngest.sync.{name}(…)"
            )
        return method(client, *args, **kwargs)

    # Quart asks before it runs a background task.
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(call)
    call._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return call


class BlockingCalls:
    """
    Calls that block until their result is there.

    For Flask's views, and with Quart for functions in threads, such as ``def`` step functions.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def send(self, events: Event | Sequence[Event]) -> list[str]:
        """Send events; see `Inngest.send`."""
        return self._call("send", lambda: self._client.send(events))

    def send_signal(self, name: str, data: Any = None) -> bool:
        """Send a signal; see `Inngest.send_signal`."""
        return self._call("send_signal", lambda: self._client.send_signal(name, data))

    def cancel(self, run_id: str) -> bool:
        """Cancel a run; see `Inngest.cancel`."""
        return self._call("cancel", lambda: self._client.cancel(run_id))

    def unready(self) -> str | None:
        """Return why this process cannot begin a run at the moment, or None; see `Inngest.unready`."""
        return self._call("unready", self._client.unready)

    def _call(self, name: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Wait for what *start* begins.

        Raises:
            ConfigurationError: Called on the event loop, which would wait for itself; or the engine does not run.
        """
        work = self._client.on_loop(start)
        if isinstance(work, Done):
            result: T = work.result
            return result
        loop = self._client.loop
        if loop is None or asyncio._get_running_loop() is not None:
            if asyncio.iscoroutine(work):
                # Nobody will await it, and Python would warn of that.
                work.close()
            todo = "start the engine first" if loop is None else f"write `await inngest.{name}(…)` here"
            raise ConfigurationError(f"inngest.sync.{name}() blocks, and is for code in threads: {todo}")
        return call_on(loop, lambda: work)
