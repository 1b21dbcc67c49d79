"""What a run keeps at the server, and where the run stands by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inngest_durable._core.model import (
    Failure,
    Idempotency,
    Memo,
    Park,
    RecordedRequest,
    Run,
    RunStatus,
    StepOp,
    StepState,
)
from inngest_durable.engines.inngest import records
from inngest_durable.engines.inngest.op_ids import REQUEST_RECORD_ID, memo_id, wait_id
from inngest_durable.engines.inngest.ops import Op, step_hash, step_run, wait_for_event
from inngest_durable.engines.inngest.protocol import parse_actions
from inngest_durable.engines.inngest.records import due_op, held_op, memo_op, over_op, pass_op, request_op
from inngest_durable.engines.inngest.state import RunState, state_of
from msgspec.structs import replace

REQUEST = RecordedRequest(
    "POST",
    "https",
    "/app",
    "/app/buy",
    b"/app/buy",
    b"x=%ff",
    ((b"x-name", b"J\xfcrg"), (b"cookie", b"a=1"), (b"cookie", b"b=2")),
    ("10.0.0.1", 50123),
    ("shop", None),
    "1.1",
    b"\x00body",
)
RUN = Run("01M81Q6Z2YEVBT73D06Q0DJ8TF", "shop", "shop.buy", REQUEST, 1000.5, deadline=2000.0)
FIRST = request_op(RUN, "nonce-1", 1060.0, worker="w1")
WAIT = wait_for_event("pay#event", "paid", 'async.data.id == "7"', 60, "pay")


def done(key: str, op: StepOp = StepOp.RUN, **fields: Any) -> Memo:
    """Return the memo of a completed step."""
    return Memo(key, key, op, StepState.COMPLETED, 1, b"1", **fields)


def waiting(key: str, op: StepOp = StepOp.SLEEP) -> Memo:
    """Return the memo of a step that waits."""
    return Memo(key, key, op, StepState.WAITING, 0, wake_at=1200.0)


def retrying(key: str, attempt: int) -> Memo:
    """Return the memo of a step that failed so often."""
    return Memo(key, key, StepOp.RUN, StepState.RETRYING, attempt, failure=Failure("E", "no"), wake_at=1010.0)


def stored(ops: Sequence[Op], others: dict[str, Any] | None = None) -> RunState:
    """Return the state after the server has stored these operations, as generic values with sorted keys."""
    actions: dict[str, Any] = dict(others or {})
    for op in ops:
        # The first value stays. Numbers go through floats.
        sent = json.loads(op.json(), parse_int=lambda text: int(float(text)))
        actions.setdefault(op.id, {"data": sent["data"]})
    return state_of(parse_actions(json.dumps(actions, sort_keys=True).encode()))


texts = st.text(st.characters(codec="utf-8"), max_size=20)
moments = st.floats(min_value=0, max_value=4e9)
failures = st.builds(Failure, texts, texts, texts, texts)
results = st.one_of(st.none(), st.integers(), texts, st.dictionaries(texts, st.integers())).map(
    lambda value: json.dumps(value).encode()
)


@st.composite
def memos(draw: st.DrawFn) -> Memo:
    """Return some memo that a step may leave."""
    key, state = draw(texts.filter(bool)), draw(st.sampled_from(StepState))
    result = draw(results) if state is StepState.COMPLETED else None
    failure = draw(failures) if state in (StepState.FAILED, StepState.RETRYING) else None
    wake_at = draw(moments) if state in (StepState.WAITING, StepState.RETRYING) else None
    op, attempt = draw(st.sampled_from(StepOp)), draw(st.integers(min_value=0, max_value=99))
    return Memo(key, draw(texts), op, state, attempt, result, failure, wake_at, draw(texts))


@settings(deadline=None, derandomize=True)
@given(memos())
def test_memo_comes_back_as_it_was(memo: Memo) -> None:
    """Whatever the server does to its JSON: a large number, or the order of a result's keys."""
    assert stored([FIRST, memo_op(memo, 1, None, 1001.0)]).memos == [memo]


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.binary(), st.binary()), max_size=5).map(tuple),
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.binary(max_size=20),
)
def test_request_comes_back_as_it_was(
    headers: tuple[tuple[bytes, bytes], ...], raw_path: bytes, query: bytes, body: bytes
) -> None:
    request = replace(REQUEST, headers=headers, raw_path=raw_path, query_string=query, body=body)
    run = replace(RUN, request=request, idempotency=Idempotency("s", "k", "d"))
    found = stored([request_op(run, "nonce", 1060.0)]).run(RUN.id, "shop", body)

    # Its first pass has not ended, and counts as dead for whoever claims the run.
    assert found == replace(run, recoveries=1)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.text("a#:n", min_size=1), st.sampled_from(StepState)), unique=True, max_size=9))
def test_no_two_records_have_one_id(steps: list[tuple[str, StepState]]) -> None:
    ids = {records.op_id_of(_record(key, state)) for key, state in steps}
    finals = {key for key, state in steps if state in (StepState.COMPLETED, StepState.FAILED)}

    assert len(ids) == len(finals) + sum(state in (StepState.WAITING, StepState.RETRYING) for _, state in steps)


def _record(key: str, state: StepState) -> records.MemoRecord:
    return records.MemoRecord(key=key, id=key, op=StepOp.RUN, state=state, pass_number=1)


@pytest.mark.parametrize("key", ["inngest-durable:request", "inngest-durable:pass:2", "pay#event", "pay#retrying:1"])
def test_step_named_like_a_record_is_no_such_record(key: str) -> None:
    state = stored([FIRST, memo_op(done(key), 1, None, 1001.0), memo_op(done("pay"), 1, None, 1002.0)])

    assert memo_id(key) != key
    assert [memo.key for memo in state.memos] == [key, "pay"]
    assert state.request is not None
    assert len(state.passes) == 1
    assert state.arrived == {}


def test_ids_are_those_that_people_see() -> None:
    assert (memo_id("book/pay:1"), FIRST.op_id) == ("book/pay:1", "inngest-durable:request")
    assert memo_op(retrying("pay", 2), 1, None, 1.0).op_id == "pay#retrying:2"
    assert memo_op(retrying("pay", 2), 1, None, 1.0).displayName == "pay (attempt 2 failed)"
    assert memo_op(waiting("nap"), 1, None, 1.0).op_id == "nap#waiting:0"
    assert wait_id("ask", StepOp.WAIT_FOR_EVENT) == "ask#event"
    assert wait_id("ask", StepOp.WAIT_FOR_SIGNAL) == "ask#signal"
    assert wait_id("ask", StepOp.INVOKE) == "ask#run"
    assert pass_op(2, "n", 1.0, 1.0).op_id == "inngest-durable:pass:2"
    assert held_op(2, 1, 1.0).op_id == "inngest-durable:pass:2:held:1"
    assert over_op(2, Park(1.0, 1)).op_id == "inngest-durable:pass:2:over"
    assert due_op(2, 1.0, 0.0).op_id == "inngest-durable:pass:2:due"


def test_newest_memo_counts_and_steps_keep_their_order() -> None:
    state = stored(
        [
            FIRST,
            memo_op(done("z"), 2, None, 1001.0),
            memo_op(retrying("b", 2), 1, None, 1009.0),
            memo_op(retrying("b", 1), 1, None, 1005.0),
            memo_op(done("a"), 1, None, 1007.0),
            memo_op(done("c"), 1, None, 1004.0),
            memo_op(retrying("c", 3), 1, None, 1003.0),
        ]
    )

    assert [memo.key for memo in state.memos] == ["c", "b", "a", "z"]
    assert [memo.state.value for memo in state.memos] == ["completed", "retrying", "completed", "completed"]
    assert state.memos[1].attempt == 2


def test_first_record_of_a_step_stays() -> None:
    late = replace(done("a"), result=b"2")
    assert stored([memo_op(done("a"), 1, None, 1.0), memo_op(late, 2, None, 2.0)]).memos == [done("a")]


def test_waits_are_those_of_steps_that_wait() -> None:
    both = [
        memo_op(waiting("pay", StepOp.WAIT_FOR_EVENT), 1, None, 1.0, WAIT),
        memo_op(waiting("old", StepOp.WAIT_FOR_EVENT), 1, None, 1.0, WAIT),
        memo_op(done("old", StepOp.WAIT_FOR_EVENT), 1, None, 2.0),
    ]
    waits = stored([FIRST, *both]).waits

    assert list(waits) == ["pay"]
    again = waits["pay"].again("pay", 7.5)
    assert (again.op, again.id, again.op_id, again.name) == (WAIT.op, WAIT.id, WAIT.op_id, "paid")
    assert isinstance(WAIT.opts, dict)
    assert again.opts == WAIT.opts | {"timeout": "7.5s"}


def test_what_arrived_is_told_by_key() -> None:
    event = {"data": {"durable": "request"}, "id": "e", "name": "paid", "ts": 1}
    waits = [
        memo_op(waiting("pay", StepOp.WAIT_FOR_EVENT), 1, None, 1.0),
        memo_op(waiting("late", StepOp.WAIT_FOR_SIGNAL), 1, None, 1.0),
        memo_op(waiting("open", StepOp.INVOKE), 1, None, 1.0),
        memo_op(waiting("nap"), 1, None, 1.0),
    ]
    others = {step_hash("pay#event"): event, step_hash("late#signal"): None, step_hash("nap#event"): event}
    arrived = stored(waits, others).arrived

    assert {key: json.loads(bytes(value)) for key, value in arrived.items()} == {"pay": event, "late": None}


def test_run_is_rebuilt_with_where_it_stands() -> None:
    park = Park(1300.0, 2, 0.5)
    state = stored(
        [FIRST, over_op(1, Park(1010.0, 1)), pass_op(2, "n2", 1070.0, 1010.0, "req", "w2"), over_op(2, park, "sleeps")]
    )
    run = state.run(RUN.id, "shop", REQUEST.body)

    assert run == replace(
        RUN, status=RunStatus.WAITING, attempt=2, epoch=2, owner="w2", wake_at=1300.0, quiet_seconds=0.5
    )
    assert state.over is not None
    assert (state.over.why, state.park, state.attempt) == ("sleeps", park, 2)
    assert state.newest_pass is not None
    assert (state.newest_pass.nonce, state.newest_pass.request_id) == ("n2", "req")


def test_pass_holds_its_run_until_it_is_over() -> None:
    ops = [FIRST]
    assert stored(ops).held_until(1059.9) == 1060.0
    assert stored(ops).held_until(1060.0) is None
    ops += [held_op(1, 2, 1120.0), held_op(1, 1, 1090.0)]
    assert stored(ops).held_until(1060.0) == 1120.0
    ops.append(over_op(1, Park(1200.0, 1)))
    assert stored(ops).held_until(1060.0) is None
    ops.append(pass_op(2, "n2", 1300.0, 1240.0))
    assert stored(ops).held_until(1250.0) == 1300.0
    assert stored(ops).over is None
    assert stored(ops).park is None


def test_call_back_makes_a_run_due_earlier() -> None:
    ops = [FIRST, over_op(1, Park(1200.0, 3, 1.0))]
    assert stored([*ops, due_op(1, 1100.0, 2.0)]).park == Park(1100.0, 3, 2.0)
    assert stored([*ops, due_op(1, 1300.0, 2.0)]).park == Park(1200.0, 3, 1.0)


def test_seen_arrivals_and_failure_of_a_pass_are_kept() -> None:
    failure = Failure("E", "file \udcff", "trace")
    over = stored([FIRST, over_op(1, Park(1.0, 1), "raised", failure, ["pay"])]).over

    assert over is not None
    assert (over.seen, over.failure) == (("pay",), Failure("E", "file \\udcff", "trace"))


def test_deaths_since_the_last_memoized_step_are_counted() -> None:
    later = [pass_op(n, f"n{n}", 1.0, 1.0) for n in (2, 3, 4)]
    parked = over_op(3, Park(1.0, 1))

    assert stored([FIRST]).deaths == 1
    assert stored([FIRST, *later]).deaths == 4
    assert stored([FIRST, *later, parked]).deaths == 3
    assert stored([FIRST, *later, parked, memo_op(retrying("a", 1), 4, None, 1.0)]).deaths == 3
    assert stored([FIRST, *later, parked, memo_op(done("a"), 3, None, 1.0)]).deaths == 1
    assert stored([FIRST, *later, parked, memo_op(done("a"), 2, None, 1.0)]).deaths == 2


def test_values_of_others_do_not_count() -> None:
    own = json.loads(FIRST.json())["data"]
    others: dict[str, Any] = {
        step_hash("a"): {"data": 1},
        step_hash("b"): None,
        step_hash("c"): {"error": {"name": "E", "message": ""}},
        step_hash("d"): {"data": {"durable": "unknown", "n": 1}},
        step_hash("e"): {"data": {"durable": "pass", "n": "two"}},
        step_hash("f"): {"data": {"key": "f"}},
        # A record, but not where it belongs.
        step_hash("g"): {"data": own},
        step_hash(REQUEST_RECORD_ID): {"data": own, "name": "an event"},
    }
    state = stored([], others)
    assert (state.request, state.memos, state.waits, state.passes, state.arrived) == (None, [], {}, [], {})
    assert (state.progress, state.park, state.attempt, state.deaths) == (0, None, 1, 0)
    assert stored([], others).run(RUN.id, "shop", b"") is None
    assert stored([], others).held_until(0.0) is None
    assert stored([], others).newest_pass is None


def test_record_of_a_later_version_is_read() -> None:
    data = {**json.loads(FIRST.json())["data"], "new": [1]}
    op = step_run(REQUEST_RECORD_ID, "request", json.dumps(data).encode(), 1.0, 1.0)

    assert stored([op]).request == stored([FIRST]).request
