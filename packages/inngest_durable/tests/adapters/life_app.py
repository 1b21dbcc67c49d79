"""
An application for processes that are told to stop, killed or forked: by a server, or by itself as a script.

It takes its folder from FOLDER, and options of its client and engine from OPTIONS as JSON.

    route              what its handler does
    /book              step one
    /held              step one; step two takes until its gate opens; step three
    /hangs             step hangs: its first call never returns
    /elsewhere         step one; then it awaits something that never comes, the first time
    /asleep            a pause of an hour
    /dies-first        its first statement kills the process, the first time; then step one
    /dies-in-step      step one; step dies ends the process, the first time
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import hypercorn
import hypercorn.asyncio
from inngest_durable import step
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.shop import Shop, bare_shop, note_visits
from testkit.pauses import count_from_disk
from testkit.waiting import wait_until


def create_app() -> Quart:
    """Return the application, for a server process."""
    logging.basicConfig(level=logging.INFO)
    return from_environment().app


def from_environment() -> Shop:
    """Return the application as the environment says."""
    count_from_disk()
    options = json.loads(os.environ.get("OPTIONS", "{}"))
    return build(Path(os.environ["FOLDER"]), engine=options.get("engine"), **options.get("client", {}))


def build(folder: Path, **options: Any) -> Shop:
    """Return the application, connected."""
    # Long, so that a drain that waits for it in vain is told from one on a busy machine.
    engine = {"shutdown_grace": "60s", **(options.pop("engine", None) or {})}
    shop = bare_shop(folder, engine=engine, **options)
    note_visits(shop, folder)
    _add_steps(shop)
    _add_deaths(shop)
    shop.inngest.init_app(shop.app)
    return shop


def _add_steps(shop: Shop) -> None:
    outside = shop.outside

    @shop.app.get("/book")
    @shop.inngest.endpoint(id="book", retries=QUICK)
    async def book() -> str:
        return await step.run("one", outside.act, "booked")

    @shop.app.get("/held")
    @shop.inngest.endpoint(id="held", retries=QUICK)
    async def held() -> list[str]:
        one = await step.run("one", outside.act, "one")
        two = await step.run("two", outside.held, "two")
        return [one, two, await step.run("three", outside.act, "three")]

    @shop.app.get("/hangs")
    @shop.inngest.endpoint(id="hangs", retries=QUICK)
    async def hangs() -> str:
        return await step.run("hangs", hang)

    def hang() -> str:
        if outside.record("hangs") == 1:
            threading.Event().wait()
        return "done"

    @shop.app.get("/elsewhere")
    @shop.inngest.endpoint(id="elsewhere", retries=QUICK)
    async def elsewhere() -> str:
        await step.run("one", outside.act, "one")
        if outside.record("elsewhere") == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    @shop.app.get("/asleep")
    @shop.inngest.endpoint(id="asleep", retries=QUICK)
    async def asleep() -> str:
        await step.sleep("pause", "1h")
        return "awake"


def _add_deaths(shop: Shop) -> None:
    outside = shop.outside

    @shop.app.get("/dies-first")
    @shop.inngest.endpoint(id="dies-first", retries=QUICK)
    async def dies_first() -> str:
        if outside.record("handler") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return await step.run("one", outside.act, "one")

    @shop.app.get("/dies-in-step")
    @shop.inngest.endpoint(id="dies-in-step", retries=QUICK)
    async def dies_in_step() -> str:
        await step.run("one", outside.act, "before")
        return await step.run("dies", die)

    def die() -> str:
        if outside.record("dies") == 1:
            os._exit(1)
        return "alive"


# As a script


def serve_with_hypercorn(port: str) -> None:
    """Serve by hypercorn's function, in this process."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 1.0
    asyncio.run(hypercorn.asyncio.serve(create_app(), config))


def run_without_server(previous: str) -> None:
    """
    Run one request of /held without a server, and end when the gate "exit" opens.

    Args:
        previous: What SIGTERM does when the engine starts: "recorded", "ignored" or "default".
    """
    shop = from_environment()
    outside = shop.outside

    def record(number: int, frame: FrameType | None) -> None:
        outside.record("previous", number=number)

    if previous == "recorded":
        signal.signal(signal.SIGTERM, record)
    elif previous == "ignored":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Comes after SIGTERM when both are pending, and so tells that SIGTERM was seen.
    signal.signal(signal.SIGWINCH, lambda number, frame: outside.record("seen"))

    async def main() -> None:
        async with shop.inngest.running():
            response = await shop.app.test_client().get("/held")
            outside.record("answered", status=response.status_code)
            await asyncio.to_thread(wait_until, lambda: outside.is_open("exit"), "leave to end")
        outside.record("stopped")

    asyncio.run(main())


def fork_while_running(child_ends: str) -> None:
    """
    Fork in the middle of a run; the child uses the application too.

    Args:
        child_ends: How it ends: "stops" its engine, or "dies" in a step.
    """
    shop = from_environment()
    outside = shop.outside

    async def child() -> None:
        outside.record("child-started", started=shop.inngest.is_started())
        client = shop.app.test_client()
        response = await client.get("/book")
        outside.record("child-booked", status=response.status_code)
        await asyncio.to_thread(outside.held, "child")
        if child_ends == "dies":
            await client.get("/dies-in-step")
        await shop.inngest.stop()
        outside.record("child-stopped")

    async def main() -> None:
        async with shop.inngest.running():
            client = shop.app.test_client()
            held = asyncio.create_task(client.get("/held"))
            await asyncio.to_thread(outside.wait_for, "two")
            pid = os.fork()
            if not pid:
                try:
                    asyncio.run(child())
                finally:
                    os._exit(0)
            await asyncio.to_thread(os.waitpid, pid, 0)
            outside.record("child-ended")
            response = await held
            outside.record("answered", status=response.status_code)
            outside.record("parent-booked", status=(await client.get("/book")).status_code)
            await asyncio.to_thread(wait_until, lambda: outside.is_open("exit"), "leave to end")

    asyncio.run(main())


def fork_a_plain_child(then: str) -> None:
    """
    Fork a child that has nothing to do with the engine.

    Args:
        then: "signal" sends SIGTERM to the child; "wait" runs /held, and waits for its end with the child alive.
    """
    shop = from_environment()

    async def main() -> None:
        async with shop.inngest.running():
            held = asyncio.create_task(shop.app.test_client().get("/held")) if then == "wait" else None
            if held is not None:
                await asyncio.to_thread(shop.outside.wait_for, "two")
            pid = os.fork()
            if not pid:
                shop.outside.record("child")
                # Not `signal.pause`: a signal that comes just before it is waited for would be waited for in vain.
                wait_until(lambda: False, "the end of the process")
                # Only a handler that did not end the process comes here.
                os._exit(99)
            await asyncio.to_thread(shop.outside.wait_for, "child")
            if held is not None:
                await held
            os.kill(pid, signal.SIGTERM)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            shop.outside.record("child-ended", code=os.waitstatus_to_exitcode(status))

    asyncio.run(main())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    {
        "hypercorn": serve_with_hypercorn,
        "script": run_without_server,
        "fork": fork_while_running,
        "fork-plain": fork_a_plain_child,
    }[sys.argv[1]](*sys.argv[2:])
