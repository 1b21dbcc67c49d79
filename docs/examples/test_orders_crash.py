"""`orders`, killed by SIGKILL before and after each of its effects."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def live(folder: Path, *point: str) -> subprocess.CompletedProcess[str]:
    """Let a process serve the order, to its end or to the point where it dies."""
    command = [sys.executable, "-m", "docs.examples.orders_life", str(folder), *point]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("point", ["1", "2", "3", "4"])
def test_order_survives_a_kill(tmp_path: Path, point: str) -> None:
    """A second process ends what the first one began, or nothing was begun: one charge, and one answer."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    killed = live(tmp_path, point)
    answered = live(tmp_path)
    done = [line.rpartition(" ")[0] for line in ledger.read_text().splitlines()]

    assert killed.returncode == -signal.SIGKILL
    assert json.loads(answered.stdout) == {"shipped": True, "receipt": "receipt of 7"}
    assert done.count("charged") == 1
    # Shipping takes no key: killed between the effect and the checkpoint, it is done twice, and never more often.
    assert done.count("shipped") == (2 if point == "4" else 1)


def test_there_are_four_points(tmp_path: Path) -> None:
    """The fifth is not reached: the test above dies at all there are."""
    (tmp_path / "ledger").touch()

    assert live(tmp_path, "5").returncode == 0
