"""
What the database file says, read from outside the engine.

Not while another part of this process copies the file: closing any descriptor of it drops the locks that SQLite holds
for this process.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from inngest_durable._core.model import RecordedRequest, RecordedResponse

from chaos.kinds import CHILD

FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Run:
    """
    A run and its memos.

    Attributes:
        id: ULID.
        framework: Of its application.
        route: The first part of its path: its kind.
        name: The second part: its request.
        status: As it is stored.
        response: Status and JSON, or None.
        tokens: Results of the steps that completed, by step ID.
    """

    id: str
    framework: str
    route: str
    name: str
    status: str
    response: tuple[int, Any] | None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL

    @property
    def is_child(self) -> bool:
        """Whether another run has invoked it."""
        return self.route == CHILD.route


class File:
    """
    A database.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def unfinished(self) -> list[str]:
        """Return the IDs of the runs that have not ended."""
        rows = self._read("SELECT id FROM runs WHERE status NOT IN (?, ?, ?)", *FINAL)
        return [run_id for (run_id,) in rows]

    def runs(self) -> list[Run]:
        """Return all runs with their memos, the oldest first."""
        found = {run.id: run for run in map(_run, self._read("SELECT id, app_id, status, request, response FROM runs"))}
        memos = "SELECT run_id, key, CAST(result AS TEXT) FROM steps WHERE op = 'run' AND state = 'completed'"
        for run_id, key, result in self._read(memos):
            found[run_id].tokens[key] = json.loads(result)
        return sorted(found.values(), key=lambda run: run.id)

    def trouble(self) -> str:
        """Return what SQLite finds wrong with the file, or an empty text."""
        found = "; ".join(text for (text,) in self._read("PRAGMA integrity_check"))
        return "" if found == "ok" else found

    def _read(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            return connection.execute(query, parameters).fetchall()


def _run(row: tuple[Any, ...]) -> Run:
    run_id, app_id, status, request, response = row
    _, route, name = msgspec.msgpack.decode(request, type=RecordedRequest).path.split("/")
    return Run(run_id, app_id.removeprefix("chaos-"), route, name, status, _response(response))


def _response(packed: bytes | None) -> tuple[int, Any] | None:
    if packed is None:
        return None
    recorded = msgspec.msgpack.decode(packed, type=RecordedResponse)
    try:
        return recorded.status, json.loads(recorded.body)
    except ValueError:
        # No handler here answers anything but JSON: it is a page of the framework's, about an error.
        return recorded.status, recorded.body.decode(errors="replace")
