"""What the edges keep of a request's body and of a response while they pass it on, up to the limits."""

from __future__ import annotations

from ._core import http
from ._core.limits import exceeded
from ._core.model import Headers, RecordedResponse


class Kept:
    """
    Bytes that come in chunks. Over the limit nothing is kept: uploads to other views pass through the edge too.

    Args:
        limit: How many, by its name in `Limits`.
        most: How many.
    """

    __slots__ = ("_chunks", "_limit", "_most", "_size")

    def __init__(self, limit: str, most: int) -> None:
        self._limit = limit
        self._most = most
        self._size = 0
        self._chunks: list[bytes] | None = None

    def add(self, chunk: bytes) -> None:
        """Take what comes next."""
        if not chunk:
            return
        self._size += len(chunk)
        if self._size > self._most:
            self._chunks = None
        elif self._chunks is None:
            self._chunks = [chunk]
        else:
            self._chunks.append(chunk)

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._size

    @property
    def room(self) -> int:
        """How many more are kept."""
        return max(0, self._most - self._size)

    @property
    def excess(self) -> str | None:
        """What to say if there are too many, or None."""
        return exceeded(self._limit, self._size, self._most) if self._size > self._most else None

    def whole(self) -> bytes:
        """Return all of them, if `excess` is None."""
        return b"".join(self._chunks) if self._chunks else b""


class KeptResponse(Kept):
    """A response that goes out, and is recorded as the end of its run."""

    __slots__ = ("_declared", "_headers", "_status")

    def __init__(self, status: int, headers: Headers, most: int) -> None:
        super().__init__("response", most)
        self._status = status
        self._headers = http.recorded_headers(headers)
        self._declared = http.declared_length(self._headers)

    @property
    def has_declared_length(self) -> bool:
        """Whether as much has come as the headers say: a server may not ask for more."""
        return self._size == self._declared

    def recorded(self) -> RecordedResponse:
        """Return what is recorded: an error in place of a response that is too large; the client got that whole."""
        if (excess := self.excess) is not None:
            return http.answer(500, {"error": excess})
        return RecordedResponse(self._status, self._headers, self.whole())
