"""A checkpoint that the server takes and does not keep is posted again; until it is kept, the pass does not go on."""

from __future__ import annotations

import pytest

from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from testkit.colourless import over_quart_only

# More than the engine posts in the time of a test.
FOR_EVER = 100_000
DONE = {"steps": ["reserve#1", "charge#1", "confirm#1"]}


@pytest.mark.parametrize("step", ["inngest-durable:request", "reserve", "confirm", "inngest-durable:lease*"])
def test_checkpoint_that_was_not_kept_is_posted_again(rig: Rig, step: str) -> None:
    rig.fake.faults.lose(2, step=step)
    response = rig.ask("/book")
    run = rig.fake.only_run()

    assert (response.status_code, response.json()) == (200, DONE)
    assert counts(rig) == {"reserve": 1, "charge": 1, "confirm": 1}
    prefix = step.rstrip("*")
    received = [one for one in run.ops if one.step.startswith(prefix)]
    assert len(received) >= 3
    assert received[-1].is_stored


@pytest.mark.parametrize("step", ["charge", "inngest-durable:pass:2", "inngest-durable:pass:2:over"])
def test_checkpoint_of_a_later_pass_that_was_not_kept_is_posted_again(rig: Rig, step: str) -> None:
    response = rig.ask("/book?fail=2")
    rig.fake.faults.lose(2, step=step)

    assert rig.follow(response).json() == {"steps": ["reserve#1", "charge#3", "confirm#1"]}
    assert counts(rig) == {"reserve": 1, "charge": 3, "confirm": 1}


def test_beginning_of_an_invoked_run_that_was_not_kept_is_posted_again(rig: Rig) -> None:
    rig.fake.faults.lose(1, skip=1, step="inngest-durable:request")
    response = rig.ask("/parent")

    assert rig.follow(response).json() == {"child": {"steps": ["before#1", "after#1"]}}
    assert counts(rig) == {"before": 1, "after": 1}


@over_quart_only
def test_pass_does_not_see_what_is_never_kept(rig: Rig) -> None:
    rig.fake.faults.lose(FOR_EVER, step="reserve")
    response = rig.ask("/book")
    # Told to wait: the server has the run, if not what its first step has returned.
    assert response.status_code == 303
    assert counts(rig) == {"reserve": 1}

    # It is kept in the end: its result is not lost, and the step does not run again.
    rig.fake.faults.clear()
    assert rig.follow(response).json() == DONE
    assert counts(rig) == {"reserve": 1, "charge": 1, "confirm": 1}


def test_no_run_begins_while_nothing_is_kept(open_rig: OpenRig) -> None:
    rig = open_rig()
    rig.fake.faults.cut(FOR_EVER, where=".*")
    first = rig.ask("/book")
    assert rig.engine.failing is not None
    assert rig.fake.url in rig.engine.failing
    before = rig.outside.counts()
    second = rig.ask("/book")

    assert (first.status_code, second.status_code) == (503, 503)
    assert "retry-after" in second.headers
    assert rig.outside.counts() == before == {"pass book": 1, "reserve": 1}
    # What is not durable is served as ever.
    assert rig.ask("/plain").text == "plain"

    rig.fake.faults.clear()
    rig.fake.wait_until(lambda: rig.engine.failing is None, "the engine to find the server again")
    assert rig.ask("/book").status_code == 200
