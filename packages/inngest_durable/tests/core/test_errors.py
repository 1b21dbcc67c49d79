"""Errors: what they say, what they advise, and that they survive the way to another process."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from datetime import timedelta

import pytest
from inngest_durable import errors
from inngest_durable.errors import (
    EndpointNotReachedError,
    InngestError,
    NestedStepError,
    NonRetriableError,
    OutsideEndpointError,
    ReplayMismatchError,
    RetryAfterError,
    RunInterrupt,
    StepError,
    StepUsageError,
    StepValueError,
)

EXAMPLES: list[BaseException] = [
    StepError("R1", "pay", 4, "CardDeclined", "no money", "Traceback …"),
    NonRetriableError("declined", 402),
    RetryAfterError("busy", "30s"),
    RetryAfterError("busy", timedelta(seconds=30)),
    EndpointNotReachedError("the re-entry was answered 401", "R1"),
    StepUsageError("no", "R1", "pay"),
    NestedStepError("no", "R1", "pay"),
    ReplayMismatchError("no", "R1", "pay"),
    StepValueError("no"),
    RunInterrupt("parked"),
]


def public_errors() -> list[type[BaseException]]:
    """Return every error class of the module."""
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, BaseException) and found.__module__ == errors.__name__
    ]


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    """The docstring is the map."""
    assert errors.__doc__ is not None
    assert [error.__name__ for error in public_errors() if error.__name__ not in errors.__doc__] == []


def test_every_error_but_the_interrupt_has_the_one_root() -> None:
    """``except InngestError`` catches what this package raises; ``except Exception`` lets the interrupt pass."""
    assert [error for error in public_errors() if not issubclass(error, InngestError)] == [RunInterrupt]
    assert not issubclass(RunInterrupt, Exception)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            StepError("R1", "pay:1", 4, "CardDeclined", "no money"),
            "step 'pay:1' failed after 4 attempts: CardDeclined: no money [run=R1 step=pay:1]",
        ),
        (StepError("R1", "pay", 1, "E", ""), "step 'pay' failed after 1 attempt: E:  [run=R1 step=pay]"),
        (
            StepError("R1", "pay", 1, "StepValueError", "it returned a set [run=R1 step=pay]"),
            "step 'pay' failed after 1 attempt: StepValueError: it returned a set [run=R1 step=pay]",
        ),
        (RetryAfterError("busy", "30s"), "busy"),
        (NonRetriableError("declined"), "declined"),
        (StepUsageError("a step did that", "R1", "pay"), "a step did that [run=R1 step=pay]"),
        (StepUsageError("a step did that", "R1"), "a step did that [run=R1]"),
        (OutsideEndpointError("a step did that"), "a step did that"),
        (EndpointNotReachedError("answered 401", "R1"), "answered 401 [run=R1]"),
    ],
    ids=str,
)
def test_message_says_what_happened_in_which_run_and_step(error: BaseException, text: str) -> None:
    """One line."""
    assert str(error) == text


def test_hint_is_a_note_and_not_part_of_the_message() -> None:
    """A log line stays one line; a traceback teaches."""
    error = NestedStepError("step 'b' was started inside step 'a'", "R1", "b")

    assert error.hint not in str(error)
    assert error.__notes__ == [error.hint]
    assert traceback.format_exception_only(error)[-1] == f"{error.hint}\n"
    assert not hasattr(NonRetriableError("declined"), "__notes__")


def test_interrupt_tells_whoever_catches_it_what_they_caught() -> None:
    """The text is for the user who sees it in a log."""
    text = str(RunInterrupt("parked"))

    assert "parked" in text
    assert "except BaseException" in text
    assert RunInterrupt("parked").reason == "parked"


@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
@pytest.mark.parametrize("error", EXAMPLES, ids=[f"{type(error).__name__} {n}" for n, error in enumerate(EXAMPLES)])
def test_error_survives_the_way_to_another_process(error: BaseException, copied: object) -> None:
    """Class, text, fields and the one note are the same afterwards."""
    assert callable(copied)
    back = copied(error)

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)
