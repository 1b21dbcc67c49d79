"""The outside world of these tests counts right, whoever acts at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testkit.outside import Outside

THREADS, EACH = 8, 25


def test_each_call_of_an_action_has_a_number_of_its_own(tmp_path: Path) -> None:
    """It says which calls fail, and which kill: two that take themselves for the second would leave out the first."""
    outside = Outside(tmp_path)

    def act(_: int) -> list[int]:
        return [outside.record("charge") for _ in range(EACH)]

    with ThreadPoolExecutor(THREADS) as threads:
        numbers = [number for found in threads.map(act, range(THREADS)) for number in found]

    assert sorted(numbers) == list(range(1, THREADS * EACH + 1))


def test_half_a_line_is_not_read(tmp_path: Path) -> None:
    """Where a line crosses a page, who reads at that moment sees the part before."""
    outside = Outside(tmp_path)
    outside.record("reserve")
    with (tmp_path / "ledger").open("a") as ledger:
        ledger.write('{"action": "cha')

    assert outside.counts() == {"reserve": 1}
