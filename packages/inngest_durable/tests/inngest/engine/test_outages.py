"""While the server cannot be reached, or has lost its memory, nothing that was done is lost, or done twice."""

from __future__ import annotations

import pytest
from inngest_durable.engines.inngest import checkpoints

from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import CANCELLED, COMPLETED, RUNNING
from testkit.colourless import over_quart_only

FOR_EVER = 100_000
CREATE, STEPS = "POST /v1/checkpoint$", "POST /v1/checkpoint/.*/steps"
DONE = {"steps": ["reserve#1", "charge#1", "confirm#1"]}
# What calls are answered with; 0: their connection is cut.
EACH = [("quart", 0), ("quart", 409), ("flask", 500)]
ONCE = {"reserve": 1, "charge": 1, "confirm": 1}


@pytest.mark.parametrize("where", [CREATE, STEPS, "GET /v0/runs/.*", "GET /v1/runs/.*"])
@pytest.mark.parametrize(("web", "status"), EACH, indirect=["web"])
def test_call_that_fails_for_a_moment_is_made_again(rig: Rig, where: str, status: int) -> None:
    if status:
        rig.fake.faults.answer(status, 2, where=where)
    else:
        rig.fake.faults.cut(1, where=where)
        rig.fake.faults.cut_after(1, where=where)
    response = rig.ask("/book")

    assert (response.status_code, response.json()) == (200, DONE)
    assert counts(rig) == ONCE


@pytest.mark.parametrize(("web", "status"), EACH, indirect=["web"])
def test_run_that_cannot_be_created_is_refused(rig: Rig, status: int) -> None:
    if status:
        rig.fake.faults.answer(status, FOR_EVER, where=CREATE)
    else:
        rig.fake.faults.cut(FOR_EVER, where=CREATE)
    response = rig.ask("/book")

    assert response.status_code == 503
    assert response.headers["retry-after"]
    # Its first step was under way when that turned out; nothing is done after it.
    assert counts(rig) == {"reserve": 1}
    assert rig.fake.runs == []


@over_quart_only
def test_run_that_was_created_but_not_accepted_is_cancelled_when_that_can_be_done(rig: Rig) -> None:
    # The run is there, but nothing that would wake it.
    rig.fake.faults.cut(FOR_EVER, step="inngest-durable:lease:1:*")
    rig.fake.faults.cut(FOR_EVER, where="DELETE .*")
    response = rig.ask("/book")
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: len(rig.fake.called("DELETE .*")) > 5, "the engine to have tried in vain")
    assert (response.status_code, run.status) == (503, RUNNING)
    # Its client has been told to send the request again.
    rig.clock.advance(120)
    dispatched = rig.dispatch(run.run_id, "/book")

    assert (dispatched.status_code, dispatched.headers["x-inngest-no-retry"]) == (503, "false")
    assert dispatched.headers["x-inngest-sdk"]
    assert rig.outside.counts() == {"pass book": 1, "reserve": 1}
    rig.fake.faults.clear()
    rig.fake.wait_until(lambda: run.is_over, "the run to be cancelled")
    assert run.status == CANCELLED
    assert rig.outside.counts() == {"pass book": 1, "reserve": 1}


@pytest.mark.parametrize(("web", "status"), EACH, indirect=["web"])
def test_client_is_sent_to_wait_while_a_step_cannot_be_recorded(rig: Rig, status: int) -> None:
    if status:
        rig.fake.faults.answer(status, FOR_EVER, step="charge")
    else:
        rig.fake.faults.cut(FOR_EVER, step="charge")
    response = rig.ask("/book")
    assert response.status_code == 303
    assert counts(rig) == {"reserve": 1, "charge": 1}

    rig.fake.faults.clear()
    assert rig.follow(response).json() == DONE
    assert counts(rig) == ONCE


def test_step_of_a_later_pass_is_recorded_after_an_outage(rig: Rig) -> None:
    response = rig.ask("/held?fail=1")
    rig.advance(60)
    rig.outside.wait_for("two")
    with rig.fake.unreachable():
        rig.outside.open("two")
        rig.fake.wait_until(lambda: rig.engine.failing is not None, "the engine to notice")
    assert rig.follow(response).json() == {"steps": ["one#2", "two#1", "three#1"]}
    assert counts(rig) == {"one": 2, "two": 1, "three": 1}


def test_run_goes_on_in_its_client_request_after_the_server_has_lost_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "STATUS_SECONDS", 0.01)
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    rig.fake.wait_until(lambda: rig.fake.jobs() and rig.fake.only_run().steps(), "the run to be created")
    rig.fake.restart(keep_state=False)
    rig.outside.open("two")
    response = asked.result(20)

    assert (response.status_code, response.json()) == (200, {"steps": ["one#1", "two#1", "three#1"]})
    assert counts(rig) == {"one": 1, "two": 1, "three": 1}
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.status == COMPLETED, "the end of the run")


def test_run_that_waits_after_the_server_has_lost_it_is_woken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "STATUS_SECONDS", 0.01)
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    rig.fake.wait_until(lambda: rig.fake.jobs() and rig.fake.only_run().steps(), "the run to be created")
    rig.fake.restart(keep_state=False)
    rig.advance(31)
    rig.outside.open("two")

    assert rig.follow(asked.result(20)).json() == {"steps": ["one#1", "two#1", "three#1"]}
    assert counts(rig) == {"one": 1, "two": 1, "three": 1}


def test_run_goes_on_in_a_later_pass_after_the_server_has_lost_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "STATUS_SECONDS", 0.01)
    response = rig.ask("/held?fail=1")
    rig.advance(60)
    rig.outside.wait_for("two")
    rig.fake.restart(keep_state=False)
    rig.outside.open("two")
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.status == COMPLETED, "the end of the run")

    assert response.next_request is not None
    assert rig.client.send(response.next_request).status_code == 200
    assert counts(rig) == {"one": 2, "two": 1, "three": 1}


def test_server_that_keeps_its_state_goes_on(rig: Rig) -> None:
    response = rig.ask("/book?fail=1")
    rig.fake.restart(keep_state=True)

    assert rig.follow(response).json() == {"steps": ["reserve#1", "charge#2", "confirm#1"]}
    assert counts(rig) == {"reserve": 1, "charge": 2, "confirm": 1}
