"""Runs that wait for events: what wakes them, what they get, and what happens when two things come at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import Event, EventError, OutsideEndpointError
from inngest_durable._core.model import RunStatus

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import (
    Web,
    current_pass,
    over_both,
    over_quart_only,
    parallel,
    step,
)

pytestmark = over_both

APPROVED = "trip/approved"
NOBODY = {"by": None}
DAY = 86400.0


def told(event: Event | None) -> dict[str, Any]:
    """Answer who approved."""
    return {"by": event.data.get("by") if event else None}


async def approval() -> dict[str, Any]:
    """Wait for an approval of the trip that the request names."""
    return told(await step.wait_for_event("approval", event=APPROVED, match="data.trip", timeout="24h"))


def approved(trip: str = "7", by: str = "Ann", event_id: str = "") -> Event:
    """Return the approval of a trip."""
    return Event(APPROVED, {"trip": trip, "by": by}, event_id)


@pytest.fixture(params=["memory", "sqlite"])
def office(request: pytest.FixtureRequest, tmp_path: Path, web: Web) -> Office:
    """Make an application with the endpoint `approval`, not yet connected."""
    office = make_office(tmp_path, request.param)
    office.add("/approval", approval)
    return office


async def test_event_wakes_the_run_that_waits_for_it(office: Office) -> None:
    async with opened(office):
        one, other = await office.parked("/approval?trip=7"), await office.parked("/approval?trip=8")
        (event_id,) = await office.send(approved("7"))

        assert await office.end(one) == {"by": "Ann"}
        assert office.run(other).status is RunStatus.WAITING
        assert office.memo(one, "approval").result == (
            f'{{"data":{{"trip":"7","by":"Ann"}},"id":"{event_id}","name":"trip/approved",'
            f'"ts":{int(office.clock.now() * 1000)}}}'.encode()
        )
        # Once for each request, and once for the one that woke up; the others are the wait URL's.
        assert office.entered.count("/approval") == 3


async def test_event_wakes_every_run_that_waits_for_it(office: Office) -> None:
    async with opened(office):
        waiting = [await office.parked("/approval?trip=7") for _ in range(3)]
        await office.send(approved("7"))

        assert [await office.end(location) for location in waiting] == [{"by": "Ann"}] * 3


async def test_own_event_holds_the_body_over_the_query(office: Office) -> None:
    office.add("/booking", approval_of_booking, ["POST"])
    async with opened(office):
        answer = await office.post("/booking?trip=7", json={"trip": 8})
        await office.send([Event(APPROVED, {"trip": "7", "by": "Bob"}), Event(APPROVED, {"trip": 8, "by": "Ann"})])

        assert await office.end(answer.headers["location"]) == {"by": "Ann"}


async def approval_of_booking() -> dict[str, Any]:
    """Do the same for a request with a body."""
    return await approval()


async def test_event_with_the_same_id_counts_once(office: Office) -> None:
    async with opened(office):
        await office.send(approved(event_id="a1"))
        location = await office.parked("/approval?trip=7")
        ids = await office.send([approved(event_id="a1"), approved("8", event_id="a1")])
        await office.clock.settle()

        assert ids == ["a1", "a1"]
        assert office.run(location).status is RunStatus.WAITING

        await office.clock.advance("23h")
        await office.send(approved(event_id="a2", by="Bob"))

        assert await office.end(location) == {"by": "Bob"}


async def test_wait_ends_with_nothing_when_its_time_has_come(office: Office) -> None:
    async with opened(office):
        location = await office.parked("/approval?trip=7")
        await office.clock.advance("23h")

        assert office.run(location).status is RunStatus.WAITING

        await office.clock.advance("1h")

        assert await office.end(location) == NOBODY

        # Too late: what the run has ended with stays.
        await office.send(approved())

        assert await office.end(location) == NOBODY


async def test_reentry_waits_on_for_the_time_that_was_recorded_first(office: Office) -> None:
    office.add("/two", two_waits)
    async with opened(office):
        location = await office.parked("/two")
        await office.clock.advance("1h")
        # The other wait has ended meanwhile, and the handler was entered again.
        assert office.memo(location, "short").is_final
        await office.clock.advance("23h")

        assert await office.end(location) == [NOBODY, NOBODY]


async def two_waits() -> list[Any]:
    """Wait for two events at the same time."""
    events = await parallel(
        lambda: step.wait_for_event("short", event="short", timeout="1h"),
        lambda: step.wait_for_event("long", event="long", timeout="24h"),
    )
    return list(map(told, events))


async def test_first_of_two_waits_does_not_end_the_other(office: Office) -> None:
    office.add("/two", two_waits)
    async with opened(office):
        location = await office.parked("/two")
        await office.send(Event("long", {"by": "Ann"}))
        await office.clock.settle()
        await office.send(Event("short", {"by": "Bob"}))

        assert await office.end(location) == [{"by": "Bob"}, {"by": "Ann"}]


@over_quart_only
@pytest.mark.parametrize("first", ["event", "timeout"])
async def test_event_and_timeout_at_the_same_moment_have_one_result(tmp_path: Path, first: str) -> None:
    """
    Whichever is recorded first counts, the pass goes on with it, and the run completes.

    On Flask a pass does not wait in place: see the test of the re-entry below.
    """
    office = make_office(tmp_path, "memory")
    office.add("/held", held_beside(office))
    async with opened(office):
        answering = asyncio.create_task(office.get("/held"))
        await office.clock.settle()
        began = office.clock.now()
        if first == "event":
            sending = asyncio.ensure_future(office.inngest.send(approved()))
            await asyncio.sleep(0)
            await office.clock.advance("24h")
        else:
            advancing = asyncio.ensure_future(office.clock.advance("24h"))
            # Up to where the timer has fired, and the end of the wait is on its way to the store.
            while office.clock.now() < began + DAY:
                await asyncio.sleep(0)
            for _ in range(3):
                await asyncio.sleep(0)
            sending = asyncio.ensure_future(office.inngest.send(approved()))
            await advancing
        await sending
        office.gate("work").set()
        answer = await answering
        result = answer.json
        memo = office.store.memo(answer.headers["x-inngest-run-id"], "approval")

        assert answer.status_code == 200
        assert result == (["work", {"by": "Ann"}] if first == "event" else ["work", NOBODY])
        assert memo is not None
        assert (memo.result == b"null") is (first == "timeout")


@pytest.mark.parametrize("first", ["event", "timeout"])
async def test_event_at_the_reentry_of_a_timeout_has_one_result(office: Office, first: str) -> None:
    """It comes before the time is up, or so late that the run has been claimed for that: then it is too late."""

    @office.app.before_request
    async def hold() -> None:
        if current_pass() == "reentry":
            office.gate("entered").set()
            await office.pause("enter")

    async with opened(office):
        location = await office.parked("/approval?trip=7")
        if first == "event":
            await office.send(approved())
        advancing = asyncio.create_task(office.advance("24h"))
        await office.reached("entered")
        if first == "timeout":
            await office.send(approved())
        office.gate("enter").set()
        await advancing

        assert await office.end(location) == {"by": "Ann" if first == "event" else None}
        assert (office.memo(location, "approval").result == b"null") is (first == "timeout")
        assert office.run(location).epoch == 2


def held_beside(office: Office) -> Callable[[], Awaitable[Any]]:
    """Return a handler that waits for an approval while another step executes, so that the pass stays alive."""

    async def held() -> list[Any]:
        work, event = await parallel(
            lambda: step.run("work", office.held, "work"),
            lambda: step.wait_for_event("approval", event=APPROVED, timeout="24h"),
        )
        return [work, told(event)]

    return held


async def waits(office: Office, key: str = "approval") -> str:
    """Return the ID of the one run there is, once its step *key* waits."""
    async with asyncio.timeout(20):
        while True:
            for due in [*office.store.orphans(office.store.workers()), *office.store.due("office", math.inf, 9)]:
                memo = office.store.memo(due.run_id, key)
                if memo is not None and not memo.is_final:
                    run_id: str = due.run_id
                    return run_id
            await asyncio.sleep(0)


async def test_event_during_a_pass_is_taken_once(office: Office, web: Web) -> None:
    """
    On Quart the pass goes on in place: no redirect, no re-entry, and none later for what was seen to.

    On Flask the branch that waits has left its thread; the next pass takes the event, as soon as this one has ended.
    """
    office.add("/held", held_beside(office))
    async with opened(office):
        answering = asyncio.create_task(office.get("/held"))
        run_id = await waits(office)
        await office.send(approved())
        office.gate("work").set()
        answer = await answering

        assert answer.status_code == (303 if web.blocks else 200)
        assert await office.end_of(answer) == ["work", {"by": "Ann"}]
        # The end of the run waits for another write.
        await office.written()
        run = office.store.run(run_id)
        assert run is not None
        assert run.epoch == (2 if web.blocks else 1)
        assert office.store.arrived() == []


async def test_run_is_not_entered_again_for_an_event_that_a_pass_has_taken(office: Office, web: Web) -> None:
    async def then() -> list[Any]:
        _, event = await held_beside(office)()
        await step.sleep("pause", "1h")
        return [event]

    office.add("/then", then)
    async with opened(office):
        answering = asyncio.create_task(office.get("/then"))
        run_id = await waits(office)
        await office.send(approved())
        office.gate("work").set()
        location = (await answering).headers["location"]
        await office.clock.settle()
        run = office.store.run(run_id)

        assert run is not None
        assert (run.status, run.epoch) == (RunStatus.WAITING, 2 if web.blocks else 1)

        await office.clock.advance("1h")

        assert await office.end(location) == [{"by": "Ann"}]


async def test_event_between_the_wait_and_the_park_is_not_lost(tmp_path: Path) -> None:
    """The event is recorded right after the wait, before the pass has noticed that it is quiet."""
    office = make_office(tmp_path, "memory")
    office.add("/approval", approval)
    async with opened(office):
        for turns in range(30):
            answering = asyncio.create_task(office.get(f"/approval?trip={turns}"))
            await waits(office)
            for _ in range(turns):
                await asyncio.sleep(0)
            await office.send(approved(str(turns)))

            assert await office.end_of(await answering) == {"by": "Ann"}, turns


async def test_since_run_takes_an_event_that_came_before_the_wait(office: Office) -> None:
    def handler(name: str, since: Any) -> Callable[[], Awaitable[Any]]:
        async def late() -> dict[str, Any]:
            await step.run("work", office.held, "work")
            return told(await step.wait_for_event("approval", event=APPROVED, timeout="24h", since=since))

        late.__name__ = name
        return late

    office.add("/since", handler("since", "run"))
    office.add("/later", handler("later", None))
    async with opened(office):
        await office.send(approved(by="too early"))
        await office.clock.advance(1)
        since, later = (asyncio.create_task(office.get(path)) for path in ("/since", "/later"))
        while len(office.store.orphans(office.store.workers())) < 2:
            await asyncio.sleep(0)
        await office.send(approved())
        office.gate("work").set()
        answer, location = await since, (await later).headers["location"]

        assert answer.json == {"by": "Ann"}
        assert office.run(location).status is RunStatus.WAITING

        await office.clock.advance("24h")

        assert await office.end(location) == NOBODY


async def test_since_run_gives_one_event_after_the_other(office: Office) -> None:
    async def loop() -> list[Any]:
        got = [await step.wait_for_event("note", event=APPROVED, timeout="1h", since="run") for _ in range(3)]
        return [told(event)["by"] for event in got]

    office.add("/loop", loop)
    async with opened(office):
        location = await office.parked("/loop")
        await office.send([approved(by=name) for name in "abc"])

        assert await office.end(location) == ["a", "b", "c"]


@pytest.mark.parametrize(("amount", "by"), [(90, "Ann"), (110, None)])
async def test_expression_decides(office: Office, amount: int, by: str | None) -> None:
    async def budget() -> dict[str, Any]:
        rule = "async.data.amount <= int(event.data.budget)"
        return told(await step.wait_for_event("approval", event=APPROVED, if_exp=rule, timeout="1h"))

    office.add("/budget", budget)
    async with opened(office):
        location = await office.parked("/budget?budget=100")
        await office.send([Event(APPROVED), Event(APPROVED, {"amount": amount, "by": "Ann"})])
        await office.clock.settle()
        await office.clock.advance("1h")

        assert await office.end(location) == {"by": by}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"match": "data.booking"}, "has no such field"),
        ({"match": "booking"}, "a path into the event"),
        ({"if_exp": "async.data.n >"}, "is no CEL expression"),
        ({"since": "begin"}, "since is None"),
    ],
)
async def test_wait_that_cannot_work_fails_when_it_is_reached(
    office: Office, options: dict[str, Any], fault: str
) -> None:
    """The error is raised in the handler, which may go on; nothing of the wait is recorded."""

    async def wrong() -> list[str]:
        try:
            await step.wait_for_event("approval", event=APPROVED, timeout="1h", **options)
        except EventError as error:
            return [str(error), await step.run("after", office.held, "after")]
        return []

    office.gate("after").set()
    office.add("/wrong", wrong)
    async with opened(office):
        answer = await office.get("/wrong")
        text, after = answer.json

        assert fault in text
        assert after == "after"
        assert [memo.key for memo in office.store.memos(answer.headers["x-inngest-run-id"])] == ["after"]


async def test_step_sends_its_events_once(office: Office) -> None:
    async def sender() -> list[str]:
        ids = await step.send_event("tell", [approved(), approved("8", event_id="mine")])
        await step.sleep("pause", "1h")
        return ids

    office.add("/sender", sender)
    async with opened(office):
        waiting = [await office.parked(f"/approval?trip={trip}") for trip in (7, 8)]
        location = await office.parked("/sender")

        assert [await office.end(other) for other in waiting] == [{"by": "Ann"}] * 2

        late = await office.parked("/approval?trip=7")
        await office.clock.advance("1h")

        # The replay has sent nothing.
        assert await office.end(location) == [f"{office.run(location).id}:tell:0", "mine"]
        assert office.run(late).status is RunStatus.WAITING


async def test_event_that_cannot_be_sent_is_no_step(office: Office) -> None:
    async def sender() -> str:
        try:
            await step.send_event("tell", [approved(), Event("x", {"at": object()})])
        except EventError as error:
            return error.what
        return ""

    office.add("/sender", sender)
    async with opened(office):
        waiting = await office.parked("/approval?trip=7")
        answer = await office.get("/sender")

        assert "the data of event 'x' has no JSON form" in answer.text
        assert office.run(waiting).status is RunStatus.WAITING
        with pytest.raises(EventError):
            await office.send([approved(), Event("x", {"at": object()})])
        assert office.run(waiting).status is RunStatus.WAITING


def test_wait_outside_an_endpoint_is_an_error() -> None:
    for call in (
        lambda: step.wait_for_event("a", event="b", timeout="1h"),
        lambda: step.send_event("a", Event("b")),
        lambda: step.wait_for_signal("a", signal="b", timeout="1h"),
        lambda: step.send_signal("a", "b"),
        lambda: step.invoke("a", endpoint="b"),
    ):
        with pytest.raises(OutsideEndpointError):
            call()


def test_wait_needs_a_duration() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        _ = step.wait_for_event("a", event="b", timeout="soon")


async def test_wait_inside_a_step_is_an_error(office: Office) -> None:
    async def inner() -> None:
        await step.wait_for_event("inner", event="b", timeout="1h")

    async def outer() -> str:
        try:
            await step.run("outer", inner)
        except Exception as error:
            return str(error)
        return ""

    office.add("/outer", outer)
    async with opened(office):
        assert "step 'inner' was started inside step 'outer'" in (await office.get("/outer")).text
