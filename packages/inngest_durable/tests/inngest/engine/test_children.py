"""A run of the server that another one invokes."""

from __future__ import annotations

from packages.inngest_durable.tests.inngest.engine.rig import Rig


def test_child_run_that_takes_too_long_is_named(rig: Rig) -> None:
    answer = rig.answer("/impatient")
    parent, child = rig.fake.runs

    assert answer.json() == {"error": "InvokeTimeoutError", "child": child.run_id}
    assert parent.is_over
    assert not child.is_over
