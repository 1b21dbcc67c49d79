"""What a request leaves behind. What refers to itself stays until the cycle collector stops everything to find it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import httpx
import pytest
from inngest_durable import NonRetriableError, StepError, StepOptions, step

from packages.inngest_durable.tests.adapters import garbage_process
from packages.inngest_durable.tests.adapters.quart_app import small_app
from testkit.server_process import REPOSITORY
from testkit.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("app", ["quart", "traced", "flask"])
def test_request_leaves_nothing_of_this_package_to_the_cycle_collector(tmp_path: Path, app: str) -> None:
    """Not the exchange, the pass, its steps or their tasks."""
    command = [sys.executable, "-m", garbage_process.__name__, str(tmp_path), app]
    process = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False
    )

    assert process.stdout.split() == [], process.stderr
    assert process.returncode == 0, process.stderr


class Large:
    """Something that should not stay in memory."""


TASKS: set[asyncio.Task[None]] = set()


async def ends_in_time(_: Large) -> None:
    """Use a timer, which the event loop keeps for a while although it was cancelled."""
    async with asyncio.timeout(60):
        await asyncio.sleep(0)


async def starts_a_task(_: Large) -> None:
    """Start something that goes on after the step."""
    TASKS.add(asyncio.create_task(asyncio.sleep(3600)))


async def starts_a_task_and_fails(_: Large) -> None:
    """Leave an error, whose traceback holds the handler's variables."""
    TASKS.add(asyncio.create_task(asyncio.sleep(3600)))
    raise NonRetriableError("no seat")


@pytest.mark.parametrize("fn", [ends_in_time, starts_a_task, starts_a_task_and_fails], ids=lambda fn: fn.__name__)
def test_step_that_has_ended_keeps_no_arguments(tmp_path: Path, fn: Any) -> None:
    """What its function has left on the event loop runs in its context, and may stay there for an hour."""
    app, inngest, _ = small_app(tmp_path)
    seen: list[weakref.ref[Large]] = []

    @app.get("/")
    @inngest.endpoint
    async def handler() -> str:
        large = Large()
        seen.append(weakref.ref(large))
        try:
            await step.run(StepOptions("first", timeout="1h"), fn, large)
        except StepError as failed:
            return failed.message
        return "done"

    inngest.init_app(app)

    async def ask() -> list[Large | None]:
        asgi: Any = app
        transport = httpx.ASGITransport(asgi)
        async with app.test_app(), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answered = (await client.get("/")).text
            assert answered == ("no seat" if fn is starts_a_task_and_fails else "done")
        gc.collect()
        return [reference() for reference in seen]

    assert asyncio.run(ask()) == [None]
