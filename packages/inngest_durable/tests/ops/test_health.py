"""Readiness says whether a run can be begun here, and why not; liveness, whether the process answers."""

from __future__ import annotations

import resource
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from inngest_durable.engines.embedded import probe

from packages.inngest_durable.tests.adapters.frameworks import FLASK, FRAMEWORKS, QUART, Framework
from packages.inngest_durable.tests.adapters.site import Site
from testkit.records import Records, database_of
from testkit.servers import WsgiThread
from testkit.site_process import SiteProcess
from testkit.waiting import PATIENCE_SECONDS, wait_until

READY = (200, {"status": "ready"})
ALIVE = (200, {"status": "alive"})
CANNOT_RECORD = (503, {"status": "unready", "reason": "cannot record"})
DRAINING = (503, {"status": "unready", "reason": "draining"})
NOT_STARTED = (503, {"status": "unready", "reason": "not started"})


def ready(site: Site | SiteProcess) -> tuple[int, object]:
    """Ask for readiness."""
    answer = site.get("/_inngest/health")
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


def become_ready(site: Site | SiteProcess) -> None:
    """Ask until it is: on a busy disk the first write may take longer than who asks is kept waiting."""
    wait_until(lambda: ready(site) == READY, "the process to be ready")


def alive(site: Site | SiteProcess) -> tuple[int, object]:
    """Ask for liveness."""
    answer = site.get("/_inngest/health/live")
    return answer.status_code, answer.json()


def why_unready(site: Site) -> str | None:
    """Ask as the application's own code does."""
    if isinstance(site.server, WsgiThread):
        return site.inngest.sync.unready()
    return site.server.call(site.inngest.unready)


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is answered by a write of its own."""
    monkeypatch.setattr(probe, "_FRESH_SECONDS", 0.0)


def test_process_that_can_record_is_ready(site: Site) -> None:
    """Also one that has served nothing yet. Asking leaves nothing behind."""
    assert ready(site) == READY
    assert alive(site) == ALIVE
    assert why_unready(site) is None
    assert len(site.records.workers()) == 1


def test_process_that_drains_is_not_ready(site: Site) -> None:
    """From the beginning of the drain, while steps in flight end; it stays alive."""
    become_ready(site)
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        site.outside.wait_for("two")
        stopping = site.server.submit(site.inngest.stop)
        wait_until(lambda: ready(site) == DRAINING, "the drain to be told")
        during = alive(site), why_unready(site), stopping.done()
        site.outside.open("two")
        stopping.result(PATIENCE_SECONDS)

    assert during == (ALIVE, "no run is begun or resumed here any more: the process stops", False)
    # Nor does asking start it again.
    assert ready(site) == DRAINING


@pytest.mark.usefixtures("always_fresh")
def test_process_whose_database_is_held_by_another_is_not_ready(site: Site) -> None:
    become_ready(site)
    with site.records.locked():
        told, why, living = ready(site), why_unready(site), alive(site)
    wait_until(lambda: ready(site) == READY, "the database to be free")

    assert (told, living) == (CANNOT_RECORD, ALIVE)
    assert why is not None
    assert "nothing could be written for 2 s: another process holds the database" in why


def test_questions_in_quick_succession_cost_one_write(
    start_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask; a commit syncs the disk."""
    monkeypatch.setattr(probe, "_FRESH_SECONDS", 3600.0)
    site = start_site()
    become_ready(site)
    with site.records.locked():
        told = ready(site)

    assert told == READY


def _foreign(folder: Path) -> None:
    with closing(sqlite3.connect(database_of(folder))) as db:
        db.execute("CREATE TABLE theirs (id)")


def test_process_whose_engine_cannot_be_started_is_not_ready_on_flask(tmp_path: Path) -> None:
    """And says nothing of the file to who asks over HTTP. Once it can, asking starts it."""
    _foreign(tmp_path)
    application = FLASK.build(tmp_path)
    client = application.app.test_client()
    told = client.get("/_inngest/health")
    why = application.inngest.sync.unready()
    database_of(tmp_path).unlink()
    again = client.get("/_inngest/health")
    application.inngest.stop()

    assert (told.status_code, told.get_json()) == NOT_STARTED
    assert why == (
        f"the engine could not be started: {database_of(tmp_path)} belongs to another program; it was not changed"
    )
    assert again.status_code == 200


def test_process_that_is_still_starting_is_not_ready(tmp_path: Path) -> None:
    """It cannot record that it starts while another process holds the database; then it goes on by itself."""
    records = Records(database_of(tmp_path))
    with FLASK.build(tmp_path).inngest.running():
        pass
    application = FLASK.build(tmp_path)
    client = application.app.test_client()
    with records.locked():
        told, why = client.get("/_inngest/health"), application.inngest.sync.unready()
    wait_until(lambda: client.get("/_inngest/health").status_code == 200, "the engine to start")
    application.inngest.stop()

    assert (told.status_code, told.get_json()) == NOT_STARTED
    assert why == "the engine did not start within 2 s; it goes on trying"


async def test_process_whose_engine_cannot_be_started_is_not_ready_on_quart(tmp_path: Path) -> None:
    """Where no lifespan starts it; with one, the server does not begin to serve."""
    _foreign(tmp_path)
    application = QUART.build(tmp_path)
    client = application.app.test_client()
    told = await client.get("/_inngest/health")
    why = await application.inngest.unready()
    database_of(tmp_path).unlink()
    again = await client.get("/_inngest/health")
    await application.inngest.stop()

    assert (told.status_code, await told.get_json()) == NOT_STARTED
    assert why is not None
    assert "belongs to another program" in why
    assert again.status_code == 200


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.name)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application in a process, by each framework's first server."""
    framework: Framework = request.param
    with closing(SiteProcess(next(iter(framework.commands.values())), tmp_path)) as site:
        yield site


def _worker_pid(server: SiteProcess) -> int:
    with closing(sqlite3.connect(f"file:{server.records.path}?mode=ro", uri=True, timeout=5)) as db:
        ((pid,),) = db.execute("SELECT pid FROM workers").fetchall()
    return int(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the disk is made full by means of Linux")
def test_idle_process_whose_disk_is_full_is_not_ready(server: SiteProcess) -> None:
    """It finds out by being asked, and that the disk has room again, too."""
    # The write-ahead log has to be longer than any other file of the server.
    for _ in range(20):
        assert server.get("/book").status_code == 200
    wait_until(lambda: all(run.is_final for run in server.records.runs()), "all runs to end")
    before, pid = ready(server), _worker_pid(server)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (Path(f"{server.records.path}-wal").stat().st_size, hard))
    wait_until(lambda: ready(server) == CANNOT_RECORD, "the disk to be found full")
    refused, living = server.get("/book").status_code, alive(server)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    wait_until(lambda: ready(server) == READY, "the room on the disk to be found")

    assert (before, living, refused) == (READY, ALIVE, 503)
    assert server.get("/book").status_code == 200
