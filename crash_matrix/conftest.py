"""The process that servers are forked from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from testkit.forks import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Run the process that servers are forked from."""
    with closing(Zygote()) as zygote:
        yield zygote
