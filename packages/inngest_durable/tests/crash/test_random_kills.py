"""A server is killed with SIGKILL at many random moments with runs in flight; then the books are done."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from packages.inngest_durable.tests.crash import trips_app
from testkit.forks import ForkedServer, Zygote
from testkit.outside import Outside
from testkit.ports import free_port
from testkit.records import Records, database_of
from testkit.waiting import wait_until

KILLS = {"quart": 50, "flask": 25}
SEED = 20261122
# Some servers die before they listen or while they recover, the others this long after they began to listen, at most.
YOUNG_DEATHS = 0.2
LONGEST_START_SECONDS = 0.1
LONGEST_LIFE_SECONDS = 0.15
REQUESTS_PER_LIFE = 4
# In milliseconds, one for each request of a life: over in place, or long enough for a redirect and a re-entry.
PAUSES = (10, 10, 80, 80)
STEPS = ("one", "left", "right", "three")


class Servers:
    """
    A line of server processes on one port and one database, of which one lives at a time.

    Args:
        folder: The database, the outside world and the output.
    """

    def __init__(self, zygote: Zygote, app: str, folder: Path) -> None:
        self.port = free_port()
        self._zygote = zygote
        self._app = app
        self._folder = folder
        self._server: ForkedServer | None = None

    def start(self) -> None:
        """Start a server, without waiting for it."""
        self._server = ForkedServer(self._zygote, self._app, self.port, self._folder)

    def kill(self) -> None:
        """Kill it."""
        assert self._server is not None
        self._server.kill()
        assert self._server.popen.returncode == -signal.SIGKILL, self._server.output

    def is_listening(self) -> bool:
        """Whether the server takes connections."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        """Return a connection to the server."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def close(self) -> None:
        """End the line."""
        if self._server is not None:
            self._server.kill()


class Books:
    """
    What was seen at each death, to be compared with how it all ends.

    Attributes:
        promised: Run IDs that a client was told, by an answer or a redirect.
        answers: Bodies that clients got in the same response, by run ID.
    """

    def __init__(self, folder: Path) -> None:
        self.outside = Outside(folder)
        self.promised: set[str] = set()
        self.answers: dict[str, str] = {}
        self._folder = folder
        self._memoized: dict[tuple[str, str], tuple[str, int]] = {}
        self._runs: set[str] = set()

    def note_death(self) -> None:
        """Read the database as the dead process left it, from a copy, so that nothing is repaired by the reading."""
        copy = self._folder / "copy.db"
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{database_of(self._folder)}{suffix}", f"{copy}{suffix}")
        executions = self._executions_of_steps()
        for run_id, key, token in _memos(copy):
            self._runs.add(run_id)
            known, times = self._memoized.setdefault((run_id, key), (token, executions[token]))
            assert known == token, f"step {key} of run {run_id} has two memoized effects"
            assert times == executions[token], f"step {key} of run {run_id} ran after it was memoized"

    def note_answer(self, received: bytes) -> None:
        """Read what a client got before the death."""
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        run_ids = [line.partition(": ")[2].upper() for line in lines if line.startswith("x-inngest-run-id: ")]
        self.promised.update(run_ids)
        length = next((int(line.partition(": ")[2]) for line in lines if line.startswith("content-length: ")), -1)
        if lines[0].startswith("http/1.1 200") and len(body) == length:
            self.answers[run_ids[0]] = body.decode()

    def check(self) -> Counter[int]:
        """Do the accounts when all runs have ended. Returns how many steps were executed how often."""
        records = Records(database_of(self._folder))
        runs = {run.id: run for run in records.runs()}
        assert self._runs <= set(runs)
        assert self.promised <= set(runs)
        assert {run.status for run in runs.values()} == {"completed"}
        self.note_death()
        executions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in self.outside.calls():
            executions[call["action"]].append(call)
        for calls in executions.values():
            # Again only after a death, with the same key, and never twice by one process.
            assert len({call["pid"] for call in calls}) == len(calls)
            assert len({call["key"] for call in calls}) == 1
        assert len({calls[0]["key"] for calls in executions.values()}) == len(executions)
        journeys = {call["token"]: action.partition("/")[0] for action, calls in executions.items() for call in calls}
        finished = {self._check_run(records, run_id, journeys, executions) for run_id in runs}
        for action, calls in executions.items():
            journey, _, name = action.partition("/")
            # Of a request that was never accepted, at most step one was done, and once.
            assert journey in finished or (name, len(calls)) == ("one", 1)
        return Counter(len(calls) for calls in executions.values())

    def _check_run(
        self, records: Records, run_id: str, journeys: dict[str, str], executions: dict[str, list[dict[str, Any]]]
    ) -> str:
        """Check that the last execution of each step was memoized and is in the answer; return the journey."""
        steps = records.steps(run_id)
        tokens = {name: json.loads(steps[name].result or "null") for name in STEPS}
        journey = journeys[tokens["one"]]
        assert tokens == {name: executions[f"{journey}/{name}"][-1]["token"] for name in STEPS}
        answer = records.response_of(run_id)
        assert json.loads(answer) == tokens
        assert json.loads(self.answers.get(run_id, answer)) == tokens
        return journey

    def _executions_of_steps(self) -> dict[str, int]:
        """Return, for each token, how often the step that it belongs to was executed so far."""
        calls = self.outside.calls()
        times = Counter(call["action"] for call in calls)
        return {call["token"]: times[call["action"]] for call in calls}


def _memos(database: Path) -> list[tuple[str, str, str]]:
    """Return run ID, key and token of each memoized step, but for pauses."""
    with closing(sqlite3.connect(database)) as db:
        try:
            rows = db.execute(
                "SELECT run_id, key, result FROM steps WHERE state = 'completed' AND op = 'run'"
            ).fetchall()
        except sqlite3.OperationalError:
            # Died before it made its tables.
            return []
    return [(run_id, key, json.loads(result)) for run_id, key, result in rows]


def live_and_die(servers: Servers, books: Books, names: Iterator[str], chance: random.Random) -> None:
    """Start a server, send it some requests, and kill it at a random moment, whatever it is doing."""
    clients: list[socket.socket] = []
    servers.start()
    if chance.random() < YOUNG_DEATHS:
        time.sleep(chance.uniform(0, LONGEST_START_SECONDS))
    else:
        wait_until(servers.is_listening, "a server to listen")
        death = time.monotonic() + chance.uniform(0, LONGEST_LIFE_SECONDS)
        for number in range(REQUESTS_PER_LIFE):
            client = servers.connect()
            client.sendall(f"GET /journey/{next(names)}?ms={PAUSES[number]} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            # Every second client leaves at once, the others stay until the server dies.
            clients.append(client) if number % 2 else client.close()
        time.sleep(max(0, death - time.monotonic()))
    servers.kill()
    for client in clients:
        with closing(client), suppress(ConnectionError):
            books.note_answer(client.recv(65536))
    books.note_death()


@pytest.mark.parametrize(("framework", "kills"), KILLS.items())
def test_random_kills_lose_nothing_and_repeat_nothing(
    framework: str, kills: int, zygote: Zygote, tmp_path: Path
) -> None:
    """Every accepted run completes by itself; a memoized step never runs again, and has one memoized effect."""
    chance = random.Random(SEED)
    names = (str(number) for number in range(kills * REQUESTS_PER_LIFE))
    books = Books(tmp_path)
    with closing(Servers(zygote, f"{trips_app.__name__}:create_{framework}_app", tmp_path)) as servers:
        for _ in range(kills):
            live_and_die(servers, books, names, chance)
        servers.start()
        records = Records(database_of(tmp_path))
        wait_until(lambda: all(run.is_final for run in records.runs()), "every run to end")
    repeated = books.check()

    # The kills did hit something, and most steps were left alone.
    assert len(records.runs()) > kills / 2
    assert sum(repeated.values()) > repeated[1]
    assert repeated[1] > repeated[2]
