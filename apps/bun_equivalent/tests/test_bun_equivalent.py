"""The example as its README shows it: one process, real requests, and a kill."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testkit.ports import free_port
from testkit.processes import Process, answer_status

PROGRAM = Path(__file__).parents[1] / "bun_equivalent.py"
PROCESSED = {"result": {"id": "42", "status": "processed"}}


class Example:
    """The running example, with its files in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process = self._started()

    def _started(self) -> Process:
        environment = {"PORT": str(self.port)}
        log = self.folder / "example.log"
        process = Process([sys.executable, str(PROGRAM)], env=environment, cwd=self.folder, log=log)
        process.wait_ready(lambda: answer_status(self.port, "/wait") == 400)
        return process

    def restart(self) -> None:
        """Kill the process, then start it again on the same files."""
        self.process.kill()
        self.process = self._started()

    def get(self, path: str, *, follow: bool = True) -> httpx.Response:
        """Send a request as `curl`, or `curl -L`, does."""
        return httpx.get(f"{self.url}{path}", follow_redirects=follow, timeout=30)

    def calls(self) -> list[int]:
        """Return how often the API was called, for each run."""
        return sorted(len(file.read_text()) for file in self.folder.glob(".inngest/calls/*"))


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    """Start the example as the README does, on a free port."""
    example = Example(tmp_path)
    try:
        yield example
    finally:
        example.process.stop()
        sys.stdout.write(example.process.output)


def test_address_is_told_at_the_start(example: Example) -> None:
    assert f"Serving on {example.url}" in example.process.output


def test_item_is_processed_in_one_response(example: Example) -> None:
    answer = example.get("/process?id=42", follow=False)

    assert (answer.status_code, answer.json()) == (200, PROCESSED)
    assert example.calls() == [1]


def test_failed_step_is_retried_while_the_client_waits(example: Example) -> None:
    # Twice: one pause, which is a random share of a second, may be over before it is on disk.
    answer = example.get("/process?id=42&fail=2")

    assert (answer.status_code, answer.json()) == (200, PROCESSED)
    assert [redirect.status_code for redirect in answer.history] == [303]
    assert answer.url.path == "/wait"
    assert {"runId", "token"} <= set(answer.url.params)
    assert example.calls() == [3]


def test_exhausted_retries_give_the_answer_of_the_reference(example: Example) -> None:
    answer = example.get("/process?id=42&fail=9")

    assert (answer.status_code, answer.json()) == (500, {"error": "Operation failed after retries"})
    assert example.calls() == [4]


def test_run_goes_on_after_a_kill(example: Example) -> None:
    """The client waits again where it was sent to, and gets the answer."""
    redirect = example.get("/process?id=42&fail=2", follow=False)
    example.restart()
    answer = example.get(redirect.headers["location"])

    assert (answer.status_code, answer.json()) == (200, PROCESSED)
    assert example.calls() == [3]


def test_wait_url_answers_a_preflight(example: Example) -> None:
    """A browser on another origin may wait, too."""
    answer = httpx.options(f"{example.url}/wait", headers={"Origin": "http://localhost:5173"}, timeout=30)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
