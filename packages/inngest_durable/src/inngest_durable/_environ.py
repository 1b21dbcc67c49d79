"""WSGI environs and recorded requests: each is made from the other. Imports no framework."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

from ._core.model import Headers, RecordedRequest
from ._recording import Kept
from .errors import RequestTooLargeError

_CHUNK = 65536
_PORT_DIGITS = 5
# Headers of the body, which CGI names as if they were not headers.
_BODY_NAMES = {"CONTENT_TYPE": b"content-type", "CONTENT_LENGTH": b"content-length"}
_ENVIRON_NAMES = {name: key for key, name in _BODY_NAMES.items()}


class _Input(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


class Body:
    """
    Stands in for ``wsgi.input``: passes the request's body on, and keeps it for the record.

    Args:
        environ: The request as the server made it; not changed.
        limit: How many bytes may be recorded.
    """

    def __init__(self, environ: dict[str, Any], limit: int) -> None:
        self._environ = environ
        self._source: _Input = environ["wsgi.input"]
        self._kept = Kept("request_body", limit)
        self._is_complete = False

    def read(self, size: int | None = -1) -> bytes:
        """Read as a file does."""
        return self._keep(self._source.read(-1 if size is None else size))

    def readline(self, size: int | None = -1) -> bytes:
        """Read as a file does."""
        return self._keep(self._source.readline(-1 if size is None else size))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Read as a file does; all lines, as a file may, whatever the *hint*."""
        del hint
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def complete(self) -> None:
        """
        Take in what the application has not read yet; it then reads that from memory. Blocks for slow clients.

        Raises:
            ConnectionAbortedError: The client went away before all of it came.
        """
        if self._is_complete:
            return
        rest = Kept("request_body", self._kept.room)
        left = self._bytes_left()
        while left and (chunk := self._source.read(min(left, _CHUNK))):
            left -= len(chunk)
            rest.add(self._keep(chunk))
        if left and self._environ.get("CONTENT_LENGTH"):
            raise ConnectionAbortedError("the client went away before its request had come in whole")
        self._is_complete = True
        self._source = io.BytesIO(rest.whole())

    def _keep(self, chunk: bytes) -> bytes:
        if not self._is_complete:
            self._kept.add(chunk)
        return chunk

    def _bytes_left(self) -> int:
        length = self._environ.get("CONTENT_LENGTH")
        if length:
            return max(0, int(length) - self._kept.size)
        # Without a length, only a server that ends the stream itself may be asked for more.
        return sys.maxsize if self._environ.get("wsgi.input_terminated") else 0

    def request(self) -> RecordedRequest:
        """Return the request; its body must be complete. Raises `RequestTooLargeError`."""
        if (excess := self._kept.excess) is not None:
            raise RequestTooLargeError(excess)
        return recorded_request(self._environ, self._kept.whole())


def recorded_request(environ: dict[str, Any], body: bytes) -> RecordedRequest:
    """Return the request of *environ*, as it is kept with its run."""
    script, path = (environ.get(name, "").encode("latin-1") for name in ("SCRIPT_NAME", "PATH_INFO"))
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or quote(script + path)
    client = environ.get("REMOTE_ADDR")
    return RecordedRequest(
        method=environ["REQUEST_METHOD"],
        scheme=environ["wsgi.url_scheme"],
        root_path=script.decode(errors="replace"),
        path=path.decode(errors="replace"),
        raw_path=target.partition("?")[0].encode("latin-1", "replace"),
        query_string=environ.get("QUERY_STRING", "").encode("latin-1"),
        headers=headers_of(environ),
        client=(client, _port(environ.get("REMOTE_PORT")) or 0) if client else None,
        server=(environ["SERVER_NAME"], _port(environ["SERVER_PORT"])),
        http_version=environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2],
        body=body,
    )


def _port(given: str | int | None) -> int | None:
    """Return a port; None if it is not one: behind a Unix socket, gunicorn takes it from the client's ``Host``."""
    text = str(given or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS else None


def headers_of(environ: dict[str, Any]) -> Headers:
    """Return the headers of a request."""
    return tuple(_headers_of(environ))


def _headers_of(environ: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")
        elif key in _BODY_NAMES and value:
            yield _BODY_NAMES[key], value.encode("latin-1")


def environ_of(request: RecordedRequest) -> dict[str, Any]:
    """Return an environ that hands *request* to the application again."""
    target = request.raw_path.decode("latin-1")
    query = request.query_string.decode("latin-1")
    server, port = request.server or ("localhost", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": request.root_path.encode().decode("latin-1"),
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": f"{target}?{query}" if query else target,
        "SERVER_NAME": server,
        "SERVER_PORT": str(port or (443 if request.scheme == "https" else 80)),
        "SERVER_PROTOCOL": f"HTTP/{request.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        # A body that came in chunks has no length in its headers.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ["REQUEST_URI"] = environ["RAW_URI"]
    if request.client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = request.client[0], str(request.client[1])
    for name, value in request.headers:
        key = _ENVIRON_NAMES.get(name) or f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        environ[key] = value.decode("latin-1")
    return environ
