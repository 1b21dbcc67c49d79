"""The engine's life in processes of their own: signals, servers, deaths and forks."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from packages.inngest_durable.tests.adapters import life_app
from packages.inngest_durable.tests.adapters.shop import connection
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import Outside
from testkit.ports import free_port
from testkit.records import Records, database_of
from testkit.server_process import ServerProcess, hypercorn_command, uvicorn_command
from testkit.servers import UvicornThread
from testkit.waiting import wait_until

APP = f"{life_app.__name__}:create_app"
SCRIPT = [sys.executable, "-m", life_app.__name__]
# What a process may take to end, beside what it waits for; less than the grace, in which a drain that hangs would end.
EXIT_SECONDS = 30.0
# Without what a client of plain HTTP has no use for: certificates take a while to load.
HTTPX: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": 20}

COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn": lambda port: uvicorn_command(APP, port),
    "hypercorn --workers 0": lambda port: hypercorn_command(APP, port, "--workers", "0", "--graceful-timeout", "1"),
    "hypercorn.asyncio.serve": lambda port: [*SCRIPT, "hypercorn", str(port)],
}


class Life:
    """One folder, and the processes that live on it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.outside = Outside(folder)
        self.visits = Outside(folder / "visits")
        self.records = Records(database_of(folder))
        self.port = free_port()
        self._folder = folder
        self._stack = ExitStack()

    def start(self, command: list[str], **options: Any) -> ServerProcess:
        """Start a process."""
        env = {"FOLDER": str(self._folder), "OPTIONS": json.dumps(options)}
        process = ServerProcess(command, self._folder, env)
        self._stack.callback(process.kill)
        return process

    def serve(self, server: str = "uvicorn", **options: Any) -> ServerProcess:
        """Start a server and wait until it listens."""
        process = self.start(COMMANDS[server](self.port), **options)
        process.wait_ready(self.port)
        return process

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET *path* from the server."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", **(HTTPX | options))

    def go_on(self) -> None:
        """Let the next worker take up what there is. It lives in this process, which starts sooner than another."""
        shop = life_app.build(self._folder)
        server = UvicornThread(shop.app)
        self._stack.callback(server.stop)
        self.port = server.port

    def connection(self, path: str) -> Any:
        """Send a request by hand."""
        return connection(self.port, path)

    def close(self) -> None:
        """End every process."""
        self.outside.open("*")
        self._stack.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """Give a folder for processes."""
    made = Life(tmp_path)
    yield made
    made.close()


def received(connected: socket.socket) -> bytes:
    """Return what comes next on a connection; nothing if it was closed."""
    connected.settimeout(EXIT_SECONDS)
    return connected.recv(65536)


def ended_within(process: ServerProcess, seconds: float) -> int:
    """Return the exit code of a process, which must have ended in this time."""
    wait_until(lambda: process.popen.poll() is not None, f"the end of the process\n{process.output}", seconds)
    return process.wait()


SIGNALLED = [
    ("uvicorn", signal.SIGINT, "process"),
    ("uvicorn", signal.SIGTERM, "group"),
    ("hypercorn --workers 0", signal.SIGTERM, "process"),
    ("hypercorn --workers 0", signal.SIGINT, "group"),
    ("hypercorn.asyncio.serve", signal.SIGTERM, "process"),
]


@pytest.mark.parametrize(("server", "number", "to"), SIGNALLED, ids=str)
def test_signal_in_mid_step(life: Life, server: str, number: signal.Signals, to: str) -> None:
    """
    The step ends and is recorded, the client gets its redirect, held requests are let go at once, the process exits.

    The next process completes the run, and no step has run twice.
    """
    process = life.serve(server)
    sleeping = life.get("/asleep").headers["location"]
    with life.connection("/held") as client, life.connection(sleeping) as waiter:
        life.outside.wait_for("two")
        life.visits.wait_for(sleeping.split("?")[0])
        (os.killpg if to == "group" else os.kill)(process.popen.pid, number)
        answer_of_waiter = received(waiter)
        status_before = process.popen.poll()
        began = time.monotonic()
        life.outside.open("two")
        answer_of_client = received(client)
        exit_code = ended_within(process, EXIT_SECONDS)
        took = time.monotonic() - began
    at_exit = life.outside.counts()
    (run,) = (run for run in life.records.runs() if run.endpoint == "held")
    steps = set(life.records.steps(run.id))
    life.go_on()

    assert answer_of_waiter.startswith(b"HTTP/1.1 303"), process.output
    assert status_before is None
    assert answer_of_client.startswith(b"HTTP/1.1 303"), process.output
    assert b"/_inngest/runs/" in answer_of_client
    # Uvicorn raises the signal again when it has stopped; its command takes that of SIGINT for a usual end.
    by_signal = server == "uvicorn" and number == signal.SIGTERM
    assert exit_code == (-number if by_signal else 0), process.output
    assert took < EXIT_SECONDS
    assert (at_exit, run.status, steps) == ({"one": 1, "two": 1}, "waiting", {"one", "two"})
    assert life.records.wait_for_end(run.id).status == "completed"
    assert life.outside.counts() == {"one": 1, "two": 1, "three": 1}
    assert "please report this bug" not in process.output
    assert "Traceback" not in process.output


def test_server_handles_signals_alone_when_told_so(life: Life) -> None:
    """With ``handle_signals=False`` a signal interrupts no pass: the server lets the request end as it does."""
    process = life.serve(client={"handle_signals": False})
    with life.connection("/held") as client:
        life.outside.wait_for("two")
        process.terminate()
        wait_until(lambda: not accepts(life.port), "the server to close its port")
        life.outside.open("two")
        answer = received(client)
    exit_code = ended_within(process, EXIT_SECONDS)

    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert exit_code == -signal.SIGTERM
    assert life.records.wait_for_only_run().status == "completed"


def accepts(port: int) -> bool:
    """Tell whether somebody listens on *port*."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def signalled(life: Life, previous: str) -> ServerProcess:
    """Start the script with a *previous* handler of SIGTERM, and return it when it has seen that in its second step."""
    process = life.start([*SCRIPT, "script", previous])
    life.outside.wait_for("two")
    process.terminate()
    os.kill(process.popen.pid, signal.SIGWINCH)
    life.outside.wait_for("seen")
    return process


def test_previous_handler_is_called_after_the_drain(life: Life) -> None:
    """A handler that the application had installed is called once, when the step in flight has ended."""
    process = signalled(life, "recorded")
    before = life.outside.calls("previous")
    life.outside.open("two")
    life.outside.wait_for("previous")
    life.outside.open("exit")

    assert ended_within(process, EXIT_SECONDS) == 0, process.output
    assert before == []
    order = [call["action"] for call in life.outside.calls()]
    assert order[:3] == ["one", "two", "seen"]
    assert sorted(order[3:]) == ["answered", "previous", "stopped"]
    assert life.outside.calls("answered")[0]["status"] == 303
    assert life.outside.calls("previous")[0]["number"] == signal.SIGTERM
    assert life.records.wait_for_only_run("waiting").status == "waiting"


def test_second_signal_does_not_wait(life: Life) -> None:
    """Who sends the signal again wants it done: the previous handler is called while the step still executes."""
    process = signalled(life, "recorded")
    before = life.outside.calls("previous")
    process.terminate()
    life.outside.wait_for("previous")
    still_held = not life.outside.calls("answered")
    life.outside.open("two")
    life.outside.open("exit")

    assert ended_within(process, EXIT_SECONDS) == 0, process.output
    assert before == []
    assert still_held


def test_default_disposition_is_honoured(life: Life) -> None:
    """Without a handler of anybody's the signal ends the process, as it would have, when the step has ended."""
    process = signalled(life, "default")
    before = process.popen.poll()
    life.outside.open("two")

    assert ended_within(process, EXIT_SECONDS) == -signal.SIGTERM, process.output
    assert before is None
    run = life.records.wait_for_only_run("waiting")
    assert set(life.records.steps(run.id)) == {"one", "two"}
    assert life.outside.calls("three") == []


def test_ignored_signal_stays_ignored(life: Life) -> None:
    """Where a signal does nothing (a background job of a shell), it does not stop the engine either."""
    process = signalled(life, "ignored")
    life.outside.open("two")
    life.outside.wait_for("answered")
    life.outside.open("exit")

    assert ended_within(process, EXIT_SECONDS) == 0, process.output
    assert life.outside.calls("answered")[0]["status"] == 200


@pytest.mark.parametrize("client_is", ["connected", "gone"])
def test_hanging_def_step_does_not_keep_the_process(life: Life, client_is: str) -> None:
    """A thread that never returns is abandoned after the grace; its run goes on in the next process."""
    process = life.serve(engine={"shutdown_grace": "500ms"})
    with life.connection("/hangs") as client:
        life.outside.wait_for("hangs")
        if client_is == "gone":
            client.close()
        process.terminate()
        exit_code = ended_within(process, EXIT_SECONDS)
        if client_is == "connected":
            assert received(client).startswith(b"HTTP/1.1 303"), process.output
    life.go_on()

    assert exit_code == -signal.SIGTERM, process.output
    assert "did not end within the shutdown grace of 0.5 s" in process.output
    run = life.records.wait_for_only_run()
    assert run.status == "completed"
    # The attempt that was abandoned is none.
    assert life.records.steps(run.id)["hangs"].attempt == 1
    assert life.outside.counts() == {"hangs": 2}


def test_handler_that_awaits_something_else_does_not_keep_the_process(life: Life) -> None:
    """A handler that is in no step when the process stops is left after the grace; its client is redirected."""
    process = life.serve(engine={"shutdown_grace": "500ms"})
    with life.connection("/elsewhere") as client:
        life.outside.wait_for("elsewhere")
        process.terminate()
        answer = received(client)
        exit_code = ended_within(process, EXIT_SECONDS)
    life.go_on()

    assert answer.startswith(b"HTTP/1.1 303"), process.output
    assert exit_code == -signal.SIGTERM, process.output
    assert life.records.wait_for_only_run().status == "completed"
    assert life.outside.counts() == {"one": 1, "elsewhere": 2}


def test_run_with_a_key_survives_death_in_the_handlers_first_statement(life: Life) -> None:
    """The row was committed before the handler's code: the run goes on without its client, and answers the key."""
    process = life.serve()
    with pytest.raises(httpx.RemoteProtocolError):
        life.get("/dies-first", headers={"Idempotency-Key": "key"})
    assert process.wait() == -signal.SIGKILL
    before = [(run.endpoint, run.status) for run in life.records.runs()]
    life.go_on()
    run = life.records.wait_for_only_run()
    answer = life.get("/dies-first", headers={"Idempotency-Key": "key"})

    assert before == [("dies-first", "running")]
    assert run.status == "completed"
    assert (answer.status_code, answer.text, answer.headers[RUN_ID]) == (200, "one#1", run.id)
    assert answer.headers["idempotent-replayed"] == "true"
    assert life.outside.counts() == {"handler": 2, "one": 1}


def test_run_without_a_key_is_none_before_its_first_step(life: Life) -> None:
    """Without a key a death before the first step leaves nothing: the client saw no answer and may ask again."""
    process = life.serve()
    with pytest.raises(httpx.RemoteProtocolError):
        life.get("/dies-first")
    process.wait()
    life.go_on()

    assert life.get("/dies-first").text == "one#1"
    assert life.records.wait_for_only_run().status == "completed"


def workers(database: Path) -> dict[str, int]:
    """Return the process IDs of the recorded workers."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
        return dict(db.execute("SELECT id, pid FROM workers").fetchall())


@pytest.mark.parametrize("child_ends", ["stops", "dies"])
def test_forked_child_has_an_engine_of_its_own(life: Life, child_ends: str) -> None:
    """The child starts its own worker and leaves the parent's alone; when it dies, the parent takes over its run."""
    process = life.start([*SCRIPT, "fork", child_ends])
    life.outside.wait_for("child-booked")
    together = workers(life.records.path)
    locks = {path.stem for path in Path(f"{life.records.path}.workers").glob("*.lock")}
    life.outside.open("child")
    life.outside.wait_for("child-ended")
    life.outside.open("two")
    life.outside.wait_for("parent-booked")
    if child_ends == "dies":
        wait_until(lambda: life.outside.calls("dies")[1:], "the parent to take over")
    ended = [life.records.wait_for_end(run.id) for run in life.records.runs()]
    afterwards = set(workers(life.records.path).values())
    life.outside.open("exit")

    assert ended_within(process, EXIT_SECONDS) == 0, process.output
    pids = {call["pid"] for call in life.outside.calls("child-started")}
    assert [call["started"] for call in life.outside.calls("child-started")] == [False]
    assert set(together.values()) == {process.popen.pid, *pids}
    assert locks == set(together)
    assert afterwards == {process.popen.pid}
    assert {run.status for run in ended} == {"completed"}
    # Nobody took the parent's run for that of a dead worker.
    assert [run.epoch for run in ended if run.endpoint == "held"] == [1]
    counts = life.outside.counts()
    assert (counts["one"], counts["two"], counts["three"], counts["booked"]) == (1, 1, 1, 2)
    statuses = {name: life.outside.calls(name)[0]["status"] for name in ("child-booked", "answered", "parent-booked")}
    assert set(statuses.values()) == {200}
    if child_ends == "dies":
        assert [call["pid"] for call in life.outside.calls("dies")] == [*pids, process.popen.pid]
    assert "please report this bug" not in process.output
    assert "Traceback" not in process.output


def test_signal_to_a_forked_child_is_the_childs(life: Life) -> None:
    """A child that does not use the engine ends by SIGTERM as if there were none."""
    process = life.start([*SCRIPT, "fork-plain", "signal"])
    life.outside.wait_for("child-ended")

    assert [call["code"] for call in life.outside.calls("child-ended")] == [-signal.SIGTERM]
    assert ended_within(process, EXIT_SECONDS) == 0, process.output


def test_child_does_not_keep_its_dead_parent_alive(life: Life) -> None:
    """A child that outlives its parent holds nothing of the parent's lock: the run is taken over at once."""
    process = life.start([*SCRIPT, "fork-plain", "wait"])
    life.outside.wait_for("child")
    (child,) = (call["pid"] for call in life.outside.calls("child"))
    # The process alone, not its group.
    os.kill(process.popen.pid, signal.SIGKILL)
    process.wait()
    life.outside.open("two")
    life.go_on()
    run = life.records.wait_for_only_run(timeout_seconds=EXIT_SECONDS)
    os.kill(child, 0)

    assert run.status == "completed"
    assert life.outside.counts() == {"one": 1, "two": 2, "three": 1, "child": 1}
