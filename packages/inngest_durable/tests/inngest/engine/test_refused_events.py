"""An event that the server does not take fails its step, and is nobody else's matter."""

from __future__ import annotations

import pytest
from inngest_durable import Event, EventError

from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts
from packages.inngest_durable.tests.inngest.fake_state import FAILED

BOOKED = {"steps": ["reserve#1", "charge#1", "confirm#1"]}


def test_event_that_the_server_refuses_fails_its_run_at_once(rig: Rig) -> None:
    response = rig.ask("/emits")
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.is_over, "the end of the run")

    assert (response.status_code, run.status) == (500, FAILED)
    assert b"EventError" in (run.output or b"")
    assert b"reserved for internal use" in (run.output or b"")
    # Though the handler may be retried once.
    assert rig.outside.counts() == {"pass emits": 1, "before": 1}
    assert len(rig.fake.called("POST /e/.*")) == 1
    assert rig.engine.failing is None
    assert rig.ask("/book").json() == BOOKED


def test_event_that_is_refused_outside_of_runs_is_an_error_of_the_caller(rig: Rig) -> None:
    assert rig.ask("/plain").status_code == 200
    with pytest.raises(EventError, match="reserved for internal use: inngest/foo"):
        rig.server.call(lambda: rig.rows.inngest.send(Event("inngest/foo")))

    assert rig.engine.failing is None
    assert rig.ask("/book").json() == BOOKED
    assert counts(rig) == {"reserve": 1, "charge": 1, "confirm": 1}
