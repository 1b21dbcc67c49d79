"""
Fixtures: `site` is the application of `application`, once per framework; `served` once per framework and server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import Inngest

from packages.inngest_durable.tests.adapters.frameworks import FRAMEWORKS, SERVED, Framework
from packages.inngest_durable.tests.adapters.site import Site
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from packages.inngest_durable.tests.adapters.traces import Traces
from testkit import colourless
from testkit.outside import Outside
from testkit.servers import ThreadServer
from testkit.third_party import ThirdParty, third_party

StartSite = Callable[..., Site]
Serve = Callable[..., Site]


class Opened:
    """
    The sites that tests have opened.

    Ending a server takes it a fifth of a second, so that of one test ends while the next test runs.
    """

    def __init__(self) -> None:
        self._open: list[Site] = []
        self._ending: list[Site] = []

    def add(self, site: Site) -> Site:
        """Note that *site* was opened."""
        self._open.append(site)
        return site

    def leave(self) -> None:
        """Tell the servers that are open to end, and see that those told earlier have ended."""
        self.close_earlier()
        for site in self._open:
            site.leave()
        self._ending, self._open = self._open, []

    def close_earlier(self) -> None:
        """See that the servers that were told to end have ended."""
        for site in self._ending:
            site.close()
        self._ending = []


@pytest.fixture(scope="session")
def all_opened() -> Iterator[Opened]:
    """Keep the sites of all tests."""
    opened = Opened()
    yield opened
    opened.close_earlier()


@pytest.fixture
def opened(all_opened: Opened) -> Iterator[Opened]:
    """Keep the sites of this test, which are left at its end."""
    yield all_opened
    all_opened.leave()


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.name)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Return the framework that the scenario runs over."""
    chosen: Framework = request.param
    return chosen


@pytest.fixture
def start_site(framework: Framework, tmp_path: Path, opened: Opened) -> StartSite:
    """Give a function that serves the application: by the framework's first server, or the named one."""

    def start(server: str = "", folder: Path = tmp_path, **options: Any) -> Site:
        return opened.add(_serve(framework, server, folder, **options))

    return start


@pytest.fixture
def site(start_site: StartSite) -> Site:
    """Serve the application by the framework's first server."""
    return start_site()


@pytest.fixture(params=SERVED, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def serve_under(request: pytest.FixtureRequest, tmp_path: Path, opened: Opened) -> Callable[[str], Site]:
    """Give a function that serves the application under a prefix, by each server of each framework in turn."""
    framework, server = request.param
    return lambda prefix: opened.add(_serve(framework, server, tmp_path, root_path=prefix))


@pytest.fixture
def served(serve_under: Callable[[str], Site]) -> Site:
    """Serve the application by each server of each framework in turn."""
    return serve_under("")


@pytest.fixture(params=colourless.WEBS)
def web(request: pytest.FixtureRequest) -> Iterator[colourless.Web]:
    """Run the test over each framework in turn: `shop` and `colourless` are of that one."""
    yield colourless.choose(request.param)
    colourless.choose("quart")


@pytest.fixture
def api() -> Iterator[ThirdParty]:
    """Run a service that an application calls."""
    with third_party() as party:
        yield party


@pytest.fixture
def traces() -> Traces:
    """Keep the spans of an application."""
    return Traces()


@pytest.fixture
def serve(tmp_path: Path, opened: Opened) -> Serve:
    """Give a function that serves an application which a test made itself, on the database of its folder."""

    def start(app: Any, inngest: Inngest, server: Callable[..., ThreadServer] | None = None, **options: Any) -> Site:
        return opened.add(Site.at((server or colourless.web().servers[0])(app, **options), inngest, tmp_path))

    return start


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[Callable[..., Threads]]:
    """Give a function that makes a Flask application with one handler."""
    opened: list[Threads] = []

    def start(make: Callable[[Outside], Handler], **options: Any) -> Threads:
        opened.append(Threads(tmp_path, make, **options))
        return opened[-1]

    yield start
    for application in opened:
        application.close()


def _serve(framework: Framework, server: str, folder: Path, **options: Any) -> Site:
    folder.mkdir(parents=True, exist_ok=True)
    application = framework.build(folder)
    kind = framework.threads[server or next(iter(framework.threads))]
    return Site.at(kind(application.app, **options), application.inngest, folder)
