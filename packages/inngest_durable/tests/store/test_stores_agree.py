"""Whatever is written, in whatever order: the memory store and the SQLite store answer alike."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from inngest_durable._core.effects import SendEvents, SendSignal, StopWaiting
from inngest_durable._core.events import SentEvent
from inngest_durable._core.invoke_flow import family
from inngest_durable._core.matching import WaitFor
from inngest_durable._core.model import (
    Failure,
    Finish,
    Idempotency,
    Memo,
    Park,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepOp,
    StepState,
)
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.embedded.store import SqliteStore
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
    SaveMemo,
    SaveMemoWith,
    WakeRun,
    Write,
)
from inngest_durable.engines.store import Store
from inngest_durable.errors import StoreError
from inngest_durable.testing import MemoryStore

RUNS = ["01JA", "01JB"]
OWNERS = ["01JW", "01JX"]
REQUEST = RecordedRequest("GET", "http", "", "/", b"/", b"", (), None, None, "1.1", b"")

run_ids = st.sampled_from(RUNS)
epochs = st.integers(1, 3)
times = st.sampled_from([1.0, 2.0, 3.5])
memos = st.builds(
    Memo,
    key=st.sampled_from(["a", "b", "b:1"]),
    id=st.sampled_from(["a", "b"]),
    op=st.sampled_from(StepOp),
    state=st.sampled_from(StepState),
    attempt=st.integers(0, 3),
    result=st.sampled_from([None, b"1", b'"x"']),
    failure=st.sampled_from([None, Failure("E", "no")]),
    wake_at=st.none() | times,
    fingerprint=st.sampled_from(["", "f(1)"]),
)
waiting_memos = st.builds(
    Memo,
    key=st.sampled_from(["a", "b"]),
    id=st.just("a"),
    op=st.just(StepOp.WAIT_FOR_EVENT),
    state=st.sampled_from([StepState.WAITING, StepState.WAITING, StepState.COMPLETED]),
    result=st.none() | st.just(b"null"),
    wake_at=st.none() | times,
)
names = st.sampled_from(["go", "stop"])
apps = st.sampled_from(["app", "app", "other"])
ends = st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
finishes = st.builds(Finish, ends, st.sampled_from([None, RecordedResponse(200, ((b"a", b"b"),), b"x")]))
keys = st.builds(Idempotency, st.just("scope"), st.sampled_from("kl"), st.just("digest"))
inserts = st.builds(
    lambda run_id, **values: Insert(Run(run_id, "app", "book", REQUEST, 1.0, **values)),
    run_ids,
    owner=st.sampled_from(OWNERS),
    epoch=epochs,
    recoveries=st.integers(0, 3),
    deadline=st.none() | times,
    idempotency=st.none() | keys,
)
children = st.builds(
    lambda epoch: Insert(Run(RUNS[1], "app", "book", REQUEST, 1.0, epoch=epoch, idempotency=family(RUNS[0], "a"))),
    epochs,
)
values = st.sampled_from(["1", "2"])
waits = st.one_of(
    st.builds(WaitFor, st.just("event"), names, st.just("data.v"), values, since=st.none() | times),
    st.builds(WaitFor, st.just("event"), names, since=st.none() | times, taken=st.sampled_from([(), ("e1",)])),
    st.builds(WaitFor, st.just("signal"), names),
    st.builds(WaitFor, st.just("run"), run_ids),
)
sent = st.builds(
    lambda event_id, name, value: SentEvent(event_id, name, b'{"v":%s}' % value.encode(), 5),
    st.sampled_from(["e1", "e2", "e3"]),
    names,
    values,
)
alongs = st.one_of(
    waits,
    waits,
    st.just(StopWaiting()),
    st.builds(SendEvents, st.tuples(sent)),
    st.builds(SendSignal, names, st.just(b'"signal"')),
)
arriving = st.one_of(
    st.builds(AddEvents, apps, st.tuples(sent, sent), times | st.just(86402.0), st.builds(Found)),
    st.builds(AddSignal, apps, names, st.just(b'"signal"'), times, st.builds(Found)),
    st.builds(PruneEvents, times, st.integers(1, 2), st.builds(Found)),
)
guarded = st.one_of(
    st.builds(SaveMemoWith, run_ids, epochs, apps, waiting_memos, alongs, times, st.builds(Found), st.booleans()),
    st.builds(ParkRun, run_ids, epochs, st.builds(Park, times, st.just(1)), seen=st.sampled_from([(), ("a",)])),
    st.builds(FinishRun, run_ids, epochs, finishes, times, found=st.builds(Found)),
    st.builds(CancelRun, run_ids, times, st.builds(Found)),
    st.builds(SaveMemo, run_ids, epochs, memos, st.booleans()),
    st.builds(ParkRun, run_ids, epochs, st.builds(Park, times, st.integers(1, 3), st.just(0.1))),
    st.builds(WakeRun, run_ids, epochs, times, st.just(0.2)),
    st.builds(RecoverRun, run_ids, epochs, times),
    st.builds(ClaimRun, run_ids, epochs, st.sampled_from(OWNERS)),
    st.builds(FinishRun, run_ids, epochs, finishes, times),
)
groups = st.builds(
    lambda first, rest: (first, *rest),
    st.one_of(inserts, children, guarded, guarded, arriving),
    st.lists(guarded, max_size=2),
)
batches = st.lists(st.lists(groups, min_size=1, max_size=3), max_size=12)


def found_by(write: Write) -> Any:
    """Return what a store told of a write."""
    found: Found | None = getattr(write, "found", None)
    if found is None:
        return None
    return found.memo, sorted(found.resumed), found.count, found.due, sorted(found.cancelled)


async def play(store: Store, script: list[list[tuple[Write, ...]]]) -> list[Any]:
    """Return the outcome of each group, and what the store shows after each batch."""
    store.open()
    seen: list[Any] = []
    for batch in script:
        results = await asyncio.gather(*(store.write(*group) for group in batch), return_exceptions=True)
        assert all(result is None or isinstance(result, FencedError | StoreError) for result in results)
        seen.append([type(result) for result in results])
        seen.append([store.run(run_id) for run_id in RUNS])
        seen.append([store.memos(run_id) for run_id in RUNS])
        seen.append([store.find("scope", key) for key in "kl"])
        seen.append([found_by(write) for group in batch for write in group])
        seen.append((store.arrived(), store.oldest_event()))
        seen.append((store.due("app", 2.5, 1), store.due("app", 9.0, 9), store.orphans(OWNERS)))
    await store.close()
    return seen


@settings(max_examples=60, deadline=None)
@given(batches)
def test_memory_and_sqlite_answer_alike(script: list[list[tuple[Write, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = asyncio.run(play(SqliteStore(Path(folder, "durable.db"), synchronous="NORMAL"), script))

    assert sqlite == asyncio.run(play(MemoryStore(), script))
