"""OpenTelemetry: a pass that is cut off, by its client or by the end of the process, is interrupted and no error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import NonRetriableError

from packages.inngest_durable.tests.adapters.shop import bare_shop
from packages.inngest_durable.tests.adapters.site import Site
from packages.inngest_durable.tests.adapters.test_clients_leave import connection_of
from packages.inngest_durable.tests.adapters.traces import Traces, facts, identity, is_error, parent
from testkit.colourless import Web, over_both, over_quart_only, step
from testkit.outside import Outside
from testkit.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path, web: Web, traces: Traces, serve: Callable[..., Site]) -> Site:
    """Serve a traced application with one endpoint, whose second step takes until its gate opens."""
    shop = bare_shop(tmp_path)
    traces.instrument(shop.inngest)

    @shop.app.get("/")
    @shop.inngest.endpoint(id="order")
    async def order() -> Any:
        await step.run("reserve", shop.outside.act, "reserve")
        return await step.run("charge", shop.outside.held, "charge")

    @shop.app.get("/refused")
    @shop.inngest.endpoint(id="refused")
    async def refused() -> Any:
        return await step.run("charge", refuse, shop.outside)

    shop.inngest.init_app(shop.app)
    return serve(shop.app, shop.inngest)


def refuse(outside: Outside) -> None:
    """Refuse the card, once the gate is open."""
    outside.held("charge")
    raise NonRetriableError("the card is refused")


@over_quart_only
def test_pass_whose_client_leaves(site: Site, traces: Traces) -> None:
    """Its span ends then; the step in flight goes on below it, and the next pass is in the same trace."""
    with connection_of(site, "/"):
        site.outside.wait_for("charge")
    wait_until(lambda: traces.of("run order"), "the pass to end")
    site.outside.open("charge")
    wait_until(lambda: len(traces.of("run order")) == 2, "the next pass to end")
    first, second = traces.of("run order")

    assert (facts(first)["outcome"], facts(first)["reason"]) == ("interrupted", "the client went away")
    assert facts(second)["outcome"] == "completed"
    assert parent(traces.only("step charge")) == parent(second) == identity(first)
    assert not any(map(is_error, traces.all()))


@over_quart_only
def test_step_that_fails_after_its_client_left(site: Site, traces: Traces, caplog: pytest.LogCaptureFixture) -> None:
    """The pass's span has ended by then, and takes no event any more."""
    with connection_of(site, "/refused"):
        site.outside.wait_for("charge")
    wait_until(lambda: traces.of("run refused"), "the pass to end")
    site.outside.open("charge")
    wait_until(lambda: len(traces.of("run refused")) == 2, "the next pass to end")

    assert is_error(traces.only("step charge"))
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


@over_both
def test_pass_that_the_end_of_the_process_interrupts(site: Site, traces: Traces) -> None:
    with connection_of(site, "/"):
        site.outside.wait_for("charge")
        stopping = site.server.submit(site.inngest.stop)
        wait_until(lambda: site.inngest.engine.passes.interrupted, "the drain to begin")
        site.outside.open("charge")
        stopping.result(20)
    run = traces.only("run order")

    assert (facts(run)["outcome"], facts(run)["reason"]) == ("interrupted", "the process stops")
    assert parent(traces.only("step charge")) == identity(run)
    assert not any(map(is_error, traces.all()))
