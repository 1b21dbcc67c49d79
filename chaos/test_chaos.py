"""The command itself, in its short form: so that it cannot rot, and some chaos is in every run of the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "chaos", "--minutes", "0.33", "--clients", "2")
# The load, and all deadlines after it.
LONGEST_SECONDS = 240


@pytest.mark.skipif(sys.platform != "linux", reason="workers are stopped and their disk is filled by means of Linux")
def test_twenty_seconds_of_chaos_leave_nothing_lost_twice_or_stuck() -> None:
    """Every kind of disturbance and of request occurs, and the accounting is clean."""
    done = subprocess.run(
        [*COMMAND, "--seed", "8"], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    disturbances = re.findall(r"^(kill|term|stop|lock|full|clock|cut|blackout) +\d+$", done.stdout, re.MULTILINE)
    (sent, runs) = re.findall(r"^all +(\d+) .* (\d+) +\d+ +\d+$", done.stdout, re.MULTILINE)[0]

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "accounting: clean" in done.stdout
    assert len(disturbances) == 8
    assert int(sent) > 20
    assert int(runs) > int(sent) / 4


def test_plan_is_printed_and_the_same_for_the_same_seed() -> None:
    printed = [
        subprocess.run(
            [*COMMAND, "--plan", "--seed", seed], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "1", "2")
    ]

    assert printed[0] == printed[1] != printed[2]
    assert "kill" in printed[0]
