"""Log records that tell of a run carry its ID, and that of the step, for formatters and filters."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import inngest_durable
import pytest
from inngest_durable._logs import logger

from packages.inngest_durable.tests.adapters.site import RUN_ID, Site

ROOT = Path(inngest_durable.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def messages() -> list[tuple[str, str]]:
    """Return each message that the package logs, as it is written, with the module that does."""
    calls = [
        (path.relative_to(ROOT).as_posix(), node.args[0])
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in [f"logger.{level}" for level in LEVELS]
    ]
    # Those that a function makes are covered by a failing handler below.
    return sorted({(module, str(found.value)) for module, found in calls if isinstance(found, ast.Constant)})


def logged(caplog: pytest.LogCaptureFixture, message: str, *arguments: object) -> logging.LogRecord:
    """Return the record of a message."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        logger.info(message, *arguments)
    (record,) = caplog.records
    return record


@pytest.mark.parametrize(("module", "message"), messages())
def test_message_that_names_a_run_or_a_step_says_so_as_the_filter_reads_it(
    caplog: pytest.LogCaptureFixture, module: str, message: str
) -> None:
    """By the logger that has the filter; and a step never without its run."""
    places = list(re.finditer(r"%[.\d]*[a-z]", message))
    values = {place.start(): f"value{n}" if place[0][-1] in "rs" else n for n, place in enumerate(places)}
    record = logged(caplog, message, *values.values())

    for sign, attribute in (("[run=", "run_id"), ("step ", "step")):
        at = message.find(f"{sign}%")
        expected = None if at < 0 else values[at + len(sign)]
        assert getattr(record, attribute, None) == expected
    assert ("run=" in message) == hasattr(record, "run_id")
    assert hasattr(record, "run_id") or not hasattr(record, "step")
    source = (ROOT / module).read_text()
    assert not hasattr(record, "run_id") or 'getLogger("inngest_durable")' in source


def test_texts_of_others_are_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """An exception's message may look like ours."""
    record = logged(caplog, "step %r failed: %s [run=%s]", "pay", "in step 'x' [run=another]", "01JA")

    assert (getattr(record, "run_id", None), getattr(record, "step", None)) == ("01JA", "pay")
    assert not hasattr(logged(caplog, "%s", "step 'x' [run=another]"), "run_id")


def test_failed_attempt_of_a_step_is_logged_with_run_and_step(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    run_id = site.get("/book?fail=1").headers[RUN_ID]
    site.records.wait_for_end(run_id)

    (failure,) = (vars(record) for record in caplog.records if hasattr(record, "run_id"))
    assert (failure["run_id"], failure["step"]) == (run_id, "charge")


def test_failed_attempt_of_a_handler_is_logged_with_its_run(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    run_id = site.get("/handler-fails?times=1").headers[RUN_ID]
    site.records.wait_for_end(run_id)

    (failure,) = (record for record in caplog.records if hasattr(record, "run_id"))
    assert (getattr(failure, "run_id", None), getattr(failure, "step", None)) == (run_id, None)


def test_nothing_is_logged_where_nothing_fails(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inngest_durable"):
        run_id = site.get("/book").headers[RUN_ID]
        site.records.wait_for_end(run_id)

    assert [record.getMessage() for record in caplog.records if record.name.startswith("inngest_durable")] == []
