"""
Fixtures: each scenario runs over both frameworks, on the embedded engine, on the fake server, and on a real one.

The real one is that which INNGEST_DEV names; without it, its scenarios are left out, and one skipped test says so.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from inngest_durable import EmbeddedEngine
from inngest_durable.engines.inngest.engine import InngestEngine

from packages.inngest_durable.tests.inngest.conformance.application import Conformance
from packages.inngest_durable.tests.inngest.conformance.place import Place
from packages.inngest_durable.tests.inngest.fake_server import EVENT_KEY, SIGNING_KEY, FakeInngest
from testkit import colourless

_LEASE = "20s"


@functools.cache
def real_server() -> str:
    """Return the URL of the Dev Server that INNGEST_DEV names; empty if it names none, or none answers there."""
    url = os.environ.get("INNGEST_DEV", "").rstrip("/")
    if "://" not in url:
        return ""
    try:
        httpx.get(f"{url}/health", timeout=2)
    except httpx.TransportError:
        return ""
    return url


@pytest.fixture(params=["embedded", "fake", "fake-signed", *(["real"] if real_server() else [])])
def place(request: pytest.FixtureRequest, tmp_path: Path, web: colourless.Web, waits_at: str) -> Iterator[Place]:
    """Serve the application of the scenarios on each backend in turn."""
    with ExitStack() as stack:
        fake: FakeInngest | None = None
        engine: Any
        if request.param == "embedded":
            engine = EmbeddedEngine(tmp_path / "durable.db", shutdown_grace="5s")
        elif request.param == "real":
            engine = InngestEngine(is_dev=True, base_url=real_server(), lease=_LEASE, shutdown_grace="5s")
        elif request.param == "fake":
            fake = stack.enter_context(FakeInngest())
            engine = InngestEngine(is_dev=True, base_url=fake.url, lease=_LEASE, shutdown_grace="5s")
        else:
            fake = stack.enter_context(FakeInngest(signing_key=SIGNING_KEY, event_key=EVENT_KEY))
            engine = InngestEngine(
                is_dev=False,
                base_url=fake.url,
                signing_key=SIGNING_KEY,
                event_key=EVENT_KEY,
                lease=_LEASE,
                shutdown_grace="5s",
            )
        made = Conformance(tmp_path, engine, waits_at)
        server = web.servers[0](made.app)
        here = Place(request.param, made, server, fake)
        try:
            yield here
        finally:
            here.close()
        if fake is not None:
            assert fake.violations == [], fake.story()


@pytest.fixture
def waits_at() -> str:
    """Tell where redirected clients wait: where the engine says, unless a test has its own parameter."""
    return ""


@pytest.fixture(params=colourless.WEBS)
def web(request: pytest.FixtureRequest) -> Iterator[colourless.Web]:
    """Run the test over each framework in turn."""
    yield colourless.choose(request.param)
    colourless.choose("quart")
