"""`progress`: where it may be called, with what, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inngest_durable import OutsideStepError, StepOptions, StepValueError, progress
from inngest_durable._core.run_events import MOST_PROGRESS

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from packages.inngest_durable.tests.follow.listener import follow, kinds
from testkit.colourless import Web, step


def test_progress_outside_a_step_is_an_error() -> None:
    with pytest.raises(OutsideStepError, match="outside a step's function"):
        progress("hello")


@pytest.fixture
def office(web: Web, tmp_path: Path) -> Office:
    """Make an application, not yet connected."""
    return make_office(tmp_path, "memory")


def endless() -> list[Any]:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> list[Any]:
    """Return lists in lists, more than can be followed; Python 3.14 follows some ten thousand."""
    found: list[Any] = []
    for _ in range(500_000):
        found = [found]
    return found


NO_JSON = "data without a JSON form"


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        pytest.param(7, {}, "takes a text, not int", id="no text"),
        pytest.param("text", {"value": object()}, NO_JSON, id="object"),
        pytest.param("text", {"value": endless()}, NO_JSON, id="endless"),
        pytest.param("text", {"value": deep()}, NO_JSON, id="deep"),
    ],
)
async def test_progress_that_cannot_be_told_fails_the_step(
    office: Office, text: Any, data: dict[str, Any], said: str
) -> None:
    """At once: the same call would fail again."""
    calls = []

    async def tell() -> None:
        calls.append(text)
        progress(text, **data)

    async def handler() -> dict[str, str]:
        with pytest.raises(Exception, match=said) as raised:
            await step.run(StepOptions("tell", retries=3), tell)
        return {"error": str(getattr(raised.value, "name", ""))}

    office.add("/", handler)
    async with opened(office):
        assert await office.end("/") == {"error": StepValueError.__name__}
    assert len(calls) == 1


async def test_progress_in_the_handler_is_an_error(office: Office) -> None:
    """Code between steps runs again on every pass, so it would be told again."""

    async def handler() -> dict[str, str]:
        await step.run("one", lambda: None)
        with pytest.raises(OutsideStepError):
            progress("hello")
        return {"progress": "refused"}

    office.add("/", handler)
    async with opened(office):
        assert await office.end("/") == {"progress": "refused"}


def test_progress_is_limited(site: Site) -> None:
    """In size and number; what is left out is told, and the step goes on."""
    run_id = site.get("/chatty").headers[RUN_ID]
    events = list(follow(site.client, f"/_inngest/runs/{run_id}/events?token={site.inngest.engine.token(run_id)}"))
    told = [event.data for event in events if event.kind == "step.progress"]

    assert len(told) == MOST_PROGRESS + 1
    assert len(told[0]["text"]) == 1000
    assert told[0]["text"].endswith("…")
    assert "data" not in told[0]
    assert "not recorded" in told[-1]["text"]
    assert kinds(events)[-3:] == ["step.completed talk", "run.completed", "result"]
