"""Options of endpoints and steps: IDs and retries."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import ConfigurationError, RetryPolicy, StepOptions

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.one_endpoint import Handler, one_step, shop_of
from packages.inngest_durable.tests.adapters.shop import bare_shop
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.colourless import over_both, step
from testkit.outside import OutageError, Outside

pytestmark = over_both


def test_id_is_kept_with_the_run(tmp_path: Path, serve: Serve) -> None:
    """A given ID is recorded as it is; without one it is module and qualified name of the handler."""
    shop = bare_shop(tmp_path)

    @shop.app.get("/named")
    @shop.inngest.endpoint(id="book-trip")
    async def named() -> str:
        return await step.run("one", shop.outside.act, "one")

    @shop.app.get("/unnamed")
    @shop.inngest.endpoint
    async def unnamed() -> str:
        return await step.run("one", shop.outside.act, "one")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    for path in ("/named", "/unnamed"):
        site.records.wait_for_end(site.get(path).headers[RUN_ID])

    assert [run.endpoint for run in site.records.runs()] == [
        "book-trip",
        f"{__name__}.test_id_is_kept_with_the_run.<locals>.unnamed",
    ]


def test_duplicate_id_is_refused_when_it_is_decorated(tmp_path: Path) -> None:
    """An ID that is taken, be it given or made from the name, is an error that names it and says what to do."""
    shop = bare_shop(tmp_path)

    async def handler() -> str:
        return "done"

    shop.inngest.endpoint(handler)
    taken = f"{handler.__module__}.{handler.__qualname__}"
    for decorate in (shop.inngest.endpoint, shop.inngest.endpoint(id=taken)):
        with pytest.raises(ConfigurationError, match=r"already an endpoint .*\.handler'.*id="):
            decorate(handler)
    # Another ID, and another client, are fine.
    shop.inngest.endpoint(id="other")(handler)
    bare_shop(tmp_path).inngest.endpoint(handler)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retries": -1}, "max_retries"),
        ({"retries": "3"}, "not '3'"),
        ({"timeout": "soon"}, "soon"),
        ({"timeout": "-1s"}, "-1s"),
        ({"timeout": "10"}, "10"),
    ],
)
def test_unreadable_option_is_refused_when_it_is_decorated(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    """A mistake in an option shows at the start of the application, and the error names it."""
    with pytest.raises(ValueError, match=named):
        bare_shop(tmp_path).inngest.endpoint(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"id": ""}, "ID"),
        ({"id": "one", "retries": -1}, "max_retries"),
        ({"id": "one", "timeout": "soon"}, "soon"),
        ({"id": "one", "timeout": "-1s"}, "-1s"),
    ],
)
def test_unreadable_step_option_is_refused(options: dict[str, Any], named: str) -> None:
    """A mistake in a step's options shows where they are made."""
    with pytest.raises(ValueError, match=named):
        StepOptions(**options)


@pytest.mark.parametrize(
    ("of_endpoint", "of_step", "attempts"),
    [
        (0, None, 1),
        (2, None, 3),
        (RetryPolicy(max_retries=1, initial="1ms"), None, 2),
        (0, 2, 3),
        (5, 0, 1),
        (0, RetryPolicy(max_retries=1, initial="1ms"), 2),
    ],
)
def test_retries_of_a_step(
    tmp_path: Path,
    serve: Serve,
    of_endpoint: RetryPolicy | int,
    of_step: RetryPolicy | int | None,
    attempts: int,
) -> None:
    """The step's own retries count, else the endpoint's; a number is that of retries, not of attempts."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            return await step.run(StepOptions("charge", retries=quick(of_step)), outside.act, "charge", 1_000)

        return handler

    shop = shop_of(tmp_path, make, retries=quick(of_endpoint))
    site = serve(shop.app, shop.inngest)
    answer = site.follow(site.get("/"))

    assert (answer.status_code, answer.json()) == (
        502,
        {"step": "charge", "error": "OutageError", "attempts": attempts},
    )
    assert site.outside.counts() == {"charge": attempts}


def quick(retries: RetryPolicy | int | None) -> Any:
    """Return *retries* without the default pauses; a number stays one where it means no pause."""
    return RetryPolicy(max_retries=retries, initial="1ms") if isinstance(retries, int) and retries else retries


def test_number_of_retries_is_understood(tmp_path: Path, serve: Serve) -> None:
    """``retries=1`` makes two attempts, with the default pause of up to a second between them."""
    shop = shop_of(tmp_path, one_step, retries=1)
    site = serve(shop.app, shop.inngest)

    assert site.follow(site.get("/")).json()["attempts"] == 2


def test_number_of_retries_of_a_step_keeps_the_pauses_of_the_endpoint(tmp_path: Path, serve: Serve) -> None:
    """``retries=5`` says how often; how soon is what the endpoint's policy says."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            return await step.run(StepOptions("charge", retries=5), outside.act, "charge", 1_000)

        return handler

    shop = shop_of(tmp_path, make, retries=RetryPolicy(max_retries=0, initial="2h", maximum="2h", jitter=False))
    site = serve(shop.app, shop.inngest)
    asked_at = time.time()

    assert site.get("/").status_code == 303
    site.records.wait_for_only_run("waiting")
    assert site.records.only_wake_time() >= asked_at + 7200


def test_retries_of_the_handler(tmp_path: Path, serve: Serve) -> None:
    """The endpoint's policy is that of its handler too; a step's own is not."""

    def make(outside: Outside) -> Handler:
        async def handler() -> str:
            await step.run(StepOptions("fine", retries=9), outside.act, "fine")
            return outside.act("handler", 1_000)

        return handler

    shop = shop_of(tmp_path, make, retries=RetryPolicy(max_retries=2, initial="1ms"))
    site = serve(shop.app, shop.inngest)

    assert site.follow(site.get("/")).status_code == 500
    assert site.outside.counts() == {"fine": 1, "handler": 3}


def test_policy_sets_the_pauses(tmp_path: Path, serve: Serve) -> None:
    """The pauses between attempts are those of the policy: they grow, up to the longest."""

    def make(outside: Outside) -> Handler:
        def charge() -> str:
            if outside.record("charge", at=time.time()) <= 3:
                raise OutageError("charge is down")
            return "charged"

        async def handler() -> str:
            return await step.run("charge", charge)

        return handler

    policy = RetryPolicy(max_retries=3, initial="100ms", factor=3.0, maximum="200ms", jitter=False)
    shop = shop_of(tmp_path, make, retries=policy)
    site = serve(shop.app, shop.inngest)
    answer = site.follow(site.get("/"))
    times = [call["at"] for call in site.outside.calls("charge")]
    pauses = [later - earlier for earlier, later in pairwise(times)]

    assert answer.text == "charged"
    for pause, least in zip(pauses, [0.1, 0.2, 0.2], strict=True):
        assert least <= pause < least + 3
