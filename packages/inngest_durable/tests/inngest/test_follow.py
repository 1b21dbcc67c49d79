from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from inngest_durable._core.model import (
    Failure,
    Finish,
    Memo,
    Park,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepOp,
    StepState,
)
from inngest_durable._core.run_events import STEP_PROGRESS, RunEvent
from inngest_durable.engines.inngest import follow
from inngest_durable.engines.inngest.follow import Followed
from inngest_durable.engines.inngest.ops import Op
from inngest_durable.engines.inngest.records import memo_op, pass_op, request_op
from inngest_durable.engines.inngest.state import RunState, state_of
from inngest_durable.engines.records import (
    AddRunEvent,
    CancelRun,
    ClaimRun,
    FinishRun,
    Insert,
    ParkRun,
    SaveMemo,
    Write,
)
from inngest_durable.testing import VirtualClock
from msgspec import UNSET, Raw
from msgspec.structs import replace

RUN_ID = "01M81NEW7F4XMQVCNC1KCXJCYS"
REQUEST = RecordedRequest("POST", "http", "", "/pay", b"/pay", b"", (), None, None, "1.1", b"a body")
RUN = Run(RUN_ID, "app", "pay", REQUEST, 1000.0, owner="w1")
PAY = Memo("pay", "pay", StepOp.RUN, StepState.COMPLETED, 1, b"1")
RESPONSE = RecordedResponse(201, ((b"x-a", b"1"),), b"answer")


def followed(*writes: Write, tells: bool = True, most_runs: int = 1000) -> Followed:
    known = Followed(VirtualClock(), tells, most_runs)
    for write in writes:
        known.note(write)
    return known


def events(known: Followed, run_id: str = RUN_ID, after: int = 0) -> list[RunEvent]:
    return known.run_events(run_id, after, 10_000)


def kinds(known: Followed, run_id: str = RUN_ID) -> list[str]:
    return [event.kind for event in events(known, run_id)]


def stored(*ops: Op) -> RunState:
    found: dict[str, Raw] = {}
    for op in ops:
        assert op.data is not UNSET
        found[op.id] = Raw(b'{"data":' + bytes(op.data) + b"}")
    return state_of(found)


def test_run_is_told_from_its_start_to_its_end() -> None:
    known = followed(
        Insert(RUN),
        SaveMemo(RUN_ID, 1, PAY, at=1002.0, started_at=1001.5),
        ParkRun(RUN_ID, 1, Park(1010.0, 1), 1003.0, "a step waits"),
    )
    assert (known.status(RUN_ID), known.run(RUN_ID)) == (
        RunStatus.WAITING,
        replace(RUN, status=RunStatus.WAITING, owner="", wake_at=1010.0, request=replace(REQUEST, body=b"")),
    )
    known.note(ClaimRun(RUN_ID, 1, "w2", 1010.0, ("pay",)))
    run = known.run(RUN_ID)
    assert run is not None
    assert (run.status, run.owner, run.epoch) == (RunStatus.RUNNING, "w2", 2)
    known.note(FinishRun(RUN_ID, 2, Finish(RunStatus.COMPLETED, RESPONSE), 1011.0))

    assert kinds(known) == ["run.started", "step.completed", "run.interrupted", "run.reentered"]
    assert [json.loads(event.data).get("duration") for event in events(known)] == [None, 0.5, None, None]
    ended = known.run(RUN_ID)
    assert ended is not None
    assert (ended.status, ended.ended_at) == (RunStatus.COMPLETED, 1011.0)
    assert ended.response == replace(RESPONSE, body=b"")


def test_events_have_growing_numbers_and_come_in_pages() -> None:
    known = followed(Insert(RUN))
    for number in range(5):
        # Clocks may be set back.
        at = 1000.5 - number / 10
        known.note(AddRunEvent(RUN_ID, 1, at, STEP_PROGRESS, '{"step":"pay"}'))
    numbers = [event.id for event in events(known)]

    assert numbers == sorted(set(numbers))
    assert known.run_events(RUN_ID, numbers[1], 2) == events(known)[2:4]
    assert known.run_events(RUN_ID, numbers[-1], 10) == []
    assert known.run_events("unknown", 0, 10) == []


def test_another_process_goes_on_after_the_number_that_was_seen_here() -> None:
    first = followed(Insert(RUN), SaveMemo(RUN_ID, 1, PAY, at=1002.001, started_at=1001.0))
    last_seen = events(first)[-1].id
    ship = Memo("ship", "ship", StepOp.RUN, StepState.COMPLETED, 1, b"2")
    second = followed()
    second.adopt(
        RUN, stored(request_op(RUN, "n", 0.0), memo_op(PAY, 1, 1001.0, 1002.0), memo_op(ship, 1, 1002.1, 1003.0))
    )

    assert [json.loads(event.data)["step"] for event in events(second, after=last_seen)] == ["ship"]


def test_nothing_is_told_after_the_end() -> None:
    finish = FinishRun(RUN_ID, 1, Finish(RunStatus.FAILED, RESPONSE, Failure("E", "broken")), 1001.0)
    known = followed(Insert(RUN), finish)
    known.note(SaveMemo(RUN_ID, 1, PAY, at=1002.0, started_at=1001.5))
    known.note(CancelRun(RUN_ID, 1003.0))
    known.adopt(RUN, stored(request_op(RUN, "n", 0.0), memo_op(PAY, 1, 1001.0, 1002.0)))

    assert known.status(RUN_ID) is RunStatus.FAILED
    assert kinds(known) == ["run.started"]


def test_cancelled_run_has_ended() -> None:
    known = followed(Insert(RUN), CancelRun(RUN_ID, 1003.0))
    run = known.run(RUN_ID)

    assert run is not None
    assert (run.status, run.ended_at) == (RunStatus.CANCELLED, 1003.0)


def test_run_of_another_process_is_rebuilt_and_told_once() -> None:
    nap = Memo("nap", "nap", StepOp.SLEEP, StepState.WAITING, 0, wake_at=1060.0)
    state = stored(
        request_op(RUN, "n", 0.0, worker="far"),
        memo_op(PAY, 1, 1001.0, 1002.0),
        memo_op(nap, 1, None, 1003.0),
        pass_op(2, "n2", 1070.0, 1060.0, "request", "w1"),
    )
    known = followed()
    run = state.run(RUN_ID, "app", b"")
    assert run is not None
    known.adopt(run, state)
    known.adopt(run, state)
    # The pass that has recorded it tells it, after somebody has seen it at the server.
    known.note(SaveMemo(RUN_ID, 1, PAY, at=1002.5, started_at=1001.5))

    assert kinds(known) == ["run.started", "step.completed", "step.waiting"]
    assert json.loads(events(known)[0].data)["worker"] == "far"
    assert json.loads(events(known)[1].data)["duration"] == 1.0
    assert (known.status(RUN_ID), run.epoch) == (RunStatus.RUNNING, 2)


def test_run_of_another_process_is_told_with_that_process() -> None:
    known = followed()
    known.adopt(RUN, stored(request_op(RUN, "n1", 1060.0, worker="w1", pid=4242)))
    [start] = events(known)
    told = json.loads(start.data)
    assert (told["worker"], told["pid"]) == ("w1", 4242)


def test_what_another_process_did_to_a_known_run_is_added() -> None:
    known = followed(Insert(RUN), ParkRun(RUN_ID, 1, Park(1010.0, 1), 1003.0, "a step waits"))
    state = stored(
        request_op(RUN, "n", 0.0),
        pass_op(2, "n2", 1070.0, 1010.0, "request", "far"),
        memo_op(PAY, 2, 1010.0, 1011.0),
    )
    run = state.run(RUN_ID, "app", b"")
    assert run is not None
    known.adopt(run, state)

    assert kinds(known) == ["run.started", "run.interrupted", "step.completed"]
    assert known.status(RUN_ID) is RunStatus.RUNNING


def test_older_state_does_not_take_a_run_back() -> None:
    known = followed(Insert(RUN), ParkRun(RUN_ID, 1, Park(1010.0, 1), 1003.0), ClaimRun(RUN_ID, 1, "w2", 1010.0))
    known.adopt(RUN, stored(request_op(RUN, "n", 0.0)))
    run = known.run(RUN_ID)

    assert run is not None
    assert (run.epoch, run.owner) == (2, "w2")


def test_without_telling_there_is_the_status_alone() -> None:
    known = followed(Insert(RUN), FinishRun(RUN_ID, 1, Finish(RunStatus.COMPLETED, RESPONSE), 1001.0), tells=False)

    assert known.status(RUN_ID) is RunStatus.COMPLETED
    assert events(known) == []


def test_unknown_run_is_not_made_by_what_is_told_of_it() -> None:
    known = followed(FinishRun(RUN_ID, 1, Finish(RunStatus.COMPLETED, RESPONSE), 1001.0))

    assert known.status(RUN_ID) is None
    assert known.run(RUN_ID) is None


def test_too_many_runs_lose_the_oldest_that_has_ended_and_none_that_is_watched() -> None:
    runs = [replace(RUN, id=f"run-{number}") for number in range(6)]
    known = followed(*map(Insert, runs[:3]), most_runs=3)
    known.note(FinishRun("run-1", 1, Finish(RunStatus.COMPLETED, RESPONSE), 1001.0))
    with known.watch("run-0"):
        known.note(Insert(runs[3]))
        assert [known.status(run.id) is not None for run in runs[:4]] == [True, False, True, True]
        known.note(Insert(runs[4]))
        assert [known.status(run.id) is not None for run in runs[:5]] == [True, False, False, True, True]


def test_too_many_events_of_a_run_lose_its_progress_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_EVENTS", 3)
    known = followed(Insert(RUN))
    for _ in range(5):
        known.note(AddRunEvent(RUN_ID, 1, 1001.0, STEP_PROGRESS, '{"step":"pay"}'))
    known.note(SaveMemo(RUN_ID, 1, PAY, at=1002.0, started_at=1001.5))

    assert kinds(known) == ["run.started", STEP_PROGRESS, STEP_PROGRESS, "step.completed"]


async def test_watch_is_told_of_its_run_alone() -> None:
    known = followed(Insert(RUN), Insert(replace(RUN, id="other")))
    with known.watch(RUN_ID) as watch:
        assert not await watch.news(0)
        known.note(AddRunEvent("other", 1, 1001.0, STEP_PROGRESS, "{}"))
        assert not await watch.news(0)
        waiting = asyncio.ensure_future(watch.news(20))
        known.note(SaveMemo(RUN_ID, 1, PAY, at=1002.0, started_at=1001.5))
        assert await waiting
        watch.look()
        assert not await watch.news(0)
        assert known.followers == 1

    assert known.followers == 0


async def test_close_lets_everybody_go() -> None:
    known = followed(Insert(RUN))
    with known.watch(RUN_ID) as watch:
        waiting: asyncio.Future[Any] = asyncio.ensure_future(watch.news(20))
        known.close()
        assert await waiting
        assert watch.closed
        watch.look()
        assert await watch.news(20)
