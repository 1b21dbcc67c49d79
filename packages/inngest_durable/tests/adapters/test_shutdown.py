"""The server is told to stop in the middle of a run: by its operator, by a signal, or by the application's code."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from packages.inngest_durable.tests.adapters.conftest import StartSite
from packages.inngest_durable.tests.adapters.frameworks import FRAMEWORKS
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.adapters.test_clients_leave import connection_of
from testkit.site_process import SiteProcess, waiter
from testkit.waiting import PATIENCE_SECONDS, wait_until

COMMANDS = tuple((framework, server) for framework in FRAMEWORKS for server in framework.commands)


@pytest.fixture(params=COMMANDS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application by each server of each framework in turn, in a process."""
    framework, server = request.param
    with closing(SiteProcess(framework.commands[server], tmp_path)) as site:
        yield site


@pytest.mark.parametrize("to", ["process", "group"])
def test_sigterm_in_mid_step_loses_nothing(processes: SiteProcess, to: str) -> None:
    """The step in flight ends and is checkpointed, the process exits, and the next one completes the run."""
    with processes.request("/held"):
        processes.outside.wait_for("two")
    lets_go = not _waits_for_connections(processes, to)
    with waiter(processes, "/long-sleep") as answered:
        if lets_go:
            processes.process.terminate(group=to == "group")
            # Held requests are let go when the server begins to stop: only then may the step end.
            answered()
    if not lets_go:
        processes.process.terminate()
    processes.outside.open("two")
    exit_code = processes.process.wait()
    (run,) = (run for run in processes.records.runs() if run.endpoint.endswith(".held"))
    at_exit = processes.outside.counts()
    processes.restart()

    # Uvicorn ends by raising the signal again, hypercorn by exiting.
    assert exit_code in (0, -signal.SIGTERM), processes.process.output
    # Hypercorn's worker may hear of it when the step has ended.
    assert run.status in ("waiting", "completed")
    assert (at_exit["one"], at_exit["two"]) == (1, 1)
    assert processes.records.wait_for_end(run.id).status == "completed"
    assert processes.outside.counts() == {"before": 1, "one": 1, "two": 1, "three": 1}
    assert "please report this bug" not in processes.process.output


def _waits_for_connections(processes: SiteProcess, to: str) -> bool:
    """Whether every connection has to be closed before the drain: hypercorn does that from Python 3.12 on."""
    hypercorn = "hypercorn" in str(processes.process.popen.args)
    return hypercorn and to == "process" and sys.version_info >= (3, 12)


def test_stop_sends_first_pass_clients_to_the_wait_url(site: Site) -> None:
    """When the application stops the engine, a client in mid-run is redirected when the step in flight has ended."""
    asleep = site.get("/long-sleep").headers["location"]
    with (
        connection_of(site, asleep) as waiter,
        socket.create_connection(("127.0.0.1", site.server.port), timeout=PATIENCE_SECONDS) as client,
    ):
        client.sendall(b"GET /held HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        site.outside.wait_for("two")
        site.visits.wait_for(asleep.split("?")[0])
        stopping = site.server.submit(site.inngest.stop)
        # Who is held is let go when the stop begins.
        waiter.recv(65536)
        before = stopping.done()
        site.outside.open("two")
        stopping.result(PATIENCE_SECONDS)
        received = client.recv(65536)
    (run,) = (run for run in site.records.runs() if run.endpoint.endswith(".held"))

    assert not before
    assert received.startswith(b"HTTP/1.1 303")
    assert b"/_inngest/runs/" in received
    assert site.outside.counts() == {"before": 1, "one": 1, "two": 1}
    assert run.status == "waiting"


def test_start_after_stop_goes_on(site: Site) -> None:
    """A run that waited when the engine was stopped completes once it is started again."""
    location = site.get("/sleep?ms=300").headers["location"]
    site.server.call(site.inngest.stop)
    site.server.call(site.inngest.start)

    assert site.get(location).status_code == 200
    assert site.outside.counts() == {"before": 1, "after": 1}


def test_stop_waits_for_nothing_after_errors_without_a_run(site: Site) -> None:
    """Requests that failed before their first step are over: the engine does not wait for them until its grace ends."""
    assert site.get("/fails-early").status_code == 503
    assert site.get("/missing").status_code == 404

    # The client has its answer a moment before the pass is put away.
    wait_until(lambda: len(site.inngest.engine.passes) == 0, "the pass to end")


def test_run_id_of_a_stopped_engine_is_found_by_the_next(start_site: StartSite, tmp_path: Path) -> None:
    """A second server on the same database answers the wait URL of the first one's run."""
    first = start_site(folder=tmp_path / "app")
    redirect = first.get("/sleep?ms=300")
    first.close()
    second = start_site(folder=tmp_path / "app")
    answer = second.follow(second.get(redirect.headers["location"]))

    assert answer.status_code == 200
    assert answer.headers[RUN_ID] == redirect.headers[RUN_ID]
