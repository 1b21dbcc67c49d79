"""What leaves a thread without being an `Exception`, and the end of the process: the engine outlives the one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from flask import request
from inngest_durable import _threads
from inngest_durable._core.journal import StepIdentity
from inngest_durable._core.model import StepOp
from inngest_durable._pass import Pass
from inngest_durable._portal import Portal, portal
from inngest_durable._thread_branches import SharedJournal
from inngest_durable.exchange import HOLDER_KEY
from inngest_durable.sync import group, step

from packages.inngest_durable.tests.adapters.flask_scripts import (
    end,
    exit_at_reentry,
    exit_in_first_pass,
    exit_in_step,
    run_script,
)
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from testkit.outside import Outside
from testkit.waiting import PATIENCE_SECONDS, wait_until

StartThreads = Callable[..., Threads]


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        (exit_at_reentry, "500 200\n"),
        (exit_in_step, "RuntimeError: the step function raised SystemExit\n"),
        # Once in the server's thread, which is no attempt of the handler's, then twice.
        (exit_in_first_pass, "the server got 2\ncalled 3\n"),
    ],
)
def test_exit_is_a_failed_attempt(script: Callable[[Path], None], printed: str, tmp_path: Path) -> None:
    """A ``sys.exit`` in a thread of the engine's ends neither the engine nor is it repeated for ever."""
    assert run_script(script.__name__, tmp_path).stdout == printed


def test_engines_loop_outlives_an_exit_in_a_task() -> None:
    """Whoever called the task gets it; the next one is served."""
    own = Portal()

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        asyncio.run_coroutine_threadsafe(leave(), own.loop).result(PATIENCE_SECONDS)
    served = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "served"), own.loop).result(PATIENCE_SECONDS)
    own.post(own.loop.stop)
    wait_until(lambda: not own.loop.is_running(), "the loop to end")
    own.loop.close()

    assert served == "served"


def test_process_ends_without_a_word(tmp_path: Path) -> None:
    """The engine is stopped when the process ends, although no executor can be used any more."""
    ended = run_script(end.__name__, tmp_path)

    assert (ended.stdout, ended.stderr, ended.returncode) == ("200\n", "", 0)


async def test_call_apart_does_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As newer Pythons start none when the process ends."""
    called: Future[threading.Thread] = Future()
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    await _threads.call_apart("closing", lambda: called.set_result(threading.current_thread()))

    assert called.result(0) is threading.current_thread()


def test_step_counts_from_the_moment_it_is_let_in(threads: StartThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a handler that returns just then ends the run, and the step's function is called after it."""
    looking, looked = threading.Event(), threading.Event()
    lookup = SharedJournal.lookup

    def slow_lookup(self: SharedJournal, step: StepIdentity, op: StepOp) -> Any:
        if step.id == "late":
            looking.set()
            looked.wait(PATIENCE_SECONDS)
        return lookup(self, step, op)

    async def is_busy(current: Pass) -> bool:
        idle = asyncio.ensure_future(current.idle())
        await asyncio.sleep(0)
        return idle.cancel()

    def make(outside: Outside) -> Handler:
        def handler() -> list[bool]:
            target, args = copy_context().run, (step.run, "late", outside.act, "late")
            other = threading.Thread(target=target, args=args)
            other.start()
            looking.wait(PATIENCE_SECONDS)
            busy = portal.call(is_busy, request.environ[HOLDER_KEY].current_pass)
            looked.set()
            other.join()
            return [busy]

        return handler

    monkeypatch.setattr(SharedJournal, "lookup", slow_lookup)

    assert threads(make).answer().json == [True]


def test_branches_do_without_threads_that_cannot_be_started(
    threads: StartThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's thread calls them all; and what was not started takes up no place later on."""

    def make(outside: Outside) -> Handler:
        def handler() -> list[list[int]]:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", _refuse)
                results = [group.parallel([lambda: 1, lambda: 2]) for _ in range(_threads.THREADS)]
            together = threading.Barrier(2, timeout=PATIENCE_SECONDS)
            group.parallel([together.wait, together.wait])
            return results[-1:]

        return handler

    assert threads(make).answer().json == [[1, 2]]


def _refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
