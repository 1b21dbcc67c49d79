"""`step.invoke`: another endpoint as a child run, durable on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from inngest_durable import NonRetriableError, StepError, StepUsageError
from inngest_durable._core.model import RunStatus
from quart.typing import ResponseReturnValue
from werkzeug.routing import BaseConverter

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import (
    Response,
    Web,
    abort,
    get_json,
    over_both,
    redirect,
    request,
    step,
)

pytestmark = over_both

FITTING = (
    " (in a path, each must be a value that its route matches: not None, not a list, not empty, and without a slash "
    "unless the route has <path:…>)"
)


class Bank:
    """An application with one endpoint that charges cards, and others that have it charged."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.charges: list[str] = []
        self.seen: dict[str, Any] = {}
        self.charge = office.add("/charge/<card>", self._handler(), ["GET", "POST"])

    def _handler(self) -> Any:
        async def charge(card: str) -> ResponseReturnValue:
            self.seen = {"method": request.method, "args": request.args.to_dict(), "cookie": request.cookies.get("s")}
            if request.method == "POST":
                self.seen["json"] = await get_json()
            await step.run("charge", self.charged, card)
            await step.sleep("settle", "1m")
            return self.answer(card)

        return charge

    async def charged(self, card: str) -> str:
        """Charge a card."""
        self.charges.append(card)
        return card

    def answer(self, card: str) -> ResponseReturnValue:
        """Answer in the way that the card's name says."""
        answers: dict[str, Callable[[], ResponseReturnValue]] = {
            "good": lambda: {"card": card},
            "list": lambda: ([1, None], 201),
            "empty": lambda: ("", 204),
            "text": lambda: "thanks",
            "poor": lambda: ({"error": "no money"}, 402),
            "moved": lambda: redirect("/elsewhere"),
            "gone": lambda: abort(410),
        }
        if card == "declined":
            raise NonRetriableError("declined")
        return answers[card]()

    def caller(self, name: str = "order", **options: Any) -> None:
        """Add the endpoint ``/<name>``, which charges a card and tells what came of it."""

        async def order() -> Any:
            try:
                return {"charged": await step.invoke("pay", **{"endpoint": self.charge, **options})}
            except (StepError, StepUsageError) as error:
                return {
                    "error": str(error),
                    "kind": getattr(error, "name", ""),
                    "child": getattr(error, "child_run_id", ""),
                }

        order.__name__ = name
        self.office.add(f"/{name}", order)


@pytest.fixture(params=["memory", "sqlite"])
def bank(request: pytest.FixtureRequest, tmp_path: Path, web: Web) -> Bank:
    """Make the application, not yet connected."""
    return Bank(make_office(tmp_path, request.param))


async def ended(bank: Bank, path: str = "/order") -> Any:
    """Return what an order answers, after a minute."""
    location = await bank.office.parked(path)
    await settled(bank)
    await bank.office.clock.advance("1m")
    return await bank.office.end(location)


async def settled(bank: Bank) -> None:
    """Wait until the child sleeps."""
    store = bank.office.store
    soon = bank.office.clock.now() + 61
    async with asyncio.timeout(20):
        while not any(due.wake_at < soon and due.epoch > 1 for due in store.due("office", 1e12, 9)):
            await bank.office.clock.settle()


async def test_child_run_answers_its_caller(bank: Bank) -> None:
    bank.caller(params={"card": "good", "amount": "1 & 2"})
    async with opened(bank.office):
        assert await ended(bank) == {"charged": {"card": "good"}}
        assert bank.seen == {"method": "GET", "args": {"amount": "1 & 2"}, "cookie": None}
        assert bank.charges == ["good"]


async def test_child_run_gets_a_body(bank: Bank) -> None:
    bank.caller(endpoint="charge", params={"card": "good"}, json={"amount": [1]})
    async with opened(bank.office):
        assert await ended(bank) == {"charged": {"card": "good"}}
        assert bank.seen["method"] == "POST"
        assert bank.seen["json"] == {"amount": [1]}


async def test_child_run_acts_for_the_same_client(bank: Bank) -> None:
    bank.caller(params={"card": "good"})
    async with opened(bank.office):
        await bank.office.parked("/order", cookies={"s": "42"})
        await settled(bank)

        assert bank.seen["cookie"] == "42"


@pytest.mark.parametrize(("card", "result"), [("list", [1, None]), ("empty", None)])
async def test_any_json_is_a_result(bank: Bank, card: str, result: Any) -> None:
    bank.caller(params={"card": card})
    async with opened(bank.office):
        assert await ended(bank) == {"charged": result}


@pytest.mark.parametrize(
    ("card", "kind", "text"),
    [
        ("declined", "NonRetriableError", "declined"),
        ("poor", "ChildResponseError", 'the child run answered 402: {"error":"no money"}'),
        ("moved", "ChildResponseError", "the child run answered 302"),
        ("gone", "ChildResponseError", "the child run answered 410"),
        ("text", "ChildResponseError", "the child run's answer is no JSON: thanks"),
    ],
)
async def test_child_run_that_fails_raises_in_its_caller(bank: Bank, card: str, kind: str, text: str) -> None:
    bank.caller(params={"card": card})
    async with opened(bank.office):
        said = await ended(bank)

        assert said["kind"] == kind
        assert text in said["error"]
        assert f"child={said['child']}" in said["error"]
        child = bank.office.store.run(said["child"])
        assert child is not None
        assert child.endpoint == "charge"
        assert bank.charges == [card]


async def test_child_run_that_takes_too_long_goes_on(bank: Bank) -> None:
    """The error names it, so that the caller can cancel it; at a replay too."""

    async def order() -> Any:
        try:
            await step.invoke("pay", endpoint="charge", params={"card": "good"}, timeout="30s")
        except StepError as error:
            await step.sleep("replay", "1s")
            return {"kind": error.name, "error": str(error), "child": error.child_run_id}

    bank.office.add("/order", order)
    async with opened(bank.office):
        location = await bank.office.parked("/order")
        await settled(bank)
        await bank.office.clock.advance("30s")
        await bank.office.clock.advance("1s")
        said = await bank.office.end(location)
        (child,) = bank.office.store.due("office", 1e12, 9)

        assert said["kind"] == "InvokeTimeoutError"
        assert "it goes on" in said["error"]
        assert said["child"] == child.run_id

        await bank.office.clock.advance("30s")
        await bank.office.written()

        assert bank.office.store.status(child.run_id) is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"endpoint": "refund"},
            "'refund' is not an endpoint of this client; its endpoints are: charge, fixed, numbered, order, unmounted",
        ),
        ({"endpoint": print}, "is not an endpoint of this client"),
        ({"params": {}}, "no route of endpoint 'charge' takes these params (none); its routes: /charge/<card>"),
        ({"params": {"name": 1}}, "takes these params (name)"),
        ({"endpoint": "numbered", "params": {"number": "x"}}, "takes these params (number)"),
        ({"endpoint": "numbered", "params": {"number": -1}}, "takes these params (number)"),
        ({"params": {"card": None}}, f"takes these params (card); its routes: /charge/<card>{FITTING}"),
        ({"params": {"card": ["x", "y"]}}, FITTING),
        ({"params": {"card": b"x"}}, FITTING),
        ({"params": {"card": "a/b"}}, FITTING),
        ({"params": {"card": ""}}, FITTING),
        # There is a route of another endpoint.
        ({"params": {"card": "fixed"}}, "no route of endpoint 'charge' takes these params (card)"),
        ({"endpoint": "unmounted"}, "its routes: none: is it mounted?"),
    ],
)
async def test_call_that_cannot_work_is_an_error(bank: Bank, options: dict[str, Any], text: str) -> None:
    @bank.office.inngest.endpoint(id="unmounted")
    async def unmounted() -> None:
        raise NotImplementedError

    async def numbered(number: int) -> None:
        raise NotImplementedError

    async def fixed() -> None:
        raise NotImplementedError

    bank.office.add("/numbered/<int:number>", numbered)
    bank.office.add("/charge/fixed", fixed)
    bank.caller(**options)
    async with opened(bank.office):
        answer = await bank.office.get("/order")

        assert answer.status_code == 200
        assert text in answer.json["error"]
        assert bank.office.entered == ["/order"]


class Cards(BaseConverter):
    """Takes several cards in one part of a path."""

    def to_python(self, value: str) -> list[str]:
        """Return the cards."""
        return value.split("+")

    def to_url(self, value: list[str]) -> str:
        """Return them as a part of a path."""
        return "+".join(value)


@pytest.mark.parametrize(
    ("route", "given", "got"),
    [
        ("/take/<it>", 17, "17"),
        ("/take/<it>", UUID(int=1), str(UUID(int=1))),
        ("/take/<it>", "a b?c#d%2Fü", "a b?c#d%2Fü"),
        ("/take/<int:it>", 17, 17),
        ("/take/<path:it>", "a/b", "a/b"),
        ("/take/<cards:it>", ["a", "b"], ["a", "b"]),
        ("/take/<it>/", "a", "a"),
    ],
)
async def test_param_in_the_path_arrives_as_the_route_has_it(tmp_path: Path, route: str, given: Any, got: Any) -> None:
    office = make_office(tmp_path, "memory")
    office.app.url_map.converters["cards"] = Cards

    async def take(it: Any) -> dict[str, Any]:
        return {"it": it, "query": request.args.to_dict(flat=False)}

    async def order() -> Any:
        return await step.invoke("call", endpoint="take", params={"it": given, "none": None, "many": [1, 2]})

    office.add(route, take)
    office.add("/order", order)
    async with opened(office):
        assert await office.end(await office.parked("/order")) == {"it": got, "query": {"many": ["1", "2"]}}


@pytest.mark.parametrize("page", [1, 2])
async def test_route_with_another_default_is_not_taken(tmp_path: Path, page: int) -> None:
    """Of two routes of an endpoint, one is for the first page."""
    office = make_office(tmp_path, "memory")

    async def pages(page: int) -> Any:
        return {"page": page}

    async def caller() -> Any:
        return await step.invoke("call", endpoint="pages", params={"page": page})

    view = office.inngest.endpoint(id="pages")(pages)
    office.app.add_url_rule("/pages/", "pages", view, defaults={"page": 1})
    office.app.add_url_rule("/pages/page/<int:page>", "pages", view)
    office.add("/caller", caller)
    async with opened(office):
        assert await office.end("/caller") == {"page": page}


async def test_endpoint_is_found_under_another_decorator_and_another_route(tmp_path: Path) -> None:
    """The first route whose path the params fill."""
    office = make_office(tmp_path, "memory")

    @office.app.get("/a/<int:number>/<name>")
    @office.app.get("/a/<int:number>")
    @office.inngest.endpoint(id="a")
    async def a(number: int, name: str = "") -> Response:
        return Response(f'"{number} {name} {request.query_string.decode()}"', content_type="application/json")

    async def order() -> list[str]:
        return [
            await step.invoke("one", endpoint=a, params={"number": 1}),
            await step.invoke("two", endpoint=a, params={"number": 2, "name": "Zürich x"}),
        ]

    office.add("/order", order)
    async with opened(office):
        assert sorted(await office.end(await office.parked("/order"))) == ["1  ", "2 Zürich x "]


async def test_children_call_children(tmp_path: Path) -> None:
    office = make_office(tmp_path, "memory")

    async def down() -> Any:
        depth = request.args.get("depth", 0, type=int)
        if not depth:
            raise NonRetriableError("the bottom")
        return [depth, await step.invoke("down", endpoint="down", params={"depth": depth - 1})]

    office.add("/down", down)

    async def top() -> list[str]:
        try:
            return [await step.invoke("down", endpoint="down", params={"depth": 2})]
        except StepError as error:
            return [error.name, error.message]

    office.add("/top", top)
    async with opened(office):
        name, message = await office.end(await office.parked("/top"))

        assert name == "StepError"
        assert "NonRetriableError: the bottom" in message
