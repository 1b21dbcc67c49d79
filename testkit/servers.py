"""
Real servers on real sockets, in a thread of the test's process.

They are quick to start, and let the test reach the client object. `server_process` has those that can be killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import hypercorn
import hypercorn.asyncio
import uvicorn
import waitress.server
import werkzeug.serving

from testkit.waiting import PATIENCE_SECONDS, wait_until

T = TypeVar("T")


def listening_socket() -> socket.socket:
    """Return a socket that listens on a free port of the loopback interface."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    # Inherited by its connections: a response that is sent in two parts would wait 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class ThreadServer(ABC):
    """
    A server in a thread.

    Attributes:
        port: Where it listens on 127.0.0.1.
        buffers_requests: Whether the application sees a request only when its body has come in whole.
    """

    buffers_requests = False

    def __init__(self) -> None:
        self._listener = listening_socket()
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._thread.start()
        wait_until(lambda: self._is_started() or not self._thread.is_alive(), "the server to start")
        if not self._thread.is_alive():
            raise RuntimeError("the server ended before it was ready")

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Call what the application would: on the server's loop, or in a thread. Returns its result."""
        return self.submit(work).result(PATIENCE_SECONDS)

    @abstractmethod
    def submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Begin with what `call` does."""

    def ask_to_stop(self) -> None:
        """Tell the server to end, as its operator would; harmless when it has ended."""
        if self._thread.is_alive():
            self._ask_to_stop()

    def stop(self) -> None:
        """End the server; harmless when it has ended."""
        self.ask_to_stop()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the server does not end"
        self._listener.close()

    @abstractmethod
    def _run(self) -> None: ...

    @abstractmethod
    def _is_started(self) -> bool: ...

    @abstractmethod
    def _ask_to_stop(self) -> None: ...


class AsgiThread(ThreadServer):
    """A server with an event loop of its own in a thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__()

    def submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Begin with what `call` does."""
        assert self._loop is not None

        async def working() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(working(), self._loop)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._serve()

    @abstractmethod
    async def _serve(self) -> None: ...


class UvicornThread(AsgiThread):
    """Uvicorn in a thread."""

    def __init__(self, app: Any, *, root_path: str = "") -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(app, lifespan="on", root_path=root_path, log_level="warning", ws="wsproto", loop="asyncio")
        )
        super().__init__()

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._listener])

    def _is_started(self) -> bool:
        return self._server.started

    def _ask_to_stop(self) -> None:
        self._server.should_exit = True


class HypercornThread(AsgiThread):
    """Hypercorn in a thread."""

    def __init__(self, app: Any, *, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path
        self._stopping: asyncio.Event | None = None
        super().__init__()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        config = hypercorn.Config()
        config.bind = [f"fd://{os.dup(self._listener.fileno())}"]
        config.root_path = self._root_path
        config.errorlog = None
        # It cancels a lifespan that has not ended the moment after it is complete; from Python 3.13 on it raises that.
        with suppress(asyncio.CancelledError):
            await hypercorn.asyncio.serve(self._app, config, shutdown_trigger=self._stopping.wait)

    def _is_started(self) -> bool:
        # The lifespan comes first: hypercorn accepts no connection before the engine has started.
        return self._stopping is not None

    def _ask_to_stop(self) -> None:
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)


class WsgiThread(ThreadServer):
    """A server that calls the application in threads."""

    def submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Begin with what `call` does."""
        future: Future[T] = Future()

        def working() -> None:
            try:
                future.set_result(asyncio.run(_result_of(work)))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=working, daemon=True).start()
        return future


class WerkzeugThread(WsgiThread):
    """Werkzeug's development server in a thread, which starts a thread for each connection."""

    def __init__(self, app: Any, *, root_path: str = "") -> None:
        self._app = _under(root_path, app)
        self._server: werkzeug.serving.BaseWSGIServer | None = None
        super().__init__()

    def _run(self) -> None:
        self._server = werkzeug.serving.make_server(
            *("127.0.0.1", self.port, self._app),
            threaded=True,
            request_handler=_QuietHandler,
            fd=os.dup(self._listener.fileno()),
        )
        self._server.serve_forever(poll_interval=0.02)
        self._server.server_close()

    def _is_started(self) -> bool:
        return self._server is not None

    def _ask_to_stop(self) -> None:
        assert self._server is not None
        # From another thread: it returns when the server has noticed.
        self._server.shutdown()


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
    """Keeps connections, and does not print each request."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # werkzeug's name
        pass


class WaitressThread(WsgiThread):
    """Waitress in a thread, with 32 threads for requests."""

    buffers_requests = True

    def __init__(self, app: Any, *, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path
        self._server: Any = None
        super().__init__()

    def _run(self) -> None:
        own = self._listener.dup()
        self._server = waitress.server.create_server(self._app, sockets=[own], threads=32, url_prefix=self._root_path)
        self._server.run()
        # A server that was closed keeps its threads: in a process with hundreds of tests there are thousands.
        self._server.task_dispatcher.set_thread_count(0)

    def _is_started(self) -> bool:
        return self._server is not None

    def _ask_to_stop(self) -> None:
        with suppress(OSError):
            # Told twice, it may have ended meanwhile.
            self._server.trigger.pull_trigger(self._server.close)


async def _result_of(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _under(prefix: str, app: Any) -> Any:
    """Return an application that is mounted under *prefix*."""

    def mounted(environ: dict[str, Any], start_response: Any) -> Any:
        environ["SCRIPT_NAME"] = prefix
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
        return app(environ, start_response)

    return mounted if prefix else app
