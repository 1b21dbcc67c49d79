"""Runs that go well at once, or after retries and pauses."""

from __future__ import annotations

import re

import pytest

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
WAIT_LOCATION = re.compile(r"/_inngest/runs/([0-9A-Z]{26})/output\?token=[\w-]{43}")


def test_success_answers_in_the_same_response(site: Site) -> None:
    """A run without a failed step is one request and one response, and ends in the database too."""
    response = site.get("/book")

    assert response.status_code == 200
    assert response.json() == {"reserved": "reserve#1", "charged": "charge#1", "confirmed": "confirm#1"}
    run = site.records.wait_for_end(response.headers[RUN_ID])
    assert run.status == "completed"
    assert {key: memo.state for key, memo in site.records.steps(run.id).items()} == {
        "reserve": "completed",
        "charge": "completed",
        "confirm": "completed",
    }
    assert len(site.records.runs()) == 1


def test_run_without_a_step_makes_no_row(site: Site) -> None:
    """A handler that uses no step leaves nothing in the database, and its response still names its run."""
    response = site.get("/plain")

    assert (response.status_code, response.text) == (200, "plain")
    assert ULID.fullmatch(response.headers[RUN_ID])
    # A second run with steps is written after whatever the first might have left.
    site.records.wait_for_end(site.get("/book").headers[RUN_ID])
    assert len(site.records.runs()) == 1


def test_retry_redirects_to_the_wait_url(site: Site) -> None:
    """A step that fails sends the client to the wait URL, which gives the answer once the step has succeeded."""
    response = site.get("/book?fail=2")
    location = WAIT_LOCATION.fullmatch(response.headers["location"])
    answer = site.follow(response)

    assert response.status_code == 303
    assert location is not None
    assert location[1] == response.headers[RUN_ID] == answer.headers[RUN_ID]
    assert response.content == b""
    assert answer.status_code == 200
    assert answer.json() == {"reserved": "reserve#1", "charged": "charge#3", "confirmed": "confirm#1"}
    assert site.outside.counts() == {"reserve": 1, "charge": 3, "confirm": 1}
    assert site.records.steps(location[1])["charge"].attempt == 3


def test_redirect_is_not_cached_nor_referred(site: Site) -> None:
    """The URL that holds the token stays out of caches and of the Referer header."""
    response = site.get("/book?fail=1")
    answer = site.follow(response)

    for each in (response, answer):
        assert each.headers["cache-control"] == "no-store"
        assert each.headers["referrer-policy"] == "no-referrer"


def test_failed_branch_leaves_the_others_alone(site: Site) -> None:
    """Of three steps at the same time one fails and is tried again; the others ran once."""
    response = site.follow(site.get("/parallel?fail=2"))

    assert response.json() == ["flight#1", "hotel#3", "car#1"]
    assert site.outside.counts() == {"flight": 1, "hotel": 3, "car": 1}


@pytest.mark.parametrize("path", ["/sleep", "/sleep-until"])
def test_sleep_lasts_as_long_as_asked(site: Site, path: str) -> None:
    """A pause is a redirect; the step before it ran once, and the one after it not before its time."""
    response = site.get(f"{path}?ms=200")
    before, after = site.follow(response).json()

    assert response.status_code == 303
    assert 0.2 <= after - before < 5
    assert site.outside.counts() == {"before": 1, "after": 1}


def test_sleep_until_a_moment_in_the_past_does_not_pause(site: Site) -> None:
    """The pause is over before it begins, so the answer comes in the same response."""
    assert site.get("/sleep-until?ms=-1000").status_code == 200


def test_retry_after_error_sets_the_pause(site: Site) -> None:
    """The next attempt comes when the third party said, not when the retry policy would."""
    response = site.follow(site.get("/retry-after?ms=300"))
    first, second = (call["at"] for call in site.outside.calls("charge"))

    assert response.text == "charged"
    assert 0.3 <= second - first < 5


def test_concurrent_runs_do_not_share_anything(site: Site) -> None:
    """Runs of one endpoint have their own IDs, tokens and memos."""
    redirects = [site.get("/sleep?ms=1000") for _ in range(5)]
    answers = [tuple(site.follow(response).json()) for response in redirects]

    assert len({response.headers["location"] for response in redirects}) == 5
    assert len(set(answers)) == 5


def test_blueprint_endpoint_is_reentered(site: Site) -> None:
    """An endpoint of a blueprint, with a URL argument, finds the same request at its re-entry."""
    response = site.follow(site.get("/shop/book?fail=1"))

    assert response.json() == {"item": "book", "charged": "charge#2", "next": "/shop/next", "in": "shop"}
