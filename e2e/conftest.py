"""
Fixtures: `trip_booker` is the app under its supervisor, `page` is a browser's page on it.

When a test fails, what the app printed is part of the report, and a screenshot and a trace of the page
(`playwright show-trace FILE`) are left in e2e/failures/.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from e2e.booking_page import is_expected, note_console_errors
from e2e.browser import LAUNCH_FLAGS, find_chromium
from e2e.trip_booker import ROOT, SUPERVISED, TripBooker
from testkit.ports import free_port
from testkit.processes import Process, answer_status

FAILURES = Path(__file__).parent / "failures"

app_of_test = pytest.StashKey[TripBooker]()
failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person watch: `nox -s e2e -- --headed`; or take the README's picture: `nox -s e2e -- --picture`."""
    parser.addoption("--headed", action="store_true", help="show the browser, and let it act slowly")
    parser.addoption("--picture", action="store_true", help="write docs/trip-booker.png anew")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed, and add what its app printed to the report."""
    report = yield
    if report.failed:
        item.stash[failed] = True
        if app := item.stash.get(app_of_test, None):
            report.sections.append(("output of the trip booker", app.output))
    return report


@pytest.fixture
def program() -> Sequence[str]:
    """Return which module is the app, for a test that parametrizes another one."""
    return SUPERVISED


@pytest.fixture
def trip_booker(tmp_path: Path, program: Sequence[str], request: pytest.FixtureRequest) -> Iterator[TripBooker]:
    """Start the app under its supervisor: own port, database and outside world, no latency but what a test asks for."""
    app = TripBooker(tmp_path, program=program, speed=getattr(request, "param", 0))
    request.node.stash[app_of_test] = app
    try:
        app.wait_ready()
        yield app
    finally:
        app.stop()


@pytest.fixture
def flask_url(tmp_path: Path) -> Iterator[str]:
    """Start the Flask example, and return its URL."""
    port = free_port()
    folder = tmp_path / "flask"
    folder.mkdir()
    path = f"{ROOT / 'apps' / 'bun_equivalent'}:{ROOT}"
    environment = {"PORT": str(port), "INNGEST_DURABLE_DB": str(folder / "durable.db"), "PYTHONPATH": path}
    process = Process([sys.executable, "-m", "e2e.flask_app"], env=environment, cwd=folder, log=folder / "log")
    url = f"http://127.0.0.1:{port}"

    try:
        process.wait_ready(lambda: answer_status(port, "/wait") == 400)
        yield url
    finally:
        process.stop()
        sys.stdout.write(process.output)


@pytest.fixture(scope="session")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """Start a browser, once for all tests."""
    headed = bool(pytestconfig.getoption("--headed"))
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=LAUNCH_FLAGS, headless=not headed, slow_mo=500 if headed else 0
        )
        expect.set_options(timeout=20_000)
        yield browser
        browser.close()


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return the settings of the page's browser profile, for a test that parametrizes them: size, colour scheme."""
    return {}


@pytest.fixture
def console_errors() -> list[str]:
    """Collect what the browser's console shows as an error, uncaught exceptions included."""
    return []


@pytest.fixture
def page(
    browser: Browser,
    settings: dict[str, Any],
    trip_booker: TripBooker,
    console_errors: list[str],
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """
    Open a page of a new browser profile, whose relative addresses are those of the app.

    The consoles of its tabs are read, and an error in them that no test expects fails the test.
    """
    context = browser.new_context(base_url=trip_booker.url, **settings)
    note_console_errors(context, console_errors)
    # Not screenshots: filming every test costs more than all the rest of it.
    context.tracing.start(snapshots=True)
    page = context.new_page()
    yield page
    trace = None
    if request.node.stash.get(failed, False):
        FAILURES.mkdir(exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", request.node.name)
        for number, tab in enumerate(context.pages, 1):
            tab.screenshot(path=FAILURES / f"{name}-{number}.png", full_page=True)
        trace = FAILURES / f"{name}.zip"
    # Also without a path: a trace that is not stopped leaves its folder among the system's temporary files.
    context.tracing.stop(path=trace)
    context.close()
    assert [error for error in console_errors if not is_expected(error)] == []
