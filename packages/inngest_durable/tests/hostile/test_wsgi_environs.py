"""What a WSGI server hands on of a client that lies: some servers check less than others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from packages.inngest_durable.tests.hostile.doors import EVENTS, Doors
from testkit.colourless import choose


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Open the application of Flask."""
    choose("flask")
    with Doors(tmp_path_factory.mktemp("doors")).opened() as doors:
        yield doors
    choose("quart")


class BrokenStream(io.BytesIO):
    """Fails when it is read to its end, as those of servers do for a wrong chunk or a lost connection."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, or raise."""
        if chunk := super().read(size):
            return chunk
        raise OSError("Invalid chunk size")


LIES: dict[str, dict[str, Any]] = {
    "short body": {"CONTENT_LENGTH": "100", "wsgi.input": io.BytesIO(b"{}")},
    "length that is no number": {"CONTENT_LENGTH": "abc"},
    "length of many digits": {"CONTENT_LENGTH": "9" * 5_000},
    "broken chunks": {"wsgi.input_terminated": True, "wsgi.input": BrokenStream(b"{}")},
    "lost connection": {"CONTENT_LENGTH": "100", "wsgi.input": BrokenStream(b"{}")},
}


@pytest.mark.parametrize("path", ["/order", EVENTS])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_body_that_is_not_as_said_is_refused(doors: Doors, path: str, lie: dict[str, Any]) -> None:
    before = doors.counts()
    reply = doors.ask("POST", path, **lie)

    assert reply.status == 400
    assert doors.counts() == before


@pytest.mark.parametrize("port", ["", "abc", "-1", "80]", "9" * 5_000, "\u0663", 8000, None])
@pytest.mark.parametrize("name", ["SERVER_PORT", "REMOTE_PORT"])
def test_port_that_is_none_keeps_no_request_out(doors: Doors, name: str, port: Any) -> None:
    """Behind a Unix socket, gunicorn takes the server's from the ``Host`` header; Werkzeug's server gives a number."""
    reply = doors.ask("POST", "/order", b"", [], b"{}", **{name: port})

    assert reply.status == 200
