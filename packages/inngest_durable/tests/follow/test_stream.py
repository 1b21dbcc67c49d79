"""The stream of a run's events: what it tells, to whom, and from where on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.flask import HELD_WAITS

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.follow.listener import follow, heard, kinds, until
from testkit.colourless import EACH_SERVER, Web
from testkit.waiting import PATIENCE_SECONDS, wait_until

KEY = {"Idempotency-Key": "BK-1", "Accept": "text/event-stream"}


@pytest.mark.parametrize("server", EACH_SERVER)
def test_stream_tells_a_run_from_its_start_to_its_result(start: Callable[..., Site], server: int) -> None:
    """Live: what is told before the step ends arrives before it ends."""
    site = start(server)
    location = site.get("/trip", headers=KEY).headers["location"]
    stream = follow(site.client, location)
    before = until(stream, "step.progress")
    site.outside.open("search")
    events = before + list(stream)

    assert kinds(events) == [
        "run.started",
        "run.interrupted",
        "run.reentered",
        "step.started search",
        "step.progress search",
        "step.progress search",
        "step.completed search",
        "step.completed pay",
        "run.completed",
        "result",
    ]
    assert [event.data["text"] for event in events if event.kind == "step.progress"] == [
        "Comparing prices…",
        "Taking the cheapest",
    ]
    first = next(event for event in events if event.kind == "step.progress").data
    assert (first["attempt"], first["data"]) == (1, {"found": 2})
    assert events[-1].data["body"] == {"flights": ["UA1", "DL2"], "paid": "pay#1"}
    assert events[-1].data["status"] == 200
    numbers = [int(event.id) for event in events[:-1]]
    assert numbers == sorted(set(numbers))


def test_followers_leave_threads_for_others(site: Site, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind Flask a third one is told to come back: a stream holds a thread, as a client at the wait URL does."""
    # As many as an application's own adapter holds; that of the tests holds more.
    monkeypatch.setattr(web.adapter, "_held_waits", HELD_WAITS, raising=False)
    location = site.get("/trip", headers=KEY).headers["location"]
    held = [follow(site.client, location) for _ in range(HELD_WAITS)]
    for stream in held:
        until(stream, "run.started")
    with site.client.stream("GET", location, headers={"Accept": "text/event-stream"}) as third:
        status, later = third.status_code, third.headers.get("retry-after")
    site.outside.open("search")

    assert (status, later) == ((503, "5") if web.blocks else (200, None))
    assert [list(stream)[-1].kind for stream in held] == ["result", "result"]


def test_first_pass_is_told_without_reentry(site: Site) -> None:
    """A run that its client waited for can be followed afterwards, by its token."""
    run_id = site.get("/mine", headers={"Idempotency-Key": "one"}).headers[RUN_ID]
    token = site.inngest.engine.token(run_id)
    events = list(follow(site.client, f"/_inngest/runs/{run_id}/events?token={token}"))

    assert kinds(events) == ["run.started", "step.completed pay", "run.completed", "result"]
    started, completed, ended, result = (event.data for event in events)
    assert (started["method"], started["path"], started["endpoint"], started["epoch"]) == ("GET", "/mine", "mine", 1)
    assert started["pid"] > 0
    assert started["worker"]
    assert (completed["op"], completed["attempt"]) == ("run", 1)
    assert completed["at"] - completed["started_at"] == pytest.approx(completed["duration"], abs=1e-5)
    assert (ended["status"], result["run_status"], result["body"]) == (200, "completed", "pay#1")
    assert ended["duration"] > 0


def test_retry_is_told_with_its_error_and_time(site: Site) -> None:
    events = list(follow(site.client, site.get("/flaky").headers["location"]))
    retrying = next(event.data for event in events if event.kind == "step.retrying")
    completed = next(event.data for event in events if event.kind == "step.completed")

    assert retrying["error"] == {"name": "OutageError", "message": "pay is down"}
    assert (retrying["step"], retrying["attempt"]) == ("pay", 1)
    # The pause counts from the failure, which is recorded a moment later.
    assert retrying["at"] - PATIENCE_SECONDS < retrying["until"] - 0.2 <= retrying["at"]
    assert (completed["attempt"], completed["op"]) == (2, "run")
    assert completed["started_at"] >= retrying["until"]


def test_failed_run_is_told_with_its_error(site: Site) -> None:
    run_id = site.get("/fails").headers[RUN_ID]
    events = list(follow(site.client, f"/_inngest/runs/{run_id}/events?token={site.inngest.engine.token(run_id)}"))

    assert kinds(events) == ["run.started", "step.failed pay", "run.failed", "result"]
    assert events[1].data["error"] == {"name": "NonRetriableError", "message": "the bank said no"}
    assert events[2].data["error"]["name"] == "StepError"
    assert (events[2].data["status"], events[3].data["run_status"]) == (500, "failed")


def test_failed_attempt_of_the_handler_is_told(site: Site) -> None:
    events = list(follow(site.client, site.get("/raises").headers["location"]))

    assert kinds(events)[:4] == ["run.started", "step.completed pay", "run.retrying", "run.reentered"]
    assert events[2].data["error"] == {"name": "RuntimeError", "message": "the handler is not well"}
    assert events[2].data["attempt"] == 1
    assert events[3].data["memoized"] == ["pay"]


def test_pause_is_told_with_its_end(site: Site) -> None:
    location = site.get("/nap").headers["location"]
    events = until(follow(site.client, location), "run.interrupted")

    assert kinds(events) == ["run.started", "step.completed before", "step.waiting pause", "run.interrupted"]
    assert events[2].data["until"] == pytest.approx(events[2].data["at"] + 3600, abs=5)
    assert (events[2].data["op"], events[3].data["why"]) == ("sleep", "a step waits")
    assert events[3].data["until"] == events[2].data["until"]


def test_progress_of_a_thread_is_told_in_order(site: Site) -> None:
    """A `def` step function runs in a thread, and tells all of it before its end."""
    run_id = site.get("/thread").headers[RUN_ID]
    events = list(follow(site.client, f"/_inngest/runs/{run_id}/events?token={site.inngest.engine.token(run_id)}"))
    told = [event for event in events if event.data.get("step") == "count"]

    assert [event.data.get("text") for event in told] == [None, "counted 0", "counted 1", "counted 2", None]


def test_last_event_id_goes_on_after_it(site: Site) -> None:
    """From each place: what comes after it, and nothing else."""
    location = site.get("/flaky").headers["location"]
    all_events = list(follow(site.client, location))

    for place, event in enumerate(all_events[:-1]):
        assert list(follow(site.client, location, event.id)) == all_events[place + 1 :]
    assert list(follow(site.client, f"{location}&lastEventId={all_events[2].id}")) == all_events[3:]


def test_who_has_the_result_gets_no_more(site: Site) -> None:
    """204 makes an EventSource stop."""
    location = site.get("/flaky").headers["location"]
    *_, result = follow(site.client, location)
    answer = site.get(location, headers={"Accept": "text/event-stream", "Last-Event-ID": result.id})

    assert result.kind == "result"
    assert answer.status_code == 204


@pytest.mark.parametrize("token", ["?token=wrong", "?token=", ""])
def test_stream_needs_the_token(site: Site, token: str) -> None:
    location = site.get("/nap").headers["location"].split("?")[0]
    stream = {"Accept": "text/event-stream"}

    assert site.get(f"{location}{token}", headers=stream).status_code == (404 if "wrong" in token else 400)
    events = location.replace("/output", "/events")
    assert site.get(f"{events}{token}").status_code == (404 if "wrong" in token else 400)


def test_stream_may_be_read_by_other_origins(site: Site) -> None:
    location = site.get("/nap").headers["location"]
    headers = {"Accept": "text/event-stream", "Origin": "https://shop.example"}
    with site.client.stream("GET", location, headers=headers) as response:
        sent = response.headers

    assert sent["access-control-allow-origin"] == "*"
    assert (sent["cache-control"], sent["x-accel-buffering"]) == ("no-store", "no")


def test_many_follow_one_run(site: Site) -> None:
    """Each gets all of it, also who comes late."""
    location = site.get("/trip", headers=KEY).headers["location"]
    begun = threading.Barrier(9)

    def listen() -> list[str]:
        with httpx.Client(base_url=site.client.base_url, timeout=20, trust_env=False) as client:
            stream = follow(client, location)
            first = until(stream, "step.progress")
            begun.wait(20)
            return kinds(first + list(stream))

    with ThreadPoolExecutor(8) as pool:
        listeners = [pool.submit(listen) for _ in range(8)]
        begun.wait(20)
        site.outside.open("search")
        told = [listener.result(20) for listener in listeners]

    assert all(each == told[0] for each in told)
    assert told[0] == kinds(list(follow(site.client, location)))


@pytest.mark.parametrize("server", EACH_SERVER)
def test_follower_that_leaves_is_forgotten(start: Callable[..., Site], server: int) -> None:
    """It costs nobody else the result, and the server nothing."""
    site = start(server)
    location = site.get("/trip", headers=KEY).headers["location"]
    stream = follow(site.client, location)
    until(stream, "step.progress")
    engine = site.inngest.engine
    assert isinstance(engine, EmbeddedEngine)
    assert engine.followers == 1
    stream.close()
    wait_until(lambda: engine.followers == 0, "the follower to be forgotten")
    site.outside.open("search")

    assert kinds(list(follow(site.client, location)))[-1] == "result"


def test_stop_ends_the_stream_and_a_new_worker_goes_on(site: Site, start: Callable[..., Site]) -> None:
    """The server that ends closes the stream without a result; at the next one, its reader goes on."""
    location = site.get("/nap").headers["location"]
    stream = follow(site.client, location)
    first = until(stream, "run.interrupted")
    site.server.call(site.inngest.stop)

    assert list(stream) == []

    other = start()
    assert other.cancel(first_run(location))
    assert kinds(list(follow(other.client, location, first[-1].id))) == ["run.cancelled", "result"]


def first_run(location: str) -> str:
    """Return the run ID in a wait URL."""
    return location.split("/")[3]


def test_same_key_finds_the_stream_again(site: Site) -> None:
    """The request that starts a run also finds it, and its answer is the stream also when it has ended."""
    first = site.get("/mine", headers=KEY)
    again = site.get("/mine", headers=KEY)
    events = list(follow(site.client, first.headers["location"]))
    late = site.get("/mine", headers=KEY)

    assert [answer.status_code for answer in (first, again, late)] == [303, 303, 303]
    assert len({answer.headers["location"] for answer in (first, again, late)}) == 1
    assert events[-1].data["body"] == "pay#1"
    assert site.outside.counts() == {"pay": 1}
    # Who does not ask for events gets the answer.
    assert site.get("/mine", headers={"Idempotency-Key": "BK-1"}).text == "pay#1"


def test_look_up_finds_a_run_by_its_key(site: Site) -> None:
    """Of an endpoint that says whose its keys are; it never starts a run."""
    location = site.get("/mine", headers=KEY).headers["location"]
    found = site.get("/_inngest/runs?endpoint=mine&key=BK-1")

    assert (found.status_code, found.headers["location"]) == (303, location)
    assert site.get("/_inngest/runs?endpoint=mine&key=BK-2").status_code == 404
    assert site.get("/_inngest/runs?endpoint=other&key=BK-1").status_code == 404
    assert site.get("/_inngest/runs?endpoint=mine").status_code == 400
    assert len(site.records.runs()) == 1


def test_look_up_tells_strangers_nothing(site: Site) -> None:
    """Without a scope, the Authorization header says whose a key is; without that, nobody finds the run."""
    own = {"Authorization": "Bearer me"}
    location = site.get("/nap", headers={"Idempotency-Key": "BK-9", **own}).headers["location"]
    site.get("/nap", headers={"Idempotency-Key": "BK-8"})
    endpoint = site.records.runs()[0].endpoint

    def asked(key: str, **headers: str) -> int:
        return site.get(f"/_inngest/runs?endpoint={endpoint}&key={key}", headers=headers).status_code

    assert asked("BK-9", **own) == 303
    assert asked("BK-9", Authorization="Bearer you") == asked("BK-9") == asked("BK-8") == 404
    assert location.startswith("/_inngest/runs/")


def test_nothing_is_told_if_run_events_are_off(start: Callable[..., Site]) -> None:
    """But for the end of the run, which is in its row."""
    site = start(run_events=False)
    events = list(follow(site.client, site.get("/flaky").headers["location"]))

    assert kinds(events) == ["run.completed", "result"]


def test_result_that_is_no_json_is_text() -> None:
    """What the helper of these tests reads is what was sent."""
    lines = ["retry: 1000", "", "id: 1", "event: a", f"data: {json.dumps({'x': 1})}", "", ": heartbeat", ""]

    assert [event.kind for event in heard(iter(lines))] == ["a"]
