"""Event loops whose tasks begin at once, as an application may choose since Python 3.12."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

_factory: Any = getattr(asyncio, "eager_task_factory", None)
needs_eager_tasks = pytest.mark.skipif(_factory is None, reason="tasks can begin at once since Python 3.12")


def begin_tasks_at_once() -> None:
    """Let each task of the running loop begin in the call that makes it; one that never waits ends there, too."""
    asyncio.get_running_loop().set_task_factory(_factory)
