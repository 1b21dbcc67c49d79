"""Two passes of a run never overlap, and a run whose pass has died goes on."""

from __future__ import annotations

import json
from functools import partial

import httpx
from inngest_durable.engines.inngest.claim import InngestClaim
from inngest_durable.testing.clock import _Timer

from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import LEASE_SECONDS, Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import COMPLETED, Dispatch, Run
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid
from testkit.colourless import over_quart_only


def held_run(rig: Rig) -> Run:
    """Wait until the run's lease is there."""
    rig.fake.wait_until(rig.fake.jobs, "the lease of the first pass")
    return rig.fake.only_run()


def wait_for_hold(rig: Rig) -> None:
    """Wait until the pass knows when to say next that it lives: time that goes by before does not tell it to."""
    rig.fake.wait_until(partial(_looks_ahead, rig), "the pass to set its timer")


def _looks_ahead(rig: Rig) -> bool:
    claims = [live_pass.claim for live_pass in rig.engine.passes]
    timers = [claim._hold._timer for claim in claims if isinstance(claim, InngestClaim)]
    return any(isinstance(timer, _Timer) and timer.when > rig.clock.now() for timer in timers)


def ops_of(dispatch: Dispatch) -> list[str]:
    """Return what the application wants the server to do."""
    return [op["op"] for op in json.loads(dispatch.response)]


def outlive(rig: Rig, run: Run) -> None:
    """Let twice the lease of the pass that lives go by, and wait for each time that it says so."""
    for times in range(1, 5):
        wait_for_hold(rig)
        rig.advance(LEASE_SECONDS / 2 + 1)
        rig.fake.wait_until(partial(_has_renewed, run, times), "the pass to say that it lives")


def _has_renewed(run: Run, times: int) -> bool:
    return len([step for step in run.steps() if ":held:" in step]) >= times


def test_first_pass_leaves_its_client_before_its_lease_ends(rig: Rig) -> None:
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    held_run(rig)
    wait_for_hold(rig)
    rig.advance(LEASE_SECONDS / 2 + 1)
    rig.outside.open("two")
    response = asked.result(20)

    # The handler was left: its next step is for a pass of the server's.
    assert response.status_code == 303
    assert rig.follow(response).json() == {"steps": ["one#1", "two#1", "three#1"]}
    assert rig.outside.counts() == {"pass held": 2, "one": 1, "two": 1, "three": 1}


def test_no_pass_begins_while_a_first_one_lives_beyond_its_lease(rig: Rig) -> None:
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    run = held_run(rig)
    outlive(rig, run)
    dispatches = rig.dispatched(1)

    assert {name for dispatch in dispatches for name in ops_of(dispatch)} == {"Sleep"}
    assert rig.outside.counts() == {"pass held": 1, "one": 1, "two": 1}

    rig.outside.open("two")
    assert rig.follow(asked.result(20)).json() == {"steps": ["one#1", "two#1", "three#1"]}
    assert rig.outside.counts() == {"pass held": 2, "one": 1, "two": 1, "three": 1}


def test_no_pass_begins_while_a_later_one_lives(rig: Rig) -> None:
    response = rig.ask("/held?fail=1")
    run = rig.fake.only_run()
    rig.advance(60)
    rig.outside.wait_for("two")
    (dispatch,) = rig.fake.dispatches()
    outlive(rig, run)
    stray = rig.fake.replay(dispatch, x_request_id=new_ulid(rig.clock.now()))

    assert ops_of(stray) == ["Sleep"]
    assert rig.outside.counts() == {"pass held": 2, "one": 2, "two": 1}

    rig.outside.open("two")
    assert rig.follow(response).json() == {"steps": ["one#2", "two#1", "three#1"]}
    assert rig.outside.counts() == {"pass held": 2, "one": 2, "two": 1, "three": 1}


def test_two_requests_for_one_job_make_one_pass(rig: Rig) -> None:
    response = rig.ask("/book?fail=1")
    rig.fake.faults.beside = 1

    assert rig.follow(response).json() == {"steps": ["reserve#1", "charge#2", "confirm#1"]}
    assert rig.outside.counts() == {"pass book": 2, "reserve": 1, "charge": 2, "confirm": 1}
    assert len(rig.fake.dispatches()) >= 2


def test_lease_of_a_run_that_has_ended_does_nothing(open_rig: OpenRig) -> None:
    rig = open_rig(signed=True)
    assert rig.ask("/book").status_code == 200
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.is_over, "the end of the run")
    leases = [step for step in run.steps("Sleep") if "lease" in step]
    rig.advance(LEASE_SECONDS + 2)
    late = rig.dispatch(run.run_id, "/book")

    assert leases != []
    assert (run.status, late.status_code, late.headers["x-inngest-no-retry"]) == (COMPLETED, 410, "true")
    assert rig.outside.counts() == {"pass book": 1, "reserve": 1, "charge": 1, "confirm": 1}


def test_lease_that_fires_early_starts_nothing(rig: Rig) -> None:
    asked = rig.asked("/held")
    rig.outside.wait_for("two")
    run = held_run(rig)
    # The server's clock is ahead of this process's.
    rig.fake.hurry(run.run_id)
    (dispatch,) = rig.dispatched(1)

    assert ops_of(dispatch) == ["Sleep"]
    assert rig.outside.counts() == {"pass held": 1, "one": 1, "two": 1}
    rig.outside.open("two")
    assert asked.result(20).status_code == 200


def test_pass_that_was_taken_for_dead_goes_no_further(open_rig: OpenRig) -> None:
    other = open_rig()
    # Its clock stands still, as if the whole process did: it renews nothing.
    stalled = open_rig(base_url=other.fake.url, serve_origin=other.url)
    asked = stalled.asked("/held")
    stalled.outside.wait_for("two")
    held_run(other)
    other.advance(LEASE_SECONDS + 2)
    other.outside.wait_for("two")
    stalled.outside.open("two")
    response = asked.result(20)

    assert response.status_code == 303
    assert counts(stalled) == {"one": 1, "two": 1}
    other.outside.open("two")
    assert other.follow(response).json() == {"steps": ["one#1", "two#1", "three#1"]}
    # What was memoized by the first pass is the only thing that it does not do.
    assert counts(other) == {"two": 1, "three": 1}


def unheard(rig: Rig) -> tuple[httpx.Response, Dispatch]:
    """Let the hold of a second pass run out, whose step two is under way; return the first answer, and its dispatch."""
    response = rig.ask("/held?fail=1")
    rig.advance(60)
    rig.outside.wait_for("two")
    (dispatch,) = rig.fake.dispatches()
    # It can say no more that it lives.
    rig.fake.faults.cut(100_000, step="inngest-durable:pass:2:held:*")
    rig.advance(LEASE_SECONDS + 1)
    return response, dispatch


@over_quart_only
def test_no_pass_begins_while_one_lives_whose_hold_has_run_out(rig: Rig) -> None:
    response, dispatch = unheard(rig)
    stray = rig.fake.replay(dispatch, x_request_id=new_ulid(rig.clock.now()))

    assert ops_of(stray) == ["Sleep"]
    assert rig.outside.counts() == {"pass held": 2, "one": 2, "two": 1}
    rig.fake.faults.clear()
    rig.outside.open("two")
    assert rig.follow(response).json() == {"steps": ["one#2", "two#1", "three#1"]}


@over_quart_only
def test_pass_whose_hold_has_run_out_is_left(rig: Rig) -> None:
    response, _ = unheard(rig)
    rig.fake.wait_until(lambda: any(_interruptions(rig)), "the pass to be interrupted")
    rig.fake.faults.clear()
    rig.outside.open("two")

    assert rig.follow(response).json() == {"steps": ["one#2", "two#1", "three#1"]}
    # The handler was left after the step: the next one is for another pass.
    assert rig.outside.counts() == {"pass held": 3, "one": 2, "two": 1, "three": 1}


def _interruptions(rig: Rig) -> list[str]:
    return [getattr(live_pass, "interrupted", "") for live_pass in rig.engine.passes]


def test_hold_counts_from_when_the_run_is_accepted(rig: Rig) -> None:
    asked = rig.asked("/tardy")
    rig.outside.wait_for("pass tardy")
    rig.advance(LEASE_SECONDS + 1)
    rig.outside.open("start")
    rig.outside.wait_for("two")
    held_run(rig)

    assert rig.fake.jobs()[0].at - rig.clock.now() >= LEASE_SECONDS - 1
    rig.outside.open("two")
    # It is not left: half of its time has not passed.
    assert asked.result(20).status_code == 200
