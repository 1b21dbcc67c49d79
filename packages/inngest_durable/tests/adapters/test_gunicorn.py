"""Flask under gunicorn: threads that are few, workers that are killed, told to stop, or forked from a busy master."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.adapters import flask_life_app
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import Outside
from testkit.server_process import ServerProcess, gunicorn_command
from testkit.site_process import SiteProcess, waiter
from testkit.waiting import wait_until

APP = f"{flask_life_app.__name__}:create_app"
RUNS = 50
SLEEPERS = 100

Gunicorn = Callable[..., SiteProcess]


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    """Give a function that serves the application by gunicorn with these options."""
    opened: list[SiteProcess] = []

    def start(*options: str, app: str = APP) -> SiteProcess:
        opened.append(SiteProcess(lambda port: gunicorn_command(app, port, *options), tmp_path))
        return opened[-1]

    yield start
    for site in opened:
        site.close()


def test_killed_worker_costs_no_run(gunicorn: Gunicorn) -> None:
    """Of two workers with 50 runs in flight one dies by SIGKILL: all complete, no step twice, with nobody connected."""
    site = gunicorn("--workers", "2")
    with ThreadPoolExecutor(8) as pool:
        redirects = list(pool.map(lambda number: site.get(f"/work/{number}"), range(RUNS)))
    # In the middle: some runs have gone on, others still sleep.
    wait_until(lambda: any(call["action"].startswith("after") for call in site.outside.calls()), "a run to go on")
    victim = site.outside.calls()[-1]["pid"]
    os.kill(victim, signal.SIGKILL)
    ends = [site.records.wait_for_end(redirect.headers[RUN_ID]) for redirect in redirects]
    counts = site.outside.counts()

    assert {redirect.status_code for redirect in redirects} == {303}
    assert {end.status for end in ends} == {"completed"}
    assert {counts[f"before-{number}"] for number in range(RUNS)} == {1}
    # A step that was in flight when the process died may run again; what was recorded may not.
    repeated = [number for number in range(RUNS) if counts[f"after-{number}"] != 1]
    assert all(counts[f"after-{number}"] == 2 for number in repeated)
    assert len(repeated) <= 8


def test_sleeping_runs_hold_no_thread(gunicorn: Gunicorn) -> None:
    """With 100 runs asleep, a worker of four threads answers others."""
    site = gunicorn("--workers", "1")
    url = f"http://127.0.0.1:{site.port}"
    with closing(httpx.Client(base_url=url, trust_env=False, verify=False, timeout=20)) as client:
        asleep = [client.get("/asleep").status_code for _ in range(SLEEPERS)]
        booked = client.get("/book")

    assert asleep == [303] * SLEEPERS
    assert booked.status_code == 200
    assert sum(run.status == "waiting" for run in site.records.runs()) == SLEEPERS
    # Gunicorn's four, the engine's, the database's, and those that re-entered runs; far from one for each run.
    assert _threads_of(_worker_of(site)) < 20


def test_waiting_clients_leave_threads_to_others(gunicorn: Gunicorn) -> None:
    """Of many clients at the wait URL two are held; the others are told to come back, and others are served."""
    site = gunicorn("--workers", "1")
    location = site.get("/asleep").headers["location"]
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(site.get, location) for _ in range(6)]
        wait_until(lambda: sum(answer.done() for answer in waiting) == 4, "four of six to be answered")
        plain = site.get("/plain")
        later = [answer.result() for answer in waiting if answer.done()]
        site.process.terminate()
        held = [answer.result() for answer in waiting if answer.result() not in later]

    assert plain.status_code == 200
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in later] == [(202, "1")] * 4
    assert [answer.status_code for answer in held] == [303, 303]


def test_half_of_the_threads_hold_waiting_clients(gunicorn: Gunicorn) -> None:
    """With 16 threads, eight clients at the wait URL of one worker are held, and others are served."""
    site = gunicorn("--workers", "1", "--threads", "16")
    location = site.get("/asleep").headers["location"]
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(site.get, location) for _ in range(8)]
        Outside(site.folder / "visits").wait_for(location.split("?")[0], 8)
        plain = site.get("/plain")
        site.process.terminate()
        held = [answer.result().status_code for answer in waiting]

    assert plain.status_code == 200
    assert held == [303] * 8


def test_closed_streams_hold_no_thread(gunicorn: Gunicorn) -> None:
    """Of four threads, two may hold clients: when the tabs that had them are closed, another one can follow."""
    site = gunicorn("--workers", "1", app=f"{flask_life_app.__name__}:without_heartbeats")
    events = site.get("/asleep").headers["location"].replace("/output?", "/events?")

    def first_line() -> bytes:
        with site.request(events) as connection:
            return connection.recv(4096).split(b"\r\n")[0]

    with site.request(events) as one, site.request(events) as two:
        assert [connection.recv(4096)[:12] for connection in (one, two)] == [b"HTTP/1.1 200"] * 2
        assert b" 503 " in first_line()

    wait_until(lambda: b" 200 " in first_line(), "a thread to be free")


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_only_thread_is_soon_given_to_others(gunicorn: Gunicorn, worker_class: str) -> None:
    """Gunicorn's default has one thread in each worker: who waits there is sent round, and who would follow refused."""
    site = gunicorn("--workers", "1", "--worker-class", worker_class, "--threads", "1")
    location = site.get("/asleep").headers["location"]
    began = time.monotonic()
    held = site.get(location)
    held_seconds = time.monotonic() - began
    follower = site.get(location.replace("/output?", "/events?"))

    assert (held.status_code, held.headers["location"]) == (303, f"{location}&n=1")
    assert 1 < held_seconds < 10
    assert follower.status_code == 503


def test_held_client_is_answered_when_the_run_ends(gunicorn: Gunicorn) -> None:
    """Who is held at the wait URL has the answer a moment after the end."""
    site = gunicorn("--workers", "1")
    late: list[float] = []
    for number in range(3):
        redirect = site.get(f"/work/{number}")
        answer = site.get(redirect.headers["location"])
        late.append(time.time() - site.records.end_time(redirect.headers[RUN_ID]))

        assert answer.json() == [f"before-{number}#1", f"after-{number}#1"]
    # One that met a busy machine is no rule.
    assert statistics.median(late) < 0.5, late


def test_sigterm_in_mid_step(gunicorn: Gunicorn) -> None:
    """The step ends, the next one is refused, the client is redirected; after the restart no step runs twice."""
    site = gunicorn("--workers", "1")
    with ThreadPoolExecutor(1) as pool, waiter(site, "/asleep") as answered:
        answer = pool.submit(site.get, "/held")
        site.outside.wait_for("two")
        site.process.terminate()
        # Who is held is let go when the drain begins: only then may the step end.
        answered()
        site.outside.open("two")
        redirect = answer.result()
    exit_code = site.process.wait()
    at_exit = site.outside.counts()
    site.restart()

    assert exit_code == 0
    assert redirect.status_code == 303
    assert at_exit == {"one": 1, "two": 1}
    assert site.records.wait_for_end(redirect.headers[RUN_ID]).status == "completed"
    assert site.outside.counts() == {"one": 1, "two": 1, "three": 1}


def test_worker_forked_from_a_busy_master_has_its_own_engine(gunicorn: Gunicorn) -> None:
    """With --preload and an engine that runs in the master, each worker starts its own, and runs complete."""
    site = gunicorn("--workers", "2", "--preload", app=f"{flask_life_app.__name__}:start_in_master")
    redirects = [site.get(f"/work/{number}") for number in range(6)]
    ends = [site.records.wait_for_end(redirect.headers[RUN_ID]) for redirect in redirects]

    assert {end.status for end in ends} == {"completed"}
    assert {count for action, count in site.outside.counts().items() if action != "one"} == {1}
    # Of the two workers and the master.
    assert len(site.records.workers()) == 3


def test_commands_do_not_start_the_engine(tmp_path: Path) -> None:
    """``flask routes`` and ``flask shell`` leave no thread, no database, and end at once."""
    for command in ("routes", "shell"):
        arguments = [sys.executable, "-m", "flask", "--app", APP, command]
        process = ServerProcess(arguments, tmp_path, {"FOLDER": str(tmp_path)})

        assert process.wait() == 0, process.output
    assert "/_inngest/runs/<run_id>/output" in process.output
    assert not (tmp_path / "durable.db").exists()


def _worker_of(site: SiteProcess) -> int:
    return int(site.get("/pid").text)


def _threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  # no files, but the kernel's list
