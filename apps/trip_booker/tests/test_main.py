from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "http"), ("PORT", "0"), ("PORT", "65536"), ("TRIP_BOOKER_SPEED", "fast")],
)
def test_unusable_setting_ends_the_command_with_a_sentence(variable: str, value: str, tmp_path: Path) -> None:
    """Nothing is started, and the message names the variable and its value."""
    ended = subprocess.run(
        [sys.executable, "-m", "trip_booker"],
        env={**os.environ, variable: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert ended.returncode == 2
    assert variable in ended.stderr
    assert repr(value) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
