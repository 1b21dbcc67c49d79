"""``group.parallel``: branches in threads, each of which goes as far as it can."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, assert_type

import pytest
from flask import request
from inngest_durable import OutsideEndpointError, StepError, StepUsageError
from inngest_durable.sync import group, step

from packages.inngest_durable.tests.adapters.site import RUN_ID
from packages.inngest_durable.tests.adapters.threads import Handler, Threads
from testkit.outside import OutageError, Outside

StartThreads = Callable[..., Threads]
THREADS = 64


def test_branches_run_at_the_same_time(threads: StartThreads) -> None:
    """Each is called in a thread of its own, and the results come in the order of the callables."""

    def make(outside: Outside) -> Handler:
        together = threading.Barrier(5, timeout=10)

        def work(number: int) -> int:
            together.wait()
            return number * 10

        return lambda: group.parallel([partial(step.run, "work", work, number) for number in range(5)])

    assert threads(make).answer().json == [0, 10, 20, 30, 40]


def test_branches_keep_their_types(threads: StartThreads) -> None:
    """A type checker knows what each callable of a tuple returns; what comes back is a list."""

    def make(outside: Outside) -> Handler:
        def handler() -> object:
            found = group.parallel((lambda: step.run("count", lambda: 2), lambda: step.run("name", lambda: "plaza")))
            number, name = found
            assert_type(number, int)
            assert_type(name, str)
            return {"found": [number, name], "is": type(found).__name__}

        return handler

    assert threads(make).answer().json == {"found": [2, "plaza"], "is": "list"}


def test_steps_without_lambda_are_refused(threads: StartThreads) -> None:
    """As one writes `asyncio.gather`: the steps would run one after another, and then their results be called."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            with pytest.raises(StepUsageError, match=r"given a str .*: write `lambda:` before each step\.run"):
                group.parallel([step.run("name", lambda: "plaza")])  # type: ignore[arg-type]
            return "refused"

        return handler

    assert threads(make).answer().text == "refused"


def test_equal_ids_do_not_mix_up(threads: StartThreads) -> None:
    """Branches with the same step IDs keep their own results at each replay, however their threads are scheduled."""
    names = [f"guest{number}" for number in range(8)]

    def make(outside: Outside) -> Handler:
        def book(name: str) -> list[str]:
            # Functions without arguments: nothing but the order of the branches tells them apart.
            room = step.run("room", lambda: outside.act(f"room-{name}", fail=len(name) % 2))
            step.sleep("rest", "1ms")
            return [name, room, step.run("pay", lambda: outside.act(f"pay-{name}", fail=1))]

        return lambda: group.parallel([partial(book, name) for name in names])

    application = threads(make)

    assert [answer[0] for answer in application.answer().get_json()] == names
    for name, room, pay in application.answer().get_json():
        assert room.startswith(f"room-{name}#")
        assert pay.startswith(f"pay-{name}#")


def test_branch_that_waits_does_not_hold_up_the_others(threads: StartThreads) -> None:
    """In the first pass each branch goes as far as it can; later passes do not repeat it."""

    def make(outside: Outside) -> Handler:
        def slow() -> str:
            step.sleep("pause", "300ms")
            return step.run("after", outside.act, "slow")

        def quick() -> list[str]:
            return [step.run("one", outside.act, "one"), step.run("two", outside.act, "two")]

        return lambda: group.parallel((slow, quick))

    application = threads(make)
    redirect = application.get()
    steps = application.steps(redirect)
    answer = application.get(redirect.headers["location"])

    assert redirect.status_code == 303
    assert steps == {"pause": "waiting", "one": "completed", "one/two": "completed"}
    assert answer.json == ["slow#1", ["one#1", "two#1"]]
    assert application.outside.counts() == {"one": 1, "two": 1, "slow": 1}


def test_first_error_in_order_is_raised(threads: StartThreads) -> None:
    """The others have come to their end by then."""

    def make(outside: Outside) -> Handler:
        def handler() -> tuple[Any, int]:
            try:
                group.parallel(
                    (
                        lambda: step.run("fine", outside.act, "fine"),
                        lambda: step.run("first", outside.act, "first", 9),
                        lambda: step.run("second", outside.act, "second", 9),
                        lambda: step.run("last", outside.act, "last"),
                    )
                )
            except StepError as error:
                return {"step": error.step_id, "name": error.name}, 502
            return {}, 200

        return handler

    application = threads(make, retries=0)
    answer = application.answer()

    assert (answer.status_code, answer.json) == (502, {"step": "first", "name": OutageError.__name__})
    assert application.outside.counts() == {"fine": 1, "first": 1, "second": 1, "last": 1}


def test_error_waits_for_branches_that_go_on_later(threads: StartThreads) -> None:
    """While a branch waits, the pass is interrupted, and the error is raised when all have ended: as at each replay."""

    def make(outside: Outside) -> Handler:
        def handler() -> object:
            try:
                return group.parallel(
                    (
                        lambda: step.run("fails", outside.act, "fails", 9),
                        lambda: step.run("retried", outside.act, "retried", 1),
                    )
                )
            except StepError:
                return ["caught", step.run("release", outside.act, "release")]

        return handler

    application = threads(make)
    answer = application.answer()

    assert answer.json == ["caught", "release#1"]
    assert application.outside.counts() == {"fails": 4, "retried": 2, "release": 1}


def test_groups_may_be_nested(threads: StartThreads) -> None:
    """A branch may start a group of its own, before or after its first step; waits in it hold up nobody else."""

    def make(outside: Outside) -> Handler:
        def leaf(name: str) -> str:
            return step.run("leaf", lambda: outside.act(name, fail=1))

        def at_once(name: str) -> list[str]:
            return group.parallel([partial(leaf, f"{name}{number}") for number in range(3)])

        def after_a_step(name: str) -> list[Any]:
            first = step.run("own", outside.act, f"own-{name}")
            return [first, *at_once(name)]

        return lambda: group.parallel(
            (partial(at_once, "a"), partial(after_a_step, "b"), partial(at_once, "c"), partial(after_a_step, "d"))
        )

    application = threads(make)
    answer = application.answer()

    assert answer.json == [
        ["a0#2", "a1#2", "a2#2"],
        ["own-b#1", "b0#2", "b1#2", "b2#2"],
        ["c0#2", "c1#2", "c2#2"],
        ["own-d#1", "d0#2", "d1#2", "d2#2"],
    ]


@pytest.mark.parametrize("then", ["step", "group"])
def test_what_follows_a_nested_group_does_not_mix_up(threads: StartThreads, then: str) -> None:
    """The left branch comes later to its next step in the first pass, and first to it in the others."""

    def make(outside: Outside) -> Handler:
        bob_has_paid = threading.Event()

        def quote(name: str) -> None:
            if name == "alice":
                assert bob_has_paid.wait(10)

        def pay(name: str) -> str:
            if name == "bob":
                bob_has_paid.set()
            return name

        def book(name: str) -> list[str]:
            group.parallel([lambda: step.run("quote", lambda: quote(name))])

            # A function without arguments looks the same in every branch.
            def paying() -> str:
                return step.run("pay", lambda: pay(name))

            [paid] = group.parallel([paying]) if then == "group" else [paying()]
            group.parallel([lambda: step.sleep("rest", "1ms")])
            return [name, paid]

        return lambda: group.parallel([partial(book, "alice"), partial(book, "bob")])

    assert threads(make).answer().get_json() == [["alice", "alice"], ["bob", "bob"]]


def test_nested_groups_larger_than_the_limit_end(threads: StartThreads) -> None:
    """Where no thread is free, the caller's thread does the work: nothing waits for ever, and no more run at once."""

    def make(outside: Outside) -> Handler:
        lock, running, most = threading.Lock(), [0], [0]

        def work(number: int) -> int:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            try:
                return number
            finally:
                with lock:
                    running[0] -= 1

        def inner(number: int) -> int:
            return sum(group.parallel([partial(step.run, "work", work, number) for _ in range(3)]))

        def handler() -> list[int]:
            total = sum(group.parallel([partial(inner, number) for number in range(THREADS + 16)]))
            return [total, most[0]]

        return handler

    total, most = threads(make).answer().get_json()

    assert total == 3 * sum(range(THREADS + 16))
    assert most <= THREADS + 1


def test_request_works_in_branches(threads: StartThreads) -> None:
    """Each has a copy of the handler's context, at re-entry too."""

    def make(outside: Outside) -> Handler:
        def read(name: str) -> str:
            return step.run("read", outside.act, request.args[name], 1)

        return lambda: group.parallel([partial(read, name) for name in ("a", "b")])

    assert threads(make).answer("/?a=one&b=two").json == ["one#2", "two#2"]


def test_branch_that_catches_its_interrupt_cannot_go_on(threads: StartThreads) -> None:
    """A bare ``except:`` changes nothing: further steps of that branch are refused, and its outcome is discarded."""

    def make(outside: Outside) -> Handler:
        def stubborn() -> str:
            try:
                step.sleep("pause", "1ms")
            except BaseException:
                step.run("never", outside.act, f"never-{outside.record('caught')}")
                return "stubborn"
            return "slept"

        def swallowing() -> str:
            try:
                step.sleep("nap", "1ms")
            except BaseException:
                return "swallowed"
            return "napped"

        return lambda: group.parallel((stubborn, swallowing, lambda: step.run("fine", outside.act, "fine")))

    application = threads(make)

    assert application.answer().json == ["slept", "napped", "fine#1"]
    assert not [action for action in application.outside.counts() if action.startswith("never")]


def test_empty_group_is_an_empty_list(threads: StartThreads) -> None:
    """No callables, no results."""
    assert threads(lambda outside: lambda: group.parallel(())).answer().json == []


def test_coroutine_function_is_refused(threads: StartThreads) -> None:
    """A branch in a thread cannot be ``async def``; the error names it."""

    def make(outside: Outside) -> Handler:
        async def branch() -> None: ...

        def handler() -> str:
            with pytest.raises(StepUsageError, match=r"branch in a thread.*make it `def`"):
                group.parallel((branch,))
            return "refused"

        return handler

    assert threads(make).answer().text == "refused"


def test_group_outside_an_endpoint_is_an_error() -> None:
    """As a step is."""
    with pytest.raises(OutsideEndpointError, match=r"group\.parallel"):
        group.parallel(())


def test_own_threads_are_branches_too(threads: StartThreads) -> None:
    """A thread with a copied context may use steps; the pass waits for them before it is answered."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            step.run("first", outside.act, "first")
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(step.run, "left", outside.held, "left"), daemon=True)
            thread.start()
            outside.wait_for("left")
            outside.open("left")
            return "answered"

        return handler

    application = threads(make)
    answer = application.answer()

    assert answer.text == "answered"
    assert application.steps(answer) == {"first": "completed", "left": "completed"}
    assert application.records.wait_for_end(answer.headers[RUN_ID]).status == "completed"


def test_steps_in_the_order_of_what_ends_first_are_not_mixed_up(threads: StartThreads) -> None:
    """A step that was recorded beside one in flight is not handed to a replay that comes to it with another call."""

    def make(outside: Outside) -> Handler:
        def handler() -> str:
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(step.run, "slow", outside.held, "slow"), daemon=True)
            thread.start()
            outside.wait_for("slow")
            came_first = "slow" if outside.is_open("slow") else "fast"
            step.run("store", outside.act, f"store {came_first}")
            outside.open("slow")
            thread.join()
            raise OutageError("the handler is entered again")

        return handler

    application = threads(make)
    answer = application.answer()
    run = application.records.wait_for_end(answer.headers[RUN_ID])

    assert (answer.status_code, run.status) == (500, "failed")
    assert "ReplayMismatchError" in (run.failure or "")
    assert application.outside.counts() == {"slow": 1, "store fast": 1}
