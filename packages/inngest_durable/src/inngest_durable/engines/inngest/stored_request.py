"""A client's request as a run's first record holds it. Pure."""

from __future__ import annotations

from msgspec import Struct

from ..._core.model import RecordedRequest


class StoredRequest(Struct, frozen=True, gc=False):
    """A recorded request without its body, which the server keeps; bytes are latin-1 texts."""

    method: str
    scheme: str
    root_path: str
    path: str
    raw_path: str
    query_string: str
    headers: list[tuple[str, str]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    http_version: str

    @classmethod
    def of(cls, request: RecordedRequest) -> StoredRequest:
        """Return what is stored of *request*."""
        return cls(
            request.method,
            request.scheme,
            printable(request.root_path),
            printable(request.path),
            request.raw_path.decode("latin-1"),
            request.query_string.decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers],
            request.client,
            request.server,
            request.http_version,
        )

    def recorded(self, body: bytes) -> RecordedRequest:
        """Return the request with its body, as it was received."""
        return RecordedRequest(
            self.method,
            self.scheme,
            self.root_path,
            self.path,
            self.raw_path.encode("latin-1"),
            self.query_string.encode("latin-1"),
            tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers),
            self.client,
            self.server,
            self.http_version,
            body,
        )


def printable(text: str) -> str:
    """Return *text* in a form that UTF-8 has: a lone surrogate, as in the name of a file, is spelled out."""
    return text.encode(errors="backslashreplace").decode()
