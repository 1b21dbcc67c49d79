"""Runs and memos, and the status changes that a store may make."""

from __future__ import annotations

import pytest
from inngest_durable._core.model import RUN_TRANSITIONS, Memo, RecordedRequest, RunStatus, StepOp, StepState

FINAL = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


def test_every_status_has_its_transitions() -> None:
    """The table is complete."""
    assert set(RUN_TRANSITIONS) == set(RunStatus)


@pytest.mark.parametrize("status", RunStatus)
def test_final_statuses_are_those_without_a_way_out(status: RunStatus) -> None:
    """A run that has ended stays as it is."""
    assert status.is_final == (status in FINAL)
    assert (RUN_TRANSITIONS[status] == frozenset()) == (status in FINAL)


def test_every_other_status_is_reached_from_running() -> None:
    """A run that runs may wait, or end."""
    assert RUN_TRANSITIONS[RunStatus.RUNNING] == set(RunStatus) - {RunStatus.RUNNING}


def test_waiting_run_answers_only_by_running() -> None:
    """Nothing but a pass of the handler makes a response, the one that finds the deadline passed included."""
    assert RUN_TRANSITIONS[RunStatus.WAITING] == {RunStatus.RUNNING, RunStatus.CANCELLED}


@pytest.mark.parametrize("state", StepState)
def test_memo_is_final_once_completed_or_failed(state: StepState) -> None:
    """A step between two attempts, or asleep, is not memoized."""
    memo = Memo("pay", "pay", StepOp.RUN, state)

    assert memo.is_final == (state in (StepState.COMPLETED, StepState.FAILED))


def test_recorded_request_finds_a_header_in_any_case() -> None:
    """Header names have no case; the first of a name counts."""
    headers = ((b"Prefer", b"wait=3"), (b"accept", b"text/plain"), (b"accept", b"*/*"))
    request = RecordedRequest("GET", "http", "", "/", b"/", b"", headers, None, None, "1.1", b"")

    assert request.header(b"prefer") == "wait=3"
    assert request.header(b"accept") == "text/plain"
    assert request.header(b"cookie") is None
