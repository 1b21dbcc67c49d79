"""A page of one origin uses a durable endpoint of another one, in Flask, and follows it to its wait URL."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

FETCH = """async (url) => {
    const response = await fetch(url);
    const { pathname } = new URL(response.url);
    return { status: response.status, redirected: response.redirected, pathname, body: await response.json() };
}"""


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
