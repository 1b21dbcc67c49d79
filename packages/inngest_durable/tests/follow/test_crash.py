"""Followers of a run whose server is killed, or that another worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from packages.inngest_durable.tests.follow import app
from packages.inngest_durable.tests.follow.listener import Heard, follow, kinds, until
from testkit.forks import ForkedSite, Zygote
from testkit.site_process import SiteProcess
from testkit.waiting import wait_until

Serve = Callable[[], SiteProcess]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """The process that servers are forked from."""
    with closing(Zygote()) as zygote:
        yield zygote


@pytest.fixture(params=["quart", "flask"])
def serve(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Serve:
    """Give a function that serves the application in a process of its own."""
    return lambda: ForkedSite(zygote, f"{app.__name__}:create_{request.param}_app", tmp_path)


@pytest.fixture
def site(serve: Serve) -> Iterator[SiteProcess]:
    """The application in a process of its own."""
    with closing(serve()) as site:
        yield site


def client_of(site: SiteProcess) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=20, trust_env=False)


def started(client: httpx.Client, path: str) -> str:
    """Start a run and return where it is followed."""
    headers = {"Idempotency-Key": "BK-1", "Accept": "text/event-stream"}
    return str(client.get(path, headers=headers).headers["location"])


def cut_off(stream: Iterator[Heard]) -> list[Heard]:
    """Return what comes before the connection breaks."""
    events: list[Heard] = []
    try:
        events.extend(stream)
    except httpx.TransportError:
        return events
    raise AssertionError(f"the stream ended by itself: {events}")


def test_stream_goes_on_after_a_kill(site: SiteProcess) -> None:
    """Killed in mid-stream and in mid-step: with the last ID, the reader misses nothing and gets nothing twice."""
    with client_of(site) as client:
        location = started(client, "/trip")
        stream = follow(client, location)
        events = until(stream, "step.progress")
        site.process.kill()
        events += cut_off(stream)
        site.restart()
        stream = follow(client, location, events[-1].id)
        events += until(stream, "step.progress")
        site.outside.open("search")
        events += list(stream)
        whole = list(follow(client, location))

    assert events == whole
    # On a busy machine, the quick step takes long enough to tell that it started.
    assert [kind for kind in kinds(events) if kind != "step.started pay"] == [
        "run.started",
        "run.interrupted",
        "run.reentered",
        "step.started search",
        "step.progress search",
        "run.recovered",
        "run.reentered",
        "step.started search",
        "step.progress search",
        "step.progress search",
        "step.completed search",
        "step.completed pay",
        "run.completed",
        "result",
    ]
    first, second = (event.data for event in events if event.kind == "run.reentered")
    recovered = next(event.data for event in events if event.kind == "run.recovered")
    assert recovered["worker"] == first["worker"] != second["worker"]
    assert recovered["epoch"] == first["epoch"] == second["epoch"] - 1
    assert first["pid"] != second["pid"] == site.process.popen.pid


def test_memoized_steps_are_told_by_the_pass_that_replays_them(site: SiteProcess) -> None:
    """And what they told is not told again."""
    with client_of(site) as client:
        location = started(client, "/held")
        stream = follow(client, location)
        events = until(stream, "step.completed")
        events += until(stream, "step.started")
        site.process.kill()
        events += cut_off(stream)
        site.outside.open("two")
        site.restart()
        events += list(follow(client, location, events[-1].id))

    assert [event.data["memoized"] for event in events if event.kind == "run.reentered"] == [[], ["one"]]
    assert [kind for kind in kinds(events) if kind.endswith(" one")] == [
        "step.started one",
        "step.progress one",
        "step.completed one",
    ]
    assert events[-1].data["body"] == ["one#1", "two", "three#1"]


def test_another_worker_streams_what_one_does(site: SiteProcess, serve: Serve) -> None:
    """Commits of the other process are seen at once; its live pass notices that its run was cancelled."""
    with closing(serve()) as other, client_of(site) as client, client_of(other) as far:
        location = started(client, "/trip")
        stream = follow(far, location)
        before = until(stream, "step.progress")
        cancelled = far.delete(location)
        rest = list(stream)
        site.outside.open("search")
        wait_until(lambda: not owned(site), "the pass to end")

    assert cancelled.status_code == 202
    assert kinds(before)[-1] == "step.progress search"
    assert kinds(rest) == ["run.cancelled", "result"]
    assert site.outside.counts() == {"search": 1}


def owned(site: SiteProcess) -> list[Any]:
    """Return the runs that have not ended."""
    return [run for run in site.records.runs() if not run.is_final]
