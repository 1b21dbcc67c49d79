"""Cancelling a run, wherever it stands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from inngest_durable import RunNotFoundError

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.follow.listener import follow, kinds


def test_sleeping_run_is_cancelled_at_once(site: Site) -> None:
    redirect = site.get("/nap")
    location = redirect.headers["location"]
    site.records.wait_for_only_run("waiting")
    cancelled = site.client.delete(location)
    answer = site.get(location)

    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert (answer.status_code, answer.json()["status"]) == (410, "cancelled")
    assert site.records.wait_for_only_run("cancelled").id == redirect.headers[RUN_ID]
    assert kinds(list(follow(site.client, location)))[-2:] == ["run.cancelled", "result"]


def test_live_pass_ends_at_its_next_step(site: Site) -> None:
    """The step in flight ends, unrecorded; the next one does not begin; the client is answered 410."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, "/held")
        site.outside.wait_for("two")
        run = site.records.wait_for_only_run("running")
        assert site.cancel(run.id)
        site.outside.open("two")

        assert answer.result(20).status_code == 410
    assert site.outside.counts() == {"one": 1, "two": 1}
    assert list(site.records.steps(run.id)) == ["one"]
    assert site.records.wait_for_only_run().status == "cancelled"


def test_who_waits_is_told_at_once(site: Site) -> None:
    location = site.get("/nap").headers["location"]
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.get, location)
        site.client.delete(location)

        assert held.result(20).status_code == 410


def test_cancel_of_an_ended_run_says_so(site: Site) -> None:
    run_id = site.get("/thread").headers[RUN_ID]
    site.records.wait_for_end(run_id)
    location = f"/_inngest/runs/{run_id}/output?token={site.inngest.engine.token(run_id)}"
    refused = site.client.delete(location)

    assert site.cancel(run_id) is False
    assert (refused.status_code, refused.json()["status"]) == (409, "completed")
    assert site.get(location).text == "3"


def test_cancel_twice_is_harmless(site: Site) -> None:
    location = site.get("/nap").headers["location"]

    assert [site.client.delete(location).status_code for _ in range(2)] == [202, 202]


def test_cancel_of_an_unknown_run_is_an_error(site: Site) -> None:
    site.get("/nap")
    with pytest.raises(RunNotFoundError, match="01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        site.cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_cancel_needs_the_token(site: Site) -> None:
    path = site.get("/nap").headers["location"].split("?")[0]

    assert site.client.delete(f"{path}?token=wrong").status_code == 404
    assert site.client.delete(path).status_code == 400
    assert site.records.wait_for_only_run("waiting").status == "waiting"
    preflight = site.client.options(path, headers={"Origin": "https://shop.example"})
    assert "DELETE" in preflight.headers["access-control-allow-methods"]


def test_repeated_request_of_a_cancelled_run_finds_that(site: Site) -> None:
    key = {"Idempotency-Key": "BK-1"}
    location = site.get("/nap", headers=key).headers["location"]
    site.client.delete(location)
    again = site.get("/nap", headers=key)

    assert (again.status_code, again.headers["location"]) == (303, location)
    assert site.get(location).status_code == 410


def test_children_are_cancelled_too(site: Site) -> None:
    """And each tells so."""
    parent = site.get("/parent").headers[RUN_ID]
    site.outside.wait_for("child")
    (child,) = [run.id for run in site.records.runs() if run.id != parent]
    assert site.cancel(parent)
    site.outside.open("child")

    assert {run.id: run.status for run in site.records.runs()} == {parent: "cancelled", child: "cancelled"}
    for run_id in (parent, child):
        location = f"/_inngest/runs/{run_id}/output?token={site.inngest.engine.token(run_id)}"
        assert kinds(list(follow(site.client, location)))[-2:] == ["run.cancelled", "result"]


def test_cancelled_child_wakes_its_parent(site: Site) -> None:
    """The step that waits for it fails."""
    parent = site.get("/parent")
    site.outside.wait_for("child")
    (child,) = [run.id for run in site.records.runs() if run.id != parent.headers[RUN_ID]]
    assert site.cancel(child)
    site.outside.open("child")

    assert site.get(parent.headers["location"]).status_code == 500
    assert site.records.wait_for_end(parent.headers[RUN_ID]).status == "failed"
