"""An event finds the step that waits for it without a look at the others, however many wait."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inngest_durable._core.effects import Along
from inngest_durable._core.matching import WaitFor, wait_for_event
from inngest_durable._core.model import Memo, StepOp, StepState
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.embedded.waits import add_events, add_signal
from inngest_durable.engines.records import AddEvents, AddSignal, Found, Insert, SaveMemoWith
from msgspec.json import encode

from packages.inngest_durable.tests.store.samples import APP, Samples
from packages.inngest_durable.tests.store.test_contract_waits import event

NOW, LATER = 5000.0, 9000.0
FEW, MANY = 100, 2_000


def wait(match: dict[str, Any] | None) -> WaitFor:
    """What a step waits for whose event has these values."""
    return wait_for_event("trip/approved", match, None, dict)


async def let_wait(store: SqliteStore, samples: Samples, alongs: list[Along]) -> None:
    """Let a step of a run wait for each of *alongs*."""
    memo = Memo("step", "step", StepOp.WAIT_FOR_EVENT, StepState.WAITING, wake_at=LATER)
    for along in alongs:
        run = samples.run()
        last = store.write(Insert(run), SaveMemoWith(run.id, 1, APP, memo, along, NOW, Found()))
    await last


def work_of(path: Path, write: AddEvents | AddSignal) -> int:
    """Return how many instructions of SQLite's virtual machine *write* takes, and undo it."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        connection.set_progress_handler(tick, 1)
        add_events(cursor, write) if isinstance(write, AddEvents) else add_signal(cursor, write)
        connection.set_progress_handler(None, 1)
        cursor.execute("ROLLBACK")
    assert len(write.found.resumed) == 1
    return count


@pytest.mark.parametrize(
    ("match", "data"),
    [
        (lambda number: {"data.id": number}, {"id": 7}),
        (lambda number: {"data.kind": "flight", "data.id": number}, {"kind": "flight", "id": 7}),
        (lambda number: {"data.id": number, "data.kind": "flight"}, {"kind": "flight", "id": 7}),
    ],
    ids=["value", "common value first", "common value last"],
)
async def test_event_looks_at_its_own_waits_alone(
    sqlite_store: SqliteStore, path: Path, samples: Samples, match: Any, data: dict[str, Any]
) -> None:
    write = AddEvents(APP, (event(**data),), NOW, Found())
    await let_wait(sqlite_store, samples, [wait(match(number)) for number in range(FEW)])
    few = work_of(path, write)
    await let_wait(sqlite_store, samples, [wait(match(number)) for number in range(FEW, MANY)])

    assert work_of(path, write) < 1.2 * few


async def test_signal_looks_at_its_own_wait_alone(sqlite_store: SqliteStore, path: Path, samples: Samples) -> None:
    write = AddSignal(APP, "bank/7", encode({"signal": "bank/7"}), NOW, Found())
    await let_wait(sqlite_store, samples, [WaitFor("signal", f"bank/{number}") for number in range(FEW)])
    few = work_of(path, write)
    await let_wait(sqlite_store, samples, [WaitFor("signal", f"bank/{number}") for number in range(FEW, MANY)])

    assert work_of(path, write) < 1.2 * few
