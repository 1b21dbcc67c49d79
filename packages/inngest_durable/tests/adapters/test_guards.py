"""Re-entries pass through the application's own hooks, which may refuse them."""

from __future__ import annotations

import pytest

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site


def test_hooks_before_the_request_run_at_each_pass(site: Site) -> None:
    """The first pass and the re-entry each went through the before_request hook."""
    response = site.follow(site.get("/guarded"))

    assert response.text == "flaky#2"
    assert site.outside.counts() == {"guard": 2, "flaky": 2}


def test_refused_reentry_is_tried_again(site: Site) -> None:
    """A re-entry that a hook answers with 401 is a failed attempt of the handler, and no step runs for it."""
    response = site.follow(site.get("/guarded?times=2"))

    assert (response.status_code, response.text) == (200, "flaky#2")
    assert site.outside.counts() == {"guard": 4, "flaky": 2}
    run = site.records.wait_for_end(response.headers[RUN_ID])
    assert (run.status, run.attempt) == ("completed", 3)


def test_reentry_refused_for_good_fails_the_run(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """When the attempts are used up, the wait URL answers what the application sent, and the log says why."""
    response = site.follow(site.get("/guarded?times=1000"))

    assert (response.status_code, response.json()) == (401, {"error": "who are you?"})
    assert response.headers["www-authenticate"] == "Basic"
    assert response.headers.get_list("x-hook") == ["1"]
    assert site.outside.counts() == {"guard": 5, "flaky": 1}
    run = site.records.wait_for_end(response.headers[RUN_ID])
    assert run.status == "failed"
    assert "EndpointNotReachedError" in str(run.failure)
    assert any("401" in record.message and "/guarded" in record.message for record in caplog.records)
