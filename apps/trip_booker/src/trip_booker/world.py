"""
The outside world: what the airline, the payment provider and the mailer know, in one SQLite file.

It plays other companies' computers, so it survives crashes of this app and may be used by several processes at once.
Every call to a third party is a row. It knows nothing of steps, switches or latency: see `third_party`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEFAULT_PATH = ".inngest/world.db"

REPLAYED = "replayed"

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS calls (
        id              INTEGER PRIMARY KEY,
        time            TEXT NOT NULL,     -- UTC, ISO 8601
        pid             INTEGER NOT NULL,  -- the process of ours that called: another one after a crash
        service         TEXT NOT NULL,     -- whom: airline, payments, notifications
        action          TEXT NOT NULL,     -- what we asked for: reserve, charge, ...
        booking_id      TEXT NOT NULL,
        idempotency_key TEXT,
        outcome         TEXT NOT NULL,     -- what was done (held, charged, ...), replayed, or an error code
        result          TEXT               -- the answer as JSON; NULL when the call failed
    )
    """,
    "CREATE INDEX IF NOT EXISTS calls_by_booking ON calls (booking_id, service, action)",
    "CREATE INDEX IF NOT EXISTS calls_by_key ON calls (idempotency_key)",
)


@dataclass(frozen=True, slots=True)
class Call:
    """
    What we ask of a third party.

    Args:
        service: Whom we call, e.g. ``"payments"``.
        action: What we ask for, e.g. ``"charge"``.
        booking_id: The booking it is for.
        idempotency_key: A key that was seen before gets the first answer again, and nothing is done twice.
    """

    service: str
    action: str
    booking_id: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    What a third party answered.

    Attributes:
        result: The answer, a JSON object.
        first: Whether this action was done for this booking for the first time.
    """

    result: dict[str, Any]
    first: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the outside world's memory."""

    time: str
    pid: int
    service: str
    action: str
    booking_id: str
    idempotency_key: str | None
    outcome: str
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class World:
    """
    The memory of all third parties, in the SQLite file at *path*.

    Each method opens the file, does its work in one transaction and closes it: no connection to share between
    threads, and a killed process leaves nothing behind.
    """

    path: Path

    def answer(self, call: Call, outcome: str, result: Mapping[str, object]) -> Reply:
        """Do what *call* asks and answer *result*, or repeat the answer that its idempotency key got before."""
        with self._transaction() as db:
            done = db.execute(
                "SELECT result FROM calls WHERE service = ? AND action = ? AND idempotency_key = ?"
                " AND result IS NOT NULL LIMIT 1",
                (call.service, call.action, call.idempotency_key),
            ).fetchone()
            if done is not None:
                _record(db, call, REPLAYED, done[0])
                return Reply(json.loads(done[0]), first=False)
            (times,) = db.execute(
                "SELECT count(*) FROM calls WHERE booking_id = ? AND service = ? AND action = ? AND result IS NOT NULL",
                (call.booking_id, call.service, call.action),
            ).fetchone()
            _record(db, call, outcome, json.dumps(result))
        return Reply(dict(result), first=times == 0)

    def refuse(self, call: Call, code: str, times: float) -> bool:
        """Answer *call* with the error *code*, unless *times* calls got an error before. Return whether it did."""
        with self._transaction() as db:
            (refused,) = db.execute(
                "SELECT count(*) FROM calls WHERE booking_id = ? AND service = ? AND action = ? AND result IS NULL",
                (call.booking_id, call.service, call.action),
            ).fetchone()
            if refused >= times:
                return False
            _record(db, call, code, None)
        return True

    def calls(self, booking_id: str) -> list[Entry]:
        """Return every call made for a booking, oldest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT time, pid, service, action, booking_id, idempotency_key, outcome, result"
                " FROM calls WHERE booking_id = ? ORDER BY id",
                (booking_id,),
            ).fetchall()
        return [_entry(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            # IMMEDIATE: read and write under one lock, so that two processes never both think they came first.
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                db.execute(statement)
            yield db
            db.execute("COMMIT")


def open_world() -> World:
    """Return the world named by ``TRIP_BOOKER_WORLD``, or the default one below the current folder."""
    return World(Path(os.environ.get("TRIP_BOOKER_WORLD") or DEFAULT_PATH))


def _entry(row: tuple[Any, ...]) -> Entry:
    time, pid, service, action, booking_id, key, outcome, result = row
    return Entry(time, pid, service, action, booking_id, key, outcome, None if result is None else json.loads(result))


def _record(db: sqlite3.Connection, call: Call, outcome: str, result: str | None) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    db.execute(
        "INSERT INTO calls (time, pid, service, action, booking_id, idempotency_key, outcome, result)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (now, os.getpid(), call.service, call.action, call.booking_id, call.idempotency_key, outcome, result),
    )
