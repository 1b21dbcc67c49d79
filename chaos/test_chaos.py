"""The command itself, in its short form: so that it cannot rot, and some chaos is in every run of the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.__main__ import parse

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

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    disturbances = re.findall(r"^(kill|term|stop|lock|full|clock|cut|blackout) +\d+$", done.stdout, re.MULTILINE)
    ((sent, runs),) = re.findall(r"^all +(\d+) .* (\d+) +\d+ +\d+$", done.stdout, re.MULTILINE)
    assert "accounting: clean" in done.stdout
    assert len(disturbances) == 8
    assert int(sent) > 20
    assert int(runs) > int(sent) / 4


@pytest.mark.parametrize("options", ["--minutes=0", "--minutes=-3", "--clients=0"])
def test_exercise_without_time_or_clients_is_refused(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([options])

    assert "--minutes is more than 0, and --clients at least 1" in capsys.readouterr().err


def test_plan_is_printed_and_the_same_for_the_same_seed() -> None:
    printed = [
        subprocess.run(
            [*COMMAND, "--plan", "--seed", seed], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "1", "2")
    ]

    assert printed[0] == printed[1] != printed[2]
    assert "kill" in printed[0]
