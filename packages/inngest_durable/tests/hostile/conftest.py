"""One application for each framework, kept for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from packages.inngest_durable.tests.hostile.doors import Doors
from testkit import colourless


@pytest.fixture(params=colourless.WEBS, scope="module")
def web(request: pytest.FixtureRequest) -> Iterator[colourless.Web]:
    """Run the tests over each framework in turn."""
    yield colourless.choose(request.param)
    colourless.choose("quart")


@pytest.fixture(scope="module")
def doors(web: colourless.Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Open the application."""
    del web
    with Doors(tmp_path_factory.mktemp("doors")).opened() as doors:
        yield doors
