"""The wait URL: who may read it, how long it holds, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from inngest_durable import EmbeddedEngine

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.servers import UvicornThread
from testkit.waiting import wait_until

WAITERS = 20


def without_date(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of a response that does not change by the second."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "date"]
    return response.status_code, headers, response.content


def test_wrong_token_and_unknown_run_look_the_same(site: Site) -> None:
    """Nobody without the token learns whether a run exists, nor anything of its answer."""
    finished = site.get("/book?fail=1").headers["location"]
    site.follow(site.get(finished))
    path, token = finished.split("?token=")
    other_token = site.get("/book?fail=3").headers["location"].split("?token=")[1]
    unknown = path.replace(path.split("/")[3], "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    answers = [
        site.get(f"{path}?token={other_token}"),
        site.get(f"{path}?token={token[:-1]}"),
        site.get(f"{path}?token=ünïcode"),
        site.get(f"{unknown}?token={token}"),
        site.get(f"/_inngest/runs/nonsense/output?token={token}"),
    ]

    assert answers[0].status_code == 404
    assert RUN_ID not in answers[0].headers
    assert all(without_date(answer) == without_date(answers[0]) for answer in answers)


@pytest.mark.parametrize("query", ["", "?token="])
def test_missing_token_is_a_bad_request(site: Site, query: str) -> None:
    """The answer says which parameter is missing, whether the run exists or not."""
    path = site.get("/book?fail=1").headers["location"].split("?")[0]
    existing, unknown = site.get(f"{path}{query}"), site.get(f"/_inngest/runs/nonsense/output{query}")

    assert existing.status_code == 400
    assert "token" in existing.json()["error"]
    assert without_date(existing) == without_date(unknown)


def test_wait_url_holds_until_the_end(site: Site) -> None:
    """A request that comes early is answered as soon as the run has ended, and not before."""
    redirect = site.get("/stream?fail=1")
    site.outside.wait_for("streaming")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, redirect.headers["location"])
        with pytest.raises(TimeoutError):
            answer.result(0.2)
        site.outside.open("stream")

        assert answer.result(20).text == "one two"


def test_many_waiters_get_the_same_answer(site: Site) -> None:
    """Everyone who has the token gets the whole answer, whoever else waits."""
    location = site.get("/stream?fail=1").headers["location"]
    with ThreadPoolExecutor(WAITERS) as pool:
        answers = [pool.submit(site.get, location) for _ in range(WAITERS)]
        site.outside.wait_for("streaming")
        site.outside.open("stream")
        texts = {(answer.result().status_code, answer.result().text) for answer in answers}

    assert texts == {(200, "one two")}
    assert site.outside.counts() == {"flaky": 2, "streaming": 1}


def test_waiter_that_leaves_does_not_disturb_others(site: Site) -> None:
    """A client that gives up waiting costs nobody else the answer."""
    location = site.get("/stream?fail=1").headers["location"]
    site.outside.wait_for("streaming")
    with pytest.raises(httpx.ReadTimeout):
        site.get(location, timeout=httpx.Timeout(20, read=0.1))
    site.outside.open("stream")

    assert site.get(location).text == "one two"


def wait_until_held(site: Site) -> None:
    """Return once a client is held. One that comes after a stop would start the engine again."""
    engine = site.inngest.engine
    assert isinstance(engine, EmbeddedEngine)
    wait_until(lambda: engine.followers, "the client to be held")


def test_stop_sends_waiters_round_again(site: Site) -> None:
    """When the engine stops, a held request is sent to the same URL, and counted."""
    location = site.get("/long-sleep").headers["location"]
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.get, location)
        wait_until_held(site)
        site.server.call(site.inngest.stop)
        answer = held.result(20)

    assert answer.status_code == 303
    assert answer.headers["location"] == f"{location}&n=1"


def test_last_round_answers_that_the_run_goes_on(site: Site) -> None:
    """A client that was sent round 15 times is told to come back later."""
    redirect = site.get("/long-sleep")
    location = redirect.headers["location"]
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.get, f"{location}&n=14")
        wait_until_held(site)
        site.server.call(site.inngest.stop)
        answer = held.result(20)

    assert (answer.status_code, answer.json()) == (202, {"status": "running", "run_id": redirect.headers[RUN_ID]})
    assert int(answer.headers["retry-after"]) > 0


def test_wait_url_takes_no_other_method(site: Site) -> None:
    """It can be read, and the run cancelled by it; nothing else."""
    location = site.get("/book?fail=1").headers["location"]

    assert site.client.post(location).status_code == 405
    assert site.client.put(location).status_code == 405


def test_redirect_keeps_the_root_path(serve_under: Callable[[str], Site]) -> None:
    """Behind a proxy that mounts the application under a prefix, the wait URL is under that prefix."""
    site = serve_under("/shop")
    # Uvicorn takes a path from which the proxy has stripped the prefix; the others want it whole.
    prefix = "" if isinstance(site.server, UvicornThread) else "/shop"
    redirect = site.get(f"{prefix}/echo/tail")
    location = redirect.headers["location"]
    answer = site.get(location if prefix else location.removeprefix("/shop"))

    assert location.startswith("/shop/_inngest/runs/")
    assert answer.status_code == 200
    assert answer.json()["url_for"].endswith("/shop/echo/next")
    first, second = (call["seen"] for call in site.outside.calls("pass"))
    assert first == second


def test_header_cannot_forge_a_reentry(site: Site) -> None:
    """Whatever a request's headers say, it is a new run; the one it names is not touched."""
    victim = site.get("/long-sleep").headers[RUN_ID]
    before = site.records.wait_for_only_run("waiting")
    names = ["inngest.pass", "inngest-pass", "X-Inngest-Run-Id", "X-Run-Id", "X-Inngest-Pass"]
    forged = site.get("/long-sleep", headers=dict.fromkeys(names, victim))

    assert forged.status_code == 303
    assert forged.headers[RUN_ID] != victim
    assert site.records.run(victim) == before
    assert site.outside.counts() == {"before": 2}
