"""The same handlers do the same on every backend: the same answers, the same effects, each step as often."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.conformance.application import BINARY, WAIT_PATH
from packages.inngest_durable.tests.inngest.conformance.conftest import real_server
from packages.inngest_durable.tests.inngest.conformance.place import Place

RUN_ID = "x-inngest-run-id"
REDIRECTED = 303


def test_real_server_takes_part() -> None:
    if not real_server():
        pytest.skip("the scenarios do not run on a real server: INNGEST_DEV names none that answers")


def test_steps_are_answered_in_place(place: Place) -> None:
    response = place.ask("/book")

    assert response.status_code == 201
    assert response.headers["x-ticket"] == "yes"
    assert response.json() == {"steps": ["reserve#1", "charge#1", "confirm#1"]}
    assert place.outside.counts() == {"reserve": 1, "charge": 1, "confirm": 1}


def test_handler_without_steps_is_answered_in_place(place: Place) -> None:
    response = place.ask("/nothing")

    assert (response.status_code, response.json()) == (203, {"nothing": True})


@pytest.mark.parametrize("waits_at", ["", WAIT_PATH])
def test_failed_step_is_tried_again_behind_a_redirect(place: Place) -> None:
    response = place.ask("/book?fail=2", "POST")
    assert response.status_code == REDIRECTED
    answer = place.follow(response)

    assert answer.status_code == 201
    assert answer.headers["x-ticket"] == "yes"
    assert answer.json() == {"steps": ["reserve#1", "charge#3", "confirm#1"]}
    assert place.outside.counts() == {"reserve": 1, "charge": 3, "confirm": 1}


def test_caught_failure_is_compensated(place: Place) -> None:
    answer = place.answer("/caught")

    assert answer.status_code == 402
    assert answer.json() == {"error": "OutageError", "step": "charge"}
    assert place.outside.counts() == {"charge": 3, "release": 1}


def test_uncaught_failure_is_an_error_page(place: Place) -> None:
    answer = place.answer("/uncaught")

    assert answer.status_code == 500
    assert "Internal Server Error" in answer.text
    assert place.outside.counts() == {"charge": 3}
    if place.fake is not None:
        assert place.fake.only_run().status == "Failed"


@pytest.mark.parametrize("fail", [0, 1])
def test_parallel_steps_run_once_each(place: Place, fail: int) -> None:
    answer = place.answer(f"/parallel?fail={fail}")

    assert answer.json() == {"found": ["flight#1", f"hotel#{fail + 1}", "car#1"], "then": "confirm#1"}
    assert place.outside.counts() == {"flight": 1, "hotel": fail + 1, "car": 1, "confirm": 1}


def test_sleep_goes_on_where_it_was(place: Place) -> None:
    response = place.ask("/sleep?pause=1s")
    assert response.status_code == REDIRECTED

    assert place.follow(response).json() == {"steps": ["before#1", "after#1"]}
    assert place.outside.counts() == {"before": 1, "after": 1}


def test_event_that_fits_is_what_the_step_returns(place: Place) -> None:
    waiting = place.ask(f"/approval?k={place.key}&timeout=1m")
    assert waiting.status_code == REDIRECTED
    assert place.answer("/tell?k=another").json() == {"sent": 1}
    assert place.answer(f"/tell?k={place.key}").json() == {"sent": 1}

    assert place.follow(waiting).json() == {"data": {"k": place.key, "n": 1}}
    assert place.outside.counts() == {"ask": 1, "done": 1}


def test_step_is_tried_again_beside_one_that_waits(place: Place) -> None:
    waiting = place.ask(f"/both?k={place.key}")
    place.outside.wait_for("flaky", 2)
    assert place.answer(f"/tell?k={place.key}").json() == {"sent": 1}

    assert place.follow(waiting).json() == {"event": True, "flaky": "flaky#2"}


def test_event_that_does_not_come_is_nothing(place: Place) -> None:
    answer = place.answer(f"/approval?k={place.key}&timeout=1s")

    assert answer.json() == {"data": None}
    assert place.outside.counts() == {"ask": 1, "done": 1}


def test_signal_wakes_the_step_that_waits_for_it(place: Place) -> None:
    waiting = place.ask(f"/paid?k={place.key}&timeout=1m")
    assert waiting.status_code == REDIRECTED
    fake = place.fake
    if fake is not None:
        # The server has planned what the run waits for; a real one may be signalled before that.
        fake.wait_until(lambda: [each.is_over for each in fake.dispatches()] == [True], "the re-entry")
    assert place.signal(f"paid-{place.key}", {"amount": 5}) is True

    assert place.follow(waiting).json() == {"signal": {"signal": f"paid-{place.key}", "data": {"amount": 5}}}
    assert place.signal(f"paid-{place.key}", None) is False


def test_signal_that_does_not_come_is_nothing(place: Place) -> None:
    assert place.answer(f"/paid?k={place.key}&timeout=1s").json() == {"signal": None}


def test_signal_has_one_waiter(place: Place) -> None:
    waiting = place.ask(f"/paid?k={place.key}&timeout=1m")
    second = place.answer(f"/paid?k={place.key}&timeout=1m")

    assert (second.status_code, second.json()) == (409, {"taken": f"paid-{place.key}"})
    assert place.signal(f"paid-{place.key}", 1) is True
    assert place.follow(waiting).json() == {"signal": {"signal": f"paid-{place.key}", "data": 1}}


@pytest.mark.parametrize("fail", [0, 1])
def test_invoked_endpoint_answers_its_parent(place: Place, fail: int) -> None:
    answer = place.answer(f"/parent?fail={fail}")

    assert answer.json() == {"child": {"worked": "end#1"}, "then": "after#1"}
    assert place.outside.counts() == {"work": fail + 1, "end": 1, "after": 1}


def test_invoked_endpoint_that_fails_is_a_failed_step(place: Place) -> None:
    answer = place.answer("/parent?fail=99")

    assert (answer.status_code, answer.json()) == (502, {"failed": "child"})
    assert place.outside.counts() == {"work": 3}


def test_fetched_answer_is_remembered(place: Place) -> None:
    assert place.answer("/fetched").json() == {"status": 200, "seats": 3}


BODIES: dict[str, dict[str, Any]] = {
    "none": {},
    "json": {"json": {"b": 2, "a": [1, None, "ü"]}},
    "form": {"data": {"a": "1 2", "b": "ü"}},
    "file": {"files": {"up": ("name.bin", BINARY, "application/x-bin")}, "data": {"a": "1"}},
    "binary": {"content": BINARY, "headers": {"Content-Type": "application/octet-stream"}},
    "like base64": {"content": b"abcd", "headers": {"Content-Type": "text/plain"}},
    "large": {"content": b"0123456789" * 100_000, "headers": {"Content-Type": "text/plain"}},
}


@pytest.mark.parametrize("kind", BODIES)
def test_request_is_given_back_as_it_was(place: Place, kind: str) -> None:
    options = BODIES[kind]
    request = place.client.build_request(
        "PUT", "/echo?x=1&y=2%203", **{**options, "headers": {**options.get("headers", {}), "X-Mine": "yes"}}
    )
    request.headers["Cookie"] = "who=me"
    request.read()
    response = place.client.send(request)
    assert response.status_code == REDIRECTED

    assert place.follow(response).json() == {
        "method": "PUT",
        "query": "x=1&y=2%203",
        "header": "yes",
        "type": request.headers.get("Content-Type"),
        "cookie": "me",
        "body": base64.b64encode(request.content).decode(),
    }
    assert place.outside.counts() == {"note": 2}


# What the server keeps of an answer has one text for each header, and a text for its body: the server's own wait URL
# cannot give these answers as they are.


@pytest.mark.parametrize("waits_at", [WAIT_PATH])
def test_cookies_reach_the_client_one_by_one(place: Place) -> None:
    answer = place.answer("/cookies")
    cookies = [value.partition(";")[0] for value in answer.headers.get_list("set-cookie")]

    assert answer.text == "two"
    assert cookies == ["a=1", "b=2"]


@pytest.mark.parametrize("waits_at", [WAIT_PATH])
def test_bytes_that_are_no_text_reach_the_client(place: Place) -> None:
    answer = place.answer("/binary")

    assert answer.content == BINARY
    assert answer.headers["content-type"] == "application/octet-stream"


def test_same_key_is_the_same_run(place: Place) -> None:
    headers = {"Idempotency-Key": f"key-{place.key}"}
    first = place.ask("/sleep?pause=500ms", "POST", headers=headers)
    again = place.ask("/sleep?pause=500ms", "POST", headers=headers)
    answers = [place.follow(response).json() for response in (first, again)]
    late = place.answer("/sleep?pause=500ms", "POST", headers=headers)

    assert first.headers[RUN_ID] == again.headers[RUN_ID]
    assert [*answers, late.json()] == [{"steps": ["before#1", "after#1"]}] * 3
    assert place.outside.counts() == {"before": 1, "after": 1}


def test_cancelled_run_ends(place: Place) -> None:
    response = place.ask("/sleep?pause=1h")
    run_id = response.headers[RUN_ID]

    assert place.cancel(run_id) is True
    assert place.cancel(run_id) is False
    assert place.outside.counts() == {"before": 1}
    if place.backend == "embedded":
        assert place.follow(response).status_code == 410


def test_parent_of_a_cancelled_run_goes_on(place: Place) -> None:
    response = place.ask("/abandoned")
    place.outside.wait_for("doomed")
    child = place.outside.calls("doomed")[0]["run_id"]
    assert place.cancel(child) is True
    answer = place.follow(response)

    assert answer.status_code == 502
    assert (answer.json()["failed"], answer.json()["child"]) == ("child", child)
    assert "cancelled" in answer.json()["message"]
