"""Steps and handlers that fail, for a time or for good."""

from __future__ import annotations

import pytest

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site


def test_exhausted_step_can_be_caught(site: Site) -> None:
    """The handler catches the StepError, compensates in a step, and answers what it likes."""
    response = site.follow(site.get("/caught"))

    assert response.status_code == 402
    assert response.json() == {
        "error": "OutageError",
        "message": "charge is down",
        "attempts": 4,
        "then": "release#1",
    }
    assert site.outside.counts() == {"charge": 4, "release": 1}
    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "completed"


def test_uncaught_step_error_goes_to_the_error_handler(site: Site) -> None:
    """After the last attempt the framework's error handler answers at the wait URL, and the run has failed."""
    redirect = site.get("/uncaught")
    response = site.follow(redirect)

    assert redirect.status_code == 303
    assert (response.status_code, response.json()) == (502, {"step": "charge", "error": "OutageError"})
    assert site.outside.counts() == {"charge": 4}
    run = site.records.wait_for_end(response.headers[RUN_ID])
    assert run.status == "failed"
    assert "OutageError" in str(run.failure)


def test_uncaught_step_error_at_the_first_pass_answers_at_once(site: Site) -> None:
    """Without retries the same error page comes in the same response."""
    response = site.get("/uncaught-at-once")

    assert (response.status_code, response.json()) == (502, {"step": "charge", "error": "OutageError"})
    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "failed"


def test_handler_error_is_retried_with_steps_memoized(site: Site) -> None:
    """An exception that leaves the handler is one failed attempt of it: its steps do not run again."""
    response = site.follow(site.get("/handler-fails?times=3"))

    assert (response.status_code, response.text) == (200, "confirm#1")
    assert site.outside.counts() == {"reserve": 1, "handler": 4, "confirm": 1}
    run = site.records.wait_for_end(response.headers[RUN_ID])
    assert (run.status, run.attempt) == ("completed", 4)


def test_exhausted_handler_goes_to_the_error_handler(site: Site) -> None:
    """When the handler's attempts are used up, the framework's error handler answers."""
    response = site.follow(site.get("/handler-fails?times=4"))

    assert (response.status_code, response.json()) == (503, {"outage": "handler is down"})
    assert site.outside.counts() == {"reserve": 1, "handler": 4}
    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "failed"


def test_exhausted_handler_without_an_error_handler_answers_500(site: Site) -> None:
    """Without an error handler of the application the client sees the framework's own 500 page."""
    response = site.follow(site.get("/breaks"))

    assert response.status_code == 500
    assert "Internal Server Error" in response.text
    assert site.outside.counts() == {"reserve": 1, "handler": 4}
    assert response.headers.get_list("x-hook") == ["1"]


def test_failed_handler_answers_500_at_the_first_pass(site: Site) -> None:
    """Without retries the framework's own 500 page comes in the same response, and the run has failed."""
    response = site.get("/breaks-at-once")

    assert response.status_code == 500
    assert "Internal Server Error" in response.text
    assert response.headers.get_list("x-hook") == ["1"]
    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "failed"


def test_error_before_the_first_step_is_not_retried(site: Site) -> None:
    """No run was accepted yet, so the framework answers at once, as without this package."""
    response = site.get("/fails-early")

    assert (response.status_code, response.json()) == (503, {"outage": "handler is down"})
    assert site.outside.counts() == {"handler": 1}
    site.records.wait_for_end(site.get("/book").headers[RUN_ID])
    assert len(site.records.runs()) == 1


@pytest.mark.parametrize("query", ["", "?steps=1"])
def test_abort_in_the_handler_is_an_answer(site: Site, query: str) -> None:
    """The framework's own HTTP exceptions are answers: not retried, with or without steps before them."""
    response = site.get(f"/missing{query}")

    assert response.status_code == 404
    assert "no such trip" in response.text
    assert site.outside.counts()["handler"] == 1


def test_abort_after_a_step_completes_the_run(site: Site) -> None:
    """A run that answered 404 has not failed."""
    response = site.get("/missing?steps=1")

    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "completed"


def test_abort_in_a_step_is_an_ordinary_error(site: Site) -> None:
    """Inside a step an HTTP exception is retried and ends as a StepError."""
    response = site.follow(site.get("/missing-in-step"))

    assert (response.status_code, response.json()) == (409, {"error": "NotFound", "attempts": 4})
    assert site.outside.counts() == {"look-up": 4}


def test_non_retriable_error_is_not_retried(site: Site) -> None:
    """One attempt, and the StepError is there in the same response."""
    response = site.get("/non-retriable")

    assert (response.status_code, response.json()) == (402, {"error": "NonRetriableError", "attempts": 1})
    assert site.outside.counts() == {"charge": 1}


def test_handler_errors_are_logged_with_their_traceback(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt of a handler is logged when it happens, with run and traceback."""
    response = site.follow(site.get("/handler-fails?times=2"))
    logged = [record for record in caplog.records if "the handler failed at attempt" in record.message]

    assert [record.levelname for record in logged] == ["WARNING", "WARNING"]
    assert all(response.headers[RUN_ID] in record.message for record in logged)
    assert all(record.exc_info and "OutageError" in repr(record.exc_info[1]) for record in logged)


def test_step_errors_are_logged_with_their_traceback(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt of a step is logged when it happens, with run, step and traceback."""
    response = site.follow(site.get("/book?fail=2"))
    logged = [record.message for record in caplog.records if "step 'charge' failed at attempt" in record.message]

    assert len(logged) == 2
    assert all(response.headers[RUN_ID] in message and "Traceback" in message for message in logged)
