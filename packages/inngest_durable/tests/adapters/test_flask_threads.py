"""Steps in threads: where they run, what a timeout does, and what reaches a thread that cannot be stopped."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import g, request, session
from inngest_durable import NestedStepError, StepOptions
from inngest_durable.flask import current_pass
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.site import RUN_ID
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from testkit.outside import Outside
from testkit.waiting import wait_until

StartThreads = Callable[..., Threads]


def test_step_function_runs_in_the_handlers_thread(threads: StartThreads) -> None:
    """What is bound to a thread, such as a database connection of the application, can be used in it."""

    def make(outside: Outside) -> Handler:
        def handler() -> list[bool]:
            own = threading.get_ident()
            return [step.run("where", lambda: threading.get_ident() == own)]

        return handler

    assert threads(make).answer().json == [True]


def test_idempotency_scope_is_asked_in_the_requests_thread(threads: StartThreads) -> None:
    """It may need what a hook has opened for the request, such as a connection to a database: not for other threads."""

    def owner() -> str:
        name: str = g.database.execute("SELECT 'ada'").fetchone()[0]
        return name

    application = threads(lambda outside: lambda: step.run("act", outside.act, "act"), idempotency_scope=owner)

    @application.app.before_request
    def open_database() -> None:
        g.database = sqlite3.connect(":memory:")

    @application.app.teardown_request
    def close_database(error: BaseException | None) -> None:
        g.database.close()

    answers = [application.answer(headers={"Idempotency-Key": "order-1"}) for _ in range(2)]
    found = application.get("/_inngest/runs?endpoint=handler&key=order-1")

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "act#1")] * 2
    assert found.headers[RUN_ID] == answers[0].headers[RUN_ID]


def test_timeout_fails_the_attempt_and_drops_its_result(threads: StartThreads) -> None:
    """The next attempt does not start before the late one has returned, and what that returned is dropped."""

    def make(outside: Outside) -> Handler:
        def slow() -> str:
            number = outside.record("begin")
            if number == 1:
                outside.held("slow")
            outside.record("end")
            return f"attempt {number}"

        return lambda: step.run(StepOptions("slow", timeout="1s"), slow)

    application = threads(make)
    redirect = application.get()
    begun_before = application.outside.counts()
    application.outside.open("slow")
    answer = application.get(redirect.headers["location"])
    actions = [call["action"] for call in application.outside.calls()]

    assert redirect.status_code == 303
    assert begun_before["begin"] == 1
    assert answer.text == "attempt 2"
    assert actions == ["begin", "slow", "end", "begin", "end"]


def test_context_is_there_in_a_step_with_a_timeout(threads: StartThreads) -> None:
    """Such a step runs in another thread, with a copy of the context: request, g and the idempotency key."""

    def make(outside: Outside) -> Handler:
        def look() -> list[str]:
            session["seen"] = True
            return [g.user, step.idempotency_key()]

        def handler() -> list[str]:
            g.user = "ada"
            user, key = step.run(StepOptions("look", timeout="5s"), look)
            return [user, str(len(key))]

        return handler

    application = threads(make)
    application.app.secret_key = "not so secret"

    assert application.answer().json == ["ada", "32"]


def test_step_in_a_step_is_refused(threads: StartThreads) -> None:
    """It names both."""

    def make(outside: Outside) -> Handler:
        def outer() -> str:
            with pytest.raises(NestedStepError, match=r"'inner'.*'outer'"):
                step.run("inner", outside.act, "inner")
            return "refused"

        return lambda: step.run("outer", outer)

    assert threads(make).answer().text == "refused"


def test_idempotency_key_stays_the_same(threads: StartThreads) -> None:
    """At every attempt of a step, and another one in the next step."""

    def make(outside: Outside) -> Handler:
        def charge() -> str:
            number = outside.record("charge", key=step.idempotency_key())
            if number == 1:
                raise ValueError
            return step.idempotency_key()

        return lambda: [step.run("charge", charge), step.run("other", step.idempotency_key)]

    application = threads(make)
    charged, other = application.answer().get_json()

    assert {call["key"] for call in application.outside.calls("charge")} == {charged}
    assert other != charged


def test_deadline_is_kept_for_who_waits(threads: StartThreads) -> None:
    """At the deadline the run has failed, although its thread is still in a step; the next step is refused."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            step.run("one", outside.act, "one", 1)
            step.run("held", outside.held, "held")
            return step.run("never", outside.act, "never")

        return handler

    application = threads(make, timeout="2s")
    redirect = application.get()
    location = redirect.headers["location"]
    answer = application.get(location)
    ended = application.records.wait_for_end(redirect.headers[RUN_ID])
    application.outside.open("held")
    wait_until(lambda: len(application.inngest.engine.passes) == 0, "the pass to end")

    assert answer.status_code == 504
    assert ended.status == "failed"
    assert application.outside.counts() == {"one": 2, "held": 1}


def test_deadline_answers_the_client_of_the_first_pass(threads: StartThreads) -> None:
    """As soon as the thread comes to its next step."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            step.run("slow", lambda: wait_until(lambda: outside.is_open("slow"), "the gate"))
            return step.run("never", outside.act, "never")

        return handler

    application = threads(make, timeout="200ms")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(application.get)
        application.records.wait_for_only_run("failed")
        application.outside.open("slow")

        assert answer.result().status_code == 504


def test_stop_refuses_the_next_step(threads: StartThreads) -> None:
    """The handler's thread sees the stop at its next step; the run goes on after the next start."""

    def make(outside: Outside) -> Handler:
        def handler() -> list[str]:
            if "asleep" in request.args:
                step.sleep("pause", "1h")
            return [step.run("one", outside.held, "one"), step.run("two", outside.act, "two")]

        return handler

    application = threads(make)
    asleep = application.get("/?asleep").headers["location"]
    with ThreadPoolExecutor(3) as pool:
        answer = pool.submit(application.get)
        waiter = pool.submit(application.get, asleep)
        application.outside.wait_for("one")
        stopping = pool.submit(application.inngest.stop)
        # Who is held at the wait URL is let go when the stop begins.
        assert waiter.result().status_code == 303
        application.outside.open("one")
        stopping.result()
        redirect = answer.result()
    counts = application.outside.counts()
    application.inngest.start()
    end = application.records.wait_for_end(redirect.headers[RUN_ID])

    assert redirect.status_code == 303
    assert "two" not in counts
    assert end.status == "completed"


def test_catching_the_interrupt_changes_nothing(threads: StartThreads) -> None:
    """A handler with a bare ``except:`` is refused each further step, and its answer is discarded."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            for _ in range(3):
                try:
                    step.sleep("pause", "100ms")
                except BaseException:
                    outside.record("caught")
            try:
                step.run("after", outside.act, "after")
            except BaseException:
                return "never seen"
            return "done"

        return handler

    application = threads(make)

    assert application.answer().text == "done"
    assert application.outside.counts()["after"] == 1


def test_hooks_learn_of_the_pass(threads: StartThreads) -> None:
    """``current_pass`` tells a hook which pass it is, and is None outside of a request."""

    def make(outside: Outside) -> Handler:
        return lambda: step.run("flaky", outside.act, "flaky", 1)

    application = threads(make)
    kinds: list[Any] = []
    application.app.before_request(lambda: kinds.append(current_pass()))
    application.answer()

    assert kinds == ["first", None, "reentry"] or kinds == ["first", "reentry", None]
    assert current_pass() is None


def test_reentry_has_a_context_of_its_own(threads: StartThreads) -> None:
    """Nothing that another request left in ``g`` is seen at a re-entry."""

    def make(outside: Outside) -> Handler:
        return lambda: [step.run("flaky", outside.act, "flaky", 1), g.get("mark", "no mark")]

    application = threads(make)

    @application.app.before_request
    def mark() -> None:
        if current_pass() != "reentry":
            g.mark = "marked"

    assert application.answer().json == ["flaky#2", "no mark"]


def test_engine_thread_is_one_for_all(threads: StartThreads) -> None:
    """Requests in many threads share the engine's one."""

    def make(outside: Outside) -> Handler:
        return lambda: step.run("one", outside.act, "one")

    application = threads(make)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: application.get().status_code, range(40)))
    engines = [thread.name for thread in threading.enumerate() if thread.name == "inngest engine"]

    assert answers == [200] * 40
    assert engines == ["inngest engine"]


def test_life_blocks_with_flask(threads: StartThreads) -> None:
    """``with inngest.running():`` starts the engine and stops it; awaiting is allowed, and not needed."""
    application = threads(lambda outside: lambda: step.run("one", outside.act, "one"))
    with application.inngest.running() as inngest:
        assert inngest is application.inngest
        workers = application.records.workers()
        assert application.get().status_code == 200

    assert len(workers) == 1
    assert application.records.workers() == []


async def test_life_may_be_awaited_with_flask(threads: StartThreads) -> None:
    """For code that does not care about the framework."""
    application = threads(lambda outside: lambda: step.run("one", outside.act, "one"))
    async with application.inngest.running():
        assert len(application.records.workers()) == 1
    await application.inngest.stop()

    assert application.records.workers() == []


def test_held_waits_are_answered_at_once(threads: StartThreads) -> None:
    """A client at the wait URL has its answer within 50 ms of the run's end, in the middle of several tries."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            number = request.args["number"]
            step.run("flaky", outside.act, f"flaky-{number}", 1)
            return step.run("held", outside.held, f"held-{number}")

        return handler

    application = threads(make)

    def lateness_of(number: int) -> float:
        redirect = application.get(f"/?number={number}")
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(lambda: (application.get(redirect.headers["location"]).text, time.time()))
            application.outside.wait_for(f"held-{number}")
            application.outside.open(f"held-{number}")
            text, at = answered.result()
        assert text == f"held-{number}#1"
        return at - application.records.end_time(redirect.headers[RUN_ID])

    lateness = sorted(lateness_of(number) for number in range(3))

    assert lateness[1] < 0.05
