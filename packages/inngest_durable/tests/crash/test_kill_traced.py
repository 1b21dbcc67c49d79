"""A run that survives its process has one trace, of which each process has written its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.adapters.shop import connection
from packages.inngest_durable.tests.adapters.traces import CLIENT_SPAN, SENT, TRACE
from packages.inngest_durable.tests.crash import traced_app
from testkit.effects import Effects
from testkit.forks import ForkedSite, Zygote
from testkit.site_process import SiteProcess
from testkit.waiting import wait_until


@pytest.fixture(params=["quart", "flask"])
def site(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[SiteProcess]:
    """Serve the application of `traced_app` in a process, on each framework."""
    app = f"{traced_app.__name__}:create_{request.param}_app"
    with closing(ForkedSite(zygote, app, tmp_path)) as site:
        yield site


def spans_of(site: SiteProcess, pid: int) -> dict[str, dict[str, Any]]:
    """Return the spans that a process has written, by name; each name is there once."""
    written = [span for span in traced_app.spans_in(site.folder) if span["pid"] == pid]
    named = {span["name"]: span for span in written}
    assert len(named) == len(written)
    return named


@pytest.mark.parametrize("sent", [SENT, {}], ids=["client has a trace", "client has none"])
def test_kill_in_a_step_leaves_one_trace(site: SiteProcess, sent: dict[str, str]) -> None:
    """The span of the pass that died is missing, and what it would have been the parent of is in place."""
    Effects(site.folder).arm("three", 1)
    first = site.process.popen.pid
    with connection(site.port, "/trip", sent):
        site.process.wait()
    site.restart()
    run = site.records.wait_for_only_run()
    before, after = spans_of(site, first), spans_of(site, site.process.popen.pid)
    trace_id, died = before["step one"]["parent"]
    name = next(name for name in after if name.startswith("run "))

    assert run.status == "completed"
    assert set(before) == {"step one", "step left", "step right"}
    assert set(after) == {name, "step three"}
    assert {span["self"][0] for span in (*before.values(), *after.values())} == {trace_id}
    assert {tuple(span["parent"]) for span in before.values()} == {(trace_id, died)}
    assert after["step three"]["parent"] == after[name]["self"]
    # The client's span is there to be the parent; else it is the one of the first pass.
    assert after[name]["parent"] == ([TRACE, CLIENT_SPAN] if sent else [trace_id, died])
    assert after[name]["facts"].items() >= {"run_id": run.id, "pass": "reentry", "epoch": 2}.items()


def test_kill_while_a_client_waits_leaves_one_trace(site: SiteProcess) -> None:
    """The client's request, the next process's pass, and the client's next request, which waits for it."""
    first = site.process.popen.pid
    location = site.get("/flaky?ms=1500").headers["location"]
    site.process.kill()
    site.restart()
    answer = site.get(location)
    wait_until(lambda: len(traced_app.spans_in(site.folder)) == 7, "all spans to be written")
    before, after = spans_of(site, first), spans_of(site, site.process.popen.pid)
    (began,) = (span for name, span in before.items() if name.startswith("run "))
    (went_on,) = (span for name, span in after.items() if name.startswith("run "))
    (waited,) = (span for name, span in after.items() if name.startswith("wait "))

    assert answer.status_code == 200
    assert began["parent"] is None
    assert went_on["parent"] == waited["parent"] == began["self"]
    assert (began["facts"]["outcome"], went_on["facts"]["outcome"]) == ("interrupted", "completed")
    assert began["facts"]["worker"] != went_on["facts"]["worker"]
    assert [before["step flaky"]["facts"]["attempt"], after["step flaky"]["facts"]["attempt"]] == [1, 2]
    assert set(before) - {began["name"]} == {"step one", "step flaky"}
    assert set(after) - {went_on["name"], waited["name"]} == {"step flaky", "step two"}
