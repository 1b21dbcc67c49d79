"""`Idempotency-Key`: which requests are the same, and whose key it is. Nobody meets another one's run."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.order_app import KEY, REPLAYED, finished, orders
from packages.inngest_durable.tests.adapters.shop import bare_shop
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import over_both, step
from testkit.waiting import wait_until

pytestmark = over_both


@pytest.fixture
def site(tmp_path: Path, serve: Serve) -> Site:
    """Serve the application."""
    shop = orders(tmp_path)
    return serve(shop.app, shop.inngest)


def test_same_key_with_another_request_is_refused(site: Site) -> None:
    """Another method, query or body under the key of a run is a mistake of the client, and reveals nothing."""
    finished(site, "/order?a=1", method="POST", json={"a": 1})
    others = [
        site.client.put("/order?a=1", headers=KEY, json={"a": 1}),
        site.client.post("/order?a=2", headers=KEY, json={"a": 1}),
        site.client.post("/order", headers=KEY, json={"a": 1}),
        site.client.post("/order?a=1", headers=KEY, json={"a": 2}),
        site.client.post("/order?a=1", headers=KEY),
        site.get("/order?a=1", headers=KEY),
    ]
    same = site.client.post("/order?a=1", headers=KEY, json={"a": 1})

    assert [other.status_code for other in others] == [422] * len(others)
    assert all("Idempotency-Key" in other.json()["error"] for other in others)
    assert all({RUN_ID, "location", REPLAYED, "set-cookie"}.isdisjoint(other.headers) for other in others)
    assert (same.status_code, same.headers[REPLAYED]) == (201, "true")
    assert site.outside.counts() == {"handler": 1, "charge": 1}


def test_same_key_with_another_path_of_one_endpoint_is_refused(site: Site) -> None:
    """Paths are compared as they were sent: one that is decoded to the same is another one."""
    finished(site, "/order/a%2Fb")

    assert site.get("/order/a/b", headers=KEY).status_code == 422
    assert site.get("/order/c", headers=KEY).status_code == 422
    assert site.get("/order/a%2Fb", headers=KEY).status_code == 200
    assert site.outside.counts() == {"charge": 1}


def test_unfinished_run_refuses_another_request_too(site: Site) -> None:
    """Before its end a run does not lead a stranger's request to its wait URL either."""
    site.get("/asleep", headers=KEY)
    other = site.get("/asleep?other=1", headers=KEY)

    assert other.status_code == 422
    assert "location" not in other.headers


def test_other_headers_do_not_matter(site: Site) -> None:
    """A client that sends the same request with another trace ID or user agent means the same."""
    finished(site)
    again = site.get("/order", headers={**KEY, "X-Trace": "2", "User-Agent": "other", "Cookie": "a=b"})

    assert (again.status_code, again.headers[REPLAYED]) == (201, "true")


def test_other_user_gets_a_run_of_his_own(site: Site) -> None:
    """Whoever sends another Authorization, or none, learns nothing of the first user's run, finished or not."""
    ada = {**KEY, "Authorization": "Bearer ada"}
    first = finished(site, headers=ada)
    asleep = site.get("/asleep", headers=ada)
    for other in (KEY, {**KEY, "Authorization": "Bearer bob"}):
        answer = site.get("/order", headers=other)
        redirect = site.get("/asleep", headers=other)

        assert REPLAYED not in answer.headers
        assert answer.headers[RUN_ID] != first.headers[RUN_ID]
        assert redirect.headers["location"] != asleep.headers["location"]
        # Not even that the key is taken with another body.
        assert site.client.post("/order", headers=other).status_code == 422
    assert site.client.post("/order", headers={**KEY, "Authorization": "Bearer eve"}).status_code == 201
    assert site.get("/order", headers=ada).headers[REPLAYED] == "true"
    assert site.outside.counts()["charge"] == 4


def test_scope_of_the_endpoint_tells_users_apart(site: Site) -> None:
    """With logins by cookie, the endpoint's own scope tells whose key it is; Authorization does not count then."""
    answers: dict[str, list[httpx.Response]] = {}
    for user in ("ada", "bob", "ada"):
        site.get(f"/log-in/{user}")
        response = site.get("/by-cookie", headers={**KEY, "Authorization": f"Bearer {len(answers)}"})
        site.records.wait_for_end(response.headers[RUN_ID])
        answers.setdefault(user, []).append(response)

    assert [answer.text for answer in answers["ada"]] == ["charge#1", "charge#1"]
    assert [answer.text for answer in answers["bob"]] == ["charge#2"]
    assert answers["ada"][1].headers[REPLAYED] == "true"
    assert REPLAYED not in answers["bob"][0].headers


def test_scope_cannot_be_chosen_by_a_header(site: Site) -> None:
    """An Authorization that looks like a scope is not one: endpoints with and without a scope do not meet."""
    site.get("/log-in/ada")
    mine = finished(site, "/by-cookie")
    site.client.cookies.clear()
    others = [
        site.get("/by-cookie", headers={**KEY, "Authorization": value}) for value in ("ada", "scope ada", "header ada")
    ]

    assert all(other.headers[RUN_ID] != mine.headers[RUN_ID] for other in others)


def test_scope_that_raises_runs_nothing(tmp_path: Path, serve: Serve) -> None:
    """When it cannot be told whose key it is, the framework answers with the error, and no run begins."""
    shop = bare_shop(tmp_path)

    def broken() -> str:
        raise LookupError("who are you?")

    @shop.app.get("/")
    @shop.inngest.endpoint(idempotency_scope=broken)
    async def handler() -> str:
        return await step.run("charge", shop.outside.act, "charge")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)

    assert site.get("/", headers=KEY).status_code == 500
    # Without a key nobody asks.
    assert site.get("/").text == "charge#1"
    site.records.wait_for_only_run()
    # The client has its answer a moment before the pass is put away.
    wait_until(lambda: len(site.inngest.engine.passes) == 0, "the pass to end")


def test_key_counts_within_its_endpoint(site: Site) -> None:
    """The same key at another endpoint is another run."""
    first = finished(site)
    other = site.get("/order/x", headers=KEY)

    assert (other.status_code, other.text) == (200, "charge#2")
    assert other.headers[RUN_ID] != first.headers[RUN_ID]


def test_key_of_wrong_length_is_refused(site: Site) -> None:
    """An empty key and one of more than 255 characters are errors that say so; 255 are none."""
    refused = [site.get("/order", headers={"Idempotency-Key": key}) for key in ("", "x" * 256)]
    longest = site.get("/order", headers={"Idempotency-Key": "x" * 255})

    assert [answer.status_code for answer in refused] == [400, 400]
    assert all("1 to 255 characters" in answer.json()["error"] for answer in refused)
    assert longest.status_code == 201
    site.records.wait_for_only_run()
    assert site.outside.counts() == {"handler": 1, "charge": 1}


def test_keys_are_compared_exactly(site: Site) -> None:
    """Upper and lower case, and characters beyond ASCII, make other keys."""
    keys = [key.encode("latin-1") for key in ("key", "KEY", "kéy", "k\"e'y;--", "key-2")]
    answers = [site.client.get("/order", headers=[(b"Idempotency-Key", key)]).text for key in keys]

    assert answers == [f"charge#{number}" for number in range(1, len(keys) + 1)]
