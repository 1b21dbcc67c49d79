"""The command on a file while servers run on it: they notice what it has done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.adapters.frameworks import FRAMEWORKS, Framework
from packages.inngest_durable.tests.ops.command import Command
from testkit.site_process import SiteProcess
from testkit.waiting import wait_until


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.name)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application in a process, by each framework's first server."""
    framework: Framework = request.param
    with closing(SiteProcess(next(iter(framework.commands.values())), tmp_path)) as site:
        yield site


def test_cancel_stops_a_run_in_the_midst_of_a_step(server: SiteProcess, command: Command) -> None:
    """The client is told, no further step runs, and what the step in flight did is not recorded."""
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(server.get, "/held")
        server.outside.wait_for("two")
        run_id = server.records.wait_for_only_run("running").id
        shown = command.json("show", run_id)
        printed = command.output("cancel", run_id)
        server.outside.open("two")
        answer = _followed(server, asking.result())

    assert (shown["status"], shown["worker"] is not None) == ("running", True)
    assert [step["key"] for step in shown["steps"]] == ["one"]
    assert printed == f"cancelled {run_id}\n"
    assert answer.status_code == 410
    assert server.outside.counts() == {"one": 1, "two": 1}
    assert list(server.records.steps(run_id)) == ["one"]


def test_cancel_lets_go_who_waits_for_the_run(server: SiteProcess, command: Command) -> None:
    redirect = server.get("/long-sleep")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(server.get, redirect.headers["location"])
        script = Command(command.database, is_script=True)
        script.output("cancel", redirect.headers["x-inngest-run-id"])
        answer = waiting.result()

    assert answer.status_code == 410


def test_retry_is_entered_by_the_server(server: SiteProcess, command: Command) -> None:
    """Its steps run again, the one included that had completed, and the run that failed stays."""
    failed = server.get("/breaks-at-once")
    old_id = failed.headers["x-inngest-run-id"]
    server.records.wait_for_end(old_id)
    before = server.outside.counts()
    new_id = command.output("retry", old_id).strip()
    again = server.records.wait_for_end(new_id)

    assert failed.status_code == 500
    assert (before["reserve"], server.outside.counts()["reserve"]) == (1, 2)
    assert (again.status, list(server.records.steps(new_id))) == ("failed", ["reserve"])
    assert command.json("list", "--status", "failed")[1]["id"] == old_id


def test_retry_without_a_server_is_entered_by_the_next(server: SiteProcess, command: Command) -> None:
    redirect = server.get("/sleep?ms=3600000")
    run_id = redirect.headers["x-inngest-run-id"]
    command.output("cancel", run_id)
    server.process.kill()
    new_id = command.output("retry", run_id).strip()
    before = command.json("show", new_id)
    server.restart()
    wait_until(lambda: "before" in server.records.steps(new_id), "the run to be entered")

    assert (before["status"], before["events"][0]["kind"]) == ("waiting", "run.started")
    assert server.outside.counts() == {"before": 2}


def test_prune_does_not_disturb_a_server(server: SiteProcess, command: Command) -> None:
    """What has ended is deleted, what has not goes on."""
    ended = server.get("/book").headers["x-inngest-run-id"]
    server.records.wait_for_end(ended)
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(server.get, "/held")
        server.outside.wait_for("two")
        printed = command.output("prune", "--older-than", "0s")
        server.outside.open("two")
        answer = _followed(server, asking.result())

    assert printed == "deleted 1 runs and 0 events\n"
    assert server.records.run(ended) is None
    assert answer.status_code == 200


def _followed(server: SiteProcess, answer: httpx.Response) -> httpx.Response:
    """Go where redirects lead, up to the answer."""
    while answer.status_code == 303:
        answer = server.get(answer.headers["location"])
    return answer
