"""
Flask applications in processes that end or fork, as scripts: ``python -m …flask_scripts <name> <folder>``.

Each prints what came of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from flask import Flask, request
from inngest_durable import EmbeddedEngine, Event, Inngest, StepError, StepOptions, _calls
from inngest_durable.flask import endpoint_adapter
from inngest_durable.quart import endpoint_adapter as quart_adapter
from inngest_durable.sync import step
from quart import Quart

from packages.inngest_durable.tests.adapters.threads import Threads
from testkit.outside import Outside
from testkit.records import database_of
from testkit.server_process import REPOSITORY
from testkit.waiting import PATIENCE_SECONDS, wait_until

REENTRY_THREADS = 8


def run_script(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of this module to its end, and return what it printed."""
    command = [sys.executable, "-m", __name__, name, str(folder)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False
    )


def say(*words: object) -> None:
    """Print *words*, also where the process dies next."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def exit_at_reentry(folder: Path) -> None:
    """A handler leaves by ``sys.exit`` after a pause."""

    def handler() -> str:
        if "leave" in request.args:
            step.sleep("pause", "300ms")
            sys.exit(3)
        return step.run("one", str)

    application = Threads(folder, lambda outside: handler, retries=0)
    left = application.answer("/?leave")
    say(left.status_code, application.get().status_code)


def exit_in_step(folder: Path) -> None:
    """A step function with a timeout leaves by ``sys.exit``."""

    def handler() -> str:
        try:
            return step.run(StepOptions("exit", timeout="5s", retries=0), sys.exit, 2)
        except StepError as error:
            return f"{error.name}: {error.message}"

    application = Threads(folder, lambda outside: handler)
    say(application.answer().text)


def exit_in_first_pass(folder: Path) -> None:
    """A step function leaves by ``sys.exit`` in the server's thread."""

    def make(outside: Outside) -> Callable[[], None]:
        def leave() -> None:
            outside.record("leave")
            sys.exit(2)

        return lambda: step.run("exit", leave)

    application = Threads(folder, make, retries=1)
    try:
        application.get()
    except SystemExit as error:
        say("the server got", error.code)
    application.records.wait_for_only_run("failed")
    say("called", application.outside.counts()["leave"])


def end(folder: Path) -> None:
    """The process ends while the engine runs."""
    say(Threads(folder, lambda outside: lambda: step.run("one", str)).get().status_code)


def fork_while_busy(folder: Path) -> None:
    """Fork while all threads of re-entries are taken, and as many clients wait as the process holds."""
    app, outside = Flask(__name__), Outside(folder)
    adapter = endpoint_adapter.with_options(held_waits=1)
    inngest = Inngest("busy", adapter, EmbeddedEngine(database_of(folder)), handle_signals=False)

    @app.get("/<gate>")
    @inngest.endpoint(id="pass")
    def gated(gate: str) -> str:
        step.sleep("pause", "300ms")
        return step.run("held", outside.held, gate)

    inngest.init_app(app)
    redirects = [app.test_client().get("/shut") for _ in range(REENTRY_THREADS)]
    outside.wait_for("shut", REENTRY_THREADS)
    location = redirects[0].headers["location"]
    threading.Thread(target=app.test_client().get, args=(location,), daemon=True).start()
    wait_until(lambda: adapter._held, "the client to be held")
    _calls._late["run", "step"] = Future()
    pid = os.fork()
    if not pid:
        outside.open("free")
        redirect = app.test_client().get("/free")
        # A client is held for 25 s, and then comes again.
        while (answer := app.test_client().get(redirect.headers["location"])).status_code == 303:
            pass
        say(answer.status_code, answer.text, len(_calls._late))
        os._exit(0)
    os.waitpid(pid, 0)
    os._exit(0)


def fork_quart(folder: Path) -> None:
    """Fork under an engine on an event loop, and call it in the child."""
    inngest = Inngest("quart", quart_adapter, EmbeddedEngine(database_of(folder)), handle_signals=False)
    inngest.init_app(Quart(__name__))

    def fork() -> None:
        pid = os.fork()
        if not pid:
            try:
                inngest.sync.send(Event("some/event"))
            except Exception as error:
                say(type(error).__name__)
            os._exit(0)
        os.waitpid(pid, 0)

    async def main() -> None:
        async with inngest.running():
            await asyncio.to_thread(fork)

    asyncio.run(main())


class TellingEngine(EmbeddedEngine):
    """Says in which process it is stopped."""

    parent = os.getpid()

    async def stop(self, *, now: bool = False) -> None:
        """Stop the engine."""
        say("stopped in the", "parent" if os.getpid() == self.parent else "child")
        await super().stop(now=now)


def fork_and_leave(folder: Path) -> None:
    """Fork in a task on the engine's event loop, and leave the child through its copy of that loop."""
    inngest = Inngest("quart", quart_adapter, TellingEngine(database_of(folder)), handle_signals=False)
    inngest.init_app(Quart(__name__))

    def fork() -> None:
        pid = os.fork()
        if not pid:
            sys.exit()
        os.waitpid(pid, 0)
        # The child has closed what the two loops share: this one cannot be ended in order any more.
        os._exit(0)

    async def main() -> None:
        await inngest.start()
        fork()

    asyncio.run(main())


SCRIPTS = (exit_at_reentry, exit_in_step, exit_in_first_pass, end, fork_while_busy, fork_quart, fork_and_leave)

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    {script.__name__: script for script in SCRIPTS}[sys.argv[1]](Path(sys.argv[2]))
