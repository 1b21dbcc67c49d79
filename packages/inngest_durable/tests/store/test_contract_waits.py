"""How every store completes steps that wait for events, signals and other runs, whatever their runs do meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from inngest_durable._core.effects import Along, Invoke, SendEvents, SendSignal, StopWaiting
from inngest_durable._core.events import SentEvent
from inngest_durable._core.invoke_flow import family
from inngest_durable._core.matching import Conditions, WaitFor
from inngest_durable._core.model import Failure, Finish, Memo, Park, RecordedResponse, Run, RunStatus, StepOp, StepState
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import (
    AddEvents,
    AddSignal,
    CancelRun,
    ClaimRun,
    FinishRun,
    Found,
    Insert,
    ParkRun,
    PruneEvents,
    RecoverRun,
    SaveMemoWith,
)
from inngest_durable.engines.store import Store
from msgspec.json import encode

from packages.inngest_durable.tests.store.samples import APP, OTHER_WORKER, Samples, outcomes

APPROVED = "trip/approved"
DAY = 86400.0
NOW = 5000.0
LATER = NOW + 3600
ANY = WaitFor("event", APPROVED)
NOTHING_CAME: dict[str, Any] = {"state": StepState.COMPLETED, "attempt": 1, "result": b"null"}


def event(event_id: str = "e1", name: str = APPROVED, **data: Any) -> SentEvent:
    """An event with these data."""
    return SentEvent(event_id, name, encode(data), 1_700_000_000_123)


def waiting(key: str = "approval", op: StepOp = StepOp.WAIT_FOR_EVENT, **changes: Any) -> Memo:
    """The memo of a step that waits for an hour."""
    return Memo(**{"key": key, "id": key, "op": op, "state": StepState.WAITING, "wake_at": LATER, **changes})


def at(path: str, value: str, **conditions: Any) -> WaitFor:
    """A wait for an approval that holds *value* at *path*."""
    spec = encode(Conditions(**conditions)).decode() if conditions else ""
    return WaitFor("event", APPROVED, path, value, spec)


async def begin(store: Store, run: Run, along: Along = ANY, memo: Memo | None = None) -> Memo:
    """Let a step of *run* wait; return its memo as it is recorded."""
    found = Found()
    await store.write(SaveMemoWith(run.id, run.epoch, APP, memo or waiting(), along, NOW, found))
    assert found.memo is not None
    return found.memo


async def running(store: Store, samples: Samples, **changes: Any) -> Run:
    """A run that executes."""
    run = samples.run(**changes)
    await store.write(Insert(run))
    return run


async def parked(store: Store, samples: Samples, along: Along = ANY) -> Run:
    """A run that waits in the database."""
    run = await running(store, samples)
    await begin(store, run, along)
    await store.write(ParkRun(run.id, 1, Park(LATER, 1)))
    return run


async def receive(store: Store, *events: SentEvent, received_at: float = NOW, app_id: str = APP) -> Found:
    """Receive events."""
    found = Found()
    await store.write(AddEvents(app_id, events or (event(),), received_at, found))
    return found


def result_of(store: Store, run: Run, key: str = "approval") -> bytes | None:
    """Return the result of a step that was completed; None if it waits."""
    memo = store.memo(run.id, key)
    assert memo is not None
    return memo.result if memo.is_final else None


def due(store: Store) -> list[str]:
    """Return the runs that are due now."""
    return [found.run_id for found in store.due(APP, NOW, 99)]


async def test_event_completes_the_step_and_makes_its_run_due(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)

    assert due(store) == []

    found = await receive(store, event(by="Ann"))
    memo = store.memo(run.id, "approval")

    assert memo == waiting(
        state=StepState.COMPLETED,
        attempt=1,
        result=b'{"data":{"by":"Ann"},"id":"e1","name":"trip/approved","ts":1700000000123}',
        wake_at=None,
    )
    assert store.memos(run.id) == [memo]
    assert due(store) == [run.id]
    assert (found.resumed, found.due) == ([(run.id, "approval")], True)


async def test_event_that_nobody_waits_for_changes_nothing(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    found = await receive(store, event(name="trip/rejected"))

    assert (found.resumed, found.due) == ([], False)
    assert result_of(store, run) is None


async def test_one_event_completes_every_step_that_waits_for_it(store: Store, samples: Samples) -> None:
    runs = [await parked(store, samples) for _ in range(3)]
    found = await receive(store)

    assert due(store) == [run.id for run in runs]
    assert len(found.resumed) == 3


async def test_step_takes_the_first_event_only(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    await receive(store, event("e1", n=1))
    first = result_of(store, run)
    found = await receive(store, event("e2", n=2))

    assert found.resumed == []
    assert result_of(store, run) == first


@pytest.mark.parametrize(("at", "counts"), [(LATER - 0.001, True), (LATER, False), (LATER + 1, False)])
async def test_event_after_the_timeout_is_too_late(store: Store, samples: Samples, at: float, counts: bool) -> None:
    """Even if the step, whose pass is at something else, has not recorded yet that none came."""
    run = await running(store, samples)
    await begin(store, run)
    found = await receive(store, received_at=at)

    assert bool(found.resumed) is counts
    assert (result_of(store, run) is not None) is counts


@pytest.mark.parametrize(("at", "counts"), [(LATER - 0.001, True), (LATER, False)])
async def test_signal_after_the_timeout_is_lost(store: Store, samples: Samples, at: float, counts: bool) -> None:
    """Its senders are told, and the name is taken until the step has left."""
    run = await running(store, samples)
    sender = await running(store, samples)
    await begin(store, run, WaitFor("signal", "bank"), waiting(op=StepOp.WAIT_FOR_SIGNAL))
    found = Found()
    sending = Memo("tell", "tell", StepOp.SEND_SIGNAL, StepState.COMPLETED, 1, b"false")
    await store.write(SaveMemoWith(sender.id, 1, APP, sending, SendSignal("bank", b'{"signal":"bank"}'), at, found))

    assert found.memo is not None
    assert found.memo.result == (b"true" if counts else b"false")
    assert (result_of(store, run) is not None) is counts

    other = await running(store, samples)
    second = await begin(store, other, WaitFor("signal", "bank"), waiting(op=StepOp.WAIT_FOR_SIGNAL))
    assert second.state is (StepState.WAITING if counts else StepState.FAILED)


async def test_event_counts_once_within_a_day(store: Store, samples: Samples) -> None:
    await receive(store)
    run = await running(store, samples)
    await begin(store, run, memo=waiting(wake_at=NOW + 2 * DAY))
    again = await receive(store, received_at=NOW + DAY - 1)

    assert again.resumed == []
    assert result_of(store, run) is None

    await receive(store, received_at=NOW + DAY)

    assert result_of(store, run) is not None


async def test_event_counts_once_among_those_sent_together(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    found = await receive(store, event(n=1), event(n=2))

    assert len(found.resumed) == 1
    assert b'{"n":1}' in (result_of(store, run) or b"")


async def test_event_of_another_application_is_another_event(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    await receive(store, app_id="other")

    assert result_of(store, run) is None

    await receive(store)

    assert result_of(store, run) is not None


@pytest.mark.parametrize(
    ("along", "data", "fits"),
    [
        (at("data.id", '"a"'), {"id": "a"}, True),
        (at("data.id", '"a"'), {"id": "b"}, False),
        (at("data.id", '"a"'), {}, False),
        (at("data.id", "17"), {"id": 17.0}, True),
        (at("data.trip.legs.1", '"VIE"'), {"trip": {"legs": ["ZRH", "VIE"]}}, True),
        (at("name", '"trip/approved"'), {}, True),
        (at("data.id", '"a"', values=[("data.by", '"Ann"')]), {"id": "a", "by": "Ann"}, True),
        (at("data.id", '"a"', values=[("data.by", '"Ann"')]), {"id": "a", "by": "Bob"}, False),
        (at("", "", expression="async.data.n > 3"), {"n": 4}, True),
        (at("", "", expression="async.data.n > 3"), {"n": 3}, False),
        (at("", "", expression="async.data.n > 3"), {}, False),
        (at("data.id", '"a"', expression="async.data.n > event.data.n", event={"data": {"n": 3}}), {"id": "a"}, False),
        (
            at("data.id", '"a"', expression="async.data.n > event.data.n", event={"data": {"n": 3}}),
            {"id": "a", "n": 4},
            True,
        ),
    ],
)
async def test_event_completes_only_the_steps_that_it_fits(
    store: Store, samples: Samples, along: WaitFor, data: dict[str, Any], fits: bool
) -> None:
    run = await parked(store, samples, along)
    await receive(store, event(**data))

    assert (result_of(store, run) is not None) is fits


async def test_steps_that_look_at_different_fields_are_all_found(store: Store, samples: Samples) -> None:
    by_id = await parked(store, samples, at("data.id", '"a"'))
    by_name = await parked(store, samples, at("data.by", '"Ann"'))
    any_event = await parked(store, samples)
    other = await parked(store, samples, at("data.zone", '"x"'))
    await receive(store, event(id="a", by="Ann"))

    assert due(store) == [by_id.id, by_name.id, any_event.id]
    assert result_of(store, other) is None


async def test_event_for_a_running_run_makes_it_due_when_it_is_parked(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    found = await receive(store)

    assert (found.resumed, found.due) == ([(run.id, "approval")], False)
    assert store.arrived() == [(run.id, "approval")]
    assert due(store) == []

    parking = Found()
    await store.write(ParkRun(run.id, 1, Park(LATER, 1), found=parking))

    assert parking.due
    assert due(store) == [run.id]

    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))

    assert store.arrived() == []

    # It has been seen to: the next pause is a real one.
    await store.write(ParkRun(run.id, 2, Park(LATER, 1)))

    assert due(store) == []


async def test_event_that_the_pass_went_on_with_leaves_the_run_parked(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    await receive(store)
    parking = Found()
    await store.write(ParkRun(run.id, 1, Park(LATER, 1), seen=("approval",), found=parking))

    assert not parking.due
    assert due(store) == []


async def test_event_after_the_worker_died_is_there_for_the_next_pass(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    await receive(store)
    await store.write(RecoverRun(run.id, 1, NOW))
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))

    assert result_of(store, run) is not None
    assert store.arrived() == []


async def test_event_and_registration_in_one_commit_meet(store: Store, samples: Samples) -> None:
    run, found = samples.run(), Found()
    await asyncio.gather(
        store.write(Insert(run), SaveMemoWith(run.id, 1, APP, waiting(), ANY, NOW, Found())),
        store.write(AddEvents(APP, (event(),), NOW, found)),
        store.write(ParkRun(run.id, 1, Park(LATER, 1))),
    )

    assert found.resumed == [(run.id, "approval")]
    assert due(store) == [run.id]


async def test_step_that_stops_waiting_is_completed_by_that(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    recorded = await begin(store, run, StopWaiting(), waiting(**NOTHING_CAME, wake_at=None))
    found = await receive(store)

    assert recorded.result == b"null"
    assert found.resumed == []
    assert result_of(store, run) == b"null"


async def test_event_that_came_first_counts_for_a_step_that_stops_waiting(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    await receive(store, event(n=1))
    recorded = await begin(store, run, StopWaiting(), waiting(**NOTHING_CAME, wake_at=None))
    parking = Found()
    await store.write(ParkRun(run.id, 1, Park(LATER, 1), found=parking))

    assert recorded == store.memo(run.id, "approval")
    assert b'{"n":1}' in (recorded.result or b"")
    assert not parking.due


async def test_pass_that_lost_its_run_can_neither_wait_nor_stop(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))
    await receive(store)
    stale = [
        SaveMemoWith(run.id, 1, APP, waiting("other"), ANY, NOW, Found()),
        SaveMemoWith(run.id, 1, APP, waiting(**NOTHING_CAME), StopWaiting(), NOW, Found()),
        SaveMemoWith(run.id, 1, APP, waiting("send"), SendEvents((event("e9"),)), NOW, Found()),
        SaveMemoWith(run.id, 1, APP, waiting("call"), Invoke(samples.run(status=RunStatus.WAITING)), NOW, Found()),
    ]

    assert await outcomes(*(store.write(write) for write in stale)) == [FencedError] * len(stale)
    assert [memo.key for memo in store.memos(run.id)] == ["approval"]
    # Nor was the event sent, or the child made.
    again = await parked(store, samples, ANY)
    await receive(store, event("e9"))
    assert result_of(store, again) is not None


async def test_fenced_neighbour_does_not_disturb_an_event(store: Store, samples: Samples) -> None:
    run = await parked(store, samples)
    found = Found()
    results = await outcomes(
        store.write(SaveMemoWith("01JX", 1, APP, waiting(), ANY, NOW, Found())),
        store.write(AddEvents(APP, (event(),), NOW, found)),
        store.write(Insert(run)),
    )

    assert results[1] is None
    assert found.resumed == [(run.id, "approval")]
    assert due(store) == [run.id]


async def test_since_takes_the_first_event_that_fits_and_was_not_taken(store: Store, samples: Samples) -> None:
    await receive(store, event("old", id="a"), received_at=NOW - 10)
    run = await running(store, samples)
    await receive(store, event("other", id="b"), event("taken", id="a"), event("this", id="a"), received_at=NOW)
    await receive(store, event("later", id="a"), received_at=NOW + 1)
    since = WaitFor("event", APPROVED, "data.id", '"a"', "", NOW - 5, ("taken",))
    recorded = await begin(store, run, since)

    assert recorded.state is StepState.COMPLETED
    assert recorded.wake_at is None
    assert b'"id":"this"' in (recorded.result or b"")
    assert store.memo(run.id, "approval") == recorded


async def test_since_waits_where_no_event_fits(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await receive(store, event(id="b"))
    recorded = await begin(store, run, WaitFor("event", APPROVED, "data.id", '"a"', "", NOW - 5))

    assert recorded == waiting()

    await receive(store, event("e2", id="a"))

    assert result_of(store, run) is not None


async def test_since_takes_what_came_after_the_clock_was_set_back(store: Store, samples: Samples) -> None:
    """An event that is received after a run began counts as such, whatever the clock says by then."""
    run = await running(store, samples, created_at=NOW)
    await receive(store, event("e1"), event("e2"), received_at=NOW - 60)
    recorded = await begin(store, run, WaitFor("event", APPROVED, since=run.created_at))

    assert recorded.state is StepState.COMPLETED
    assert b'"id":"e1"' in (recorded.result or b"")


async def test_since_leaves_out_what_came_before_the_run_although_an_older_run_is_ahead_of_the_clock(
    store: Store, samples: Samples
) -> None:
    """Nor does a run from the future keep an event from being forgotten, or its ID from being used again."""
    await running(store, samples, created_at=NOW + 1_000_000)
    await receive(store, event("before"), received_at=NOW)
    run = await running(store, samples, created_at=NOW + 1)
    recorded = await begin(store, run, WaitFor("event", APPROVED, since=run.created_at))

    assert recorded == waiting()
    assert store.oldest_event() == NOW

    await receive(store, event("before"), received_at=NOW + 86_401)

    assert store.oldest_event() == NOW + 86_401


async def test_events_are_sent_in_the_commit_of_the_step(store: Store, samples: Samples) -> None:
    receiver, sender = await parked(store, samples), await running(store, samples)
    memo = samples.memo("send", op=StepOp.SEND_EVENT)
    found = Found()
    await store.write(SaveMemoWith(sender.id, 1, APP, memo, SendEvents((event(),)), NOW, found))

    assert found.resumed == [(receiver.id, "approval")]
    assert store.memos(sender.id) == [memo]
    # A step that is memoized sends nothing.
    with pytest.raises(FencedError):
        await store.write(SaveMemoWith(sender.id, 1, APP, memo, SendEvents((event("e2"),)), NOW, Found()))


async def test_signal_completes_the_step_that_waits_for_it(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run, WaitFor("signal", "paid"), waiting(op=StepOp.WAIT_FOR_SIGNAL))
    await store.write(ParkRun(run.id, 1, Park(LATER, 1)))
    first, second = Found(), Found()
    await store.write(AddSignal(APP, "paid", b'{"signal":"paid"}', NOW, first))
    await store.write(AddSignal(APP, "paid", b'{"signal":"paid"}', NOW, second))

    assert (first.resumed, first.due) == ([(run.id, "approval")], True)
    assert second.resumed == []
    assert result_of(store, run) == b'{"signal":"paid"}'
    assert due(store) == [run.id]


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_step_that_sends_a_signal_tells_whether_one_waited(
    store: Store, samples: Samples, is_awaited: bool
) -> None:
    run, sender = await running(store, samples), await running(store, samples)
    if is_awaited:
        await begin(store, run, WaitFor("signal", "paid"), waiting(op=StepOp.WAIT_FOR_SIGNAL))
    memo = samples.memo("send", b"false", op=StepOp.SEND_SIGNAL)
    recorded = await begin(store, sender, SendSignal("paid", b'{"signal":"paid"}'), memo)

    assert recorded.result == encode(is_awaited)
    assert store.memo(sender.id, "send") == recorded


async def test_second_step_that_waits_for_a_signal_fails_and_names_the_first(store: Store, samples: Samples) -> None:
    first, second = await running(store, samples), await running(store, samples)
    await begin(store, first, WaitFor("signal", "paid"), waiting(op=StepOp.WAIT_FOR_SIGNAL))
    recorded = await begin(store, second, WaitFor("signal", "paid"), waiting(op=StepOp.WAIT_FOR_SIGNAL))

    assert recorded.state is StepState.FAILED
    assert recorded.failure is not None
    assert first.id in recorded.failure.message
    assert store.memo(second.id, "approval") == recorded


@pytest.mark.parametrize("how", ["came", "ended", "cancelled", "stopped"])
async def test_signal_is_free_again(store: Store, samples: Samples, how: str) -> None:
    first, second = await running(store, samples), await running(store, samples)
    wait, memo = WaitFor("signal", "paid"), waiting(op=StepOp.WAIT_FOR_SIGNAL)
    await begin(store, first, wait, memo)
    if how == "came":
        await store.write(AddSignal(APP, "paid", b"1", NOW, Found()))
    elif how == "ended":
        await store.write(FinishRun(first.id, 1, Finish(RunStatus.COMPLETED, None), NOW))
    elif how == "cancelled":
        await store.write(CancelRun(first.id, NOW))
    else:
        await begin(store, first, StopWaiting(), waiting(**NOTHING_CAME))

    assert await begin(store, second, wait, memo) == memo


async def test_run_that_has_ended_is_not_completed_any_more(store: Store, samples: Samples) -> None:
    run = await running(store, samples)
    await begin(store, run)
    await store.write(FinishRun(run.id, 1, Finish(RunStatus.COMPLETED, None), NOW))
    found = await receive(store)

    assert found.resumed == []
    assert result_of(store, run) is None


async def invoked(store: Store, samples: Samples) -> tuple[Run, Run]:
    """A parked run, and the child that it waits for."""
    parent = await running(store, samples)
    child = samples.run(
        status=RunStatus.WAITING, owner="", wake_at=NOW, idempotency=family(parent.id, "call"), endpoint="pay"
    )
    await begin(store, parent, Invoke(child), waiting("call", StepOp.INVOKE))
    await store.write(ParkRun(parent.id, 1, Park(LATER, 1)))
    return parent, child


async def test_child_run_begins_in_the_commit_of_the_step(store: Store, samples: Samples) -> None:
    parent, child = await invoked(store, samples)

    assert store.run(child.id) == child
    assert due(store) == [child.id]
    assert result_of(store, parent, "call") is None


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [
        (Finish(RunStatus.COMPLETED, RecordedResponse(200, (), b'{"a": 1}')), b'{"a":1}'),
        (Finish(RunStatus.COMPLETED, RecordedResponse(204, (), b"")), b"null"),
        (Finish(RunStatus.COMPLETED, RecordedResponse(402, (), b"no")), "the child run answered 402: no"),
        (Finish(RunStatus.COMPLETED, RecordedResponse(200, (), b"<p>")), "the child run's answer is no JSON: <p>"),
        (Finish(RunStatus.FAILED, RecordedResponse(500, (), b""), Failure("Declined", "no", "trace")), "no"),
        (Finish(RunStatus.CANCELLED, None), "the child run was cancelled"),
    ],
)
async def test_end_of_a_child_run_completes_the_step(
    store: Store, samples: Samples, finish: Finish, outcome: bytes | str
) -> None:
    parent, child = await invoked(store, samples)
    await store.write(ClaimRun(child.id, 1, OTHER_WORKER))
    found = Found()
    await store.write(FinishRun(child.id, 2, finish, NOW, found=found))
    memo = store.memo(parent.id, "call")

    assert (found.resumed, found.due) == ([(parent.id, "call")], True)
    assert due(store) == [parent.id]
    assert memo is not None
    if isinstance(outcome, bytes):
        assert (memo.state, memo.result) == (StepState.COMPLETED, outcome)
    else:
        assert memo.state is StepState.FAILED
        assert memo.failure is not None
        assert (memo.failure.message, memo.failure.run_id) == (outcome, child.id)


@pytest.mark.parametrize("ended", [False, True], ids=["goes on", "ended first"])
async def test_step_that_stops_waiting_for_a_child_run_names_it(store: Store, samples: Samples, ended: bool) -> None:
    """Only the store knows which run it is; if that has ended at the last moment, its end counts."""
    parent, child = await invoked(store, samples)
    await store.write(ClaimRun(parent.id, 1, OTHER_WORKER))
    if ended:
        await store.write(CancelRun(child.id, NOW))
    late = {"state": StepState.FAILED, "attempt": 1, "wake_at": None, "failure": Failure("InvokeTimeoutError", "late")}
    found = Found()
    memo = waiting("call", StepOp.INVOKE, **late)
    await store.write(SaveMemoWith(parent.id, 2, APP, memo, StopWaiting(), NOW, found))
    recorded = store.memo(parent.id, "call")

    assert found.memo == recorded
    assert recorded is not None
    assert recorded.failure is not None
    assert recorded.failure.name == ("RunCancelledError" if ended else "InvokeTimeoutError")
    assert recorded.failure.run_id == child.id


async def test_cancelled_child_run_completes_the_step(store: Store, samples: Samples) -> None:
    parent, child = await invoked(store, samples)
    found = Found()
    await store.write(CancelRun(child.id, NOW, found))
    memo = store.memo(parent.id, "call")

    assert memo is not None
    assert memo.state is StepState.FAILED
    assert found.resumed == [(parent.id, "call")]


async def test_child_that_ends_after_its_parent_disturbs_nobody(store: Store, samples: Samples) -> None:
    parent, child = await invoked(store, samples)
    await store.write(ClaimRun(parent.id, 1, OTHER_WORKER))
    await store.write(FinishRun(parent.id, 2, Finish(RunStatus.COMPLETED, None), NOW))
    await store.write(ClaimRun(child.id, 1, OTHER_WORKER))
    found = Found()
    await store.write(FinishRun(child.id, 2, Finish(RunStatus.COMPLETED, None), NOW, found=found))

    assert found.resumed == []


async def test_old_events_are_deleted_a_few_at_a_time(store: Store, samples: Samples) -> None:
    for number in range(5):
        await receive(store, event(f"e{number}"), received_at=NOW + number)
    counts = []
    for _ in range(3):
        found = Found()
        await store.write(PruneEvents(NOW + 3, 2, found))
        counts.append(found.count)
    run = await running(store, samples)
    recorded = await begin(store, run, WaitFor("event", APPROVED, since=0.0))

    assert counts == [2, 1, 0]
    assert b'"id":"e3"' in (recorded.result or b"")
