"""A process that dies, or is told to stop, at a bad moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.engine.processes import RigProcess
from packages.inngest_durable.tests.inngest.fake_state import COMPLETED, FAILED
from testkit import colourless

Start = Callable[..., RigProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes; violations of the protocol fail the test."""
    rigs: list[RigProcess] = []

    def started(web: str = "quart", **options: Any) -> RigProcess:
        rigs.append(RigProcess(tmp_path, web, **options))
        return rigs[-1]

    yield started
    for rig in rigs:
        rig.close()
        assert rig.fake.violations == [], rig.fake.story()


@pytest.mark.parametrize("web", colourless.WEBS)
def test_run_whose_first_pass_was_killed_goes_on_by_its_lease(start: Start, web: str) -> None:
    rig = start(web)
    assert rig.ask("/dies-once") is None
    rig.process.wait()
    rig.start_later()
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.is_over, "the run to go on")

    assert run.status == COMPLETED
    assert rig.outside.counts() == {"pass dies-once": 2, "one": 1, "die": 2, "two": 1}


def test_run_that_kills_its_process_each_time_is_failed(start: Start) -> None:
    rig = start(max_recoveries=1)
    assert rig.ask("/dies") is None
    run = rig.fake.only_run()
    for _ in range(2):
        rig.process.wait()
        rig.start_later()
    rig.fake.wait_until(lambda: run.is_over, "the end of the run")

    assert run.status == FAILED
    assert rig.outside.counts() == {"pass dies": 2, "one": 1, "die": 2}
    assert b"died" in (run.output or b"")


@pytest.mark.parametrize("web", colourless.WEBS)
def test_process_ends_in_time_while_a_checkpoint_cannot_be_delivered(start: Start, web: str) -> None:
    rig = start(web)
    outage = rig.fake.faults.cut(100_000, step="charge")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(rig.ask, "/book")
        rig.fake.wait_until(lambda: outage.count <= 99_998, "the checkpoint to be tried in vain")
        rig.process.terminate()
        # Fails the test if that takes many times the grace.
        rig.process.wait()
        response = asked.result()
    # waitress cuts the connection.
    assert (None if response is None else response.status_code) == {"quart": 303, "flask": None}[web]

    rig.fake.faults.clear()
    rig.start_later()
    run = rig.fake.only_run()
    rig.fake.wait_until(lambda: run.is_over, "the run to go on")
    # What the step has done is not known to anybody: it is done again.
    assert len({call["pid"] for call in rig.outside.calls("charge")}) == 2
    assert {action: rig.outside.counts()[action] for action in ("reserve", "confirm")} == {"reserve": 1, "confirm": 1}
