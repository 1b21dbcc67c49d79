"""The accounting sees what it is there for: each way in which a request may have gone wrong, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.books import Books
from chaos.clients import Answer, Sent
from chaos.diary import Death, Diary, Trouble
from chaos.file import Run
from chaos.kinds import CHILD, KINDS, right_response
from chaos.requests import Request
from chaos.world import Effect

PID, SUCCESSOR = 100, 200


class Scene:
    """One request that went well: tests spoil it, and ask for the faults."""

    def __init__(self, kind_name: str = "chain", name: str = "n") -> None:
        kind = KINDS[kind_name]
        fails = 1 if kind.flaky else 0
        self.sent = Sent(Request(name, kind_name, f"/{kind.route}/{name}", fails, ("quart-1",), False, False, 0.0))
        self.all_sent = [self.sent]
        self.diary = Diary()
        steps = [*kind.steps, *(CHILD.steps if kind.child else ())]
        self.effects = [
            Effect(name, step, f"key-{name}-{step}", f"{step}!", PID, float(at), step == kind.refused)
            for at, step in enumerate(steps)
        ]
        if kind.flaky:
            (in_the_end,) = [effect for effect in self.effects if effect.step == kind.flaky]
            self.effects.insert(1, _changed(in_the_end, token="failed", at=0.5, refused=True))
        tokens: dict[str, str | None] = {step: f"{step}!" for step in steps}
        status, body = right_response(kind, tokens)
        self.runs = [Run("R", "quart", kind.route, name, "completed", (status, body), _of(kind.steps, kind.refused))]
        if kind.child:
            response = right_response(CHILD, tokens)
            self.runs.append(Run("C", "quart", CHILD.route, name, "completed", response, _of(CHILD.steps)))
        self.sent.answers.append(Answer("request", "quart-1", 0.0, 1.0, status, "R", body=body))

    def faults(self) -> list[str]:
        """Return the kinds of the faults that the books find."""
        return [fault.what for fault in self.books().faults]

    def books(self) -> Books:
        """Return the books, done."""
        books = Books(self.runs, self.effects, self.diary)
        books.check(self.all_sent)
        return books

    def repeat(self, step: str, pid: int = SUCCESSOR) -> None:
        """Let a step be executed once more, later on, and let that be what is memoized."""
        (before,) = [effect for effect in self.effects if effect.step == step]
        self.effects.append(_changed(before, token="again!", pid=pid, at=50.0))
        (run,) = self.runs
        tokens = run.tokens | {step: "again!"}
        response = right_response(self.sent.request.kind, tokens)
        self.runs = [replace(run, tokens=tokens, response=response)]
        self.sent.answers[0] = replace(self.sent.answers[0], body=response[1])

    def begin_nothing(self, error: str) -> None:
        """Let there be no run, and let the client see an error; another request went well."""
        other = Scene(name="other")
        self.runs, self.effects = other.runs, other.effects
        self.all_sent.append(other.sent)
        self.sent.answers = [Answer("request", "quart-1", 10.0, 11.0, error=error)]


def _of(steps: tuple[str, ...], but: str = "") -> dict[str, str]:
    return {step: f"{step}!" for step in steps if step != but}


def _changed(effect: Effect, **changes: Any) -> Effect:
    return Effect(**{name: getattr(effect, name) for name in Effect.__struct_fields__} | changes)


@pytest.mark.parametrize("kind_name", KINDS)
def test_what_went_well_is_clean(kind_name: str) -> None:
    assert Scene(kind_name).faults() == []


def test_promised_run_that_is_not_there_is_lost() -> None:
    scene = Scene()
    scene.runs = []

    assert "lost" in scene.faults()


def test_run_that_has_not_ended_is_stuck() -> None:
    scene = Scene()
    scene.runs = [replace(scene.runs[0], status="waiting", response=None)]

    assert scene.faults() == ["stuck"]


def test_run_that_has_failed_is_a_fault() -> None:
    scene = Scene()
    scene.runs = [replace(scene.runs[0], status="failed")]

    assert scene.faults() == ["failed"]


def test_two_runs_of_one_request_are_twice() -> None:
    scene = Scene("keyed")
    scene.runs.append(replace(scene.runs[0], id="S"))

    assert "twice" in scene.faults()


def test_child_that_was_invoked_twice_is_twice() -> None:
    scene = Scene("parent")
    scene.runs.append(replace(scene.runs[1], id="D"))

    assert "twice" in scene.faults()


def test_response_of_another_run_is_wrong() -> None:
    scene = Scene()
    scene.runs = [replace(scene.runs[0], response=(200, {}))]

    # It is neither right, nor what the client was shown.
    assert scene.faults() == ["wrong", "wrong"]


def test_run_told_by_the_same_event_twice_is_wrong() -> None:
    scene = Scene("told")
    response = (200, {"one": "one!", "numbers": [1, 1], "two": "two!"})
    scene.runs = [replace(scene.runs[0], response=response)]
    scene.sent.answers = []

    assert scene.faults() == ["wrong"]


def test_step_without_an_effect_is_lost() -> None:
    scene = Scene()
    del scene.effects[1]

    assert scene.faults() == ["lost"]


def test_step_that_failed_too_seldom_is_lost() -> None:
    scene = Scene("flaky")
    del scene.effects[1]

    assert scene.faults() == ["lost"]


def test_step_that_ran_after_it_was_memoized_is_twice() -> None:
    scene = Scene()
    scene.diary.deaths[PID].append(Death("quart-1", 10.0, 10.0, gently=False))
    scene.effects.append(_changed(scene.effects[0], token="again!", pid=SUCCESSOR, at=50.0))

    assert scene.faults() == ["twice"]


def test_step_that_was_repeated_without_a_death_is_twice() -> None:
    scene = Scene()
    scene.repeat("two")

    assert scene.faults() == ["twice"]


def test_step_that_was_repeated_while_its_worker_was_paused_is_twice() -> None:
    """A paused worker has not died: nobody may take over from it."""
    scene = Scene()
    scene.diary.troubles.append(Trouble("stop", "quart-1", 0.0, 60.0))
    scene.repeat("two")

    assert scene.faults() == ["twice"]


def test_step_that_was_in_flight_at_a_kill_may_be_repeated() -> None:
    scene = Scene()
    scene.diary.deaths[PID].append(Death("quart-1", 10.0, 10.0, gently=False))
    scene.repeat("two")
    books = scene.books()

    assert (books.faults, books.repeated["n"]) == ([], 1)


@pytest.mark.parametrize(("trouble", "faults"), [("full", []), ("kill", ["twice"])])
def test_step_in_a_worker_that_ended_gently_may_be_repeated_if_it_could_not_write(
    trouble: str, faults: list[str]
) -> None:
    scene = Scene()
    scene.diary.deaths[PID].append(Death("quart-1", 10.0, 12.0, gently=True))
    scene.diary.troubles.append(Trouble(trouble, "", 11.0, 20.0))
    scene.repeat("two")

    assert scene.faults() == faults


def test_executions_with_different_idempotency_keys_are_a_fault() -> None:
    scene = Scene()
    scene.diary.deaths[PID].append(Death("quart-1", 10.0, 10.0, gently=False))
    scene.repeat("two")
    scene.effects[-1] = _changed(scene.effects[-1], key="another")

    assert scene.faults() == ["key"]


def test_two_steps_with_one_idempotency_key_are_a_fault() -> None:
    scene = Scene()
    scene.effects[1] = _changed(scene.effects[1], key=scene.effects[0].key)

    assert scene.faults() == ["key"]


def test_error_that_nothing_explains_is_a_fault() -> None:
    scene = Scene()
    scene.begin_nothing("connection lost")

    assert scene.faults() == ["error"]


@pytest.mark.parametrize(
    ("worker", "began", "faults"), [("quart-1", 9.0, []), ("quart-2", 9.0, ["error"]), ("quart-1", 20.0, ["error"])]
)
def test_error_is_explained_by_what_was_done_to_its_worker_at_that_time(
    worker: str, began: float, faults: list[str]
) -> None:
    scene = Scene()
    scene.begin_nothing("connection refused")
    scene.diary.troubles.append(Trouble("kill", worker, began, began + 1.5))

    assert scene.faults() == faults


def test_server_error_has_no_explanation() -> None:
    scene = Scene()
    scene.begin_nothing("500")
    scene.diary.troubles.extend(
        Trouble(what, "quart-1", 0.0, 99.0) for what in ("kill", "full", "lock", "stop", "term")
    )

    assert scene.faults() == ["error"]


def test_request_without_run_and_without_error_is_lost() -> None:
    scene = Scene()
    scene.begin_nothing("")

    assert scene.faults() == ["lost"]


@pytest.mark.parametrize(
    ("kind_name", "steps", "faults"),
    [("chain", 1, []), ("chain", 2, ["lost"]), ("keyed", 1, ["lost"])],
    ids=["its first step", "its second step", "of a keyed request"],
)
def test_request_without_run_may_have_had_the_effect_of_its_first_step(
    kind_name: str, steps: int, faults: list[str]
) -> None:
    scene = Scene(kind_name)
    effects = scene.effects[:steps]
    scene.begin_nothing("connection lost")
    scene.effects += effects
    scene.diary.troubles.append(Trouble("kill", "quart-1", 10.0, 12.0))

    assert scene.faults() == faults


def test_run_that_nobody_asked_for_is_a_fault() -> None:
    scene = Scene()
    scene.runs.append(replace(scene.runs[0], id="S", name="other"))

    assert scene.faults() == ["foreign"]


def test_what_a_worker_did_by_itself_is_a_fault() -> None:
    scene = Scene()
    scene.diary.faults.append("quart-1 ended by itself, see server.log")

    assert scene.faults() == ["worker"]


def test_nothing_sent_is_not_clean() -> None:
    books = Books([], [], Diary())
    books.check([])

    assert [str(fault) for fault in books.faults] == ["empty: all: 0 requests were sent, and no run accepted"]


def test_requests_of_which_none_was_accepted_are_not_clean() -> None:
    """Though each of them has an error that is explained."""
    scene = Scene()
    scene.begin_nothing("connection refused")
    scene.all_sent, scene.runs, scene.effects = [scene.sent], [], []
    scene.diary.troubles.append(Trouble("kill", "quart-1", 10.0, 12.0))

    assert scene.faults() == ["empty"]
