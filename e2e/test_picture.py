"""The picture in the READMEs is a screenshot of a real booking that a kill interrupted: `nox -s e2e -- --picture`."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.booking_page import BookingPage
from e2e.trip_booker import TripBooker

PICTURE = Path(__file__).parents[1] / "docs" / "trip-booker.png"

# The same on every machine; what is left to chance is the reference, the process IDs and the time of day.
SETTINGS = {
    "viewport": {"width": 1400, "height": 950},
    "device_scale_factor": 1.5,
    "color_scheme": "light",
    "locale": "en-US",
    "timezone_id": "UTC",
    "reduced_motion": "reduce",
}
OVERFLOWS = """() => {
    const { scrollHeight, scrollWidth } = document.documentElement;
    return scrollHeight > innerHeight || scrollWidth > innerWidth;
}"""


@pytest.mark.parametrize("trip_booker", [1], indirect=True, ids=["full latency"])
@pytest.mark.parametrize("settings", [SETTINGS], ids=["as shown"])
def test_picture_of_the_readme(
    page: Page, trip_booker: TripBooker, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """Killed in mid-payment, a booking completes; all of that is on one screen. Written to docs/ only if asked to."""
    booking = BookingPage(page)
    booking.switch_on("Kill it during process-payment")

    booking.book()
    booking.expect_state("completed")
    expect(booking.receipt).to_contain_text("E-ticket")
    expect(booking.exchange).to_contain_text("the connection broke")
    expect(booking.log).to_contain_text("Answered 200")
    page.screenshot(path=PICTURE if pytestconfig.getoption("--picture") else tmp_path / PICTURE.name)

    assert not page.evaluate(OVERFLOWS)
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged", "replayed"]
