"""Whether the server can be reached, as far as runs depend on that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ..._pass import UNWRITABLE
from ..passes import PassSet
from ..ulids import new_ulid
from .api import InngestApi
from .delivery import UNDELIVERED

logger = logging.getLogger("inngest_durable")

_PROBE_SECONDS = 1.0


class Health:
    """
    Notes outages, and looks for their end. While there is one, no run begins: its steps could not be recorded.

    Args:
        api: The server.
        passes: The passes of this process: those that cannot record anything let their clients go.
        spawn: Runs work in the background.

    Attributes:
        failing: Why nothing can be recorded at the moment, or None.
    """

    def __init__(self, api: InngestApi, passes: PassSet, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.failing: str | None = None
        self._api = api
        self._passes = passes
        self._spawn = spawn
        self._probes = False

    def undelivered(self, run_id: str, why: str, *, is_outage: bool) -> None:
        """The server has not taken what the pass of a run records: nobody is kept waiting for it."""
        for live_pass in self._passes.of(run_id):
            live_pass.let_go(UNWRITABLE)
        if not is_outage:
            return
        if self.failing is None:
            logger.error("no run begins until what runs record can be delivered again: %s", why)
        self.failing = why
        if not self._probes:
            self._probes = True
            self._spawn(self._probe())

    def reached(self) -> None:
        """It has now."""
        self.failing = None

    def close(self) -> None:
        """Stop looking."""
        self.failing = None

    async def _probe(self) -> None:
        try:
            while self.failing is not None:
                await asyncio.sleep(_PROBE_SECONDS)
                try:
                    await self._api.run(new_ulid(), tries=1)
                except UNDELIVERED:
                    continue
                self.failing = None
        finally:
            self._probes = False
