"""The Bun example in Flask, asked by a browser's fetch and by curl: both are redirected, and get the answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from testkit.ports import free_port
from testkit.processes import Process, answer_status

PROCESSED = {"result": {"id": "42", "status": "processed"}}
FAILED = {"error": "Operation failed after retries"}


@pytest.fixture
def example(tmp_path: Path) -> Iterator[str]:
    """Start it as its README does, on a free port; return its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bun_equivalent"]
    process = Process(command, env={"PORT": str(port)}, cwd=tmp_path, log=tmp_path / "example.log")

    try:
        process.wait_ready(lambda: answer_status(port, "/wait") == 400)
        yield url
    finally:
        process.stop()
        sys.stdout.write(process.output)


@pytest.mark.parametrize(("fail", "status", "body"), [(0, 200, PROCESSED), (1, 200, PROCESSED), (9, 500, FAILED)])
def test_fetch_gets_the_answer(browser: Browser, example: str, fail: int, status: int, body: object) -> None:
    page = browser.new_page()
    page.goto(f"{example}/wait")
    told = page.evaluate(
        "async (url) => { const answer = await fetch(url); return [answer.status, await answer.json()]; }",
        f"/process?id=42&fail={fail}",
    )
    page.close()

    assert told == [status, body]


@pytest.mark.parametrize(("fail", "body"), [(0, PROCESSED), (1, PROCESSED), (9, FAILED)])
def test_curl_gets_the_answer(example: str, fail: int, body: object) -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    done = subprocess.run([curl, "-sL", f"{example}/process?id=42&fail={fail}"], capture_output=True, timeout=60)

    assert json.loads(done.stdout) == body
