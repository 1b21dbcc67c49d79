"""The followed application, of each framework, served in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import stream
from inngest_durable.engines import attempts

from packages.inngest_durable.tests.adapters.site import Site
from packages.inngest_durable.tests.follow.app import build
from testkit import colourless


@pytest.fixture(params=colourless.WEBS)
def web(request: pytest.FixtureRequest) -> Iterator[colourless.Web]:
    """Run the test over each framework in turn."""
    yield colourless.choose(request.param)
    colourless.choose("quart")


@pytest.fixture
def start(web: colourless.Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Give a function that serves the application, by the framework's first server or its second."""
    # No step is a long one, however busy this machine: only those that tell their progress tell that they started.
    monkeypatch.setattr(attempts, "STARTED_AFTER_SECONDS", 3600.0)
    if web.blocks:
        # A thread notices that its client has left when it sends it something.
        monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    with ExitStack() as stack:

        def started(server: int = 0, **options: Any) -> Site:
            app, inngest = build(tmp_path, **options)
            site = Site.at(web.servers[server](app), inngest, tmp_path)
            stack.callback(site.close)
            return site

        yield started


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    """Serve the application by the framework's first server."""
    return start()
