"""A client that goes away in the middle: its run completes by itself, and every completed step ran once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from packages.inngest_durable.tests.adapters.site import Site
from testkit.waiting import PATIENCE_SECONDS, wait_until


@contextmanager
def connection_of(site: Site, path: str) -> Iterator[socket.socket]:
    """Send a request by hand; the connection is cut at the end."""
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        yield connection


def test_run_goes_on_when_the_client_leaves_in_the_middle(served: Site) -> None:
    """The step in flight ends and is checkpointed; the rest follows without anybody connected."""
    with connection_of(served, "/held"):
        served.outside.wait_for("two")
    served.outside.open("two")
    run = served.records.wait_for_only_run()

    assert run.status == "completed"
    assert served.outside.counts() == {"one": 1, "two": 1, "three": 1}


def test_run_goes_on_when_the_client_leaves_in_the_first_step(served: Site) -> None:
    """A run is accepted while its first step runs, and completes."""
    with connection_of(served, "/held-first"):
        served.outside.wait_for("one")
    served.outside.open("one")
    run = served.records.wait_for_only_run()

    assert run.status == "completed"
    assert served.outside.counts() == {"one": 1, "two": 1}


def test_step_in_flight_outlives_its_client(served: Site) -> None:
    """Nothing is cut off: while the step's function runs, the run is not re-entered and the step not started again."""
    with connection_of(served, "/held"):
        served.outside.wait_for("two")
    # Other requests come and go meanwhile; the server has seen the other connection's end before theirs.
    for _ in range(5):
        assert served.get("/plain").status_code == 200
    run = served.records.wait_for_only_run("running")
    steps = dict(served.records.steps(run.id))
    served.outside.open("two")

    assert list(steps) == ["one"]
    assert run.epoch == 1
    assert served.records.wait_for_only_run().status == "completed"
    assert served.outside.counts() == {"one": 1, "two": 1, "three": 1}


def test_run_ends_when_the_client_leaves_in_mid_response(served: Site) -> None:
    """A response that did not go out whole is made again from the memos, and recorded."""
    with connection_of(served, "/stream") as connection:
        wait_until(lambda: b"one " in connection.recv(4096), "the first chunk")
    served.outside.open("stream")
    run = served.records.wait_for_only_run()

    assert run.status == "completed"
    assert served.records.response_of(run.id) == b"one two"
    assert served.outside.counts()["flaky"] == 1


def test_run_goes_on_when_the_client_leaves_before_its_redirect_is_followed(served: Site) -> None:
    """A client that does not follow its redirect loses its answer, and the run nothing."""
    with connection_of(served, "/book?fail=2") as connection:
        wait_until(lambda: b"303" in connection.recv(4096), "the redirect")
    run = served.records.wait_for_only_run()

    assert run.status == "completed"
    assert served.outside.counts() == {"reserve": 1, "charge": 3, "confirm": 1}


def test_client_that_leaves_before_its_body_is_complete_makes_no_run(served: Site) -> None:
    """A request that never came in whole is none."""
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"POST /echo/tail HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf")
        if not served.server.buffers_requests:
            served.visits.wait_for("/echo/tail")
    served.records.wait_for_end(served.get("/book").headers["x-inngest-run-id"])

    assert len(served.records.runs()) == 1
    assert served.outside.calls("pass") == []
