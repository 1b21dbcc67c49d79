"""The body that a run has recorded: a handler reads all of it at each pass, and a larger one is never recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inngest_durable import LimitExceededError, Limits

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import get_data, over_both, step
from testkit.records import Records

pytestmark = over_both


def measuring(folder: Path, limit: int) -> Office:
    """Return an application that sleeps, and then measures the body of the request."""
    office = make_office(folder, "sqlite", limits=Limits(request_body=limit))

    async def measure() -> dict[str, int]:
        await step.sleep("pause", "1m")
        return {"size": len(await get_data())}

    office.add("/measure", measure, ["POST"])
    return office


async def test_body_is_whole_after_the_limit_was_lowered(tmp_path: Path) -> None:
    """The limit is for what clients send from now on; the run was accepted with its body."""
    async with opened(measuring(tmp_path, 50_000)) as office:
        parked = await office.post("/measure", data=bytes(50_000))
        assert parked.status_code == 303, parked.text
    async with opened(measuring(tmp_path, 10_000)) as office:
        refused = await office.post("/measure", data=bytes(10_001))
        await office.advance("1m")

        assert refused.status_code == 413
        assert await office.end(parked.headers["location"]) == {"size": 50_000}


# As JSON the text has two quotes more.
@pytest.mark.parametrize(("length", "fits"), [(98, True), (99, False)], ids=["at the limit", "over it"])
async def test_body_for_a_child_run_has_the_limit_of_requests(tmp_path: Path, length: int, fits: bool) -> None:
    """One that is too large is refused in the handler that calls, and nothing is written; others arrive whole."""
    office = make_office(tmp_path, "sqlite", limits=Limits(request_body=100))

    async def size() -> dict[str, int]:
        return {"size": len(await get_data())}

    office.add("/size", size, ["POST"])

    async def order() -> Any:
        await step.run("begun", lambda: None)
        try:
            return await step.invoke("call", endpoint="size", json="x" * length)
        except LimitExceededError as error:
            return {"error": str(error), "run": error.run_id, "step": error.step_id}

    office.add("/order", order)
    async with opened(office):
        answer = await office.end_of(await office.get("/order"))
    records = Records(tmp_path / "durable.db")
    (parent,) = (run for run in records.runs() if run.endpoint == "order")

    if fits:
        assert answer == {"size": 100}
    else:
        assert answer["error"].startswith("request_body is 101, over the limit of 100: raise it with Inngest(limits=")
        assert (answer["run"], answer["step"]) == (parent.id, "call")
        assert [run.id for run in records.runs()] == [parent.id]
        assert list(records.steps(parent.id)) == ["begun"]
