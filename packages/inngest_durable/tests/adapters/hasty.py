"""A server whose event loop lives faster than the world: what holds for 25 s answers after one."""

from __future__ import annotations

import asyncio
import selectors

from testkit.servers import UvicornThread

SPEED = 25.0


class _HastySelector(selectors.DefaultSelector):
    """Sleeps for a fraction of what it is asked to."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class _HastyLoop(asyncio.SelectorEventLoop):
    """Its seconds are 1/25 of a second long; whatever counts in them believes that they are whole ones."""

    def __init__(self) -> None:
        super().__init__(_HastySelector())

    def time(self) -> float:
        return super().time() * SPEED


class HastyUvicorn(UvicornThread):
    """Uvicorn on an event loop that lives 25 times as fast."""

    async def _main(self) -> None:
        # The server's thread makes its loop by itself; that one just waits for the hasty one.
        await asyncio.to_thread(self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_HastyLoop) as runner:
            runner.run(super()._main())
