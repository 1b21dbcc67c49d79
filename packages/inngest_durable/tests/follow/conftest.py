"""The followed application, served in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.adapters.servers import HypercornThread, UvicornThread
from packages.inngest_durable.tests.adapters.site import Site
from packages.inngest_durable.tests.follow.app import build


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Give a function that serves the application, by uvicorn or hypercorn."""
    with ExitStack() as stack:

        def started(server: str = "uvicorn", **options: Any) -> Site:
            app, inngest = build(tmp_path, **options)
            thread = {"uvicorn": UvicornThread, "hypercorn": HypercornThread}[server](app)
            site = Site.at(thread, inngest, tmp_path)
            stack.callback(site.close)
            return site

        yield started


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    """Serve the application by uvicorn."""
    return start()
