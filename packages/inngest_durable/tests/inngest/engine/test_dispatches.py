"""Who may start a pass, and how often: whatever is refused executes nothing, and does not end the run."""

from __future__ import annotations

from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig
from packages.inngest_durable.tests.inngest.fake_server import SIGNING_KEY
from packages.inngest_durable.tests.inngest.fake_state import RUNNING
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid, signature
from packages.inngest_durable.tests.inngest.scripted_app import ByHand, ran
from testkit.colourless import over_quart_only

OTHER_KEY = "signkey-test-" + "99" * 32


def waiting(rig: Rig) -> str:
    """Begin a run whose step is to be tried again; return its ID."""
    response = rig.ask("/book?fail=1", "POST", content=b"a body")
    assert response.status_code == 303
    return str(response.headers["x-inngest-run-id"])


def check_refused(rig: Rig, run_id: str, answer: Any, *statuses: int) -> None:
    """Check that nothing has come of a request, and that the run goes on all the same."""
    before = {"pass book": 1, "reserve": 1, "charge": 1}
    assert answer.status_code in statuses
    assert answer.headers["x-inngest-sdk"].startswith("inngest-durable:v")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-inngest-no-retry"] == "false"
    assert rig.outside.counts() == before
    assert rig.fake.run(run_id).status == RUNNING
    rig.finish()
    assert rig.outside.counts() == {"pass book": 2, "reserve": 1, "charge": 2, "confirm": 1}


FORGED: dict[str, dict[str, Any]] = {
    "missing": {"signed": ""},
    "no time": {"signed": "s=" + "0" * 64},
    "wrong digest": {"signed": "t=1&s=" + "0" * 64},
    "wrong key": {"key": OTHER_KEY},
    "stale": {"late": -301},
    "of the future": {"late": 302},
}


@pytest.mark.parametrize("how", FORGED)
def test_forged_signature_is_refused(open_rig: OpenRig, how: str) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"a body", **FORGED[how])

    check_refused(rig, run_id, answer, 401)


@over_quart_only
@pytest.mark.parametrize("end", [-1, -64, 8])
def test_truncated_signature_is_refused(open_rig: OpenRig, end: int) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    whole = signature(b"a body", SIGNING_KEY, int(rig.clock.now()))
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"a body", signed=whole[:end])

    check_refused(rig, run_id, answer, 401)


def test_signature_of_another_body_is_refused(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    signed = signature(b"a body", SIGNING_KEY, int(rig.clock.now()))
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"another", signed=signed)

    check_refused(rig, run_id, answer, 401)


@pytest.mark.parametrize(("late", "status"), [(-290, 206), (290, 206)])
def test_clocks_may_differ_by_minutes(open_rig: OpenRig, late: int, status: int) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"a body", late=late)

    assert answer.status_code == status
    # It came early: the run waits on.
    assert answer.json()[0]["op"] == "Sleep"


def test_fallback_key_is_accepted(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True, signing_key=OTHER_KEY, signing_key_fallback=SIGNING_KEY)
    answer = rig.answer("/book?fail=1")

    assert answer.json() == {"steps": ["reserve#1", "charge#2", "confirm#1"]}
    # The server refuses the first key, and is asked again with the other one.
    assert {each.status for each in rig.fake.dispatches()} == {206}
    rig.fake.take_violations()


def test_replayed_request_is_served_once(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    response = rig.ask("/book?fail=2")
    rig.fake.wait_until(rig.fake.jobs, "the lease and the pause")
    rig.advance(60)
    (first,) = rig.dispatched(1)
    rig.fake.wait_until(lambda: not any(job.is_dispatched for job in rig.fake.jobs()), "the server to read the answer")
    # The server is late with its next request: when the run is due, only the replayed one comes.
    rig.fake.postpone(100)
    rig.advance(61)
    counted = rig.outside.counts()
    again = rig.fake.replay(first)

    assert again.status == 206
    assert rig.outside.counts() == counted == {"pass book": 2, "reserve": 1, "charge": 2}
    assert rig.follow(response).json() == {"steps": ["reserve#1", "charge#3", "confirm#1"]}


def test_request_that_is_delivered_twice_is_served_once(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    response = rig.ask("/book?fail=2")
    rig.fake.faults.twice = 1
    rig.advance(60)
    rig.dispatched(2)

    assert rig.outside.counts() == {"pass book": 2, "reserve": 1, "charge": 2}
    assert rig.follow(response).json() == {"steps": ["reserve#1", "charge#3", "confirm#1"]}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/echo"), ("GET", "/book?fail=1"), ("POST", "/nowhere"), ("POST", "/plain")]
)
def test_request_for_a_run_of_another_endpoint_is_refused(open_rig: OpenRig, method: str, path: str) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    rig.clock.advance(61)
    answer = rig.dispatch(run_id, path, method=method, body=b"a body")

    check_refused(rig, run_id, answer, 403)


@over_quart_only
@pytest.mark.parametrize(
    "run_id", ["../../e/key", "x", "01M83CX1GRX9C86JV2TK23N0B3/../x", "%2e%2e%2f", "0" * 25, "Z" * 26, "a" * 5000]
)
def test_run_id_that_is_none_is_refused(open_rig: OpenRig, run_id: str) -> None:
    rig = open_rig(signed=True)
    begun = waiting(rig)
    asked = len(rig.fake.calls)
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"a body")

    assert len(rig.fake.calls) == asked
    check_refused(rig, begun, answer, 400)


def test_request_without_an_id_of_its_own_is_refused(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"a body", x_request_id="-")

    check_refused(rig, run_id, answer, 400)


def test_unknown_run_is_refused_for_good(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    answer = rig.dispatch(new_ulid(rig.clock.now()), "/book")

    assert (answer.status_code, answer.headers["x-inngest-no-retry"]) == (410, "true")
    assert answer.headers["x-inngest-sdk"]
    assert rig.outside.counts() == {}


def test_run_that_another_sdk_has_begun_is_refused(rig: Rig) -> None:
    hand = ByHand(rig.fake, domain=rig.url, path="/book")
    hand.create(ran("reserve", "reserve#0"))
    answer = rig.dispatch(hand.run_id, "/book")
    hand.client.close()

    assert answer.status_code == 403
    assert answer.headers["x-inngest-sdk"]
    assert rig.outside.counts() == {}


def test_headers_of_a_request_alone_start_nothing(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    # Not the server's, by the rule that it follows: an ordinary request, which begins a run of its own.
    answer = rig.ask("/at-once", headers={"X-Run-Id": run_id})

    assert answer.headers["x-inngest-run-id"] != run_id
    assert rig.outside.counts() == {"pass book": 1, "reserve": 1, "charge": 2, "pass at-once": 1}


def test_request_that_is_too_large_does_not_end_the_run(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    run_id = waiting(rig)
    answer = rig.dispatch(run_id, "/book?fail=1", method="POST", body=b"x" * 4_000_000)

    check_refused(rig, run_id, answer, 413)
