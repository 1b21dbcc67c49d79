"""Step functions for tests of passes."""

from __future__ import annotations

import asyncio

HOUR = 3600.0


class Work:
    """Step functions that count their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.executing = 0
        self.began: dict[str, float] = {}

    async def do(self, name: str, seconds: float = 0.0) -> str:
        """Take *seconds*."""
        self.calls.append(name)
        self.began[name] = asyncio.get_running_loop().time()
        self.executing += 1
        await asyncio.sleep(seconds)
        self.executing -= 1
        return name

    async def fail(self, name: str, times: int, seconds: float = 0.0) -> str:
        """Fail *times* times."""
        await self.do(name, seconds)
        if self.calls.count(name) <= times:
            raise OSError(f"{name} is down")
        return name
