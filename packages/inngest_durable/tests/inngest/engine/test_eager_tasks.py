"""An application on a loop whose tasks begin at once."""

from __future__ import annotations

import pytest

from packages.inngest_durable.tests.eager import begin_tasks_at_once, needs_eager_tasks
from packages.inngest_durable.tests.inngest.engine.rig import Rig, counts


@needs_eager_tasks
@pytest.mark.parametrize("web", ["quart"], indirect=True)
def test_what_is_recorded_is_found_when_tasks_begin_at_once(rig: Rig) -> None:
    """What the server has is asked for after each record, not taken from the time before."""

    async def at_once() -> None:
        begin_tasks_at_once()

    rig.rows.app.before_request(at_once)
    rig.outside.open("*")

    assert rig.answer("/held?fail=1").json() == {"steps": ["one#2", "two#1", "three#1"]}
    assert counts(rig) == {"one": 2, "two": 1, "three": 1}
