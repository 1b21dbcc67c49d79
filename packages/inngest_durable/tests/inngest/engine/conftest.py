"""Fixtures: applications on fake servers, over either framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.conftest import Leaving
from packages.inngest_durable.tests.inngest.engine.rig import Rig
from testkit import colourless

OpenRig = Callable[..., Rig]


@pytest.fixture(params=colourless.WEBS)
def web(request: pytest.FixtureRequest) -> Iterator[colourless.Web]:
    """Run the test over each framework in turn."""
    yield colourless.choose(request.param)
    colourless.choose("quart")


@pytest.fixture
def open_rig(tmp_path: Path, web: colourless.Web, leaving: Leaving) -> Iterator[OpenRig]:
    """Open applications with options; violations of the protocol fail the test."""
    rigs: list[Rig] = []

    def opened(**options: Any) -> Rig:
        rigs.append(Rig(tmp_path / str(len(rigs)), web, **options))
        return rigs[-1]

    yield opened
    stories = [(rig.fake.violations, rig.fake.story()) for rig in rigs]
    for rig in rigs:
        rig.stop()
        leaving.leave(rig.fake)
    for violations, story in stories:
        assert violations == [], story


@pytest.fixture
def rig(open_rig: OpenRig) -> Rig:
    """Open an application without options."""
    return open_rig()
