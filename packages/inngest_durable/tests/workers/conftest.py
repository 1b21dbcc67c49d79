"""Workers on one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from packages.inngest_durable.tests.workers.team import Team


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """No worker yet; those the test starts are ended after it."""
    with closing(Team(tmp_path)) as team:
        yield team
