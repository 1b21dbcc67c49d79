"""Where the next batch is committed: on the loop while that is quick, else in the thread."""

from __future__ import annotations

from inngest_durable.engines.embedded.pace import Pace

QUICK, SLOW = 0.0001, 0.02
# What a thread measures that had to wait for the interpreter lock.
WAITED = 0.004


def play(pace: Pace, seconds: float, commits: int) -> int:
    """Make commits wherever *pace* says; return how many of them the loop made."""
    on_loop = 0
    for _ in range(commits):
        if pace.threaded:
            pace.committed_in_thread(seconds)
        else:
            on_loop += 1
            pace.committed_on_loop(seconds)
    return on_loop


def test_quick_disk_is_left_to_the_loop() -> None:
    pace = Pace()

    assert play(pace, QUICK, 1000) == 1000


def test_single_slow_commit_is_no_reason_to_leave_the_loop() -> None:
    pace = Pace()
    play(pace, QUICK, 100)
    play(pace, SLOW, 1)

    assert not pace.threaded


def test_slow_disk_is_soon_left_to_the_thread_and_stays_there() -> None:
    pace = Pace()

    assert play(pace, SLOW, 10_000) <= 3


def test_very_slow_commit_goes_to_the_thread_at_once() -> None:
    pace = Pace()
    play(pace, QUICK, 100)
    play(pace, 0.05, 1)

    assert pace.threaded


def test_disk_that_recovers_is_given_back_to_the_loop() -> None:
    pace = Pace()
    play(pace, SLOW, 100)

    assert play(pace, QUICK, 100) >= 80


def test_thread_that_waits_for_a_busy_loop_does_not_make_the_disk_look_slow() -> None:
    pace = Pace()
    play(pace, 0.05, 1)
    for number in range(32):
        pace.committed_in_thread(QUICK if number % 3 == 0 else WAITED)

    assert not pace.threaded


def test_disk_that_is_quick_for_the_thread_only_is_tried_ever_more_seldom() -> None:
    pace = Pace()
    tries = 0
    for _ in range(10_000):
        if pace.threaded:
            pace.committed_in_thread(QUICK)
        else:
            tries += 1
            pace.committed_on_loop(0.08)

    assert tries < 30
