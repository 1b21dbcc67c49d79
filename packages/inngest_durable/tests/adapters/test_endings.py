"""Unusual ends of a run. An accepted run always ends, also when its response never goes out whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.adapters.test_clients_leave import connection_of

ATTEMPTS = 4


def test_response_that_breaks_once_is_made_again(site: Site) -> None:
    """A stream that fails at the first pass breaks that response, and is made again from the memos."""
    with pytest.raises(httpx.RemoteProtocolError):
        site.get("/stream-breaks?times=1")
    run = site.records.wait_for_only_run()

    assert run.status == "completed"
    assert site.records.response_of(run.id) == b"one two"
    assert site.outside.counts() == {"flaky": 1, "streaming": 2}


def test_response_that_always_breaks_fails_the_run(site: Site) -> None:
    """Each broken response is a failed attempt of the handler; after the last one the run has failed."""
    with pytest.raises(httpx.RemoteProtocolError):
        site.get("/stream-breaks?times=1000000")
    run = site.records.wait_for_only_run()

    assert run.status == "failed"
    assert site.outside.counts()["streaming"] <= ATTEMPTS
    assert site.outside.counts()["flaky"] == 1


def test_response_that_always_breaks_at_reentry_fails_the_run(site: Site) -> None:
    """At a re-entry it is the same, and whoever waits gets an error."""
    redirect = site.get("/stream-breaks?fail=1&times=1000000")
    answer = site.get(redirect.headers["location"], timeout=20)

    assert answer.status_code == 500
    assert site.records.wait_for_end(redirect.headers[RUN_ID]).status == "failed"
    assert site.outside.counts()["streaming"] <= ATTEMPTS


@pytest.mark.parametrize(("query", "status"), [("", 409), ("?answer=error", 500)])
def test_answer_waits_for_a_step_in_flight(site: Site, query: str, status: int) -> None:
    """A handler that answers while a step of it executes: that step is checkpointed before the response leaves."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, f"/leaves-a-step{query}")
        site.outside.wait_for("left")
        with pytest.raises(TimeoutError):
            answer.result(0.1)
        before = site.records.wait_for_only_run("running")
        site.outside.open("two")
        response = answer.result(5)

    assert response.status_code == status
    assert site.records.steps(before.id)["two"].state == "completed"
    assert site.records.wait_for_end(before.id).status == ("failed" if status == 500 else "completed")


@pytest.mark.parametrize(("query", "status"), [("", "completed"), ("?answer=error", "failed")])
def test_client_that_leaves_an_answer_that_waits_costs_no_run(served: Site, query: str, status: str) -> None:
    """The answer is decided, a step still executes, and the client leaves: the run ends all the same."""
    with connection_of(served, f"/leaves-a-step{query}"):
        served.outside.wait_for("left")
    # Other requests come and go meanwhile; the server has seen the connection's end before theirs.
    for _ in range(5):
        assert served.get("/plain").status_code == 200
    served.outside.open("two")
    run = served.records.wait_for_only_run()

    assert run.status == status
    assert served.outside.counts()["one"] == 1
    assert served.outside.counts()["two"] == 1
