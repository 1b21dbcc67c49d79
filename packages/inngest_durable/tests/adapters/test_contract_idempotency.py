"""`Idempotency-Key`: the first run of a key answers all requests that carry it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.order_app import KEY, REPLAYED, finished, orders
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, bare_shop, cancel, connection
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import endpoint_adapter, over_both

pytestmark = over_both

DUPLICATES = 20


@pytest.fixture
def site(tmp_path: Path, serve: Serve) -> Site:
    """Serve the application."""
    shop = orders(tmp_path)
    return serve(shop.app, shop.inngest)


def test_finished_run_answers_again(site: Site) -> None:
    """The second request gets the first one's response and the note that it is a replay; nothing runs."""
    first = finished(site)
    again = [site.get("/order", headers=KEY) for _ in range(2)]

    assert (first.status_code, first.text) == (201, "charge#1")
    assert REPLAYED not in first.headers
    for response in again:
        assert (response.status_code, response.text) == (201, "charge#1")
        assert response.headers.get_list(REPLAYED) == ["true"]
        assert response.headers.get_list(RUN_ID) == [first.headers[RUN_ID]]
        assert response.headers["x-order"] == "7"
        # It is the endpoint's own URL: its caching is the handler's affair.
        assert response.headers["cache-control"] == "max-age=5"
        assert response.headers["content-type"] == first.headers["content-type"]
    assert site.outside.counts() == {"handler": 1, "charge": 1}


def test_cookies_are_for_the_first_client(site: Site) -> None:
    """A cookie that the first response set is not set again: it may be somebody's session."""
    first = finished(site)
    again = site.get("/order", headers=KEY)

    assert "set-cookie" in first.headers
    assert "set-cookie" not in again.headers


def test_redirected_run_answers_again(site: Site) -> None:
    """A run that took a retry answers with what the wait URL gave, without its cookies and private headers."""
    first = finished(site, "/order?fail=1")
    waited = site.get(first.headers["location"])
    again = site.get("/order?fail=1", headers=KEY)

    assert "set-cookie" in waited.headers
    assert (again.status_code, again.text, again.headers[REPLAYED]) == (201, "charge#2", "true")
    assert "set-cookie" not in again.headers
    assert again.headers["cache-control"] == "max-age=5"


def test_head_of_a_key_has_no_body(site: Site) -> None:
    """HEAD is a method of its own: its replay has the headers only, and GET with its key is another request."""
    head = finished(site, method="HEAD")
    again = site.client.head("/order", headers=KEY)

    assert (head.status_code, again.status_code) == (201, 201)
    assert again.content == b""
    assert again.headers["content-length"] == head.headers["content-length"] == str(len("charge#1"))
    assert site.get("/order", headers=KEY).status_code == 422


def test_unfinished_run_redirects_to_its_wait_url(site: Site) -> None:
    """While the run goes on, another request is sent where the first client waits."""
    with connection(site.server.port, "/slow", KEY):
        site.outside.wait_for("held")
        redirect = site.get("/slow", headers=KEY)
        run = site.records.wait_for_only_run("running")
        before = site.get(redirect.headers["location"], headers=AT_ONCE).status_code
        site.outside.open("held")
        answer = site.get(redirect.headers["location"])

    assert redirect.status_code == 303
    assert redirect.headers[RUN_ID] == run.id
    assert redirect.headers["cache-control"] == "no-store"
    assert REPLAYED not in redirect.headers
    assert before == 303
    assert (answer.status_code, answer.text) == (200, "held#1")
    assert site.outside.counts() == {"handler": 1, "first": 1, "held": 1}


def test_waiting_run_redirects_as_the_adapter_says(tmp_path: Path, serve: Serve) -> None:
    """A request with the key of a run that sleeps goes where the adapter's options lead, as the first one did."""
    shop = orders(tmp_path, adapter=endpoint_adapter.with_options(async_redirect_url="/wait?lang=de"))
    site = serve(shop.app, shop.inngest)
    first, again = (site.get("/asleep", headers=KEY) for _ in range(2))

    assert first.headers["location"].startswith("/wait?lang=de&runId=")
    assert again.headers["location"] == first.headers["location"]


def test_cancelled_run_redirects_to_what_says_so(site: Site) -> None:
    """A cancelled run has no response: its wait URL says that it is gone."""
    run_id = site.get("/asleep", headers=KEY).headers[RUN_ID]
    cancel(site.records.path, run_id)
    redirect = site.get("/asleep", headers=KEY)

    assert redirect.status_code == 303
    assert site.get(redirect.headers["location"]).status_code == 410


@pytest.mark.parametrize("query", ["", "?fail=1"])
def test_duplicates_at_the_same_time_make_one_run(site: Site, query: str) -> None:
    """Twenty requests at once: one run, whose steps ran once, answers all of them."""

    def send(_: int) -> httpx.Response:
        return site.client.post(f"/order{query}", headers=KEY, json={"a": 1}, follow_redirects=True)

    with ThreadPoolExecutor(DUPLICATES) as pool:
        answers = list(pool.map(send, range(DUPLICATES)))

    assert {(answer.status_code, answer.text) for answer in answers} == {(201, "charge#2" if query else "charge#1")}
    assert {answer.headers[RUN_ID] for answer in answers} == {run.id for run in site.records.runs()}
    assert len(site.records.runs()) == 1
    counts = site.outside.counts()
    assert counts["charge"] == (2 if query else 1)
    # The handler itself runs once per pass; a retry that is due at once goes on in the same pass.
    assert counts["handler"] <= counts["charge"]


def test_duplicates_in_two_servers_make_one_run(tmp_path: Path, serve: Serve) -> None:
    """Two workers on one database agree on the first request of a key."""
    sites = [serve(shop.app, shop.inngest) for shop in (orders(tmp_path), orders(tmp_path))]

    def send(number: int) -> httpx.Response:
        return sites[number % 2].get("/order", headers=KEY, follow_redirects=True)

    with ThreadPoolExecutor(DUPLICATES) as pool:
        answers = Counter((answer.status_code, answer.text) for answer in pool.map(send, range(DUPLICATES)))

    assert answers == {(201, "charge#1"): DUPLICATES}
    assert len(sites[0].records.runs()) == 1
    assert sites[0].outside.counts() == {"handler": 1, "charge": 1}


def test_failed_run_answers_again(site: Site) -> None:
    """A run that failed is not tried anew by another request: its error page is its answer."""
    first = finished(site, "/fails")
    again = site.get("/fails", headers=KEY)

    assert (first.status_code, first.text) == (502, "StepError")
    assert (again.status_code, again.text, again.headers[REPLAYED]) == (502, "StepError", "true")
    assert site.outside.counts() == {"charge": 1}


def test_handler_without_a_step_is_a_run_when_it_has_a_key(site: Site) -> None:
    """Its handler runs once, though nothing in it is a step."""
    first = finished(site, "/no-step")
    again = site.get("/no-step", headers=KEY)

    assert (first.text, again.text, again.headers[REPLAYED]) == ("no step", "no step", "true")
    assert site.outside.counts() == {"handler": 1}


def test_answer_by_abort_is_recorded(site: Site) -> None:
    """An HTTP exception is an answer like any other."""
    first = finished(site, "/no-step?abort=1")
    again = site.get("/no-step?abort=1", headers=KEY)

    assert (first.status_code, again.status_code, again.headers[REPLAYED]) == (404, 404, "true")
    assert again.text == first.text
    assert site.outside.counts() == {"handler": 1}


def test_error_before_the_first_step_is_retried_when_there_is_a_key(site: Site) -> None:
    """With a key the run is accepted before the handler's code, so an error there is a failed attempt of it."""
    redirect = finished(site, "/no-step?fail=2")

    assert redirect.status_code == 303
    assert site.get(redirect.headers["location"]).text == "no step"
    assert site.outside.counts() == {"handler": 3}


def test_run_is_on_disk_before_the_handlers_code(tmp_path: Path, serve: Serve) -> None:
    """The handler's first statement finds the run's row in the database, as another process would."""
    shop = bare_shop(tmp_path)

    def rows() -> list[tuple[str]]:
        with closing(sqlite3.connect(shop.inngest.engine.path)) as db:  # type: ignore[attr-defined]
            return db.execute("SELECT status FROM runs").fetchall()

    @shop.app.get("/")
    @shop.inngest.endpoint
    async def handler() -> list[tuple[str]]:
        return rows()

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)

    assert site.get("/", headers=KEY).json() == [["running"]]
    # Without a key this handler is no run.
    site.records.wait_for_only_run()
    assert site.get("/").json() == [["completed"]]


def test_client_that_leaves_while_its_run_is_accepted_costs_no_run(site: Site) -> None:
    """The client goes away while the row is being written: the run was accepted, so it ends, and the key is good."""
    site.get("/no-step")
    with closing(sqlite3.connect(site.records.path, isolation_level=None)) as other_process:
        other_process.execute("BEGIN IMMEDIATE")
        with connection(site.server.port, "/order", KEY):
            site.visits.wait_for("/order")
        # The server has seen the connection's end before it answers later requests.
        for _ in range(5):
            assert site.get("/no-step").status_code == 200
        other_process.execute("ROLLBACK")
    answer = site.get("/order", headers=KEY, timeout=20, follow_redirects=True)

    assert (answer.status_code, answer.text) == (201, "charge#1")
    assert site.records.wait_for_only_run().status == "completed"
