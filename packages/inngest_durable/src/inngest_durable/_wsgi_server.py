"""
What a WSGI server tells, beyond PEP 3333: how many threads it has, and whether a client is still there.

Known are gunicorn, waitress and Werkzeug's development server. Imports none of them: what another one lacks, or what a
later version calls differently, is unknown, and is never an error.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

Environ = dict[str, Any]
T = TypeVar("T")

# How long a client that has gone still takes a thread.
LOOK_SECONDS = 1.0
# Only Linux tells it of a connection with bytes that nobody has read.
_CLOSED = getattr(select, "POLLRDHUP", 0)


def threads_of(environ: Environ, start_response: Callable[..., Any]) -> float | None:
    """Return how many requests the server serves at a time in this process; None if that is unknown."""
    if "SERVER_SOFTWARE" not in environ:
        # The framework's test client, which is no server.
        return None
    if not environ.get("wsgi.multithread", True):
        return 1
    if "werkzeug.socket" in environ:
        # It starts a thread for each connection.
        return math.inf
    gunicorn = getattr(_owner_of(start_response), "cfg", None)
    if getattr(gunicorn, "worker_class_str", "") == "gthread":
        return _number(getattr(gunicorn, "threads", None))
    return _number(getattr(getattr(_waitress_channel(environ), "adj", None), "threads", None))


def client_has_gone(environ: Environ) -> bool:
    """Whether the client has closed its connection; False if that is unknown."""
    disconnected = environ.get("waitress.client_disconnected")
    if disconnected is not None and disconnected():
        return True
    connection = _connection_of(environ)
    if connection is None:
        return False
    try:
        poll = select.poll()
        poll.register(connection, select.POLLIN | _CLOSED)
        found = poll.poll(0)
        if not found or found[0][1] & _CLOSED:
            return bool(found)
        # The base class's, since that of a TLS connection cannot peek.
        return not socket.socket.recv(connection, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        # The server has read it in the meantime.
        return False
    except (OSError, ValueError):
        # It was reset, or the server has closed it.
        return True


async def while_there(environ: Environ, work: Awaitable[T]) -> T | None:
    """Return the result of *work*, or None once its client has gone, which cancels *work*."""
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            await asyncio.wait((working,), timeout=LOOK_SECONDS)
            if not working.done() and client_has_gone(environ):
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
                return None
    finally:
        working.cancel()
    return working.result()


def _connection_of(environ: Environ) -> socket.socket | None:
    found = (
        environ.get("gunicorn.socket")
        or environ.get("werkzeug.socket")
        or getattr(_waitress_channel(environ), "socket", None)
    )
    return found if isinstance(found, socket.socket) else None


def _waitress_channel(environ: Environ) -> Any:
    return _owner_of(environ.get("waitress.client_disconnected"))


def _owner_of(method: Any) -> Any:
    return getattr(method, "__self__", None)


def _number(found: Any) -> int | None:
    return found if isinstance(found, int) else None
