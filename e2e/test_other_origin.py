"""A page of one origin uses a durable endpoint of another one, in Flask, and follows it to its wait URL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from testkit.ports import free_port
from testkit.processes import Process, answer_status

ROOT = Path(__file__).parents[1]

FETCH = """async (url) => {
    const response = await fetch(url);
    const { pathname } = new URL(response.url);
    return { status: response.status, redirected: response.redirected, pathname, body: await response.json() };
}"""


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


# Two failures: one pause, which is a random share of a second, may be over before it is on disk.
@pytest.mark.parametrize(
    ("failures", "redirected", "path"), [(0, False, "/process"), (2, True, "/wait")], ids=["at once", "after retries"]
)
def test_page_of_another_origin_gets_the_answer(
    failures: int, redirected: bool, path: str, flask_url: str, page: Page, console_errors: list[str]
) -> None:
    """The browser follows the redirect to the wait URL, and lets the page read what it finds there."""
    page.goto("/")

    answer = page.evaluate(FETCH, f"{flask_url}/process?id=42&fail={failures}")

    assert answer["body"] == {"result": {"id": "42", "status": "processed"}}
    assert (answer["status"], answer["redirected"], answer["pathname"]) == (200, redirected, path)
    assert console_errors == []
