"""Clients that Flask holds at the wait URL: as many as the server has threads for, and only while they are there."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from inngest_durable import _wsgi_server, stream
from inngest_durable.flask import FlaskAdapter, endpoint_adapter
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.application import make_client
from packages.inngest_durable.tests.adapters.site import Site
from testkit.servers import ThreadServer, WaitressThread, WerkzeugThread
from testkit.waiting import PATIENCE_SECONDS, wait_until

CLIENTS = 8
# Long before a client that is there would be let go.
SOON_SECONDS = 20.0

Start = Callable[[FlaskAdapter], Site]


@pytest.fixture(params=[WaitressThread, WerkzeugThread])
def start(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Give a function that serves an application in which runs sleep for an hour."""
    server: Callable[..., ThreadServer] = request.param
    sites: list[Site] = []
    # It would tell the server that a client has gone.
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 3600.0)
    monkeypatch.setattr(_wsgi_server, "LOOK_SECONDS", 0.05)

    def started(adapter: FlaskAdapter) -> Site:
        app, inngest = Flask(__name__), make_client(adapter, tmp_path)

        @app.get("/asleep")
        @inngest.endpoint(id="asleep")
        def asleep() -> str:
            step.sleep("pause", "1h")
            return "awake"

        inngest.init_app(app)
        sites.append(Site.at(server(app), inngest, tmp_path))
        return sites[-1]

    yield started
    for site in sites:
        site.close()


@contextmanager
def connection_to(site: Site, path: str) -> Iterator[socket.socket]:
    """Send a request by hand; the connection is cut at the end."""
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        yield connection


def held_by(adapter: FlaskAdapter) -> int:
    """Return how many clients *adapter* holds."""
    return sum(adapter._held.values())


def test_as_many_as_half_of_the_threads_are_held(start: Start) -> None:
    """Nothing has to be set: of a server with 32 threads, or with one for each connection, eight clients are few."""
    adapter = endpoint_adapter.with_options()
    site = start(adapter)
    location = site.get("/asleep").headers["location"]
    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(site.get, location) for _ in range(CLIENTS)]
        wait_until(lambda: held_by(adapter) == CLIENTS or any(answer.done() for answer in waiting), "all to be held")
        site.inngest.sync.cancel(site.records.wait_for_only_run("waiting").id)

        assert [answer.result().status_code for answer in waiting] == [410] * CLIENTS


@pytest.mark.parametrize("kind", ["output", "events"])
def test_client_that_has_gone_holds_nothing(start: Start, kind: str) -> None:
    """A closed tab gives its thread to others soon: no answer has to be ready, and no heartbeat due."""
    adapter = endpoint_adapter.with_options()
    site = start(adapter)
    location = site.get("/asleep").headers["location"].replace("/output?", f"/{kind}?")
    with connection_to(site, location):
        wait_until(lambda: held_by(adapter) == 1, "the client to be held")
    wait_until(lambda: held_by(adapter) == 0, "the client to be let go", SOON_SECONDS)


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells it")
def test_client_that_has_sent_more_and_gone_is_seen() -> None:
    """What it sent before is still there to be read, as the end of a TLS connection is."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection, _ = server.accept()
        with connection:
            environ = {"gunicorn.socket": connection}
            client.sendall(b"bye")
            assert not _wsgi_server.client_has_gone(environ)
            client.close()
            wait_until(lambda: _wsgi_server.client_has_gone(environ), "the client to be gone")


def test_client_that_sends_no_more_is_answered(start: Start) -> None:
    """One that closes its own side of the connection alone still reads: it is told that the run goes on."""
    site = start(endpoint_adapter.with_options())
    location = site.get("/asleep").headers["location"]
    with connection_to(site, location) as connection:
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)

    # A server may end the connection with it.
    assert answer == b"" or b" 202 " in answer.split(b"\r\n")[0]
