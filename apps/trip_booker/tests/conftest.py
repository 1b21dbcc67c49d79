"""
Fixtures: an empty outside world without latency, a client of the app in this process, the app in processes of its own.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from quart.typing import TestClientProtocol
from trip_booker import chaos
from trip_booker.app import create_app
from trip_booker.world import World, open_world

from e2e.trip_booker import TripBooker


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Point the fakes at an empty outside world; let nothing go wrong unless the test says so."""
    monkeypatch.setenv("TRIP_BOOKER_WORLD", str(tmp_path / "world.db"))
    monkeypatch.setenv("TRIP_BOOKER_SPEED", "0")
    chaos.switch_on(chaos.NOTHING)
    yield open_world()
    chaos.switch_on(chaos.NOTHING)


@pytest.fixture
async def client(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestClientProtocol]:
    """Start the app with a database of its own, and stop it after the test."""
    monkeypatch.setenv("INNGEST_DURABLE_DB", str(tmp_path / "durable.db"))
    app = create_app()
    async with app.test_app():
        yield app.test_client()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[TripBooker]:
    """Start the app as the README does, but on a free port, with files of its own and without latency."""
    demo = TripBooker(tmp_path)
    try:
        demo.wait_ready()
        yield demo
    finally:
        demo.stop()
        # Shown by pytest when the test failed.
        sys.stdout.write(demo.output)
