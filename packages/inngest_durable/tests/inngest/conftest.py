"""Fixtures: the fake server, and what talks to it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from packages.inngest_durable.tests.inngest.scripted_app import Answer, ByHand, ScriptedApp
from testkit.servers import ThreadServer

MakeApp = Callable[..., ScriptedApp]
MakeRun = Callable[..., ByHand]

# Servers that may be ending at a time.
_AT_ONCE = 4


class Leaving:
    """Servers that were told to end. That takes them a fifth of a second, in which the next tests run."""

    def __init__(self) -> None:
        self._servers: list[ThreadServer] = []

    def leave(self, *servers: ThreadServer) -> None:
        """Tell *servers* to end, and see that those told some time ago have ended."""
        for server in servers:
            server.ask_to_stop()
        self._servers += servers
        self._end(_AT_ONCE)

    def end(self) -> None:
        """See that all have ended."""
        self._end(0)

    def _end(self, kept: int) -> None:
        while len(self._servers) > kept:
            self._servers.pop(0).stop()


@pytest.fixture(scope="session")
def leaving() -> Iterator[Leaving]:
    """Keep the servers of all tests."""
    servers = Leaving()
    yield servers
    servers.end()


@pytest.fixture
def fake(leaving: Leaving) -> Iterator[FakeInngest]:
    """A fake development server whose clock moves on command only; violations fail the test unless it takes them."""
    server = FakeInngest(clock=FakeClock(scale=0))
    yield server
    story = server.story()
    leaving.leave(server)
    assert server.violations == [], story


@pytest.fixture
def scripted(leaving: Leaving) -> Iterator[MakeApp]:
    """Make applications that answer as a test says."""
    apps: list[ScriptedApp] = []

    def make(*answers: Answer | Callable[[], Answer]) -> ScriptedApp:
        apps.append(ScriptedApp(*answers))
        return apps[-1]

    yield make
    leaving.leave(*(app.server for app in apps))


@pytest.fixture
def by_hand() -> Iterator[MakeRun]:
    """Make runs whose opcodes the test sends itself."""
    runs: list[ByHand] = []

    def make(*args: Any, **options: Any) -> ByHand:
        runs.append(ByHand(*args, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.client.close()
