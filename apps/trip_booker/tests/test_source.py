from __future__ import annotations

import inspect
import re
from html import unescape

from inngest_durable import StepOptions, step
from trip_booker.source import ANY_STEP, Line, listing


async def pay() -> int:
    return 1


async def handler(names: list[str]) -> int:
    """Have steps of every spelling; it is read, never run."""
    paid = await step.run("pay", pay)
    await step.run(StepOptions("pay-late", retries=1), pay)
    await step.wait_for_event(
        "wait", event="paid", match="id", timeout="1h"
    )  # fmt: skip
    for name in names:
        await step.run(name, pay)
    return paid


def text(line: Line) -> str:
    return unescape(re.sub(r"<[^>]+>", "", line.html))


def test_steps_are_found_by_their_literal_ids() -> None:
    """A step is known by its name, in options too; one with a computed name is any step."""
    lines = listing(handler).lines
    found = [(line.step, text(line).strip()) for line in lines if line.step]

    assert found == [
        ("pay", 'paid = await step.run("pay", pay)'),
        ("pay-late", 'await step.run(StepOptions("pay-late", retries=1), pay)'),
        ("wait", "await step.wait_for_event("),
        ("wait", '"wait", event="paid", match="id", timeout="1h"'),
        ("wait", ")  # fmt: skip"),
        (ANY_STEP, "await step.run(name, pay)"),
    ]
    assert listing(handler).steps == {"pay", "pay-late", "wait"}


def test_lines_have_the_numbers_that_they_have_in_the_file() -> None:
    """The listing begins where the handler does, and goes on to the end of the file."""
    source, first = inspect.getsourcelines(handler)
    lines = listing(handler).lines

    assert lines[0].number == first
    assert [text(line) for line in lines[: len(source)]] == [line.rstrip("\n") for line in source]
    assert listing(handler).file == "test_source.py"


def test_decorated_handler_is_shown_with_its_decorators() -> None:
    """Wrapped by a framework, a handler is still the one in the file."""
    from trip_booker.booking import book_trip

    assert [text(line) for line in listing(book_trip).lines[:3]] == [
        '@blueprint.get("/api/booking")',
        "@inngest.endpoint",
        "async def book_trip() -> ResponseReturnValue:",
    ]
