"""The page as the server sends it. What it does in a browser is in e2e/."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker import chaos, views
from trip_booker.patterns import LABELS, PATTERNS, Pattern
from trip_booker.source import ANY_STEP, listing
from trip_booker.world import World

every_pattern = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)


async def page_of(client: Client, query: str = "") -> str:
    response = await client.get(f"/{query}")
    assert response.status_code == 200
    return await response.get_data(as_text=True)


async def test_page_offers_every_trip_and_every_airport(client: Client, world: World) -> None:
    """Each pattern has its entry, each airport can be left and reached."""
    page = await page_of(client)

    for kind in PATTERNS:
        assert f'name="kind" value="{kind}"' in page
    assert page.count(">BOS Boston<") == 2


async def test_page_needs_no_other_server(client: Client, world: World) -> None:
    """Every file that it asks for is its own, and is there: the demo works without a network."""
    page = await page_of(client)
    names = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    scripts = [path.read_text() for path in (Path(views.__file__).parent / "static").glob("*.js")]
    names += [f"/static/{name}" for script in scripts for name in re.findall(r'from "\./([\w.]+)"', script)]

    assert all(name.startswith("/static/") for name in names)
    for name in names:
        assert (await client.get(name)).status_code == 200, name


async def test_page_shows_the_file_that_runs(client: Client, world: World) -> None:
    """Stripped of its colours, the code on the page is the code in the file, line by line."""
    page = await page_of(client)
    shown = re.findall(r'data-number="(\d+)"[^>]*><span class="source">(.*?)</span></span>', page)
    path = Path(views.__file__).parent / "booking.py"
    file = dict(enumerate(path.read_text().splitlines(), 1))

    numbered = {int(number): unescape(re.sub(r"<[^>]+>", "", html)) for number, html in shown[: len(file)]}
    first = next(number for number, line in file.items() if line.startswith('@blueprint.get("/api/booking")'))
    assert {number: numbered[number] for number in range(first, len(file) + 1)} == {
        number: line for number, line in file.items() if number >= first
    }


async def test_page_of_a_booking_has_its_reference_and_trip(client: Client, world: World) -> None:
    """What the address names is chosen already; what makes no sense in it is left out."""
    page = await page_of(client, "?kind=tour&booking=BK-1&origin=SEA&destination=nowhere")

    assert 'data-booking="BK-1"' in page
    assert 'value="tour" checked' in page
    assert '<option value="SEA" selected>' in page
    assert '<option value="LAX" selected>' in page


async def test_reference_that_is_none_is_ignored(client: Client, world: World) -> None:
    """Nothing of the address gets into the page unread."""
    page = await page_of(client, "?booking=%22%3E%3Cscript%3E&kind=%3Cb%3E")

    assert 'data-booking=""' in page
    assert "<script>" not in page


@every_pattern
def test_rows_of_a_pattern_are_the_steps_of_its_handler(pattern: Pattern) -> None:
    """No step is missing on the page, and none is made up; those that take back may have a computed ID."""
    source = listing(pattern.handler)
    steps = set(pattern.steps) | set(pattern.undo)

    assert source.steps <= steps
    if steps != source.steps:
        assert ANY_STEP in {line.step for line in source.lines}
        assert steps - source.steps <= set(pattern.undo)
    assert steps <= set(LABELS)


@every_pattern
def test_trouble_of_a_pattern_is_one_that_its_endpoint_knows(pattern: Pattern) -> None:
    """What the page sends is not refused."""
    switches = chaos.STEPS[pattern.chaos]

    assert pattern.critical in switches
    assert not pattern.trouble or pattern.trouble.partition(":")[0] in switches


@every_pattern
async def test_pattern_is_where_the_page_sends_it(pattern: Pattern, client: Client, world: World) -> None:
    """Its path answers its method: what is sent there is refused for what is missing in it, not for where it is."""
    send = client.post if pattern.method == "POST" else client.get
    response = await send(pattern.path)

    assert response.status_code == 400
