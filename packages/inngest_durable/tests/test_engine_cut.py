"""The engine when what it awaits, or who awaits it, ends in a way that is no answer and no error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from inngest_durable import EmbeddedEngine, StoreError
from inngest_durable._core.model import Memo, Park, RecordedRequest, RunStatus, StepOp, StepState
from inngest_durable.engines.base import Claim
from inngest_durable.engines.records import Found
from inngest_durable.testing import MemoryStore

REQUEST = RecordedRequest("GET", "http", "", "/trip", b"/trip", b"", (), None, None, "1.1", b"")


class Host:
    """An application in which each re-entry breaks with *error*."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.entered = asyncio.Event()
        self._error = error

    async def reenter(self, claim: Claim) -> None:
        """Run one later pass."""
        self.entered.set()
        if self._error is not None:
            raise self._error


class LibraryTimeout(BaseException):
    """What gevent, for one, raises."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), LibraryTimeout()], ids=lambda error: type(error).__name__)
async def test_run_whose_reentry_breaks_waits_for_the_next(error: BaseException) -> None:
    store, host = MemoryStore(), Host(error)
    engine = EmbeddedEngine(store=store)
    await engine.start(host)
    claim = engine.begin("trip", REQUEST)
    await claim.accept()
    await claim.park(Park(engine.clock.now(), 1, 0.0))
    await host.entered.wait()
    await engine.stop()

    assert store.status(claim.run.id) is RunStatus.WAITING


async def test_what_a_write_has_found_is_told_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the task that sent the events is cancelled meanwhile: runs that have become due are looked for."""
    told: list[Found] = []
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    engine = EmbeddedEngine(store=MemoryStore())
    await engine.start(Host())
    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "write", lambda write: durable)
        patch.setattr(engine, "tell_found", told.append)
        sending = asyncio.ensure_future(engine.send_events([]))
        sending.cancel()
        await asyncio.wait([sending])
        told_before = list(told)
        durable.set_result(None)
        # Its callbacks are called in the next turn of the loop.
        await asyncio.sleep(0)
    await engine.stop()

    assert (sending.cancelled(), durable.cancelled()) == (True, False)
    assert (told_before, told) == ([], [Found()])


async def test_run_is_there_although_its_first_checkpoint_is_refused(tmp_path: Path) -> None:
    """Half a surrogate pair in a step's ID is an error of the handler: its run is tried again, and ends."""
    engine = EmbeddedEngine(tmp_path / "durable.db")
    await engine.start(Host())
    claim = engine.begin("trip", REQUEST)
    with pytest.raises(StoreError, match="surrogates not allowed"):
        await claim.save(Memo("\ud800", "\ud800", StepOp.RUN, StepState.COMPLETED, 1, b"1"))
    await claim.park(Park(engine.clock.now() + 600, 1, 0.0))
    status = engine.status(claim.run.id)
    await engine.stop()

    assert status is RunStatus.WAITING
