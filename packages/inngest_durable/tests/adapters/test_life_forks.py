"""What a forked child must not take over: threads, and an event loop, that are its parent's."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from inngest_durable import ConfigurationError, EmbeddedEngine, Event, Inngest
from inngest_durable.quart import endpoint_adapter
from quart import Quart

from packages.inngest_durable.tests.adapters.flask_scripts import (
    fork_and_leave,
    fork_quart,
    fork_while_busy,
    run_script,
)
from testkit.records import database_of


def test_child_of_a_busy_parent_has_all_its_threads(tmp_path: Path) -> None:
    """Those of the parent that re-enter, hold a client, or are late, take up no place in the child."""
    assert run_script(fork_while_busy.__name__, tmp_path).stdout == "200 free#1 0\n"


def test_blocking_call_in_a_child_is_refused(tmp_path: Path) -> None:
    """It would wait for the parent's event loop, which does not run in the child."""
    assert run_script(fork_quart.__name__, tmp_path).stdout == "ConfigurationError\n"


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="no loop ends in a child: CPython 3.14 refuses each of its callbacks there"
)
def test_child_that_ends_the_loop_stops_nothing(tmp_path: Path) -> None:
    """An engine stops with its event loop; the copy of that loop in a child is not its loop."""
    assert run_script(fork_and_leave.__name__, tmp_path).stdout == ""


def test_blocking_call_after_the_loop_is_refused(tmp_path: Path) -> None:
    """The engine's event loop was closed without stopping it."""
    inngest = Inngest("closed", endpoint_adapter, EmbeddedEngine(database_of(tmp_path)), handle_signals=False)
    inngest.init_app(Quart(__name__))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(inngest.start())
    loop.close()

    with pytest.raises(ConfigurationError, match="start the engine first"):
        inngest.sync.send(Event("some/event"))

    async def stop() -> None:
        await inngest.stop()

    asyncio.run(stop())
