"""Each end of a run is reported to the server, with what the client is answered; attempts are counted here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import CANCELLED, COMPLETED, FAILED, Run


def kept(run: Run) -> dict[str, Any]:
    """Return what the server has kept of the run's end."""
    found: dict[str, Any] = json.loads(run.output or b"{}")
    return found


def test_step_failure_that_nobody_catches_fails_the_run(rig: Rig) -> None:
    answer = rig.answer("/uncaught")
    run = rig.fake.only_run()

    assert (answer.status_code, run.status) == (500, FAILED)
    assert "Internal Server Error" in answer.text
    # One retry is two attempts: one in the client's request, one later.
    assert counts(rig) == {"charge": 2}
    assert kept(run)["name"] == "StepError"
    assert rig.fake.jobs(run.run_id) == []


def test_retries_on_a_later_pass_are_the_policys(rig: Rig) -> None:
    # The first pass parks; all three attempts of this step but the first are made by the server's requests.
    answer = rig.answer("/book?fail=2")

    assert answer.json()["steps"][1] == "charge#3"
    assert rig.outside.counts() == {"pass book": 3, "reserve": 1, "charge": 3, "confirm": 1}


@pytest.mark.parametrize(("fail", "status", "code", "calls"), [(1, COMPLETED, 200, 2), (9, FAILED, 500, 2)])
def test_handler_that_raises_is_retried_and_then_failed(
    rig: Rig, fail: int, status: str, code: int, calls: int
) -> None:
    answer = rig.answer(f"/breaks?fail={fail}")
    run = rig.fake.only_run()

    assert (answer.status_code, run.status) == (code, status)
    assert counts(rig) == {"reserve": 1, "body": calls}
    assert status == COMPLETED or kept(run)["name"] == "OutageError"


def test_error_that_asks_for_a_pause_gets_it(rig: Rig) -> None:
    response = rig.ask("/late?fail=1")
    pause = max(job.at for job in rig.fake.jobs()) - rig.clock.now()
    rig.advance(62)
    assert counts(rig) == {"charge": 1}

    assert rig.follow(response).json() == {"charge": "charge#2"}
    assert 99 <= pause <= 101


def test_deadline_fails_the_run(rig: Rig) -> None:
    response = rig.ask("/deadline")
    began = rig.clock.now()
    answer = rig.follow(response)
    run = rig.fake.only_run()

    assert (answer.status_code, run.status) == (504, FAILED)
    assert rig.clock.now() - began == pytest.approx(300, abs=2)
    assert counts(rig) == {"before": 1}


@pytest.mark.parametrize(("path", "code"), [("/at-once", 500), ("/caught-at-once", 402)])
def test_end_in_the_clients_request_is_reported(rig: Rig, path: str, code: int) -> None:
    response = rig.ask(path)
    run = rig.fake.only_run()
    token = rig.engine.token(run.run_id)
    rig.fake.wait_until(lambda: run.is_over, "the end of the run")

    assert (response.status_code, run.status) == (code, FAILED if code == 500 else COMPLETED)
    # A client that waits all the same is answered the same.
    waited = rig.ask(f"/wait?runId={run.run_id}&token={token}")
    assert (waited.status_code, waited.content) == (code, response.content)
    assert counts(rig) == {"charge": 1}


def test_cancelled_run_takes_along_those_that_wait_for_each_other(rig: Rig) -> None:
    run_id = rig.ask("/top").headers["x-inngest-run-id"]

    def is_entered() -> bool:
        rig.advance(1)
        return "before" in rig.outside.counts()

    rig.fake.wait_until(is_entered, "the last of them to be entered")
    assert rig.server.call(lambda: rig.rows.inngest.cancel(run_id))
    rig.advance(120)

    assert [run.status for run in rig.fake.runs] == [CANCELLED] * 3
    assert counts(rig) == {"before": 1}
