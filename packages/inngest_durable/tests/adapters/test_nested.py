"""An endpoint that is called as a function, in a request whose pass is under way."""

from __future__ import annotations

from pathlib import Path

import pytest
from inngest_durable import StepUsageError

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import bare_shop
from testkit.colourless import over_both, step

pytestmark = over_both


@pytest.mark.parametrize("catches", [True, False])
def test_endpoint_in_the_pass_of_another_is_refused(tmp_path: Path, serve: Serve, catches: bool) -> None:
    """The error says what to do. The run, which would have lost its pass to the other one's, comes to its end."""
    shop = bare_shop(tmp_path)

    @shop.inngest.endpoint(id="inner", retries=QUICK)
    async def inner() -> str:
        return await step.run("charge", shop.outside.act, "charge")

    @shop.app.get("/")
    @shop.inngest.endpoint(id="outer", retries=QUICK)
    async def outer() -> str:
        await step.run("reserve", shop.outside.act, "reserve")
        try:
            return await inner()
        except StepUsageError as error:
            if not catches:
                raise
            return str(error)

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    answer = site.get("/")
    run = site.records.wait_for_only_run()

    assert site.outside.counts() == {"reserve": 1}
    assert (answer.status_code, run.status) == ((200, "completed") if catches else (500, "failed"))
    assert (
        not catches or "endpoint 'inner' was called as a function in a pass of 'outer': use step.invoke" in answer.text
    )
