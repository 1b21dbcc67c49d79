"""The fixtures of the adapters' scenarios, the team of workers, and the command on their databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from packages.inngest_durable.tests.adapters.conftest import all_opened, framework, opened, site, start_site
from packages.inngest_durable.tests.ops.command import Command
from testkit.records import database_of

__all__ = ["all_opened", "framework", "opened", "site", "start_site"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The console script on the database that an application in this test's folder uses."""
    return Command(database_of(tmp_path))
